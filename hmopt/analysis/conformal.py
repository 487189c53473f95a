"""Prediction intervals that need no model of the errors: the jackknife+.

Of n subjects, each is predicted by what was learned from the others. With f_i, the prediction for a new subject by
what was learned without subject i, and R_i = |y_i - f_i(x_i)|, the error for subject i itself, the interval of level
1 - a is

    [ the ⌊a (n + 1)⌋-th smallest of f_i - R_i,  the ⌈(1 - a)(n + 1)⌉-th smallest of f_i + R_i ].

Worked example: nine subjects, a = 0.1, all f_i = 0.4 and R_i = 0.01, 0.02, …, 0.09. Then (n + 1) a = 1, and the ends
are the smallest of f_i - R_i and the largest of f_i + R_i: 0.31 and 0.49.
"""

import math

import numpy as np

from hmopt.analysis.resampling import Floats, Interval

LEVEL_OF_INTERVAL = 0.9
"""Share of new subjects that an interval is to hold: 0.95 would need 19 subjects to learn from."""

ROUNDING = 1e-9
"""Of a share times a number of subjects, which may be a whole number but for rounding."""


def jackknife_plus(predicted: Floats, errors: Floats, level: float = LEVEL_OF_INTERVAL) -> Interval:
    """Compute the interval of what is predicted for a new subject.

    Whatever predicts, it holds the true value in at least 2 · level - 1 of all cases, if the subjects can be exchanged,
    and in about `level` of them if what is learned changes little when one subject is left out.

    Parameters
    ----------
    predicted
        For the new subject, by what was learned without each of the n subjects in turn, shape (n,).
    errors
        Absolute error for each of the n subjects by what was learned without it, shape (n,).
    level
        In (0, 1).

    Returns
    -------
    Interval
        Infinite on both sides where there are too few subjects for the level: fewer than level / (1 - level).

    References
    ----------
    Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021,
    equation 1.4 and theorem 1.

    Examples
    --------
    >>> errors = np.arange(1, 10) / 100
    >>> low, high = jackknife_plus(np.full(9, 0.4), errors)
    >>> round(low, 2), round(high, 2)
    (0.31, 0.49)
    >>> jackknife_plus(np.full(8, 0.4), errors[:8])
    Interval(low=-inf, high=inf)
    """
    subjects = len(predicted)
    miss = 1 - level
    from_below = math.floor(miss * (subjects + 1) + ROUNDING)
    from_above = math.ceil(level * (subjects + 1) - ROUNDING)
    if from_below < 1 or from_above > subjects:
        return Interval(-math.inf, math.inf)
    lows = np.sort(predicted - errors)
    highs = np.sort(predicted + errors)
    return Interval(float(lows[from_below - 1]), float(highs[from_above - 1]))
