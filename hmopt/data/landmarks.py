"""Landmarks of images: points that experts or programs set, the same ones in several images."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from hmopt.data.points import Axes, PointFile, PointTable, check_numbers, read_points, to_lps
from hmopt.data.spreadsheets import parse_table, read_text
from hmopt.data.volume import Lattice, read_lattice
from hmopt.errors import DataError
from hmopt.files import content_hash

Coordinates = Literal["ras", "lps", "voxel"]
"""mm in the world of the image, counted towards right, anterior, superior or left, posterior, superior; or voxels
of its file, counted from 0."""

NAMES = ("landmark", "name", "label", "id")
"""Columns that may tell which landmark a row is; the first one whose values are all different does."""

_MARKUPS = ".fcsv"
_MARKUPS_COLUMNS = (
    "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID,positionStatus,autoCreated"
)
"""The last two since version 5 of 3D Slicer, which leaves them unnamed."""
_TILTED = 1e-3
"""Share of a voxel's step within the plane by which a step across it may move x or y."""
_COMMENT = re.compile(r"^#.*", re.MULTILINE)
_SYSTEM = re.compile(r"^#\s*CoordinateSystem\s*=\s*(\w+)", re.MULTILINE)
_SYSTEMS: Mapping[str, Axes] = {"0": "ras", "ras": "ras", "1": "lps", "lps": "lps"}


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """The k landmarks of an image.

    Parameters
    ----------
    names
        Which landmarks they are; `1`, `2`, … where a file does not say.
    voxels
        (k, 3), in voxels of the image's file.
    affine
        (4, 4): voxel of the file to world, in mm.
    origin
        What an error names as the place.
    named_by
        Column of the file that holds the names; None where there is none.
    """

    names: tuple[str, ...]
    voxels: NDArray[np.float64]
    affine: NDArray[np.float64]
    origin: str
    named_by: str | None = None

    @property
    def are_named(self) -> bool:
        """Whether the file says which landmarks they are."""
        return self.named_by is not None

    @property
    def identity(self) -> str:
        """Hash of names and places."""
        places = np.round(self.voxels, 6).tolist()
        return content_hash([list(self.names), places])


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """The k landmarks that two images have in common.

    Parameters
    ----------
    moving, fixed
        (k, 3), in voxels of either image's file.
    moving_affine
        (4, 4): voxel of the moving image's file to world, in mm.
    """

    moving: NDArray[np.float64]
    fixed: NDArray[np.float64]
    moving_affine: NDArray[np.float64]


def correspond(moving: Landmarks, fixed: Landmarks) -> Correspondence:
    """Return the landmarks that two images have in common, in the order of the fixed image's.

    Raises
    ------
    DataError
        If landmarks have names in one image only; are told by the order of the rows, and there are not as many in
        both images; or by names of different columns, of which none is shared.

    Examples
    --------
    >>> places = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    >>> both = {"named_by": "label", "voxels": places, "affine": np.eye(4), "origin": "made up"}
    >>> one, other = Landmarks(names=("a", "b"), **both), Landmarks(names=("b", "c"), **both)
    >>> correspond(one, other).moving, correspond(one, other).fixed
    (array([[2., 0., 0.]]), array([[1., 0., 0.]]))
    """
    if moving.are_named != fixed.are_named:
        named, unnamed = (moving, fixed) if moving.are_named else (fixed, moving)
        raise DataError(
            unnamed.origin,
            expected=f"a column that names each landmark once, as {named.named_by} of {named.origin}",
            got="none, or one with an empty or repeated name",
            advice="Correct the names, or take the column out of both files: rows are then matched by their order.",
        )
    by_order = not moving.are_named
    if by_order and len(moving.names) != len(fixed.names):
        raise DataError(
            moving.origin,
            expected=f"as many landmarks as {fixed.origin} ({len(fixed.names)}), since no column says which is which",
            got=len(moving.names),
            advice="Add a column landmark to both files.",
        )
    if by_order:
        moving_rows = list(range(len(moving.names)))
        fixed_rows = moving_rows
    else:
        place_in_moving = {name: row for row, name in enumerate(moving.names)}
        fixed_rows = [row for row, name in enumerate(fixed.names) if name in place_in_moving]
        moving_rows = [place_in_moving[fixed.names[row]] for row in fixed_rows]
        if not fixed_rows and moving.named_by != fixed.named_by:
            raise DataError(
                moving.origin,
                expected=f"landmarks named by the column {fixed.named_by}, as in {fixed.origin}",
                got=f"the column {moving.named_by}, and no name in common",
                advice="Name them alike in a column landmark of both files.",
            )
    return Correspondence(
        moving=moving.voxels[moving_rows],
        fixed=fixed.voxels[fixed_rows],
        moving_affine=moving.affine,
    )


def read_all_landmarks(images: pd.DataFrame, coordinates: Coordinates) -> dict[str, Landmarks]:
    """Read the landmarks of all images that have some, by the name of the image.

    Parameters
    ----------
    images
        As of `list_images`.
    coordinates
        What the numbers are where a file does not say.

    Raises
    ------
    DataError
        As `read_landmarks`.
    """
    if "points" not in images:
        return {}
    found = {}
    for name, image, points in images[["image", "points"]].itertuples(name=None):
        if isinstance(points, Path):
            lattice = read_lattice(image)
            found[str(name)] = read_landmarks(points, lattice, coordinates)
    return found


