"""Values of images and label maps at places between their voxels."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.interop.displacement import Floats

Interpolation = Literal["linear", "nearest", "bspline"]

_ORDERS: dict[Interpolation, Literal[0, 1, 3]] = {"nearest": 0, "linear": 1, "bspline": 3}
_AT_ONCE = 2**20
"""Places whose neighbours are looked up together: their arrays take some 200 MB."""


def resample_intensities(
    image: NDArray[Any], coordinates: Floats, interpolation: Interpolation, outside: float
) -> NDArray[np.float32]:
    """Return the intensities of an image at places.

    Parameters
    ----------
    image
        (x, y, z).
    coordinates
        (n, 3), in voxels of the image.
    interpolation
        `linear`, `nearest`, or `bspline`: cubic B-splines, which may exceed the range of the image.
    outside
        The value beyond half a voxel from the image's outer voxels, where it ends for ITK.

    Returns
    -------
    ndarray
        (n,), float32.

    Examples
    --------
    >>> ramp = np.arange(8.0).reshape(8, 1, 1)
    >>> resample_intensities(ramp, np.array([[2.5, 0, 0], [9, 0, 0]]), "linear", outside=-1)
    array([ 2.5, -1. ], dtype=float32)
    """
    inside = _inside(coordinates, image.shape)
    values = np.full(len(coordinates), outside, np.float32)
    voxels = image.astype(np.float32)
    places = coordinates[inside].T
    if interpolation != "bspline":
        values[inside] = ndimage.map_coordinates(
            voxels, places, order=_ORDERS[interpolation], mode="nearest"
        )
        return values
    # mirrored at the middle of the outer voxels, as ITK's B-splines
    coefficients = ndimage.spline_filter(voxels, order=3, output=np.float32, mode="mirror")
    values[inside] = ndimage.map_coordinates(
        coefficients, places, order=3, mode="mirror", prefilter=False
    )
    return values


def resample_label_map(
    codes: NDArray[np.int64], coordinates: Floats, interpolation: Interpolation
) -> NDArray[np.int64]:
    """Return the labels of a label map at places.

    Parameters
    ----------
    codes
        (x, y, z).
    coordinates
        (n, 3), in voxels of the label map.
    interpolation
        `nearest`: the label of the nearest voxel. `linear`: the label whose indicator (1 in its
        voxels, 0 elsewhere), linearly interpolated, is the largest; of equal ones the lowest code.
        It is ANTs' `GenericLabel`; its borders are smoother. Cost and memory do not depend on the
        number of labels: only the labels of the eight voxels around a place can win.

    Returns
    -------
    ndarray
        (n,): 0 outside.

    Examples
    --------
    >>> halves = np.repeat([3, 7], 4).reshape(8, 1, 1)
    >>> resample_label_map(halves, np.array([[3.4, 0, 0], [3.6, 0, 0], [99, 0, 0]]), "linear")
    array([3, 7, 0])
    """
    inside = _inside(coordinates, codes.shape)
    labels = np.zeros(len(coordinates), np.int64)
    places = coordinates[inside]
    if interpolation == "nearest":
        labels[inside] = ndimage.map_coordinates(codes, places.T, order=0, mode="nearest")
        return labels
    found = np.empty(len(places), np.int64)
    for first in range(0, len(places), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        found[part] = _likeliest(codes, places[part])
    labels[inside] = found
    return labels


def _likeliest(codes: NDArray[np.int64], places: Floats) -> NDArray[np.int64]:
    """Return, at places (n, 3), the label with the largest sum of linear weights."""
    upper = np.array(codes.shape) - 1
    within = places.clip(0, upper)
    low = np.floor(within).astype(np.int64)
    share = within - low

    corners = list(np.ndindex(2, 2, 2))
    around = np.empty((8, len(places)), np.int64)
    weights = np.empty((8, len(places)))
    for row, corner in enumerate(corners):
        voxel = np.minimum(low + corner, upper)
        around[row] = codes[tuple(voxel.T)]
        weights[row] = np.where(corner, share, 1 - share).prod(axis=-1)

    best: NDArray[np.int64] = around[0].copy()
    largest = np.full(len(places), -1.0)
    for label in around:
        votes = np.where(around == label, weights, 0).sum(axis=0)
        # equal up to rounding: the lowest code, whatever the order of the corners
        equal = np.isclose(votes, largest, rtol=0, atol=1e-9)
        wins = (votes > largest) & ~equal | (equal & (label < best))
        best[wins] = label[wins]
        largest[wins] = votes[wins]
    return best


def _inside(coordinates: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    upper = np.array(shape) - 0.5
    within = (coordinates >= -0.5) & (coordinates < upper)
    return np.asarray(within.all(axis=-1))
