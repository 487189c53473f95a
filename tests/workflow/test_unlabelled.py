"""λ of subjects without labels, by the second study that docs/how-to/predict-subjects.md shows."""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomlkit

import hmopt
from hmopt.analysis import predict_subjects
from hmopt.data.synthetic import make_cohort
from hmopt.study_folder import StudyFolder

GUIDE = Path(__file__).parents[2] / "docs/how-to/predict-subjects.md"
SUBJECTS = 6


def declared_in_the_guide() -> Any:
    """Return the declaration of the unlabelled study, on the small grid of the tests."""
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = [block for block in blocks if "[cohort]" in block]
    declaration = tomlkit.parse(text).unwrap()
    declaration["preprocessing"]["shape"] = [32, 32]
    declaration["model"]["path"] = "../model"  # which both studies use
    declaration["split"]["search"] = SUBJECTS
    declaration["search"] |= {"coarse": 3, "min_paired_subjects": 2}
    return declaration


@pytest.fixture
def studies(tiny_study: Any, tmp_path: Path) -> Path:
    """Write a model, a labelled study with it, `mine`, and images of others in `unlabelled`."""
    shutil.copytree(tiny_study.folder, tmp_path / "model")
    make_cohort(tmp_path / "mine", subjects=SUBJECTS, shape=(32, 32), seed=1)
    labelled = declared_in_the_guide()
    labelled["name"] = "labelled"
    labelled["cohort"]["label_names"] = "dseg.tsv"
    labelled["search"]["metric"] = "dice"
    labelled["search"]["reported"].append("similarity")
    (tmp_path / "mine/study.toml").write_text(tomlkit.dumps(labelled), encoding="utf-8")

    make_cohort(tmp_path / "unlabelled", subjects=SUBJECTS, shape=(32, 32), seed=2)
    manifest = pd.read_csv(tmp_path / "unlabelled/cohort.csv", usecols=["image", "subject"])
    first = manifest.drop_duplicates("subject")
    first.to_csv(tmp_path / "unlabelled/cohort.csv", index=False)
    declaration = tomlkit.dumps(declared_in_the_guide())
    (tmp_path / "unlabelled/study.toml").write_text(declaration, encoding="utf-8")
    return tmp_path


def test_the_guide_predicts_a_setting_for_every_unlabelled_subject(studies: Path) -> None:
    hmopt.search(studies / "mine", device="cpu")
    hmopt.search(studies / "unlabelled", device="cpu")
    study, others = StudyFolder(studies / "mine"), StudyFolder(studies / "unlabelled")
    options = study.searched.search
    people = predict_subjects(study.measurements(), others.measurements(), options)
    assert len(people) == SUBJECTS
    for person in people:
        low, high = person.intervals["regularization"]
        assert 0 <= low <= high <= 1
        assert 0 <= float(person.setting["regularization"]) <= 1
