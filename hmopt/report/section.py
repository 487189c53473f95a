"""A part of the page that answers one question."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question, what was found, and what it was found from.

    Parameters
    ----------
    anchor
        What links to it.
    title
        The question.
    found
        One sentence that answers it, made from the numbers.
    figures
        By the name of their files.
    pictures
        Figures that show images of the cohort, which stay in the report: results hold none of the data.
    table
        Of text as it is shown, rows named by the first column; None where figures tell all.
    notes
        Sentences on how to read it, and what to be careful with.
    numbers
        What goes into `summary.json`, ready for JSON but for NaN.
    """

    anchor: str
    title: str
    found: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
