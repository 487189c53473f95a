"""What one field gains in which every structure has its own setting, or every region its own λ."""

import math
from typing import Any

import pandas as pd

from hmopt.analysis.beside import Difference
from hmopt.analysis.composed import COMMON, ONE_FIELD, SEPARATE, FieldGain, OneFieldGain
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.regional import RegionalGain
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import (
    MISSING,
    changes,
    gain_text,
    metric_name,
    number,
    percent,
    plural,
    probability,
    signed,
    symbol,
    value_name,
    whole_percent,
)
from hmopt.space import Space

KINDS = {
    "frequency": "frequency in training subjects",
    "fixed": "label map of the fixed image",
    "moving": "label map of the moving image, warped by the common field",
}
"""What tells where structures are."""


class ComposedPart(ReportPart):
    """One field composed of the velocities of several settings, beside one setting and separate fields."""

    anchor = "one-field"
    place = Place.RESULTS
    needs = ("composed",)

    def section(self, material: Material) -> Section | None:
        """Return the gain of one field, a row for each way and kind of maps."""
        space = material.searched.space
        value = value_name(space).removeprefix("a ")
        first, *_ = material.composed
        numbers = {one.fields.maps: _numbers(one) for one in material.composed}
        return Section(
            title=f"One field with a separate {value} for each structure",
            found=" ".join(_found(one, material) for one in material.composed),
            table=pd.DataFrame(_rows(material.composed, space)),
            notes=(_explained(first, material),),
            numbers={"share_of_structure_gain_in_one_field": numbers},
        )


class RegionalPart(ReportPart):
    """One field of a vector of regularization weights, beside one weight for all and separate fields."""

    anchor = "regions"
    place = Place.RESULTS
    needs = ("regional",)

    def section(self, material: Material) -> Section | None:
        """Return the gain of a weight for each region, a row for each way."""
        gain = material.regional
        if gain is None:
            return None
        rows = [
            _row("one λ for all regions", gain, COMMON, None),
            _row(
                "a separate λ and field for each structure",
                gain,
                SEPARATE,
                gain.separate_over_common,
            ),
            _row("one field with a separate λ for each region", gain, ONE_FIELD, gain.over_common),
        ]
        return Section(
            title="One field with a separate λ for each region",
            found=_found_of_regions(gain, material),
            table=pd.DataFrame(rows),
            notes=(_explained_regions(gain),),
            numbers={"regional_gain": _numbers_of_regions(gain)},
        )


def _found(gain: FieldGain, material: Material) -> str:
    name = material.searched.search.metric
    metric, verb = metric_name(name), changes(name)
    separate = gain.separate_over_common
    one = gain.over_common
    sentence = (
        f"One field {verb} held-out {metric} by {gain_text(one.mean.estimate)} over one setting for all "
        f"structures; with separate fields it {verb} by {gain_text(separate.mean.estimate)} (maps: "
        f"{KINDS[gain.fields.maps]})."
    )
    return f"{sentence} {_share(gain)}"


def _share(gain: OneFieldGain) -> str:
    if math.isnan(gain.share.value):
        return "Separate fields show no gain, so no share is given."
    share = f"One field retains {whole_percent(gain.share.value)} of the gain of separate fields"
    if math.isnan(gain.share.low):
        return f"{share}; the evidence for their gain is too weak for an interval."
    return f"{share} (95 % interval {round(100 * gain.share.low)} to {whole_percent(gain.share.high)})."


def _rows(gains: tuple[FieldGain, ...], space: Space) -> list[dict[str, str]]:
    value = value_name(space).removeprefix("a ")
    first = gains[0]
    rows = [
        _row(f"one {value} for all structures", first, COMMON, None),
        _row(
            f"a separate {value} and field for each structure",
            first,
            SEPARATE,
            first.separate_over_common,
        ),
    ]
    for gain in gains:
        title = (
            f"one field with a separate {value} for each structure; maps: {KINDS[gain.fields.maps]}"
        )
        rows.append(_row(title, gain, ONE_FIELD, gain.over_common))
    return rows


