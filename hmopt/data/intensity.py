"""Intensities on a common scale."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Normalization = Literal["percentile", "minmax", "zscore"]

_PERCENTILES = (0.5, 99.5)


def normalize(data: NDArray[np.float32], method: Normalization) -> NDArray[np.float32]:
    """Return an image's intensities on a scale that does not depend on the scanner's.

    Intensity v becomes (v - low) / width.

    Parameters
    ----------
    data
        Intensities of one image, any shape.
    method
        `percentile`: the 0.5th to the 99.5th percentile to [0, 1], what lies outside clipped;
        `minmax`: minimum to maximum to [0, 1]; `zscore`: mean 0 and standard deviation 1.

    Returns
    -------
    NDArray
        The same shape; all zeros where the image is of one intensity.

    Examples
    --------
    >>> normalize(np.array([10.0, 20.0, 30.0], dtype=np.float32), "minmax")
    array([0. , 0.5, 1. ], dtype=float32)
    """
    low, width = _scale(data, method)
    normalized = data - low
    normalized = normalized / width
    if method != "zscore":
        normalized = normalized.clip(0, 1)
    return normalized.astype(np.float32)


def normalized_value(value: float, data: NDArray[np.float32], method: Normalization) -> float:
    """Return what an intensity is on the scale to which an image is normalized.

    Parameters
    ----------
    value
        In the unit of `data`.
    data
        Intensities of one image, any shape.
    method
        As of `normalize`.

    Examples
    --------
    >>> ct = np.array([-1000.0, 0.0, 1000.0], dtype=np.float32)
    >>> normalized_value(0, ct, "minmax"), normalized_value(-2000, ct, "minmax")
    (0.5, 0.0)
    """
    low, width = _scale(data, method)
    normalized = (value - low) / width
    if method == "zscore":
        return normalized
    not_below = max(0.0, normalized)
    return min(1.0, not_below)


def _scale(data: NDArray[np.float32], method: Normalization) -> tuple[float, float]:
    """Return the intensity that becomes 0, and the difference of intensities that becomes 1."""
    if method == "zscore":
        mean = float(data.mean(dtype=np.float64))
        deviation = float(data.std(dtype=np.float64))
        return mean, deviation or 1.0
    low = float(data.min())
    high = float(data.max())
    if method == "percentile":
        inner_low, inner_high = np.percentile(data, _PERCENTILES).tolist()
        # an image that is nearly all background has both percentiles in it: its whole range is taken
        if inner_high > inner_low:
            low = inner_low
            high = inner_high
    return low, (high - low) or 1.0
