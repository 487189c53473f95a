"""Points in the world, from tables and from legacy VTK files, and back to such files.

Only the coordinates change: other columns of a table, and cells and attributes of a mesh, are
written as they were read.
"""

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.csv_tables import table_quoting
from hmopt.data.spreadsheets import read_table
from hmopt.errors import DataError
from hmopt.files import replacing

Floats = NDArray[np.float64]
Axes = Literal["ras", "lps"]
"""Towards where x, y and z count: right, anterior, superior, or left, posterior, superior."""

AXES: tuple[Axes, ...] = ("ras", "lps")

_FLIP = np.array([-1.0, -1.0, 1.0])
_SPACE = re.compile(rb"SPACE\s*=\s*(RAS|LPS)", re.I)
_POINTS = re.compile(rb"^POINTS[ \t]+(\d+)[ \t]+(\w+)[ \t]*\r?\n", re.I | re.M)
_NUMBER_TYPES = {b"float": ">f4", b"double": ">f8"}


class PointFile(ABC):
    """A file of points.

    To read another format, derive from this class and add its ending to `read_points`.
    """

    @property
    @abstractmethod
    def points(self) -> Floats:
        """(n, 3), in mm, towards where the file counts."""

    @property
    def axes(self) -> Axes | None:
        """Towards where the file says that its coordinates count; None: it does not say."""
        return None

    @abstractmethod
    def moved(self, points: Floats) -> "PointFile":
        """Return the file with other points, (n, 3)."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""


@dataclass(frozen=True, kw_only=True)
class PointTable(PointFile):
    """A CSV table with columns x, y and z; without z the points are of a 2-D image.

    Parameters
    ----------
    table
        As text.
    """

    table: pd.DataFrame

    @property
    def points(self) -> Floats:
        """(n, 3)."""
        found = np.zeros((len(self.table), 3))
        for axis, column in enumerate(self._columns):
            found[:, axis] = pd.to_numeric(self.table[column])
        return found

    @property
    def _columns(self) -> list[str]:
        named = {str(column).strip().lower(): str(column) for column in self.table.columns}
        return [named[axis] for axis in "xyz" if axis in named]

    def moved(self, points: Floats) -> "PointTable":
        """Return the table with other points."""
        table = self.table.copy()
        for axis, column in enumerate(self._columns):
            table[column] = [f"{value:.9g}" for value in points[:, axis]]
        return replace(self, table=table)

    def save(self, path: Path) -> None:
        """Write it with commas, or with tabs as `.tsv`."""
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        with replacing(path) as beside:
            quoting = table_quoting(self.table)
            self.table.to_csv(beside, index=False, sep=separator, quoting=quoting)


@dataclass(frozen=True, kw_only=True)
class VtkFile(PointFile):
    """A legacy VTK file, ASCII or binary: everything but its points is kept byte for byte.

    Parameters
    ----------
    before, after
        Bytes around the points and their line.
    coordinates
        (n, 3).
    kind
        Numbers as they are stored: `float` or `double`.
    binary
        Whether they are stored as bytes, else as text.
    """

    before: bytes
    after: bytes
    coordinates: Floats
    kind: bytes
    binary: bool

    @property
    def points(self) -> Floats:
        """(n, 3)."""
        return self.coordinates

    @property
    def axes(self) -> Axes | None:
        """What 3D Slicer and ITK write in the second line, as `SPACE=LPS`."""
        _, title, *_ = self.before.split(b"\n", 2)
        found = _SPACE.search(title)
        if found is None:
            return None
        return "ras" if found[1].lower() == b"ras" else "lps"

    def moved(self, points: Floats) -> "VtkFile":
        """Return the file with other points."""
        return replace(self, coordinates=points)

    def save(self, path: Path) -> None:
        """Write it in the same encoding."""
        line = b"POINTS %d %s\n" % (len(self.coordinates), self.kind)
        if self.binary:
            numbers = self.coordinates.astype(_NUMBER_TYPES[self.kind]).tobytes() + b"\n"
        else:
            text = io.StringIO()
            np.savetxt(text, self.coordinates, fmt="%.9g")
            numbers = text.getvalue().encode()
        with replacing(path) as beside:
            beside.write_bytes(self.before + line + numbers + self.after)


def is_point_file(path: Path) -> bool:
    """Tell by its name whether a file holds points.

    Examples
    --------
    >>> is_point_file(Path("landmarks.csv")), is_point_file(Path("head.nii.gz"))
    (True, False)
    """
    return path.suffix.lower() in (".csv", ".tsv", ".vtk")


def read_points(path: Path) -> PointFile:
    """Read a file of points.

    Parameters
    ----------
    path
        `.csv` or `.tsv` with columns x, y, z in mm, or legacy `.vtk` (polydata, unstructured and
        structured grids).

    Raises
    ------
    DataError
        If it cannot be read, lacks a column, or a coordinate is no finite number.
    """
    if not path.is_file():
        raise DataError(
            str(path), expected="a file of points", got="no file", advice="Correct the path."
        )
    if path.suffix.lower() == ".vtk":
        return _read_vtk(path)
    return _read_csv(path)


def to_lps(points: Floats, axes: Axes) -> Floats:
    """Return points (n, 3) as LPS+, or LPS+ points as RAS+: the first two axes are turned round.

    Examples
    --------
    >>> to_lps(np.array([[1.0, 2.0, 3.0]]), "ras")
    array([[-1., -2.,  3.]])
    """
    return points if axes == "lps" else points * _FLIP


def _read_csv(path: Path) -> PointTable:
    table = read_table(path, "a table of points")
    names = [str(column).strip().lower() for column in table.columns]
    lacking = [axis for axis in "xy" if axis not in names]
    if lacking:
        raise DataError(
            str(path),
            expected="columns x, y and z, in mm",
            got=f"columns {', '.join(map(str, table.columns))}",
            advice="Rename them.",
        )
    columns = {name: table[table.columns[names.index(name)]] for name in "xyz" if name in names}
    check_numbers(path, columns)
    return PointTable(table=table)


def check_numbers(path: Path, columns: Mapping[str, pd.Series]) -> None:
    """Refuse coordinates that are no finite numbers.

    Parameters
    ----------
    path
        The table that they are of.
    columns
        By axis; the index of each tells the line in the file.

    Raises
    ------
    DataError
        If there is one.
    """
    for axis, column in columns.items():
        numbers = pd.to_numeric(column, errors="coerce")
        wrong = column[~np.isfinite(numbers)]
        if len(wrong):
            raise DataError(
                f"{path}, line {wrong.index[0]}",
                expected=f"a number for {axis}",
                got=repr(wrong.iloc[0]),
                advice="Correct it, or remove the row.",
            )


def _read_vtk(path: Path) -> VtkFile:
    content = path.read_bytes()
    lines = content.split(b"\n", 3)
    encoding = lines[2].strip().upper() if len(lines) > 3 else b""
    if not lines[0].startswith(b"# vtk DataFile") or encoding not in (b"ASCII", b"BINARY"):
        raise _not_vtk(path, "another file")
    found = _POINTS.search(content)
    if found is None:
        raise _not_vtk(path, "a file without POINTS")
    count = int(found[1])
    kind = found[2].lower()
    if encoding == b"ASCII":
        numbers, end = _text_numbers(content, found.end(), 3 * count)
        if kind not in _NUMBER_TYPES:
            kind = b"double"
    else:
        if kind not in _NUMBER_TYPES:
            raise _not_vtk(path, f"points of type {kind.decode()}")
        stored = np.dtype(_NUMBER_TYPES[kind])
        end = found.end() + 3 * count * stored.itemsize
        numbers = np.frombuffer(content[found.end() : end], stored) if end <= len(content) else None
        # the line break after the numbers
        end += content[end : end + 1] == b"\n"
    if numbers is None or len(numbers) < 3 * count or not np.isfinite(numbers).all():
        raise _not_vtk(path, f"fewer than {count} points, or some that are not finite")
    return VtkFile(
        before=content[: found.start()],
        after=content[end:],
        coordinates=numbers.astype(np.float64).reshape(count, 3),
        kind=kind,
        binary=encoding == b"BINARY",
    )


def _text_numbers(content: bytes, start: int, count: int) -> tuple[Floats | None, int]:
    """Return numbers that stand as text from an offset on, and the offset behind them."""
    numbers = np.empty(count)
    end = start
    words = re.compile(rb"\S+\s*").finditer(content, start)
    for place in range(count):
        word = next(words, None)
        if word is None:
            return None, end
        try:
            numbers[place] = float(word[0])
        except ValueError:
            return None, end
        end = word.end()
    return numbers, end


def _not_vtk(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="points in a legacy VTK file",
        got=got,
        advice="Write it as .vtk, version 5.1 or lower, or give a CSV.",
    )
