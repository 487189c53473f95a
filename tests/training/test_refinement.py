from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from hmopt.declaration import LossOptions
from hmopt.errors import CheckpointError
from hmopt.losses import find_similarity, squared_gradient
from hmopt.spatial import velocity_to_displacement, warp
from hmopt.training import refinement
from hmopt.training.refinement import (
    FIRST_STEP,
    STIFFNESS,
    PairLoss,
    Refinement,
    known_loss,
    minimize,
)
from tests.training.made_up_images import blobs

SETTING = {"regularization": 0.2}
SIMILARITIES = ("mse", "lncc", "mutual_information")


def pair_loss(similarity: str = "mse", spacing: tuple[float, ...] | None = None) -> PairLoss:
    options = LossOptions(similarity=similarity, window=5)
    return PairLoss(options=options, scale=10.0, spacing=spacing)


def integrate(velocity: Tensor, stride: int = 2) -> Tensor:
    return velocity_to_displacement(velocity, steps=3, stride=stride)


def refined(loss: PairLoss, iterations: int, images: tuple[Tensor, Tensor]) -> Tensor:
    moving, fixed = images
    count, _, *shape = moving.shape
    start = torch.zeros(count, len(shape), *[side // 2 for side in shape])
    found = Refinement(loss=loss, iterations=iterations)
    return found.refined(start, moving, fixed, SETTING, integrate).fields


def losses_at(loss: PairLoss, velocity: Tensor, images: tuple[Tensor, Tensor]) -> Tensor:
    return loss.values(*images, velocity, integrate(velocity), SETTING)


def test_the_minimum_of_a_quadratic_energy_is_that_of_its_linear_equation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refinement, "TOLERANCE", 0.0)
    generator = np.random.default_rng(0)
    aims = generator.normal(size=(2, 1, 6, 5))
    slopes = [[0.4], [7.0]]

    def evaluate(fields: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        wanted = fields.detach().requires_grad_()
        values = []
        for field, row in zip(wanted, rows, strict=True):
            distance = (field - torch.from_numpy(aims[row])).square().sum()
            rough = field.diff(dim=1).square().sum() + field.diff(dim=2).square().sum()
            values.append(distance + slopes[row][0] * rough)
        total = torch.stack(values)
        (gradient,) = torch.autograd.grad(total.sum(), wanted)
        return total.detach(), gradient

    start = torch.zeros(2, 1, 6, 5, dtype=torch.float64)
    found = minimize(evaluate, start, iterations=100).fields.numpy()
    for row, (slope,) in enumerate(slopes):
        # (1 + slope · Laplacian of the grid's graph) v = aim
        nodes = np.arange(30).reshape(6, 5)
        laplacian = np.zeros((30, 30))
        edges = [
            *zip(nodes[1:].ravel(), nodes[:-1].ravel(), strict=True),
            *zip(nodes[:, 1:].ravel(), nodes[:, :-1].ravel(), strict=True),
        ]
        for one, other in edges:
            laplacian[[one, other], [one, other]] += 1
            laplacian[[one, other], [other, one]] -= 1
        expected = np.linalg.solve(np.eye(30) + slope * laplacian, aims[row].ravel())
        np.testing.assert_allclose(found[row].ravel(), expected, atol=1e-5)


def test_the_first_step_is_the_smoothed_gradient_of_declared_length() -> None:
    images = blobs((16, 16), count=1)
    loss = pair_loss()
    found = refined(loss, 1, images)
    # independently, with the Laplacian as a matrix
    start = torch.zeros(1, 2, 8, 8, requires_grad=True)
    moved = warp(images[0], integrate(start))
    value = 0.8 * 10 * (moved - images[1]).square().mean() + 0.2 * squared_gradient(start)
    value.backward()  # type: ignore[no-untyped-call]
    assert start.grad is not None
    second = 2 * np.eye(8) - np.eye(8, k=1) - np.eye(8, k=-1)
    second[0, 0] = second[-1, -1] = 1
    laplacian = np.kron(second, np.eye(8)) + np.kron(np.eye(8), second)
    gradient = start.grad.numpy().reshape(2, 64).T
    smoothed = np.linalg.solve(np.eye(64) + STIFFNESS * laplacian, gradient).T.reshape(2, 8, 8)
    step = -FIRST_STEP * smoothed / np.abs(smoothed).max()
    np.testing.assert_allclose(found[0].numpy(), step, atol=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("shape", [(16, 16), (12, 16, 12)], ids=["2-D", "3-D"])
def test_losses_fall_with_iterations_and_never_rise(
    similarity: str, shape: tuple[int, ...]
) -> None:
    images = blobs(shape, count=2)
    loss = pair_loss(similarity)
    found = [losses_at(loss, refined(loss, count, images), images) for count in (0, 1, 3, 12)]
    for before, after in pairwise(found):
        assert (after <= before).all()
    assert (found[-1] < found[0] - 0.02).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_what_becomes_of_a_pair_does_not_depend_on_others(similarity: str) -> None:
    moving, fixed = blobs((16, 16))
    loss = pair_loss(similarity)
    together = refined(loss, 12, (moving, fixed))
    for row in (0, 2):
        one = slice(row, row + 1)
        alone = refined(loss, 12, (moving[one], fixed[one]))
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_a_loss_of_one_pair_is_the_mean_that_training_computes() -> None:
    moving, fixed = blobs((16, 16))
    velocity = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    for spacing in (None, (1.0, 2.0)):
        loss = pair_loss("lncc", spacing)
        values = losses_at(loss, velocity, (moving, fixed))
        similarity = find_similarity(loss.options)
        moved = warp(moving, integrate(velocity))
        whole = 0.8 * 10 * similarity(moved, fixed) + 0.2 * squared_gradient(velocity, spacing)
        torch.testing.assert_close(values.mean(), whole)


def test_terms_that_need_labels_are_left_out() -> None:
    images = blobs((16, 16))
    loss = pair_loss()
    velocity = torch.ones(3, 2, 8, 8)
    with_labels = loss.values(
        *images, velocity, integrate(velocity), {**SETTING, "label_weight": 0.7}
    )
    torch.testing.assert_close(with_labels, losses_at(loss, velocity, images))


def test_a_pair_that_gains_no_more_stops_and_moves_no_further() -> None:
    seen: list[list[int]] = []
    aims = torch.tensor([0.0, 3.0]).reshape(2, 1, 1, 1)

    def evaluate(fields: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        seen.append(list(rows))
        distance = fields.detach() - aims[list(rows)]
        return distance.square().sum((1, 2, 3)) + 1, 2 * distance

    found, converged = minimize(evaluate, torch.zeros(2, 1, 4, 4), iterations=50)
    assert seen[0] == [0, 1]
    assert all(rows == [1] for rows in seen[1:])  # the first was at its minimum
    assert len(seen) < 50
    torch.testing.assert_close(found, aims.expand(2, 1, 4, 4), atol=1e-3, rtol=0)
    assert converged.all()
    # one trial is not enough for the second to see that nothing is left to gain
    _, early = minimize(evaluate, torch.zeros(2, 1, 4, 4), iterations=1)
    assert early.tolist() == [True, False]


def test_a_trial_without_a_finite_loss_is_taken_back() -> None:
    def evaluate(fields: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        distance = fields.detach() - 0.25
        values = distance.square().sum((1, 2, 3))
        beyond = fields.detach().amax((1, 2, 3)) > 0.3
        values[beyond] = torch.nan
        return values, 2 * distance

    found, _ = minimize(evaluate, torch.zeros(1, 1, 4, 4), iterations=20)
    torch.testing.assert_close(found, torch.full((1, 1, 4, 4), 0.25), atol=1e-3, rtol=0)


def test_no_iterations_return_the_start() -> None:
    images = blobs((16, 16))
    assert (refined(pair_loss(), 0, images) == 0).all()


def test_refinement_works_in_inference_mode() -> None:
    with torch.inference_mode():
        images = blobs((16, 16), count=1)
        inside = refined(pair_loss(), 3, (images[0].clone(), images[1].clone()))
    torch.testing.assert_close(inside, refined(pair_loss(), 3, blobs((16, 16), count=1)))


def test_identity_stands_for_iterations_and_loss() -> None:
    one = Refinement(loss=pair_loss(), iterations=5)
    others = [
        Refinement(loss=pair_loss(), iterations=6),
        Refinement(loss=pair_loss("lncc"), iterations=5),
        Refinement(loss=pair_loss(spacing=(1.0, 2.0)), iterations=5),
        Refinement(
            loss=PairLoss(options=LossOptions(similarity="mse"), scale=11.0, spacing=None),
            iterations=5,
        ),
    ]
    assert Refinement(loss=pair_loss(), iterations=5).identity == one.identity
    assert len({one.identity, *(other.identity for other in others)}) == 5


def test_a_loss_that_is_not_known_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"model\.h5: loss: expected the loss"):
        known_loss({}, None, None, "model.h5")
    with pytest.raises(CheckpointError, match="similarity"):
        known_loss({"similarity": "of another program"}, 1.0, None, "model")


def test_hyperparameters_that_change_the_similarity_are_refused() -> None:
    known = {"similarity": "lncc"}
    with pytest.raises(CheckpointError, match=r"expected hyperparameters that leave .* got window"):
        known_loss(known, 2.0, None, "model", ["regularization", "window"])
    assert known_loss(known, 2.0, None, "model", ["regularization", "bending_share"]).scale == 2.0
