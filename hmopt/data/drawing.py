"""Pairs drawn so that subjects serve about equally often."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hmopt.records import Pair


def draw_evenly(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> list[Pair]:
    """Give `count` of the pairs, or all where there are no more.

    One is drawn after the other: always one whose moving subject has moved least often and whose fixed subject has
    been fixed least often, and among equals by chance.

    Parameters
    ----------
    pairs
        The possible pairs.
    count
        How many to draw.
    rng
        Decides between equals.
    """
    if len(pairs) <= count:
        return list(pairs)
    order = rng.permutation(len(pairs))
    shuffled = [pairs[i] for i in order.tolist()]
    moving, fixed = _numbered(shuffled)
    subjects = int(max(moving.max(), fixed.max())) + 1
    moved, been_fixed, taken = np.zeros(subjects), np.zeros(subjects), np.zeros(len(shuffled))
    drawn = []
    for _ in range(count):
        # squares, so that two who served twice come before one who served thrice with one who served once
        load = (moved**2)[moving] + (been_fixed**2)[fixed] + taken
        pick = int(load.argmin())
        drawn.append(pick)
        taken[pick] = np.inf
        moved[moving[pick]] += 1
        been_fixed[fixed[pick]] += 1
    return [shuffled[pick] for pick in drawn]


def _numbered(pairs: Sequence[Pair]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    subjects = sorted({subject for pair in pairs for subject in (pair.moving_subject, pair.fixed_subject)})
    number = {subject: i for i, subject in enumerate(subjects)}
    return (
        np.array([number[pair.moving_subject] for pair in pairs]),
        np.array([number[pair.fixed_subject] for pair in pairs]),
    )
