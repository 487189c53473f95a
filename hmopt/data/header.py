"""What a file's header says about the place of its voxels: unit, qform and sform, shear."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from hmopt.data.formats import open_header
from hmopt.errors import DataError, sides_text

Matrix = NDArray[np.float64]

MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "micron": 1e-3, "meter": 1e3}
"""Lengths that NIfTI's `xyzt_units` names; without a name it is mm, as for ITK, FSL and SPM."""

_FLAT = 1e-6
"""Volume of a voxel, as a share of that of a box with its edges, below which an affine counts as
not invertible."""


@dataclass(frozen=True, kw_only=True)
class Forms:
    """The two ways in which a NIfTI header says where voxels are.

    Parameters
    ----------
    qform, sform
        (4, 4), voxel to world in mm; None where the code is 0.
    qform_code, sform_code
        What they are relative to: 0 nothing, 1 scanner, 2 another image, 3 Talairach, 4 MNI.
    mm_per_unit
        What the header's lengths are multiplied by.
    """

    qform: Matrix | None
    sform: Matrix | None
    qform_code: int
    sform_code: int
    mm_per_unit: float

    @property
    def neither(self) -> bool:
        """Whether the header gives no orientation at all."""
        return self.qform is None and self.sform is None

    def apart_mm(self, shape: tuple[int, ...]) -> float:
        """Return the largest distance between the two places of a corner, in mm; 0 for one form.

        Examples
        --------
        >>> moved = np.eye(4)
        >>> moved[0, 3] = 5
        >>> forms = Forms(qform=np.eye(4), sform=moved, qform_code=1, sform_code=2, mm_per_unit=1)
        >>> forms.apart_mm((4, 4, 4))
        5.0
        """
        if self.qform is None or self.sform is None:
            return 0.0
        return corners_apart_mm(self.qform, self.sform, shape)


def forms_of(file: Any) -> Forms | None:
    """Return qform and sform of an image that nibabel opened; None for a format that has none."""
    header = file.header
    if not isinstance(header, nibabel.Nifti1Header):
        return None
    scale = mm_per_unit(file)
    qform, qform_code = coded_qform(header)
    sform, sform_code = header.get_sform(coded=True)
    return Forms(
        qform=None if qform is None else scaled(qform, scale),
        sform=None if sform is None else scaled(sform, scale),
        qform_code=qform_code,
        sform_code=int(sform_code),
        mm_per_unit=scale,
    )


def coded_qform(header: Any) -> tuple[Matrix | None, int]:
    """Return qform and code of a NIfTI header; None and 0 where there is none.

    A broken quaternion counts as none: such a file is still placed by its sform; without one,
    nibabel does not open it.
    """
    try:
        qform, code = header.get_qform(coded=True)
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        return None, 0
    return qform, int(code)


def read_forms(path: Path) -> Forms | None:
    """Read qform and sform of a file; None for a format that has none."""
    return forms_of(open_header(path))


def mm_per_unit(file: Any) -> float:
    """Return the millimetres in one unit of length of an opened image's header.

    NIfTI names a unit in `xyzt_units`; other formats are in mm.
    """
    header = file.header
    if not isinstance(header, nibabel.Nifti1Header):
        return 1.0
    code = int(header["xyzt_units"]) % 8
    names = {0: "unknown", 1: "meter", 2: "mm", 3: "micron"}
    return MM_PER_UNIT[names.get(code, "unknown")]


def affine_mm(file: Any, path: Path) -> Matrix:
    """Return the affine of an opened image, voxel to world, in mm.

    The NIfTI standard's precedence holds: sform, where its code is not 0; else qform; else the
    spacing alone, with the world's origin in the middle of the image.

    Parameters
    ----------
    file
        As `nibabel.load` gives it.
    path
        What an error names as the place.

    Raises
    ------
    DataError
        If there is no affine, or it cannot be inverted.
    """
    affine = file.affine
    if affine is None or not np.isfinite(affine).all():
        raise _not_invertible(path, "none")
    affine = scaled(np.asarray(affine, dtype=np.float64), mm_per_unit(file))
    axes = affine[:3, :3]
    edges = np.linalg.norm(axes, axis=0)
    # relative to the edges: a voxel of a micrometre is a voxel, and its volume 1e-9 mm³
    flat = edges.min() <= 0
    if not flat:
        volume = abs(np.linalg.det(axes / edges))
        flat = volume < _FLAT
    if flat:
        raise _not_invertible(path, "one whose axes lie in a plane")
    low, high = _EDGES_MM
    if edges.min() < low or edges.max() > high or np.abs(affine[:3, 3]).max() > _FARTHEST_MM:
        got = f"voxels of {sides_text(edges)} mm from {sides_text(affine[:3, 3])} mm"
        raise DataError(
            str(path),
            expected=f"voxels of {low:g} to {high:g} mm, at most {_FARTHEST_MM:g} mm from the origin",
            got=got,
            advice="Repair the header of the file.",
        )
    # io_orientation gives no direction to an axis that the others nearly span
    if np.isnan(io_orientation(affine)).any():
        raise _not_invertible(path, "one whose axes nearly lie in a plane")
    return affine


_EDGES_MM = (1e-7, 1e4)
"""Edges of a voxel: from a tenth of a nanometre to ten metres."""
_FARTHEST_MM = 1e7


def _not_invertible(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="an affine that can be inverted",
        got=got,
        advice="Repair the header of the file.",
    )


def scaled(affine: Matrix, factor: float) -> Matrix:
    """Return an affine whose world has another unit.

    Examples
    --------
    >>> scaled(np.diag([50.0, 50.0, 80.0, 1.0]), 1e-3).diagonal()
    array([0.05, 0.05, 0.08, 1.  ])
    """
    return np.diag([factor, factor, factor, 1.0]) @ affine


def corners_apart_mm(a: Matrix, b: Matrix, shape: tuple[int, ...]) -> float:
    """Return the largest distance between the places of a corner under two affines, in mm."""
    last = np.array(shape, dtype=np.float64) - 1
    # (4, 8): the voxels at the corners, in homogeneous coordinates
    corners = np.ones((4, 8))
    corners[:3] = np.indices((2, 2, 2)).reshape(3, 8)
    corners[:3] *= last[:, None]
    apart = (a - b) @ corners
    distances = np.linalg.norm(apart[:3], axis=0)
    return float(distances.max())


def shear_degrees(affine: Matrix) -> float:
    """Return the largest deviation of two axes of an image from a right angle, in degrees.

    Examples
    --------
    >>> tilted = np.eye(4)
    >>> tilted[1, 2] = np.tan(np.radians(10))
    >>> round(shear_degrees(tilted), 3)
    10.0
    """
    axes = affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    axes = axes / lengths
    between_axes = np.triu_indices(3, 1)
    cosines = (axes.T @ axes)[between_axes]
    largest = np.abs(cosines).max().clip(0, 1)
    return float(np.degrees(np.arcsin(largest)))
