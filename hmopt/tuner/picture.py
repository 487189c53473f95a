"""What is drawn of a registered pair: planes of the images, labels and the deformation.

Only the planes that are shown are warped. A plane keeps the order of its axes: the first goes to the
right, the second upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from hmopt.spatial import jacobian_determinant
from hmopt.tuner.pairs import Image, LabelMap, ShownPair

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A plane of a grid, or a whole grid of two axes.

    Parameters
    ----------
    axis
        The axis that it is perpendicular to; None: the grid has two axes.
    index
        Its voxel along that axis.
    """

    axis: int | None = None
    index: int = 0

    def of(self, array: NDArray[Any], first: int = 0) -> NDArray[Any]:
        """Return the plane of an array whose spatial axes begin at `first`.

        Examples
        --------
        >>> Plane(axis=2, index=1).of(np.arange(8).reshape(2, 2, 2)).tolist()
        [[1, 3], [5, 7]]
        """
        if self.axis is None:
            return array
        plane: NDArray[Any] = array.take(self.index, axis=first + self.axis)
        return plane

    def coordinates(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the voxels of the plane: (d, first, second)."""
        axes = [np.arange(size, dtype=np.float32) for size in shape]
        if self.axis is not None:
            axes[self.axis] = np.array([self.index], dtype=np.float32)
        grid = np.stack(np.meshgrid(*axes, indexing="ij"))
        return grid if self.axis is None else grid.squeeze(1 + self.axis)

    @property
    def axes(self) -> tuple[int, int]:
        """The axes that it extends along."""
        if self.axis is None:
            return (0, 1)
        first, second = (axis for axis in range(3) if axis != self.axis)
        return (first, second)


def planes_at(voxel: Sequence[int], shape: tuple[int, ...]) -> list[Plane]:
    """Return the planes through a voxel, by the axis that they are perpendicular to; of two axes the grid itself.

    A voxel outside the grid is brought to its border.

    Examples
    --------
    >>> planes_at((1, 9), (4, 4))
    [Plane(axis=None, index=0)]
    >>> [plane.index for plane in planes_at((1, -2, 9), (4, 4, 4))]
    [1, 0, 3]
    """
    if len(shape) == 2:
        return [Plane()]
    inside = np.clip(voxel, 0, np.array(shape) - 1).tolist()
    return [Plane(axis=axis, index=index) for axis, index in enumerate(inside)]


def determinant(displacement: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the determinant of the Jacobian at each voxel, (*shape); NaN at the border of the grid.

    Parameters
    ----------
    displacement
        (d, *shape), in voxels.
    """
    tensor = torch.as_tensor(displacement, dtype=torch.float32)
    inner = jacobian_determinant(tensor[None])[0].numpy()
    return np.pad(inner, 1, constant_values=np.nan)


def draw_plane(
    pair: ShownPair,
    displacement: NDArray[np.floating],
    determinants: NDArray[np.floating],
    plane: Plane,
) -> Arrays:
    """Return what is drawn of a plane.

    Parameters
    ----------
    pair
        The two images.
    displacement
        (d, *shape), in voxels: `moved(x) = moving(x + displacement(x))`.
    determinants
        As of `determinant`.
    plane
        Which plane of the fixed grid.

    Returns
    -------
    dict
        `moving`, `fixed` and `moved`, uint8; `displacement`, (2, first, second), float32, along the
        axes of the plane; `determinant`, float32; where labels are known `moving_labels`,
        `fixed_labels` and `moved_labels`, uint16, the last one by nearest neighbour.
    """
    of_plane = plane.of(displacement, first=1)
    places = plane.coordinates(pair.shape) + of_plane
    moved = map_coordinates(pair.moving, places, order=1, mode="nearest")
    low, high = float(pair.moving.min()), float(pair.moving.max())
    arrays: Arrays = {
        "moving": grey(plane.of(pair.moving), low, high),
        "fixed": grey(plane.of(pair.fixed), float(pair.fixed.min()), float(pair.fixed.max())),
        "moved": grey(moved, low, high),
        "displacement": of_plane[list(plane.axes)].astype(np.float32),
        "determinant": plane.of(determinants).astype(np.float32),
    }
    if pair.moving_labels is not None:
        arrays["moving_labels"] = plane.of(pair.moving_labels).astype(np.uint16)
        arrays["moved_labels"] = nearest(pair.moving_labels, places).astype(np.uint16)
    if pair.fixed_labels is not None:
        arrays["fixed_labels"] = plane.of(pair.fixed_labels).astype(np.uint16)
    return arrays


def nearest(labels: LabelMap, places: NDArray[np.floating]) -> LabelMap:
    """Return the labels of the voxels nearest to some places, (d, …); outside, of the nearest voxel inside.

    Examples
    --------
    >>> nearest(np.array([[1, 2, 3]]), np.array([[0.2, 0.0], [1.6, 9.0]])).tolist()
    [3, 3]
    """
    voxels = []
    for coordinate, size in zip(places, labels.shape, strict=True):
        voxel = np.rint(np.clip(coordinate, 0, size - 1))
        voxels.append(voxel.astype(np.intp))
    found: LabelMap = labels[tuple(voxels)]
    return found


def grey(image: Image, low: float, high: float) -> NDArray[np.uint8]:
    """Return intensities as 0 (`low` or less) to 255 (`high` or more).

    Examples
    --------
    >>> grey(np.array([-1.0, 0.5, 2.0], np.float32), 0.0, 1.0).tolist()
    [0, 127, 255]
    """
    width = max(high - low, 1e-6)
    shares = np.clip((image - low) / width, 0, 1)
    return (255 * shares).astype(np.uint8)
