"""Smooth invertible deformations, and the fields that they are made from."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SQUARINGS = 6


def random_field(
    shape: tuple[int, ...], size: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Give a random pattern of mean 0 and standard deviation 1 whose details are about `size` voxels across.

    White noise smoothed by a Gaussian of standard deviation `size`, and divided by the deviation that this leaves.

    Examples
    --------
    >>> field = random_field((256, 256), 3.0, np.random.default_rng(0))
    >>> round(float(field.std()), 1)
    1.0
    """
    margin = int(np.ceil(2 * size))
    noise = random.standard_normal([axis + 2 * margin for axis in shape])
    inner = tuple(slice(margin, margin + axis) for axis in shape)
    deviation = (2 * np.sqrt(np.pi) * size) ** (-len(shape) / 2)
    return np.asarray(ndimage.gaussian_filter(noise, size, mode="wrap")[inner] / deviation)


def integrate(velocity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the displacement after following a stationary velocity for unit time, both (axes, *shape) in voxels.

    References
    ----------
    Arsigny et al., MICCAI 2006: scaling and squaring.
    """
    displacement: NDArray[np.float64] = velocity / 2.0**SQUARINGS
    for _ in range(SQUARINGS):
        displacement = compose(displacement, displacement)
    return displacement


def compose(first: NDArray[np.float64], then: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the displacement of x -> y = x + first(x), followed by y -> y + then(y)."""
    return np.asarray(first + warp(then, first))


def warp(fields: NDArray[np.float64], displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give fields (n, *shape) read at x + displacement(x), linearly, with the border's value beyond the border."""
    points = np.indices(displacement.shape[1:]) + displacement
    return np.stack(
        [ndimage.map_coordinates(field, points, order=1, mode="nearest") for field in fields]
    )


def jacobian_determinant(displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the local change of volume of x -> x + displacement(x), by central differences, on the grid (*shape)."""
    axes = len(displacement)
    gradient = np.stack([np.stack(np.gradient(component)) for component in displacement])
    matrices = np.moveaxis(
        gradient + np.eye(axes).reshape(axes, axes, *[1] * axes), (0, 1), (-2, -1)
    )
    return np.asarray(np.linalg.det(matrices))
