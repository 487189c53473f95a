"""Reports of engines and of models from elsewhere: nothing is said that only a model trained in the folder has."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmopt.declaration import SearchOptions
from hmopt.ledger import Ledger, Searched
from hmopt.records import Block
from hmopt.report import read_material, write_report, write_results
from hmopt.space import Hyperparameter, Setting, Space
from hmopt.study_folder import StudyFolder

LABELS = ("thalamus", "cortex")
OF_TRAINING = re.compile(r"train|hypermorph|hypernetwork|network|λ|γ|\bloss\b", re.IGNORECASE)
"""Words that only a trained model has."""

SEVERAL = Space(
    hyperparameters=(
        Hyperparameter(name="bending_weight", default=0.5),
        Hyperparameter(name="iterations", type="integer", low=1, high=4, step=1, default=2),
        Hyperparameter(
            name="similarity_term", type="categorical", choices=("CC", "MI"), default="CC"
        ),
    )
)
ONE = Space(hyperparameters=(Hyperparameter(name="bending_weight", default=0.5),))


def write_search(
    folder: Path, space: Space, model: dict[str, Any], *, failing: bool = False
) -> Path:
    """Write a study folder of ten subjects with one pair each, whose best bending weight is 0.3."""
    names = [f"s{place}" for place in range(10)]
    rows = [
        (f"{name}_1->{name}_2", f"{name}_1", f"{name}_2", name, name, "within") for name in names
    ]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    search = SearchOptions(reported=["folding"], scopes=[["cohort"], ["label"]], splits=50)
    searched = Searched(
        name="made up",
        identity="oracle",
        identity_half=None,
        labels=LABELS,
        spacing_mm=None,
        space=space,
        loss={},
        loss_scale=None,
        search=search,
        declared={"model": model},
    )
    StudyFolder(folder).write_search(searched, pairs)
    generator = np.random.default_rng(0)
    level = 0.02 * generator.standard_normal((10, 2))
    blocks = []
    for place, index in enumerate(space.coarse(5)):
        weight = space.setting(index)["bending_weight"]
        assert isinstance(weight, float)
        steep = 0.3 + 0.1 * generator.standard_normal((10, 2))
        dice = 0.8 + level - steep * (weight - 0.3) ** 2
        folding = np.zeros(10)
        if failing and place == 1:
            dice[3] = np.nan
            folding[3] = np.nan
        values = {"dice": dice, "folding": folding}
        ids = tuple(pairs["pair"])
        blocks.append(Block(index=index, pairs=ids, labels=LABELS, values=values))
    Ledger(folder / "ledger").write("oracle", space, blocks)
    return folder


def text_of(page: Path) -> str:
    """Return what a person reads."""
    html = page.read_text(encoding="utf-8")
    html = re.sub(r"<(style|script)>.*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def recommended(folder: Path) -> list[Setting]:
    return [finding.recommended for finding in read_material(folder).findings]


@pytest.mark.parametrize("space", [ONE, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("failing", [False, True])
def test_a_report_of_an_engine_speaks_of_no_training(
    tmp_path: Path, space: Space, failing: bool
) -> None:
    model = {"source": "engine", "callable": "mine.py:register"}
    folder = write_search(tmp_path / "study", space, model, failing=failing)
    said = text_of(write_report(folder)).replace("nothing was trained", "")
    around = [said[max(0, hit.start() - 60) : hit.end() + 60] for hit in OF_TRAINING.finditer(said)]
    assert around == []
    assert "mine.py:register" in said
    if failing:  # a setting at which a pair failed is not recommended
        assert "registrations failed" in said
        failed = space.setting(space.coarse(5)[1])
        assert StudyFolder(folder).measurements().failed.sum() == 1
        assert failed not in recommended(folder)
    elif space is ONE:
        assert "Bending weight = 0.25 is best" in said
    write_results(folder)


def test_engines_side_by_side_speak_of_no_training(tmp_path: Path) -> None:
    model = {"source": "engine", "callable": "mine.py:register"}
    folder = write_search(tmp_path / "one", ONE, model)
    other = write_search(tmp_path / "two", SEVERAL, model)
    files = StudyFolder(other)
    files.write_search(replace(files.searched, name="another"), files.pairs)
    (folder / "study.toml").write_text(
        'name = "made up"\n[cohort]\nimages = "a"\nlabels = "b"\n[preprocessing]\nshape = [8, 8]\n'
        '[split]\ntrain = 0\ntune = 0\nsearch = 10\n[report]\nbeside = ["../two"]\n'
        '[model]\nsource = "engine"\ncallable = "mine.py:register"\n'
        "[hyperparameters.bending_weight]\n"
    )
    said = text_of(write_report(folder)).replace("nothing was trained", "")
    around = [said[max(0, hit.start() - 60) : hit.end() + 60] for hit in OF_TRAINING.finditer(said)]
    assert "Comparison of methods" in said
    assert "similarity term = CC" in said
    assert around == []


@pytest.mark.parametrize("source", ["file", "study"])
def test_a_model_from_elsewhere_has_no_loss_and_no_drift(tmp_path: Path, source: str) -> None:
    space = Space(hyperparameters=(Hyperparameter(name="bending_weight"),))
    folder = write_search(tmp_path / "study", space, {"source": source})
    said = text_of(write_report(folder))
    assert "not trained here" in said
    assert "None of the velocity" not in said
    assert "checkpoint at half training was not measured" not in said
    assert "hmopt train" not in said
