"""Hyperparameters of the loss beside λ and γ: shares of the regularizer and the similarity, and the window."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from hmopt.catalogue import Similarity, TermParameter, add_hyperparameter, add_similarity
from hmopt.declaration import LossOptions
from hmopt.losses import (
    RegisteredBatch,
    Terms,
    bending_energy,
    local_cross_correlation,
    loss_terms,
    mean_squared_error,
    squared_gradient,
    weighted_loss,
)
from hmopt.spatial import identity_grid

SCALE = 3.0
SECOND_SCALE = 20.0
BOTH = LossOptions(similarity="lncc", second_similarity="mse", window=7)


def velocity(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 12, 10, generator=generator, dtype=torch.float64)


def registered(options: LossOptions, of: torch.Tensor | None = None) -> RegisteredBatch:
    """Return two noisy pairs that partly agree, with a small displacement, float64."""
    generator = torch.Generator().manual_seed(1)
    moving, noise = torch.rand(2, 2, 1, 12, 10, generator=generator, dtype=torch.float64)
    found = velocity() if of is None else of
    count, _, height, width = found.shape
    moving, noise = (image[:count, :, :height, :width] for image in (moving, noise))
    return RegisteredBatch(
        moving=moving,
        fixed=0.7 * moving + 0.3 * noise,
        moving_labels=None,
        fixed_labels=None,
        velocity=found,
        displacement=0.3 * found,
        spacing=(1.0, 1.5),
        options=options,
        overlap_labels=(),
        scale=SCALE,
        second_scale=SECOND_SCALE,
    )


def loss_at(
    setting: Mapping[str, float], options: LossOptions, of: torch.Tensor | None = None
) -> torch.Tensor:
    terms = loss_terms(registered(options, of), setting)
    return weighted_loss(terms, setting, SCALE)


def test_bending_share_of_a_quadratic_velocity_is_the_mean_of_both_closed_forms() -> None:
    """v = (x², x y): slopes 2 x + 1, y and x between voxels; second derivatives 2, and 1 twice."""
    grid = identity_grid((6, 5)).double()
    x, y = grid[:, 0], grid[:, 1]
    of = torch.stack([x * x, x * y], dim=1)
    slopes = [2 * torch.arange(5.0) + 1, torch.arange(5.0), torch.arange(6.0)]
    gradient = sum(float(one.square().mean()) for one in slopes) / 4
    bending = (2.0**2 + 2 * 1.0**2) / 2
    plain = replace(registered(LossOptions(), of), spacing=None)
    for share in (0.0, 0.25, 1.0):
        setting = {"regularization": 1.0, "bending_share": share}
        terms = loss_terms(plain, setting)
        expected = (1 - share) * gradient + share * bending
        assert float(weighted_loss(terms, setting, SCALE)) == pytest.approx(expected)


@pytest.mark.parametrize("regularization", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("share", "name", "function"),
    [(0, "gradient", squared_gradient), (1, "bending", bending_energy)],
)
def test_an_end_of_the_bending_share_is_the_loss_with_one_regularizer(
    regularization: float, share: float, name: str, function: Callable[..., torch.Tensor]
) -> None:
    setting = {"regularization": regularization}
    alone = loss_at(setting, LossOptions.model_validate({"regularizer": name}))
    shared = loss_at({**setting, "bending_share": share}, LossOptions())
    assert torch.equal(shared, alone)
    if regularization == 1.0:
        assert torch.equal(shared, function(velocity(), (1.0, 1.5)))


@pytest.mark.parametrize("regularization", [0.0, 0.3])
@pytest.mark.parametrize("window", [3, 5, 9])
def test_the_loss_at_a_window_is_that_of_a_declared_window(
    regularization: float, window: int
) -> None:
    setting = {"regularization": regularization}
    declared = loss_at(setting, LossOptions(window=window))
    as_setting = loss_at({**setting, "window": window}, LossOptions(window=7))
    assert torch.equal(as_setting, declared)
    other = loss_at({**setting, "window": 7}, LossOptions(window=window))
    assert not torch.equal(other, declared)


def test_ends_of_the_similarity_share_are_the_single_similarities_at_their_scales() -> None:
    batch = registered(BOTH)
    first = SCALE * local_cross_correlation(batch.moved, batch.fixed, 7)
    second = SECOND_SCALE * mean_squared_error(batch.moved, batch.fixed)
    ends = {0: first, 1: second}
    for share, expected in ends.items():
        assert torch.equal(loss_at({"similarity_share": share}, BOTH), expected)


def test_shares_are_taken_one_after_the_other() -> None:
    """First the similarities, then labels against images, then the regularizer against both."""
    weighted = {
        "regularization": torch.tensor(1.3),
        "bending_share": torch.tensor(0.9),
        "label_weight": torch.tensor(0.2),
        "similarity_share": torch.tensor(0.6),
    }
    terms = Terms(dissimilarity=torch.tensor(0.7), weighted=weighted)
    setting = {
        "label_weight": 0.3,
        "similarity_share": 0.4,
        "bending_share": 0.25,
        "regularization": 0.1,
    }
    data = 0.7 * (0.6 * SCALE * 0.7 + 0.4 * 0.6) + 0.3 * 0.2
    regularizer = 0.75 * 1.3 + 0.25 * 0.9
    expected = 0.9 * data + 0.1 * regularizer
    assert float(weighted_loss(terms, setting, SCALE)) == pytest.approx(expected)


def test_the_second_similarity_takes_the_window_of_the_setting() -> None:
    options = LossOptions(similarity="mse", second_similarity="lncc")
    batch = registered(options)
    terms = loss_terms(batch, {"similarity_share": 0.5, "window": 3})
    expected = SECOND_SCALE * local_cross_correlation(batch.moved, batch.fixed, 3)
    assert torch.equal(terms.weighted["similarity_share"], expected)
    assert set(terms.weighted) == {"similarity_share"}


def test_the_gradient_is_that_of_finite_differences() -> None:
    setting = {
        "regularization": 0.3,
        "bending_share": 0.4,
        "similarity_share": 0.35,
        "window": 5,
    }
    of = velocity(2)
    of.requires_grad_()
    (gradient,) = torch.autograd.grad(loss_at(setting, BOTH, of), of)
    step = 1e-6
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        direction = torch.randn(of.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ahead = loss_at(setting, BOTH, of + step * direction)
            behind = loss_at(setting, BOTH, of - step * direction)
        slope = float(ahead - behind) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)


def power(moved: torch.Tensor, fixed: torch.Tensor, exponent: float = 2.0) -> torch.Tensor:
    """Return the mean of the absolute difference to a power."""
    return (moved - fixed).abs().pow(exponent).mean()


def test_a_hyperparameter_of_ones_own_is_an_argument_of_a_similarity_of_ones_own(
    catalogue: None,
) -> None:
    add_similarity(Similarity(name="power", title="power of the difference", function=power))
    add_hyperparameter(
        TermParameter(
            name="exponent", symbol="p", title="power", low=1.0, high=2.0, default=2.0, most=4.0
        )
    )
    options = LossOptions(similarity="power")
    batch = registered(options)
    for exponent in (1.0, 1.5):
        terms = loss_terms(batch, {"exponent": exponent})
        assert torch.equal(terms.dissimilarity, power(batch.moved, batch.fixed, exponent))
    assert torch.equal(loss_terms(batch, {}).dissimilarity, power(batch.moved, batch.fixed))


@pytest.mark.parametrize("similarity", ["mse", "lncc", "mutual_information"])
@pytest.mark.parametrize("regularizer", ["gradient", "bending"])
def test_terms_of_a_batch_at_once_are_those_pair_by_pair(similarity: str, regularizer: str) -> None:
    batch = registered(LossOptions(similarity=similarity, regularizer=regularizer, window=5))
    setting = {"regularization": 0.3}
    at_once = batch.with_terms_of_each(setting)
    assert (at_once.dissimilarities is None) == (similarity == "mutual_information")
    assert at_once.roughnesses is not None
    both = [(at_once, batch), *zip(at_once.divided(2), batch.divided(2), strict=True)]
    for one, other in both:
        found, expected = loss_terms(one, setting), loss_terms(other, setting)
        torch.testing.assert_close(found.dissimilarity, expected.dissimilarity)
        torch.testing.assert_close(found.weighted, expected.weighted)


def test_a_similarity_that_a_hyperparameter_changes_is_computed_at_each_setting() -> None:
    batch = registered(LossOptions(similarity="lncc", window=9))
    at_once = batch.with_terms_of_each({"regularization": 0.3, "window": 3})
    assert at_once.dissimilarities is None
    narrow, wide = (at_once.dissimilarity({"window": window}) for window in (3, 9))
    assert narrow != wide
