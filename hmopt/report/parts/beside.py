"""Methods side by side: other study folders, engines and tables of scores on the same pairs."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from hmopt.analysis.beside import Beside, Difference, Entry, break_even
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate
from hmopt.report.beside import read_beside
from hmopt.report.figure import FOURTH, INK, MUTED, OTHER, OWN, PAPER, THIRD, legend, new_figure
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.summary import named
from hmopt.report.words import (
    MISSING,
    duration,
    estimate_text,
    gain_text,
    interval_text,
    listed,
    metric_name,
    number,
    p_text,
    percent,
    probability,
    setting_text,
    shorten,
    signed,
    signed_value,
)

ROW = 0.42
"""Height of a row of the figure, in inches."""

DECADE = 10
"""From this ratio of times on, their axis is logarithmic."""

COLOURS = (OWN, OTHER, THIRD, MUTED, INK, FOURTH)
"""Of methods, in their order."""

TITLE_LENGTH = 40
"""Characters of a method's title in the figure, at most."""

SHAPES = {"tuned": "o", "per_structure": "D", "default": "s", "matched": "v", None: "^"}
"""Marks, by choice."""

LOOKS = {
    "better": (THIRD, THIRD),
    "worse": (OTHER, OTHER),
}
"""Colour and inside of a mark, by verdict."""


class BesidePart(ReportPart):
    """The study beside other methods: study folders and tables of scores that `[report]` names."""

    anchor = "programs"
    place = Place.RESULTS

    def section(self, material: Material) -> Section | None:
        """Return a row for each method; None where nothing is declared."""
        found = read_beside(material.files)
        if found is None:
            return None
        section = beside_section(found)
        return replace(section, numbers={**section.numbers, **refined_numbers(found)})


def beside_section(found: Beside) -> Section:
    """Return the comparison of several methods, ready to be shown."""
    return Section(
        title="Comparison of methods",
        found=_found(found),
        figures={"beside": beside_figure(found)},
        remarks=found.remarks,
        table=pd.DataFrame([_row(found, entry) for entry in found.entries]),
        further=(
            Table(title="Scores per structure", content=_by_structure(found)),
            Table(
                title="Time",
                content=pd.DataFrame([_cost_row(found, entry) for entry in found.entries]),
            ),
            Table(title="Pairwise comparisons", content=_every_two(found)),
        ),
        notes=_notes(found),
        numbers={"beside": numbers(found), **versus_numbers(found)},
        files={"beside.csv": found.table()},
        verdicts=_verdicts(found),
    )


def _verdicts(found: Beside) -> dict[str, str]:
    """Return whether each method is better or worse than the first one."""
    first, *others = found.entries
    verdicts = {}
    for other in others:
        difference = found.difference(other.title, first.title)
        answer = MISSING if difference is None else difference.verdict
        verdicts[f"{other.title} against {first.title}"] = answer
    return verdicts


def _found(found: Beside) -> str:
    first = found.entries[0]
    sentences = _compared(found, first, found.entries[1:])
    if found.own.source != first.source:
        sentences += _compared(found, found.own, found.others)
    return " ".join(sentences)


def _compared(found: Beside, entry: Entry, others: Sequence[Entry]) -> list[str]:
    """Return sentences that say how others differ from an entry."""
    score = found.score(entry)
    by_verdict: dict[str, list[str]] = {}
    for other in others:
        difference = found.difference(other.title, entry.title)
        if difference is None:
            continue
        by_verdict.setdefault(difference.verdict, []).append(
            f"{other.title} ({_amount(difference)})"
        )
    sentences = []
    if score is not None:
        metric = metric_name(found.metric.name)
        sentences.append(f"{entry.title} reaches a {metric} of {number(score.value)}.")
    told = [
        ("better", "Better are"),
        ("worse", "Worse are"),
        (Evidence.NEGLIGIBLE.answer, f"Within {found.margin:g} of it are"),
        (Evidence.NONE.answer, "There is no evidence of a difference to"),
        (Evidence.TOO_FEW.answer, "There are too few subjects to compare it with"),
    ]
    for verdict, start in told:
        names = by_verdict.get(verdict)
        if names:
            verb = start.replace(" are", " is") if len(names) == 1 else start
            sentences.append(f"{verb} {listed(names)}.")
    return sentences


