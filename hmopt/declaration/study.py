"""The whole of `study.toml`, read and checked."""

import difflib
import importlib.util
import math
import os
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from hmopt.catalogue import (
    HYPERPARAMETERS,
    METRICS,
    REGULARIZATION,
    REGULARIZERS,
    SIMILARITIES,
    LossHyperparameter,
    RegionalWeight,
    changing_similarity,
    find_hyperparameter,
    known_hyperparameter,
    load_plugins,
    regional_name,
    weighted_terms,
)
from hmopt.csv_tables import is_one_line
from hmopt.declaration.cohort import (
    NOT_PUBLISHED,
    CohortOptions,
    PairsOptions,
    PreprocessingOptions,
    SplitOptions,
)
from hmopt.declaration.model import (
    HypernetworkOptions,
    HyperparameterOptions,
    LossOptions,
    ModelOptions,
    NetworkOptions,
    RefineOptions,
    TrainingOptions,
    check_features,
    network_file,
)
from hmopt.declaration.names import check_names
from hmopt.declaration.options import Options
from hmopt.declaration.renamed import current_names, older_names
from hmopt.declaration.report import ReportOptions
from hmopt.declaration.search import CompareOptions, SearchOptions
from hmopt.errors import DeclarationError, Fault, first_fault
from hmopt.files import file_hash, given_path, one_line, read_whole, real_place
from hmopt.schemas import check_known_keys
from hmopt.space import Hyperparameter, Space, Value, as_number, value_text

FILE_NAME = "study.toml"
MOST_PLANNED = 3
"""Hyperparameters that the sampler `plan` takes at most: its coarse lattice grows with their number."""

T = TypeVar("T", bound=Options)


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A key whose value does not go with other tables."""

    field: str
    expected: str
    got: object

    def error(self) -> DeclarationError:
        """Return the error that says so."""
        return DeclarationError(
            self.field, expected=self.expected, got=self.got, advice="Correct the declaration."
        )


def _printable(name: str) -> str:
    """Return a name as it is, or raise a ValueError where it is blank or holds control characters."""
    if not name.strip() or not name.isprintable():
        raise ValueError("expected a name of printable characters")
    return name


StudyName = Annotated[str, AfterValidator(_printable)]


class Study(Options):
    """Everything that a study folder declares."""

    name: StudyName
    """Name of the study in reports and Optuna studies."""
    plugins: list[str] = []
    """Python files in the study folder, or modules, that add metrics, similarities, regularizers or
    hyperparameters."""
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
    refine: RefineOptions = RefineOptions()
    search: SearchOptions = SearchOptions()
    compare: CompareOptions = CompareOptions()
    report: ReportOptions = ReportOptions()

    @field_validator("hyperparameters", mode="before")
    @classmethod
    def _with_known_ranges(cls, hyperparameters: Any, info: ValidationInfo) -> Any:
        """Let a hyperparameter whose type and range are not declared have those of the catalogue."""
        model = info.data.get("model")
        is_of_engine = isinstance(model, ModelOptions) and model.source == "engine"
        if is_of_engine or not isinstance(hyperparameters, dict):
            return hyperparameters
        complete = {}
        for name, declared in hyperparameters.items():
            known = _known_range(name)
            kind = known.get("type", "float")
            if isinstance(declared, dict) and declared.get("type", kind) == kind:
                complete[name] = known | declared
            else:
                complete[name] = declared  # which is refused
        return complete

    @property
    def is_published(self) -> bool:
        """Whether somebody else declared it and published it without its cohort."""
        manifest = self.cohort.manifest
        return manifest is not None and manifest.name == NOT_PUBLISHED

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        hyperparameters = []
        for name, options in self.hyperparameters.items():
            hyperparameter = Hyperparameter(name=name, **options.model_dump())
            hyperparameters.append(hyperparameter)
        return Space(hyperparameters=tuple(hyperparameters))


def _known_range(name: str) -> dict[str, Any]:
    known = known_hyperparameter(name)
    if known is None:
        return {}
    found: dict[str, Any] = {"low": known.low, "high": known.high, "default": known.default}
    if known.type == "integer":
        found |= {"type": known.type, "step": known.step}
    return found


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
    try:
        _check_characters(values, origin)
    except RecursionError as error:
        raise DeclarationError(
            origin,
            expected="a study declaration",
            got="tables or lists nested too deeply",
            advice="Correct it.",
        ) from error
    remark = older_names(values)
    if remark is not None:
        warnings.warn(f"{origin}: {remark}", stacklevel=2)
    _load_plugins(values.get("plugins"), folder or Path())
    try:
        study = Study.model_validate(current_names(values))
        space = study.space  # hyperparameters check themselves when made
    except ValidationError as error:
        raise _refusal(origin, first_fault(error)) from error
    _check_each_once(study)
    check_names(space, study.search.measured)
    # the hyperparameters of an engine are its own; those of another model are compared with it
    if study.model.source in ("trained", "optimize"):
        check_agreement(study.hyperparameters, study.preprocessing, study.loss, study.training)
    if study.model.source in ("trained", "study", "optimize"):
        check_hypermorph(space)
    if study.model.source == "optimize":
        check_optimization(study)
    check_refinement(study)
    check_sampler(study.search, space)
    check_search(study.search, study.cohort)
    check_values(study.compare, space)
    return study


def _check_characters(value: object, place: str, key: str = "") -> None:
    """Refuse names that are not one line of text, and NUL characters, which no path or URL may hold.

    Parameters
    ----------
    value
        Of the key: a table, a list or a single value.
    place
        What an error names as the place.
    key
        Dotted key; empty: of the whole file.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            dotted = f"{key}.{name}" if key else str(name)
            if not is_one_line(str(name)):
                raise DeclarationError(
                    f"{place}: {dotted!r}",
                    expected="a name in one line, without control characters",
                    got=repr(name),
                    advice="Rename it.",
                )
            _check_characters(inner, place, dotted)
    elif isinstance(value, list):
        for inner in value:
            _check_characters(inner, place, key)
    elif isinstance(value, str) and "\0" in value:
        raise DeclarationError(
            f"{place}: {key}",
            expected="a text without NUL characters",
            got=repr(value),
            advice="Correct the value.",
        )


