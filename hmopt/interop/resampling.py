"""Values of images and label maps at places between their voxels."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.interop.displacement import Floats

Interpolation = Literal["linear", "nearest", "bspline"]

_ORDERS: dict[Interpolation, Literal[0, 1, 3]] = {"nearest": 0, "linear": 1, "bspline": 3}


def intensities_at(
    image: NDArray[Any], interpolation: Interpolation, outside: float
) -> Callable[[Floats], NDArray[np.float32]]:
    """Return the function that gives the intensities of an image at places.

    Parameters
    ----------
    image
        (x, y, z).
    interpolation
        `linear`, `nearest`, or `bspline`: cubic B-splines, which may exceed the range of the image.
    outside
        The value beyond half a voxel from the image's outer voxels, where it ends for ITK: its
        background, as -1000 of CT. ITK calls it the default pixel value.

    Returns
    -------
    callable
        From places (..., 3), in voxels of the image and NaN outside, to (...), float32.

    Examples
    --------
    >>> ramp = np.arange(8.0).reshape(8, 1, 1)
    >>> intensities_at(ramp, "linear", outside=-1)(np.array([[2.5, 0, 0], [9, 0, 0]]))
    array([ 2.5, -1. ], dtype=float32)
    """
    voxels = image.astype(np.float32)
    mode: Literal["nearest", "mirror"] = "nearest"
    if interpolation == "bspline":
        # mirrored at the middle of the outer voxels, as ITK's B-splines
        mode = "mirror"
        voxels = ndimage.spline_filter(voxels, order=3, output=np.float32, mode=mode)
    order = _ORDERS[interpolation]

    def intensities(places: Floats) -> NDArray[np.float32]:
        inside = _inside(places, voxels.shape)
        values = np.full(inside.shape, outside, np.float32)
        values[inside] = ndimage.map_coordinates(
            voxels, places[inside].T, order=order, mode=mode, prefilter=False
        )
        return values

    return intensities


def labels_at(
    codes: NDArray[np.int64], interpolation: Interpolation
) -> Callable[[Floats], NDArray[np.int64]]:
    """Return the function that gives the labels of a label map at places.

    Parameters
    ----------
    codes
        (x, y, z).
    interpolation
        `nearest`: the label of the nearest voxel. `linear`: the label whose indicator (1 in its
        voxels, 0 elsewhere), linearly interpolated, is the largest; of equal ones the lowest code.
        It is ANTs' `GenericLabel`; its borders are smoother. Cost and memory do not depend on the
        number of labels: only the labels of the eight voxels around a place can win.

    Returns
    -------
    callable
        From places (n, 3), in voxels of the label map, to (n,): 0 outside.

    Examples
    --------
    >>> halves = np.repeat([3, 7], 4).reshape(8, 1, 1)
    >>> labels_at(halves, "linear")(np.array([[3.4, 0, 0], [3.6, 0, 0], [99, 0, 0]]))
    array([3, 7, 0])
    """

    def labels(places: Floats) -> NDArray[np.int64]:
        inside = _inside(places, codes.shape)
        found = np.zeros(len(places), np.int64)
        if interpolation == "nearest":
            # looked up: scipy would compute in doubles, which do not hold every code
            voxels = np.floor(places[inside] + 0.5).astype(np.int64)
            found[inside] = codes[tuple(voxels.T)]
        else:
            found[inside] = _likeliest(codes, places[inside])
        return found

    return labels


def _likeliest(codes: NDArray[np.int64], places: Floats) -> NDArray[np.int64]:
    """Return, at places (n, 3), the label with the largest sum of linear weights."""
    upper = np.array(codes.shape) - 1
    within = places.clip(0, upper)
    low = np.floor(within).astype(np.int64)
    share = within - low

    corners = list(np.ndindex(2, 2, 2))
    around = np.empty((8, len(places)), np.int64)
    for row, corner in enumerate(corners):
        voxel = np.minimum(low + corner, upper)
        around[row] = codes[tuple(voxel.T)]

    found: NDArray[np.int64] = around[0].copy()
    # most places lie within one structure
    mixed = (around != found).any(axis=0)
    around = around[:, mixed]
    share = share[mixed]
    weights = [np.where(corner, share, 1 - share).prod(axis=-1) for corner in corners]
    found[mixed] = _winners(around, np.stack(weights))
    return found


def _winners(labels: NDArray[np.int64], weights: Floats) -> NDArray[np.int64]:
    """Return the label of each column with the largest sum of weights; of equal ones the lowest."""
    best: NDArray[np.int64] = labels[0].copy()
    largest = np.full(labels.shape[1], -1.0)
    for label in labels:
        votes = np.where(labels == label, weights, 0).sum(axis=0)
        # equal up to rounding, which depends on the order of the rows
        equal = np.isclose(votes, largest, rtol=0, atol=1e-9)
        wins = ((votes > largest) & ~equal) | (equal & (label < best))
        best[wins] = label[wins]
        largest[wins] = votes[wins]
    return best


def _inside(coordinates: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    upper = np.array(shape) - 0.5
    within = (coordinates >= -0.5) & (coordinates < upper)
    return np.asarray(within.all(axis=-1))
