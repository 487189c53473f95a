"""Formats of image files: which are read, their endings, and which files make up one image."""

import glob
import re
from pathlib import Path

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

LONGEST_LINK = 1024
"""Bytes of a file that may be a link written as text; images are larger."""

_SIMPLE_ITK = (
    "Convert it to NIfTI, for example "
    "SimpleITK.WriteImage(SimpleITK.ReadImage('{name}'), '{stem}.nii.gz')."
)
_DICOM = "Convert the series to NIfTI, for example with dcm2niix."
_SURFACE = "It holds a surface or values on one: give a NIfTI volume."
_TRACTS = "It holds streamlines: give a NIfTI volume."
_ARRAY = "It says nothing about where its voxels are: save a NIfTI volume with nibabel."

NOT_READ = {
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".jp2"), _SIMPLE_ITK
    ),
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd", ".vtk", ".pic", ".lsm"), _SIMPLE_ITK),
    **dict.fromkeys((".dcm", ".ima", ".dicom"), _DICOM),
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
