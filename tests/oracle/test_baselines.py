"""Networks trained for one setting each, as an oracle, and ensembles of several."""

from pathlib import Path

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
from hmopt.errors import DeclarationError
from hmopt.ledger import Ledger, Recorded
from hmopt.metrics import measure
from hmopt.networks import architecture, build_hypermorph, load_network
from hmopt.oracle import AmortizedOracle, EnsembleOracle, RetrainedOracle
from hmopt.oracle.registered import CohortTensors
from hmopt.records import Pair
from hmopt.search.objective import Objective
from hmopt.spatial import velocity_to_displacement
from hmopt.training.train import train_network, with_budget

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
        torch.nn.init.normal_(model.hypernetwork.heads.weight, std=0.1)
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
