"""`hmopt.apply`: transformations on images, label maps and points, and several as one field."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.data.folders import is_label_name
from hmopt.data.formats import open_header, open_whole, read_voxels, with_targets
from hmopt.data.header import affine_mm
from hmopt.data.points import AXES, Axes, PointFile, is_point_file, read_points, to_lps
from hmopt.data.volume import Lattice, read_image, read_labels, read_lattice
from hmopt.errors import DataError, DeclarationError
from hmopt.files import check_outputs, given_path
from hmopt.interop.bids_derivatives import Derivatives, check_derivatives
from hmopt.interop.composite import check_transform_name, save_transform
from hmopt.interop.displacement import (
    FileTransform,
    Floats,
    check_name,
    moved_image,
    save_image,
)
from hmopt.interop.itk import ItkPlace, find_itk_place
from hmopt.interop.resampling import Interpolation, intensities_at, labels_at
from hmopt.interop.transform import Chain, Transform, chain
from hmopt.interop.transform_files import is_transform_name, read_transform

INTERPOLATIONS: tuple[Interpolation, ...] = ("linear", "nearest", "bspline")

FILE = "FILE"
"""What an error calls a transformation or the input."""

_ANTS_INVERSE = re.compile(r"^\[(.+),\s*([01])\]$")
_FEW_INSIDE = 0.5
"""Share of the reference inside the transformations below which they may not belong to it."""
_PROBES = 20_000
_AT_ONCE = 2**20
"""Voxels of the reference that are looked up together: their arrays take some 200 MB."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What transformations made of an input.

    Parameters
    ----------
    image
        The moved image or label map, or the composed field; None for points.
    points
        (n, 3): the moved points, in mm, towards where those of the input count; None for images.
    output
        The file that it was written to; None: it was not.
    remarks
        What to know about it, a sentence each.
    """

    image: nibabel.Nifti1Image | None
    points: Floats | None
    output: Path | None
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for a person."""
        if self.points is not None:
            return f"Moved points: {self.output} ({len(self.points)} points)"
        return f"Written: {self.output}"


