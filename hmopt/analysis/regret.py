"""What networks trained for one setting lose when that setting is the one that an amortized model chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.aligned import Aligned, align
from hmopt.analysis.evidence import Evidence, of_interval
from hmopt.analysis.held_out import choose, deal
from hmopt.analysis.optimum import TOLERANCE
from hmopt.analysis.resampling import Estimate, Samples, estimate
from hmopt.declaration.search import SearchSection
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
    trained
        Whether a network was trained at the setting that the amortized model chooses on all pairs: if not, scores
        there are told from the neighbouring ones of the grid.
    evidence
        Whether the default loses more; FLAT where neither loses more than `TOLERANCE`.
    pairs, subjects
        How many judged.
    """

    scope: Scope
    retraining: Estimate
    default: Estimate
    default_more: Estimate
    trained: bool
    evidence: Evidence
    pairs: int
    subjects: int


def find_regret(
    amortized: Mapping[str, Measurements],
    separate: Mapping[str, Measurements],
    scope: Scope,
    section: SearchSection,
) -> Regret | None:
    """Give what is lost by retraining at the amortized setting; None where no pair could judge.

    Both sides choose by the mean over their seeds. A setting between those trained for one hyperparameter gets the
    score on the straight line between its neighbours, as curves through single trainings would swing with their noise;
    beyond the grid, and for several hyperparameters, that of the nearest setting.

    Parameters
    ----------
    amortized, separate
        Of the models by seed.
    scope
        Whose pairs.
    section
        The metric; how many folds, how often and from which seed subjects are dealt.

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    both = align([amortized, separate], scope, section.metric)
    if both is None:
        return None
    one, many = both
    dealing = deal(sorted({*one.moving, *one.fixed}), section.folds, section.repeats, section.seed)
    parts = dealing.parts(*one.sides)
    rounds = parts.judge & np.any(parts.choose, axis=1, keepdims=True)
    judged = np.asarray(rounds.any(axis=0))
    if not judged.any():
        return None
    default = [many.space.index(many.space.default)] * len(rounds)
    chosen = choose(one.mean, parts.choose), choose(many.mean, parts.choose), default
    at_amortized, at_best, at_default = (_held(many, settings, rounds)[judged] for settings in chosen)
    losses, more = gain(many.metric, at_best, at_amortized), gain(many.metric, at_best, at_default)
    return _regret(one, many, judged, many.samples(section.seed).of(judged), losses, more)


def _regret(
    one: Aligned,
    many: Aligned,
    judged: NDArray[np.bool_],
    samples: Samples,
    losses: NDArray[np.float64],
    at_default: NDArray[np.float64],
) -> Regret:
    retraining, default = estimate(samples, losses), estimate(samples, at_default)
    more = estimate(samples, at_default - losses)
    flat = max(abs(retraining.value), abs(default.value)) <= TOLERANCE[many.metric.unit]
    return Regret(
        scope=many.scope,
        retraining=retraining,
        default=default,
        default_more=more,
        trained=one.settings[one.mean.best()] in many.settings,
        evidence=Evidence.FLAT if flat else of_interval(more),
        pairs=int(judged.sum()),
        subjects=len({*one.moving[judged], *one.fixed[judged]}),
    )


def _held(aligned: Aligned, settings: Sequence[Index | None], rounds: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean score of each pair over the rounds in which it judged, each with that round's setting, shape (n,)."""
    scores = [np.zeros(len(aligned.moving)) if setting is None else scores_at(aligned, setting) for setting in settings]
    total = np.where(rounds, np.array(scores), 0).sum(axis=0)
    return np.asarray(total / np.maximum(rounds.sum(axis=0), 1))


def scores_at(aligned: Aligned, setting: Index) -> NDArray[np.float64]:
    """Give the mean score over models of each pair at a setting, trained or not, shape (n,); see `find_regret`."""
    scores, places = aligned.mean.scores, np.array(aligned.settings, dtype=float)
    if places.shape[1] > 1:
        return np.asarray(scores[np.linalg.norm(places - setting, axis=1).argmin()])
    (place,) = setting
    line = int(np.searchsorted(places[:, 0], place))
    if line == 0 or line == len(places):
        return np.asarray(scores[min(line, len(places) - 1)])
    low, high = places[line - 1 : line + 1, 0]
    share = (place - low) / (high - low)
    return np.asarray((1 - share) * scores[line - 1] + share * scores[line])


def regret_table(regrets: Sequence[Regret]) -> pd.DataFrame:
    """Give one row for each scope."""
    return pd.DataFrame(
        [
            {
                "scope": regret.scope.name,
                "label": regret.scope.label or "",
                **regret.retraining.columns("retraining_regret"),
                **regret.default.columns("default_regret"),
                **regret.default_more.columns("default_more"),
                "trained": regret.trained,
                "evidence": regret.evidence.value,
                "pairs": regret.pairs,
                "subjects": regret.subjects,
            }
            for regret in regrets
        ]
    )
