"""Which fields with a setting for each structure were measured: the record that `composed.json` holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, PositiveInt

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import Measurements
from hmopt.records import MapKind
from hmopt.schemas import Name, Record
from hmopt.space import Hyperparameter, Index, Space

NAME = "assignment"
"""Hyperparameter of the measurements of several assignments: their number."""
WHAT = "what `hmopt search --per-structure` wrote"
ADVICE = "Restore it from a copy, or run `hmopt search --per-structure` again."


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The settings of one composed field.

    Parameters
    ----------
    common
        Of the background, and of all structures that are not named.
    structures
        Name and setting of each structure that has another one, sorted by name.
    """

    common: Index
    structures: tuple[tuple[str, Index], ...] = ()

    @classmethod
    def of(cls, common: Index, structures: Mapping[str, Index]) -> "Assignment":
        """Return an assignment in its one form, so that equal fields are equal.

        Examples
        --------
        >>> Assignment.of((100,), {"thalamus": (70,), "cortex": (100,), "caudate": (70,)}).structures
        (('caudate', (70,)), ('thalamus', (70,)))
        """
        other = {name: index for name, index in structures.items() if index != common}
        return cls(common=common, structures=tuple(sorted(other.items())))


@dataclass(frozen=True, kw_only=True)
class ComposedFields:
    """Composed fields of one model, measured with maps of one kind.

    Parameters
    ----------
    maps, width
        Kind of the maps, and their smoothing in voxels.
    halves
        Random halves of the subjects on which settings were chosen.
    assignments
        The fields.
    identities
        Of the oracle of each.
    """

    maps: MapKind
    width: float
    halves: int
    assignments: tuple[Assignment, ...]
    identities: tuple[str, ...]


class _AssignmentEntry(Record):
    """One field, as `composed.json` holds it."""

    model_config = ConfigDict(extra="forbid")

    identity: Name
    common: dict[str, bool | int | float | str]
    structures: dict[Name, dict[str, bool | int | float | str]]


class _FieldsEntry(Record):
    """The fields with maps of one kind, as `composed.json` holds them."""

    model_config = ConfigDict(extra="forbid")

    maps: MapKind
    width: Annotated[float, Field(ge=0)]
    halves: PositiveInt
    fields: Annotated[list[_AssignmentEntry], Field(min_length=1)]


class _ComposedFile(Record):
    """What `composed.json` holds."""

    model_config = ConfigDict(extra="ignore")

    model: Name
    kinds: Annotated[list[_FieldsEntry], Field(min_length=1)]


def write_composed(path: Path, model: str, kinds: Sequence[ComposedFields], space: Space) -> None:
    """Write `composed.json`, its settings as values.

    Parameters
    ----------
    path
        The file.
    model
        Identity of the model whose fields are composed.
    kinds
        The fields, by kind of maps.
    space
        The searched hyperparameters.
    """
    entries = []
    for one in kinds:
        fields = []
        for assignment, identity in zip(one.assignments, one.identities, strict=True):
            structures = {name: space.setting(index) for name, index in assignment.structures}
            common = space.setting(assignment.common)
            fields.append({"identity": identity, "common": common, "structures": structures})
        entries.append(
            {"maps": one.maps, "width": one.width, "halves": one.halves, "fields": fields}
        )
    write_json(path, {"model": model, "kinds": entries})


def read_composed(path: Path, space: Space) -> tuple[str, tuple[ComposedFields, ...]]:
    """Read `composed.json`.

    Parameters
    ----------
    path
        The file.
    space
        The searched hyperparameters.

    Returns
    -------
    str
        Identity of the model.
    tuple of ComposedFields
        The fields, by kind of maps.

    Raises
    ------
    LedgerError
        If the file was damaged, or its settings are not of the space.
    """
    content = read_record(path, _ComposedFile, error=LedgerError, what=WHAT, advice=ADVICE)
    try:
        kinds = tuple(_fields(entry, space) for entry in content.kinds)
    except HmoptError as error:
        raise LedgerError(str(path), expected=WHAT, got=one_line(error), advice=ADVICE) from error
    return content.model, kinds


def _fields(entry: _FieldsEntry, space: Space) -> ComposedFields:
    assignments = []
    for field in entry.fields:
        structures = {name: space.index(setting) for name, setting in field.structures.items()}
        assignments.append(Assignment.of(space.index(field.common), structures))
    return ComposedFields(
        maps=entry.maps,
        width=entry.width,
        halves=entry.halves,
        assignments=tuple(assignments),
        identities=tuple(field.identity for field in entry.fields),
    )


def assignment_space(count: int) -> Space:
    """Return the space whose settings are the numbers of so many assignments.

    Examples
    --------
    >>> assignment_space(3).setting((2,))
    {'assignment': 2}
    """
    last = max(count - 1, 1)
    number = Hyperparameter(name=NAME, type="integer", low=0, high=last, step=1, default=0)
    return Space(hyperparameters=(number,))


def measurements_of_fields(
    ledger: Ledger,
    fields: ComposedFields,
    space: Space,
    pairs: pd.DataFrame,
    metrics: Sequence[str],
    labels: Sequence[str],
) -> Measurements:
    """Read what was measured of composed fields: one setting, the number of its assignment, for each.

    Parameters
    ----------
    ledger
        Holds it.
    fields
        The fields.
    space
        The searched hyperparameters.
    pairs, metrics, labels
        What to read.

    Raises
    ------
    LedgerError
        If a field was not measured on all pairs.
    """
    values: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    for assignment, identity in zip(fields.assignments, fields.identities, strict=True):
        measured = ledger.measurements(identity, space, pairs, metrics, labels)
        if assignment.common not in measured.settings:
            raise LedgerError(
                "composed.json",
                expected="measurements of every field",
                got=f"none of field {identity}",
                advice="Run `hmopt search --per-structure` again.",
            )
        place = measured.settings.index(assignment.common)
        for metric in metrics:
            values[metric].append(measured.values[metric][place])
    count = len(fields.assignments)
    return Measurements(
        identity=fields.maps,
        space=assignment_space(count),
        settings=tuple((number,) for number in range(count)),
        pairs=pairs,
        labels=tuple(labels),
        values={metric: np.stack(arrays) for metric, arrays in values.items()},
    )