def _check_each_once(study: Study) -> None:
    """Refuse lists that name a thing twice; records of earlier searches may, so that the tables do not check it."""
    lists: dict[str, Sequence[object]] = {
        "plugins": study.plugins,
        "pairs.tasks": study.pairs.tasks,
        "pairs.same": study.pairs.same,
        "loss.overlap_labels": study.loss.overlap_labels,
        "search.reported": study.search.reported,
        "search.scopes": [sorted(kinds) for kinds in study.search.scopes],
    }
    slices = study.preprocessing.slices
    if slices is not None:
        lists["preprocessing.slices.indices"] = slices.indices
        lists["preprocessing.slices.search_indices"] = slices.search_indices
    for name, labels in study.cohort.structures.items():
        lists[f"cohort.structures.{name}"] = labels
    for name, labels in study.loss.regions.items():
        lists[f"loss.regions.{name}"] = labels
    for key, entries in lists.items():
        counts = Counter(repr(entry) for entry in entries)
        repeated = [entry for entry, count in counts.items() if count > 1]
        if repeated:
            raise DeclarationError(
                f"study.toml: {key}",
                expected="each entry once",
                got=f"{repeated[0]} more than once",
                advice="Remove the repeated entry.",
            )


def check_sections(tables: Mapping[str, Any]) -> None:
    """Check tables of a declaration as a file of hmopt holds them: each known key must keep its rule.

    Parameters
    ----------
    tables
        Keys and values by name of the table; some tables and keys may be missing, or be of another
        version.

    Raises
    ------
    ValueError
        If a table is none, or a value breaks its rule.

    Examples
    --------
    >>> check_sections({"preprocessing": {"shape": [64, -1]}})
    Traceback (most recent call last):
    ValueError: preprocessing.shape.1: -1, where greater than or equal to 3 is expected
    """
    for name, values in tables.items():
        field = Study.model_fields.get(name)
        table = None if field is None else field.annotation
        if not (isinstance(table, type) and issubclass(table, Options)):
            continue
        if not isinstance(values, Mapping):
            raise ValueError(f"{name}: {values!r:.80}, where a table is expected")
        check_known_keys(values, table, name)


def read_study(folder: Path) -> Study:
    """Read and check `study.toml` of a study folder.

    Paths in it may hold environment variables (`${HMOPT_SHARED}`) and are relative to the folder.

    Raises
    ------
    DeclarationError
        If the file is not there, is no TOML, names a variable that is not set, or breaks a rule.
    """
    return with_absolute_paths(read_declaration(folder), folder)


