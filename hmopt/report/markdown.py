"""The report in short, as Markdown: verdicts, best settings, held-out gains, comparisons and methods."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.headline import advise, caveats, headline_sentences
from hmopt.report.material import Material, held_out_score
from hmopt.report.methods import Methods
from hmopt.report.overview import on_front, sorted_for_reading
from hmopt.report.page import few_everywhere, tiles
from hmopt.report.part import Place, Section
from hmopt.report.words import (
    MISSING,
    choices_text,
    estimate_text,
    gain_text,
    kind_name,
    metric_name,
    scope_title,
    setting_text,
    setting_value,
    spread_values,
    symbol,
    value_name,
)

WITH_TABLE = ("granularity", "programs")
"""Sections whose table stands in the summary; of the others their sentences do."""

MOST_VALUES = 2
"""Hyperparameters with a column each; of more, a setting is one column."""

_MEANING = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]#|~$"} | {"<": "&lt;", ">": "&gt;"})
"""What stands for characters that Markdown or HTML would take for markup."""

Rows = Sequence[Sequence[str]]


def plain(text: str) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    Examples
    --------
    >>> print(plain("λ* of <b>left|right</b>"))
    λ\* of &lt;b&gt;left\|right&lt;/b&gt;
    """
    words = text.replace("&", "&amp;").translate(_MEANING).split()
    return " ".join(words)


def summary_text(
    material: Material,
    sections: Mapping[str, tuple[Place, Section]],
    methods: Methods,
) -> str:
    """Return the summary of a report, as Markdown.

    Parameters
    ----------
    material
        The analysed study.
    sections
        The sections of its report, by anchor, with their places.
    methods
        Its methods.
    """
    first, *others = headline_sentences(material)
    value = value_name(material.searched.space).removeprefix("a ")
    blocks = [f"# {plain(material.searched.name)}: best {value}", f"**{plain(first)}**"]
    if others:
        blocks.append(_bullets(others))
    blocks.append(_table(["", "", ""], tiles(material)))
    few = few_everywhere(material)
    if few:
        blocks.append(plain(few))
    blocks += _optima(material)
    for place in Place:
        blocks += _sections(place, sections)
    blocks += ["## Limitations", _bullets(caveats(material))]
    blocks += _methods(methods)
    return "\n\n".join(blocks) + "\n"


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {plain(one)}" for one in sentences)


def _table(columns: Sequence[str], rows: Rows) -> str:
    """Return a table; its cells are text as it is shown."""
    lines = [_row(columns), _row(["---"] * len(columns), is_text=False)]
    lines += [_row(cells) for cells in rows]
    return "\n".join(lines)


def _row(cells: Sequence[str], is_text: bool = True) -> str:
    shown = [plain(cell) if is_text else cell for cell in cells]
    return f"| {' | '.join(shown)} |"


def _of_frame(table: pd.DataFrame) -> str:
    columns = [str(name) for name in table.columns]
    rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    return _table(columns, rows)


def _optima(material: Material) -> list[str]:
    """Return a table of best settings for each family of the first page."""
    blocks = [f"## Best {_names(material)}"]
    for kinds, findings in by_kinds(material.findings).items():
        if not on_front(kinds):
            continue
        if kinds:
            blocks.append(f"### For each {plain(kind_name(kinds))}")
        rows = [_optimum_row(material, one) for one in sorted_for_reading(kinds, findings)]
        blocks.append(_table(list(rows[0]), [list(row.values()) for row in rows]))
    metric = metric_name(material.searched.search.metric, full=True)
    blocks.append(
        plain(
            f"Values in parentheses are 95 % intervals over subjects. Scores and gains are {metric} on held-out "
            f"subjects; the smallest relevant difference is {material.margin:g}."
        )
    )
    return blocks


def _names(material: Material) -> str:
    names = material.searched.space.names
    return "settings" if len(names) > MOST_VALUES else " and ".join(symbol(name) for name in names)


def _optimum_row(material: Material, finding: ScopeResult) -> dict[str, str]:
    optimum = finding.full.optimum
    metric = metric_name(material.searched.search.metric)
    names = material.searched.space.names
    row = {"scope": scope_title(finding.scope)}
    if len(names) > MOST_VALUES:
        row["best setting"] = setting_text(optimum.setting)
    else:
        row |= {f"{symbol(name)}*": _best(optimum, name) for name in names}
    score, held = held_out_score(finding), finding.held_out
    row[f"held-out {metric}"] = MISSING
    if score is not None:
        row[f"held-out {metric}"] = estimate_text(score)
    row["gain over the default"] = (
        MISSING if held is None else gain_text(held.over_default.estimate)
    )
    has_common = held is not None and bool(finding.scope.criteria)
    row["gain over the single best"] = MISSING
    if has_common and held is not None:
        row["gain over the single best"] = gain_text(held.over_common.estimate)
    row["recommendation"] = advise(material, finding).text
    row["warnings"] = ", ".join(flag.title for flag in finding.warnings)
    return row


def _best(optimum: Optimum, name: str) -> str:
    """Return a best value with its interval, or the choices that may be best."""
    value = setting_value(optimum.setting.get(name))
    if name in optimum.choices:
        choices = optimum.choices[name]
        return f"{value} ({choices_text(choices)})" if choices else value
    interval = optimum.intervals[name]
    if math.isnan(interval.low):
        return value
    return f"{value} ({spread_values(interval.low, interval.high)})"


def _sections(place: Place, sections: Mapping[str, tuple[Place, Section]]) -> list[str]:
    found = {anchor: section for anchor, (where, section) in sections.items() if where is place}
    if not found:
        return []
    blocks = [f"## {plain(place.value)}"]
    for anchor, section in found.items():
        blocks += [f"### {plain(section.title)}", plain(section.found)]
        if anchor in WITH_TABLE and section.table is not None:
            blocks.append(_of_frame(section.table))
    return blocks


def _methods(methods: Methods) -> list[str]:
    blocks = ["## Methods", *[plain(paragraph) for paragraph in methods.paragraphs]]
    if not methods.references:
        return blocks
    entries = []
    for place, reference in enumerate(methods.references, 1):
        link = f" <{reference.link}>" if reference.link else ""
        entries.append(f"{place}. {plain(reference.text)}{link}")
    blocks += ["### References", "\n".join(entries)]
    code = f"```bibtex\n{methods.bibtex}```"
    blocks.append(f"<details><summary>BibTeX</summary>\n\n{code}\n\n</details>")
    return blocks
