"""An engine with a choice, a conditional integer and a number: from its declaration to register."""

import json
from pathlib import Path

import nibabel
import numpy as np
import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import hmopt
from hmopt.cli.app import app
from hmopt.declaration import read_study
from hmopt.ledger import Ledger
from hmopt.ledger.table import read_measurements
from hmopt.study_folder import StudyFolder

PAIRS = 36
SHIFT = 3
"""Voxels by which the second session of every subject is moved along x."""

DECLARATION = """
name = "shifted boxes"
[cohort]
manifest = "cohort.csv"
label_names = "names.tsv"
[preprocessing]
shape = [32, 32]
[split]
train = 0
tune = 0
search = 6
[pairs]
csv = "pairs.csv"
[model]
source = "engine"
callable = "moving_boxes.py:register"
[hyperparameters.axis]
type = "categorical"
choices = ["y", "x", "none"]
[hyperparameters.pixels]
type = "integer"
low = 0
high = 6
default = 1
only_if = { axis = ["x", "y"] }
[hyperparameters.share]
low = 0.0
high = 1.0
step = 0.25
default = 1.0
only_if = { axis = "x" }
[search]
reported = ["folding", "dice_nearest"]
sampler = "TPESampler"
trials = 25
scopes = [["cohort"], ["label"], ["subject"]]
min_paired_subjects = 1
"""

