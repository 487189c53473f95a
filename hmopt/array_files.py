"""Files of numpy arrays: read with a limit, a schema, and an error of one line."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hmopt.errors import HmoptError
from hmopt.files import one_line
from hmopt.limits import check_memory

Arrays = dict[str, NDArray[Any]]
Refuse = Callable[[str], HmoptError]
"""Returns the error for what was found."""


@dataclass(frozen=True, kw_only=True)
class ArrayRule:
    """What an array of a file can be.

    Parameters
    ----------
    kinds
        Letters of numpy's kinds, as `f` or `iu`.
    dimensions
        How many axes; left out: any number.
    low, high
        Range of its numbers, which must be finite where they are given.
    may_be_nan
        Whether numbers may also be NaN.

    Examples
    --------
    >>> ArrayRule(kinds="f", dimensions=2, low=0, high=1).fault(np.array([[0.5, 1.5]]))
    '1.5 outside [0, 1]'
    """

    kinds: str
    dimensions: int | None = None
    low: float | None = None
    high: float | None = None
    may_be_nan: bool = False

    def fault(self, array: NDArray[Any]) -> str | None:
        """Return what an array breaks of the rule; None where it keeps it."""
        if array.dtype.kind not in self.kinds:
            return f"values of {array.dtype}"
        if self.dimensions is not None and array.ndim != self.dimensions:
            return f"shape {array.shape}"
        if array.dtype.kind not in "iuf" or array.size == 0:
            return None
        numbers = array[~np.isnan(array)] if array.dtype.kind == "f" else array
        if numbers.size < array.size and not self.may_be_nan:
            return "NaN"
        if not np.isfinite(numbers).all():
            return "infinity"
        if numbers.size == 0 or self.low is None or self.high is None:
            return None
        lowest, highest = numbers.min(), numbers.max()
        outside = lowest if lowest < self.low else highest
        if lowest < self.low or highest > self.high:
            return f"{outside:g} outside [{self.low:g}, {self.high:g}]"
        return None


def read_npz(path: Path, rules: Mapping[str, ArrayRule], refuse: Refuse) -> Arrays:
    """Read all arrays of an npz file; the sum that zip keeps of each is compared.

    Parameters
    ----------
    path
        The file.
    rules
        The arrays that it can hold, by name.
    refuse
        Makes the error.

    Raises
    ------
    HmoptError
        If it is no such file, was damaged, does not fit into memory, or holds another array, or one
        that breaks its rule.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "picture.npz"
    >>> np.savez_compressed(path, moving=np.zeros((2, 2)))
    >>> def refuse(got):
    ...     return HmoptError("picture.npz", expected="a picture", got=got, advice="Draw it again.")
    >>> read_npz(path, {"moving": ArrayRule(kinds="iu")}, refuse)
    Traceback (most recent call last):
    hmopt.errors.HmoptError: picture.npz: expected a picture, got values of float64 in moving. Draw it again.
    """
    try:
        arrays = _read(path, refuse)
    except HmoptError:
        raise
    # zipfile, zlib and numpy raise whatever a damaged byte leads them to
    except Exception as error:
        raise refuse(f"a damaged file ({one_line(error)})") from error
    for name, array in arrays.items():
        if name not in rules:
            raise refuse(f"another array, {name}")
        fault = rules[name].fault(array)
        if fault is not None:
            raise refuse(f"{fault} in {name}")
    return arrays


def _read(path: Path, refuse: Refuse) -> Arrays:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        check_memory(total, str(path), HmoptError)
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in arrays:
                raise refuse(f"another file in it, {member.filename!r}")
            arrays[name] = _member(archive, member, refuse)
    return arrays


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, refuse: Refuse) -> NDArray[Any]:
    """Return an array of an archive, whose header must tell the size that the archive has of it."""
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        found = member.file_size - file.tell()
    if dtype.hasobject or min(shape, default=1) < 0 or needed != found:
        raise refuse(f"{found} bytes of {member.filename} in place of {needed}")
    with archive.open(member) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        if file.read(1):  # the sum is compared at the end
            raise refuse(f"further bytes in {member.filename}")
    return array


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return header
