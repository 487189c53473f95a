"""The best place of a score with a gradient, from several starts, and whether there are several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats], tuple[float, Floats]]
"""From places in [0, 1]^k to a score, of which more is better, and its gradient."""

FIRST_STEP = 0.1
"""Length of the first step, as a share of the range: scores are scaled so that it is the gradient."""
RISE = 5e-7
"""An ascent ends where a step raises the scaled score by less: some thousandths of the range from the optimum."""
FLAT = 5e-4
"""An ascent ends where the scaled slope is smaller."""
MOST = 25
"""Evaluations of an ascent, about, at most."""
MOST_ON_A_LINE = 8
"""Evaluations on one line of an ascent, at most: the score is rough on a fine scale."""
NEAR = 0.01
"""Two ends of ascents that are nearer, as a share of the range, are one optimum."""
BETWEEN = (0.25, 0.5, 0.75)
"""Where it is looked for a valley between two ends."""


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The way from one start.

    Parameters
    ----------
    start, end
        Places in [0, 1].
    score
        At the end.
    evaluations
        How many.
    converged
        Whether it ended by itself.
    """

    start: tuple[float, ...]
    end: tuple[float, ...]
    score: float
    evaluations: int
    converged: bool


@dataclass(frozen=True, kw_only=True)
class LocalOptimum:
    """An optimum, and the ascents that ended there.

    Parameters
    ----------
    place
        In [0, 1].
    score
        There.
    starts
        Ascents that ended there.
    """

    place: tuple[float, ...]
    score: float
    starts: int


def spread_starts(dimensions: int, count: int, seed: int = 0) -> Floats:
    """Return starts that are spread over the range: the middles of equal parts, or a Sobol sequence.

    Parameters
    ----------
    dimensions
        Hyperparameters.
    count
        Starts.
    seed
        Of the sequence.

    Returns
    -------
    array
        (count, dimensions), inside [0, 1].

    Examples
    --------
    >>> spread_starts(1, 4).ravel().tolist()
    [0.125, 0.375, 0.625, 0.875]
    """
    if dimensions == 1:
        middles = (np.arange(count) + 0.5) / count
        return middles[:, None]
    exponent = int(np.ceil(np.log2(max(count, 1))))
    points = qmc.Sobol(dimensions, rng=seed).random_base2(exponent)
    starts: Floats = points[:count]
    return starts


def ascend(evaluate: Evaluate, start: Sequence[float]) -> Ascent:
    """Climb from a start to a local optimum in [0, 1]^k by L-BFGS-B.

    Parameters
    ----------
    evaluate
        The score and its gradient.
    start
        (k,).

    References
    ----------
    Byrd, Lu, Nocedal and Zhu, SIAM Journal on Scientific Computing 16, 1995.

    Examples
    --------
    >>> def parabola(places):
    ...     return 0.8 - float((places[0] - 0.3) ** 2), -2 * (places - 0.3)
    >>> [round(place, 4) for place in ascend(parabola, [0.9]).end]
    [0.3]
    """
    first = np.array(start, dtype=float)
    seen: list[tuple[float, tuple[float, ...]]] = []
    score, slope = evaluate(first)
    seen.append((score, tuple(first.tolist())))
    steepest = float(np.abs(slope).max())
    if steepest == 0 or not np.isfinite(score):
        (best,) = seen
        return Ascent(
            start=best[1],
            end=best[1],
            score=score,
            evaluations=1,
            converged=bool(np.isfinite(score)),
        )
    # so scaled, the first step, which is the gradient, has a known length
    scale = FIRST_STEP / steepest

    def scaled(places: Floats) -> tuple[float, Floats]:
        inside = np.clip(places, 0.0, 1.0)
        value, gradient = evaluate(inside)
        seen.append((value, tuple(inside.tolist())))
        return scale * (score - value), -scale * gradient

    found = minimize(
        scaled,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * len(first),
        options={"ftol": RISE, "gtol": FLAT, "maxfun": MOST, "maxls": MOST_ON_A_LINE},
    )
    known = [one for one in seen if np.isfinite(one[0])]
    best_score, end = max(known, key=lambda one: one[0])
    return Ascent(
        start=tuple(first.tolist()),
        end=end,
        score=best_score,
        evaluations=len(seen),
        converged=found.status != 1,  # which is that evaluations were used up
    )


def distinct_optima(
    evaluate: Evaluate, ascents: Sequence[Ascent], negligible: float
) -> list[LocalOptimum]:
    """Return the different optima that ascents ended in, the best first.

    An end is a worse one's own optimum only if there is a valley between it and every better one:
    on a plateau ascents end anywhere. The score is looked at between them.

    Parameters
    ----------
    evaluate
        The score and its gradient.
    ascents
        At least one.
    negligible
        Depth of a valley that counts as none, in units of the score.
    """
    ordered = sorted(ascents, key=lambda ascent: -ascent.score)
    places: list[Ascent] = []
    counts: list[int] = []
    for ascent in ordered:
        for position, better in enumerate(places):
            if _is_same(evaluate, ascent, better, negligible):
                counts[position] += 1
                break
        else:
            places.append(ascent)
            counts.append(1)
    return [
        LocalOptimum(place=ascent.end, score=ascent.score, starts=count)
        for ascent, count in zip(places, counts, strict=True)
    ]


def _is_same(evaluate: Evaluate, ascent: Ascent, better: Ascent, negligible: float) -> bool:
    end = np.array(ascent.end)
    way = np.array(better.end) - end
    if np.abs(way).max() <= NEAR:
        return True
    for share in BETWEEN:
        score, _ = evaluate(end + share * way)
        if score < ascent.score - negligible:
            return False
    return True
