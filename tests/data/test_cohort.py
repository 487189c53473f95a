import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hmopt.data.cohort import list_images
from hmopt.declaration import CohortOptions
from hmopt.errors import DataError
from tests.data.whole_cohort import read_cohort

Write = Callable[..., Path]
LABELS = np.zeros((4, 4, 4), dtype=np.uint8)
LABELS[1, 1, 1], LABELS[2, 2, 2] = 1, 2


@pytest.fixture
def decathlon(tmp_path: Path, write: Write) -> CohortOptions:
    for number in (3, 1):
        write(f"imagesTr/case_{number:03}.nii.gz", LABELS.astype(np.float32))
        write(f"labelsTr/case_{number:03}.nii.gz", LABELS)
    (tmp_path / "imagesTr/._case_001.nii.gz").write_bytes(b"left by macOS")
    (tmp_path / "imagesTr/notes.txt").write_text("no image")
    return CohortOptions(images=tmp_path / "imagesTr", labels=tmp_path / "labelsTr")


def with_row(manifest: Path, row: str) -> CohortOptions:
    manifest.write_text(manifest.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    return CohortOptions(manifest=manifest)


def test_each_file_of_a_decathlon_folder_is_a_subject(decathlon: CohortOptions) -> None:
    images = list_images(decathlon)
    assert list(images.index) == list(images["subject"]) == ["case_001", "case_003"]
    assert [path.name for path in images["label"]] == ["case_001.nii.gz", "case_003.nii.gz"]


def test_the_names_of_a_decathlon_release_are_found_beside_its_folders(
    decathlon: CohortOptions, tmp_path: Path
) -> None:
    table = {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
    (tmp_path / "dataset.json").write_text(json.dumps(table), encoding="utf-8")
    assert read_cohort(decathlon).structures == {"Anterior": (1,), "Posterior": (2,)}


def test_a_broken_table_beside_the_folders_is_refused(
    decathlon: CohortOptions, tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.json: expected \"labels\""):
        read_cohort(decathlon)


def test_labels_without_names_are_numbered_with_a_warning(decathlon: CohortOptions) -> None:
    with pytest.warns(UserWarning, match="labels have no names"):
        assert read_cohort(decathlon).structures == {"label 1": (1,), "label 2": (2,)}


def test_structures_are_declared_by_code_where_labels_have_no_names(
    decathlon: CohortOptions,
) -> None:
    section = decathlon.model_copy(update={"structures": {"hippocampus": ["1", "2"]}})
    assert read_cohort(section).structures == {"hippocampus": (1, 2)}


def test_a_manifest_keeps_its_columns_numbers_as_numbers(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    images = list_images(CohortOptions(manifest=manifest))
    assert list(images.columns) == ["image", "label", "subject", "session", "age"]
    assert images["age"].tolist() == [20, 30]
    assert images.loc["sub-1_ses-1", "image"] == manifest.parent / "sub-1_ses-1.nii.gz"


def test_a_manifest_of_many_columns_is_read_in_seconds(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    first, *rows = manifest.read_text(encoding="utf-8").splitlines()
    count = 1000
    lines = [first + "".join(f",column {number}" for number in range(count))]
    lines += [row + ",1" * (count - 1) + ",x" for row in rows]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = list_images(CohortOptions(manifest=manifest))
    assert time.process_time() - began < 10
    assert len(images.columns) == 5 + count
    assert images["column 998"].tolist() == [1, 1]
    assert images["column 999"].tolist() == ["x", "x"]


def test_numbers_with_leading_zeros_stay_names(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    manifest.write_text(
        manifest.read_text(encoding="utf-8").replace("sub-0,", "007,").replace("ses-1,", "01,")
    )
    images = list_images(CohortOptions(manifest=manifest))
    assert images["subject"].tolist() == ["007", "sub-1"]
    assert images["session"].tolist() == ["01", "01"]


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path, write: Write) -> None:
    for folder in ("a", "b"):
        write(f"{folder}/T1.nii.gz", LABELS)
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("image,subject\na/T1.nii.gz,a\nb/T1.nii.gz,b\n")
    assert list(list_images(CohortOptions(manifest=manifest)).index) == ["a_T1", "b_T1"]


def test_only_names_that_occur_become_structures(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    section = CohortOptions(manifest=manifest, label_names=manifest.parent / "dseg.tsv")
    assert read_cohort(section).structures == {"front": (3,), "back": (7,)}


def test_a_label_that_the_table_lacks_is_refused(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    names = manifest.parent / "dseg.tsv"
    names.write_text("index\tname\n3\tfront\n")
    with pytest.raises(DataError, match=r"sub-0_ses-1_dseg.nii.gz: .*got 7, which it lacks"):
        read_cohort(CohortOptions(manifest=manifest, label_names=names))


def test_labels_on_another_grid_are_refused(write_cohort: Callable[..., Path]) -> None:
    manifest = write_cohort(subjects=2)
    nibabel.save(
        nibabel.Nifti1Image(LABELS, np.eye(4)), manifest.parent / "sub-1_ses-1_dseg.nii.gz"
    )
    with pytest.raises(DataError, match=r"sub-1_ses-1_dseg.nii.gz: expected shape \(10, 9, 8\)"):
        read_cohort(CohortOptions(manifest=manifest))


def test_a_missing_label_file_is_refused(decathlon: CohortOptions, tmp_path: Path) -> None:
    (tmp_path / "labelsTr/case_003.nii.gz").unlink()
    with pytest.raises(DataError, match=r"case_003.nii.gz: expected the label file, got no file"):
        list_images(decathlon)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("sub-0_ses-1.nii.gz,sub-0_ses-1_dseg.nii.gz,sub-9,ses-1,3", "each image once"),
        ("sub-0_ses-1.nii.gz,,sub-9,ses-1,3", "line 4: expected a value for label"),
        (
            "gone.nii.gz,sub-0_ses-1_dseg.nii.gz,sub-9,ses-1,3",
            "gone.nii.gz: expected the image file, got no file",
        ),
        (
            "~no such user/a.nii.gz,sub-0_ses-1_dseg.nii.gz,sub-9,ses-1,3",
            "line 4: expected the home folder of a user of this machine, got '~no such user",
        ),
        (
            "sub-0_ses-1.nii.gz,~no such user/a.nii.gz,sub-9,ses-1,3",
            "line 4: expected the home folder of a user of this machine",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_refused(
    write_cohort: Callable[..., Path], row: str, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        list_images(with_row(write_cohort(subjects=2), row))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\na,b\n", "got no subject"),
        ("image,label,subject\n", "got no rows"),
        ("image,label,subject,split\na,b,c,d\n", "names of their own, got split"),
        ("", "a CSV manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "cohort.csv").write_text(text)
    with pytest.raises(DataError, match=complaint):
        list_images(CohortOptions(manifest=tmp_path / "cohort.csv"))


def test_a_file_name_that_is_no_text_is_refused(decathlon: CohortOptions) -> None:
    assert decathlon.images is not None
    first = decathlon.images / "case_001.nii.gz"
    for folder in (decathlon.images, decathlon.labels):
        assert folder is not None
        (folder / first.name).rename(folder / os.fsdecode(b"caf\xe9_001.nii.gz"))
    with pytest.raises(DataError, match="expected a path whose name is in UTF-8, got '"):
        list_images(decathlon)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(DataError, match="expected images, got none"):
        list_images(CohortOptions(images=tmp_path / "imagesTr", labels=tmp_path / "imagesTr"))
    with pytest.raises(DataError, match="expected a folder of images"):
        list_images(CohortOptions(images=tmp_path / "imagesTr", labels=tmp_path / "labelsTr"))
