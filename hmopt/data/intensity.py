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
    if method == "zscore":
        low, width = float(data.mean(dtype=np.float64)), float(data.std(dtype=np.float64))
        return ((data - low) / (width or 1.0)).astype(np.float32)
    low, high = float(data.min()), float(data.max())
    if method == "percentile":
        inner_low, inner_high = (float(value) for value in np.percentile(data, (0.5, 99.5)))
        # an image that is nearly all background has both percentiles in it: its range is then all there is
        low, high = (inner_low, inner_high) if inner_high > inner_low else (low, high)
    return np.clip((data - low) / ((high - low) or 1.0), 0, 1).astype(np.float32)
