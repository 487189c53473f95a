"""Refinement that ends with a velocity on the grid of the images."""

import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hmopt
from hmopt.catalogue.metrics import LOSS
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import LossOptions, NetworkOptions, RefineOptions, read_study
from hmopt.errors import DeclarationError
from hmopt.interop.velocity_model import VelocityModel
from hmopt.ledger.gap import GapRecord, Stage, write_gap
from hmopt.losses import bending_energy, squared_gradient
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.oracle import (
    AmortizedOracle,
    EnsembleOracle,
    RefinedOracle,
    TrainingFacts,
    load_oracle,
    open_oracle,
    open_registrar,
    refine,
)
from hmopt.records import Pair
from hmopt.spatial import identity_grid, refine_displacement, velocity_to_displacement, warp
from hmopt.study_folder import StudyFolder
from hmopt.training import refinement
from hmopt.training.refinement import PairLoss, Refinement, minimize
from tests.training.made_up_images import blobs

MakeModel = Callable[..., Hypermorph]
SETTING = {"regularization": 0.2}
FACTS = TrainingFacts(loss={"similarity": "mse"}, loss_scale=8.0, steps=10)


def network() -> RegistrationNetwork:
    options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[], stride=2)
    return RegistrationNetwork(options, (32, 32))


def integrate(velocity: Tensor, stride: int) -> Tensor:
    return velocity_to_displacement(velocity, steps=3, stride=stride)


def refined(iterations: int, full_resolution_iterations: int, rows: slice = slice(None)) -> Tensor:
    moving, fixed = (images[rows] for images in blobs((16, 16), count=2))
    to_minimum = Refinement(
        loss=PairLoss(options=LossOptions(similarity="mse"), scale=10.0, spacing=None),
        iterations=iterations,
        full_resolution_iterations=full_resolution_iterations,
    )
    start = torch.zeros(len(moving), 2, 8, 8)
    return to_minimum.refined(start, moving, fixed, SETTING, integrate).fields


def own_losses(velocity: Tensor) -> Tensor:
    """The losses of velocities on the grid of the images, (2,)."""
    moving, fixed = blobs((16, 16), count=2)
    residual = warp(moving, integrate(velocity, 1)) - fixed
    similarities = residual.square().flatten(1).mean(1)
    slopes = [velocity.diff(dim=axis).square().flatten(1).mean(1) for axis in (2, 3)]
    return 0.8 * 10 * similarities + 0.2 * (slopes[0] + slopes[1]) / 2


