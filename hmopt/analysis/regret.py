"""What networks trained for one setting lose when that setting is the one that an amortized model chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.aligned import Aligned, align, complete
from hmopt.analysis.evidence import Evidence, of_difference
from hmopt.analysis.held_out import Splits, choose, divide, sums_between
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.starts import FEWEST_STARTS, over_starts
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Index


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What retrained networks lose at a setting, on subjects that chose no setting; less than 0 where they gain.

    Parameters
    ----------
    scope
        Whose pairs.
    retraining
        At the amortized model's best setting, against the best of the grid: both chosen by the same subjects, who are
        none of those judged.
    default
        At the default setting, against the same.
    default_more
        How much more the default loses: `default` less `retraining`, pair by pair.
    starts
        Random starts of the networks; their variance is part of the errors where there are two or more.
    trained
        Whether a network was trained at the setting that the amortized model chooses on all pairs: if not, scores
        there are told from the neighbouring ones of the grid.
    evidence
        Whether the default loses more; NEGLIGIBLE where both losses are within the margin with confidence; TOO_FEW of
        too few subjects, or of a single random start.
    pairs
        How many judged.
    """

    scope: Scope
    retraining: Mean
    default: Mean
    default_more: Mean
    starts: int
    trained: bool
    evidence: Evidence
    pairs: int

    @property
    def subjects(self) -> int:
        """How many subjects judged."""
        return self.retraining.subjects


def find_regret(
    amortized: Mapping[str, Measurements],
    separate: Mapping[str, Measurements],
    scope: Scope,
    section: SearchOptions,
) -> Regret | None:
    """Give what is lost by retraining at the amortized setting; None where no pair could judge.

    Both sides choose by the mean over their seeds that were measured at all settings. A setting between those trained
    for one hyperparameter gets the score on the straight line between its neighbours, as curves through single
    trainings would swing with their noise; beyond the grid, and for several hyperparameters, that of the nearest
    setting.

    Parameters
    ----------
    amortized, separate
        Of the models by seed.
    scope
        Whose pairs.
    section
        The metric, the margin, and how subjects are divided.

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    both = align([amortized, separate], scope, section.metric)
    if both is None:
        return None
    one, many = (replace(side, scores=complete(side.scores)) for side in both)
    splits = divide(sorted({*one.moving, *one.fixed}), section.splits, section.seed)
    by_amortized, by_separate = (_chosen(side, splits) for side in (one, many))
    usable = np.array(
        [a is not None and b is not None for a, b in zip(by_amortized, by_separate, strict=True)]
    )
    judging = splits.judges(*one.sides) & usable[:, None]
    judged = np.asarray(judging.any(axis=0))
    if not judged.any():
        return None
    default = [many.space.index(many.space.default)] * len(judging)
    at_amortized, at_best, at_default = (
        _held_out(many, settings, judging)[:, judged]
        for settings in (by_amortized, by_separate, default)
    )
    lost, lost_by_default = (
        gain(many.metric, at_best, at_amortized),
        gain(many.metric, at_best, at_default),
    )
    sides = many.moving[judged], many.fixed[judged]
    retraining, of_default, more = (
        over_starts(losses, *sides) for losses in (lost, lost_by_default, lost_by_default - lost)
    )
    margin = margin_of(many.metric, section.margin)
    return Regret(
        scope=many.scope,
        retraining=retraining,
        default=of_default,
        default_more=more,
        starts=len(many.scores),
        trained=one.settings[one.mean.best()] in many.settings,
        evidence=_evidence(retraining, of_default, more, len(many.scores), margin),
        pairs=int(judged.sum()),
    )


def _evidence(retraining: Mean, default: Mean, more: Mean, starts: int, margin: float) -> Evidence:
    if not more.known or starts < FEWEST_STARTS:
        return Evidence.TOO_FEW
    if retraining.equivalent(margin) and default.equivalent(margin):
        return Evidence.NEGLIGIBLE
    return of_difference(more)


def _chosen(aligned: Aligned, splits: Splits) -> list[Index | None]:
    """Return the setting that each round's choosing pairs choose by the mean over models; None where there are none."""
    curve = aligned.mean
    places = choose(sums_between(curve, splits, *aligned.sides), splits.chooses)
    return [None if place < 0 else curve.settings[place] for place in places]


def _held_out(
    aligned: Aligned, settings: Sequence[Index | None], judging: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean score of each model and pair over the rounds in which the pair judged, shape (m, n)."""
    total = np.zeros((len(aligned.scores), len(aligned.moving)))
    for setting in dict.fromkeys(settings):
        if setting is None:
            continue
        rounds = [place for place, chosen in enumerate(settings) if chosen == setting]
        times = judging[rounds].sum(axis=0)
        total += times * scores_at(aligned, setting)
    return np.asarray(total / np.maximum(judging.sum(axis=0), 1))


def scores_at(aligned: Aligned, setting: Index) -> NDArray[np.float64]:
    """Return the score of each model and pair at a setting, trained or not, shape (m, n); see `find_regret`."""
    scores, places = aligned.scores, np.array(aligned.settings, dtype=float)
    if places.shape[1] > 1:
        return np.asarray(scores[:, np.linalg.norm(places - setting, axis=1).argmin()])
    (place,) = setting
    line = int(np.searchsorted(places[:, 0], place))
    if line == 0 or line == len(places):
        return np.asarray(scores[:, min(line, len(places) - 1)])
    low, high = places[line - 1 : line + 1, 0]
    share = (place - low) / (high - low)
    return np.asarray((1 - share) * scores[:, line - 1] + share * scores[:, line])
