"""What a search leaves in a study folder, and reading it back from there or from the committed results."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from hmopt.declaration import SearchOptions
from hmopt.declaration.study import load_declared_plugins
from hmopt.errors import HmoptError, LedgerError
from hmopt.files import content_hash, one_line, read_record, write_json
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements
from hmopt.ledger.table import read_measurements
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.space import Hyperparameter, Space
from hmopt.tables import read_text_table, write_table

SEARCH_FILE = "search.json"
PAIRS_FILE = "pairs.csv"
LEDGER_FOLDER = "ledger"
RESULTS_FOLDER = "results"

_ADVICE = "Restore it from a copy, or run `hmopt search` again: what was measured is kept."

Model = Checkpoint | Literal["unregistered"]
"""The model at a checkpoint of its training, or none: the pairs as they are, at the one setting `()`."""

MODELS: tuple[Model, ...] = (*CHECKPOINTS, "unregistered")


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What was searched: the model, what it was measured on, and how the search was declared.

    Parameters
    ----------
    name
        The study's.
    identity, identity_half, identity_unregistered
        Of the model at full and at half training, and of the pairs as they are; None where they were not measured.
    identity_quarter, identity_three_quarters
        Of the model after a quarter and three quarters of its training; None where they were not measured.
    labels
        Names of the measured labels.
    spacing_mm
        Of the prepared grid; None where it is unknown.
    space
        The hyperparameters.
    loss
        `[loss]` as declared.
    loss_scale
        What the similarity was multiplied by.
    steps
        Optimizer steps of the whole training; None where they are not known.
    search
        `[search]` as declared.
    declared
        The sections of the declaration that decide what was measured, as JSON holds them; empty where an earlier
        version searched.
    log_hash
        Hash of `training.csv`; None where there was none, or an earlier version searched.
    pairs_hash
        Hash of the table of pairs; None where an earlier version searched.
    """

    name: str
    identity: str
    identity_half: str | None
    identity_unregistered: str | None = None
    identity_quarter: str | None = None
    identity_three_quarters: str | None = None
    labels: tuple[str, ...]
    spacing_mm: tuple[float, ...] | None
    space: Space
    loss: Mapping[str, Any]
    loss_scale: float
    steps: int | None = None
    search: SearchOptions
    declared: Mapping[str, Any] = field(default_factory=dict)
    log_hash: str | None = None
    pairs_hash: str | None = field(default=None, compare=False)

    def identity_of(self, model: Model) -> str | None:
        """Return what the measurements of a model go by; None where it was not measured."""
        identities: dict[Model, str | None] = {
            "quarter": self.identity_quarter,
            "half": self.identity_half,
            "three-quarters": self.identity_three_quarters,
            "full": self.identity,
            "unregistered": self.identity_unregistered,
        }
        return identities[model]


