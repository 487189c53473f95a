"""Tensors of files that `torch.save` wrote: read as numbers, without executing what is in them."""

import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.errors import CheckpointError
from hmopt.files import one_line

LARGEST_FILE = 4 * 1024**3
"""Bytes; no file of weights that is read here comes near it."""
LARGEST_PICKLE = 64 * 1024**2
"""Bytes of the part that names the tensors."""

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""How a file begins that torch wrote before version 1.6: a pickle of torch's magic number."""
_PICKLE_PROTOCOLS = frozenset(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_ADVICE = "Give the file as its program wrote it."
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def looks_saved_by_torch(path: Path) -> bool:
    """Tell whether a file begins as those of `torch.save`, or any pickle, do; read a few bytes.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.pth"
    >>> torch.save({"weight": torch.zeros(2)}, path)
    >>> looks_saved_by_torch(path)
    True
    """
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError:
        return False
    if start.startswith(_ZIP):
        # torch writes the pickle first, as ARCHIVE/data.pkl
        return b"/data.pkl" in start
    return start[:2] in _PICKLE_PROTOCOLS


def read_torch_tensors(path: Path, what: str) -> dict[str, NDArray[np.float32]]:
    """Read the tensors by name that `torch.save(model.state_dict(), path)` wrote.

    The file is read by `torch.load` with `weights_only=True`: a pickle that would call anything
    but the makers of tensors is refused, and nothing of it is run. Before that, sizes are checked:
    members of the archive must be stored as they are, and together be no larger than the file.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, as it stands after `expected`.

    Returns
    -------
    dict
        float32 arrays. Names lose the prefix `module.` that `nn.DataParallel` gives all of them.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds anything but tensors of real numbers by name, or numbers that
        are not finite.
    """
    _check_size(path, what)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of a damaged or a hostile file
        raise _refused(path, what, _told(error)) from error
    if not isinstance(found, Mapping):
        raise _refused(path, what, f"a value of type {type(found).__name__}")
    arrays = {}
    for name, value in found.items():
        arrays[str(name)] = _array(path, what, str(name), value)
    return _without_prefix(arrays)


def _check_size(path: Path, what: str) -> None:
    """Refuse a file or an archive whose parts are larger than they can be."""
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise _refused(path, what, f"a file of {size:,} bytes")
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
    if not start.startswith(_ZIP):
        if start != _LEGACY:
            raise _refused(path, what, "a pickle that torch did not write")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, what, size, members)
            for member in members:
                content = archive.read(member)  # which compares its checksum
                if member.filename.endswith("/data.pkl"):
                    _check_pickle(path, what, content)
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise _refused(path, what, f"a damaged archive ({one_line(error)})") from error


def _check_members(path: Path, what: str, size: int, members: list[zipfile.ZipInfo]) -> None:
    total = 0
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise _refused(path, what, f"a compressed archive ({member.filename})")
        if member.filename.endswith("/data.pkl") and member.file_size > LARGEST_PICKLE:
            raise _refused(path, what, f"{member.file_size:,} bytes of names")
        total += member.file_size
    if total > size:
        raise _refused(path, what, f"an archive that claims {total:,} bytes in a file of {size:,}")


def _check_pickle(path: Path, what: str, pickle: bytes) -> None:
    """Refuse a pickle that cannot be taken apart; `genops` names its steps and runs none."""
    try:
        for _ in pickletools.genops(pickle):
            pass
    except Exception as error:  # of a broken pickle
        raise _refused(path, what, f"a damaged list of tensors ({one_line(error)})") from error


def _array(path: Path, what: str, name: str, value: Any) -> NDArray[np.float32]:
    if not isinstance(value, Tensor):
        raise _refused(path, what, f"{name!r}, a value of type {type(value).__name__}")
    if value.layout != torch.strided or value.dtype not in _FLOATS:
        raise _refused(path, what, f"{name} of type {value.dtype}")
    stored = value.untyped_storage().nbytes()
    needed = value.numel() * value.element_size()
    if needed > stored:
        # strides of 0 would make a huge array of one number
        raise _refused(path, what, f"{name} of {needed:,} bytes, of which {stored:,} are stored")
    array: NDArray[np.float32] = value.detach().to(torch.float32).contiguous().numpy()
    if not np.isfinite(array).all():
        raise _refused(path, what, f"numbers that are not finite in {name}")
    return array


def _without_prefix(
    arrays: dict[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    prefix = "module."
    if not arrays or not all(name.startswith(prefix) for name in arrays):
        return arrays
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def _told(error: Exception) -> str:
    """Return what torch said of a file, short: its own message gives advice that does harm here."""
    text = str(error)
    if "weights_only" in text.lower() or "Unsupported" in text:
        for line in text.splitlines():
            if "GLOBAL" in line or "Unsupported" in line or "class" in line:
                reason = line.strip().removeprefix("WeightsUnpickler error:").strip()
                reason = reason.split(" was not an allowed global")[0]
                return f"a pickle that would run code, which was not run ({reason})"
        return "a pickle that would run code, which was not run"
    return f"a damaged file ({one_line(error)})"


def _refused(path: Path, what: str, got: str) -> CheckpointError:
    return CheckpointError(str(path), expected=what, got=got, advice=_ADVICE)
