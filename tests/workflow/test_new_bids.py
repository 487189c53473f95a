"""`hmopt new --bids`: a manifest and names of labels in the study folder."""

import json
from pathlib import Path

import pandas as pd
import pytest

import hmopt
from hmopt.data.synthetic import make_cohort
from hmopt.errors import DeclarationError

pytest.importorskip("bids2table", reason="the extra `bids` reads BIDS datasets")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write the synthetic cohort as a BIDS dataset with a derivative of label maps."""
    manifest = make_cohort(tmp_path / "flat", subjects=6, shape=(24, 24))
    table = pd.read_csv(manifest)
    root = tmp_path / "bids"
    labels = root / "derivatives" / "manual"
    for row in table.itertuples():
        image = manifest.parent / str(row.image)
        if "T1w" not in image.name:
            continue
        subject, session, *_ = image.name.split("_")
        for tree, source, suffix in (
            (root, image, "T1w"),
            (labels, manifest.parent / str(row.label), "dseg"),
        ):
            folder = tree / subject / session / "anat"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{subject}_{session}_{suffix}.nii.gz").write_bytes(source.read_bytes())
    for tree in (root, labels):
        description = {"Name": "synthetic", "BIDSVersion": "1.9.0"}
        (tree / "dataset_description.json").write_text(json.dumps(description))
    names = (manifest.parent / "dseg.tsv").read_text()
    (labels / "dseg.tsv").write_text(names)
    people = sorted(path.name for path in root.glob("sub-*"))
    rows = [f"{name}\t{20 + place}\tsite{place % 2}" for place, name in enumerate(people)]
    (root / "participants.tsv").write_text("participant_id\tage\tsite\n" + "\n".join(rows))
    return root


def test_a_bids_dataset_becomes_a_study_split_by_subject(dataset: Path, tmp_path: Path) -> None:
    made = hmopt.new(tmp_path / "study", bids=dataset)
    assert made.subjects == {"train": 2, "tune": 2, "search": 2}
    table = pd.read_csv(tmp_path / "study" / "cohort.csv")
    assert {"subject", "session", "age", "site"} <= set(table.columns)
    declared = hmopt.read_study(tmp_path / "study").cohort
    assert declared.manifest == tmp_path / "study" / "cohort.csv"
    names = pd.read_csv(tmp_path / "study" / "dseg.tsv", sep="\t")
    assert len(names) == len(made.found.cohort.structures)
    assert ["site"] in made.study.search.scopes
    # two sessions of one person are a pair within a subject, not two subjects
    assert "within" in made.study.pairs.tasks


def test_after_an_error_nothing_is_left(dataset: Path, tmp_path: Path) -> None:
    broken = next(dataset.glob("sub-*/ses-*/anat/*_T1w.nii.gz"))
    broken.write_bytes(b"nothing")
    with pytest.raises(hmopt.HmoptError):
        hmopt.new(tmp_path / "study", bids=dataset)
    assert not list((tmp_path / "study").glob("*"))


def test_options_of_bids_need_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="--suffix: expected --bids"):
        hmopt.new(tmp_path / "study", manifest=tmp_path / "cohort.csv", suffix="T1w")