def apply(
    transforms: Path | str | Sequence[Path | str],
    image: Path | str | None = None,
    *,
    to: Path | str | None = None,
    output: Path | str | None = None,
    compose: Path | str | None = None,
    bids_derivatives: Path | str | None = None,
    inverse: Sequence[Path | str] = (),
    labels: bool = False,
    interpolation: str = "linear",
    outside: float | None = None,
    coordinates: str | None = None,
) -> Applied:
    """Apply transformations to an image, a label map or points, or compose them into one.

    The order is that of `antsApplyTransforms -t … -t …`: a voxel of the reference goes through the transformations
    from the first to the last, and takes its value where it arrives. An affine transformation and a warp that ANTs
    estimated are given as `[warp, affine]`.

    Points go the way that the transformations say, from the fixed to the moving image for those that warp a moving to
    a fixed one. To carry points along with the moved image, from moving to fixed, give the inverse.

    Parameters
    ----------
    transforms
        Files: hmopt's and ANTs' fields, composites (`.h5`), and affine or B-spline transforms of ITK and ANTs (`.tfm`,
        `.txt`, `.mat`). `[FILE,1]`, as ANTs writes it, is the inverse of one.
    image
        An image that nibabel reads, or points: a `.csv` with columns x, y, z in mm, or a legacy `.vtk`.
    to
        The image on whose grid the result lies; not for points.
    output
        Where the result goes: NIfTI, or points in the format of the input; None: it is only returned.
    compose
        Instead of an image and `output`: where the transformations go as one, on the grid of `to`, as a NIfTI field or
        as ITK's `.h5`.
    bids_derivatives
        Instead of `output`: a BIDS derivative dataset, where the result and its JSON file get names of their own. The
        image has a name of BIDS.
    inverse
        Those of the transformations that are inverted: affine ones in closed form, others by iteration.
    labels
        The image is a label map: the result has its labels and its integer type. Linear interpolation then takes the
        label whose indicator is largest.
    interpolation
        `linear`, `nearest` or `bspline`.
    outside
        The value outside an image; None: its smallest value, as for `hmopt.register`.
    coordinates
        Towards where x, y, z of points count: `ras` or `lps`; needed unless a `.vtk` says it.

    Returns
    -------
    Applied
        The result, where it was written, and remarks. Images are float32.

    Raises
    ------
    DataError
        If a file cannot be used.
    DeclarationError
        If arguments contradict each other, or one is missing.
    HmoptError
        If an output would overwrite an input, or cannot be written.

    Examples
    --------
    >>> import hmopt
    >>> hmopt.apply("moved_displacement.nii.gz", "m.nii.gz", to="f.nii.gz", output="moved.nii.gz")  # doctest: +SKIP
    >>> ants = ["s1Warp.nii.gz", "s0GenericAffine.mat"]
    >>> hmopt.apply(ants, "dseg.nii.gz", to="f.nii.gz", output="moved.nii.gz", labels=True)  # doctest: +SKIP
    """
    given = [transforms] if isinstance(transforms, str | Path) else list(transforms)
    named = [_named(one) for one in given]
    inverted = [given_path(one, "--inverse", DataError) for one in inverse]
    _check_inverse(inverted, [path for path, _ in named])
    method = _interpolation(interpolation)
    source = None if image is None else given_path(image, FILE, DataError)
    reference = None if to is None else Path(to)
    derivatives = None
    if bids_derivatives is not None:
        derivatives = _derivatives(Path(bids_derivatives), source, reference, output, compose)
        output = derivatives.moved
    destination = _destination(source, reference, output, compose)
    _check_options(source, reference, labels, method, outside, coordinates)
    if destination is not None:
        option = "--output" if compose is None else "--compose"
        inputs = {str(path): path for path, _ in named}
        inputs |= {str(path): path for path in (source, reference) if path is not None}
        check_outputs({option: destination}, with_targets(inputs))

    parts: list[Transform] = []
    for path, is_inverse in named:
        part = read_transform(path)
        is_inverse = is_inverse != (path in inverted)
        parts.append(part.inverse() if is_inverse else part)
    whole = chain(parts)

    if source is None:
        assert reference is not None  # as `_check_options` has seen to
        return _composed(whole, reference, destination)
    if is_point_file(source):
        return _moved_points(whole, source, coordinates, destination)
    assert reference is not None
    if labels:
        applied = _moved_labels(whole, source, reference, method, destination)
    else:
        applied = _moved_image(whole, source, reference, method, outside, destination)
    if derivatives is not None:
        derivatives.describe([derivatives.moved], {}, others=[path for path, _ in named])
    return applied


def _derivatives(
    root: Path,
    source: Path | None,
    reference: Path | None,
    output: Path | str | None,
    compose: Path | str | None,
) -> Derivatives:
    """Return the names of the result in a BIDS derivative dataset."""
    is_image = source is not None and not is_point_file(source)
    if not is_image or reference is None or output is not None or compose is not None:
        raise DeclarationError(
            "--bids-derivatives",
            expected="an image or a label map and --to, without --output and --compose",
            got="other arguments",
            advice="Name the output with --output instead.",
        )
    assert source is not None
    check_derivatives(root)
    return Derivatives(root=root, moving=source, fixed=reference)


def _named(given: Path | str) -> tuple[Path, bool]:
    """Return the file of a transformation, and whether it is given as an inverse, as ANTs does."""
    found = _ANTS_INVERSE.match(str(given))
    if found is None:
        return given_path(given, FILE, DataError), False
    return given_path(found[1], FILE, DataError), found[2] == "1"


def _check_inverse(inverted: Sequence[Path], given: Sequence[Path]) -> None:
    for path in inverted:
        if path not in given:
            raise DeclarationError(
                "--inverse",
                expected="one of the given transformations",
                got=str(path),
                advice="List it among the transformations as well, which defines its position in the order.",
            )


