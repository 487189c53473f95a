"""Where ITK, and with it ANTs, SimpleITK and elastix, puts the voxels of a file.

ITK follows rules of its own. Of a NIfTI file with both forms it reads the qform, unless the sform's
code is 1; hmopt, as nibabel, FSL and the standard, reads the sform. Without either, ITK puts the
first voxel at the origin, nibabel the middle of the image. ITK refuses axes that are not
orthogonal, and reads a 2-D file as an image of two dimensions. A displacement is made to be applied
by ITK, so that it is written in the world as ITK reads it.
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.data.formats import open_header
from hmopt.data.header import Forms, corners_apart_mm, read_forms, shear_degrees
from hmopt.data.volume import Lattice
from hmopt.errors import DataError
from hmopt.files import given_path

Matrix = NDArray[np.float64]

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AGREE = 0.05
"""Share of a voxel by which two readings of a header may differ."""
_RIGHT_DEGREES = 0.05


@dataclass(frozen=True, kw_only=True)
class ItkPlace:
    """Where voxels of a file are for ITK.

    Parameters
    ----------
    affine_lps
        (4, 4): voxel to world, LPS+ mm; of a file that ITK does not read, what hmopt reads.
    dimensions
        2 for a file that ITK takes as a 2-D image, else 3.
    forms
        qform and sform of the file; None for a format that has none.
    remarks
        What a user must know about it, one sentence each.
    """

    affine_lps: Matrix
    dimensions: int = 3
    forms: Forms | None = None
    remarks: tuple[str, ...] = ()


def find_itk_place(path: Path, lattice: Lattice) -> ItkPlace:
    """Read where ITK puts the voxels of a file, without reading them.

    Parameters
    ----------
    path
        Anything that nibabel reads.
    lattice
        What hmopt reads there.
    """
    own = LPS_FROM_RAS @ lattice.affine
    if not isinstance(open_header(path), nibabel.analyze.AnalyzeImage):
        return ItkPlace(
            affine_lps=own
        )  # FreeSurfer's and MINC's formats have one affine and no second reading
    forms = read_forms(path)
    voxel_mm = float(np.linalg.norm(lattice.affine[:3, :3], axis=0).min())
    remarks = [] if forms is None else _remarks_on_forms(path, forms, lattice, voxel_mm)
    read = _read(path)
    if isinstance(read, str):
        remarks.append(_unread(path, lattice, read))
        return ItkPlace(affine_lps=own, forms=forms, remarks=tuple(remarks))
    affine_lps, dimensions = read
    if dimensions == 3:
        apart = corners_apart_mm(own, affine_lps, lattice.shape)
        if apart > _AGREE * voxel_mm:
            remarks.append(
                f"{path.name}: ITK puts a corner of it {apart:.3g} mm from where it is read here; "
                "the displacement is written for ITK's reading."
            )
    return ItkPlace(
        affine_lps=affine_lps, dimensions=dimensions, forms=forms, remarks=tuple(remarks)
    )


def itk_name(path: Path) -> str:
    """Return the absolute name of a file as SimpleITK takes it, which ends the process at one that is no text.

    Raises
    ------
    DataError
        If the name is not in UTF-8.

    Examples
    --------
    >>> itk_name(Path("/scans/t1.nii"))
    '/scans/t1.nii'
    """
    return str(given_path(path.absolute(), "file", DataError))


def _read(path: Path) -> tuple[Matrix, int] | str:
    """Return affine and dimensions, or why there are none."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    # what ITK would print is said in one line instead
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        return _reason(str(error))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    dimensions = min(3, reader.GetDimension())
    spacing = np.array(reader.GetSpacing())[:dimensions]
    whole = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)
    direction = whole[:dimensions, :dimensions]
    if abs(np.linalg.det(direction)) < 0.5:
        return "a 2-D file whose axes do not span the axial plane"
    origin = reader.GetOrigin()
    affine = np.eye(4)
    affine[:dimensions, :dimensions] = direction * spacing
    affine[:dimensions, 3] = origin[:dimensions]
    return affine, dimensions


def _reason(message: str) -> str:
    if "orthonormal" in message:
        return "axes that are not orthogonal"
    if "Unable to determine ImageIO" in message:
        return "a format that it does not know"
    return " ".join(message.split())[-120:]


def _remarks_on_forms(path: Path, forms: Forms, lattice: Lattice, voxel_mm: float) -> list[str]:
    if forms.neither:
        return [
            f"{path.name}: its header has neither qform nor sform, so that only the spacing is "
            "known. Its middle is taken for the origin and its axes for left, anterior and "
            "superior, as by nibabel; beside a file with an orientation it may be mirrored."
        ]
    apart = forms.apart_mm(lattice.shape)
    if apart <= _AGREE * voxel_mm:
        return []
    return [
        f"{path.name}: qform (code {forms.qform_code}) and sform (code {forms.sform_code}) put a "
        f"corner of it {apart:.3g} mm apart; the sform is followed, as the NIfTI standard says."
    ]


def _unread(path: Path, lattice: Lattice, reason: str) -> str:
    tilt = shear_degrees(lattice.affine)
    numbers = ""
    if tilt > _RIGHT_DEGREES:
        apart = corners_apart_mm(lattice.affine, _orthogonal(lattice.affine), lattice.shape)
        numbers = f", which miss a right angle by {tilt:.3g} degrees, {apart:.3g} mm at a corner"
    return (
        f"{path.name}: ITK and ANTs do not read it ({reason}{numbers}), so that they cannot apply "
        "the displacement to it; the moved image is right. Resample the file to a common NIfTI "
        "grid to use them."
    )


def _orthogonal(affine: Matrix) -> Matrix:
    """Return the nearest affine with orthogonal axes; spacing and first voxel stay."""
    linear = affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    directions = linear / spacing
    left, _, right = np.linalg.svd(directions)
    rotation = left @ right
    nearest = affine.copy()
    nearest[:3, :3] = rotation * spacing
    return nearest
