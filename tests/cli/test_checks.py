"""What a later command could not follow is refused by the first one, before anything is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app


@pytest.fixture
def study(tiny_study: Any, tmp_path: Path) -> Path:
    """Return a study folder of which nothing is trained yet."""
    trained = shutil.ignore_patterns("model*", "training*")
    return Path(shutil.copytree(tiny_study.folder, tmp_path / "study", ignore=trained))


def declare(study: Path, before: str, after: str) -> None:
    path = study / "study.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def without_spacing(study: Path) -> None:
    declare(study, "[cohort]", "[cohort]\nspacing_known = false")
    declare(study, "[search]", '[search]\nreported = ["hd95_mm"]')


def with_pairs(study: Path, text: str) -> None:
    (study / "pairs_to_search.csv").write_text(text)
    declare(study, "[pairs]", '[pairs]\ncsv = "pairs_to_search.csv"')


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "metric": (
        lambda s: declare(s, "[search]", '[search]\nmetric = "hd95"'),
        "search.metric: expected one of dice",
    ),
    "reported": (
        lambda s: declare(s, "[search]", '[search]\nreported = ["x"]'),
        "search.reported: expected one of",
    ),
    "mm": (without_spacing, "search: expected metrics without mm"),
    "scope": (
        lambda s: declare(s, "[search]", '[search]\nscopes = [["site"]]'),
        "scopes: expected a kind of scope",
    ),
    "bins": (
        lambda s: declare(s, "[search]", "[search]\nbins = {site = [1]}"),
        "search.bins.site: expected a numeric",
    ),
    "text bins": (
        lambda s: declare(s, "[search]", "[search]\nbins = {modality = [1]}"),
        "search.bins.modality: ",
    ),
    "same": (
        lambda s: declare(s, 'same = ["modality"]', 'same = ["site"]'),
        "pairs.same: expected columns",
    ),
    "no subjects": (
        lambda s: declare(s, "search = 4", "search = 0"),
        "pairs: expected pairs of kind",
    ),
    "no such csv": (
        lambda s: declare(s, "[pairs]", '[pairs]\ncsv = "nowhere.csv"'),
        "nowhere.csv: expected a text file",
    ),
    "names in csv": (
        lambda s: with_pairs(s, "moving,fixed\na,b\n"),
        "pairs_to_search.csv, line 2: expected an image",
    ),
    "empty csv": (
        lambda s: with_pairs(s, "moving,fixed\n"),
        "pairs_to_search.csv: expected pairs, got no rows",
    ),
    "label": (
        lambda s: declare(s, "[training]", '[loss]\noverlap_labels = ["x"]\n[training]'),
        "loss.overlap_labels: ",
    ),
    "grid": (
        lambda s: declare(s, "shape = [32, 32]", "shape = [31, 32]"),
        "shape: expected multiples of",
    ),
    "levels": (
        lambda s: declare(s, "decoder = [8]", "decoder = [8, 8, 8]"),
        "network.decoder: expected fewer levels",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_declaration_that_cannot_be_followed_costs_no_training(change: str, study: Path) -> None:
    spoil, message = CHANGES[change]
    spoil(study)
    result = CliRunner().invoke(app, ["train", str(study), "--device", "cpu", "--quiet"])
    assert result.exit_code == 2, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert message in line
    assert not (study / "model.safetensors").exists()
    assert not (study / "training.csv").exists()


@pytest.mark.filterwarnings("default:search.scopes")
def test_a_scope_of_subjects_that_will_be_empty_is_told(study: Path) -> None:
    declare(study, "min_paired_subjects = 3", "min_paired_subjects = 9")
    result = CliRunner().invoke(app, ["train", str(study), "--device", "cpu", "--quiet"])
    assert result.exit_code == 0, result.output
    assert (
        "['subject'] is skipped because no subject is paired with 9 other subjects (search.min_paired_subjects)"
        in result.stderr
    )


NAMES = [
    "dice",
    "regularization",
    "scope",
    "value",
    "metric",
    "setting",
    "folding",
    "settings",
    "pairs",
    "score",
]


def test_columns_of_the_manifest_may_have_any_name_and_formulas_stay_text(
    tiny_study: Any, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(tiny_study.folder, tmp_path / "study"))
    path = study / "data" / "cohort.csv"
    table = pd.read_csv(path, dtype=str)
    for number, name in enumerate(NAMES):
        table[name] = [f"={letter}{number}()" for letter in "AB" * (len(table) // 2)]
    table.to_csv(path, index=False)
    declare(
        study,
        "[search]",
        '[search]\nscopes = [["cohort"], ["label"], ["dice"], ["regularization"]]',
    )
    for command in (["search", "--device", "cpu"], ["report", "--results"], ["report"]):
        result = CliRunner().invoke(app, [command[0], str(study), *command[1:], "--quiet"])
        assert result.exit_code == 0, result.output
    for name in ("pairs.csv", "results/pairs.csv", "results/optima.csv", "report/optima.csv"):
        cells = pd.read_csv(study / name, dtype=str, keep_default_na=False).to_numpy().ravel()
        assert not [cell for cell in cells if cell.startswith("=")]
        assert [cell for cell in cells if cell.startswith("'=")]
    clone = tmp_path / "clone"
    shutil.copytree(study / "results", clone / "results")
    result = CliRunner().invoke(app, ["report", str(clone), "--quiet"])
    assert result.exit_code == 0, result.output
    from hmopt import open_study

    value = pd.read_csv(study / "pairs.csv", dtype=str)["dice"].iloc[0].removeprefix("'")
    assert (
        open_study(clone, dice=value).user_attrs["optimum"]
        == open_study(study, dice=value).user_attrs["optimum"]
    )
