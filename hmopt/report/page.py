"""The page: what stands in it, and its making from the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hmopt.analysis.family import families, family
from hmopt.analysis.finding import Finding
from hmopt.files import slug
from hmopt.metric import find_metric
from hmopt.report import words
from hmopt.report.declared import declared, steps
from hmopt.report.headline import caveats, fact, headline
from hmopt.report.material import EXAMPLES_FOLDER, Material
from hmopt.report.outlines import Example, read_examples
from hmopt.report.section import Section

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
    sections = [_section(material, drawings, kinds, found) for kinds, found in families(material.findings).items()]
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
        steps=steps(),
        caveats=caveats(material),
        folding_limit=words.percent(material.searched.search.folding_limit),
        w=words,
    )


def on_front(kinds: tuple[str, ...]) -> bool:
    """Give whether a family stands on the first page: single kinds, subjects apart."""
    return len(kinds) <= 1 and "subject" not in kinds


def sorted_for_reading(kinds: tuple[str, ...], findings: list[Finding]) -> list[Finding]:
    """Give the scopes of a family in the order of their best values; groups in the order of the table."""
    if kinds != ("label",):
        return findings
    return sorted(findings, key=lambda finding: (tuple(finding.full.optimum.setting.values()), finding.scope.name))


def tiles(material: Material) -> list[tuple[str, str, str]]:
    """Give the numbers that stand under the headline: name, value, and a remark."""
    cohort, metric = material.cohort, words.metric_name(material.searched.search.metric)
    optimum, held = cohort.full.optimum, cohort.held_out
    found = [
        (f"{metric} before registration", fact(cohort.score_unregistered), "mean over structures"),
        (
            f"{metric} held out",
            fact(held.score.value if held else None),
            f"95 % interval {words.spread(held.score.low, held.score.high)}" if held else "",
        ),
        *(
            (
                f"{words.symbol(name)}* for all",
                words.setting_value(value),
                f"95 % interval {words.setting_value(optimum.intervals[name].low)} to "
                f"{words.setting_value(optimum.intervals[name].high)}",
            )
            for name, value in optimum.setting.items()
        ),
        ("folded voxels there", words.percent(optimum.folding), f"limit {words.percent(_limit(material))}"),
        ("pairs", str(len(cohort.full.response.pairs)), f"of {cohort.subjects} subjects"),
        ("training", fact(material.training_minutes, " min", 0), "once, for all settings"),
    ]
    return [(name, value, remark) for name, value, remark in found if value is not None]


def _limit(material: Material) -> float:
    return material.searched.search.folding_limit


def _section(material: Material, drawings: Drawings, kinds: tuple[str, ...], findings: list[Finding]) -> dict[str, Any]:
    return {
        "title": words.kind_name(kinds),
        "kinds": kinds,
        "front": on_front(kinds),
        "compact": "subject" in kinds,
        "figure": drawings.subjects.get(kinds),
        "rows": [_row(material, finding) for finding in sorted_for_reading(kinds, findings)],
    }


def _row(material: Material, finding: Finding) -> dict[str, Any]:
    held = finding.held_out
    regularization = finding.full.optimum.setting.get("regularization")
    return {
        "title": words.scope_title(finding.scope),
        "anchor": f"scope-{slug(finding.scope.name)}",
        "name": finding.scope.name,
        "kinds": family(finding),
        "finding": finding,
        "optimum": finding.full.optimum,
        "held": held,
        "scale": material.searched.loss_scale,
        "ratio": None if regularization is None else _ratio(regularization),
        "flags": finding.flags,
        "examples": _examples(material, finding),
        "unit": find_metric(material.searched.search.metric).unit,
    }


def _ratio(regularization: float) -> float:
    return regularization / (1 - regularization) if regularization < 1 else float("inf")


def _examples(material: Material, finding: Finding) -> list[Example]:
    label = finding.scope.label
    code = None if label is None else material.measurements.labels.index(label) + 1
    return read_examples(material.folder / EXAMPLES_FOLDER / f"{slug(finding.scope.name)}.npz", code)


def training_facts(training: pd.DataFrame | None) -> str:
    """Give how long the training took and how it ended, as a sentence; nothing without a log."""
    if training is None or training.empty or "step" not in training:
        return ""
    last = training.iloc[-1]
    minutes = f" in {last['minutes']:.0f} minutes" if "minutes" in training else ""
    return f"{int(last['step'])} steps{minutes}."
