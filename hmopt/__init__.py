"""One trained network, every regularization: hyperparameters of image registration.

The names of this module are loaded when they are first used: importing `hmopt` alone costs next to nothing.

Examples
--------
>>> import hmopt
>>> hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),)).default
{'regularization': 0.5}
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmopt.catalogue import (
        Metric,
        Regularizer,
        Similarity,
        WeightedTerm,
        add_hyperparameter,
        add_metric,
        add_regularizer,
        add_similarity,
    )
    from hmopt.declaration.study import read_study
    from hmopt.errors import HmoptError
    from hmopt.ledger import Ledger, Measurements, Recorded, Tabulated
    from hmopt.oracle.open import open_oracle
    from hmopt.records import Pair
    from hmopt.search.objective import Objective
    from hmopt.search.open_study import open_study
    from hmopt.search.sampler import CurveSampler
    from hmopt.space import Hyperparameter, Space
    from hmopt.study_folder import StudyFolder, read_dense, read_folder

__version__ = "0.1.0"

_HOMES = {
    "CurveSampler": "hmopt.search.sampler",
    "HmoptError": "hmopt.errors",
    "Hyperparameter": "hmopt.space",
    "Ledger": "hmopt.ledger",
    "Measurements": "hmopt.ledger",
    "Metric": "hmopt.catalogue",
    "Objective": "hmopt.search.objective",
    "Pair": "hmopt.records",
    "Recorded": "hmopt.ledger",
    "Regularizer": "hmopt.catalogue",
    "Similarity": "hmopt.catalogue",
    "Space": "hmopt.space",
    "StudyFolder": "hmopt.study_folder",
    "Tabulated": "hmopt.ledger",
    "WeightedTerm": "hmopt.catalogue",
    "add_hyperparameter": "hmopt.catalogue",
    "add_metric": "hmopt.catalogue",
    "add_regularizer": "hmopt.catalogue",
    "add_similarity": "hmopt.catalogue",
    "open_oracle": "hmopt.oracle.open",
    "open_study": "hmopt.search.open_study",
    "read_dense": "hmopt.study_folder",
    "read_folder": "hmopt.study_folder",
    "read_study": "hmopt.declaration.study",
}

__all__ = [
    "CurveSampler",
    "HmoptError",
    "Hyperparameter",
    "Ledger",
    "Measurements",
    "Metric",
    "Objective",
    "Pair",
    "Recorded",
    "Regularizer",
    "Similarity",
    "Space",
    "StudyFolder",
    "Tabulated",
    "WeightedTerm",
    "__version__",
    "add_hyperparameter",
    "add_metric",
    "add_regularizer",
    "add_similarity",
    "open_oracle",
    "open_study",
    "read_dense",
    "read_folder",
    "read_study",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hmopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
