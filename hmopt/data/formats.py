"""Formats of image files: their names, and how nibabel opens them, whole and undamaged."""

import bz2
import filecmp
import glob
import gzip
import logging
import math
import re
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.errors import DataError
from hmopt.files import leads_nowhere
from hmopt.limits import check_memory, check_voxels

COMPRESSIONS = (".gz", ".bz2", ".zst")
PAIRED = {
    ".img": ".hdr",
    ".rec": ".par",
    ".brik": ".head",
}
"""Endings of files that hold voxels, with those of their headers."""

_PARTNERS = PAIRED | {header: voxels for voxels, header in PAIRED.items()}

READ = (".nii", ".mgh", ".mgz", ".mnc", *PAIRED.keys(), *PAIRED.values())
_ENDING = re.compile(
    r"(\.nii|\.mgh|\.mgz|\.img|\.hdr|\.mnc|\.rec|\.par|\.brik|\.head|\.nrrd)?(\.gz|\.bz2|\.zst)?$",
    re.I,
)

MOST_BEYOND = 2**26
"""Bytes behind the voxels that formats other than NIfTI may have, as the tags of an MGH file."""

_BYTES_PER_VOXEL = 8
"""What a voxel takes besides its own bytes while it is read: a float32 and a mask of some bytes."""
_LONGEST_HEADER = 2**20
"""Bytes at the beginning of a file in which extensions of its header are looked at."""
_LATEST_START = 2**28

LONGEST_LINK = 1024
"""Bytes of a file that may be a link written as text; images are larger."""

_SAMPLED = 4096
"""Bytes that are read in two places of a file to see whether it can be a copy of another."""

_SIMPLE_ITK = (
    "Convert it to NIfTI, for example "
    "SimpleITK.WriteImage(SimpleITK.ReadImage('{name}'), '{stem}.nii.gz')."
)
DICOM_ADVICE = "Convert the series to NIfTI, for example with dcm2niix."
_SURFACE = "It holds a surface or values on one: give a NIfTI volume."
_TRACTS = "It holds streamlines: give a NIfTI volume."
_ARRAY = "It says nothing about where its voxels are: save a NIfTI volume with nibabel."

NOT_READ = {
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".jp2"), _SIMPLE_ITK
    ),
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd", ".vtk", ".pic", ".lsm"), _SIMPLE_ITK),
    **dict.fromkeys((".dcm", ".ima", ".dicom"), DICOM_ADVICE),
    **dict.fromkeys((".gii", ".stl", ".obj", ".ply", ".vtp", ".annot", ".curv"), _SURFACE),
    **dict.fromkeys((".trk", ".tck", ".trx"), _TRACTS),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5", ".zarr"), _ARRAY),
    **dict.fromkeys(
        (".svs", ".ndpi", ".czi", ".lif", ".heic", ".webp"),
        "Convert it to NIfTI with another program.",
    ),
}
"""Endings of known formats that hmopt does not read, with what to do about each."""


def image_name(path: Path) -> str:
    """Return a file's name without the endings of image formats.

    Examples
    --------
    >>> image_name(Path("sub-1.0_T1w.nii.gz"))
    'sub-1.0_T1w'
    """
    return _ENDING.sub("", path.name)


def format_of(path: Path) -> str:
    """Return the ending that tells the format, in lower case and without that of a compression.

    Examples
    --------
    >>> format_of(Path("c0.NII.GZ")), format_of(Path("c0.png"))
    ('.nii', '.png')
    """
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def advice_about(path: Path) -> str | None:
    """Return what to do about a file of a known format that is not read; None for other files."""
    ending = format_of(path)
    advice = NOT_READ.get(ending)
    if advice is None:
        return None
    stem = path.name.removesuffix(path.suffix)
    return advice.format(name=path.name, stem=stem)


def is_dicom(path: Path) -> bool:
    """Return whether a file of any name begins as those of DICOM do."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def other_file(path: Path) -> Path | None:
    """Return the file that makes up an image together with the given one; None where there is none.

    Header and voxels of one image lie beside each other under one name, as `c0.hdr` and `c0.img`.
    Either may be compressed.
    """
    other_ending = _PARTNERS.get(format_of(path))
    if other_ending is None:
        return None
    stem = image_name(path)
    for candidate in path.parent.glob(f"{glob.escape(stem)}.*"):
        same_stem = image_name(candidate) == stem
        if same_stem and format_of(candidate) == other_ending:
            return candidate
    return None


def files_of(path: Path) -> list[Path]:
    """Return every file that an image is made of, the given one first."""
    other = other_file(path)
    if other is None:
        return [path]
    return [path, other]


def follow(path: Path) -> Path:
    r"""Return the file that a link leads to.

    Where git cannot make links, it writes a file that holds the path: it counts as a link, too.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()).resolve()
    >>> _ = (folder / "key.nii").write_bytes(b"voxels")
    >>> _ = (folder / "case.nii").write_text("key.nii")
    >>> follow(folder / "case.nii").name
    'key.nii'
    """
    target = path.resolve()
    written = written_link(target)
    if written is None:
        return target
    linked = target.parent / written
    return linked.resolve() if linked.is_file() else target


def with_targets(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return named files, and those that they lead to where they are links written as text."""
    every = dict(files)
    for name, path in files.items():
        if written_link(path.resolve()) is not None:
            every[f"the file that {name} leads to"] = follow(path)
    return every


