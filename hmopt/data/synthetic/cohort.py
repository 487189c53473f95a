"""A synthetic cohort on disk: images, label maps, names, descriptions, and the truth about every scan."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.csv_tables import write_table
from hmopt.data.synthetic.anatomy import Anatomy, make_anatomy
from hmopt.data.synthetic.deformation import compose
from hmopt.data.synthetic.structures import STRUCTURES
from hmopt.data.synthetic.subject import (
    AGES,
    CONTRASTS,
    Deformation,
    deform,
    render,
    render_labels,
    session_velocity,
    subject_velocity,
)
from hmopt.errors import DataError
from hmopt.files import replacing
from hmopt.progress import Track, silent

SESSIONS = 2
HEAD_MM = 180.0
MANIFEST, NAMES, TRUTH = "cohort.csv", "dseg.tsv", "truth"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One session of one subject.

    Parameters
    ----------
    subject, session
        As in the manifest.
    age
        Of the subject, in years.
    deformation
        The truth: how the scan differs from the common anatomy.
    labels
        Label map, shape (*shape).
    images
        By contrast, each of shape (*shape).
    """

    subject: str
    session: str
    age: int
    deformation: Deformation
    labels: NDArray[np.uint8]
    images: dict[str, NDArray[np.float32]]

    @property
    def name(self) -> str:
        """What its files begin with."""
        return f"{self.subject}_{self.session}"


def make_scans(anatomy: Anatomy, subject: int, seed: int) -> Iterator[Scan]:
    """Yield both sessions of one subject, which depend on its number and the seed alone."""
    random = np.random.default_rng([seed, subject])
    age = int(random.integers(*AGES, endpoint=True))
    velocity = subject_velocity(anatomy, age, random)
    for session in range(SESSIONS):
        deformation = deform(velocity + session_velocity(anatomy, random))
        yield Scan(
            subject=f"sub-{subject + 1:03}",
            session=f"ses-{session + 1}",
            age=age,
            deformation=deformation,
            labels=render_labels(anatomy, deformation.displacement),
            images={
                name: render(anatomy, deformation.displacement, name, random) for name in CONTRASTS
            },
        )


def true_displacement(moving: Deformation, fixed: Deformation) -> NDArray[np.float64]:
    """Give the displacement (axes, *shape), in voxels, that truly registers one scan to another.

    `fixed(x) = moving(x + displacement(x))` but for texture and noise.
    """
    return compose(fixed.displacement, moving.inverse)


def make_cohort(
    folder: Path,
    subjects: int = 30,
    shape: tuple[int, ...] = (80, 80),
    seed: int = 0,
    track: Track = silent,
) -> Path:
    """Write a cohort of two sessions and two contrasts per subject, and give its manifest.

    Parameters
    ----------
    folder
        Gets `cohort.csv` (`image, label, subject, session, modality, age`), `dseg.tsv`, `images/`, `labels/` and
        `truth/`, where each scan's deformation lies (`read_deformation`).
    subjects
        How many people.
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
    for subject in track(range(subjects), "making the synthetic cohort", subjects):
        for scan in make_scans(anatomy, subject, seed):
            rows += _write_scan(folder, scan)
    names = pd.DataFrame(
        {"index": range(len(STRUCTURES) + 1), "name": ["background", *(s.name for s in STRUCTURES)]}
    )
    write_table(names, folder / NAMES, separator="\t")
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
            str(path), expected="the truth about a scan", got="no file", advice="Correct the name."
        )
    with np.load(path, allow_pickle=False) as arrays:
        return Deformation(
            displacement=arrays["displacement"].astype(np.float64),
            inverse=arrays["inverse"].astype(np.float64),
        )


def _write_scan(folder: Path, scan: Scan) -> list[dict[str, object]]:
    label = f"labels/{scan.name}_dseg.nii.gz"
    _write_image(folder / label, scan.labels)
    with replacing(folder / TRUTH / f"{scan.name}.npz") as beside:
        np.savez_compressed(
            beside,
            displacement=scan.deformation.displacement.astype(np.float32),
            inverse=scan.deformation.inverse.astype(np.float32),
        )
    rows: list[dict[str, object]] = []
    for modality, image in scan.images.items():
        path = f"images/{scan.name}_{modality}w.nii.gz"
        _write_image(folder / path, image)
        described = {
            "subject": scan.subject,
            "session": scan.session,
            "modality": modality,
            "age": scan.age,
        }
        rows.append({"image": path, "label": label, **described})
    return rows


def _write_image(path: Path, array: NDArray[np.uint8] | NDArray[np.float32]) -> None:
    spacing_mm = HEAD_MM / np.mean(array.shape)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[: array.ndim, 3] = -spacing_mm * (np.array(array.shape) - 1) / 2
    with replacing(path) as beside:
        beside.write_bytes(gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), mtime=0))