def _interpolation(given: str) -> Interpolation:
    for interpolation in INTERPOLATIONS:
        if given == interpolation:
            return interpolation
    raise DeclarationError(
        "--interpolation",
        expected="linear, nearest or bspline",
        got=repr(given),
        advice="Choose one; use --labels for label maps.",
    )


def _destination(
    source: Path | None, to: Path | None, output: Path | str | None, compose: Path | str | None
) -> Path | None:
    """Return the file to write, its name checked."""
    if compose is not None:
        if source is not None or output is not None:
            raise DeclarationError(
                "--compose",
                expected="transformations alone",
                got="an image or --output as well",
                advice="Leave these out: --compose writes a transformation.",
            )
        destination = Path(compose)
        check_transform_name(destination)
        return destination
    if source is None:
        if output is not None or to is None:
            raise DeclarationError(
                "hmopt apply",
                expected="an image, a label map or points after the transformations, or --compose",
                got="transformations alone",
                advice="Add one of them.",
            )
        return None
    if output is None:
        return None
    destination = Path(output)
    if not is_point_file(source):
        check_name(destination)
    elif destination.suffix.lower() != source.suffix.lower():
        raise DeclarationError(
            "--output",
            expected=f"a name that ends in {source.suffix}, as the input",
            got=destination.name,
            advice="Choose such a name.",
        )
    return destination


_MEANINGLESS: Mapping[str, tuple[str, ...]] = {
    "an image": ("--coordinates",),
    "a label map": ("--outside", "--coordinates"),
    "points": ("--to", "--labels", "--interpolation", "--outside"),
    "transformations that are composed": (
        "--labels",
        "--interpolation",
        "--outside",
        "--coordinates",
    ),
}
"""Options that change nothing, by what is moved."""


