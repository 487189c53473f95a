"""Which granularity pays: one setting for all over the default, one for each group, label or subject over that one."""

import pandas as pd

from hmopt.analysis.evidence import LEAST, Evidence
from hmopt.analysis.family import families
from hmopt.analysis.gain import Gain
from hmopt.report.gain import (
    gain_cells,
    gain_numbers,
    granularity_name,
    pays,
    worth,
)
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import TASKS, listed, metric_name, noun, p_text, setting_text, signed


def granularity_section(material: Material) -> Section | None:
    """Give what choosing gains at each granularity, tested together; None where nothing could be judged."""
    tested = material.granularities
    if not tested:
        return None
    groups = _groups(material)
    return Section(
        anchor="granularity",
        title="Which granularity pays?",
        found=_found(material, tested),
        table=_table(material, tested, groups),
        notes=(_explained(material), *_too_few(groups)),
        numbers={
            "gain_per_granularity": {gain.name: gain_numbers(gain) for gain in tested},
            "gain_per_group": {gain.name: gain_numbers(gain) for gain in groups},
        },
    )


def _groups(material: Material) -> list[Gain]:
    """Give the groups of every family but that of labels, which have a section of their own."""
    several = [them for kinds, them in families(material.findings).items() if len(kinds) == 1 and kinds != ("label",)]
    names = [finding.scope.name for them in several for finding in them]
    return [material.gains[name] for name in names if name in material.gains]


def _found(material: Material, tested: list[Gain]) -> str:
    sure = [gain for gain in tested if pays(gain)]
    few = [gain for gain in tested if gain.evidence is Evidence.TOO_FEW]
    none = [gain for gain in tested if gain not in (*sure, *few)]
    clauses = [
        (sure, "There is evidence that it pays to choose"),
        (none, "There is no evidence that it pays to choose"),
        (few, "There are too few subjects to test whether it pays to choose"),
    ]
    return " ".join(f"{said} {listed([_named(material, one) for one in them])}." for them, said in clauses if them)


def _named(material: Material, gain: Gain) -> str:
    amount = f"{signed(gain.gain.value)}, {p_text(gain.p_adjusted)}"
    if gain.over == "default":
        return f"one for all over the default {setting_text(dict(material.searched.space.default))} ({amount})"
    return f"one for each {granularity_name(gain)} over one for all ({amount})"


def _table(material: Material, tested: list[Gain], groups: list[Gain]) -> pd.DataFrame:
    least = worth(material)
    rows = [{"": _row_title(gain), "over": _over(material, gain), **gain_cells(gain, least)} for gain in tested]
    rows += [{"": _group_title(gain), "over": "one for all", **gain_cells(gain, least)} for gain in groups]
    return pd.DataFrame(rows)


def _row_title(gain: Gain) -> str:
    return "one for all" if gain.over == "default" else f"one for each {granularity_name(gain)}"


def _over(material: Material, gain: Gain) -> str:
    return setting_text(dict(material.searched.space.default)) if gain.over == "default" else "one for all"


def _group_title(gain: Gain) -> str:
    kind, value = gain.name.split("=", maxsplit=1)
    return f"only {TASKS.get(value, value) if kind == 'task' else f'{kind} {value}'}"


def _explained(material: Material) -> str:
    metric, search = metric_name(material.searched.search.metric), material.searched.search
    return (
        f"Gain in {metric} on subjects that did not choose {noun(material.searched.space)}: {search.folds} folds, "
        f"dealt {search.repeats} times. Each subject counts once (mean over its pairs) in a one-sided Wilcoxon "
        "signed-rank test; p-values of the granularities are corrected together by Holm, and so are those of groups. "
        "The interval is of the mean over pairs, and can hold 0 where nearly all subjects gain."
    )


def _too_few(groups: list[Gain]) -> list[str]:
    return [
        f"{_group_title(gain).removeprefix('only ').capitalize()}: {gain.subjects} subjects are too few for a test, "
        f"which needs at least {LEAST}; its gain is a hint."
        for gain in groups
        if gain.evidence is Evidence.TOO_FEW
    ]
