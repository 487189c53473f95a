"""BIDS datasets as cohorts: which images, which label maps, and what tells several apart."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from hmopt.data.bids import BidsQuery, read_bids
from hmopt.errors import DataError

pytest.importorskip("bids2table", reason="the extra `bids` reads BIDS datasets")


class Dataset:
    """A dataset of empty files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.describe("")

    def describe(self, folder: str) -> None:
        content = {"Name": folder or "raw", "BIDSVersion": "1.9.0"}
        self.write(f"{folder}/dataset_description.json".lstrip("/"), json.dumps(content))

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def scans(
        self, subjects: Iterable[str], sessions: Iterable[str] = (), name: str = "T1w"
    ) -> None:
        """Write an image for each subject and session."""
        for subject in subjects:
            for session in sessions or [""]:
                folder, stem = self.place(subject, session)
                self.write(f"{folder}/{stem}_{name}.nii.gz")

    def labels(
        self,
        subjects: Iterable[str],
        sessions: Iterable[str] = (),
        name: str = "dseg",
        derivative: str = "seg",
    ) -> None:
        """Write a label map for each subject and session."""
        self.describe(f"derivatives/{derivative}")
        for subject in subjects:
            for session in sessions or [""]:
                folder, stem = self.place(subject, session)
                self.write(f"derivatives/{derivative}/{folder}/{stem}_{name}.nii.gz")

    @staticmethod
    def place(subject: str, session: str) -> tuple[str, str]:
        if not session:
            return f"sub-{subject}/anat", f"sub-{subject}"
        return f"sub-{subject}/ses-{session}/anat", f"sub-{subject}_ses-{session}"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "ds")


def names(table: pd.DataFrame, column: str) -> list[str]:
    return [path.name for path in table[column]]


def test_each_session_of_a_subject_has_its_label_map(dataset: Dataset) -> None:
    dataset.scans(["01", "02"], ["a", "b"])
    dataset.labels(["01", "02"], ["a", "b"])
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert found["subject"].tolist() == ["sub-01", "sub-01", "sub-02", "sub-02"]
    assert found["session"].tolist() == ["ses-a", "ses-b"] * 2
    assert names(found, "image")[1] == "sub-01_ses-b_T1w.nii.gz"
    assert names(found, "label")[1] == "sub-01_ses-b_dseg.nii.gz"


def test_participants_and_sessions_become_columns(dataset: Dataset) -> None:
    dataset.scans(["01", "02"], ["a", "b"])
    dataset.labels(["01", "02"], ["a", "b"])
    dataset.write(
        "participants.tsv", "participant_id\tage\tsex\ttask\nsub-01\t20\tF\tx\nsub-02\tn/a\tM\ty\n"
    )
    dataset.write("sub-01/sub-01_sessions.tsv", "session_id\tage\nses-a\t20\nses-b\t22\n")
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert found["sex"].tolist() == ["F", "F", "M", "M"]
    assert found["age"].tolist() == ["20", "22", "n/a", "n/a"]
    # `task` is a column that hmopt makes itself
    assert found["participant_task"].tolist() == ["x", "x", "y", "y"]


def test_columns_of_participants_never_replace_those_of_images(dataset: Dataset) -> None:
    dataset.scans(["01", "02"], ["a", "b"])
    dataset.labels(["01", "02"], ["a", "b"])
    own = ["label", "Subject", "session", "points", "image"]
    dataset.write(
        "participants.tsv",
        "\n".join(
            [
                "\t".join(["participant_id", *own]),
                *(f"sub-{n}\t1\t2\t3\t4\t5" for n in ("01", "02")),
            ]
        ),
    )
    dataset.write("sub-01/sub-01_sessions.tsv", "session_id\tsubject\nses-a\tx\nses-b\ty\n")
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert found["subject"].tolist() == ["sub-01", "sub-01", "sub-02", "sub-02"]
    assert found["session"].tolist() == ["ses-a", "ses-b"] * 2
    assert names(found, "label")[0] == "sub-01_ses-a_dseg.nii.gz"
    assert not {str(name).lower() for name in found} & {"points"}
    for value, name in enumerate(own, 1):
        assert found[f"participant_{name}"].tolist() == [str(value)] * 4
    assert found["participant_subject"].tolist() == ["x", "y", "n/a", "n/a"]


