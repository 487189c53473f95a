"""Made-up cohorts whose best settings are known: response curves of pairs that share subjects."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements
from hmopt.search.lattice import coarse_lattice
from hmopt.search.plan import predict
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
LATTICE = np.linspace(0, 1, SPACE.hyperparameters[0].points)
SHAPES = np.stack(
    [
        np.ones_like(LATTICE),
        LATTICE - 0.5,
        np.cos(2 * np.pi * LATTICE) / 2,
        np.sin(2 * np.pi * LATTICE) / 2,
        np.cos(3 * np.pi * LATTICE) / 3,
    ]
)
"""How a subject's or a pair's curve may differ from the mean one: in level, slope and bends; shape (5, lattice)."""
SUBJECT_SD = np.array([0.02, 0.012, 0.004, 0.004, 0.002])
PAIR_SD = np.array([0.02, 0.018, 0.006, 0.006, 0.003])
"""How much of each shape: level and slope as of Dice on slices of brains, on which subjects and pairs were told apart
by least squares."""
SHARED = 0.7
"""Share of a pair's variance that it has in common with the same pair the other way round."""


def response(best: float, curvature: float) -> NDArray[np.float64]:
    """Give a mean curve over the lattice, shape (lattice,): a parabola that falls steeply where λ nears 1."""
    return np.asarray(0.75 - curvature * (LATTICE - best) ** 2 - 0.15 * LATTICE**24)


def flat(labels: int) -> NDArray[np.float64]:
    """Give curves on which no setting is better than another: whatever is chosen gains exactly 0 in the population.

    Shape (labels, lattice).
    """
    return np.full((labels, len(LATTICE)), 0.75)


def simulate(
    curves: NDArray[np.float64], subjects: int, pairs: int, seed: int, shared_by_labels: float = 0.0
) -> Measurements:
    """Give the measurements of a cohort drawn from a population with known mean curves, on the whole lattice.

    Each label's subjects and pairs differ from its mean curve by curves with mean zero, so that the best setting of the
    population is that of the mean curve. Part of these differences is common to all labels, as one deformation moves
    them all.

    Parameters
    ----------
    curves
        Mean Dice of each label over the lattice, shape (labels, lattice).
    subjects, pairs
        How many; pairs are drawn from all ordered ones.
    seed
        Of the random numbers.
    shared_by_labels
        Share of the variance that labels have in common, in [0, 1].

    Examples
    --------
    >>> simulate(np.stack([response(0.3, 0.1)]), subjects=4, pairs=10, seed=0).values["dice"].shape
    (201, 10, 1)
    """
    generator = np.random.default_rng(seed)
    moving, fixed = _drawn_pairs(generator, subjects, pairs)
    common = np.sqrt(shared_by_labels) * _deviations(generator, subjects, moving, fixed)
    own = np.sqrt(1 - shared_by_labels)
    dice = [
        curve[:, None] + common + own * _deviations(generator, subjects, moving, fixed)
        for curve in curves
    ]
    names = [f"s{number}" for number in range(subjects)]
    rows = [
        (f"{names[a]}->{names[b]}", names[a], names[b], names[a], names[b], "cross")
        for a, b in zip(moving, fixed, strict=True)
    ]
    return Measurements(
        identity="simulated",
        space=SPACE,
        settings=tuple((place,) for place in range(len(LATTICE))),
        pairs=pd.DataFrame(rows, columns=list(PAIR_COLUMNS)),
        labels=tuple(f"label {number}" for number in range(len(curves))),
        values={"dice": np.stack(dice, axis=2)},
    )


def _drawn_pairs(
    generator: np.random.Generator, subjects: int, pairs: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    moving, fixed = np.nonzero(~np.eye(subjects, dtype=bool))
    drawn = generator.permutation(len(moving))[:pairs]
    return moving[drawn], fixed[drawn]


def _deviations(
    generator: np.random.Generator, subjects: int, moving: NDArray[np.intp], fixed: NDArray[np.intp]
) -> NDArray[np.float64]:
    """How each pair's curve differs from the mean one, shape (lattice, pairs)."""
    of_subject = generator.normal(0, SUBJECT_SD, (subjects, len(SHAPES)))
    of_both_ways = generator.normal(0, PAIR_SD, (subjects, subjects, len(SHAPES)))
    of_one_way = generator.normal(0, PAIR_SD, (len(moving), len(SHAPES)))
    both_ways = of_both_ways[np.minimum(moving, fixed), np.maximum(moving, fixed)]
    of_pair = np.sqrt(SHARED) * both_ways + np.sqrt(1 - SHARED) * of_one_way
    return np.asarray(SHAPES.T @ (of_subject[moving] + of_subject[fixed] + of_pair).T)


def sweep(measurements: Measurements, coarse: int = 10, confirmations: int = 5) -> Measurements:
    """Give what a sweep would have measured: coarse settings, then one by one where all pairs together promise most.

    Parameters
    ----------
    measurements
        Of every setting of one hyperparameter's lattice.
    coarse, confirmations
        As in `search`.
    """
    means = measurements.score("dice").mean(axis=1)
    settings = coarse_lattice(measurements.space, coarse)
    for _ in range(confirmations):
        candidates, promised = predict(
            measurements.space, settings, means[[place for (place,) in settings]][:, None]
        )
        best = candidates[int(promised[:, 0].argmax())]
        if best in settings:
            break
        settings = sorted([*settings, best])
    return measurements.at(settings)


def shifted(bests: Sequence[float], curvature: float) -> NDArray[np.float64]:
    """Give curves of labels with their best settings, shape (labels, lattice)."""
    return np.stack([response(best, curvature) for best in bests])
