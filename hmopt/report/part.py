"""A part of a report: one question, what answers it, and where the answer stands on the page."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import pandas as pd
from matplotlib.figure import Figure

from hmopt.report.material import Material


class Place(Enum):
    """Where a part stands on the page; the value is the heading in the table of contents."""

    RESULTS = "Results"
    """Before the details of each scope."""

    CHECKS = "Reliability and cost"
    """After the details of each scope."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A further table of a section.

    Parameters
    ----------
    title
        The heading above it.
    content
        Of text as it is shown, rows named by the first column.
    """

    title: str
    content: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Section:
    """The answer of a part, ready to be shown.

    Parameters
    ----------
    title
        The heading.
    found
        One or two sentences that answer the question, made from the numbers.
    figures
        By file name: figures that are drawn in the page and kept in `report/figures` and `results/figures`.
    pictures
        By file name: figures that show images of the cohort. They are kept in `report/figures` only.
    table
        Of text as it is shown, rows named by the first column; None without a table.
    remarks
        Sentences above the table that explain its columns.
    notes
        Sentences below the table on methods and limits.
    further
        Tables below the first one.
    numbers
        What goes into `summary.json`, ready for JSON but for NaN.
    files
        By file name, as `beside.csv`: tables of numbers that are kept in `report` and `results`.
    verdicts
        By question, as `one λ for each structure over the default`: the verdict. The next report says which are
        others.
    """

    title: str
    found: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    further: tuple[Table, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)


class ReportPart(ABC):
    """One question that a report answers.

    A part declares where it stands (`anchor`, `place`) and which fields of `Material` it needs. `section` is called
    only where all of these are there. Register a part with `hmopt.add_report_part`.

    Attributes
    ----------
    anchor
        Identifier of the section in the page: lower case, words joined by hyphens.
    place
        Where it stands on the page.
    needs
        Fields of `Material` that must not be None or empty.

    Examples
    --------
    >>> class PairsPerTask(ReportPart):
    ...     anchor = "pairs-per-task"
    ...     place = Place.RESULTS
    ...
    ...     def section(self, material: Material) -> Section:
    ...         counts = material.measurements.pairs["task"].value_counts()
    ...         return Section(
    ...             title="Pairs per task",
    ...             found=f"{counts.sum()} pairs were measured.",
    ...             table=counts.astype(str).reset_index(),
    ...             numbers={"pairs_per_task": counts.to_dict()},
    ...         )
    """

    anchor: ClassVar[str]
    place: ClassVar[Place]
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def section(self, material: Material) -> Section | None:
        """Return the answer; None where nothing was measured that could give one."""

    def has_needed(self, material: Material) -> bool:
        """Return whether every field that the part needs is there."""
        return all(_is_there(getattr(material, name)) for name in self.needs)


def _is_there(value: object) -> bool:
    if value is None:
        return False
    return not isinstance(value, Mapping | tuple | list) or len(value) > 0