def read_landmarks(path: Path, lattice: Lattice, coordinates: Coordinates) -> Landmarks:
    r"""Read the landmarks of an image.

    Parameters
    ----------
    path
        `.csv` or `.tsv` with columns x, y and z, of which z may be left out for a 2-D image (in mm: for an axial
        one), and one of `NAMES`; a `.csv` of numbers alone, as of Learn2Reg; `.fcsv` of 3D Slicer; or legacy `.vtk`.
    lattice
        Of the image's file.
    coordinates
        What the numbers are where the file does not say.

    Raises
    ------
    DataError
        If the file cannot be read, holds no point, or none in the image, or one that lies further from the image than
        the image is large.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "points.csv"
    >>> _ = path.write_text("name,x,y,z\napex,-4,2,1\n")
    >>> lattice = Lattice(shape=(9, 9, 9), affine=np.diag([-2.0, 2.0, 1.0, 1.0]))
    >>> read_landmarks(path, lattice, "ras").voxels
    array([[2., 1., 1.]])
    """
    file, said = _read_file(path)
    points = file.points
    if not len(points):
        raise DataError(
            str(path), expected="landmarks", got="none", advice="Add them, or leave the file out."
        )
    meant = said or coordinates
    if not _has_z(file):
        _check_plane(path, lattice, meant)
    if meant == "voxel":
        voxels = points
    else:
        world = to_lps(points, "ras") if meant == "lps" else points
        voxels = apply_affine(np.linalg.inv(lattice.affine), world)
    if lattice.shape[2] == 1 and not _has_z(file):
        # a point of a plane lies on it, wherever the plane lies in the world
        voxels = np.column_stack([voxels[:, :2], np.zeros(len(voxels))])
    _check_near(path, voxels, lattice, meant)
    named_by, names = _names(file)
    numbers = tuple(str(number + 1) for number in range(len(points)))
    return Landmarks(
        names=names or numbers,
        voxels=voxels,
        affine=lattice.affine,
        origin=str(path),
        named_by=named_by,
    )


def _read_file(path: Path) -> tuple[PointFile, Axes | None]:
    """Read a file, and what it says of its coordinates."""
    suffix = path.suffix.lower()
    if suffix == ".vtk":
        vtk = read_points(path)
        return vtk, vtk.axes
    text = read_text(path)
    if suffix == _MARKUPS:
        return _read_markups(path, text)
    if not _is_of_numbers(text):
        return read_points(path), None
    # Learn2Reg's files have no line of names
    first, *_ = text.strip().splitlines()
    columns = "xyz"[: len(first.split(","))]
    table = parse_table(text, path, "a table of points", list(columns))
    return _checked(path, table), None


def _read_markups(path: Path, text: str) -> tuple[PointFile, Axes | None]:
    """Read the table of 3D Slicer, whose names of columns stand in a comment."""
    columns = _MARKUPS_COLUMNS.split(",")
    # comments leave their lines empty, so that errors name lines of the file
    content = _COMMENT.sub("", text)
    found = _SYSTEM.search(text)
    # versions before 4.11 wrote RAS without saying so
    system = found[1].lower() if found else "ras"
    if system not in _SYSTEMS:
        raise DataError(
            str(path),
            expected="CoordinateSystem = RAS or LPS",
            got=system,
            advice="Write it again from 3D Slicer, or as .csv.",
        )
    table = parse_table(content, path, "a list of points of 3D Slicer", columns)
    return _checked(path, table), _SYSTEMS[system]


def _is_of_numbers(text: str) -> bool:
    first, *_ = text.strip().splitlines() or [""]
    values = first.split(",")
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return len(numbers) in (2, 3)


def _checked(path: Path, table: pd.DataFrame) -> PointTable:
    check_numbers(path, {axis: table[axis] for axis in "xyz" if axis in table})
    return PointTable(table=table)


def _has_z(file: PointFile) -> bool:
    if not isinstance(file, PointTable):
        return True
    columns = [str(column).strip().lower() for column in file.table.columns]
    return "z" in columns


def _check_plane(path: Path, lattice: Lattice, meant: Coordinates) -> None:
    """Refuse points without z where z is not told by the image: a volume, or a plane across x and y of the world."""
    if lattice.shape[2] != 1:
        raise DataError(
            str(path),
            expected="columns x, y and z, as the image is a volume",
            got="no z",
            advice="Add z.",
        )
    columns = lattice.affine[:2, :3]
    depth = np.abs(columns[:, 2]).max()
    if meant != "voxel" and depth > _TILTED * np.abs(columns).max():
        raise DataError(
            str(path),
            expected="columns x, y and z, as the plane of the image is not axial",
            got="no z",
            advice="Add z, or give voxels and set cohort.point_coordinates to voxel.",
        )


def _names(file: PointFile) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that says which landmark each row is, and what it says; None and nothing where none does."""
    if not isinstance(file, PointTable):
        return None, ()
    by_name = {str(column).strip().lower(): column for column in file.table.columns}
    for name in NAMES:
        if name not in by_name:
            continue
        values = file.table[by_name[name]].astype(str)
        if values.is_unique and (values != "").all():
            return name, tuple(values)
    return None, ()


def _check_near(
    path: Path, voxels: NDArray[np.float64], lattice: Lattice, coordinates: Coordinates
) -> None:
    """Refuse points that another convention was meant for.

    These are all points where none lies in the image, to a voxel, and one that lies further from the
    image than the image is large.
    """
    sides = np.array(lattice.shape)
    largest = sides.max()
    is_far = ((voxels < -largest) | (voxels > sides + largest)).any(axis=1)
    is_outside = ((voxels < -1) | (voxels > sides)).any(axis=1)
    if not is_far.any() and not is_outside.all():
        return
    row = int(np.flatnonzero(is_far if is_far.any() else is_outside)[0])
    place = ", ".join(f"{value:.6g}" for value in voxels[row])
    raise DataError(
        str(path),
        expected=f"points of an image of {' x '.join(map(str, lattice.shape))} voxels",
        got=f"point {row + 1} at voxel ({place}), read as {coordinates}",
        advice="Correct cohort.point_coordinates.",
    )
