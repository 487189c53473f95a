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
    from hmopt.declaration.study import read_study
    from hmopt.errors import HmoptError
    from hmopt.oracle.open import open_oracle
    from hmopt.records import Pair
    from hmopt.space import Hyperparameter, Space

__version__ = "0.1.0"

_HOMES = {
    "HmoptError": "hmopt.errors",
    "Hyperparameter": "hmopt.space",
    "Pair": "hmopt.records",
    "Space": "hmopt.space",
    "open_oracle": "hmopt.oracle.open",
    "read_study": "hmopt.declaration.study",
}

__all__ = ["HmoptError", "Hyperparameter", "Pair", "Space", "__version__", "open_oracle", "read_study"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hmopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
