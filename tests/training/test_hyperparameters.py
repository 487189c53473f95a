"""A hypermorph of λ, β, s and an integer window: trained, resumed, responding to each, and compared at equal scales."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import LossOptions, Study, parse_study
from hmopt.errors import DeclarationError
from hmopt.losses import (
    bending_energy,
    local_cross_correlation,
    mean_squared_error,
    squared_gradient,
)
from hmopt.networks import load_hypermorph, read_header
from hmopt.space import Hyperparameter
from hmopt.spatial import warp
from hmopt.training import train
from hmopt.training.batches import load_images
from hmopt.training.identity import training_key
from hmopt.training.loss import (
    Loss,
    ScaleRatio,
    declared_loss,
    loss_scale,
    scale_ratios,
    study_scale,
    with_scales,
)
from hmopt.training.train import train_network

from .test_loss import PAIRS
from .test_train import Interrupted, assert_same_model, interrupting

HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "regularization": {"high": 0.9},
    "bending_share": {},
    "similarity_share": {},
    "window": {"high": 9},
}
STEPS = 300


def declare(**tables: dict[str, Any]) -> Study:
    """Return the declaration of a tiny training over four hyperparameters, with some keys changed."""
    values: dict[str, dict[str, Any]] = {
        "cohort": {"manifest": Path("cohort.csv")},
        "preprocessing": {"shape": [16, 16]},
        "split": {"train": 4, "tune": 2, "search": 2},
        "pairs": {"tune": 2},
        "network": {"encoder": [8, 8], "decoder": [8], "final": [], "stride": 1},
        "hypernetwork": {"widths": [16], "learning_rate_share": 0.5},
        "hyperparameters": HYPERPARAMETERS,
        "loss": {"window": 5, "second_similarity": "mse"},
        "training": {"steps": 8, "batch": 4, "learning_rate": 5e-3, "averaging": 0.9},
        "search": {"sampler": "TPESampler"},
    }
    changed = {name: {**values.get(name, {}), **options} for name, options in tables.items()}
    return parse_study({"name": "discs", **values, **changed})


def trained_over(cohort: PreparedCohort, folder: Path, **hyperparameters: dict[str, Any]) -> Path:
    """Train over some hyperparameters and return the model."""
    study = declare(training={"steps": STEPS, "checkpoint_every": STEPS, "threads": 1})
    tables = study.model_dump(exclude={"hyperparameters", "loss"}, exclude_unset=True)
    loss: dict[str, Any] = {"window": 5}
    if "similarity_share" in hyperparameters:
        loss["second_similarity"] = "mse"
    changed = {"hyperparameters": hyperparameters, "loss": loss}
    return train(parse_study({**tables, **changed}), cohort, folder)


@pytest.fixture(scope="module")
def trained(cohort: PreparedCohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return trained_over(cohort, folder, similarity_share={}, window={"high": 9})


def registered(
    path: Path, cohort: PreparedCohort, **setting: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what a model makes of all training pairs at a setting: velocity, moved and fixed images."""
    hypermorph, _ = load_hypermorph(path)
    moving = load_images(cohort, [pair.moving for pair in PAIRS])
    fixed = load_images(cohort, [pair.fixed for pair in PAIRS])
    with torch.inference_mode():
        velocity = hypermorph(moving, fixed, setting)
        moved = warp(moving, hypermorph.registration.displacement(velocity))
    return velocity, moved, fixed


def test_a_trained_model_lowers_the_similarity_loss_of_its_window(
    trained: Path, cohort: PreparedCohort
) -> None:
    losses = {}
    for window in (3, 9):
        _, moved, fixed = registered(trained, cohort, similarity_share=0.0, window=window)
        measured = [local_cross_correlation(moved, fixed, width) for width in (3, 9)]
        losses[window] = [float(loss) for loss in measured]
    narrow, wide = losses[3], losses[9]
    assert narrow[0] < 0.97 * wide[0]
    assert wide[1] < 0.97 * narrow[1]


def test_a_trained_model_lowers_the_similarity_loss_with_the_larger_share(
    trained: Path, cohort: PreparedCohort
) -> None:
    errors = []
    correlations = []
    for share in (0.0, 1.0):
        _, moved, fixed = registered(trained, cohort, similarity_share=share, window=3)
        errors.append(float(mean_squared_error(moved, fixed)))
        correlations.append(float(local_cross_correlation(moved, fixed, 3)))
    assert errors[1] < 0.9 * errors[0]
    assert correlations[0] < 0.97 * correlations[1]


