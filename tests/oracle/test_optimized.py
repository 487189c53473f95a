from pathlib import Path

import numpy as np
import pytest

import hmopt
from hmopt.catalogue.metrics import LOSS
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import parse_study
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.ledger.measurements import Measurements
from hmopt.oracle import (
    OptimizedOracle,
    UnregisteredOracle,
    load_oracle,
    open_oracle,
    open_registrar,
)
from hmopt.study_folder import StudyFolder

VALUES = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [32, 32]},
    "split": {"train": 0, "tune": 0, "search": 4},
    "model": {"source": "optimize"},
    "refine": {"iterations": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four subjects without training, searched."""
    parent = tmp_path_factory.mktemp("optimized")
    manifest = make_cohort(parent / "data", subjects=4, shape=(24, 24))
    folder = parent / "study"
    made = hmopt.new(
        folder, manifest=manifest, label_names=parent / "data" / "dseg.tsv", training=False
    )
    assert made.study.model.source == "optimize"
    assert made.subjects == {"train": 0, "tune": 0, "search": 4}
    assert made.estimate.training_s == 0
    text = (folder / "study.toml").read_text(encoding="utf-8")
    text = text.replace("iterations = 20", "iterations = 3").replace("coarse = 10", "coarse = 4")
    text = text.replace("search = 90", "search = 6").replace("refinements = 5", "refinements = 1")
    text = text.replace('"dice_nearest",', '"loss",')
    (folder / "study.toml").write_text(text, encoding="utf-8")
    hmopt.search(folder, device="cpu")
    return folder


def scores(measurements: Measurements) -> np.ndarray:
    """Mean Dice of each setting."""
    means: np.ndarray = np.nanmean(measurements.values["dice"], axis=(1, 2))
    return means


def test_a_study_without_training_is_searched_and_reported(folder: Path) -> None:
    files = StudyFolder(folder)
    found = files.measurements()
    before = scores(files.measurements("unregistered"))[0]
    dice = dict(zip(found.settings, scores(found), strict=True))
    assert max(dice.values()) > before + 0.02
    assert dice[200,] == pytest.approx(before, abs=1e-3)  # λ = 1: nothing moves
    assert np.isfinite(found.values[LOSS]).all()
    assert not (folder / "model.safetensors").exists()
    files.check_together()
    hmopt.report(folder)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "each pair was registered by minimizing its loss" in page
    assert "Up to 3 iterations of L-BFGS at each of ten evenly spaced values of λ" in page


def test_what_a_declaration_writes_is_what_matters(folder: Path) -> None:
    text = (folder / "study.toml").read_text(encoding="utf-8")
    for key in ("[loss]", "[network]", "stride =", "integration_steps =", "[refine]"):
        assert key in text
    for key in ("[training]", "[hypernetwork]", "encoder =", "[compare]"):
        assert key not in text


def test_values_do_not_depend_on_batches_or_on_what_else_is_measured(folder: Path) -> None:
    study = StudyFolder(folder).study
    cohort = prepare(study, folder)
    recorded, pairs = open_oracle(folder)
    (first, *_) = recorded.measure([(60,)], pairs, ["dice", LOSS])
    alone = OptimizedOracle(study, cohort, batch=1)
    assert alone.identity == recorded.identity
    for block in alone.measure([(60,)], pairs[::-1], ["dice", LOSS]):
        if block.pairs[0] in first.pairs:
            row = first.pairs.index(block.pairs[0])
            for name in ("dice", LOSS):
                np.testing.assert_allclose(
                    block.values[name][0], first.values[name][row], atol=1e-4
                )


def test_the_scale_does_not_depend_on_how_many_pairs_are_searched(folder: Path) -> None:
    study = StudyFolder(folder).study
    cohort = prepare(study, folder)
    fewer = study.model_copy(update={"pairs": study.pairs.model_copy(update={"search": 2})})
    one, other = OptimizedOracle(study, cohort), OptimizedOracle(fewer, cohort)
    assert one.facts.loss_scale == other.facts.loss_scale
    assert one.identity == other.identity


def test_files_are_registered_and_iterations_can_be_asked_for(folder: Path) -> None:
    data = folder.parent / "data" / "images"
    pair = (data / "sub-001_ses-1_T1w.nii.gz", data / "sub-002_ses-1_T1w.nii.gz")
    setting = {"regularization": 0.3}
    found = {}
    for iterations in (None, 3, 6):
        registered = hmopt.register(folder, *pair, setting=setting, refine=iterations, device="cpu")
        found[iterations] = np.asarray(registered.displacement_image.dataobj)
    np.testing.assert_array_equal(found[None], found[3])
    assert np.abs(found[6] - found[3]).max() > 1e-3
    # at λ* of the cohort
    assert hmopt.register(folder, *pair, device="cpu").setting
    with pytest.raises(DeclarationError, match=r"refine.iterations: expected at least 1 .* got 0"):
        hmopt.register(folder, *pair, setting=setting, refine=0, device="cpu")


def test_a_prepared_pair_is_registered_as_the_oracle_does(folder: Path) -> None:
    study = StudyFolder(folder).study
    cohort = prepare(study, folder)
    oracle = load_oracle(folder, study, cohort)
    still = UnregisteredOracle(cohort)
    _, pairs = open_oracle(folder)
    assert isinstance(oracle, OptimizedOracle)
    first = oracle.displacement((60,), pairs[0])
    assert first.shape == still.displacement((), pairs[0]).shape
    again = OptimizedOracle(study, cohort).displacement((60,), pairs[0])
    np.testing.assert_array_equal(first.numpy(), again.numpy())


def test_there_is_no_model_to_bake_or_to_train(folder: Path, tmp_path: Path) -> None:
    assert "Nothing to train" in str(hmopt.train(folder))
    with pytest.raises(CheckpointError, match=r"model.source: expected a network in a file"):
        hmopt.bake(
            folder,
            format="safetensors",
            output=tmp_path / "x.safetensors",
            setting={"regularization": 0.3},
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refine": {}}, r"refine.iterations: expected at least 1 .* got 0"),
        (
            {"hyperparameters": {"regularization": {}, "label_weight": {}}},
            r"hyperparameters.label_weight: expected none whose term needs labels",
        ),
        ({"network": {"callable": "n.py:make"}}, "network.callable: expected none"),
        ({"model": {"source": "optimize", "path": "x"}}, "no path with source"),
        (
            {
                "hyperparameters": {
                    "regularization": {},
                    "window": {"low": 3, "high": 9, "step": 2, "default": 5},
                }
            },
            "hyperparameters.window: expected one that leaves the similarity as it is, without a trained",
        ),
    ],
)
def test_what_needs_a_model_is_refused(changes: dict[str, object], message: str) -> None:
    assert parse_study(VALUES).model.source == "optimize"
    with pytest.raises(DeclarationError, match=message):
        parse_study({**VALUES, **changes})


def test_no_training_is_refused_beside_a_model(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="--no-training: expected neither --model nor"):
        hmopt.new(tmp_path / "s", manifest=tmp_path / "cohort.csv", engine="ants", training=False)


def test_a_value_between_two_of_the_lattice_is_registered_at_that_value(folder: Path) -> None:
    """A step of 0.005 is fine: 0.3333 lies between two values."""
    images = sorted((folder.parent / "data" / "images").glob("*T1w*"))[:2]

    def moved(value: float) -> np.ndarray:
        found = hmopt.register(folder, *images, setting={"regularization": value}, device="cpu")
        return np.asarray(found.displacement_image.dataobj)

    between, below, above = (moved(value) for value in (0.3333, 0.33, 0.335))
    assert not np.array_equal(between, above)
    assert not np.array_equal(between, below)


def test_a_value_outside_the_range_is_refused_by_the_model_itself(folder: Path) -> None:
    model = open_registrar(folder).model
    image = np.zeros((32, 32), np.float32)
    with pytest.raises(DeclarationError, match="regularization: expected"):
        model.displacement(image, image, {"regularization": 1.5})
