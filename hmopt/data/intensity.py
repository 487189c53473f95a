"""Intensities on a common scale."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Normalization = Literal["percentile", "minmax", "zscore"]


def normalize(data: NDArray[np.float32], method: Normalization) -> NDArray[np.float32]:
    """Give an image's intensities on a scale that does not depend on the scanner's.

    Parameters
    ----------
    data
        Intensities of one image, any shape.
    method
        `percentile`: the 0.5th to the 99.5th percentile to [0, 1], what lies outside clipped; `minmax`: minimum to
        maximum to [0, 1]; `zscore`: mean 0 and standard deviation 1.

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
    moved = (data - low) / width
    return (moved if method == "zscore" else np.clip(moved, 0, 1)).astype(np.float32)


def normalized_value(value: float, data: NDArray[np.float32], method: Normalization) -> float:
    """Return what an intensity is on the scale to which an image is normalized.

    Parameters
    ----------
    value
        In the unit of `data`.
    data
        Intensities of one image, any shape.
    method
        As in `normalize`.

    Examples
    --------
    >>> ct = np.array([-1000.0, 0.0, 1000.0], dtype=np.float32)
    >>> normalized_value(0, ct, "minmax"), normalized_value(-2000, ct, "minmax")
    (0.5, 0.0)
    """
    low, width = _scale(data, method)
    moved = (value - low) / width
    return moved if method == "zscore" else min(1.0, max(0.0, moved))


def _scale(data: NDArray[np.float32], method: Normalization) -> tuple[float, float]:
    """Return the intensity that becomes 0, and by how much one differs that becomes 1."""
    if method == "zscore":
        return float(data.mean(dtype=np.float64)), float(data.std(dtype=np.float64)) or 1.0
    low, high = float(data.min()), float(data.max())
    if method == "percentile":
        inner_low, inner_high = (float(value) for value in np.percentile(data, (0.5, 99.5)))
        # an image that is nearly all background has both percentiles in it: its range is then all there is
        low, high = (inner_low, inner_high) if inner_high > inner_low else (low, high)
    return low, (high - low) or 1.0
