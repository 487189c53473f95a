"""Small NIfTI files and cohorts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(
        name: str, data: NDArray[Any], affine: NDArray[np.float64] | None = None
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
        return path

    return write_file


@pytest.fixture
def write_cohort(tmp_path: Path, write: Write) -> Callable[..., Path]:
    """Write images of subjects and sessions, each with labels 3 and 7, and give the manifest."""

    def write_files(
        subjects: int = 6,
        sessions: int = 1,
        shape: tuple[int, ...] = (10, 9, 8),
        folder: str = "cohort",
    ) -> Path:
        rows = ["image,label,subject,session,age"]
        for number in range(subjects):
            for session in range(1, sessions + 1):
                rng = np.random.default_rng([number, session])
                labels = np.zeros(shape, dtype=np.uint8)
                labels[2:5, 2:6, 2:6] = 3
                labels[5:8, 2:6, 2:6] = 7
                name = f"sub-{number}_ses-{session}"
                write(
                    f"{folder}/{name}.nii.gz",
                    (labels * 20 + 10 * rng.random(shape)).astype(np.float32),
                )
                write(f"{folder}/{name}_dseg.nii.gz", labels)
                rows.append(
                    f"{name}.nii.gz,{name}_dseg.nii.gz,sub-{number},ses-{session},{20 + 10 * number}"
                )
        names = "index\tname\n0\tbackground\n3\tfront\n5\tempty\n7\tback\n"
        (tmp_path / folder / "dseg.tsv").write_text(names, encoding="utf-8")
        manifest = tmp_path / folder / "cohort.csv"
        manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return manifest

    return write_files
