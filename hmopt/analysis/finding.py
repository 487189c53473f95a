"""Everything that measurements say about each scope."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmopt.analysis.flag import FEW, Flag, find_flags, response_flags
from hmopt.analysis.held_out import HeldOut, choose, deal, judge
from hmopt.analysis.source import Source, View, subject_of
from hmopt.declaration.search import SearchSection
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.search.curve import Curve, gain
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known about one scope.

    Parameters
    ----------
    scope
        Whom or what the setting is chosen for.
    full, half
        At full and at half training; None where half training was not measured.
    held_out
        Scores on subjects that did not choose; None where there are too few for that.
    common
        The best single setting for all pairs and labels; None where no setting was measured for all of them.
    score_unregistered
        The scope's score before registration, over the same pairs; NaN where that was not measured.
    score_at_common, score_at_default, score_unregularized
        The scope's score at the best single setting for all, at the default, and with `regularization` at its
        lowest and the rest at the default; NaN where that was not measured.
    subjects
        How many subjects its pairs are of.
    flags
        Reasons to be careful.
    """

    scope: Scope
    full: View
    half: View | None
    held_out: HeldOut | None
    common: Setting | None
    score_unregistered: float
    score_at_common: float
    score_at_default: float
    score_unregularized: float
    subjects: int
    flags: tuple[Flag, ...]


class Judge:
    """Held-out scores of many scopes over the same folds of subjects.

    Parameters
    ----------
    source
        The measurements.
    section
        How many folds, how often and from which seed subjects are dealt.
    """

    def __init__(self, source: Source, section: SearchSection) -> None:
        self.source = source
        subjects = sorted({*source.moving, *source.fixed})
        self.dealing = deal(subjects, section.folds, section.repeats, section.seed)
        everything = source.curves.of(Scope(criteria=()))
        rounds = section.folds * section.repeats
        self.common: Index | None = None
        self.commons: list[Index | None] = [None] * rounds
        if everything is not None:
            self.common = everything.settings[everything.best()]
            parts = self.dealing.parts(source.moving[everything.pairs], source.fixed[everything.pairs])
            self.commons = choose(everything, parts.choose)

    def held_out(self, scope: Scope, response: Curve) -> HeldOut | None:
        """Give the held-out scores of a scope."""
        first, second = self.source.sides(scope)
        parts = self.dealing.parts(first[response.pairs], second[response.pairs])
        samples = self.source.samples(scope, response)
        default = response.space.index(response.space.default)
        return judge(response, parts, self.commons, default, samples)


def find_all(
    measurements: Measurements,
    half: Measurements | None,
    scopes: Sequence[Scope],
    section: SearchSection,
    track: Track = silent,
    before: Measurements | None = None,
) -> list[Finding]:
    """Give what is known about each scope that anything was measured for.

    Parameters
    ----------
    measurements, half
        Of the model at full and at half training.
    scopes
        Whom or what settings are chosen for.
    section
        Metric, folding limit, folds, repeats and seed.
    track
        Who listens to progress.
    before
        Of the same pairs before registration.
    """
    source = Source(measurements, section)
    halfway = None if half is None else Source(half, section)
    judge_of_all = Judge(source, section)
    findings = []
    for scope in track(scopes, "analysing", len(scopes)):
        view = source.view(scope)
        if view is not None:
            at_half = halfway.view(scope) if halfway else None
            findings.append(_finding(scope, view, at_half, source, judge_of_all, _score_before(before, scope, view)))
    return findings


def _score_before(before: Measurements | None, scope: Scope, view: View) -> float:
    if before is None:
        return np.nan
    return float(before.score(view.response.metric.name, scope.label)[0, view.response.pairs].mean())


def _finding(scope: Scope, view: View, half: View | None, source: Source, bench: Judge, unregistered: float) -> Finding:
    response, means = view.response, np.append(view.response.means, np.nan)
    default = response.space.default
    lowest = {h.name: h.low for h in response.space.hyperparameters if h.name == "regularization"}
    pairs = response.pairs
    subjects = len({*source.moving[pairs], *source.fixed[pairs]})
    return Finding(
        scope=scope,
        full=view,
        half=half,
        held_out=bench.held_out(scope, response),
        common=None if bench.common is None else response.space.setting(bench.common),
        score_unregistered=unregistered,
        score_at_common=float(means[-1 if bench.common is None else response.place(bench.common)]),
        score_at_default=float(means[response.place(response.space.index(default))]),
        score_unregularized=float(means[response.place(response.space.index({**default, **lowest}))]),
        subjects=subjects,
        flags=(
            *response_flags(response),
            *find_flags(response.space, view.optimum, half.optimum if half else None),
            *((Flag.NO_BETTER,) if not _is_better(response, view, unregistered) else ()),
            *_few(scope, subjects),
        ),
    )


def _few(scope: Scope, subjects: int) -> tuple[Flag, ...]:
    if subject_of(scope) is None:
        return (Flag.FEW_SUBJECTS,) if subjects < FEW else ()
    return (Flag.FEW_PARTNERS,) if subjects - 1 < FEW else ()


def _is_better(response: Curve, view: View, unregistered: float) -> bool:
    improvement = gain(response.metric, np.array([view.optimum.score.value]), np.array([unregistered]))
    return bool(np.isnan(unregistered) or improvement[0] > 0)
