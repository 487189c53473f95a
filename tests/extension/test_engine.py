"""An oracle of one's own, added from outside the package in one file: an engine, or any object."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import hmopt
from hmopt.cli.app import app
from hmopt.ledger import Ledger, Recorded
from hmopt.records import Block

SHIFT = 3.0
"""Voxels by which the second session of every subject is moved along x."""

ENGINE = '''
"""Moves every image along x by as many voxels as it is told: fixed(x) = moving(x + shift)."""

import numpy as np


def register(moving, fixed, setting):
    displacement = np.zeros((moving.ndim, *moving.shape), np.float32)
    displacement[0] = setting["shift"]
    return displacement
'''


def hmopt_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: object) -> str:
    result = hmopt_command(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(boxes_copy: Path) -> Path:
    """A study folder of boxes that an engine in one file shifts."""
    (boxes_copy / "shifting.py").write_text(ENGINE)
    return boxes_copy


def declaration(folder: Path) -> str:
    return (folder / "study.toml").read_text(encoding="utf-8")


def test_an_engine_in_one_file_is_searched_and_reported_and_its_best_setting_is_found(
    folder: Path,
) -> None:
    assert "Nothing to train: model.source is engine" in said("train", folder)
    said("search", folder)
    said("report", folder, "--results")
    optima = pd.read_csv(folder / "report" / "optima.csv")
    assert list(optima["scope"]) == ["cohort", "label", "label"]
    np.testing.assert_allclose(optima["shift"], SHIFT, atol=0.3)
    assert (folder / "report" / "index.html").is_file()
    measurements = hmopt.read_folder(folder)
    at_best = measurements.score("dice")[measurements.settings.index((10,))]  # 3 of 6 voxels
    np.testing.assert_allclose(at_best, 1.0)


def test_the_report_says_that_an_engine_was_searched_and_speaks_of_no_training(
    folder: Path,
) -> None:
    said("search", folder)
    said("report", folder)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "shifting.py:register" in page
    assert "the one network" not in page
    assert "hypernetwork" not in page


def test_files_are_registered_with_an_engine_at_the_setting_that_was_found(folder: Path) -> None:
    said("search", folder)
    moving, fixed = folder / "sub-0_ses-1.nii.gz", folder / "sub-0_ses-2.nii.gz"
    moved = folder / "moved.nii.gz"
    arguments = ("--moved", moved, "--displacement", folder / "field.nii.gz")
    said("register", folder, moving, fixed, *arguments, "--set", f"shift={SHIFT:g}")
    found = nibabel.Nifti1Image.from_filename(moved).get_fdata()
    np.testing.assert_allclose(
        found, nibabel.Nifti1Image.from_filename(fixed).get_fdata(), atol=1e-4
    )


def test_comparing_an_engine_with_trained_networks_is_refused(folder: Path) -> None:
    result = hmopt_command("compare", folder)
    assert result.exit_code == 2
    assert 'model.source: expected "trained"' in " ".join(result.output.split())


def test_another_version_or_another_file_of_an_engine_is_another_oracle(folder: Path) -> None:
    first, _ = hmopt.open_oracle(folder)
    again, _ = hmopt.open_oracle(folder)
    assert first.identity == again.identity
    (folder / "shifting.py").write_text(ENGINE + "\n# changed\n")
    other_file, _ = hmopt.open_oracle(folder)
    (folder / "study.toml").write_text(
        declaration(folder).replace("[hyperparameters", 'version = "2"\n[hyperparameters')
    )
    other_version, _ = hmopt.open_oracle(folder)
    assert len({first.identity, other_file.identity, other_version.identity}) == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no gradient')", "a displacement, got ValueError: no gradient"),
        ("return moving", r"a displacement of shape \(2, 32, 32\), got \(32, 32\)"),
        ("return np.full((2, 32, 32), np.nan)", "finite numbers"),
        ("return None", r"a displacement of shape \(2, 32, 32\), got \(\)"),
    ],
)
def test_an_engine_that_fails_is_one_line_with_pair_and_setting(
    body: str, message: str, folder: Path
) -> None:
    (folder / "shifting.py").write_text(
        f"import numpy as np\n\n\ndef register(moving, fixed, setting):\n    {body}\n"
    )
    result = hmopt_command("search", folder)
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert "the engine on pair sub-0_ses-1->sub-0_ses-2 at shift = 0: expected" in text
    assert re.search(message, text), text


@pytest.mark.parametrize(
    ("callable_path", "message"),
    [
        ("shifting.py:registre", "AttributeError"),
        ("nowhere.py:register", "FileNotFoundError"),
        ("no_such_package.engines:register", "ModuleNotFoundError"),
        ("math:pi", "expected a function"),
    ],
)
def test_an_engine_that_is_not_there_is_refused_before_anything_is_measured(
    callable_path: str, message: str, folder: Path
) -> None:
    declared = declaration(folder).replace("shifting.py:register", callable_path)
    (folder / "study.toml").write_text(declared)
    result = hmopt_command("search", folder)
    assert result.exit_code == 2
    assert "model.callable: expected" in result.output
    assert message in " ".join(result.output.split())
    assert not (folder / "ledger").exists()


def test_a_sampler_of_optuna_drives_the_search_of_an_engine(folder: Path) -> None:
    declared = declaration(folder).replace(
        "[search]", '[search]\nsampler = "GPSampler"\ntrials = 12'
    )
    (folder / "study.toml").write_text(declared)
    said("search", folder)
    studies = optuna.load_study(
        study_name=next(
            name
            for name in optuna.get_all_study_names(f"sqlite:///{folder / 'studies.db'}")
            if "cohort" in name
        ),
        storage=f"sqlite:///{folder / 'studies.db'}",
    )
    asked = [trial for trial in studies.trials if trial.user_attrs.get("sampler") == "GPSampler"]
    assert len(asked) == 12
    assert studies.user_attrs["optimum"]["shift"] == pytest.approx(SHIFT, abs=0.3)
    said("report", folder)
    optima = pd.read_csv(folder / "report" / "optima.csv")
    assert optima["shift"].iloc[0] == pytest.approx(SHIFT, abs=0.3)


class Parabola:
    """An oracle in ten lines: Dice falls with the distance from 0.35, and nothing folds."""

    space = hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),))
    identity = "a parabola"
    labels = ("thalamus",)

    def measure(
        self,
        settings: Sequence[tuple[int, ...]],
        pairs: Sequence[hmopt.Pair],
        metrics: Sequence[str],
    ) -> Iterator[Block]:
        for index in settings:
            regularization = float(self.space.setting(index)["regularization"])
            score = 1 - (regularization - 0.35) ** 2
            values = {"dice": np.full((len(pairs), 1), score), "folding": np.zeros(len(pairs))}
            ids = tuple(pair.id for pair in pairs)
            yield Block(index=index, pairs=ids, labels=self.labels, values=values)


def test_any_object_with_the_members_of_an_oracle_is_an_objective(tmp_path: Path) -> None:
    pair = hmopt.Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    oracle = Recorded(Parabola(), Ledger(tmp_path))
    study = optuna.create_study(direction="maximize", sampler=hmopt.CurveSampler(oracle.space))
    study.optimize(hmopt.Objective(oracle, [pair]), n_trials=15)
    assert study.best_params == {"regularization": 0.35}
    assert json.loads((tmp_path / "manifest.json").read_text())
