"""Landmarks at the centroids of structures."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from studies.brains.centroids import points


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder with one slice whose structure is a rectangle, in millimetres of its own."""
    folder = tmp_path / "data/brains/slices_1mm"
    folder.mkdir(parents=True)
    labels = np.zeros((20, 9, 20), np.uint8)
    labels[4:9, points.SLICE, 6:16] = 1  # 50 voxels about (6, 10.5)
    labels[12:14, points.SLICE, 2:4] = 2
    labels[15:20, points.SLICE, 15:20] = 3
    labels[:, points.SLICE - 1] = 1
    affine = np.diag([2.0, 4.0, 3.0, 1.0])
    affine[:3, 3] = [-10, -28, 5]
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "sub-1_dseg.nii.gz")
    rows = {"image": ["sub-1_T1w.nii.gz"], "label": ["sub-1_dseg.nii.gz"], "subject": ["sub-1"]}
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    names = "index\tname\n0\tbackground\n1\tLeft-Caudate\n2\tRight-Caudate\n3\tLeft-Cerebral-WM\n"
    (folder.parent / "dseg.tsv").write_text(names)
    return tmp_path


def test_a_compact_structure_of_enough_voxels_has_a_landmark(shared: Path, tmp_path: Path) -> None:
    assert points.write_points(tmp_path / "study", shared) == 1
    table = pd.read_csv(tmp_path / "study/data/points/sub-1_points.csv")
    [(name, *place)] = table.itertuples(index=False)
    assert name == "Left-Caudate"
    np.testing.assert_allclose(place, [2 * 6 - 10, 4 * points.SLICE - 28, 3 * 10.5 + 5])


def test_the_manifest_names_the_images_and_their_landmarks(shared: Path, tmp_path: Path) -> None:
    points.write_points(tmp_path / "study", shared)
    [row] = pd.read_csv(tmp_path / "study/data/cohort.csv").to_dict("records")
    assert Path(row["label"]) == shared / "data/brains/slices_1mm/sub-1_dseg.nii.gz"
    assert (tmp_path / "study/data" / row["points"]).is_file()
