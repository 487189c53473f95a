"""What was tuned by gradient: the record that `gradient.json` holds."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.schemas import Count, Name, Record
from hmopt.space import Space

WHAT = "what `hmopt tune-by-gradient` wrote"
ADVICE = "Restore it from a copy, or run `hmopt tune-by-gradient` again."

Setting = dict[str, bool | int | float | str]


class TunedOptimum(Record):
    """A setting that ascents ended at."""

    model_config = ConfigDict(extra="forbid")

    setting: Setting
    score: float
    """Mean over the pairs, in the unit of the objective."""
    starts: Annotated[int, Field(ge=1)]
    """Ascents that ended there."""


class TunedScope(Record):
    """One scope, or one pair, that a setting was tuned for."""

    model_config = ConfigDict(extra="forbid")

    criteria: list[tuple[str, str]]
    """Kinds and values of the scope, or `pair`; none: the whole cohort."""
    pairs: Annotated[list[Name], Field(min_length=1)]
    """Ids of the pairs that the score is a mean over."""
    optima: Annotated[list[TunedOptimum], Field(min_length=1)]
    """Different ones, the best first."""
    evaluations: Annotated[int, Field(ge=1)]
    """Of the score with its gradient on all pairs."""
    unfinished: Count
    """Ascents whose evaluations were used up."""
    seconds: Annotated[float, Field(ge=0)]
    """That tuning took."""
    seconds_of_setting: Annotated[float, Field(ge=0)]
    """That measuring the same pairs at one setting took on the same machine."""


class GradientRecord(Record):
    """What was tuned by gradient."""

    model: Name
    """Identity of the model."""
    objective: Name
    title: str
    direction: Annotated[str, Field(pattern="^(maximize|minimize)$")]
    starts: Annotated[int, Field(ge=1)]
    tuned: Annotated[list[Name], Field(min_length=1)]
    """Hyperparameters that were tuned; others are at their default."""
    scopes: Annotated[list[TunedScope], Field(min_length=1)]

    def check_settings(self, path: Path, space: Space) -> None:
        """Refuse settings that are not of the searched hyperparameters.

        Raises
        ------
        LedgerError
            If one is not; the file is named.
        """
        optima = [optimum for scope in self.scopes for optimum in scope.optima]
        try:
            for optimum in optima:
                space.complete(optimum.setting)
        except HmoptError as error:
            got = one_line(error)
            raise LedgerError(str(path), expected=WHAT, got=got, advice=ADVICE) from error


def read_gradient(path: Path) -> GradientRecord:
    """Read `gradient.json`.

    Raises
    ------
    LedgerError
        If it was damaged.
    """
    return read_record(path, GradientRecord, error=LedgerError, what=WHAT, advice=ADVICE)


def write_gradient(path: Path, record: GradientRecord) -> None:
    """Write `gradient.json`."""
    write_json(path, record.model_dump(mode="json"))
