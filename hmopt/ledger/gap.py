"""Which registrations of a model were measured alone, refined and converged: the record that `gap.json` holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import ConfigDict, Field

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import Measurements
from hmopt.schemas import Count, Name, Record
from hmopt.space import Index, Space

WHAT = "what `hmopt search --gap` wrote"
ADVICE = "Restore it from a copy, or run `hmopt search --gap` again."


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A model's registrations after some iterations of refinement.

    Parameters
    ----------
    iterations
        Iterations at most; 0: the model alone.
    identity
        Of the oracle.
    """

    iterations: int
    identity: str


@dataclass(frozen=True, kw_only=True)
class GapRecord:
    """Registrations of a model by stages of refinement, on the same pairs at the same settings.

    Parameters
    ----------
    pairs
        Ids of the pairs.
    settings
        The settings, sorted.
    metrics
        Names of what was measured.
    stages
        The model alone, refined by some iterations, and by so many that most pairs stop by themselves: the last
        stands for the minimum of the loss.
    """

    pairs: tuple[str, ...]
    settings: tuple[Index, ...]
    metrics: tuple[str, ...]
    stages: tuple[Stage, ...]


class _StageEntry(Record):
    """A stage, as `gap.json` holds it."""

    model_config = ConfigDict(extra="forbid")

    iterations: Count
    identity: Name


class _GapFile(Record):
    """What `gap.json` holds."""

    model_config = ConfigDict(extra="ignore")

    model: Name
    pairs: Annotated[list[Name], Field(min_length=1)]
    settings: Annotated[list[dict[str, bool | int | float | str]], Field(min_length=1)]
    metrics: Annotated[list[Name], Field(min_length=1)]
    stages: Annotated[list[_StageEntry], Field(min_length=3, max_length=3)]


def write_gap(path: Path, model: str, record: GapRecord, space: Space) -> None:
    """Write `gap.json`, its settings as values.

    Parameters
    ----------
    path
        The file.
    model
        Identity of the model alone.
    record
        What was measured.
    space
        The searched hyperparameters.
    """
    stages = [
        {"iterations": stage.iterations, "identity": stage.identity} for stage in record.stages
    ]
    content = {
        "model": model,
        "pairs": list(record.pairs),
        "settings": [space.setting(index) for index in record.settings],
        "metrics": list(record.metrics),
        "stages": stages,
    }
    write_json(path, content)


def read_gap(path: Path, space: Space) -> tuple[str, GapRecord]:
    """Read `gap.json`.

    Parameters
    ----------
    path
        The file.
    space
        The searched hyperparameters.

    Returns
    -------
    str
        Identity of the model alone.
    GapRecord
        What was measured.

    Raises
    ------
    LedgerError
        If the file was damaged, or its settings are not of the space.
    """
    content = read_record(path, _GapFile, error=LedgerError, what=WHAT, advice=ADVICE)
    try:
        settings = tuple(space.index(setting) for setting in content.settings)
    except HmoptError as error:
        raise LedgerError(str(path), expected=WHAT, got=one_line(error), advice=ADVICE) from error
    stages = tuple(
        Stage(iterations=entry.iterations, identity=entry.identity) for entry in content.stages
    )
    record = GapRecord(
        pairs=tuple(content.pairs),
        settings=settings,
        metrics=tuple(content.metrics),
        stages=stages,
    )
    return content.model, record


def measurements_of_stages(
    ledger: Ledger,
    record: GapRecord,
    space: Space,
    pairs: pd.DataFrame,
    labels: Sequence[str],
) -> tuple[Measurements, ...]:
    """Read what was measured of each stage, all at the same settings and pairs.

    Parameters
    ----------
    ledger
        Holds it.
    record
        What was measured.
    space
        The searched hyperparameters.
    pairs
        The table of all pairs that were searched.
    labels
        Names of the labels.

    Raises
    ------
    LedgerError
        If the pairs are of another search, or a stage was not measured at all settings.
    """
    chosen = pairs[pairs["pair"].isin(record.pairs)]
    if len(chosen) < len(record.pairs):
        raise _outdated(
            "pairs of the present search", f"{len(record.pairs) - len(chosen)} that are not"
        )
    found = []
    for stage in record.stages:
        measured = ledger.measurements(stage.identity, space, chosen, record.metrics, labels)
        lacking = set(record.settings) - set(measured.settings)
        if lacking:
            got = f"{len(lacking)} settings without, after {stage.iterations} iterations"
            raise _outdated("measurements at every setting", got)
        found.append(measured.at(record.settings))
    return tuple(found)


def _outdated(expected: str, got: str) -> LedgerError:
    return LedgerError(
        "gap.json", expected=expected, got=got, advice="Run `hmopt search --gap` again."
    )
