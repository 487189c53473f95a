"""Which granularity improves held-out scores: one setting for all, or one for each group, label or subject."""

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.report.gain import gain_cells, gain_numbers, granularity_name
from hmopt.report.headline import improvements
from hmopt.report.material import OTHER_SEEDS, Material
from hmopt.report.section import Section
from hmopt.report.words import TASKS, listed, metric_name, p_text, setting_text, signed, value_name


def granularity_section(material: Material) -> Section | None:
    """Give what choosing gains at each granularity, tested together; None where nothing could be judged."""
    tested = material.granularities
    if not tested:
        return None
    groups = _groups(material)
    return Section(
        anchor="granularity",
        title=f"How finely should {value_name(material.searched.space)} be chosen?",
        found=_found(material, tested),
        table=_table(material, tested, groups),
        notes=(_explained(material), _seeds(material), *_too_few(groups)),
        numbers={
            "gain_per_granularity": _by_name(tested),
            "gain_per_group": _by_name(groups),
            "subjects_choosing": tested[0].choosing,
            "agreeing_seeds": material.agreeing_seeds,
        },
    )


def _by_name(gains: list[Gain]) -> dict[str, dict[str, object]]:
    """Give numbers by granularity and by what it is compared with."""
    numbers: dict[str, dict[str, object]] = {}
    for gain in gains:
        numbers.setdefault(gain.name, {})[f"over_{gain.over}"] = gain_numbers(gain)
    return numbers


def _groups(material: Material) -> list[Gain]:
    """Give the groups of every family but that of labels, which have a section of their own."""
    several = [
        them
        for kinds, them in by_kinds(material.findings).items()
        if len(kinds) == 1 and kinds != ("label",)
    ]
    names = [finding.scope.name for them in several for finding in them]
    return [
        gains[name]
        for name in names
        for gains in (material.gains, material.default_gains)
        if name in gains
    ]


def _found(material: Material, tested: list[Gain]) -> str:
    sure = improvements(material)
    loses = [gain for gain in tested if gain.harms]
    same = [gain for gain in tested if gain.evidence is Evidence.NEGLIGIBLE]
    few = [gain for gain in tested if gain.evidence is Evidence.TOO_FEW]
    none = [gain for gain in tested if gain.evidence is Evidence.NONE]
    metric = metric_name(material.searched.search.metric)
    clauses = [
        (sure, f"Held-out {metric} improves with"),
        (loses, f"Held-out {metric} becomes worse with"),
        (same, f"It changes by less than {material.margin:g}, with confidence, with"),
        (none, "There is no evidence of a difference for"),
        (few, "There are too few subjects to test"),
    ]
    return " ".join(
        f"{said} {listed([_named(material, one) for one in them])}."
        for them, said in clauses
        if them
    )


def _named(material: Material, gain: Gain) -> str:
    known = (
        ""
        if gain.evidence is Evidence.TOO_FEW
        else f" ({signed(gain.gain.value)}, {p_text(gain.p_adjusted)})"
    )
    return f"{_row_title(material, gain)} over {_over(material, gain)}{known}"


def _table(material: Material, tested: list[Gain], groups: list[Gain]) -> pd.DataFrame:
    rows = [
        {"": _row_title(material, gain), "over": _over(material, gain), **gain_cells(gain)}
        for gain in tested
    ]
    rows += [
        {"": _group_title(gain), "over": _over(material, gain), **gain_cells(gain)}
        for gain in groups
    ]
    return pd.DataFrame(rows)


def _row_title(material: Material, gain: Gain) -> str:
    value = value_name(material.searched.space)
    return (
        f"one {value} for all"
        if gain.name == "cohort"
        else f"one {value} for each {granularity_name(gain)}"
    )


def _over(material: Material, gain: Gain) -> str:
    if gain.over == "default":
        return f"the default {setting_text(dict(material.searched.space.default))}"
    return "the single best for all"


def _group_title(gain: Gain) -> str:
    kind, value = gain.name.split("=", maxsplit=1)
    return f"only {TASKS.get(value, value) if kind == 'task' else f'{kind} {value}'}"


def _explained(material: Material) -> str:
    metric, divisions = metric_name(material.searched.search.metric), material.divisions
    subjects = len(divisions.subjects)
    if divisions.exhaustive and divisions.choosing == subjects - 2:
        how = f"Every two of {subjects} subjects were held out in turn while the other {divisions.choosing} chose"
    else:
        ways = (
            "in all ways"
            if divisions.exhaustive
            else f"in {len(divisions.selection) // 2} random ways"
        )
        how = (
            f"{divisions.choosing} of {subjects} subjects chose and the others judged, {ways}, "
            "and the other way round"
        )
    return (
        f"Gain in {metric} on held-out subjects. {how}: gains are those of choosing on {divisions.choosing} subjects. "
        "Settings come from curves that are pooled within each family; beside them stands the gain of each scope's own "
        "curve alone. Standard errors are of the delete-one-subject jackknife, tests two-sided by Student's t, and "
        "p-values of the granularities corrected together by Holm. An improvement needs the corrected test and an "
        f"interval without 0; a difference below {material.margin:g} with confidence is called negligible."
    )


def _seeds(material: Material) -> str:
    agreeing = material.agreeing_seeds
    if agreeing is None:
        return "All divisions of the subjects were used: no verdict depends on a random seed."
    return f"With {OTHER_SEEDS} other seeds of the divisions, all verdicts are the same in {agreeing} of {OTHER_SEEDS}."


def _too_few(groups: list[Gain]) -> list[str]:
    few = {
        _group_title(gain): gain.subjects for gain in groups if gain.evidence is Evidence.TOO_FEW
    }
    return [
        f"{title.removeprefix('only ').capitalize()}: {subjects} subjects are too few for a test, which needs at least "
        f"{FEWEST_SUBJECTS}."
        for title, subjects in few.items()
    ]
