"""Whether landmarks err where the displacement depends on which λ of the confidence set is taken."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.uncertainty import UncertaintyResult
from hmopt.report.figure import OTHER, OWN, legend, new_figure
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import estimate_value, number, plural, setting_text, spread, value_name


class UncertaintyPart(ReportPart):
    """Uncertainty of displacements beside the error of landmarks."""

    anchor = "uncertainty"
    place = Place.CHECKS
    needs = ("uncertainty",)

    def section(self, material: Material) -> Section:
        """Return the rank correlation of both, and the mean error by parts of rising uncertainty."""
        result = material.uncertainty
        assert result is not None
        value = value_name(material.searched.space).removeprefix("a ")
        found = _found(result, value)
        return Section(
            title="Are landmark errors larger where displacements are uncertain?",
            found=found,
            figures={"uncertainty": uncertainty_figure(result)},
            table=_table(result),
            notes=_notes(result, value),
            numbers={"uncertainty": _numbers(result)},
            verdicts={
                "landmark errors are larger where displacements are uncertain": _verdict(result)
            },
        )


def _verdict(result: UncertaintyResult) -> str:
    if result.evidence is Evidence.FOUND:
        return "yes" if result.over_points.value > 0 else "no, smaller"
    return result.evidence.answer


def _found(result: UncertaintyResult, value: str) -> str:
    correlation = (
        f"rank correlation {_correlation(result.over_points)} over {result.points} landmarks"
    )
    of_pairs = f"of {plural(len(result.record.pairs), 'pair')}"
    if result.evidence is Evidence.FLAT:
        return (
            f"Uncertainty or error is equal at all {result.points} landmarks {of_pairs}, so there is no rank "
            "correlation."
        )
    if result.evidence is Evidence.TOO_FEW:
        return (
            "There are too few subjects to test whether landmark errors are larger where the displacement depends "
            f"on {value}: {correlation} {of_pairs}."
        )
    if result.evidence is Evidence.NONE:
        return (
            f"There is no evidence that landmark errors are larger where the displacement depends on {value}: "
            f"{correlation} {of_pairs}."
        )
    more = "larger" if result.over_points.value > 0 else "smaller"
    return f"Landmark errors are {more} where the displacement depends on {value}: {correlation} {of_pairs}."


def _correlation(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return number(estimate.value, 2)
    return f"{estimate_value(estimate, 2)} (95 % interval {spread(estimate.low, estimate.high, 2)})"


def _table(result: UncertaintyResult) -> pd.DataFrame:
    unit = result.record.unit
    rows = []
    for place, part in enumerate(result.parts, start=1):
        rows.append(
            {
                "landmarks by increasing uncertainty": f"group {place}",
                f"uncertainty, {unit}": spread(part.low, part.high),
                "landmarks": str(part.points),
                f"mean error, {unit}": number(part.error, 2),
            }
        )
    return pd.DataFrame(rows)


def _notes(result: UncertaintyResult, value: str) -> tuple[str, ...]:
    record = result.record
    notes = [
        "The uncertainty of a landmark is the standard deviation of its mapped position over "
        f"{len(record.settings)} settings of the 95 % confidence set of the best {value} of the whole cohort. Its "
        f"error is measured at {setting_text(record.setting)}.",
        "The interval is from a bootstrap over subjects. The confidence set represents only the uncertainty about "
        f"{value}, not other sources of error: errors can be large where the displacement is the same for the "
        "whole set.",
    ]
    within = result.within_pairs
    if np.isfinite(within.value):
        notes.append(
            f"Within pairs, the mean rank correlation is {_correlation(within)}; this excludes differences in "
            "difficulty between pairs."
        )
    return tuple(notes)


def uncertainty_figure(result: UncertaintyResult) -> Figure:
    """Draw the error of each landmark over its uncertainty, and the means of parts of them."""
    record = result.record
    figure = new_figure(5.4, 3.4)
    axes = figure.subplots()
    uncertainty = np.concatenate([np.array(one.uncertainty) for one in record.pairs])
    error = np.concatenate([np.array(one.error) for one in record.pairs])
    axes.plot(
        uncertainty,
        error,
        "o",
        color=OWN,
        markersize=3,
        alpha=0.35,
        markeredgewidth=0,
        label="landmark",
    )
    means = [part.mean for part in result.parts]
    errors = [part.error for part in result.parts]
    axes.plot(means, errors, "D-", color=OTHER, markersize=6, label="mean of a group")
    axes.set_xlabel(f"uncertainty, {record.unit}")
    axes.set_ylabel(f"error, {record.unit}")
    legend(figure, columns=2)
    return figure


def _numbers(result: UncertaintyResult) -> dict[str, Any]:
    over, within = result.over_points, result.within_pairs
    return {
        "rank_correlation": over.value,
        "rank_correlation_interval": [over.low, over.high],
        "rank_correlation_within_pairs": within.value,
        "rank_correlation_within_pairs_interval": [within.low, within.high],
        "evidence": result.evidence.value,
        "landmarks": result.points,
        "pairs": len(result.record.pairs),
        "subjects": result.subjects,
        "unit": result.record.unit,
        "settings": [dict(setting) for setting in result.record.settings],
        "parts": [
            {"uncertainty": [part.low, part.high], "landmarks": part.points, "error": part.error}
            for part in result.parts
        ],
    }
