"""Find regularization weights of deformable image registration with one amortized model.

What each command does is a function of this module: `new`, `train`, `search`, `compare`, `report`, `register`,
`export`, `run`, `demo`, and `inspect_ledger` for `hmopt ledger`. Each takes a study folder and returns a record.

Names are loaded when they are first used: importing `hmopt` alone costs next to nothing.

Examples
--------
>>> import hmopt
>>> hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),)).default
{'regularization': 0.5}
"""

import importlib
import sys
from types import ModuleType
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
    from hmopt.report.part import Place, ReportPart, Section
    from hmopt.report.parts import add_report_part
    from hmopt.search.objective import Objective
    from hmopt.search.sampler import CurveSampler
    from hmopt.search.studies import open_study
    from hmopt.space import Hyperparameter, Space
    from hmopt.study_folder import StudyFolder, read_dense, read_folder
    from hmopt.workflow.compare import compare
    from hmopt.workflow.export import export
    from hmopt.workflow.ledger import inspect_ledger
    from hmopt.workflow.new import new
    from hmopt.workflow.register import register
    from hmopt.workflow.report import report
    from hmopt.workflow.run import demo, demo_declaration, run
    from hmopt.workflow.search import search
    from hmopt.workflow.train import train

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
    "Place": "hmopt.report.part",
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
    "ReportPart": "hmopt.report.part",
    "Section": "hmopt.report.part",
    "add_report_part": "hmopt.report.parts",
    "compare": "hmopt.workflow.compare",
    "demo": "hmopt.workflow.run",
    "demo_declaration": "hmopt.workflow.run",
    "export": "hmopt.workflow.export",
    "inspect_ledger": "hmopt.workflow.ledger",
    "new": "hmopt.workflow.new",
    "open_oracle": "hmopt.oracle.open",
    "open_study": "hmopt.search.studies",
    "read_dense": "hmopt.study_folder",
    "read_folder": "hmopt.study_folder",
    "read_study": "hmopt.declaration.study",
    "register": "hmopt.workflow.register",
    "report": "hmopt.workflow.report",
    "run": "hmopt.workflow.run",
    "search": "hmopt.workflow.search",
    "train": "hmopt.workflow.train",
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
    "Place",
    "Recorded",
    "Regularizer",
    "ReportPart",
    "Section",
    "Similarity",
    "Space",
    "StudyFolder",
    "Tabulated",
    "WeightedTerm",
    "__version__",
    "add_hyperparameter",
    "add_metric",
    "add_regularizer",
    "add_report_part",
    "add_similarity",
    "compare",
    "demo",
    "demo_declaration",
    "export",
    "inspect_ledger",
    "new",
    "open_oracle",
    "open_study",
    "read_dense",
    "read_folder",
    "read_study",
    "register",
    "report",
    "run",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hmopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


class _CallablePackage(ModuleType):
    """A subpackage that has the name of a command, as `hmopt.search` and `hmopt.report`: called, it is the command."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the command of that name."""
        name = self.__name__.removeprefix("hmopt.")
        return __getattr__(name)(*arguments, **options)


class _Package(ModuleType):
    """`hmopt` itself. Python makes a subpackage an attribute when it is imported; the command must stay callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _HOMES:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