def _amount(difference: Difference) -> str:
    """Return a difference with its interval, and the p-value where that alone tells why there is no evidence."""
    estimate = difference.mean.estimate
    if math.isnan(estimate.low):
        return signed(estimate.value)
    amount = f"{signed_value(estimate)}, {interval_text(estimate)}"
    excludes_zero = estimate.low > 0 or estimate.high < 0
    if difference.evidence is Evidence.NONE and excludes_zero:
        return f"{amount}, {p_text(difference.p_adjusted)} after Holm"
    return amount


def _row(found: Beside, entry: Entry) -> dict[str, str]:
    first = found.entries[0]
    metric = metric_name(found.metric.name)
    score = found.score(entry)
    difference = found.difference(entry.title, first.title)
    row = {
        "": entry.title,
        "setting": _settings(entry),
        metric: MISSING if score is None else _estimate(score),
        f"difference to {first.title}": _difference(difference),
        "verdict": MISSING if difference is None else difference.verdict,
        "pairs": str(found.pairs_of(entry)),
        "folded voxels": percent(entry.folding),
        "log-Jacobian SD": number(entry.roughness, 2),
    }
    if any(one.failures for one in found.entries):
        row["failed"] = str(entry.failures)
    return row


def _cost_row(found: Beside, entry: Entry) -> dict[str, str]:
    first = found.entries[0]
    row = {
        "": entry.title,
        "seconds per pair": _seconds(entry.seconds),
        "registrations for tuning": _count(entry),
        "tuning time": _tuning(entry),
    }
    if _has_trained(found):
        row["training time"] = _duration(entry.training_minutes)
    row[f"{first.title} is faster"] = _break_even(first, entry)
    return row


def _has_trained(found: Beside) -> bool:
    """Return whether a model was trained, as far as is known: an engine took no minutes."""
    return any(entry.training_minutes != 0 for entry in found.entries)


def _settings(entry: Entry) -> str:
    texts = {label: setting_text(setting) for label, setting in entry.settings.items()}
    different = list(dict.fromkeys(texts.values()))
    if not different:
        return MISSING
    if len(different) == 1:
        return different[0]
    return f"{len(different)} settings, see the table per structure"


def _estimate(score: tuple[float, float, float]) -> str:
    return estimate_text(Estimate(*score))


def _difference(difference: Difference | None) -> str:
    return MISSING if difference is None else gain_text(difference.mean.estimate)


def _seconds(seconds: float) -> str:
    if not math.isfinite(seconds):
        return MISSING
    return number(seconds, 2) if seconds >= 0.1 else f"{seconds:.2g}"


def _count(entry: Entry) -> str:
    if entry.choice is None:
        return MISSING
    return f"{entry.evaluations:,}" if entry.evaluations else "none"


def _duration(minutes: float) -> str:
    if not math.isfinite(minutes):
        return MISSING
    return duration(minutes) if minutes else "none"


def _tuning(entry: Entry) -> str:
    text = _duration(entry.tuning_minutes)
    is_known = entry.tuning_minutes > 0
    return text if entry.tuning_is_complete or not is_known else f"at least {text}"


def _break_even(first: Entry, entry: Entry) -> str:
    """Return for how many pairs the first method takes less time."""
    if entry is first:
        return MISSING
    count = break_even(first, entry)
    if math.isnan(count):
        return MISSING
    if math.isfinite(count):
        return f"from {int(count):,} pairs" if count > 1 else "always"
    of_other = break_even(entry, first)
    if math.isfinite(of_other) and of_other > 1:
        return f"up to {int(of_other) - 1:,} pairs"
    return "never"


def _by_structure(found: Beside) -> pd.DataFrame:
    """Return a row for each structure: the score of each entry, and how it differs from the first."""
    first = found.entries[0]
    rows = []
    for label in found.labels:
        row = {"": label}
        for entry in found.entries:
            score = found.score(entry, label)
            text = MISSING if score is None else number(score.value)
            difference = found.difference(entry.title, first.title, label)
            if difference is not None:
                text += f" ({signed(difference.mean.value)}, {difference.verdict})"
            used = entry.settings.get(label)
            if entry.choice == "per_structure" and used is not None:
                text += f" at {setting_text(used)}"
            row[entry.title] = text
        rows.append(row)
    return pd.DataFrame(rows)


