"""`study.toml` as text: every key that matters to a study, with its value and what it means."""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import tomlkit
from pydantic.fields import FieldInfo
from tomlkit.items import InlineTable, Item, Table

from hmopt.declaration.options import Options
from hmopt.declaration.study import Study

COMMENT_WIDTH = 98
Remarks = Mapping[str, str]
"""By dotted key: why the value is what it is."""

GUIDE = "https://hmopt.github.io/hmopt/reference/study-file/"
HEADING = f"All keys, including those omitted here: {GUIDE}"

_OF_TRAINING = ("network", "hypernetwork", "loss", "training", "compare")
"""Tables that say how a model is trained."""
_OF_ENGINES = (
    "callable",
    "command",
    "engine",
    "outputs",
    "options",
    "version",
    "time_limit_s",
    "threads",
)
"""Keys of `[model]` that an engine has."""
_SELDOM = (
    "plugins",
    "report",
    "refine",
    "model.warnings",
    "model.trust_code",
    "search.sampler_options",
    "search.spending_options",
)
"""Keys that few studies need."""


def write_document(study: Study, remarks: Remarks) -> str:
    r"""Return the text of a `study.toml` that declares a study, with a comment above each key.

    What a key of `[hyperparameters.NAME]` means stands above the first one only. Left out at their
    defaults are keys that have no use in this study, as those of engines in `[model]` of a model
    that is trained, and a few that are seldom needed.

    Parameters
    ----------
    study
        What to declare.
    remarks
        By dotted key, as `preprocessing.shape`: what the value was inferred from.

    Returns
    -------
    str
        TOML. A key that has no value stands there as a comment.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [8, 8]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> text = write_document(parse_study({"cohort": {"manifest": "cohort.csv"}, **values}), {"name": "The folder's."})
    >>> print("\n".join(text.splitlines()[2:8]))
    # Name of the study in reports and Optuna studies.
    # The folder's.
    name = "x"
    <BLANKLINE>
    # Images and labels, given by `manifest` or by `images` and `labels`.
    [cohort]
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(HEADING))
    document.add(tomlkit.nl())
    writer = _Writer(remarks=remarks, useless=useless_keys(study))
    writer.fill(document, study, "", set())
    # tomlkit adds an empty line of its own before tables by name
    return re.sub(r"\n{3,}", "\n\n", tomlkit.dumps(document))


def useless_keys(study: Study) -> frozenset[str]:
    """Return tables and dotted keys that a study has no use for, or that are seldom needed.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [8, 8]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> study = parse_study({"cohort": {"manifest": "cohort.csv"}, **values})
    >>> {"model.threads", "search.trials", "cohort.images"} <= useless_keys(study), "loss" in useless_keys(study)
    (True, False)
    """
    keys = {*_SELDOM, *_of_the_other_source(study), *_of_the_other_search(study)}
    keys |= {f"cohort.{name}" for name in _other_images(study)}
    if study.model.source == "optimize":
        keys -= {"refine"}
    if study.model.source != "trained":
        keys |= {*_OF_TRAINING, "cohort.license", "cohort.citation", "split.seed", "pairs.tune"}
        keys |= {f"hyperparameters.{name}.end_point_rate" for name in study.hyperparameters}
    if study.model.source == "optimize":
        keys -= {"network", "loss"}
        keys |= {f"network.{name}" for name in ("encoder", "decoder", "final")}
        keys |= {"loss.overlap_labels"}
    return frozenset(keys)


def _other_images(study: Study) -> tuple[str, ...]:
    """Return the keys of the way to name images that is not used."""
    return ("images", "labels") if study.cohort.manifest is not None else ("manifest",)


def _of_the_other_source(study: Study) -> set[str]:
    """Return the keys of `[model]` that models from elsewhere than this one have."""
    model = study.model
    if model.source != "engine":
        useless = set(_OF_ENGINES)
        if model.source in ("trained", "optimize"):
            useless.add("path")
    else:
        useless = {"path", "callable", "command", "engine"}
        if model.command is None:
            useless.add("outputs")
        if model.engine is not None:
            useless.add("version")  # that of the program's package counts
    return {f"model.{name}" for name in useless}


def _of_the_other_search(study: Study) -> set[str]:
    """Return the keys of `[search]` that another sampler, or an engine, has."""
    is_planned = study.search.sampler == "plan"
    useless = {"trials", "spending"} if is_planned else {"coarse", "refinements"}
    if study.model.source != "engine":
        useless.add("jobs")
    return {f"search.{name}" for name in useless}


def toml_value(value: object) -> str:
    """Return a value as TOML writes it.

    Examples
    --------
    >>> toml_value({"hippocampus": ["left", "right"], "λ": 0.5})
    '{hippocampus = ["left", "right"], "λ" = 0.5}'
    """
    return _item(value).as_string()


def table_meaning(options: type[Options]) -> str:
    """Return what a table of the file is about, from the first line of its docstring.

    Examples
    --------
    >>> from hmopt.declaration import TrainingOptions
    >>> table_meaning(TrainingOptions)
    'Optimization of the model.'
    """
    documentation = options.__doc__ or ""
    first_line, *_ = documentation.split("\n")
    _, _, meaning = first_line.partition(": ")
    initial = meaning[:1]
    return initial.upper() + meaning[1:]


def field_meaning(field: FieldInfo) -> str:
    """Return what a key means, in one line, from the docstring below its field."""
    words = (field.description or "").split()
    return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """Writes options as tables.

    Parameters
    ----------
    remarks
        By dotted key: why the value is what it is.
    useless
        Tables and dotted keys that are left out at their defaults.
    """

    remarks: Remarks
    useless: frozenset[str]

    def fill(
        self, table: tomlkit.TOMLDocument | Table, options: Options, path: str, said: set[str]
    ) -> None:
        """Add the keys of options to a table, and behind them, as TOML asks for, its inner tables.

        Parameters
        ----------
        table
            Where they go.
        options
            Keys and values.
        path
            What their dotted keys begin with.
        said
            Keys whose meaning stands above in a table like this one; it grows.
        """
        tables: dict[str, Options | dict[str, Options]] = {}
        for name, field in type(options).model_fields.items():
            value = options.written_value(name)
            if not self._is_written(options, path, name, field):
                continue
            if _holds_tables(value):
                tables[name] = value
                continue
            meaning = "" if name in said else field_meaning(field)
            said.add(name)
            _add_comment(table, meaning)
            _add_comment(table, self.remarks.get(f"{path}{name}", ""))
            if value is None:
                table.add(tomlkit.comment(f"{name} ="))
            else:
                table.add(name, _item(value))
        for name, inner in tables.items():
            if isinstance(inner, Options):
                table.append(name, self._table(inner, f"{path}{name}.", set()))
                continue
            named = tomlkit.table(is_super_table=True)
            said_of_all: set[str] = set()
            for key, one in inner.items():
                named.append(key, self._table(one, f"{path}{name}.{key}.", said_of_all))
            table.append(name, named)

    def _is_written(self, options: Options, path: str, name: str, field: FieldInfo) -> bool:
        if name in options.computed or name not in options.written_keys:
            return False
        is_default = getattr(options, name) == field.get_default(call_default_factory=True)
        return not (is_default and f"{path}{name}" in self.useless)

    def _table(self, options: Options, path: str, said: set[str]) -> Table:
        table = tomlkit.table()
        meaning = "" if said else f"# {table_meaning(type(options))}\n"
        self.fill(table, options, path, said)
        # tomlkit has no comment above the line `[name]`: what stands before it is its indent, which
        # is set last, since keys that are added later would be indented alike
        table.trivia.indent = f"\n{meaning}"
        return table


def _holds_tables(value: object) -> bool:
    """Return whether a value is a table, or several by name, as `[hyperparameters.NAME]`."""
    if isinstance(value, dict):
        are_tables = [isinstance(one, Options) for one in value.values()]
        return any(are_tables)
    return isinstance(value, Options)


def _add_comment(table: tomlkit.TOMLDocument | Table, text: str) -> None:
    for line in textwrap.wrap(text, COMMENT_WIDTH, break_long_words=False):
        table.add(tomlkit.comment(line))


def _item(value: object) -> Item:
    if isinstance(value, Options):
        return _inline(value.model_dump(exclude_none=True))
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for one in value:
            array.append(_item(one))
        return array
    if isinstance(value, PurePath):
        return tomlkit.item(str(value))
    return tomlkit.item(value)


def _inline(values: Mapping[str, object]) -> InlineTable:
    table = tomlkit.inline_table()
    for key, value in values.items():
        table.append(key, _item(value))
    return table
