"""A synthetic cohort on disk: images, label maps, names, manifest, and the true deformations."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.csv_tables import write_table
from hmopt.data.synthetic.anatomy import STRUCTURES, make_anatomy
from hmopt.data.synthetic.scan import Deformation, Scan, make_scans
from hmopt.errors import DataError
from hmopt.files import replacing
from hmopt.progress import Track, silent

HEAD_MM = 180.0
MANIFEST, NAMES, TRUTH = "cohort.csv", "dseg.tsv", "truth"


def make_cohort(
    folder: Path,
    subjects: int = 30,
    shape: tuple[int, ...] = (80, 80),
    seed: int = 0,
    track: Track = silent,
) -> Path:
    """Write a cohort of two sessions and two contrasts per subject, and return its manifest.

    Parameters
    ----------
    folder
        Gets `cohort.csv` (`image, label, subject, session, modality, age`), `dseg.tsv`, `images/`,
        `labels/` and `truth/`, which holds each scan's deformation (`read_deformation`).
    subjects
        How many subjects.
    shape
        Voxels along 2 or 3 axes; the head fills most of them.
    seed
        The same seed gives the same files.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If there is no subject to make, or the grid cannot show the anatomy.
    """
    if subjects < 1:
        raise DataError("subjects", expected="at least 1", got=subjects, advice="Ask for more.")
    anatomy = make_anatomy(shape)
    rows: list[dict[str, object]] = []
    for subject in track(range(subjects), "Making the synthetic cohort", subjects):
        for scan in make_scans(anatomy, subject, seed):
            rows += _write_scan(folder, scan)
    names = ["background", *(structure.name for structure in STRUCTURES)]
    labels = pd.DataFrame({"index": range(len(names)), "name": names})
    write_table(labels, folder / NAMES, separator="\t")
    write_table(pd.DataFrame(rows), folder / MANIFEST)
    return folder / MANIFEST


def read_deformation(folder: Path, subject: str, session: str) -> Deformation:
    """Read the true deformation of one scan of a cohort that `make_cohort` wrote.

    Raises
    ------
    DataError
        If the cohort has no such scan.
    """
    path = folder / TRUTH / f"{subject}_{session}.npz"
    if not path.is_file():
        raise DataError(
            str(path),
            expected="the truth about a scan",
            got="no file",
            advice="Correct the name.",
        )
    with np.load(path, allow_pickle=False) as arrays:
        return Deformation(
            displacement=arrays["displacement"].astype(np.float64),
            inverse=arrays["inverse"].astype(np.float64),
        )


def _write_scan(folder: Path, scan: Scan) -> list[dict[str, object]]:
    """Write the files of a scan, and return its rows of the manifest, one a contrast."""
    label = f"labels/{scan.name}_dseg.nii.gz"
    _write_image(folder / label, scan.labels)
    with replacing(folder / TRUTH / f"{scan.name}.npz") as beside:
        np.savez_compressed(
            beside,
            displacement=scan.deformation.displacement.astype(np.float32),
            inverse=scan.deformation.inverse.astype(np.float32),
        )
    rows: list[dict[str, object]] = []
    for modality, intensities in scan.images.items():
        image = f"images/{scan.name}_{modality}w.nii.gz"
        _write_image(folder / image, intensities)
        row = {
            "image": image,
            "label": label,
            "subject": scan.subject,
            "session": scan.session,
            "modality": modality,
            "age": scan.age,
        }
        rows.append(row)
    return rows


def _write_image(path: Path, array: NDArray[np.uint8] | NDArray[np.float32]) -> None:
    """Write an image whose middle is the world's origin; the same array gives the same bytes."""
    dimensions = array.ndim
    spacing_mm = HEAD_MM / np.mean(array.shape)
    middle = np.subtract(array.shape, 1) / 2
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:dimensions, 3] = -spacing_mm * middle
    image = nib.Nifti1Image(array, affine)
    content = gzip.compress(image.to_bytes(), mtime=0)
    with replacing(path) as beside:
        beside.write_bytes(content)
