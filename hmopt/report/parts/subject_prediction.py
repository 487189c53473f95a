"""What a best λ for each person would gain, and how much of it is predicted without labels."""

import math
from typing import Any

import pandas as pd

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.subject_prediction import SubjectPrediction, has_default_regressor
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import (
    MISSING,
    best_name,
    changes,
    gain_text,
    listed,
    metric_name,
    number,
    plural,
    probability,
    value_name,
)


class SubjectPredictionPart(ReportPart):
    """The gain of a setting for each subject: as labels tell it, and as it is predicted without them."""

    anchor = "predicted-subjects"
    place = Place.CHECKS
    needs = ("subject_prediction",)

    def section(self, material: Material) -> Section:
        """Return both gains over one setting for all, on held-out pairs."""
        found = material.subject_prediction
        assert found is not None
        space = material.searched.space
        metric = metric_name(found.metric)
        rows = [
            _row("chosen with labels", found.known, found.p_known, found.evidence_of_known),
            _row("predicted without labels", found.gain, found.p_gain, found.evidence_of_gain),
        ]
        value = value_name(space)
        return Section(
            title=f"Can {value} be predicted for each subject?",
            found=" ".join(_found(found, metric, best_name(space), material.margin)),
            table=pd.DataFrame(rows),
            notes=_notes(found, best_name(space)),
            numbers={"subject_prediction": _numbers(found)},
        )


def _found(found: SubjectPrediction, metric: str, best: str, margin: float) -> list[str]:
    """Return what there is to gain, and what a prediction gains of it."""
    if found.known is None:
        return ["No pair could be held out."]
    sentences = [
        f"Choosing {best} per subject, with labels of its other pairs, {changes(found.metric)} held-out {metric} by "
        f"{gain_text(found.known.estimate)} over one setting for all."
    ]
    high = found.known.interval.high
    if found.evidence_of_known is Evidence.NEGLIGIBLE:
        sentences.append(
            f"With confidence, this gain is below {number(margin)}, which is negligible."
        )
    elif found.evidence_of_known is not Evidence.FOUND and math.isfinite(high):
        sentences.append(f"There is no evidence of a gain, which is at most {number(high)}.")
    if found.gain is not None:
        sentences.append(
            f"Predicting it without labels {changes(found.metric)} {metric} by "
            f"{gain_text(found.gain.estimate)}{_verdict(found)}."
        )
    elif found.features and not has_default_regressor():
        sentences.append(
            "Nothing was predicted, because the required packages are missing; install hmopt[prediction]."
        )
    else:
        sentences.append("No label-free metric differs between subjects, so nothing was predicted.")
    return sentences


def _verdict(found: SubjectPrediction) -> str:
    if found.improves:
        return ", which is evidence of a gain"
    if found.evidence_of_gain is Evidence.FOUND:
        return ", which is evidence of a loss"
    if found.evidence_of_gain is Evidence.NEGLIGIBLE:
        return ", which is negligible"
    return ": no evidence of a gain"


def _row(name: str, mean: Mean | None, p_adjusted: float, evidence: Evidence) -> dict[str, str]:
    columns = ("gain over one setting for all (95 % interval)", "subjects", "p, Holm", "improves?")
    cells = (MISSING,) * len(columns)
    if mean is not None:
        answer = _answer(mean, evidence)
        cells = (
            gain_text(mean.estimate),
            str(mean.subjects),
            probability(p_adjusted),
            answer,
        )
    return {"": name, **dict(zip(columns, cells, strict=True))}


def _answer(mean: Mean, evidence: Evidence) -> str:
    if evidence is Evidence.FOUND and mean.value < 0:
        return "no, worse"
    return evidence.answer


def _notes(found: SubjectPrediction, best: str) -> tuple[str, ...]:
    names = [metric_name(name) for name in found.features]
    features = ""
    if names:
        features = f" Features: {listed(names)}, each at {plural(found.settings, 'setting')}."
    return (
        f"The prediction is trained on {plural(found.choosing, 'subject')} with labels and evaluated on pairs of "
        f"two other subjects.{features}",
        f"Chosen with labels: {best} of a subject is estimated from its pairs with the training subjects, shrunk "
        "towards that of all subjects according to its noise. It shows what labels of these pairs gain; a prediction "
        "can gain more or less.",
        "Intervals are over subjects (jackknife); p-values are corrected over both rows (Holm).",
    )


def _numbers(found: SubjectPrediction) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "features": list(found.features),
        "subjects": found.subjects,
        "learned_from": found.choosing,
        "known": _mean_numbers(found.known, found.p_known, found.evidence_of_known),
        "predicted": _mean_numbers(found.gain, found.p_gain, found.evidence_of_gain),
    }


def _mean_numbers(
    mean: Mean | None, p_adjusted: float, evidence: Evidence
) -> dict[str, Any] | None:
    if mean is None:
        return None
    return {
        "gain": mean.value,
        "interval": [*mean.interval],
        "p_adjusted": p_adjusted,
        "evidence": evidence.value,
    }
