"""The whole of `study.toml`, read and checked."""

import os
import tomllib
import warnings
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from hmopt.catalogue import HYPERPARAMETERS, load_plugins
from hmopt.declaration.agreement import check_agreement, check_search, check_values
from hmopt.declaration.cohort import CohortOptions, PairsOptions, PreprocessingOptions, SplitOptions
from hmopt.declaration.compare import CompareOptions
from hmopt.declaration.model import (
    HypernetworkOptions,
    HyperparameterOptions,
    LossOptions,
    ModelOptions,
    NetworkOptions,
    TrainingOptions,
)
from hmopt.declaration.options import Options
from hmopt.declaration.renamed import current_names, older_names
from hmopt.declaration.search import SearchOptions
from hmopt.errors import DeclarationError, Fault, first_fault
from hmopt.files import one_line, real_place
from hmopt.space import Hyperparameter, Space

FILE_NAME = "study.toml"

T = TypeVar("T", bound=Options)


class Study(Options):
    """Everything that a study folder declares."""

    name: str
    """Name of the study in reports and Optuna studies."""
    plugins: list[str] = []
    """Python files beside this one, or modules, that add metrics, similarities, regularizers or hyperparameters."""
    cohort: CohortOptions
    preprocessing: PreprocessingOptions
    split: SplitOptions
    pairs: PairsOptions = PairsOptions()
    model: ModelOptions = ModelOptions()
    network: NetworkOptions = NetworkOptions()
    hypernetwork: HypernetworkOptions = HypernetworkOptions()
    hyperparameters: dict[str, HyperparameterOptions] = Field(
        default={"regularization": HyperparameterOptions()}, min_length=1
    )
    loss: LossOptions = LossOptions()
    training: TrainingOptions = TrainingOptions()
    search: SearchOptions = SearchOptions()
    compare: CompareOptions = CompareOptions()

    @field_validator("hyperparameters", mode="before")
    @classmethod
    def _with_known_ranges(cls, hyperparameters: Any) -> Any:
        """Let a hyperparameter whose range is not declared have that of the catalogue."""
        if not isinstance(hyperparameters, dict):
            return hyperparameters
        return {
            name: {**_known_range(name), **declared} if isinstance(declared, dict) else declared
            for name, declared in hyperparameters.items()
        }

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        hyperparameters = [
            Hyperparameter(name=name, **options.model_dump())
            for name, options in self.hyperparameters.items()
        ]
        return Space(hyperparameters=tuple(hyperparameters))


def _known_range(name: str) -> dict[str, float]:
    if name not in HYPERPARAMETERS:
        return {}
    known = HYPERPARAMETERS[name]
    return {"low": known.low, "high": known.high, "default": known.default}


def parse_study(
    values: dict[str, Any], origin: str = FILE_NAME, folder: Path | None = None
) -> Study:
    """Check values as they stand in `study.toml`, and return what they declare.

    Parameters
    ----------
    values
        The tables of the file.
    origin
        What an error names as the place.
    folder
        Where its `plugins` are; they are imported first. Left out: the working directory.

    Raises
    ------
    DeclarationError
        If a key is unknown or missing, a value breaks its rule, tables contradict each other, or a
        plugin cannot be imported.

    Warns
    -----
    UserWarning
        For a key under an older name, with its name of today.

    Examples
    --------
    >>> parse_study({"name": "x", "loss": {"λ": 3}})
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: ...λ: expected a key that hmopt knows, got unknown key 'λ'. Remove or correct it.
    """
    for remark in older_names(values):
        warnings.warn(f"{origin}: {remark}", stacklevel=2)
    _load_plugins(values.get("plugins"), folder or Path())
    try:
        study = Study.model_validate(current_names(values))
        space = study.space  # hyperparameters check themselves when made
    except ValidationError as error:
        raise _refusal(origin, first_fault(error)) from error
    if study.model.source != "engine":  # whose hyperparameters are its own
        check_agreement(study.hyperparameters, study.preprocessing, study.loss, study.training)
    check_search(study.search, study.cohort)
    check_values(study.compare, space)
    return study


def read_study(folder: Path) -> Study:
    """Read and check `study.toml` of a study folder.

    Paths in it may hold environment variables (`${HMOPT_SHARED}`) and are relative to the folder.

    Raises
    ------
    DeclarationError
        If the file is not there, is no TOML, names a variable that is not set, or breaks a rule.
    """
    study = read_declaration(folder)
    cohort = _resolved(study.cohort, folder, ("manifest", "images", "labels", "label_names"))
    pairs = _resolved(study.pairs, folder, ("csv",))
    model = _resolved(study.model, folder, ("path",))
    return study.model_copy(update={"cohort": cohort, "pairs": pairs, "model": model})


def read_declaration(folder: Path) -> Study:
    """Read and check `study.toml`, with its paths as they stand there.

    Raises
    ------
    DeclarationError
        If the file is not there, is no TOML, or breaks a rule.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise DeclarationError(
            str(path),
            expected="a study declaration",
            got="no file",
            advice="Run `hmopt new` first.",
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise _no_toml(path, "tables or lists nested too deeply") from error
    except (OSError, ValueError) as error:
        raise _no_toml(path, one_line(error)) from error
    return parse_study(values, str(path), folder)


def load_declared_plugins(folder: Path) -> None:
    """Import the plugins of a study folder, where it has a declaration that can be read.

    What was searched can be read before the declaration: metrics of one's own are known then.

    Raises
    ------
    DeclarationError
        If one cannot be imported.
    """
    path = folder / FILE_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # which is told when the declaration itself is read
    _load_plugins(values.get("plugins"), folder)


def _load_plugins(plugins: Any, folder: Path) -> None:
    """Import what `plugins` names; what is no list of names is told by the check of all keys."""
    if isinstance(plugins, list) and all(isinstance(plugin, str) for plugin in plugins):
        load_plugins(plugins, folder)


def _no_toml(path: Path, got: str) -> DeclarationError:
    return DeclarationError(str(path), expected="TOML", got=got, advice="Correct the file.")


def _refusal(origin: str, fault: Fault) -> DeclarationError:
    """Return the error for a broken rule of a key."""
    expected, got, advice = fault.rule, repr(fault.value), "Correct the value."
    if fault.kind == "extra_forbidden":
        name = fault.key.rpartition(".")[2]
        expected, got = "a key that hmopt knows", f"unknown key {name!r}"
        advice = "Remove or correct it."
    elif fault.kind == "missing":
        expected, got, advice = "a value", "none", "Add the key."
    return DeclarationError(f"{origin}: {fault.key}", expected=expected, got=got, advice=advice)


def _resolved(options: T, folder: Path, names: tuple[str, ...]) -> T:
    """Return options whose paths are absolute."""
    absolute = {}
    for name in names:
        path = getattr(options, name)
        if path is not None:
            absolute[name] = _absolute(path, folder, name)
    return options.model_copy(update=absolute)


def _absolute(path: Path, folder: Path, field: str) -> Path:
    expanded = os.path.expandvars(path)
    if "$" in expanded:
        raise DeclarationError(
            f"study.toml: {field}",
            expected="a path",
            got=str(path),
            advice="Set the environment variable it names.",
        )
    return real_place(folder / Path(expanded).expanduser())