def with_absolute_paths(study: Study, folder: Path) -> Study:
    """Return a declaration whose paths are absolute, environment variables in them replaced.

    Raises
    ------
    DeclarationError
        If a path names a variable that is not set.
    """
    cohort = _resolved(study.cohort, folder, ("manifest", "images", "labels", "label_names"))
    pairs = _resolved(study.pairs, folder, ("csv",))
    model = _resolved(study.model, folder, ("path",))
    network = _with_file(study.network, folder)
    changed = {"cohort": cohort, "pairs": pairs, "model": model, "network": network}
    return study.model_copy(update=changed)


def _with_file(network: NetworkOptions, folder: Path) -> NetworkOptions:
    """Return the options of a network with its folder and the hash of its file."""
    if network.callable is None:
        return network
    place = network_file(network.callable)
    module = network.callable.rsplit(":", 1)[0]
    path = _module_file(module) if place is None else folder / place
    content = file_hash(path) if path is not None and path.is_file() else None
    return network.model_copy(update={"folder": folder.absolute(), "content": content})


def _module_file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def with_absolute_beside(report: ReportOptions, folder: Path) -> ReportOptions:
    """Return `[report]` whose paths are absolute; a report needs no other path of the declaration.

    Raises
    ------
    DeclarationError
        If a path names a variable that is not set.
    """
    beside = [_resolved(one, folder, ("path",)) for one in report.beside]
    return report.model_copy(update={"beside": beside})


def model_path(study: Study, folder: Path) -> Path | None:
    """Return the absolute place of the other model that a declaration names; None where it names none.

    Raises
    ------
    DeclarationError
        If the path names a variable that is not set.
    """
    return _resolved(study.model, folder, ("path",)).path


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
        values = tomllib.loads(read_whole(path).decode("utf-8"))
    except RecursionError as error:
        raise _no_toml(path, "tables or lists nested too deeply") from error
    except (OSError, ValueError) as error:
        raise _no_toml(path, one_line(error)) from error
    study = parse_study(values, str(path), folder)
    return study.model_copy(update={"network": _with_file(study.network, folder)})


