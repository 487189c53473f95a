import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hmopt.data.cohort import list_cohort
from hmopt.data.preprocessing import cohort_identity
from hmopt.declaration import CohortOptions, PreprocessingOptions

SECTION = PreprocessingOptions(shape=[8, 8, 8])


def identity(
    manifest: Path, preprocessing: PreprocessingOptions = SECTION, **cohort: object
) -> str:
    values = {"manifest": manifest, "label_names": manifest.parent / "dseg.tsv", **cohort}
    section = CohortOptions.model_validate(values)
    return cohort_identity(section, preprocessing, list_cohort(section))


@pytest.fixture
def manifest(write_cohort: Callable[..., Path]) -> Path:
    return write_cohort(subjects=2)


@pytest.mark.parametrize("name", ["sub-1_ses-1", "sub-1_ses-1_dseg"])
def test_one_changed_voxel_changes_the_identity(manifest: Path, name: str) -> None:
    before = identity(manifest)
    image = nibabel.Nifti1Image.from_filename(manifest.parent / f"{name}.nii.gz")
    data = np.asarray(image.dataobj).copy()
    data[0, 0, 0] += 3
    nibabel.save(nibabel.Nifti1Image(data, image.affine), manifest.parent / f"{name}.nii.gz")
    assert identity(manifest) != before


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [8, 8, 4]},
        {"spacing_mm": [2, 2, 2]},
        {"slices": {"axis": 0, "indices": [1]}},
        {"normalization": "zscore"},
        {"placement": "affine"},
        {"placement": "header"},
        {"background": -1000},
    ],
)
def test_every_field_of_the_preprocessing_changes_the_identity(
    manifest: Path, changed: dict[str, object]
) -> None:
    section = PreprocessingOptions.model_validate({**SECTION.model_dump(), **changed})
    assert identity(manifest, section) != identity(manifest)


@pytest.mark.parametrize(
    "changed",
    [
        {"structures": {"all": ["front", "back"]}},
        {"structures": {"all": ["front"]}},
        {"minimum_voxels": 5},
        {"spacing_known": False},
        {"label_names": None},
    ],
)
def test_what_labels_mean_changes_the_identity(manifest: Path, changed: dict[str, Any]) -> None:
    assert identity(manifest, **changed) != identity(manifest)


def test_the_order_in_which_structures_are_declared_changes_the_identity(manifest: Path) -> None:
    one, other = {"a": ["front"], "b": ["back"]}, {"b": ["back"], "a": ["front"]}
    assert identity(manifest, structures=one) != identity(manifest, structures=other)


def test_moving_the_folder_or_correcting_an_age_keeps_the_identity(
    manifest: Path, tmp_path: Path
) -> None:
    before = identity(manifest)
    shutil.move(manifest.parent, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "cohort.csv"
    moved.write_text(moved.read_text().replace(",20", ",21"))
    assert identity(moved) == before


def test_the_old_key_and_the_placement_that_it_means_are_one_preparation(manifest: Path) -> None:
    shared = {key: value for key, value in SECTION.model_dump().items() if key != "placement"}
    for align, placement in (("none", "centre"), ("affine", "affine")):
        old, new = (
            PreprocessingOptions.model_validate({**shared, **keys})
            for keys in ({"align": align}, {"placement": placement})
        )
        assert identity(manifest, old) == identity(manifest, new)
