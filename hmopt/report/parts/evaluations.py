"""Registrations that the search took, beside those of a full grid."""

from typing import Any

import pandas as pd

from hmopt.analysis.evaluations import Evaluations, Grid, count_evaluations
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import MISSING, metric_name, number, percent, setting_text

VALUES = (3, 5, 10, 20)
"""Values of each hyperparameter on the grids of the table."""

ASKED = {1: 20, 2: 10}
"""Values of the grid that the sentence is about, by the number of hyperparameters: as a user would run it."""

ASKED_OF_MANY = 5
"""The same for three and more."""

MOST_DIGITS = 4
"""Digits of a regret."""


class EvaluationsPart(ReportPart):
    """What the search cost, against a full grid over the same ranges, and what it may have missed."""

    anchor = "evaluations"
    place = Place.CHECKS

    def section(self, material: Material) -> Section | None:
        """Return the registrations of the search and of grids."""
        search = material.searched.search
        dense = material.files.dense_measurements()
        registrations = material.searched.registrations
        if dense is not None and search.metric not in dense.values:
            dense = None
        found = count_evaluations(material.measurements, search, VALUES, dense, registrations)
        return Section(
            title="Registrations compared with a full grid",
            found=_found(found, material),
            table=pd.DataFrame([_row(found, grid) for grid in found.grids]),
            notes=_notes(found, material),
            numbers={"evaluations": _numbers(found)},
        )


def _found(found: Evaluations, material: Material) -> str:
    asked = _asked(found, len(material.searched.space.names))
    cohort = material.cohort
    pairs = len(material.measurements.pairs)
    text = (
        f"The search measured {pairs} pairs at {found.settings} settings: {found.registrations:,} registrations, "
        f"{_times(found, asked)} required by a full grid of at most {asked.values} values per hyperparameter "
        f"({asked.settings:,} settings)."
    )
    regret = found.regret
    if regret is None:
        return text
    metric = metric_name(material.searched.search.metric)
    where = setting_text(cohort.full.optimum.setting)
    lost = number(regret.value, MOST_DIGITS)
    bound = number(regret.bound, MOST_DIGITS)
    at_most = "" if bound == MISSING else f" (at most {bound} with 95 % confidence)"
    how = "measured" if regret.measured else "interpolated"
    among = f"{regret.settings:,} {how} settings"
    return f"{text} At {where}, the regret in {metric} is {lost}{at_most}, compared with the best of {among}."


def _asked(found: Evaluations, hyperparameters: int) -> Grid:
    values = ASKED.get(hyperparameters, ASKED_OF_MANY)
    for grid in found.grids:
        if grid.values >= values:
            return grid
    return found.grids[-1]


def _times(found: Evaluations, grid: Grid) -> str:
    share = found.share(grid)
    return (
        f"{percent(share)} of the number" if share < 1 else f"{number(share, 1)} times the number"
    )


def _share(share: float) -> str:
    return percent(share) if share < 1 else f"{number(share, 1)} times"


def _row(found: Evaluations, grid: Grid) -> dict[str, str]:
    return {
        "": f"grid with {grid.values} values per hyperparameter",
        "settings": f"{grid.settings:,}",
        "registrations": f"{grid.registrations:,}",
        "search relative to grid": _share(found.share(grid)),
    }


def _notes(found: Evaluations, material: Material) -> tuple[str, ...]:
    notes = [
        "The grid spaces values evenly over the range of each hyperparameter; integer and categorical "
        "hyperparameters are limited to the values that exist. For the grid as for the search, a single sweep "
        "serves all scopes.",
    ]
    if found.regret is not None and not found.regret.measured:
        notes.append(
            "The response is interpolated between measured settings. The bound refers to the whole cohort: "
            "subjects are resampled, and the best setting of each sample is compared with the one found by the "
            "search."
        )
    return tuple(notes)


def _numbers(found: Evaluations) -> dict[str, Any]:
    regret = found.regret
    return {
        "settings": found.settings,
        "registrations": found.registrations,
        "grids": {
            str(grid.values): {
                "settings": grid.settings,
                "registrations": grid.registrations,
                "share": found.share(grid),
            }
            for grid in found.grids
        },
        "regret": None if regret is None else regret.value,
        "regret_bound": None if regret is None else regret.bound,
    }