def test_a_trained_model_bends_less_at_a_larger_bending_share(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    """Relative to its slopes, as a smaller field has less of both."""
    regularization = {"low": 0.5, "high": 0.9}
    path = trained_over(cohort, tmp_path, regularization=regularization, bending_share={})
    ratios = []
    for share in (0.0, 1.0):
        velocity, *_ = registered(path, cohort, regularization=0.9, bending_share=share)
        ratio = bending_energy(velocity) / squared_gradient(velocity)
        ratios.append(float(ratio))
    assert ratios[1] < 0.95 * ratios[0]


def test_every_value_of_an_integer_is_trained_on_and_logged(trained: Path) -> None:
    log = pd.read_csv(trained.with_name("training.csv"))
    assert set(log["setting_window"]) == {3, 5, 7, 9}
    assert log["setting_similarity_share"].between(0, 1).all()
    assert (log["similarity_share_term"] >= 0).all()
    assert "window_term" not in log.columns


def test_the_header_keeps_scales_and_the_type_of_an_integer(
    trained: Path, cohort: PreparedCohort
) -> None:
    header = read_header(trained)
    window = header["architecture"]["hyperparameters"]["window"]
    assert (window["type"], window["low"], window["high"], window["step"]) == ("integer", 3, 9, 2)
    loss = header["loss"]
    study = declare()
    assert loss["scale"] == study_scale(study, cohort)
    second = LossOptions(similarity="mse")
    assert loss["second_scale"] == loss_scale(cohort, PAIRS, second, seed=0)
    values, ratios = loss["ratios"]["window"]
    assert values == [3, 5, 7, 9]
    assert ratios[1] == 1


def test_a_training_that_was_interrupted_ends_in_the_same_bytes(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    study = declare(training={"checkpoint_every": 2})
    whole = train(study, cohort, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(study, cohort, tmp_path / "parts", interrupting(5))
    parts = train(study, cohort, tmp_path / "parts")
    assert_same_model(parts, whole)


@pytest.mark.parametrize("window", [3, 9])
def test_the_scale_at_a_window_is_that_of_a_study_with_this_window(
    cohort: PreparedCohort, window: int
) -> None:
    """All twelve pairs are looked at for both, so that the two estimates are of the same pairs."""
    study = declare()
    loss = declared_loss(study, cohort, study_scale(study, cohort))
    declared = study_scale(declare(loss={"window": window}), cohort)
    setting = {**study.space.default, "window": window}
    assert loss.scale_at(setting) == pytest.approx(declared, rel=1e-5)


def test_of_two_similarities_only_that_with_a_window_has_a_ratio(cohort: PreparedCohort) -> None:
    swapped = declare(loss={"similarity": "mse", "second_similarity": "lncc"})
    loss = declared_loss(swapped, cohort, 1.0)
    assert loss.ratios == ()
    (ratio,) = loss.second_ratios
    assert ratio.hyperparameter.name == "window"
    narrow = loss_scale(cohort, PAIRS, LossOptions(window=3), seed=0)
    assert loss.second_scale * ratio.at(3) == pytest.approx(narrow, rel=1e-5)


def test_ratios_between_values_are_linear_along_the_logarithm_of_a_log_uniform_range() -> None:
    width = Hyperparameter(name="width", low=0.01, high=1.0, prior="log-uniform", default=0.1)
    ratio = ScaleRatio(hyperparameter=width, values=(0.01, 1.0), ratios=(2.0, 4.0))
    assert ratio.at(0.1) == pytest.approx(3.0)
    loss = Loss(options=LossOptions(), scale=5.0, overlap_labels=(), spacing=None, ratios=(ratio,))
    assert loss.scale_at({"width": 0.1}) == pytest.approx(15.0)


def test_a_study_without_parameters_of_its_similarity_has_no_ratio(cohort: PreparedCohort) -> None:
    study = declare()
    assert len(scale_ratios(study, cohort)) == 1
    without = {name: one for name, one in study.hyperparameters.items() if name != "window"}
    assert scale_ratios(study.model_copy(update={"hyperparameters": without}), cohort) == ()


def test_a_window_that_no_similarity_takes_is_refused(cohort: PreparedCohort) -> None:
    loss = {"similarity": "mse", "second_similarity": "mutual_information"}
    with pytest.raises(
        DeclarationError,
        match=r"^hyperparameters\.window: expected a loss with a function that takes it, got ",
    ):
        declared_loss(declare(loss=loss), cohort, 1.0)


def test_both_scales_stay_those_of_the_study_whatever_the_seed(cohort: PreparedCohort) -> None:
    scaled = with_scales(declare(), cohort)
    again = declare(training={"seed": 3})
    again = again.model_copy(update={"loss": scaled.loss})
    assert with_scales(again, cohort).loss == scaled.loss
    assert scaled.loss.second_scale is not None


def test_a_separate_network_is_trained_at_a_window(cohort: PreparedCohort, tmp_path: Path) -> None:
    study = declare(training={"steps": 4})
    setting = {**study.space.default, "window": 3}
    path = train_network(study, cohort, setting, tmp_path / "separate.safetensors")
    assert read_header(path, "hmopt-registration-network-1")["setting"]["window"] == 3


def test_the_step_of_an_integer_decides_the_training_and_that_of_a_float_does_not(
    cohort: PreparedCohort,
) -> None:
    def key(**changed: dict[str, Any]) -> str:
        return training_key(declare(hyperparameters=changed), cohort)

    assert key() == key(bending_share={"step": 0.05}, window={"high": 9, "default": 5})
    assert key() != key(window={"high": 9, "low": 5, "step": 4, "default": 9})
    stepped = {"high": 11, "default": 3}
    assert key(window=stepped) != key(window={**stepped, "step": 4})
