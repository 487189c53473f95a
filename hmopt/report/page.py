"""The page: what stands in it, and its making from the template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hmopt.analysis.cross_validation import by_kinds, kinds_of
from hmopt.analysis.optimum import within_range
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.files import slug
from hmopt.report import words
from hmopt.report.advice import advise
from hmopt.report.declared import declared, steps
from hmopt.report.headline import caveats, fact, headline
from hmopt.report.material import Material
from hmopt.report.outlines import Example, read_examples
from hmopt.report.section import Section
from hmopt.study_folder import StudyFolder

TEMPLATE = "index.html.jinja"


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """The figures of a page, as elements of it.

    Parameters
    ----------
    optima
        By hyperparameter: best values of the first page's scopes.
    subjects
        By kinds of the family: subjects' best values.
    curves
        By scope name: its response.
    training
        The training curve; None without a log.
    sections
        By name: figures of the sections.
    """

    optima: Mapping[str, Markup]
    subjects: Mapping[tuple[str, ...], Markup]
    curves: Mapping[str, Markup]
    training: Markup | None
    sections: Mapping[str, Markup]


def render(material: Material, drawings: Drawings, answers: Sequence[Section]) -> str:
    """Give the page as HTML."""
    environment = Environment(
        loader=PackageLoader("hmopt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    few = few_everywhere(material)
    said = (OptimumWarning.FEW_SUBJECTS,) if few else ()
    gathered = by_kinds(material.findings)
    sections = [
        _section(material, drawings, kinds, found, said) for kinds, found in gathered.items()
    ]
    return environment.get_template(TEMPLATE).render(
        name=material.searched.name,
        headline=headline(material),
        tiles=tiles(material),
        metric=words.metric_name(material.searched.search.metric),
        names=material.searched.space.names,
        symbols={name: words.symbol(name) for name in material.searched.space.names},
        front=[section for section in sections if section["front"]],
        sections=sections,
        answers=answers,
        drawings=drawings,
        default=material.searched.space.default,
        training=training_facts(material.training),
        declared=declared(material),
        steps=steps(material),
        caveats=caveats(material),
        folding_limit=words.percent(material.searched.search.folding_limit),
        full_metric=words.metric_name(material.searched.search.metric, full=True),
        margin=f"{material.margin:g}",
        few=few,
        nearest=any(row["nearest"] is not None for section in sections for row in section["rows"]),
        differing=[
            row["title"]
            for section in sections
            if section["front"]
            for row in section["rows"]
            if row["nearest_differs"]
        ],
        w=words,
    )


def few_everywhere(material: Material) -> str:
    """Give one sentence where all scopes have few subjects, so that no row need say it."""
    if not all(
        OptimumWarning.FEW_SUBJECTS in finding.warnings
        for finding in material.findings
        if not _of_subject(finding)
    ):
        return ""
    few = OptimumWarning.FEW_SUBJECTS.message
    return f"{few} This holds for all scopes: {material.cohort.subjects} subjects were searched."


def _of_subject(finding: ScopeResult) -> bool:
    return "subject" in kinds_of(finding)


def on_front(kinds: tuple[str, ...]) -> bool:
    """Give whether a family stands on the first page: single kinds, subjects apart."""
    return len(kinds) <= 1 and "subject" not in kinds


def sorted_for_reading(kinds: tuple[str, ...], findings: list[ScopeResult]) -> list[ScopeResult]:
    """Give the scopes of a family in the order of their best values; groups in the order of the table."""
    if kinds != ("label",):
        return findings
    return sorted(
        findings,
        key=lambda finding: (tuple(finding.full.optimum.setting.values()), finding.scope.name),
    )


def tiles(material: Material) -> list[tuple[str, str, str]]:
    """Give the numbers that stand under the headline: name, value, and a remark."""
    cohort, metric = material.cohort, words.metric_name(material.searched.search.metric)
    optimum, held = cohort.full.optimum, cohort.held_out
    score = None if held is None else held_out_score(cohort)
    found = [
        (f"{metric} before registration", fact(cohort.score_unregistered), "mean over structures"),
        (
            f"{metric} held out",
            fact(score.value if score else None),
            words.interval_remark(score) if score else "",
        ),
        *(
            (
                f"{words.symbol(name)}* for all",
                words.setting_value(value),
                words.setting_interval(optimum.intervals[name]),
            )
            for name, value in optimum.setting.items()
        ),
        (
            "folded voxels there",
            words.percent(optimum.folding),
            f"limit {words.percent(_limit(material))}",
        ),
        ("pairs", str(len(cohort.full.response.pairs)), f"of {cohort.subjects} subjects"),
        *_nearest_tiles(cohort),
        ("training", fact(material.training_minutes, " min", 0), "once, for all settings"),
    ]
    return [(name, value, remark) for name, value, remark in found if value is not None]


def held_out_score(finding: ScopeResult) -> Estimate | None:
    """Give the held-out score with its interval, which keeps to what the metric can be."""
    held = finding.held_out
    return None if held is None else within_range(finding.full.response.metric, held.score.estimate)


def _nearest_tiles(finding: ScopeResult) -> list[tuple[str, str, str]]:
    """Give the best setting by nearest-neighbour Dice, where the search is by partial-volume Dice."""
    nearest = finding.reported.get("dice_nearest")
    if nearest is None or nearest.optimum is None:
        return []
    setting = nearest.optimum.setting
    return [
        (
            f"{words.symbol(name)}* by nearest-neighbour Dice",
            words.setting_value(value),
            words.setting_interval(nearest.optimum.intervals[name]),
        )
        for name, value in setting.items()
    ]


def _limit(material: Material) -> float:
    return material.searched.search.folding_limit


def _section(
    material: Material,
    drawings: Drawings,
    kinds: tuple[str, ...],
    findings: list[ScopeResult],
    said: tuple[OptimumWarning, ...],
) -> dict[str, Any]:
    return {
        "title": words.kind_name(kinds),
        "kinds": kinds,
        "front": on_front(kinds),
        "compact": "subject" in kinds,
        "figure": drawings.subjects.get(kinds),
        "rows": [_row(material, finding, said) for finding in sorted_for_reading(kinds, findings)],
    }


def _row(
    material: Material, finding: ScopeResult, said: tuple[OptimumWarning, ...]
) -> dict[str, Any]:
    """Give what a row shows of a scope; `said` are the flags that the page says once for all."""
    held = finding.held_out
    regularization = finding.full.optimum.setting.get("regularization")
    return {
        "title": words.scope_title(finding.scope),
        "anchor": f"scope-{slug(finding.scope.name)}",
        "name": finding.scope.name,
        "kinds": kinds_of(finding),
        "finding": finding,
        "optimum": finding.full.optimum,
        "held": held,
        "unpooled": finding.held_out_unpooled,
        "score": held_out_score(finding),
        "advice": advise(material, finding),
        "own_gain": material.gains.get(finding.scope.name),
        "default_gain": material.default_gains.get(finding.scope.name),
        "reported": _reported(finding),
        "scale": material.searched.loss_scale,
        "ratio": None if regularization is None else _ratio(regularization),
        "flags": [flag for flag in finding.warnings if flag not in said],
        "examples": _examples(material, finding),
        "nearest": finding.reported.get("dice_nearest"),
        "nearest_differs": nearest_differs(finding),
    }


def _reported(finding: ScopeResult) -> list[tuple[str, str]]:
    """Give what other metrics say, as names and sentences."""
    entries = []
    for name, one in finding.reported.items():
        if name == "folding":
            continue
        text = words.number(one.at_optimum)
        if one.optimum is not None:
            best = words.setting_text(dict(one.optimum.setting))
            text += f"; by it {best} would be best, with {words.number(one.optimum.score.value)}"
        entries.append((words.metric_name(name, full=True), text))
    return entries


def nearest_differs(finding: ScopeResult) -> bool:
    """Give whether nearest-neighbour Dice is best at a setting outside the interval of the best one.

    Where there is no interval, as of too few subjects, nothing can be said.
    """
    nearest = finding.reported.get("dice_nearest")
    if nearest is None or nearest.optimum is None:
        return False
    best, intervals = nearest.optimum.setting, finding.full.optimum.intervals
    return any(
        best[name] not in found for name, found in intervals.items() if not math.isnan(found.low)
    )


def _ratio(regularization: float) -> float:
    return regularization / (1 - regularization) if regularization < 1 else float("inf")


def _examples(material: Material, finding: ScopeResult) -> list[Example]:
    label = finding.scope.label
    code = None if label is None else material.measurements.labels.index(label) + 1
    path = StudyFolder(material.folder).example_file(finding.scope.name)
    return read_examples(path, code)


def training_facts(training: pd.DataFrame | None) -> str:
    """Give how long the training took and how it ended, as a sentence; nothing without a log."""
    if training is None or training.empty or "step" not in training:
        return ""
    last = training.iloc[-1]
    minutes = f" in {last['minutes']:.0f} minutes" if "minutes" in training else ""
    return f"{int(last['step'])} steps{minutes}."