class _SearchFile(BaseModel):
    """What `search.json` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str
    identity: Annotated[str, Field(min_length=1)]
    identity_quarter: str | None = None
    identity_half: str | None
    identity_three_quarters: str | None = None
    identity_unregistered: str | None = None
    labels: Annotated[list[str], Field(min_length=1)]
    spacing_mm: (
        Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=3)] | None
    )
    space: Annotated[list[dict[str, Any]], Field(min_length=1)]
    loss: dict[str, Any]
    loss_scale: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)] | None = None
    search: SearchOptions
    declared: dict[str, Any] = {}
    log_hash: str | None = None
    pairs_hash: str | None = None

    def hyperparameters(self) -> Space:
        """Return the space of the settings."""
        return Space(hyperparameters=tuple(Hyperparameter(**fields) for fields in self.space))


def write_searched(folder: Path, searched: Searched, pairs: pd.DataFrame) -> None:
    """Write `search.json` and `pairs.csv` into a study folder.

    The storage URL is left out: it can hold a password, and the file is committed.
    """
    content = {
        "name": searched.name,
        "identity": searched.identity,
        "identity_quarter": searched.identity_quarter,
        "identity_half": searched.identity_half,
        "identity_three_quarters": searched.identity_three_quarters,
        "identity_unregistered": searched.identity_unregistered,
        "labels": searched.labels,
        "spacing_mm": searched.spacing_mm,
        "space": [asdict(h) for h in searched.space.hyperparameters],
        "loss": dict(searched.loss),
        "loss_scale": searched.loss_scale,
        "steps": searched.steps,
        "metric": searched.search.metric,
        "search": searched.search.model_dump(mode="json", exclude={"storage"}),
        "declared": dict(searched.declared),
        "log_hash": searched.log_hash,
        "pairs_hash": pairs_hash(pairs),
    }
    write_table(pairs, folder / PAIRS_FILE)
    write_json(folder / SEARCH_FILE, content)


def pairs_hash(pairs: pd.DataFrame) -> str:
    """Return a hash of a table of pairs, whose cells are text."""
    return content_hash(
        [str(name) for name in pairs.columns], pairs.astype(str).to_numpy().tolist()
    )


def search_file(folder: Path) -> Path:
    """Return where `search.json` of a study folder is: in it, or in its `results` where it was not searched here."""
    own = folder / SEARCH_FILE
    return own if own.is_file() else folder / RESULTS_FOLDER / SEARCH_FILE


def read_searched(folder: Path) -> Searched:
    """Read `search.json` of a study folder, or of its `results` where it has not been searched here.

    Raises
    ------
    LedgerError
        If there is none, or it was damaged.
    """
    load_declared_plugins(folder)  # metrics of one's own may have been searched
    path = search_file(folder)
    if not path.is_file():
        raise LedgerError(
            str(folder),
            expected=f"{SEARCH_FILE} of a search",
            got="none",
            advice="Run `hmopt search` first.",
        )
    what = "what `hmopt search` wrote"
    content = read_record(path, _SearchFile, error=LedgerError, what=what, advice=_ADVICE)
    try:
        space = content.hyperparameters()
    except (TypeError, HmoptError) as error:
        raise LedgerError(
            str(path), expected=what, got=f"space: {one_line(error)}", advice=_ADVICE
        ) from error
    return Searched(
        name=content.name,
        identity=content.identity,
        identity_quarter=content.identity_quarter,
        identity_half=content.identity_half,
        identity_three_quarters=content.identity_three_quarters,
        identity_unregistered=content.identity_unregistered,
        labels=tuple(content.labels),
        spacing_mm=None if content.spacing_mm is None else tuple(content.spacing_mm),
        space=space,
        loss=content.loss,
        loss_scale=content.loss_scale,
        steps=content.steps,
        search=content.search,
        declared=content.declared,
        log_hash=content.log_hash,
        pairs_hash=content.pairs_hash,
    )


def results_path(folder: Path, model: Model = "full") -> Path:
    """Give where the committed measurements of a study folder are."""
    return (
        folder
        / RESULTS_FOLDER
        / ("measurements.parquet" if model == "full" else f"measurements-{model}.parquet")
    )


def dense_path(folder: Path) -> Path:
    """Give where the committed measurements of a dense sweep are, if there was one."""
    return folder / RESULTS_FOLDER / "measurements-dense.parquet"


def read_folder(folder: Path, model: Model = "full") -> Measurements:
    """Read what was measured in a study folder: from its ledger, or from its committed results where it has none.

    Parameters
    ----------
    folder
        The study folder.
    model
        The model at the end of training, at an earlier checkpoint, or `unregistered`. Of earlier checkpoints only the
        metrics that decide which setting is best are read.

    Raises
    ------
    LedgerError
        If nothing was measured.
    """
    folder = Path(folder)
    if not has_ledger(folder):
        return read_measurements(results_path(folder, model))
    searched = read_searched(folder)
    whole = model in ("full", "unregistered")
    metrics = searched.search.measured if whole else searched.search.deciding
    return _read_ledger(folder, searched, model, metrics)


def read_dense(folder: Path) -> Measurements | None:
    """Read the optimized metric and folding at every setting of the lattice, as `hmopt search --dense` measures them.

    Parameters
    ----------
    folder
        The study folder; its ledger is read, or its committed results where it has none.

    Returns
    -------
    Measurements or None
        None where some setting was not measured.

    Raises
    ------
    LedgerError
        If nothing was measured.
    """
    folder = Path(folder)
    if not has_ledger(folder):
        path = dense_path(folder)
        return read_measurements(path) if path.is_file() else None
    searched = read_searched(folder)
    measurements = _read_ledger(folder, searched, "full", searched.search.deciding)
    points = math.prod(hyperparameter.points for hyperparameter in searched.space.hyperparameters)
    return measurements if len(measurements.settings) == points else None


def read_pairs(folder: Path) -> pd.DataFrame:
    """Read the table of a study folder's pairs, or of its `results` where it has not been searched here.

    Raises
    ------
    LedgerError
        If there is none, or it is not the one that was searched.
    """
    own = folder / PAIRS_FILE
    path = own if own.is_file() else folder / RESULTS_FOLDER / PAIRS_FILE
    try:
        pairs = read_text_table(path, PAIR_COLUMNS, _ADVICE)
    except FileNotFoundError as error:
        raise LedgerError(
            str(path), expected="the pairs of a search", got="no file", advice=_ADVICE
        ) from error
    known = read_searched(folder).pairs_hash
    if known is not None and known != pairs_hash(pairs):
        raise LedgerError(
            str(path),
            expected=f"the pairs that {SEARCH_FILE} is about",
            got="others",
            advice=_ADVICE,
        )
    return pairs


def has_ledger(folder: Path) -> bool:
    """Tell whether a study folder was searched here, so that its ledger and not its results are to be read."""
    return (folder / SEARCH_FILE).is_file() and (folder / LEDGER_FOLDER).is_dir()


def _read_ledger(
    folder: Path, searched: Searched, model: Model, metrics: Sequence[str]
) -> Measurements:
    identity = searched.identity_of(model)
    space = Space(hyperparameters=()) if model == "unregistered" else searched.space
    if identity is None:
        raise LedgerError(
            str(folder),
            expected=f"measurements of model {model!r}",
            got="none",
            advice="Run `hmopt search` again.",
        )
    ledger = Ledger(folder / LEDGER_FOLDER)
    return ledger.measurements(identity, space, read_pairs(folder), metrics, searched.labels)
