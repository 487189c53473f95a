"""Affine alignment of 2-D images within their plane."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from hmopt.data.grid import Frame, Matrix, ras_frame, resample, rotated, smooth_for
from hmopt.data.volume import Lattice, Volume, normalize

FINEST_LENGTH = 256
"""Voxels along an axis at which planes are aligned, at most."""
ROTATIONS_DEGREES = (0.0, -15.0, 15.0, -30.0, 30.0)
"""Of the starts: sections of tissue lie on their slides as they were laid."""


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A 2-D image in the plane of a cohort.

    Parameters
    ----------
    frame
        Its voxels in RAS+ order, one of them along `across`.
    across
        The axis of the frame that it lies across.
    data
        (x, y): intensities, normalized, on every `step`-th voxel.
    step
        Voxels of the frame to one of `data`, along both axes.
    offset
        Voxel of the frame of the first of `data`, along both axes.
    """

    frame: Frame
    across: int
    data: NDArray[np.float32]
    step: float
    offset: NDArray[np.float64]

    @property
    def along(self) -> list[int]:
        """The two axes of the frame that it extends along."""
        return [axis for axis in range(3) if axis != self.across]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(2,): distances of the voxels of `data`."""
        whole = np.array(self.frame.spacing_mm)
        return np.asarray(whole[self.along] * self.step)

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """(2,): the place of the first voxel of `data`, in mm from the first voxel of the frame."""
        whole = np.array(self.frame.spacing_mm)
        return np.asarray(whole[self.along] * self.offset)

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """(2,): the middle of the box, in mm from the first voxel of the frame."""
        sides = np.array(self.frame.shape)[self.along]
        whole = np.array(self.frame.spacing_mm)
        return np.asarray(whole[self.along] * (sides - 1) / 2)

    def to_itk(self) -> Any:
        """Return it as a 2-D image of SimpleITK, whose world is mm from the first voxel of the frame."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(self.data.T))
        image.SetSpacing(self.spacing_mm.tolist())
        image.SetOrigin(self.origin_mm.tolist())
        return image

    def from_plane(self) -> Matrix:
        """Return the matrix (4, 4) from (first mm, second mm, voxel across, 1) to the world, in mm."""
        matrix = np.eye(4)
        for axis, spacing in enumerate(self.frame.spacing_mm):
            if axis != self.across:
                matrix[axis, axis] = 1 / spacing
        return self.frame.to_world @ matrix


def flat_axis(lattice: Lattice, axes: Matrix | None) -> int | None:
    """Return the axis in RAS+ order that a 2-D image lies across; None for a volume.

    Examples
    --------
    >>> flat_axis(Lattice(shape=(9, 9, 1), affine=np.eye(4)), None)
    2
    """
    flat = np.flatnonzero(np.array(ras_frame(lattice, axes).shape) == 1)
    return int(flat[-1]) if len(flat) else None


def read_plane(volume: Volume, across: int, background: float | None, axes: Matrix | None) -> Plane:
    """Return a 2-D image as it is aligned: normalized, of at most `FINEST_LENGTH` voxels along an axis.

    Parameters
    ----------
    volume
        With one voxel along an axis.
    across
        That axis, in RAS+ order.
    background
        Intensity outside the image; None: its minimum.
    axes
        (3, 3): what takes the place of right, anterior and superior; None: the world's.
    """
    frame = ras_frame(volume.lattice, axes)
    orientation = io_orientation(rotated(volume.lattice.affine, axes))
    in_order = apply_orientation(volume.data, orientation)
    image = np.asarray(np.take(in_order, 0, axis=across))

    longest = max(image.shape)
    step = math.ceil(longest / FINEST_LENGTH)
    kept = [max(1, length // step) for length in image.shape]
    offset = (np.array(image.shape) - 1 - step * (np.array(kept) - 1)) / 2
    grid = np.eye(4)
    grid[0, 0] = grid[1, 1] = step
    grid[:2, 3] = offset
    outside = float(image.min()) if background is None else background
    smooth = smooth_for(image[:, :, None], grid, 2)
    data = resample(smooth, grid, (kept[0], kept[1], 1), order=1, outside=outside)
    return Plane(
        frame=frame,
        across=across,
        data=normalize(data, "percentile")[:, :, 0],
        step=step,
        offset=offset,
    )


def starts(image: Plane, template: Plane) -> list[Any]:
    """Return the rigid transforms that an alignment begins with: box on box, turned by some angles."""
    import SimpleITK as sitk

    found = []
    shift = image.centre_mm - template.centre_mm
    for degrees in ROTATIONS_DEGREES:
        transform = sitk.Euler2DTransform()
        transform.SetCenter(template.centre_mm.tolist())
        transform.SetAngle(math.radians(degrees))
        transform.SetTranslation(shift.tolist())
        found.append(transform)
    return found


def affine_from(rigid: Any) -> Any:
    """Return a rigid transform of SimpleITK as an affine one."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(2)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine


def world_matrix(transform: Any, image: Plane, template: Plane) -> Matrix:
    """Return a 2-D transform of SimpleITK, x → A (x - c) + c + t, as world of template to world of image: (4, 4)."""
    linear = np.array(transform.GetMatrix()).reshape(2, 2)
    centre = np.array(transform.GetCenter())
    shift = np.array(transform.GetTranslation()) + centre - linear @ centre
    along = template.along
    matrix = np.eye(4)
    matrix[np.ix_(along, along)] = linear
    matrix[along, 3] = shift
    return image.from_plane() @ matrix @ np.linalg.inv(template.from_plane())