def test_what_is_known_of_a_person_stays_where_sessions_do_not_say(dataset: Dataset) -> None:
    dataset.scans(["01", "02"], ["a", "b"])
    dataset.labels(["01", "02"], ["a", "b"])
    dataset.write("participants.tsv", "participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    dataset.write("sub-01/sub-01_sessions.tsv", "session_id\tage\nses-b\t31\n")
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert found["age"].tolist() == ["30", "31", "40", "40"]


def test_images_without_a_label_map_are_left_out_and_told(dataset: Dataset) -> None:
    dataset.scans(["01", "02", "03"])
    dataset.labels(["01", "03"])
    found = read_bids(BidsQuery(dataset=dataset.root))
    assert found.images["subject"].tolist() == ["sub-01", "sub-03"]
    assert any(
        "1 images have no label map" in note and "sub-02_T1w" in note for note in found.notes
    )


def test_several_suffixes_are_refused_until_one_is_named(dataset: Dataset) -> None:
    dataset.scans(["01"], name="T1w")
    dataset.scans(["01"], name="T2w")
    dataset.labels(["01"])
    with pytest.raises(DataError, match=r"got T1w \(1\), T2w \(1\)\. Choose one: --suffix T1w"):
        read_bids(BidsQuery(dataset=dataset.root))
    found = read_bids(BidsQuery(dataset=dataset.root, suffixes=("T2w",)))
    assert names(found.images, "image") == ["sub-01_T2w.nii.gz"]
    both = read_bids(BidsQuery(dataset=dataset.root, suffixes=("T1w", "T2w"))).images
    assert sorted(both["modality"]) == ["T1w", "T2w"]


def test_images_of_several_acquisitions_are_refused_with_the_entity(dataset: Dataset) -> None:
    dataset.scans(["01"], name="acq-fast_T1w")
    dataset.scans(["01"], name="acq-mprage_T1w")
    dataset.labels(["01"])
    with pytest.raises(DataError, match="--select acq=fast or --select acq=mprage"):
        read_bids(BidsQuery(dataset=dataset.root))
    found = read_bids(BidsQuery(dataset=dataset.root, entities={"acq": "mprage"}))
    assert names(found.images, "image") == ["sub-01_acq-mprage_T1w.nii.gz"]


def test_label_maps_of_several_segmentations_are_refused_with_the_entity(dataset: Dataset) -> None:
    dataset.scans(["01"])
    for name in ("dseg", "desc-aseg_dseg", "desc-aparcaseg_dseg"):
        dataset.labels(["01"], name=name)
    with pytest.raises(
        DataError, match="--select-labels desc=aparcaseg or --select-labels desc=aseg"
    ):
        read_bids(BidsQuery(dataset=dataset.root))
    for value, expected in (("aseg", "sub-01_desc-aseg_dseg"), ("", "sub-01_dseg")):
        query = BidsQuery(dataset=dataset.root, label_entities={"desc": value})
        assert names(read_bids(query).images, "label") == [f"{expected}.nii.gz"]


def test_several_derivatives_are_refused_until_one_is_named(dataset: Dataset) -> None:
    dataset.scans(["01"])
    dataset.labels(["01"], derivative="fs")
    dataset.labels(["01"], derivative="mine")
    with pytest.raises(DataError, match=r"some in each of fs, mine\. Name it: --derivative"):
        read_bids(BidsQuery(dataset=dataset.root))
    for derivative in (Path("mine"), dataset.root / "derivatives" / "mine"):
        found = read_bids(BidsQuery(dataset=dataset.root, derivative=derivative)).images
        assert "derivatives/mine" in found["label"][0].as_posix()


def test_label_maps_that_hmopt_moved_are_no_segmentations(dataset: Dataset) -> None:
    dataset.scans(["01"])
    dataset.labels(["01"], derivative="mine")
    dataset.labels(["01"], derivative="hmopt", name="space-x_desc-hmopt_dseg")
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert "derivatives/mine" in found["label"][0].as_posix()


def test_runs_are_images_of_one_session_each_with_its_own_label_map(dataset: Dataset) -> None:
    for run in ("01", "02"):
        dataset.scans(["01"], name=f"run-{run}_T1w")
        dataset.labels(["01"], name=f"run-{run}_dseg")
    found = read_bids(BidsQuery(dataset=dataset.root)).images
    assert names(found, "label") == ["sub-01_run-01_dseg.nii.gz", "sub-01_run-02_dseg.nii.gz"]
    one = read_bids(BidsQuery(dataset=dataset.root, entities={"run": "02"})).images
    assert names(one, "image") == ["sub-01_run-02_T1w.nii.gz"]


def test_two_runs_with_one_label_map_are_refused(dataset: Dataset) -> None:
    for run in ("1", "2"):
        dataset.scans(["01"], name=f"run-{run}_T1w")
    dataset.labels(["01"])
    with pytest.raises(DataError, match="--select run=1 or --select run=2"):
        read_bids(BidsQuery(dataset=dataset.root))


def test_a_space_is_that_of_images_and_label_maps(dataset: Dataset) -> None:
    dataset.scans(["01"])
    dataset.labels(["01"], name="space-T1w_desc-a_dseg")
    dataset.labels(["01"], name="space-MNI_desc-a_dseg")
    dataset.labels(["01"], name="space-MNI_desc-preproc_T1w")
    native = read_bids(BidsQuery(dataset=dataset.root)).images
    assert names(native, "image") == ["sub-01_T1w.nii.gz"]
    assert names(native, "label") == ["sub-01_space-T1w_desc-a_dseg.nii.gz"]
    mni = read_bids(BidsQuery(dataset=dataset.root, space="MNI")).images
    assert names(mni, "image") == ["sub-01_space-MNI_desc-preproc_T1w.nii.gz"]
    assert names(mni, "label") == ["sub-01_space-MNI_desc-a_dseg.nii.gz"]
    with pytest.raises(DataError, match=r"got spaces MNI \(2\), T1w \(1\), none \(1\)"):
        read_bids(BidsQuery(dataset=dataset.root, space="other"))


def test_a_derivative_dataset_may_be_the_cohort_with_the_people_of_the_raw_one(
    dataset: Dataset,
) -> None:
    dataset.scans(["01", "02"])
    for name in ("desc-preproc_T1w", "desc-aseg_dseg", "dseg", "desc-brain_mask"):
        dataset.labels(["01", "02"], name=name, derivative="fmriprep")
    dataset.labels(["01", "02"], name="space-MNI_desc-preproc_T1w", derivative="fmriprep")
    dataset.write("participants.tsv", "participant_id\tage\nsub-01\t20\nsub-02\t30\n")
    fmriprep = dataset.root / "derivatives" / "fmriprep"
    found = read_bids(BidsQuery(dataset=fmriprep, label_entities={"desc": "aseg"})).images
    assert names(found, "image")[0] == "sub-01_desc-preproc_T1w.nii.gz"
    assert names(found, "label")[0] == "sub-01_desc-aseg_dseg.nii.gz"
    assert found["age"].tolist() == ["20", "30"]


def test_names_of_labels_come_from_the_nearest_table(dataset: Dataset) -> None:
    dataset.scans(["01", "02"])
    dataset.labels(["01", "02"], name="desc-a_dseg")
    dataset.write("derivatives/seg/dseg.tsv", "index\tname\n1\tgeneral\n")
    dataset.write("derivatives/seg/desc-a_dseg.tsv", "index\tname\n1\tthalamus\n2\tpallidum\n")
    found = read_bids(BidsQuery(dataset=dataset.root))
    assert found.label_names == {1: "thalamus", 2: "pallidum"}


def test_tables_of_each_file_are_joined_and_contradictions_refused(dataset: Dataset) -> None:
    dataset.scans(["01", "02"])
    dataset.labels(["01", "02"])
    anat = "derivatives/seg/sub-{0}/anat/sub-{0}_dseg.tsv"
    dataset.write(anat.format("01"), "index\tname\n1\tthalamus\n")
    dataset.write(anat.format("02"), "index\tname\n1\tthalamus\n2\tpallidum\n")
    assert read_bids(BidsQuery(dataset=dataset.root)).label_names == {1: "thalamus", 2: "pallidum"}
    dataset.write(anat.format("02"), "index\tname\n1\tputamen\n")
    with pytest.raises(DataError, match="expected 'thalamus' for label 1"):
        read_bids(BidsQuery(dataset=dataset.root))


@pytest.mark.parametrize("missing", ["dataset", "images", "labels", "derivative"])
def test_what_is_missing_is_one_line(dataset: Dataset, missing: str) -> None:
    query = BidsQuery(dataset=dataset.root)
    if missing == "dataset":
        query = BidsQuery(dataset=dataset.root / "nowhere")
    if missing == "derivative":
        query = BidsQuery(dataset=dataset.root, derivative=Path("nowhere"))
    if missing != "images":
        dataset.scans(["01"])
    if missing == "images":
        dataset.labels(["01"])
    with pytest.raises(DataError) as caught:
        read_bids(query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "got"), [("empty", "no folder sub-…"), ("empty/sub-01", "no image of its subjects")]
)
def test_a_folder_that_is_no_dataset_is_told_in_one_line(
    folder: str, got: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DataError, match=f"expected a BIDS dataset with images, got {got}"):
        read_bids(BidsQuery(dataset=tmp_path / "empty"))
    assert capfd.readouterr() == ("", "")


def test_a_label_that_a_table_ignores_stays_ignored(dataset: Dataset) -> None:
    dataset.scans(["01", "02"])
    dataset.labels(["01", "02"])
    dataset.write("derivatives/seg/dseg.tsv", "index\tname\n1\trim\n2\tcore\n3\tignore\n")
    found = read_bids(BidsQuery(dataset=dataset.root))
    assert found.label_names == {1: "rim", 2: "core", 3: "ignore"}


def test_subjects_whose_folder_is_empty_or_a_link_to_nowhere_are_said(dataset: Dataset) -> None:
    dataset.scans(["01", "02"])
    dataset.labels(["01", "02"])
    (dataset.root / "sub-03").mkdir()
    (dataset.root / "sub-04").symlink_to("../nowhere")
    (note,) = read_bids(BidsQuery(dataset=dataset.root)).notes
    assert "sub-03, sub-04: links to nowhere or empty folders. Fetch them." in note
