"""How uncertain displacements are at landmarks: the record that `uncertainty.json` holds."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.schemas import Record
from hmopt.space import Space

WHAT = "what `hmopt search --uncertainty` wrote"
ADVICE = "Restore it from a copy, or run `hmopt search --uncertainty` again."

Setting = dict[str, bool | int | float | str]
Length = Annotated[float, Field(ge=0)]


class PairPoints(Record):
    """The landmarks of one pair, in the order of the fixed image's file."""

    model_config = ConfigDict(extra="forbid")

    pair: Annotated[str, Field(min_length=1)]
    uncertainty: Annotated[list[Length], Field(min_length=1)]
    """Spread of the place that each is mapped to, over the settings."""
    error: Annotated[list[Length], Field(min_length=1)]
    """Distance of that place from where the landmark is, at `setting`."""

    @model_validator(mode="after")
    def _of_the_same_points(self) -> "PairPoints":
        if len(self.uncertainty) != len(self.error):
            raise ValueError("expected an uncertainty and an error of each landmark")
        return self


class UncertaintyRecord(Record):
    """Uncertainty and error at the landmarks of pairs."""

    identity: Annotated[str, Field(min_length=1)]
    """Under which the model was measured."""
    unit: Literal["mm", "voxels"]
    """Of both; voxels are those of the moving image."""
    setting: Setting
    """At which errors were measured: the best one of the whole cohort."""
    settings: Annotated[list[Setting], Field(min_length=1)]
    """Those of its confidence set that displacements were compared at."""
    pairs: Annotated[list[PairPoints], Field(min_length=1)]

    def check_settings(self, path: Path, space: Space) -> None:
        """Refuse settings that are not of the searched hyperparameters.

        Raises
        ------
        LedgerError
            If one is not; the file is named.
        """
        try:
            for setting in [self.setting, *self.settings]:
                space.complete(setting)
        except HmoptError as error:
            got = one_line(error)
            raise LedgerError(str(path), expected=WHAT, got=got, advice=ADVICE) from error


def read_uncertainty(path: Path) -> UncertaintyRecord:
    """Read `uncertainty.json`.

    Raises
    ------
    LedgerError
        If it was damaged.
    """
    return read_record(path, UncertaintyRecord, error=LedgerError, what=WHAT, advice=ADVICE)


def write_uncertainty(path: Path, record: UncertaintyRecord) -> None:
    """Write `uncertainty.json`."""
    write_json(path, record.model_dump(mode="json"))