def find_copies(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return pairs of files with the same bytes, the one that comes first in the list before its copy.

    Only files of the same size are opened; they are read to their end where their middles and ends are
    the same.
    """
    earlier: dict[tuple[int, bytes], Path] = {}
    sizes = {path: path.stat().st_size for path in files if path.is_file()}
    counts = Counter(sizes.values())
    copies = []
    for path, size in sizes.items():
        if not size or counts[size] == 1:
            continue
        key = (size, _sample(path, size))
        if key in earlier and filecmp.cmp(earlier[key], path, shallow=False):
            copies.append((earlier[key], path))
        earlier.setdefault(key, path)
    return copies


def _sample(path: Path, size: int) -> bytes:
    """Return some bytes of the middle and of the end of a file."""
    with path.open("rb") as stream:
        stream.seek(size // 2)
        middle = stream.read(_SAMPLED)
        stream.seek(max(0, size - _SAMPLED))
        return middle + stream.read()


def written_link(path: Path) -> str | None:
    """Return the path that is all of a small file's text; None where a file holds anything else."""
    if not path.is_file() or not 0 < path.stat().st_size <= LONGEST_LINK:
        return None
    try:
        text = path.read_bytes().decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    link = Path(text)
    is_name = text.isprintable() and not link.is_absolute()
    if is_name and format_of(link) in READ:
        return text
    return None


_ANNEX = b"/annex/objects/"
_LFS = b"version https://git-lfs"
_POINTER = "a pointer of {} to a file that was not fetched"
_GZIP, _BZIP2, _ZSTD = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"
_MAGIC = {".gz": _GZIP, ".bz2": _BZIP2, ".zst": _ZSTD}
_PAIRS = (
    nibabel.nifti1.Nifti1Pair,
    nibabel.nifti2.Nifti2Pair,
    nibabel.spm2analyze.Spm2AnalyzeImage,
    nibabel.spm99analyze.Spm99AnalyzeImage,
    nibabel.analyze.AnalyzeImage,
)


def pointer_of(content: bytes) -> str | None:
    """Return what a text is that stands in place of a file that was not fetched; None: it is no such text.

    Examples
    --------
    >>> pointer_of(b"/annex/objects/MD5E-s41--9e.nii.gz")
    'a pointer of git-annex to a file that was not fetched'
    >>> pointer_of(b"image,subject") is None
    True
    """
    if len(content) > LONGEST_LINK:
        return None
    if content.startswith(_LFS):
        return _POINTER.format("Git LFS")
    text = content.replace(b"\\", b"/").strip()
    # a table may name such files, one in each of its lines
    if _ANNEX in text[:64] and b"\n" not in text:
        return _POINTER.format("git-annex")
    return None


def open_header(path: Path) -> Any:
    """Open an image file with nibabel; only its header is read.

    Raises
    ------
    DataError
        If it is missing, empty, a pointer of git-annex, or nothing that nibabel reads as an image.
    """
    _check_file(path)
    with _reading(path):
        is_link = written_link(path) is not None
        target = follow(path) if is_link else path
        if format_of(target) == ".nii":
            _check_raw_header(target)
        file = _load(target)
        _check_volume(path, file)
        check_voxels(tuple(file.shape), str(path), DataError)
    return file


def open_whole(path: Path) -> Any:
    """Open an image file and read it to its end, so that its checksum is compared.

    nibabel stops where the voxels end, before the checksum of a compressed file. So compressed
    files are decompressed to their end first, which must be where the header says: a file that
    unpacks to more is given up there.

    Raises
    ------
    DataError
        As `open_header`; also if a checksum does not agree, the file is shorter than its header
        says, a NIfTI file is longer, or its voxels do not fit into memory.
    """
    file = open_header(path)
    needed = _bytes_needed(path, file)
    file_map = dict(file.file_map)
    compressed = False
    for key, holder in file.file_map.items():
        part = Path(holder.filename or "")
        if _compression(part) and part.is_file():
            compressed = True
            with _reading(path):
                content = decompressed(part, most=needed + MOST_BEYOND)
            file_map[key] = nibabel.FileHolder(fileobj=BytesIO(content))
    if compressed:
        with _reading(path):
            file = type(file).from_file_map(file_map)
    _check_length(path, file, needed)
    return file


def _bytes_needed(path: Path, file: Any) -> int:
    """Return where the voxels of a file end, after checking that they fit into memory."""
    voxels = file.dataobj
    if not isinstance(voxels, nibabel.arrayproxy.ArrayProxy):
        return 0
    lengths = [int(length) for length in voxels.shape]
    count = math.prod(lengths)
    size: int = count * int(voxels.dtype.itemsize)
    check_memory(2 * size + _BYTES_PER_VOXEL * count, str(path), DataError)
    return int(voxels.offset) + size


def read_voxels(path: Path, file: Any) -> NDArray[Any]:
    """Return the voxels of an opened file, scaled as its header says.

    Raises
    ------
    DataError
        If they cannot be read.
    """
    with _reading(path):
        return np.asarray(file.dataobj)


def decompressed(path: Path, most: int = -1) -> bytes:
    """Return the whole contents of a compressed file; its checksum and its length are compared.

    Parameters
    ----------
    path
        The file.
    most
        Bytes that it can have; -1: any number.

    Raises
    ------
    OSError, EOFError, zlib.error, ImportError, ValueError
        If the file is damaged, ends early, unpacks to more, or Python has no reader of its
        compression.
    """
    with _unpacking(path) as stream:
        content: bytes = stream.read(most + 1) if most >= 0 else stream.read()
    if 0 <= most < len(content):
        raise ValueError(f"more than {most} bytes, where its header says fewer")
    return content


def _unpacking(path: Path) -> Any:
    compression = _compression(path)
    if compression == ".gz":
        return gzip.open(path)
    if compression == ".bz2":
        return bz2.open(path)
    return nibabel.openers.Opener(str(path))


def _compression(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".mgz":
        return ".gz"
    return suffix if suffix in COMPRESSIONS else None


def _check_file(path: Path) -> None:
    if leads_nowhere(path):
        advice = "Fetch it (`datalad get`, `git annex get`) or correct the link."
        raise DataError(
            str(path),
            expected="an image file",
            got="a link to a file that is not there",
            advice=advice,
        )
    if path.is_dir():
        advice = "Name one image." if format_of(path) not in (".zarr",) else str(advice_about(path))
        raise DataError(str(path), expected="an image file", got="a folder", advice=advice)
    if not path.is_file():
        raise DataError(
            str(path),
            expected="an image file",
            got="no file",
            advice="Correct the path or add the file.",
        )
    size = path.stat().st_size
    if size == 0:
        raise DataError(
            str(path), expected="an image file", got="an empty file", advice="Replace it."
        )
    with path.open("rb") as stream:
        first = stream.read(LONGEST_LINK)
    link = written_link(path)
    if link is not None and (path.parent / link).is_file():
        return
    pointer = pointer_of(first) if size <= LONGEST_LINK else None
    if pointer is not None:
        raise DataError(str(path), expected="an image file", got=pointer, advice="Fetch it.")
    if link is not None:
        got = f"a link, written as text, to {link}, which is not there"
        raise DataError(str(path), expected="an image file", got=got, advice="Fetch the file.")
    _check_kind(path, first)


def _check_kind(path: Path, first: bytes) -> None:
    """Refuse formats that are known and not read, and compressions that the name does not tell."""
    advice = advice_about(path)
    if advice is not None:
        got = f"a {format_of(path)} file, which hmopt does not read"
        raise DataError(str(path), expected="a volume that nibabel reads", got=got, advice=advice)
    compression = _compression(path)
    if compression is not None and not first.startswith(_MAGIC[compression]):
        reason = f"its name ends in {path.suffix}, its contents are not compressed so"
        got = f"an unreadable file ({reason})"
        advice = "Replace it, or correct its name."
        raise DataError(str(path), expected="an image that nibabel reads", got=got, advice=advice)
    if compression is None and first.startswith(_GZIP):
        got = "a file compressed by gzip"
        raise DataError(
            str(path),
            expected="an image that nibabel reads",
            got=got,
            advice="Add .gz to its name.",
        )


def _load(path: Path) -> Any:
    """Open a file with nibabel; header and voxels in two files need not be compressed alike."""
    other = other_file(path)
    is_pair = other is not None and format_of(path) in (".img", ".hdr")
    if other is None or not is_pair or _compression(other) == _compression(path):
        return nibabel.load(path.absolute())  # nibabel takes ~ at the beginning for the home folder
    holds_voxels = format_of(path) in PAIRED
    image, header = (path, other) if holds_voxels else (other, path)
    contents = {"image": _content(image), "header": _content(header)}
    for kind in _PAIRS:
        if kind.header_class.may_contain_header(contents["header"]):
            file_map = {}
            for key, content in contents.items():
                file_map[key] = nibabel.FileHolder(fileobj=BytesIO(content))
            return kind.from_file_map(file_map)
    raise ValueError(f"{header.name} is no header of an image")


def _content(path: Path) -> bytes:
    return decompressed(path) if _compression(path) else path.read_bytes()


def _check_volume(path: Path, file: Any) -> None:
    """Refuse a file without voxels: nibabel also opens surfaces and tables of grayordinates."""
    if isinstance(file, nibabel.spatialimages.SpatialImage):
        return
    names = {"Cifti2Image": "CIFTI-2", "GiftiImage": "GIFTI"}
    kind = type(file).__name__
    raise DataError(
        str(path),
        expected="a volume",
        got=f"{names.get(kind, kind)}, which has no voxels with places",
        advice="Give a NIfTI volume.",
    )


def _check_length(path: Path, file: Any, needed: int) -> None:
    """Refuse a file that ends before its voxels do, before memory for them is taken.

    A single NIfTI file ends with its voxels: if it is longer, its header is of another image.
    """
    if not needed:
        return
    found = _length(file.file_map["image"])
    is_nifti = type(file) in (nibabel.Nifti1Image, nibabel.Nifti2Image)
    if found < needed or (is_nifti and found > needed):
        raise _unreadable(path, f"{found} bytes of the {needed} that its header says")


def _check_raw_header(path: Path) -> None:
    """Refuse a NIfTI header with a value that nibabel would correct silently, or read past the file for.

    Raises
    ------
    ValueError
        If the bits of a voxel are not those of its type, a side is negative, the scaling is infinite, or voxels or
        extensions begin at no possible place.
    """
    with _unpacking(path) if _compression(path) else path.open("rb") as stream:
        raw = stream.read(_LONGEST_HEADER)
        kind = _header_kind(raw)
        if kind is None:
            return  # another format under this name, which nibabel tells
        size = kind.sizeof_hdr
        header = kind(raw[:size], check=False)
        if int(header["sizeof_hdr"]) != size:
            raise ValueError(f"a header of {int(header['sizeof_hdr'])} bytes in place of {size}")
        code = int(header["datatype"])
        if code in nibabel.nifti1.data_type_codes.code:
            dtype: Any = nibabel.nifti1.data_type_codes.dtype[code]
            bits = 8 * dtype.itemsize
            if bits and int(header["bitpix"]) != bits:
                raise ValueError(f"{int(header['bitpix'])} bits a voxel of data type {code}")
        for name in ("scl_slope", "scl_inter"):
            if np.isinf(float(header[name])):  # which nibabel takes for no scaling
                raise ValueError(f"the {name} {float(header[name]):g}")
        sides = [int(side) for side in header["dim"][1 : 1 + max(0, int(header["dim"][0]))]]
        if any(side < 0 for side in sides):
            raise ValueError(f"a negative side ({', '.join(map(str, sides))})")
        start = float(header["vox_offset"])
        if not size <= start <= _LATEST_START or not start.is_integer():
            raise ValueError(f"voxels that begin at byte {start:g}")
        _check_extensions(raw, size, int(start), header.endianness)


def _header_kind(raw: bytes) -> Any:
    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if len(raw) > kind.sizeof_hdr and kind.may_contain_header(raw):
            return kind
    return None


def _check_extensions(raw: bytes, size: int, start: int, endianness: str) -> None:
    """Refuse a chain of extensions, each of which tells its length, that does not lie before the voxels."""
    if not raw[size]:
        return
    place = size + 4
    while place + 8 <= start and place + 8 <= len(raw):
        (length,) = struct.unpack_from(f"{endianness}i", raw, place)
        if length < 8 or place + length > start:
            raise ValueError(f"an extension of {length} bytes at byte {place}")
        place += length


def _length(holder: Any) -> int:
    if isinstance(holder.fileobj, BytesIO):
        return len(holder.fileobj.getbuffer())
    return Path(holder.filename).stat().st_size


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever nibabel raises on a damaged file into an error of one line."""
    try:
        with _silent():
            yield
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, EOFError | gzip.BadGzipFile):
            reason = f"damaged or cut off: {reason}"
        raise _unreadable(path, reason[:200]) from error


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        str(path),
        expected="an image that nibabel reads",
        got=f"an unreadable file ({reason})",
        advice="Replace it.",
    )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep nibabel from writing lines of its own: what is wrong stands in the error."""
    logger = nibabel.imageglobals.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
