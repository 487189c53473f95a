"""Simulated cohorts whose best settings are known: response curves of pairs that share subjects.

The curve of a pair (i, j) and a label is the mean curve of the label, plus deviations of both
subjects and of the pair,

    y_ij(λ) = mean(λ) + Σ_m (s_i[m] + s_j[m] + p_ij[m]) · shape_m(λ),

with independent normal coefficients s and p of mean 0. So the best setting of the population is
that of the mean curve, and pairs that share a subject are correlated.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmopt.analysis.resampling import Floats, Places
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
"""Shapes of deviations from a mean curve: level, slope and bends; shape (5, lattice)."""
SUBJECT_SD = np.array([0.02, 0.012, 0.004, 0.004, 0.002])
PAIR_SD = np.array([0.02, 0.018, 0.006, 0.006, 0.003])
"""Standard deviation of the coefficient of each shape, of subjects and of pairs.

Those of level and slope are as of Dice on slices of brains, from a least-squares fit of subjects
and pairs."""
SHARED = 0.7
"""Correlation of a pair's deviation with that of the same pair in the other direction."""


def response(best: float, curvature: float) -> Floats:
    """Compute a mean curve over the lattice, shape (lattice,).

    It is a parabola that falls steeply where λ nears 1.
    """
    distance = LATTICE - best
    parabola = 0.75 - curvature * distance**2
    fall = 0.15 * LATTICE**24
    curve: Floats = parabola - fall
    return curve


def flat(labels: int) -> Floats:
    """Return curves on which no setting is better than another, shape (labels, lattice).

    Whatever is chosen gains exactly 0 in the population.
    """
    shape = (labels, len(LATTICE))
    return np.full(shape, 0.75)


def simulate(
    curves: Floats, subjects: int, pairs: int, seed: int, shared_by_labels: float = 0.0
) -> Measurements:
    """Draw the measurements of a cohort, on the whole lattice, from known mean curves.

    Part of the deviations from the mean curves is common to all labels, as one deformation moves
    them all.

    Parameters
    ----------
    curves
        Mean Dice of each label over the lattice, shape (labels, lattice).
    subjects, pairs
        Number of each; pairs are drawn from all ordered ones.
    seed
        Seed of the random numbers.
    shared_by_labels
        Share of the variance that labels have in common, in [0, 1].

    Examples
    --------
    >>> simulate(np.stack([response(0.3, 0.1)]), subjects=4, pairs=10, seed=0).values["dice"].shape
    (201, 10, 1)
    """
    generator = np.random.default_rng(seed)
    moving, fixed = _drawn_pairs(generator, subjects, pairs)
    common = _deviations(generator, subjects, moving, fixed)
    common = np.sqrt(shared_by_labels) * common
    own_share = 1 - shared_by_labels
    dice = []
    for curve in curves:
        own = _deviations(generator, subjects, moving, fixed)
        own = np.sqrt(own_share) * own
        of_label = curve[:, None] + common + own
        dice.append(of_label)
    rows = []
    for one, other in zip(moving, fixed, strict=True):
        a = f"s{one}"
        b = f"s{other}"
        row = (f"{a}->{b}", a, b, a, b, "cross")
        rows.append(row)
    settings = [(place,) for place in range(len(LATTICE))]
    count = len(curves)
    labels = [f"label {number}" for number in range(count)]
    return Measurements(
        identity="simulated",
        space=SPACE,
        settings=tuple(settings),
        pairs=pd.DataFrame(rows, columns=list(PAIR_COLUMNS)),
        labels=tuple(labels),
        values={"dice": np.stack(dice, axis=2)},
    )


def _drawn_pairs(
    generator: np.random.Generator, subjects: int, pairs: int
) -> tuple[Places, Places]:
    """Draw ordered pairs of two subjects, each at most once."""
    itself = np.eye(subjects, dtype=bool)
    moving, fixed = np.nonzero(~itself)
    order = generator.permutation(len(moving))
    drawn = order[:pairs]
    return moving[drawn], fixed[drawn]


def _deviations(
    generator: np.random.Generator, subjects: int, moving: Places, fixed: Places
) -> Floats:
    """Draw the deviation of each pair's curve from the mean one, shape (lattice, pairs)."""
    shapes = len(SHAPES)
    pairs = len(moving)
    of_subject = generator.normal(0, SUBJECT_SD, (subjects, shapes))
    of_both_directions = generator.normal(0, PAIR_SD, (subjects, subjects, shapes))
    of_direction = generator.normal(0, PAIR_SD, (pairs, shapes))
    first = np.minimum(moving, fixed)
    second = np.maximum(moving, fixed)
    of_both = of_both_directions[first, second]
    shared = np.sqrt(SHARED) * of_both
    own = np.sqrt(1 - SHARED) * of_direction
    of_subjects = of_subject[moving] + of_subject[fixed]
    coefficients = of_subjects + (shared + own)
    deviations: Floats = SHAPES.T @ coefficients.T
    return deviations


def sweep(measurements: Measurements, coarse: int = 10, confirmations: int = 5) -> Measurements:
    """Return what a sweep would have measured.

    It measures coarse settings, and then adds one at a time where the mean over all pairs is
    predicted to be best.

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
        measured = means[[place for (place,) in settings]]
        candidates, predicted = predict(measurements.space, settings, measured[:, None])
        best = candidates[int(predicted[:, 0].argmax())]
        if best in settings:
            break
        settings = sorted([*settings, best])
    return measurements.at(settings)


def shifted(bests: Sequence[float], curvature: float) -> Floats:
    """Return curves of labels with the given best settings, shape (labels, lattice)."""
    curves = [response(best, curvature) for best in bests]
    return np.stack(curves)
