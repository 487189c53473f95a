"""Pairs drawn so that subjects serve about equally often."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.integer]


def draw_evenly(
    moving: Numbers, fixed: Numbers, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Give the positions of `count` pairs, or of all where there are no more.

    One is drawn after the other: always one whose moving subject has moved least often and whose fixed subject has
    been fixed least often, and among equals by chance.

    Parameters
    ----------
    moving, fixed
        The subjects of the possible pairs as numbers from 0, shape (n,) each.
    count
        How many to draw.
    rng
        Decides between equals.

    Examples
    --------
    >>> moving, fixed = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 0, 2, 0, 1])
    >>> drawn = draw_evenly(moving, fixed, 3, np.random.default_rng(1))
    >>> sorted(moving[drawn].tolist()), sorted(fixed[drawn].tolist())
    ([0, 1, 2], [0, 1, 2])
    """
    if len(moving) <= count:
        return np.arange(len(moving))
    order = rng.permutation(len(moving))
    moving, fixed = moving[order], fixed[order]
    moved, been_fixed = np.zeros(moving.max() + 1), np.zeros(fixed.max() + 1)
    load, drawn = np.zeros(len(order)), []
    for _ in range(count):
        pick = int(load.argmin())
        drawn.append(order[pick])
        load[pick] = np.inf
        for side, served in ((moving, moved), (fixed, been_fixed)):
            subject = side[pick]
            # squares, so that two who served twice come before one who served thrice with one who served once
            load[side == subject] += 2 * served[subject] + 1
            served[subject] += 1
    return np.array(drawn)
