"""A study of images with landmarks and without labels, from search to report."""

import html
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import hmopt
from hmopt.errors import DataError, DeclarationError
from hmopt.study_folder import read_folder

SHIFT = 3.0
"""Voxels by which the second image of each subject is moved along x; spacing is 2 mm there."""
STUDY = """
name = "points"
[cohort]
manifest = "cohort.csv"
point_coordinates = "lps"
[preprocessing]
shape = [32, 32]
[split]
train = 0
tune = 0
search = 6
[pairs]
csv = "couples.csv"
[model]
source = "engine"
callable = "shifting.py:register"
[hyperparameters.shift]
low = 0.0
high = 6.0
step = 0.05
default = 1.5
[search]
metric = "tre_mm"
reported = ["tre_robustness", "folding", "inverse_consistency_mm", "similarity"]
coarse = 5
refinements = 5
scopes = [["cohort"]]
"""
SHIFTING = '''
import numpy as np


def register(moving, fixed, setting):
    """Return a displacement along x, towards where the brighter image lies."""
    displacement = np.zeros((2, *moving.shape), np.float32)
    forth = moving[:16].sum() > fixed[:16].sum()
    displacement[0] = -setting["shift"] if forth else setting["shift"]
    return displacement
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write images of six subjects whose points an engine brings together at a shift of 3 voxels."""
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    rows = []
    for subject in range(6):
        for session, shift in (("1", 0.0), ("2", SHIFT)):
            name = f"sub-{subject}_ses-{session}"
            image = np.zeros((32, 32))
            image[10 + int(shift) : 18 + int(shift), 8 : 16 + subject] = 1
            image = ndimage.gaussian_filter(image, 1.0).astype(np.float32)
            nibabel.Nifti1Image(image[:, :, None], affine).to_filename(tmp_path / f"{name}.nii.gz")
            voxels = np.array([[12.0 + shift, 10, 0], [16.0 + shift, 14, 0]])
            world = voxels * [2, 1, 1] * [-1, -1, 1]
            points = pd.DataFrame(world, columns=["x", "y", "z"])
            points.insert(0, "landmark", ["a", "b"])
            points.to_csv(tmp_path / f"{name}.csv", index=False)
            row = {"image": f"{name}.nii.gz", "points": f"{name}.csv", "subject": str(subject)}
            rows.append({**row, "session": session})
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    couples = [(f"sub-{subject}_ses-2", f"sub-{subject}_ses-1") for subject in range(6)]
    pd.DataFrame(couples, columns=["moving", "fixed"]).to_csv(tmp_path / "couples.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "shifting.py").write_text(SHIFTING, encoding="utf-8")
    return tmp_path


def test_points_are_searched_and_reported_without_labels(folder: Path) -> None:
    hmopt.search(folder)
    full = read_folder(folder)
    for place, index in enumerate(full.settings):
        shift = float(full.space.setting(index)["shift"])
        np.testing.assert_allclose(full.values["tre_mm"][place], 2 * abs(shift - SHIFT), atol=1e-4)
        # as much there as back
        np.testing.assert_allclose(full.values["inverse_consistency_mm"][place], 0, atol=1e-4)
    hmopt.report(folder)
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    text = html.unescape(page)
    assert "mean target registration error of landmarks (mm)" in text
    optima = pd.read_csv(folder / "report/optima.csv")
    best = optima.loc[optima["scope"] == "cohort", "shift"].item()
    assert best == pytest.approx(SHIFT, abs=0.1)


def test_metrics_of_labels_are_refused_where_there_are_none(folder: Path) -> None:
    declaration = folder / "study.toml"
    of_labels = STUDY.replace('metric = "tre_mm"', 'metric = "dice"')
    declaration.write_text(of_labels, encoding="utf-8")
    with pytest.raises(DeclarationError, match="the manifest has no column label, got dice"):
        hmopt.search(folder)


def test_metrics_of_landmarks_are_refused_where_there_are_none(folder: Path) -> None:
    manifest = folder / "cohort.csv"
    pd.read_csv(manifest).drop(columns="points").to_csv(manifest, index=False)
    with pytest.raises(DeclarationError, match="the manifest has no column points, got tre_mm"):
        hmopt.search(folder)


def test_a_new_study_needs_labels(folder: Path) -> None:
    with pytest.raises(DataError, match="expected a column label"):
        hmopt.new(folder / "new", manifest=folder / "cohort.csv")