def _every_two(found: Beside) -> pd.DataFrame:
    """Return a row for every two entries, over all structures."""
    rows = []
    for one in found.differences:
        if one.label is not None:
            continue
        row = {
            "": f"{one.first} − {one.second}",
            "difference (95 % interval)": gain_text(one.mean.estimate),
            "pairs": str(one.pairs),
            "subjects": str(one.mean.subjects),
            "p": probability(one.mean.p_value),
            "p, Holm": probability(one.p_adjusted),
            "verdict": one.verdict,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _notes(found: Beside) -> tuple[str, ...]:
    metric = metric_name(found.metric.name)
    included = "training and tuning" if _has_trained(found) else "tuning"
    notes = [
        f"{metric}: mean over structures, on the {len(found.shared)} pairs that all methods have. Tuned settings "
        "are scored on subjects that were not used to choose them, with the same splits for all methods; the "
        "setting shown was chosen on all subjects. Differences are computed on the same pairs; "
        "their 95 % intervals over subjects (jackknife) include the variation of the chosen settings. P-values "
        f"are corrected by Holm's method: jointly over all comparisons with {_asked(found)}, jointly over the "
        "remaining pairs of methods, and per structure over the structures of two methods. Negligible: equivalent "
        f"within a margin of {found.margin:g}.",
        "Seconds, folding and the standard deviation of the log Jacobian refer to the setting shown; with a "
        "setting per structure, the seconds are the total over all required registrations. A dash means not "
        "measured. Times depend on the machine on which each method ran. Tuning time is that of all "
        "searches of a study folder, also of earlier declarations. The last column of the times gives the number of "
        "pairs for which "
        f"{found.entries[0].title} takes less time, {included} included.",
    ]
    if any(entry.choice == "matched" for entry in found.entries):
        matched = (
            "Matched: the setting of a method whose deformations are as rough, measured by the standard deviation "
            f"of the log Jacobian, as those of {found.entries[0].source} at its tuned setting. Its difference to "
            "the tuned setting of the same method shows whether a setting can be transferred between methods."
        )
        notes.append(matched)
    if any(not entry.tuning_is_complete for entry in found.entries):
        incomplete = (
            "Tuning time: at least, where the registrations themselves took longer than the searches that are on "
            "record (one was interrupted, or several workers shared it), or where no search is on record."
        )
        notes.append(incomplete)
    if _has_trained(found):
        trainings = (
            "Intervals describe the variation between subjects, not between trainings of a model."
        )
        notes.append(trainings)
    if found.sparse:
        have = "has" if len(found.sparse) == 1 else "have"
        names = listed(found.sparse)
        notes.insert(
            0,
            (
                f"{names} {have} fewer pairs. The scores shown are means over these pairs only; compare methods by the "
                "differences, which are computed on the pairs that both have."
            ),
        )
    return tuple(notes)


def _asked(found: Beside) -> str:
    """Return the methods whose comparisons are families of their own."""
    first = found.entries[0]
    if found.own.source == first.source:
        return first.title
    return f"{first.title}, jointly over all comparisons of other methods with {found.own.title}"


def numbers(found: Beside) -> dict[str, Any]:
    """Return the comparison for `summary.json`."""
    entries: dict[str, Any] = {}
    for entry in found.entries:
        score = found.score(entry)
        count = break_even(found.entries[0], entry)
        by_label = {label: found.score(entry, label) for label in found.labels}
        entries[entry.title] = {
            "method": entry.source,
            "choice": entry.choice,
            "score": None if score is None else list(score),
            "scores": {label: one and list(one) for label, one in by_label.items()},
            "settings": {label: dict(setting) for label, setting in entry.settings.items()},
            "pairs": found.pairs_of(entry),
            "seconds": entry.seconds,
            "folding": entry.folding,
            "log_jacobian_sd": entry.roughness,
            "failures": entry.failures,
            "evaluations": entry.evaluations,
            "tuning_hours": entry.tuning_minutes / 60,
            "tuning_is_complete": entry.tuning_is_complete,
            "training_hours": entry.training_minutes / 60,
            "first_is_faster_from": None if entry is found.entries[0] else count,
        }
    return {
        "metric": found.metric.name,
        "margin": found.margin,
        "pairs": len(found.shared),
        "labels": list(found.labels),
        "entries": entries,
        "differences": [_difference_numbers(one) for one in found.differences],
    }


def versus_numbers(found: Beside) -> dict[str, Any]:
    """Return for `summary.json` how the study's model, refined where it is, differs from each other method.

    The name is of the method's title: `versus_syn` of one that is called SyN. `speed_ratio`: how many times as long a
    pair takes with the other method.
    """
    numbers: dict[str, Any] = {}
    own = found.own
    for other in found.others:
        difference = found.difference(own.title, other.title)
        if difference is None:
            continue
        words = re.findall(r"[a-z0-9]+", other.source.lower())
        name = "_".join(["versus", *words])
        numbers[name] = {
            **_difference_numbers(difference),
            "speed_ratio": other.seconds / own.seconds if own.seconds > 0 else math.nan,
        }
    return numbers


def refined_numbers(found: Beside) -> dict[str, Any]:
    """Return for `summary.json` the score and the seconds of the study's model refined; nothing where it is not."""
    own = found.own
    score = found.score(own)
    if own.source == found.entries[0].source or score is None:
        return {}
    return {
        **named(f"{found.metric.name}_held_out_refined", score),
        "seconds_per_pair_refined": own.seconds,
    }


def _difference_numbers(one: Difference) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "label": one.label,
        "difference": one.mean.value,
        "interval": list(one.mean.interval),
        "p_adjusted": one.p_adjusted,
        "pairs": one.pairs,
        "subjects": one.mean.subjects,
        "verdict": one.verdict,
    }


