"""What changed since the last report: its small record, and the differences to it.

The record holds what a reader acts on: the best setting of each scope, the verdicts, and which
comparisons there were. It has no date: the same results make the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict

from hmopt.errors import HmoptError
from hmopt.files import read_record, write_json
from hmopt.report.material import Material
from hmopt.report.part import Section
from hmopt.report.words import plural, scope_title, setting_value, symbol
from hmopt.schemas import Name, Record

WHAT = "the findings of the previous report"
ADVICE = "Remove the file; the next report then lists no changes."

OF_SCOPES = ("granularity", "labels")
"""Sections with a question for each scope: a question that is new there is told by the scope."""

MOST_NAMED = 6
"""Things of one kind that a sentence names."""

Choice = bool | int | float | str

T = TypeVar("T")


class RecordedScope(Record):
    """A scope of the last report."""

    model_config = ConfigDict(extra="forbid")

    title: Name
    setting: dict[str, Choice]
    """Its best setting."""


class RecordedSection(Record):
    """A section of the last report."""

    model_config = ConfigDict(extra="forbid")

    title: Name
    verdicts: dict[str, str]
    """By question: the verdict."""


class ReportRecord(Record):
    """What the last report said."""

    model_config = ConfigDict(extra="ignore")

    metric: Name
    scopes: dict[str, RecordedScope]
    """By name."""
    sections: dict[str, RecordedSection]
    """By anchor."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How a report differs from the one before.

    Parameters
    ----------
    optima
        Best values that are shown as others, as `λ* of thalamus: 0.30 → 0.35`.
    verdicts
        Verdicts that are others, in the same form.
    new, gone
        Scopes, sections and compared methods that are new, or are not there any more.
    """

    optima: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.optima or self.verdicts or self.new or self.gone)

    def __str__(self) -> str:
        """Return one line for a person; nothing where nothing changed."""
        if not self:
            return ""
        parts = []
        if self.verdicts:
            parts.append(
                f"{plural(len(self.verdicts), 'verdict')} changed ({_some(self.verdicts)})"
            )
        if self.optima:
            parts.append(f"{plural(len(self.optima), 'best value')} changed ({_some(self.optima)})")
        if self.new:
            parts.append(f"added: {_some(self.new)}")
        if self.gone:
            parts.append(f"removed: {_some(self.gone)}")
        return f"Changes since the previous report: {'; '.join(parts)}"


def _some(named: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(named[:MOST_NAMED])
    more = len(named) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def record_of(material: Material, sections: Mapping[str, Section]) -> ReportRecord:
    """Return the record of a report.

    Parameters
    ----------
    material
        The analysed study.
    sections
        Its sections, by anchor.
    """
    scopes = {}
    for finding in material.findings:
        setting = dict(finding.full.optimum.setting)
        scopes[finding.scope.name] = RecordedScope(
            title=scope_title(finding.scope), setting=setting
        )
    return ReportRecord(
        metric=material.searched.search.metric,
        scopes=scopes,
        sections={
            anchor: RecordedSection(title=section.title, verdicts=dict(section.verdicts))
            for anchor, section in sections.items()
        },
    )


def changes_between(before: ReportRecord, now: ReportRecord) -> Changes:
    """Return how a report differs from the one before.

    Best values that are written alike are the same: a difference below their rounding is none.

    Examples
    --------
    >>> thalamus = {"label=thalamus": RecordedScope(title="thalamus", setting={"regularization": 0.3})}
    >>> moved = {"label=thalamus": RecordedScope(title="thalamus", setting={"regularization": 0.35})}
    >>> before = ReportRecord(metric="dice", scopes=thalamus, sections={})
    >>> print(changes_between(before, ReportRecord(metric="dice", scopes=moved, sections={})))
    Changes since the previous report: 1 best value changed (λ* of thalamus: 0.30 → 0.35)
    >>> bool(changes_between(before, before))
    False
    """
    new = [f"scope {scope.title}" for scope in _only_in(now.scopes, before.scopes)]
    gone = [f"scope {scope.title}" for scope in _only_in(before.scopes, now.scopes)]
    new += [section.title for section in _only_in(now.sections, before.sections)]
    gone += [section.title for section in _only_in(before.sections, now.sections)]
    new += _questions(now, before)
    gone += _questions(before, now)
    verdicts = list(_verdicts(before, now))
    if before.metric != now.metric:
        verdicts.insert(0, f"optimized metric: {before.metric} → {now.metric}")
    return Changes(
        optima=tuple(_optima(before, now)),
        verdicts=tuple(verdicts),
        new=tuple(new),
        gone=tuple(gone),
    )


def _only_in(these: Mapping[str, T], others: Mapping[str, T]) -> list[T]:
    return [value for name, value in these.items() if name not in others]


def _optima(before: ReportRecord, now: ReportRecord) -> Iterator[str]:
    for name, scope in now.scopes.items():
        earlier = before.scopes.get(name)
        if earlier is None:
            continue
        for hyperparameter in dict.fromkeys([*scope.setting, *earlier.setting]):
            was = setting_value(earlier.setting.get(hyperparameter))
            is_now = setting_value(scope.setting.get(hyperparameter))
            if was != is_now:
                yield f"{symbol(hyperparameter)}* of {scope.title}: {was} → {is_now}"


def _verdicts(before: ReportRecord, now: ReportRecord) -> Iterator[str]:
    for anchor, section in now.sections.items():
        earlier = before.sections.get(anchor)
        if earlier is None:
            continue
        for question, answer in section.verdicts.items():
            was = earlier.verdicts.get(question)
            if was is not None and was != answer:
                yield f"{question}: {was} → {answer}"


def _questions(these: ReportRecord, others: ReportRecord) -> list[str]:
    """Return the comparisons of one report that another has not, in sections that both have."""
    found = []
    for anchor, section in these.sections.items():
        other = others.sections.get(anchor)
        if other is not None and anchor not in OF_SCOPES:
            found += [question for question in section.verdicts if question not in other.verdicts]
    return found


def read_last(path: Path) -> ReportRecord | None:
    """Read the record of the last report; None where there was none.

    Raises
    ------
    HmoptError
        If it was damaged.
    """
    if not path.is_file():
        return None
    return read_record(path, ReportRecord, error=HmoptError, what=WHAT, advice=ADVICE)


def write_last(path: Path, record: ReportRecord) -> None:
    """Write the record of a report."""
    write_json(path, record.model_dump(mode="json"))
