"""What a file may ask of memory and disk: refused before any of it is taken."""

import math
import shutil
from pathlib import Path

from hmopt.errors import HmoptError, sides_text

MOST_VOXELS = 2**31
"""Voxels of one image: a cube of 1290, 8 GB in single precision."""

SIDES_OF_DISPLACEMENT = 4
"""A displacement in a picture is at most so many times the longest side of the picture."""

_MEMORY = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Return the bytes of memory that this process can still take; None where the system does not tell.

    Examples
    --------
    >>> found = available_memory()
    >>> found is None or found > 0
    True
    """
    if not _MEMORY.is_file():
        return None
    for line in _MEMORY.read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            kibibytes = int(line.split()[1])
            return 1024 * kibibytes
    return None


def check_voxels(shape: tuple[int, ...], field: str, error: type[HmoptError]) -> None:
    """Refuse a grid of more voxels than an image can have.

    Parameters
    ----------
    shape
        Voxels along each axis, as a header tells them.
    field
        What an error names: the file.
    error
        Class of the error.

    Raises
    ------
    HmoptError
        If there are more than `MOST_VOXELS`.

    Examples
    --------
    >>> check_voxels((32767, 32767, 32767), "scan.nii", HmoptError)
    Traceback (most recent call last):
    hmopt.errors.HmoptError: scan.nii: expected at most 2,147,483,648 voxels, got 32767 x 32767 x 32767. Correct ...
    """
    count = math.prod(int(side) for side in shape)
    if count > MOST_VOXELS:
        raise error(
            field,
            expected=f"at most {MOST_VOXELS:,} voxels",
            got=sides_text(shape),
            advice="Correct its header, or give a coarser or cropped image.",
        )


def check_memory(needed: int, field: str, error: type[HmoptError]) -> None:
    """Refuse what does not fit into the memory that is left.

    Parameters
    ----------
    needed
        Bytes.
    field
        What an error names: the file.
    error
        Class of the error.

    Raises
    ------
    HmoptError
        If there is less.

    Examples
    --------
    >>> check_memory(10**18, "scan.nii", HmoptError)
    Traceback (most recent call last):
    hmopt.errors.HmoptError: scan.nii: expected contents that fit into memory (... GB left), got 1000000000.0 GB. ...
    """
    left = available_memory()
    if left is not None and needed > left:
        raise error(
            field,
            expected=f"contents that fit into memory ({_gigabytes(left)} left)",
            got=_gigabytes(needed),
            advice="Correct the file, or use a machine with more memory.",
        )


def check_disk(needed: int, folder: Path, error: type[HmoptError]) -> None:
    """Refuse to write what does not fit on a disk: a full disk would end a mapped array without a word.

    Parameters
    ----------
    needed
        Bytes.
    folder
        Where they go; it, or a folder above it, exists.
    error
        Class of the error.

    Raises
    ------
    HmoptError
        If there is less space.

    Examples
    --------
    >>> check_disk(10**18, Path(), HmoptError)
    Traceback (most recent call last):
    hmopt.errors.HmoptError: .: expected 1000000000.0 GB of free space, got ... GB. Free some, or ...
    """
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise error(
            str(folder),
            expected=f"{_gigabytes(needed)} of free space",
            got=_gigabytes(free),
            advice="Free some, or put the study folder on another disk.",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