def read_of_others(folder: Path) -> Study | None:
    """Read `study.toml` of somebody else's folder, whose Python files are not run.

    Returns
    -------
    Study or None
        None where there is no such file, or it needs plugins.

    Raises
    ------
    DeclarationError
        If the file is no TOML, or breaks a rule.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        values = tomllib.loads(read_whole(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_toml(path, one_line(error)) from error
    if values.get("plugins"):
        return None
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
        values = tomllib.loads(read_whole(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # which is told when the declaration itself is read
    _load_plugins(values.get("plugins"), folder)


def _load_plugins(plugins: Any, folder: Path) -> None:
    """Import what `plugins` names; what is no list of names is told by the check of all keys."""
    if not isinstance(plugins, list):
        return
    are_names = [isinstance(plugin, str) for plugin in plugins]
    if all(are_names):
        load_plugins(plugins, folder)


def _no_toml(path: Path, got: str) -> DeclarationError:
    return DeclarationError(str(path), expected="TOML", got=got, advice="Correct the file.")


def _refusal(origin: str, fault: Fault) -> DeclarationError:
    """Return the error for a broken rule of a key."""
    field = f"{origin}: {fault.key}"
    if fault.kind == "missing":
        return DeclarationError(field, expected="a value", got="none", advice="Add the key.")
    if fault.kind == "extra_forbidden":
        *tables, name = fault.key.split(".")
        near = difflib.get_close_matches(name, _known_keys(tables), n=1)
        return DeclarationError(
            field,
            expected="a key that hmopt knows",
            got=f"unknown key {name!r}",
            advice=f"Did you mean {near[0]!r}?" if near else "Remove or correct it.",
        )
    got = repr(fault.value)
    return DeclarationError(field, expected=fault.rule, got=got, advice="Correct the value.")


def _known_keys(tables: Sequence[str]) -> list[str]:
    """Return the keys of a table by its place in the declaration; none where its keys are names of the user."""
    options: type[BaseModel] = Study
    for table in tables:
        field = options.model_fields.get(table)
        kind = None if field is None else field.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        options = kind
    return list(options.model_fields)


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
    return real_place(given_path(expanded, f"study.toml: {field}", DeclarationError, folder))


def check_agreement(
    hyperparameters: Mapping[str, HyperparameterOptions],
    preprocessing: PreprocessingOptions,
    loss: LossOptions,
    training: TrainingOptions,
) -> None:
    """Refuse tables that are each right but contradict each other.

    Raises
    ------
    DeclarationError
        If the loss does not know a hyperparameter or its range is too wide, a hyperparameter shares
        what the loss does not have, a region lacks its hyperparameter, images lack the axis to flip,
        or intensities that must lie in [0, 1] do not.

    Examples
    --------
    >>> flat = PreprocessingOptions(shape=[16, 16])
    >>> check_agreement({"warmth": HyperparameterOptions()}, flat, LossOptions(), TrainingOptions())
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.warmth: expected one of regularization, ..., got 'warmth'. ...
    """
    contradictions = [
        *_of_hyperparameters(hyperparameters),
        *_of_shares(hyperparameters, loss),
        *_of_regions(hyperparameters, loss),
        *_of_axes(preprocessing, training),
        *_of_intensities(preprocessing, loss, training),
    ]
    for found in contradictions:
        raise found.error()
    check_features("loss.features", loss.features, loss.similarity)
    if loss.second_similarity is not None:
        key = "loss.second_similarity"
        check_features("loss.features", loss.features, loss.second_similarity, key)


def check_ranges(space: Space) -> None:
    """Refuse values of hyperparameters that their terms of the loss do not take; those of plugins need not be known.

    Raises
    ------
    DeclarationError
        If a range is too wide.

    Examples
    --------
    >>> check_ranges(Space(hyperparameters=(Hyperparameter(name="regularization", low=-1.0),)))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.regularization: expected a range inside [0, 1], got -1.0 to 1.0. ...
    """
    for one in space.hyperparameters:
        known = known_hyperparameter(one.name)
        if known is None:
            continue
        for found in _of_range(f"hyperparameters.{one.name}", one, known):
            raise found.error()


def check_hypermorph(space: Space) -> None:
    """Refuse hyperparameters that a hypermorph cannot be conditioned on.

    It takes numbers that are always active: those of the loss in the type that the loss takes.

    Raises
    ------
    DeclarationError
        If there is one.

    Examples
    --------
    >>> kernel = Hyperparameter(name="kernel", type="categorical", choices=("box", "gaussian"))
    >>> check_hypermorph(Space(hyperparameters=(kernel,)))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.kernel.type: expected float or integer, as a hypermorph takes it, ...
    """
    for one in space.hyperparameters:
        field = f"hyperparameters.{one.name}"
        advice = 'Declare it otherwise, or an engine: model.source = "engine".'
        known = known_hyperparameter(one.name)
        taken = ("float", "integer") if known is None else (known.type,)
        if one.type not in taken:
            expected = f"{' or '.join(taken)}, as a hypermorph takes it"
            raise DeclarationError(f"{field}.type", expected=expected, got=one.type, advice=advice)
        if one.only_if:
            names = ", ".join(name for name, _ in one.conditions)
            raise DeclarationError(
                f"{field}.only_if", expected="none with a hypermorph", got=names, advice=advice
            )


def check_optimization(study: Study) -> None:
    """Refuse what a study without a model cannot do: a term that needs labels, or no iterations.

    Raises
    ------
    DeclarationError
        If there is such a hyperparameter, or `refine.iterations` is 0.
    """
    for name in study.hyperparameters:
        if find_hyperparameter(name).needs_labels:
            raise DeclarationError(
                f"hyperparameters.{name}",
                expected='none whose term needs labels with model.source = "optimize"',
                got=repr(name),
                advice="Leave it out; labels are used for evaluation only.",
            )
    if not study.refine.iterations:
        raise DeclarationError(
            "refine.iterations",
            expected='at least 1 with model.source = "optimize"',
            got=0,
            advice="Declare a number of iterations, such as 20.",
        )
    if study.network.callable is not None:
        raise DeclarationError(
            "network.callable",
            expected='none with model.source = "optimize"',
            got=repr(study.network.callable),
            advice="Declare only network.stride and network.integration_steps.",
        )


def check_refinement(study: Study) -> None:
    """Refuse iterations under a loss that needs labels or changes with a setting, and features without use.

    Raises
    ------
    DeclarationError
        If iterations are declared beside regions or a hyperparameter that changes the similarity, further keys
        without iterations, or features without a model or that the similarity does not take.
    """
    refine = study.refine
    is_trained = study.model.source == "trained"
    changing = []
    if refine.iterations and study.model.source in ("trained", "optimize"):
        changing = changing_similarity(list(study.hyperparameters), study.loss.similarity)
    if changing and study.model.source == "optimize":
        raise DeclarationError(
            f"hyperparameters.{changing[0]}",
            expected="one that leaves the similarity as it is, without a trained model",
            got=changing[0],
            advice="Leave it out.",
        )
    if changing:
        raise DeclarationError(
            "refine.iterations",
            expected=f"0 with {', '.join(changing)}, which changes the similarity",
            got=refine.iterations,
            advice="Leave [refine] or the hyperparameter out.",
        )
    if is_trained and refine.iterations and study.loss.regions:
        raise DeclarationError(
            "refine.iterations",
            expected="0 with loss.regions, which need label maps of the pair",
            got=refine.iterations,
            advice="Leave [refine] out.",
        )
    features = ", ".join(refine.features or [])
    if features and study.model.source == "optimize":
        raise DeclarationError(
            "refine.features",
            expected='none with model.source = "optimize"',
            got=features,
            advice="Declare loss.features.",
        )
    further = {
        "features": features,
        "full_resolution_iterations": refine.full_resolution_iterations,
    }
    for key, value in further.items():
        if value and not refine.iterations:
            raise DeclarationError(
                f"refine.{key}",
                expected="none without refine.iterations",
                got=value,
                advice="Declare the iterations, such as 25.",
            )
    # the loss of other models is in their headers
    if is_trained and refine.features is not None:
        check_features("refine.features", refine.features, study.loss.similarity)


def check_sampler(search: SearchOptions, space: Space) -> None:
    """Refuse a sampler that cannot search a space, and spending that a sampler cannot do.

    The sampler `plan` looks for settings between measured ones: it takes numbers, up to three.

    Raises
    ------
    DeclarationError
        If the sampler does not take the hyperparameters, or pairs cannot be spent so.

    Examples
    --------
    >>> kernel = Hyperparameter(name="kernel", type="categorical", choices=("box", "gaussian"))
    >>> check_sampler(SearchOptions(), Space(hyperparameters=(kernel,)))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: search.sampler: expected a sampler that supports ... got 'plan'...
    """
    field = "search.sampler"
    advice = 'Declare search.sampler = "TPESampler".'
    name = search.sampler
    takes_ordered_only = name in ("plan", "CmaEsSampler")
    if takes_ordered_only and not space.is_ordered:
        expected = "a sampler that supports categorical and conditional hyperparameters"
        raise DeclarationError(field, expected=expected, got=repr(name), advice=advice)
    count = len(space.hyperparameters)
    if name == "plan" and count > MOST_PLANNED:
        expected = f"one that takes {count} hyperparameters (plan takes up to {MOST_PLANNED})"
        raise DeclarationError(field, expected=expected, got=repr(name), advice=advice)
    if search.spending != "all" and name == "plan":
        expected = f'a sampler of Optuna with spending = "{search.spending}"'
        raise DeclarationError(field, expected=expected, got=repr(name), advice=advice)
    if search.spending_options and search.spending == "all":
        raise DeclarationError(
            "search.spending_options",
            expected='none with spending = "all"',
            got=search.spending_options,
            advice="Leave them out, or declare search.spending.",
        )


def check_search(search: SearchOptions, cohort: CohortOptions) -> None:
    """Refuse metrics that can never be measured on a cohort.

    Raises
    ------
    DeclarationError
        If metrics in mm are asked for where spacings are not known.

    Examples
    --------
    >>> cohort = CohortOptions.model_validate({"manifest": "cohort.csv", "spacing_known": False})
    >>> check_search(SearchOptions(metric="hd95_mm"), cohort)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: search: expected metrics without mm where cohort.spacing_known is false, got ...
    """
    if not cohort.spacing_known:
        check_units(search, "where cohort.spacing_known is false")


def check_units(search: SearchOptions, where: str) -> None:
    """Refuse metrics in mm, for a cohort whose spacing is not known.

    Raises
    ------
    DeclarationError
        If there is one.
    """
    in_mm = [name for name in search.measured if METRICS[name].unit == "mm"]
    if in_mm:
        raise DeclarationError(
            "search",
            expected=f"metrics without mm {where}",
            got=", ".join(in_mm),
            advice="Choose other metrics, such as tre_voxels instead of tre_mm.",
        )


def check_values(compare: CompareOptions, space: Space) -> None:
    """Refuse values to compare at that are no lattice points: no measurement can be stored under them.

    Raises
    ------
    DeclarationError
        If a hyperparameter is not declared, or its values are none, or not all different lattice
        points.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
    >>> check_values(CompareOptions(values={"regularization": [0.1, 0.25]}), space)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: compare.values.regularization: expected points of its lattice ..., got 0.25. ...
    """
    for found in _of_values(compare, space):
        raise found.error()


def _of_values(compare: CompareOptions, space: Space) -> Iterator[Contradiction]:
    declared = {known.name: known for known in space.hyperparameters}
    for name, values in compare.values.items():
        field = f"compare.values.{name}"
        if name not in declared:
            expected = f"a declared hyperparameter ({', '.join(declared)})"
            yield Contradiction(field=field, expected=expected, got=repr(name))
            continue
        hyperparameter = declared[name]
        for value in values:
            if not _is_on_lattice(hyperparameter, value):
                points = _first_points(hyperparameter)
                expected = f"points of its lattice ({points})"
                yield Contradiction(field=field, expected=expected, got=value)
        distinct = set(values)
        if not values or len(distinct) < len(values):
            expected = "different values, at least one"
            yield Contradiction(field=field, expected=expected, got=values)


def _is_on_lattice(hyperparameter: Hyperparameter, value: Value) -> bool:
    try:
        place = hyperparameter.index(value)
    except DeclarationError:
        return False
    if not hyperparameter.is_ordered:
        return True
    nearest = as_number(hyperparameter.value(place))
    return math.isclose(nearest, as_number(value), rel_tol=1e-9, abs_tol=1e-12)


def _first_points(hyperparameter: Hyperparameter) -> str:
    if not hyperparameter.is_ordered:
        return hyperparameter.range_text
    first = value_text(hyperparameter.value(0))
    second = value_text(hyperparameter.value(1))
    return f"{first}, {second}, … {hyperparameter.high:g}"


def _of_hyperparameters(
    hyperparameters: Mapping[str, HyperparameterOptions],
) -> Iterator[Contradiction]:
    for name, options in hyperparameters.items():
        field = f"hyperparameters.{name}"
        known = known_hyperparameter(name)
        if known is None:
            expected = f"one of {', '.join(HYPERPARAMETERS)}"
            yield Contradiction(field=field, expected=expected, got=repr(name))
            continue
        yield from _of_range(field, options, known)


def _of_range(
    field: str, declared: HyperparameterOptions | Hyperparameter, known: LossHyperparameter
) -> Iterator[Contradiction]:
    """Yield how the values of a hyperparameter are not among those that its term of the loss takes."""
    if declared.type != known.type:
        return  # `check_hypermorph` refuses it
    if declared.low < known.least or declared.high > known.most:
        expected = f"a range inside [{known.least:g}, {known.most:g}]"
        got = f"{declared.low} to {declared.high}"
        yield Contradiction(field=field, expected=expected, got=got)
    if known.type == "integer":
        beyond_least = declared.low - known.least
        if declared.step % known.step or beyond_least % known.step:
            expected = f"values from {known.least:g} in steps of {known.step}"
            got = f"{declared.low:g} in steps of {declared.step:g}"
            yield Contradiction(field=field, expected=expected, got=got)


def _of_shares(
    hyperparameters: Mapping[str, HyperparameterOptions], loss: LossOptions
) -> Iterator[Contradiction]:
    known = [name for name in hyperparameters if known_hyperparameter(name) is not None]
    records = weighted_terms(known)
    effects = {record.name: record.effect for record in records}
    regularizer = REGULARIZERS[loss.regularizer]
    for record in records:
        if record.effect != "share of the regularizer":
            continue
        if "regularization" not in effects:
            field = f"hyperparameters.{record.name}"
            expected = "[hyperparameters.regularization] beside a share of the regularizer"
            yield Contradiction(field=field, expected=expected, got="none")
        if record.function == regularizer.function:
            expected = f"another regularizer than {loss.regularizer} beside {record.name}"
            yield Contradiction(field="loss.regularizer", expected=expected, got=loss.regularizer)
    yield from _of_second_similarity(effects, loss)


def _of_second_similarity(effects: Mapping[str, str], loss: LossOptions) -> Iterator[Contradiction]:
    field = "loss.second_similarity"
    second = loss.second_similarity
    if "similarity_share" in effects and second is None:
        expected = "a similarity beside the hyperparameter similarity_share"
        yield Contradiction(field=field, expected=expected, got="none")
    if second is not None and "similarity_share" not in effects:
        expected = "none without the hyperparameter similarity_share"
        yield Contradiction(field=field, expected=expected, got=second)
    if second == loss.similarity:
        expected = "another similarity than loss.similarity"
        yield Contradiction(field=field, expected=expected, got=second)
    if second is None and loss.second_scale is not None:
        field = "loss.second_scale"
        expected = "none without loss.second_similarity"
        yield Contradiction(field=field, expected=expected, got=loss.second_scale)


def _of_regions(
    hyperparameters: Mapping[str, HyperparameterOptions], loss: LossOptions
) -> Iterator[Contradiction]:
    for name in hyperparameters:
        record = known_hyperparameter(name)
        if isinstance(record, RegionalWeight) and record.region not in loss.regions:
            expected = f"a region {record.region} beside [hyperparameters.{name}]"
            got = ", ".join(loss.regions) or "none"
            yield Contradiction(field="loss.regions", expected=expected, got=got)
    if loss.regions:
        yield from _of_weights(hyperparameters, loss)
        yield from _of_terms_beside_regions(hyperparameters, loss)


def _of_weights(
    hyperparameters: Mapping[str, HyperparameterOptions], loss: LossOptions
) -> Iterator[Contradiction]:
    """Yield what the weights of regions lack: a table, and the values of `regularization`."""
    common = hyperparameters.get(REGULARIZATION, HyperparameterOptions())
    for name in (REGULARIZATION, *map(regional_name, loss.regions)):
        field = f"hyperparameters.{name}"
        options = hyperparameters.get(name)
        if options is None:
            expected = f"[{field}] beside loss.regions"
            yield Contradiction(field=field, expected=expected, got="none")
            continue
        for key in ("low", "high", "step", "prior"):
            value = getattr(options, key)
            of_common = getattr(common, key)
            if value != of_common:
                expected = f"that of {REGULARIZATION}, {of_common}, with which it is compared"
                yield Contradiction(field=f"{field}.{key}", expected=expected, got=value)


def _of_terms_beside_regions(
    hyperparameters: Mapping[str, HyperparameterOptions], loss: LossOptions
) -> Iterator[Contradiction]:
    """Yield terms that are no part of the data term, and a regularizer that cannot be divided."""
    weights = (REGULARIZATION, *map(regional_name, loss.regions))
    others = [name for name in hyperparameters if name not in weights]
    known = [name for name in others if known_hyperparameter(name) is not None]
    for record in weighted_terms(known):
        if record.effect not in ("share of the data term", "share of the similarity"):
            field = f"hyperparameters.{record.name}"
            expected = "none but shares of the data term beside loss.regions"
            yield Contradiction(field=field, expected=expected, got=record.effect)
    if REGULARIZERS[loss.regularizer].by_region is None:
        divisible = [one.name for one in REGULARIZERS.values() if one.by_region is not None]
        expected = f"one that can be divided among regions ({', '.join(divisible)})"
        yield Contradiction(field="loss.regularizer", expected=expected, got=loss.regularizer)


def _of_axes(
    preprocessing: PreprocessingOptions, training: TrainingOptions
) -> Iterator[Contradiction]:
    axes = len(preprocessing.shape)
    flipped = training.augmentation.flip_axis
    if flipped is not None and flipped >= axes:
        field = "training.augmentation.flip_axis"
        yield Contradiction(field=field, expected=f"an axis below {axes}", got=flipped)


def _of_intensities(
    preprocessing: PreprocessingOptions, loss: LossOptions, training: TrainingOptions
) -> Iterator[Contradiction]:
    if preprocessing.normalization != "zscore":
        return
    second = loss.second_similarity
    needs_unit_range = {
        f"loss.similarity {loss.similarity}": SIMILARITIES[loss.similarity].needs_unit_range,
        f"loss.second_similarity {second}": second and SIMILARITIES[second].needs_unit_range,
        "training.augmentation.intensity": training.augmentation.intensity > 0,
    }
    for name, needed in needs_unit_range.items():
        if needed:
            yield Contradiction(
                field="preprocessing.normalization",
                expected=f"percentile or minmax with {name}",
                got="zscore",
            )
