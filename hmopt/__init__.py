"""Find regularization weights of deformable image registration with one amortized model.

What each command does is a function of this module: `new`, `train`, `search`, `tune_by_gradient`, `compare`, `report`,
`register`, `apply`, `tune`, `bake`, `check`, `export`, `run`, `demo`, and `inspect_ledger` for `hmopt ledger`. Each of
a study takes its folder and returns a record.

Names are loaded when they are first used: importing `hmopt` alone costs next to nothing.

Examples
--------
>>> import hmopt
>>> hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),)).default
{'regularization': 0.5}
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmopt.analysis.pareto import pareto_front
    from hmopt.catalogue import (
        Metric,
        Reference,
        Regularizer,
        Similarity,
        TermParameter,
        WeightedTerm,
        add_hyperparameter,
        add_metric,
        add_regularizer,
        add_similarity,
    )
    from hmopt.declaration.study import read_study
    from hmopt.errors import HmoptError
    from hmopt.interop.load import load_model
    from hmopt.interop.regularization_elsewhere import convert_regularization
    from hmopt.ledger import Ledger, Measurements, Recorded, Tabulated
    from hmopt.networks.hypernetize import hypernetize
    from hmopt.oracle.open import open_oracle
    from hmopt.records import Block, Pair
    from hmopt.report.part import Place, ReportPart, Section
    from hmopt.report.parts import add_report_part
    from hmopt.search.objective import Objective
    from hmopt.search.sampler import CurveSampler
    from hmopt.search.studies import open_study
    from hmopt.space import Hyperparameter, Space
    from hmopt.study_folder import StudyFolder, read_dense, read_folder
    from hmopt.tuner.tune import tune
    from hmopt.workflow.apply import apply
    from hmopt.workflow.bake import bake
    from hmopt.workflow.beside import beside
    from hmopt.workflow.check import check
    from hmopt.workflow.compare import compare
    from hmopt.workflow.export import export
    from hmopt.workflow.gradient import tune_by_gradient
    from hmopt.workflow.ledger import inspect_ledger
    from hmopt.workflow.new import new
    from hmopt.workflow.publish import publish
    from hmopt.workflow.register import register
    from hmopt.workflow.report import report
    from hmopt.workflow.run import demo, demo_declaration, run
    from hmopt.workflow.search import search
    from hmopt.workflow.train import train

__version__ = "0.1.0"

_HOMES = {
    "hmopt.analysis.pareto": ("pareto_front",),
    "hmopt.catalogue": (
        "Metric",
        "Reference",
        "Regularizer",
        "Similarity",
        "TermParameter",
        "WeightedTerm",
        "add_hyperparameter",
        "add_metric",
        "add_regularizer",
        "add_similarity",
    ),
    "hmopt.declaration.study": ("read_study",),
    "hmopt.errors": ("HmoptError",),
    "hmopt.interop.load": ("load_model",),
    "hmopt.interop.regularization_elsewhere": ("convert_regularization",),
    "hmopt.ledger": (
        "Ledger",
        "Measurements",
        "Recorded",
        "Tabulated",
    ),
    "hmopt.networks.hypernetize": ("hypernetize",),
    "hmopt.oracle.open": ("open_oracle",),
    "hmopt.records": (
        "Block",
        "Pair",
    ),
    "hmopt.report.part": (
        "Place",
        "ReportPart",
        "Section",
    ),
    "hmopt.report.parts": ("add_report_part",),
    "hmopt.search.objective": ("Objective",),
    "hmopt.search.sampler": ("CurveSampler",),
    "hmopt.search.studies": ("open_study",),
    "hmopt.space": (
        "Hyperparameter",
        "Space",
    ),
    "hmopt.study_folder": (
        "StudyFolder",
        "read_dense",
        "read_folder",
    ),
    "hmopt.tuner.tune": ("tune",),
    "hmopt.workflow.apply": ("apply",),
    "hmopt.workflow.bake": ("bake",),
    "hmopt.workflow.beside": ("beside",),
    "hmopt.workflow.check": ("check",),
    "hmopt.workflow.compare": ("compare",),
    "hmopt.workflow.export": ("export",),
    "hmopt.workflow.gradient": ("tune_by_gradient",),
    "hmopt.workflow.ledger": ("inspect_ledger",),
    "hmopt.workflow.new": ("new",),
    "hmopt.workflow.publish": ("publish",),
    "hmopt.workflow.register": ("register",),
    "hmopt.workflow.report": ("report",),
    "hmopt.workflow.run": (
        "demo",
        "demo_declaration",
        "run",
    ),
    "hmopt.workflow.search": ("search",),
    "hmopt.workflow.train": ("train",),
}
"""By module, the public names that it defines."""

__all__ = [
    "Block",
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
    "Reference",
    "Regularizer",
    "ReportPart",
    "Section",
    "Similarity",
    "Space",
    "StudyFolder",
    "Tabulated",
    "TermParameter",
    "WeightedTerm",
    "__version__",
    "add_hyperparameter",
    "add_metric",
    "add_regularizer",
    "add_report_part",
    "add_similarity",
    "apply",
    "bake",
    "beside",
    "check",
    "compare",
    "convert_regularization",
    "demo",
    "demo_declaration",
    "export",
    "hypernetize",
    "inspect_ledger",
    "load_model",
    "new",
    "open_oracle",
    "open_study",
    "pareto_front",
    "publish",
    "read_dense",
    "read_folder",
    "read_study",
    "register",
    "report",
    "run",
    "search",
    "train",
    "tune",
    "tune_by_gradient",
]


def lazy(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, which loads names when they are first used.

    Parameters
    ----------
    package
        Its name.
    homes
        By module, the names that it defines.

    Examples
    --------
    >>> lazy("hmopt", {"hmopt.files": ("slug",)})("slug").__name__
    'slug'
    """
    module_of: dict[str, str] = {}
    for module, names in homes.items():
        module_of.update(dict.fromkeys(names, module))

    def load(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(module_of[name])
        return getattr(module, name)

    return load


__getattr__ = lazy(__name__, _HOMES)


class _CallablePackage(ModuleType):
    """A subpackage that has the name of a command, as `hmopt.search` and `hmopt.report`: called, it is the command."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the command of that name."""
        name = self.__name__.removeprefix("hmopt.")
        command = __getattr__(name)
        return command(*arguments, **options)


class _Package(ModuleType):
    """`hmopt` itself. Python makes a subpackage an attribute when it is imported; the command must stay callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in __all__:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
