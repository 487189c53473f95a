"""The prepared grid as other programs see it: files with a geometry, and vectors in mm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

_LPS_SIGNS = (-1.0, -1.0, 1.0)
"""Signs by which RAS+ coordinates become LPS+ ones."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The prepared grid that both images lie on: axes to the right, front and top, its middle at 0 mm.

    Parameters
    ----------
    shape
        Voxels along each axis, 2 or 3 numbers.
    spacing_mm
        Their distances, as many.

    Examples
    --------
    >>> grid = Grid(shape=(5, 3), spacing_mm=(1.0, 2.0))
    >>> grid.origin_lps
    (2.0, 2.0)
    >>> grid.direction_lps
    (-1.0, 0.0, 0.0, -1.0)
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def origin_lps(self) -> tuple[float, ...]:
        """The place of the first voxel, in mm, LPS+ as ITK has it."""
        origin = []
        for sign, side, spacing in zip(_LPS_SIGNS, self.shape, self.spacing_mm, strict=False):
            first_ras = -spacing * (side - 1) / 2
            origin.append(sign * first_ras)
        return tuple(origin)

    @property
    def direction_lps(self) -> tuple[float, ...]:
        """The direction cosines, row by row, as ITK has them."""
        signs = _LPS_SIGNS[: self.dimensions]
        return tuple(np.diag(signs).ravel().tolist())

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """Voxel to world, RAS+ mm: (4, 4); a plane is z = 0."""
        affine = np.eye(4)
        for axis, (side, spacing) in enumerate(zip(self.shape, self.spacing_mm, strict=True)):
            affine[axis, axis] = spacing
            affine[axis, 3] = -spacing * (side - 1) / 2
        return affine

    def save(self, image: NDArray[np.float32], path: Path) -> None:
        """Write an image (*shape) as NIfTI, in mm, with this geometry as qform and sform."""
        file = nibabel.Nifti1Image(image.astype(np.float32), self.affine_ras)
        file.header.set_xyzt_units("mm")
        file.set_sform(self.affine_ras, code=1)
        file.set_qform(self.affine_ras, code=1)
        file.to_filename(path)

    def itk_image(self, image: NDArray[np.float32], itk: Any) -> Any:
        """Return an image (*shape) as one of the module `itk`, with this geometry."""
        # ITK's arrays are indexed (z, y, x)
        voxels = np.ascontiguousarray(image.T.astype(np.float32))
        made = itk.image_from_array(voxels)
        made.SetSpacing(self.spacing_mm)
        made.SetOrigin(self.origin_lps)
        direction = np.reshape(self.direction_lps, (self.dimensions, self.dimensions))
        made.SetDirection(itk.matrix_from_array(direction))
        return made

    def in_voxels(self, vectors_lps_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return vectors in voxels of the grid: (d, *shape).

        Parameters
        ----------
        vectors_lps_mm
            (d, *shape), in mm, LPS+: from a voxel of the fixed image to its place in the moving one.

        Examples
        --------
        >>> grid = Grid(shape=(1, 1), spacing_mm=(1.0, 2.0))
        >>> grid.in_voxels(np.array([[[-3.0]], [[-4.0]]])).ravel()
        array([3., 2.], dtype=float32)
        """
        voxels = np.empty(vectors_lps_mm.shape, np.float32)
        for axis, (sign, spacing) in enumerate(zip(_LPS_SIGNS, self.spacing_mm, strict=False)):
            voxels[axis] = sign * vectors_lps_mm[axis] / spacing
        return voxels
