"""`hmopt compare` on a tiny searched study."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from hmopt.cli.app import app
from hmopt.data.pairs import draw_pairs
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import Study, read_study
from hmopt.errors import DivergedError
from hmopt.files import write_json
from hmopt.ledger.baselines import Role
from hmopt.networks import NETWORK_FORMAT, read_header
from hmopt.oracle import RefinedOracle, RetrainedOracle
from hmopt.oracle.baselines import setting_name
from hmopt.records import CHECKPOINTS
from hmopt.study_folder import StudyFolder, read_folder
from hmopt.training.train import train_network, with_budget

DECLARATION = """
name = "tiny"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [24, 24]
[split]
train = 2
tune = 2
search = 3
[pairs]
same = ["modality"]
search = 6
tune = 1
[network]
encoder = [4, 4]
decoder = [4]
final = []
[hypernetwork]
widths = [4]
learning_rate_share = 0.5
[training]
steps = 4
batch = 1
threads = 1
checkpoint_every = 2
learning_rate = 0.02
averaging = 0.0
[search]
coarse = 3
refinements = 0
scopes = [["cohort"]]
[compare]
values = { regularization = [0.0, 0.25, 1.0] }
seeds = 2
optimum_seeds = 3
hypermorph_seeds = 2
"""

ROLES = ("separate", "hypermorph")
Compared = tuple[Path, str, dict[str, bytes]]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def files(folder: Path, *names: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in sorted(folder.glob(name))
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    make_cohort(folder / "data", subjects=7, shape=(24, 24))
    (folder / "study.toml").write_text(DECLARATION, encoding="utf-8")
    for command in ("train", "search"):
        result = run(command, folder)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def compared(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """A compared copy of the study, what was said, and what the files of its search were before."""
    folder = tmp_path_factory.mktemp("compared") / "study"
    shutil.copytree(searched, folder)
    before = files(folder, "search.json", "pairs.csv", "*.safetensors", "studies.db")
    result = run("compare", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output, before


def test_it_says_first_what_it_will_train(compared: Compared) -> None:
    _, said, _ = compared
    best = StudyFolder(compared[0]).comparison
    assert best is not None
    at_optimum = {best.optimum, best.default}
    networks = 2 * len({*best.grid, *at_optimum}) + len(at_optimum)
    assert said.splitlines()[0].startswith(
        f"Trainings: {networks} separate networks (2 steps) and 3 hypermorphs (2 or 4 steps): about "
    )


def test_every_seed_and_ensemble_can_be_read_back(compared: Compared) -> None:
    folder = compared[0]
    comparison = StudyFolder(folder).comparison
    assert comparison is not None
    assert comparison.model == StudyFolder(folder).searched.identity
    assert (comparison.steps, comparison.hypermorph_steps) == (2, 4)
    assert comparison.grid == ((0,), (50,), (200,))
    known = {*comparison.grid, comparison.optimum, comparison.default}
    trained: tuple[tuple[Role, int], ...] = (("separate", 2), ("hypermorph", 2), ("hypermorph", 4))
    seeds = {}
    for role, steps in trained:
        singles = comparison.singles(role, steps)
        ensembles = comparison.ensembles(role, steps)
        seeds[role, steps] = [one.seeds for one in (*singles, *ensembles)]
    assert seeds == {
        ("separate", 2): [(0,), (1,), (2,), (0, 1), (0, 1, 2)],
        ("hypermorph", 2): [(0,), (1,), (0, 1)],
        ("hypermorph", 4): [(0,), (1,), (0, 1)],
    }
    for one in comparison.baselines:
        measurements = StudyFolder(folder).baseline_measurements(one)
        fewer = one.role == "separate" and 2 in one.seeds
        expected = {comparison.optimum, comparison.default} if fewer else known
        assert (
            expected == set(measurements.settings)
            if one.role == "separate"
            else expected <= {*measurements.settings}
        )
        assert tuple(measurements.values) == ("dice", "folding")
        assert one.networks == len(one.seeds) * (len(expected) if one.role == "separate" else 1)
    assert len({one.identity for one in comparison.baselines}) == len(comparison.baselines)


def test_the_model_itself_is_one_of_the_hypermorphs(compared: Compared) -> None:
    comparison = StudyFolder(compared[0]).comparison
    assert comparison is not None
    assert comparison.singles("hypermorph", 4)[0].identity == comparison.model


def test_separate_networks_are_measured_as_their_oracle_measures(
    compared: Compared, tmp_path: Path
) -> None:
    folder = compared[0]
    comparison, study = StudyFolder(folder).comparison, read_study(folder)
    assert comparison is not None
    cohort = prepare(study, folder)
    oracle = RetrainedOracle(with_budget(study, cohort, steps=2, seed=1), cohort, tmp_path)
    measurements = StudyFolder(folder).baseline_measurements(comparison.singles("separate", 2)[1])
    pairs = draw_pairs(cohort, study.pairs, "search")
    (block,) = oracle.measure([(50,)], pairs, ["dice"])
    assert oracle.identity == measurements.identity
    place = measurements.settings.index((50,))
    np.testing.assert_allclose(measurements.values["dice"][place], block.values["dice"], atol=1e-6)


def test_who_is_compared_is_refined_as_the_model_is(searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "refined"
    shutil.copytree(searched, folder)
    declared = DECLARATION.replace(
        "values = { regularization = [0.0, 0.25, 1.0] }", "values = { regularization = [0.25] }"
    )
    for many, one in (("\nseeds = 2", "\nseeds = 1"), ("optimum_seeds = 3", "optimum_seeds = 1")):
        declared = declared.replace(many, one)
    refinement = '[refine]\niterations = 3\nfeatures = ["intensity", "laplacian"]\n'
    (folder / "study.toml").write_text(declared + refinement, encoding="utf-8")
    for command in ("search", "compare"):
        result = run(command, folder)
        assert result.exit_code == 0, result.output

    comparison, study = StudyFolder(folder).comparison, read_study(folder)
    assert comparison is not None
    assert comparison.model == StudyFolder(folder).searched.identity
    cohort = prepare(study, folder)
    pairs = draw_pairs(cohort, study.pairs, "search")
    network = RetrainedOracle(with_budget(study, cohort, steps=2, seed=0), cohort, tmp_path)
    refined = RefinedOracle(network, iterations=3, features=["intensity", "laplacian"])
    measurements = StudyFolder(folder).baseline_measurements(comparison.singles("separate", 2)[0])
    assert measurements.identity == refined.identity
    (block,) = refined.measure([(50,)], pairs, ["dice"])
    place = measurements.settings.index((50,))
    np.testing.assert_allclose(measurements.values["dice"][place], block.values["dice"], atol=1e-5)
    # two starts, of which the first is the model of the study
    (ensemble,) = comparison.ensembles("hypermorph", 4)
    assert ensemble.seeds == (0, 1)
    assert np.isfinite(StudyFolder(folder).baseline_measurements(ensemble).values["dice"]).all()
    # by intensities alone it would be another one
    assert RefinedOracle(network, iterations=3).identity != refined.identity


def test_the_search_is_as_it_was(compared: Compared, searched: Path) -> None:
    folder, _, before = compared
    assert files(folder, "search.json", "pairs.csv", "*.safetensors", "studies.db") == before
    measurements, untouched = read_folder(folder), read_folder(searched)
    assert measurements.settings == untouched.settings
    for metric, values in untouched.values.items():
        np.testing.assert_array_equal(measurements.values[metric], values)


def test_trainings_side_by_side_go_on_and_end_in_the_same_numbers(
    compared: Compared, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(compared[0], folder)
    comparison = StudyFolder(folder).comparison
    assert comparison is not None
    lost = ("separate-2-steps-seed-1/regularization-0.25", "hypermorph-4-steps-seed-1")
    for name in lost:
        (folder / "compare" / f"{name}.safetensors").unlink()
    (folder / "compare.json").unlink()
    result = run("compare", folder, "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Trainings: 1 separate networks (2 steps) and 1 hypermorphs")
    again = StudyFolder(folder).comparison
    assert again is not None
    assert [one.identity for one in again.baselines] == [
        one.identity for one in comparison.baselines
    ]
    for name in lost:
        tensors, before = (
            load_file(one / "compare" / f"{name}.safetensors") for one in (folder, compared[0])
        )
        assert all(torch.equal(tensor, before[key]) for key, tensor in tensors.items())
    assert run("compare", folder).output.startswith("Trainings: 0 separate networks")


def test_an_error_comes_back_from_the_process_that_it_ended(
    compared: Compared, tmp_path: Path
) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(compared[0], folder)
    path = folder / "compare" / "separate-2-steps-seed-1" / "regularization-0.25"
    path.with_suffix(".25.safetensors").unlink()
    (path.parent / "regularization-0.25-state.safetensors").write_bytes(b"no state")
    result = run("compare", folder, "--jobs", 2)
    assert result.exit_code == 2
    assert "regularization-0.25-state.safetensors: expected " in result.output


def test_a_search_measures_every_checkpoint_at_the_settings_of_the_model(
    compared: Compared,
) -> None:
    searched, full = StudyFolder(compared[0]).searched, read_folder(compared[0])
    assert searched.steps == 4
    for checkpoint in CHECKPOINTS[:-1]:
        measured = read_folder(compared[0], checkpoint)
        assert measured.settings == full.settings
        assert measured.identity not in (None, searched.identity)


def test_one_setting_is_confirmed_with_half_the_steps_of_the_model(
    compared: Compared, tmp_path: Path
) -> None:
    folder = tmp_path / "confirmed"
    shutil.copytree(compared[0], folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8").replace("steps = 4", "steps = 6")
    (folder / "study.toml").write_text(
        f"{declared}steps = 2\nhalf_budget_seeds = 1\n", encoding="utf-8"
    )
    for name in ("model", "model-half"):
        (folder / f"{name}.safetensors").unlink()
    for command in ("train", "search", "compare"):
        assert run(command, folder).exit_code == 0
    comparison = StudyFolder(folder).comparison
    assert comparison is not None
    assert comparison.full_steps == 3
    (confirmed,) = comparison.singles("separate", 3)
    assert StudyFolder(folder).baseline_measurements(confirmed).settings == (comparison.optimum,)


def test_separate_networks_can_learn_at_a_rate_of_their_own(
    compared: Compared, tmp_path: Path
) -> None:
    folder = tmp_path / "faster"
    shutil.copytree(compared[0], folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(f"{declared}learning_rate = 0.04\n", encoding="utf-8")
    result = run("compare", folder)
    assert result.exit_code == 0, result.output
    assert " 0 hypermorphs" in result.output.splitlines()[0]
    before, after = StudyFolder(compared[0]).comparison, StudyFolder(folder).comparison
    assert before is not None
    assert after is not None
    rates = {
        role: {one.learning_rate for one in after.baselines if one.role == role} for role in ROLES
    }
    assert rates == {"separate": {0.04}, "hypermorph": {0.02}}
    assert {one.learning_rate for one in before.baselines} == {0.02}
    for role, same in zip(ROLES, (False, True), strict=True):
        earlier, later = (
            {one.identity for one in they.baselines if one.role == role} for they in (before, after)
        )
        assert (earlier == later) is same
        assert same or not earlier & later


FEWER_SEEDS = ("seeds = 2\noptimum_seeds = 3", "seeds = 1\noptimum_seeds = 2")


def declare_rates(folder: Path, rates: str) -> None:
    """Declare learning rates of separate networks, and fewer seeds."""
    declared = DECLARATION.replace(*FEWER_SEEDS)
    text = f"{declared}learning_rate = {rates}\n"
    (folder / "study.toml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def at_best_rates(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the study, compared with separate networks at the better of two rates, and what was said."""
    folder = tmp_path_factory.mktemp("rates") / "study"
    shutil.copytree(searched, folder)
    declare_rates(folder, "[0.001, 0.04]")
    result = run("compare", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_each_setting_has_the_learning_rate_of_the_best_tune_dice(
    at_best_rates: tuple[Path, str], tmp_path: Path
) -> None:
    folder, said = at_best_rates
    comparison, study = StudyFolder(folder).comparison, read_study(folder)
    assert comparison is not None
    settings = sorted({*comparison.grid, comparison.optimum, comparison.default})
    further = len({comparison.optimum, comparison.default})
    assert said.splitlines()[0].startswith(
        f"Trainings: at most {2 * len(settings) + further} separate networks (2 steps; "
        f"{2 * len(settings)} of them to choose among the learning rates 0.001, 0.04) and "
    )
    assert ": at most about " in said.splitlines()[0]

    chosen = {}
    for index in settings:
        of_setting = [trial for trial in comparison.rate_trials if trial.setting == index]
        scores = {}
        for trial in of_setting:
            name = f"separate-2-steps-rate-{trial.learning_rate:g}-seed-0"
            of_setting_name = setting_name(study.space.setting(index))
            path = folder / "compare" / name / f"{of_setting_name}.safetensors"
            header = read_header(path, NETWORK_FORMAT)
            assert trial.tune_dice is not None
            assert trial.tune_dice == header["tune_dice"]
            scores[trial.learning_rate] = trial.tune_dice
        assert set(scores) == {0.001, 0.04}
        (chosen[index],) = [trial.learning_rate for trial in of_setting if trial.chosen]
        assert scores[chosen[index]] == max(scores.values())

    first, second, _ = (one for one in comparison.baselines if one.role == "separate")
    assert {index for part in first.at_rates for index in part.settings} == {*settings}
    assert first.networks == len(settings)
    cohort = prepare(study, folder)
    pairs = draw_pairs(cohort, study.pairs, "search")
    for seed, baseline in enumerate((first, second)):
        measurements = StudyFolder(folder).baseline_measurements(baseline)
        for part in baseline.at_rates:
            budget = with_budget(study, cohort, 2, seed, part.learning_rate)
            oracle = RetrainedOracle(budget, cohort, tmp_path / f"{seed}-{part.learning_rate}")
            assert oracle.identity == part.identity
            assert {chosen[index] for index in part.settings} == {part.learning_rate}
            index = part.settings[0]
            (block,) = oracle.measure([index], pairs, ["dice"])
            place = measurements.settings.index(index)
            np.testing.assert_allclose(
                measurements.values["dice"][place], block.values["dice"], atol=1e-6
            )


def test_a_comparison_at_chosen_rates_is_resumed_and_reported_from_committed_results(
    at_best_rates: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(at_best_rates[0], folder)
    comparison = StudyFolder(folder).comparison
    assert run("compare", folder).output.startswith("Trainings: 0 separate networks")
    assert StudyFolder(folder).comparison == comparison
    assert "Stale: 0 of" in run("ledger", folder).output
    assert run("report", folder, "--results").exit_code == 0
    clone = tmp_path / "clone"
    shutil.copytree(folder / "results", clone / "results")
    assert StudyFolder(clone).comparison == comparison
    assert comparison is not None
    for one in comparison.baselines:
        ours = StudyFolder(folder).baseline_measurements(one)
        theirs = StudyFolder(clone).baseline_measurements(one)
        assert ours.settings == theirs.settings
        np.testing.assert_allclose(ours.values["dice"], theirs.values["dice"], rtol=1e-6)


def test_a_rate_at_which_all_diverge_leaves_a_comparison_at_the_other_one(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(searched, folder)
    declare_rates(folder, "[0.01, 0.04]")

    def train(study: Study, *arguments: Any) -> Path:
        if study.training.learning_rate > 0.02:
            raise DivergedError("training", expected="a finite loss", got="nan", advice="Lower it.")
        return train_network(study, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmopt.oracle.baselines.train_network", train)
        result = run("compare", folder)
    assert result.exit_code == 0, result.output
    assert run("compare", folder).output.startswith("Trainings: 0 separate networks")
    several = StudyFolder(folder).comparison
    assert several is not None
    assert {trial.learning_rate for trial in several.rate_trials if trial.chosen} == {0.01}
    assert all(trial.diverged == (trial.learning_rate == 0.04) for trial in several.rate_trials)

    for one_rate in ("0.01", "[0.01]"):
        declare_rates(folder, one_rate)
        assert run("compare", folder).output.startswith("Trainings: 0 separate networks")
        alone = StudyFolder(folder).comparison
        assert alone is not None
        assert alone.rate_trials == ()
        assert [one.identities for one in alone.baselines] == [
            one.identities for one in several.baselines
        ]

    declare_rates(folder, "0.04")
    result = run("compare", folder)
    assert result.exit_code == 2
    assert "got 0.04, where training diverged. Declare a lower one." in result.output


def test_the_ledger_knows_who_was_compared(compared: Compared) -> None:
    said = run("ledger", compared[0]).output
    assert "separate-2-steps-seeds-0-1-2" in said
    assert "Stale: 0 of" in said


def test_committed_results_hold_the_comparison(compared: Compared, tmp_path: Path) -> None:
    folder = compared[0]
    assert run("report", folder, "--results").exit_code == 0
    clone = tmp_path / "clone"
    shutil.copytree(folder / "results", clone / "results")
    comparison = StudyFolder(clone).comparison
    assert comparison == StudyFolder(folder).comparison
    assert comparison is not None
    for one in comparison.baselines:
        ours, theirs = (
            StudyFolder(folder).baseline_measurements(one),
            StudyFolder(clone).baseline_measurements(one),
        )
        assert ours.settings == theirs.settings
        np.testing.assert_allclose(ours.values["dice"], theirs.values["dice"], rtol=1e-6)


def test_a_comparison_of_an_earlier_model_does_not_count(
    compared: Compared, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    shutil.copytree(compared[0], folder)
    content: dict[str, Any] = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    write_json(folder / "search.json", content | {"identity": "0" * 16})
    assert StudyFolder(folder).comparison is None


def test_what_was_not_trained_or_not_searched_is_refused(searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(searched, folder)
    pairs = pd.read_csv(folder / "pairs.csv", dtype=str)
    pairs.iloc[:-1].to_csv(folder / "pairs.csv", index=False)
    cases: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: None, "pairs.csv: expected the pairs that search.json is about, got others"),
        ((folder / "search.json").unlink, "Run `hmopt search` first"),
        ((folder / "model.safetensors").unlink, "Run `hmopt train` first"),
        ((folder / "study.toml").unlink, "Run `hmopt new` first"),
    )
    for spoil, message in cases:
        spoil()
        result = run("compare", folder)
        assert result.exit_code == 2
        assert message in result.output
        assert not (folder / "compare").exists()