ENGINE = '''
"""Moves images along an axis: fixed(x) = moving(x + shift). Keeps what it was asked for."""

import json
from pathlib import Path

import numpy as np


def register(moving, fixed, setting):
    with (Path(__file__).parent / "asked.jsonl").open("a") as file:
        file.write(json.dumps(setting) + "\\n")
    displacement = np.zeros((moving.ndim, *moving.shape), np.float32)
    if setting["axis"] == "x":
        displacement[0] = setting["pixels"] * setting["share"]
    elif setting["axis"] == "y":
        displacement[1] = setting["pixels"]
    return displacement
'''


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: object) -> str:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def asked(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "asked.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def save(array: np.ndarray, path: Path) -> None:
    nibabel.Nifti1Image(array[:, :, None], np.eye(4)).to_filename(path)


def write_study(folder: Path, declaration: str) -> None:
    """Write a study of boxes in two sessions: all first sessions to all second ones, which are moved."""
    images = []
    for subject in range(6):
        for session, start in (("1", 12), ("2", 12 - SHIFT)):
            labels = np.zeros((32, 32), np.uint8)
            labels[start : start + 8, 8 : 16 + subject] = 1
            labels[start + 2 : start + 6, 10:14] = 2
            name = f"sub-{subject}_ses-{session}"
            save(labels.astype(np.float32) + 0.01 * subject, folder / f"{name}.nii.gz")
            save(labels, folder / f"{name}_labels.nii.gz")
            images.append((f"{name}.nii.gz", f"{name}_labels.nii.gz", str(subject), session))
    manifest = pd.DataFrame(images, columns=["image", "label", "subject", "session"])
    manifest.to_csv(folder / "cohort.csv", index=False)
    names = pd.DataFrame({"index": [1, 2], "name": ["box", "core"]})
    names.to_csv(folder / "names.tsv", sep="\t", index=False)
    rows = [(f"sub-{a}_ses-1", f"sub-{b}_ses-2") for a in range(6) for b in range(6)]
    pd.DataFrame(rows, columns=["moving", "fixed"]).to_csv(folder / "pairs.csv", index=False)
    (folder / "study.toml").write_text(declaration)
    (folder / "moving_boxes.py").write_text(ENGINE)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder that was searched and reported."""
    folder = tmp_path_factory.mktemp("mixed")
    write_study(folder, DECLARATION)
    said("search", folder)
    said("report", folder, "--results")
    return folder


def test_an_engine_is_only_told_what_is_active_and_in_its_type(searched: Path) -> None:
    names = {"x": {"axis", "pixels", "share"}, "y": {"axis", "pixels"}, "none": {"axis"}}
    settings = asked(searched)
    assert {setting["axis"] for setting in settings} == set(names)
    for setting in settings:
        assert set(setting) == names[str(setting["axis"])]
        assert isinstance(setting.get("pixels", 0), int)


def test_equal_settings_are_measured_once(searched: Path) -> None:
    settings = [json.dumps(setting, sort_keys=True) for setting in asked(searched)]
    of_pairs = pd.Series(settings).value_counts()
    # all pairs once; and once more for the two examples that are drawn of each scope
    drawn = of_pairs > PAIRS
    assert (of_pairs >= PAIRS).all()
    assert drawn.sum() <= 3


def test_the_best_setting_is_found_and_the_trials_hold_only_what_is_active(searched: Path) -> None:
    study = hmopt.open_study(searched)
    best = study.best_trial
    assert best.params["axis"] == "x"
    assert best.params["pixels"] * best.params["share"] == pytest.approx(3.0)
    for trial in study.trials:
        assert ("share" in trial.params) == (trial.params["axis"] == "x")
    stored = optuna.load_study(
        study_name=study.study_name, storage=f"sqlite:///{searched}/studies.db"
    )
    assert stored.best_value == pytest.approx(study.best_value)


def test_the_report_names_choices_and_their_confidence_set(searched: Path) -> None:
    page = (searched / "report" / "index.html").read_text()
    assert "axis = x" in page
    optima = pd.read_csv(searched / "results" / "optima.csv")
    cohort_row = optima[optima["scope"] == "cohort"].iloc[0]
    assert cohort_row["axis"] == "x"
    assert cohort_row["axis_among"] == "x"
    assert "axis_low" not in optima
    summary = json.loads((searched / "results" / "summary.json").read_text())
    assert "x" in json.dumps(summary)


def test_committed_results_say_the_same_as_the_ledger(searched: Path) -> None:
    files = StudyFolder(searched)
    of_ledger = files.measurements()
    of_results = read_measurements(files.results.measurements_file("full"))
    assert of_results.settings == of_ledger.settings
    assert of_results.space == of_ledger.space
    np.testing.assert_allclose(
        of_results.values["dice"], of_ledger.values["dice"], rtol=1e-6, equal_nan=True
    )


def test_a_ledger_is_found_again_and_nothing_is_measured_twice(searched: Path) -> None:
    before = len(asked(searched))
    ledger = Ledger(searched / "ledger")
    ledger.compact()
    said("search", searched)
    drawn = len(asked(searched)) - before
    assert drawn <= 2 * 3  # examples are drawn again


def test_values_of_a_command_are_checked_and_what_they_leave_out_is_at_its_default(
    searched: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.nii.gz"
    images = [searched / "sub-0_ses-1.nii.gz", searched / "sub-0_ses-2.nii.gz"]
    told = said("register", searched, *images, "--moved", moved, "--set", "axis=x")
    assert "axis x, pixels 1, share 1" in told
    wrong = {
        "axis=z": "axis: expected one of y, x, none, got z",
        "pixels=2.5": "pixels: expected a whole number in [0, 6], got 2.5",
        "share=0.5": "share: expected a value only where axis is x, got 0.5",
    }
    for value, message in wrong.items():
        result = command("register", searched, *images, "--moved", moved, "--set", value)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def test_a_changed_choice_is_told_before_results_are_combined(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("study.toml", "moving_boxes.py", "cohort.csv", "names.tsv", "pairs.csv"):
        (folder / name).write_bytes((searched / name).read_bytes())
    text = DECLARATION.replace('["y", "x", "none"]', '["y", "x"]')
    (folder / "study.toml").write_text(text)
    assert read_study(folder).space.hyperparameters[0].choices == ("y", "x")
    assert read_study(folder).space != read_study(searched).space


def test_pairs_are_spent_adaptively_and_the_report_says_so(tmp_path: Path) -> None:
    # boxes of few sizes: scores of pairs are tied, and scipy then tries all signs of up to 13 of them
    of_all = DECLARATION.replace('[["cohort"], ["label"], ["subject"]]', '[["cohort"]]')
    write_study(tmp_path, f'{of_all}spending = "wilcoxon"\n')
    said("search", tmp_path)
    spent = StudyFolder(tmp_path).searched.spent
    assert spent is not None
    assert spent.partial > 0
    assert spent.evaluations < PAIRS * spent.settings / 2
    said("report", tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"{spent.partial} of {spent.settings} settings were stopped early" in page
    assert hmopt.open_study(tmp_path).best_params["axis"] == "x"