def test_it_minimizes_the_loss_of_the_finer_grid_from_where_the_coarse_one_ended() -> None:
    start = refine_displacement(refined(6, 0), 2)

    def evaluate(trial: Tensor, rows: object) -> tuple[Tensor, Tensor]:
        wanted = trial.detach().requires_grad_()
        losses = own_losses(wanted)
        (gradient,) = torch.autograd.grad(losses.sum(), wanted)
        return losses.detach(), gradient

    expected = minimize(evaluate, start, 4).fields
    found = refined(6, 4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (own_losses(found) < own_losses(start)).all()


@pytest.mark.parametrize("together", [1, 2])
def test_a_pair_does_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(refinement, "VOXELS_ON_CPU", together * 16 * 16)
    both = refined(4, 4)
    for row in range(2):
        alone = refined(4, 4, slice(row, row + 1))
        torch.testing.assert_close(both[row : row + 1], alone)


def test_the_squared_gradient_of_a_finer_velocity_is_the_same_and_bending_a_quarter() -> None:
    x = identity_grid((16, 16))
    coarse = 0.01 * x.square()
    fine = 0.01 * (identity_grid((32, 32)) / 2).square() * 2
    torch.testing.assert_close(bending_energy(fine), bending_energy(coarse) / 4)
    # of a linear velocity, whose slopes are the same everywhere
    coarse_slope, fine_slope = 0.1 * x, 0.1 * identity_grid((32, 32)) / 2 * 2
    torch.testing.assert_close(squared_gradient(fine_slope), squared_gradient(coarse_slope))


def test_finer_velocities_have_the_flow_of_coarse_ones() -> None:
    # a linear velocity A x, whose flow is exp(A) x; coarse voxels are centred between two fine ones
    slopes = torch.tensor([[0.1, -0.2], [0.15, -0.05]])
    coarse_places = 2 * identity_grid((16, 16)) + 0.5 - 15.5
    fine_places = identity_grid((32, 32)) - 15.5
    expected = torch.einsum("ij,njxy->nixy", torch.matrix_exp(slopes) - torch.eye(2), fine_places)
    inner = (..., slice(10, 22), slice(10, 22))
    errors = []
    for places, stride in ((coarse_places, 2), (fine_places, 1)):
        velocity = torch.einsum("ij,njxy->nixy", slopes, places) / stride
        found = network().displacement(velocity, stride)
        errors.append(float((found - expected)[inner].abs().max()))
    # as accurate by as many steps: their error is that of slopes, which are the same
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    assert max(errors) < 0.01


def test_its_iterations_are_part_of_the_identity(
    cohort: PreparedCohort, make_model: MakeModel
) -> None:
    start = AmortizedOracle(make_model(cohort.shape), cohort, facts=FACTS)
    plain = RefinedOracle(start, 3)
    assert RefinedOracle(start, 3, full_resolution_iterations=0).identity == plain.identity
    found = {RefinedOracle(start, 3, full_resolution_iterations=n).identity for n in (0, 2, 3)}
    assert len(found) == 3


@pytest.fixture(scope="module")
def folder(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study whose refined registrations end at full resolution."""
    copied = tmp_path_factory.mktemp("full") / "study"
    shutil.copytree(tiny_study.folder, copied)
    with (copied / "study.toml").open("a", encoding="utf-8") as file:
        file.write("\n[refine]\niterations = 3\nfull_resolution_iterations = 2\n")
    hmopt.search(copied, device="cpu")
    return copied


def test_a_study_registers_files_as_it_searches(folder: Path) -> None:
    study = read_study(folder)
    oracle, pairs = open_oracle(folder)
    index = (70,)
    cohort = prepare(study, folder)
    expected = load_oracle(folder, study, cohort).displacement(index, pairs[0]).numpy()
    images = cohort.image(pairs[0].moving), cohort.image(pairs[0].fixed)
    setting = oracle.space.setting(index)
    model = open_registrar(folder).model
    np.testing.assert_allclose(model.displacement(*images, setting), expected, atol=1e-4)
    without = open_registrar(folder, iterations=0).model
    assert np.abs(without.displacement(*images, setting) - expected).max() > 0.01


def test_its_inverse_undoes_it(folder: Path) -> None:
    oracle, pairs = open_oracle(folder)
    cohort = prepare(read_study(folder), folder)
    images = cohort.image(pairs[0].moving), cohort.image(pairs[0].fixed)
    model = open_registrar(folder).model
    assert isinstance(model, VelocityModel)
    setting = oracle.space.setting((70,))
    forward = torch.from_numpy(model.displacement(*images, setting)).unsqueeze(0)
    backward = torch.from_numpy(model.inverse_displacement(*images, setting)).unsqueeze(0)
    around = backward + warp(forward, backward)
    inner = around[:, :, 4:-4, 4:-4]
    assert float(inner.abs().mean()) < 0.1 * float(forward.abs().mean())


def test_the_report_tells_it_and_a_change_is_noticed(folder: Path, tmp_path: Path) -> None:
    hmopt.report(folder)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert (
        ", and up to 2 more at the resolution of the images, where the regularizer counts in"
        in page
    )
    copied = tmp_path / "other"
    shutil.copytree(folder, copied)
    declared = (copied / "study.toml").read_text(encoding="utf-8")
    changed = declared.replace("full_resolution_iterations = 2", "full_resolution_iterations = 4")
    (copied / "study.toml").write_text(changed, encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"refine\.full_resolution_iterations: expected 2"):
        StudyFolder(copied).check_together()


def test_the_gap_is_refused(folder: Path) -> None:
    with pytest.raises(DeclarationError, match="--gap: expected refinement on the grid of the"):
        hmopt.search(folder, gap=True)


def test_a_gap_that_was_measured_before_is_not_told_of_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "study"
    shutil.copytree(folder, copied)
    files = StudyFolder(copied)
    searched = files.searched
    pairs = tuple(files.measurements().pairs["pair"])
    stages = tuple(Stage(iterations=n, identity=searched.identity) for n in (0, 3, 200))
    record = GapRecord(pairs=pairs, settings=((0,),), metrics=("dice",), stages=stages)
    write_gap(files.gap_file, searched.model_identity, record, searched.space)
    assert files.gap is None
    declared = {**searched.declared, "refine": {"iterations": 3}}
    assert replace(searched, declared=declared).refines_as_gap
    assert not searched.refines_as_gap
    features = {**searched.declared, "refine": {"iterations": 3, "features": ["gradient"]}}
    assert not replace(searched, declared=features).refines_as_gap
    monkeypatch.setattr(type(searched), "refines_as_gap", True)
    assert StudyFolder(copied).gap is not None


def test_an_ensemble_is_refined_at_full_resolution_too(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    members = [
        AmortizedOracle(make_model(cohort.shape, seed=seed), cohort, facts=FACTS) for seed in (0, 1)
    ]
    options = RefineOptions(iterations=3, full_resolution_iterations=2)
    together = refine(EnsembleOracle(members), options)
    assert isinstance(together, RefinedOracle)
    (block,) = together.measure([(70,)], pairs, [LOSS])
    half = RefinedOracle(EnsembleOracle(members), 3)
    (before,) = half.measure([(70,)], pairs, [LOSS])
    # its loss is that of the finer grid: of squared gradients of a smooth velocity nearly the same
    assert block.values[LOSS].mean() < before.values[LOSS].mean()
    alone = pickle.loads(pickle.dumps(together))
    expected = together.displacement((70,), pairs[0])
    torch.testing.assert_close(alone.displacement((70,), pairs[0]), expected)


@pytest.mark.parametrize(
    ("refine_table", "message"),
    [
        ("full_resolution_iterations = 5", "none without refine.iterations, got 5"),
        ("iterations = 3\nfull_resolution_iterations = -1", "greater than or equal to 0"),
    ],
)
def test_it_is_refused_where_it_would_do_nothing(
    tiny_study: Any, tmp_path: Path, refine_table: str, message: str
) -> None:
    declared = (tiny_study.folder / "study.toml").read_text(encoding="utf-8")
    text = f"{declared}\n[refine]\n{refine_table}\n"
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match=re.escape(message)) as refused:
        read_study(tmp_path)
    assert "refine.full_resolution_iterations" in str(refused.value)


def test_other_iterations_keep_the_rest_of_the_declaration(
    cohort: PreparedCohort, make_model: MakeModel
) -> None:
    declared = RefineOptions(iterations=3, full_resolution_iterations=2, features=["gradient"])
    assert declared.with_iterations(None) == declared
    assert declared.with_iterations(8).full_resolution_iterations == 2
    assert declared.with_iterations(8).features == ["gradient"]
    start = AmortizedOracle(make_model(cohort.shape), cohort, facts=FACTS)
    assert refine(start, declared.with_iterations(0)) is start
