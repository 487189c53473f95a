"""Tables of published methods become measurements on the pairs of the study."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.study_folder import StudyFolder
from studies.regional import summary

REGIONAL = Path(summary.__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the study with a table in which Dice is λ plus a tenth of α, plus the place of the pair."""
    shutil.copytree(REGIONAL / "results", tmp_path / "results")
    (tmp_path / "published").mkdir()
    searched = StudyFolder(tmp_path).measurements()
    rows = [
        {
            "regularization": strength,
            "alpha": alpha,
            "pair": pair,
            "label": label,
            "dice": strength + alpha / 10 + place / 1000,
            "folding": place / 1e6,
        }
        for strength in (0.5, 0.1)
        for alpha in (1.1, 1.005)
        for place, pair in enumerate(searched.pairs["pair"])
        for label in searched.labels
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "published/learned_map.csv", index=False)
    return tmp_path


def test_a_learned_map_has_a_setting_for_each_network(folder: Path) -> None:
    found = summary.published_measurements(folder, "learned_map")
    settings = [found.space.setting(index) for index in found.settings]
    dice = found.values["dice"]
    assert dice.shape == (4, len(found.pairs), len(found.labels))
    for setting, of_pairs in zip(settings, dice, strict=True):
        expected = float(setting["regularization"]) + float(setting["alpha"]) / 10
        np.testing.assert_allclose(of_pairs[7], expected + 0.007)
    np.testing.assert_allclose(found.values["folding"][2, 5], 5e-6)


def test_the_largest_alpha_is_one_weight_everywhere(folder: Path) -> None:
    found = summary.published_measurements(folder, "learned_map")
    of_one = summary.settings_of_one("learned_map", found)
    assert of_one is not None
    assert [found.space.setting(index) for index in of_one] == [
        {"regularization": 0.1, "alpha": 1.1},
        {"regularization": 0.5, "alpha": 1.1},
    ]