def _check_options(
    source: Path | None,
    to: Path | None,
    labels: bool,
    interpolation: Interpolation,
    outside: float | None,
    coordinates: str | None,
) -> None:
    """Refuse options that are missing or mean nothing for this input."""
    of_points = source is not None and is_point_file(source)
    what = "an image"
    if source is None:
        what = "transformations that are composed"
    elif of_points:
        what = "points"
    elif labels:
        what = "a label map"
    given = {
        "--to": to is not None,
        "--labels": labels,
        "--interpolation": interpolation != "linear",
        "--outside": outside is not None,
        "--coordinates": coordinates is not None,
    }
    for option in _MEANINGLESS[what]:
        if given[option]:
            raise DeclarationError(
                option,
                expected=f"no such option for {what}",
                got="one",
                advice="Leave it out.",
            )
    if not of_points and to is None:
        raise DeclarationError(
            "--to",
            expected="the image on whose grid the result lies",
            got="none",
            advice="Add it; for a transformation from a moving to a fixed image, it is the fixed image.",
        )
    if labels and interpolation == "bspline":
        raise DeclarationError(
            "--interpolation",
            expected="linear or nearest for label maps",
            got="bspline",
            advice="Choose one of them.",
        )
    if source is not None and is_transform_name(source):
        raise DeclarationError(
            "hmopt apply",
            expected="an image, a label map or points after the transformations",
            got=source.name,
            advice="Name the input last, or give --compose to join transformations.",
        )


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The voxels of a file, where ITK puts them."""

    path: Path
    lattice: Lattice
    place: ItkPlace

    @classmethod
    def of(cls, path: Path, lattice: Lattice | None = None) -> "_Grid":
        """Read where a file has its voxels."""
        lattice = read_lattice(path) if lattice is None else lattice
        return cls(path=path, lattice=lattice, place=find_itk_place(path, lattice))

    def world(self, rows: NDArray[np.int64]) -> Floats:
        """Return the places (n, 3), LPS+ mm, of voxels that are counted through in C order."""
        voxels = np.stack(np.unravel_index(rows, self.lattice.shape), axis=-1)
        to_world = self.place.affine_lps
        places: Floats = voxels @ to_world[:3, :3].T + to_world[:3, 3]
        return places

    def voxels(self, world: Floats) -> Floats:
        """Return the voxels (n, 3) at places, LPS+ mm."""
        to_voxel = np.linalg.inv(self.place.affine_lps)
        voxels: Floats = world @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        return voxels


def _looked_up(
    whole: Chain, reference: _Grid, source: _Grid, look_up: Callable[[Floats], NDArray[Any]]
) -> NDArray[Any]:
    """Return what is found in the source for each voxel of the reference, (n, …), some at a time."""
    count = int(np.prod(reference.lattice.shape))
    found = []
    for first in range(0, count, _AT_ONCE):
        rows = np.arange(first, min(first + _AT_ONCE, count))
        there = whole(reference.world(rows))
        found.append(look_up(source.voxels(there)))
    return np.concatenate(found)


def _remarks(whole: Chain, reference: _Grid, source: _Grid) -> list[str]:
    """Return what to know of the two files, and of how the fields cover the reference."""
    remarks = [*source.place.remarks, *reference.place.remarks]
    count = int(np.prod(reference.lattice.shape))
    rows = np.arange(0, count, max(1, count // _PROBES))
    share = whole.share_inside(reference.world(rows))
    if share < _FEW_INSIDE:
        remarks.append(
            f"{reference.path.name}: {100 * share:.0f} % of the image lies inside the field of a transformation; "
            "the rest is not displaced. Check the order of the transformations and whether they belong to this "
            "image."
        )
    return list(dict.fromkeys(remarks))


def _composed(whole: Chain, reference: Path, destination: Path | None) -> Applied:
    grid = _Grid.of(reference)
    voxels = _looked_up(whole, grid, grid, lambda places: places)
    transform = FileTransform(
        coordinates=voxels.reshape(*grid.lattice.shape, 3),
        on=grid.place,
        to=grid.place,
        linear=np.eye(4),
    )
    if destination is not None:
        save_transform(transform, destination)
    remarks = _remarks(whole, grid, grid)
    return Applied(image=transform.image(), points=None, output=destination, remarks=tuple(remarks))


def _moved_points(
    whole: Chain, source: Path, coordinates: str | None, destination: Path | None
) -> Applied:
    file = read_points(source)
    axes = _axes(file, source, coordinates)
    here = to_lps(file.points, axes)
    moved = to_lps(whole(here), axes)
    if destination is not None:
        file.moved(moved).save(destination)
    remarks = []
    share = whole.share_inside(here)
    if len(here) and share < 1:
        remarks.append(
            f"{source.name}: {100 * (1 - share):.3g} % of the points lie outside the field of a transformation and "
            "are not displaced. Check whether they belong to the image that the transformation starts from, and "
            "whether --coordinates is correct."
        )
    return Applied(image=None, points=moved, output=destination, remarks=tuple(remarks))


def _axes(file: PointFile, source: Path, given: str | None) -> Axes:
    """Return towards where coordinates count, as the file or the argument says."""
    if given is None:
        if file.axes is None:
            raise DeclarationError(
                "--coordinates",
                expected="ras or lps",
                got="neither",
                advice=f"State the convention of {source.name}: nibabel, FreeSurfer and MNI tables have ras; ITK, ANTs "
                "and 3D Slicer files have lps.",
            )
        return file.axes
    for axes in AXES:
        if given.lower() == axes:
            if file.axes not in (None, axes):
                raise DeclarationError(
                    "--coordinates",
                    expected=f"{file.axes}, as {source.name} says",
                    got=given,
                    advice="Leave the option out, or correct the file's second line.",
                )
            return axes
    raise DeclarationError(
        "--coordinates", expected="ras or lps", got=repr(given), advice="Choose one."
    )


def _moved_labels(
    whole: Chain,
    source: Path,
    reference: Path,
    interpolation: Interpolation,
    destination: Path | None,
) -> Applied:
    volume = read_labels(source)
    onto = _Grid.of(reference)
    of = _Grid.of(source, volume.lattice)
    labels = _looked_up(whole, onto, of, labels_at(volume.data, interpolation))
    stored = open_header(source).get_data_dtype()
    kept = labels.astype(label_type(stored, volume.data))
    return _on_reference(kept, source, onto, destination, _remarks(whole, onto, of))


def label_type(stored: np.dtype[Any], codes: NDArray[np.int64]) -> np.dtype[Any]:
    """Return the type that a moved label map is written with.

    It is that of the file where it is an integer that NIfTI programs read, else the smallest one that holds the codes.

    Examples
    --------
    >>> label_type(np.dtype("int16"), np.array([2])), label_type(np.dtype("float32"), np.array([300]))
    (dtype('int16'), dtype('uint16'))
    """
    highest = int(codes.max(initial=0))
    if stored.kind in "iu" and stored.itemsize < 8 and highest <= np.iinfo(stored).max:
        return stored.newbyteorder("=")
    for candidate in (np.uint8, np.uint16, np.int32):
        if highest <= np.iinfo(candidate).max:
            return np.dtype(candidate)
    return np.dtype(np.int64)


def _moved_image(
    whole: Chain,
    source: Path,
    reference: Path,
    interpolation: Interpolation,
    outside: float | None,
    destination: Path | None,
) -> Applied:
    data, lattice = _volumes(source)
    onto = _Grid.of(reference)
    of = _Grid.of(source, lattice)
    background = float(data.min()) if outside is None else outside
    volumes = [
        intensities_at(volume, interpolation, background) for volume in np.moveaxis(data, -1, 0)
    ]

    def look_up(places: Floats) -> NDArray[np.float32]:
        return np.stack([intensities(places) for intensities in volumes], axis=-1)

    values = _looked_up(whole, onto, of, look_up)
    remarks = _remarks(whole, onto, of)
    if is_label_name(source):
        remarks.append(
            f"{source.name}: seems to be a label map; use --labels to preserve its labels."
        )
    in_shape = values[:, 0] if values.shape[1] == 1 else values
    return _on_reference(in_shape, source, onto, destination, remarks)


def _volumes(path: Path) -> tuple[NDArray[np.float32], Lattice]:
    """Return the intensities of an image, (x, y, z, volumes), and where its voxels are."""
    header = open_header(path)
    shape = tuple(int(length) for length in header.shape)
    is_series = len(shape) == 4 and shape[3] > 1
    if not is_series:
        image = read_image(path)
        return image.data[..., None], image.lattice
    file = open_whole(path)
    data = read_voxels(path, file)
    if data.dtype.kind not in "buif":
        raise DataError(
            str(path),
            expected="one real number per voxel",
            got=str(data.dtype),
            advice="Convert the image.",
        )
    x, y, z, _ = shape
    return data.astype(np.float32), Lattice(shape=(x, y, z), affine=affine_mm(file, path))


def _on_reference(
    values: NDArray[Any],
    source: Path,
    reference: _Grid,
    destination: Path | None,
    remarks: Sequence[str],
) -> Applied:
    """Return values (n,) or (n, volumes) on the grid of the reference, written."""
    header: Any = open_header(reference.path)
    lattice = reference.lattice
    shape = header.shape if values.ndim == 1 else (*lattice.shape, values.shape[1])
    in_shape = values.reshape(shape)
    image = moved_image(in_shape, header, lattice.affine)
    if values.ndim == 2:
        _keep_time(image, source)
    if destination is not None:
        save_image(image, destination)
    return Applied(image=image, points=None, output=destination, remarks=tuple(remarks))


def _keep_time(image: nibabel.Nifti1Image, source: Path) -> None:
    """Give a series the step and unit of time of the file that it came from."""
    header = open_header(source).header
    if not isinstance(header, nibabel.Nifti1Header):
        return
    zooms = image.header.get_zooms()
    image.header.set_zooms((*zooms[:3], header.get_zooms()[3]))
    space_unit = int(image.header["xyzt_units"]) % 8
    image.header["xyzt_units"] = space_unit + int(header["xyzt_units"]) // 8 * 8
