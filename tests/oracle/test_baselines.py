"""Networks trained for one setting each, as an oracle, and ensembles of several."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor

from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import Study, parse_study
from hmopt.errors import CheckpointError, DataError, DeclarationError, DivergedError
from hmopt.files import read_json, write_json
from hmopt.ledger import Ledger, Recorded
from hmopt.metrics import measure
from hmopt.networks import (
    architecture,
    build_hypermorph,
    load_network,
    save_hypermorph,
    save_network,
)
from hmopt.oracle import AmortizedOracle, BaselineOracles, EnsembleOracle, RetrainedOracle
from hmopt.oracle.baselines import NetworkTraining
from hmopt.oracle.registered import CohortTensors
from hmopt.records import Pair
from hmopt.search.objective import Objective
from hmopt.spatial import velocity_to_displacement
from hmopt.training.loop import tune_dice
from hmopt.training.train import setting_key, train_network, with_budget

STEPS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, PreparedCohort]:
    folder = tmp_path_factory.mktemp("made")
    manifest = make_cohort(folder / "data", subjects=6, shape=(24, 24))
    values = {
        "name": "tiny",
        "cohort": {"manifest": manifest, "label_names": folder / "data" / "dseg.tsv"},
        "preprocessing": {"shape": [24, 24]},
        "split": {"train": 2, "tune": 2, "search": 2},
        "pairs": {"tune": 1, "search": 4},
        "network": {"encoder": [4, 4], "decoder": [4], "final": [], "integration_steps": 3},
        "hypernetwork": {"widths": [4]},
        "training": {"steps": 8, "batch": 1, "learning_rate": 0.05, "averaging": 0.0},
    }
    study = parse_study(values)
    return study, prepare(study, folder)


@pytest.fixture
def study(made: tuple[Study, PreparedCohort]) -> Study:
    return with_budget(*made, steps=STEPS, seed=0)


@pytest.fixture
def images(made: tuple[Study, PreparedCohort]) -> PreparedCohort:
    return made[1]


@pytest.fixture
def searched(study: Study, images: PreparedCohort) -> list[Pair]:
    return draw_pairs(images, study.pairs, "search")


def members(
    study: Study, images: PreparedCohort, folder: Path, seeds: int
) -> list[RetrainedOracle]:
    budgets = [with_budget(study, images, steps=STEPS, seed=seed) for seed in range(seeds)]
    return [
        RetrainedOracle(budget, images, folder / str(seed)) for seed, budget in enumerate(budgets)
    ]


def velocities(folder: Path, images: PreparedCohort, pair: Pair, seeds: int) -> list[Tensor]:
    networks = [
        load_network(folder / str(seed) / "regularization-0.35.safetensors")[0]
        for seed in range(seeds)
    ]
    moving, fixed = (
        torch.from_numpy(images.image(name))[None, None].float()
        for name in (pair.moving, pair.fixed)
    )
    with torch.inference_mode():
        return [network(moving, fixed) for network in networks]


def test_identity_is_known_before_any_training_and_tells_seeds_and_budgets_apart(
    made: tuple[Study, PreparedCohort], images: PreparedCohort, tmp_path: Path
) -> None:
    budgets = [(3, 0), (3, 1), (4, 0)]
    oracles = [
        RetrainedOracle(with_budget(*made, steps=n, seed=s), images, tmp_path) for n, s in budgets
    ]
    again = RetrainedOracle(with_budget(*made, steps=3, seed=0), images, tmp_path / "elsewhere")
    assert len({oracle.identity for oracle in oracles}) == 3
    assert again.identity == oracles[0].identity
    assert not list(tmp_path.iterdir())


def test_a_setting_is_measured_with_the_network_that_training_gives_and_keeps(
    study: Study, images: PreparedCohort, searched: list[Pair], tmp_path: Path
) -> None:
    oracle = RetrainedOracle(study, images, tmp_path / "oracle")
    (block,) = oracle.measure([(70,)], searched, ["dice", "folding"])
    network, _ = load_network(
        train_network(study, images, {"regularization": 0.35}, tmp_path / "own.safetensors")
    )
    ((_, originals),) = CohortTensors(images, torch.device("cpu")).batches(searched, len(searched))
    with torch.inference_mode():
        displacement = network.displacement(network(originals.moving, originals.fixed))
    assert float(displacement.abs().max()) > 0.05
    expected = measure(["dice", "folding"], originals, displacement)
    for metric, values in block.values.items():
        np.testing.assert_allclose(values, expected[metric], atol=1e-6)
    kept = tmp_path / "oracle" / "regularization-0.35.safetensors"
    before = kept.stat().st_mtime_ns
    again = RetrainedOracle(study, images, tmp_path / "oracle")
    (same,) = again.measure([(70,)], searched, ["dice"])
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(same.values["dice"], block.values["dice"])
    assert again.missing([(70,), (80,)]) == [(80,)]


def test_one_pair_can_be_the_first_thing_asked_for(
    study: Study, images: PreparedCohort, searched: list[Pair], tmp_path: Path
) -> None:
    oracle = RetrainedOracle(study, images, tmp_path)
    assert oracle.displacement((70,), searched[0]).shape == (2, 24, 24)


def test_a_study_runs_on_it_and_its_ledger_spares_a_second_training(
    study: Study, images: PreparedCohort, searched: list[Pair], tmp_path: Path
) -> None:
    space = {"regularization": [0.0, 0.5]}
    values = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        oracle = Recorded(RetrainedOracle(study, images, folder), Ledger(tmp_path / "ledger"))
        optuna_study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.GridSampler(space, seed=0)
        )
        optuna_study.optimize(Objective(oracle, searched), n_trials=2)
        values.append(
            sorted((trial.params["regularization"], trial.value) for trial in optuna_study.trials)
        )
    assert values[0] == values[1]
    assert len(list((tmp_path / "first").glob("*.safetensors"))) == 2
    assert not (tmp_path / "second").exists()


def test_ensemble_of_one_is_that_one(
    study: Study, images: PreparedCohort, searched: list[Pair], tmp_path: Path
) -> None:
    (member,) = members(study, images, tmp_path, 1)
    one, alone = (
        next(o.measure([(70,)], searched, ["dice"])) for o in (EnsembleOracle([member]), member)
    )
    np.testing.assert_array_equal(one.values["dice"], alone.values["dice"])


def test_ensemble_integrates_the_mean_of_its_members_velocities(
    study: Study, images: PreparedCohort, searched: list[Pair], tmp_path: Path
) -> None:
    one, other = members(study, images, tmp_path, 2)
    pair = searched[0]
    got = EnsembleOracle([one, other]).displacement((70,), pair)
    first, second = velocities(tmp_path, images, pair, 2)
    expected = velocity_to_displacement((first + second) / 2, 3, 2)[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    apart = (one.displacement((70,), pair) + other.displacement((70,), pair)) / 2
    assert not torch.allclose(got, apart, atol=1e-4)


def test_ensemble_goes_by_its_members_in_any_order(
    study: Study, images: PreparedCohort, tmp_path: Path
) -> None:
    one, other = members(study, images, tmp_path, 2)
    assert EnsembleOracle([one, other]).identity == EnsembleOracle([other, one]).identity
    assert EnsembleOracle([one, other]).identity != EnsembleOracle([one]).identity != one.identity


def test_hypermorphs_make_an_ensemble_too(
    study: Study, images: PreparedCohort, searched: list[Pair]
) -> None:
    oracles = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = build_hypermorph(architecture(study, images.shape))
        torch.nn.init.normal_(model.hypernetwork.heads.transposed, std=0.1)
        oracles.append(AmortizedOracle(model, images))
    values = [
        next(o.measure([(70,)], searched, ["dice"])).values["dice"]
        for o in (*oracles, EnsembleOracle(oracles))
    ]
    assert not np.allclose(values[0], values[1])
    assert not np.allclose(values[2], values[0])


def test_ensemble_of_nobody_or_of_different_spaces_is_refused(
    study: Study, images: PreparedCohort, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match=r"^members: expected at least one, got none"):
        EnsembleOracle([])
    narrow = study.hyperparameters["regularization"].model_copy(update={"high": 0.5})
    other = study.model_copy(update={"hyperparameters": {"regularization": narrow}})
    oracles = [RetrainedOracle(one, images, tmp_path) for one in (study, other)]
    with pytest.raises(DeclarationError, match=r"^members: expected the same space, got 2"):
        EnsembleOracle(oracles)


# --- the learning rate of separate networks

INDEX = (70,)
PLACE = "regularization-0.35"


@pytest.fixture
def oracles(
    made: tuple[Study, PreparedCohort], tmp_path: Path
) -> Callable[[float | list[float] | None], BaselineOracles]:
    """Open the baselines of a folder, with `compare.learning_rate` as it is given."""
    study, cohort = made

    def build(rates: float | list[float] | None) -> BaselineOracles:
        compare = study.compare.model_copy(
            update={"learning_rate": rates, "seeds": 2, "optimum_seeds": 2}
        )
        declared = study.model_copy(update={"compare": compare})
        return BaselineOracles(tmp_path, declared, cohort)

    return build


Open = Callable[[float | list[float] | None], BaselineOracles]


def training(rate: float | None, seed: int = 0) -> NetworkTraining:
    return NetworkTraining(steps=STEPS, seed=seed, setting=INDEX, learning_rate=rate)


def put(
    oracles: BaselineOracles, made: tuple[Study, PreparedCohort], rate: float, **header: object
) -> Path:
    """Write a network of the first seed as training would, with other facts in its header."""
    study, cohort = made
    path = oracles.separate(STEPS, 0, rate).path(INDEX)
    budget = with_budget(study, cohort, STEPS, 0, rate)
    key = setting_key(budget, cohort, {"regularization": 0.35})
    facts = {"training_key": key, "steps": STEPS, "minutes": 2.0, **header}
    built_as = architecture(study, cohort.shape)
    network = build_hypermorph(built_as).registration
    save_network(path, network.state_dict(), {"architecture": built_as, **facts})
    return path


@contextmanager
def diverging_above(limit: float) -> Iterator[None]:
    """Let trainings at a higher rate diverge."""

    def train(study: Study, *arguments: Any) -> Path:
        if study.training.learning_rate > limit:
            raise DivergedError("training", expected="a finite loss", got="nan", advice="Lower it.")
        return train_network(study, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmopt.oracle.baselines.train_network", train)
        yield


def test_a_list_of_one_rate_is_that_rate(oracles: Open) -> None:
    alone, number = oracles([0.02]), oracles(0.02)
    assert alone.untried_rates(STEPS, INDEX) == []
    assert alone.rate_trials(STEPS, INDEX) == []
    assert alone.best_rate(STEPS, INDEX) == number.best_rate(STEPS, INDEX) == 0.02
    one, other = alone.separate(STEPS, 1, 0.02), number.separate(STEPS, 1, 0.02)
    assert (one.identity, one.path(INDEX)) == (other.identity, other.path(INDEX))


def test_the_rate_of_a_setting_is_that_of_the_best_tune_dice(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    several = oracles([0.03, 0.01, 0.02])
    assert several.untried_rates(STEPS, INDEX) == [0.01, 0.02, 0.03]
    for rate, dice in ((0.01, 0.61), (0.02, 0.63), (0.03, 0.62)):
        put(several, made, rate, tune_dice=dice)
    assert several.untried_rates(STEPS, INDEX) == []
    assert several.best_rate(STEPS, INDEX) == 0.02
    trials = several.rate_trials(STEPS, INDEX)
    assert [(one.learning_rate, one.tune_dice, one.chosen) for one in trials] == [
        (0.01, 0.61, False),
        (0.02, 0.63, True),
        (0.03, 0.62, False),
    ]
    assert {(one.minutes, one.steps_done) for one in trials} == {(2.0, STEPS)}
    put(several, made, 0.01, tune_dice=0.63)
    assert several.best_rate(STEPS, INDEX) == 0.01  # of equals, the lowest


def test_a_trained_network_tells_the_tune_dice_of_its_weights(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    study, cohort = made
    several = oracles([0.01, 0.02])
    several.train(training(0.01))
    oracle = several.separate(STEPS, 0, 0.01)
    network, header = load_network(oracle.path(INDEX))
    pairs = draw_pairs(cohort, study.pairs, "tune")
    expected = tune_dice(network, cohort, pairs, study.training.batch)
    assert header["tune_dice"] == pytest.approx(expected, abs=1e-6)
    assert oracle.tune_dice(INDEX) == header["tune_dice"]
    assert several.untried_rates(STEPS, INDEX) == [0.02]


def test_a_network_without_tune_dice_is_refused_only_where_rates_are_compared(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    several = oracles([0.01, 0.02])
    put(several, made, 0.01)
    put(several, made, 0.02, tune_dice=0.6)
    with pytest.raises(CheckpointError, match=r"rate-0\.01-seed-0.*move it away and run"):
        several.best_rate(STEPS, INDEX)
    assert oracles(0.01).best_rate(STEPS, INDEX) == 0.01


def test_a_network_of_another_declaration_does_not_choose(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    several = oracles([0.01, 0.02])
    put(several, made, 0.01, tune_dice=0.6, training_key="0f")
    put(several, made, 0.02, tune_dice=0.5)
    with pytest.raises(CheckpointError, match="expected a model of this declaration"):
        several.best_rate(STEPS, INDEX)


def test_models_of_another_declaration_are_found_before_anything_is_trained(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    single = oracles(0.01)
    put(single, made, 0.01, tune_dice=0.6, training_key="0f")
    with pytest.raises(CheckpointError, match="expected a model of this declaration"):
        single.separate(STEPS, 0, 0.01).missing([INDEX])
    study, cohort = made
    path = single.hypermorph_path(STEPS, 1)
    assert not single.has_hypermorph(STEPS, 1)
    model = build_hypermorph(architecture(study, cohort.shape))
    header = {"architecture": architecture(study, cohort.shape), "training_key": "0f"}
    save_hypermorph(path, model.hypernetwork.state_dict(), header)
    with pytest.raises(CheckpointError, match="expected a model of this declaration"):
        single.has_hypermorph(STEPS, 1)


def test_a_training_that_diverged_is_recorded_and_not_tried_again(
    oracles: Open, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # no Dice reaches that: each training diverges at its first checkpoint
        patch.setattr("hmopt.training.loop.DIVERGED", 1e6)
        oracles([0.01, 0.02]).train(training(0.02))
    again = oracles([0.01, 0.02])
    assert again.untried_rates(STEPS, INDEX) == [0.01]
    record = again.separate(STEPS, 0, 0.02).divergence(INDEX)
    assert record is not None
    assert record.steps == STEPS  # the first checkpoint is the last step
    assert "expected a Dice on pairs to tune on above" in record.reason
    # but for a lock
    left = sorted(path.name for path in (tmp_path / "compare").rglob("[!.]*") if path.is_file())
    assert left == [f"{PLACE}-diverged.json", f"{PLACE}-times.csv", f"{PLACE}.csv"]
    again.train(training(0.01))
    assert again.best_rate(STEPS, INDEX) == 0.01
    trials = again.rate_trials(STEPS, INDEX)
    assert [(one.diverged, one.chosen) for one in trials] == [(False, True), (True, False)]
    assert trials[1].tune_dice is None


def test_a_record_of_another_training_does_not_count_and_a_damaged_one_is_refused(
    oracles: Open,
) -> None:
    several = oracles([0.01, 0.02])
    with diverging_above(0.015):
        several.train(training(0.02))
    path = several.separate(STEPS, 0, 0.02).divergence_path(INDEX)
    content = read_json(path, error=CheckpointError, what="a record", advice="None.")
    write_json(path, content | {"training_key": "0f"})
    assert several.untried_rates(STEPS, INDEX) == [0.01, 0.02]
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"-diverged\.json: .*Delete the file"):
        several.untried_rates(STEPS, INDEX)


def test_where_every_rate_diverged_setting_and_rates_are_named(oracles: Open) -> None:
    several = oracles([0.02, 0.01])
    message = (
        r"^compare\.learning_rate: expected a rate at which networks for regularization = 0\.35 can be "
        r"trained, got 0\.01, 0\.02, where training diverged\. Declare a lower one\."
    )
    with diverging_above(0.0):
        several.train(training(0.02))
        with pytest.raises(DataError, match=message):
            several.train(training(0.01))
    with pytest.raises(DataError, match=message):  # resumed: nothing is trained first
        oracles([0.02, 0.01]).untried_rates(STEPS, INDEX)
    with pytest.raises(DataError, match=r"got 0\.02, where"):
        oracles(0.02).best_rate(STEPS, INDEX)


def test_a_further_seed_that_diverges_takes_the_rate_from_all(
    oracles: Open, made: tuple[Study, PreparedCohort]
) -> None:
    several = oracles([0.01, 0.02])
    put(several, made, 0.01, tune_dice=0.5)
    put(several, made, 0.02, tune_dice=0.6)
    assert several.best_rate(STEPS, INDEX) == 0.02
    with diverging_above(0.015):
        several.train(training(0.02, seed=1))
    assert several.best_rate(STEPS, INDEX) == 0.01
    chosen = {one.learning_rate: one.chosen for one in several.rate_trials(STEPS, INDEX)}
    assert chosen == {0.01: True, 0.02: False}