def _row(title: str, gain: OneFieldGain, way: str, difference: Difference | None) -> dict[str, str]:
    metric = gain.beside.metric.name
    entry = next(one for one in gain.beside.entries if one.source == way)
    score = gain.beside.score(entry)
    share = gain.share.value
    return {
        "": title,
        metric_name(metric): MISSING if score is None else number(score.value),
        "gain over one setting for all": MISSING
        if difference is None
        else gain_text(difference.mean.estimate),
        "p, Holm": MISSING if difference is None else probability(difference.p_adjusted),
        "improves?": MISSING if difference is None else _verdict(difference),
        "share of the gain": whole_percent(share)
        if way == ONE_FIELD and math.isfinite(share)
        else MISSING,
        "folded voxels": percent(gain.folding[way]),
    }


def _verdict(difference: Difference) -> str:
    if difference.evidence is Evidence.FOUND and difference.mean.value < 0:
        return "no, worse"
    return difference.evidence.answer


def _explained(gain: FieldGain, material: Material) -> str:
    less = gain.over_separate
    return (
        "The velocity fields of the settings are blended with spatial maps of the structures and integrated once. "
        f"Settings were chosen on {gain.choosing} subjects, and all three approaches were scored on pairs of the "
        f"other subjects, in {plural(gain.splits, 'split')} "
        f"({plural(len(gain.fields.assignments), 'different field')}); intervals include the variation of the "
        f"chosen settings. One field differs from separate ones by {signed(less.mean.value)} "
        f"({less.evidence.answer}; maps: {KINDS[gain.fields.maps]}). The interval of the share is computed by "
        f"Fieller's method. Maps are smoothed by a Gaussian of {gain.fields.width:g} voxels. Folding of separate "
        "fields is the mean over structures. Command: hmopt register … --per-structure."
    )


def _found_of_regions(gain: RegionalGain, material: Material) -> str:
    name = material.searched.search.metric
    metric, verb = metric_name(name), changes(name)
    one = gain.over_common
    separate = gain.separate_over_common
    sentence = (
        f"A separate λ for each region {verb} held-out {metric} by {gain_text(one.mean.estimate)} over the best λ "
        f"for all regions ({one.evidence.answer}); with separate fields for each structure it {verb} by "
        f"{gain_text(separate.mean.estimate)}."
    )
    return f"{sentence} {_share(gain)}"


def _explained_regions(gain: RegionalGain) -> str:
    symbols = ", ".join(symbol(name) for name in gain.weights)
    return (
        f"All three approaches use the same model, whose loss contains {symbols}. These are all equal at "
        f"{gain.settings_of_one} of the {gain.settings} measured settings; the first two approaches choose among "
        f"these settings, the third among all. Settings were chosen on {gain.choosing} subjects and scored on "
        f"pairs of the other subjects, in {plural(gain.splits, 'split')}; intervals include the variation of the "
        "chosen settings. The interval of the share is computed by Fieller's method. Folding of separate fields "
        "is the mean over structures."
    )


def _numbers_of_regions(gain: RegionalGain) -> dict[str, Any]:
    return {
        **_numbers_of_one_field(gain),
        "weights": list(gain.weights),
        "settings": gain.settings,
        "settings_of_one": gain.settings_of_one,
    }


def _numbers(gain: FieldGain) -> dict[str, Any]:
    return {
        **_numbers_of_one_field(gain),
        "width": gain.fields.width,
        "fields": len(gain.fields.assignments),
    }


def _numbers_of_one_field(gain: OneFieldGain) -> dict[str, Any]:
    return {
        "share": gain.share.value,
        "share_interval": [gain.share.low, gain.share.high],
        "gain": _difference(gain.over_common),
        "separate_gain": _difference(gain.separate_over_common),
        "over_separate": _difference(gain.over_separate),
        "folding": dict(gain.folding),
        "splits": gain.splits,
        "subjects_choosing": gain.choosing,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "difference": difference.mean.value,
        "interval": list(difference.mean.interval),
        "p_adjusted": difference.p_adjusted,
        "pairs": difference.pairs,
        "subjects": difference.mean.subjects,
        "evidence": difference.evidence.value,
    }