def beside_figure(found: Beside) -> Figure:
    """Draw the differences to the first method, and scores against time where times are known."""
    entries = found.entries[1:]
    timed = [entry for entry in found.entries if entry.seconds > 0]
    has_times = len(timed) > 1
    height = ROW * max(len(entries), 3) + 1.5
    figure = new_figure(11.0 if has_times else 6.6, max(height, 3.2))
    if has_times:
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_times(right, found, timed)
    else:
        left = figure.subplots()
    _draw_differences(left, found)
    legend(figure, columns=4 if has_times else 2)
    return figure


def _draw_differences(axes: Axes, found: Beside) -> None:
    """Draw a row for each method: overall with its interval, and each structure as a small mark."""
    first = found.entries[0]
    metric = metric_name(found.metric.name)
    rows: list[str] = []
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvspan(-found.margin, found.margin, color=MUTED, alpha=0.15, linewidth=0)
    for entry in found.entries[1:]:
        height = -len(rows)
        rows.append(shorten(entry.title, TITLE_LENGTH))
        for label in found.labels:
            of_label = found.difference(entry.title, first.title, label)
            if of_label is not None:
                axes.plot(
                    of_label.mean.value,
                    height - 0.25,
                    "|",
                    color=MUTED,
                    markersize=7,
                    label="structures",
                )
        overall = found.difference(entry.title, first.title)
        if overall is not None:
            _draw_difference(axes, height, overall)
    axes.set_yticks([-place for place in range(len(rows))], rows)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=6)
    axes.set_title(f"Difference to {shorten(first.title, TITLE_LENGTH)}")
    better = "more" if found.metric.direction == "maximize" else "less"
    axes.set_xlabel(f"{metric}, positive: better ({better}); 95 % interval")


def _draw_difference(axes: Axes, height: float, overall: Difference) -> None:
    colour, face = LOOKS.get(overall.verdict, (MUTED, PAPER))
    interval = overall.mean.interval
    if math.isfinite(interval.low):
        axes.plot(
            interval,
            [height, height],
            color=colour,
            linewidth=2,
            zorder=2,
        )
    axes.plot(
        overall.mean.value,
        height,
        "o",
        color=colour,
        markerfacecolor=face,
        markersize=8,
        zorder=3,
        label=overall.verdict,
    )


def _draw_times(axes: Axes, found: Beside, timed: list[Entry]) -> None:
    """Draw scores against seconds of a registration: a colour or fill for each method, a shape for each choice."""
    metric = metric_name(found.metric.name)
    sources = list(dict.fromkeys(entry.source for entry in timed))
    for entry in timed:
        score = found.score(entry)
        if score is None:
            continue
        used, place = divmod(sources.index(entry.source), len(COLOURS))
        colour = COLOURS[place]
        axes.plot(
            entry.seconds,
            score.value,
            SHAPES[entry.choice],
            color=colour,
            # open where the colour stands for an earlier method
            markerfacecolor="white" if used else colour,
            markersize=7,
            linestyle="none",
            label=shorten(entry.title, TITLE_LENGTH),
        )
    seconds = [entry.seconds for entry in timed]
    if max(seconds) >= DECADE * min(seconds):
        axes.set_xscale("log")
        labelled = (1, 2, 5) if max(seconds) < DECADE**2 * min(seconds) else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=labelled))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.12)
    axes.set_xlabel("seconds per pair")
    axes.set_ylabel(metric)
    axes.set_title(f"{metric} and time")
