"""Scores with a gradient by the setting: finite differences, a model of known optimum, metrics as they are measured."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import NetworkOptions
from hmopt.errors import DeclarationError
from hmopt.metrics import Originals
from hmopt.metrics.measure import Registration
from hmopt.metrics.overlap import dice
from hmopt.networks import Hypermorph
from hmopt.oracle import AmortizedOracle
from hmopt.oracle.differentiable import DifferentiableBatch, make_objective
from hmopt.records import Pair
from hmopt.search.ascent import ascend, distinct_optima, spread_starts
from hmopt.space import Hyperparameter, Space
from hmopt.spatial import sampled_positions
from tests.oracle.conftest import CohortInMemory

MakeModel = Callable[..., Hypermorph]
STEPPED = ["dice_nearest", "folding", "hd95_mm"]
SMOOTH = ["dice", "similarity", "log_jacobian_sd", "lncc", "mse", "inverse_consistency"]
OF_MORE_THAN_A_DISPLACEMENT = [
    ("cycle_inconsistency_mm", "registrations to a third subject"),
    ("cycle_inconsistency_voxels", "registrations to a third subject"),
    ("tre_mm", "Choose landmarks, and give the points by --points"),
    ("loss", "loss, which has none"),
    ("wall_time_s", "wall_time_s, which has none"),
    ("converged", "converged, which has none"),
]


class Shift(nn.Module):
    """Registers by one translation along the first axis: its only weight."""

    def __init__(self) -> None:
        super().__init__()
        self.options = NetworkOptions()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        count, _, *shape = moving.shape
        along = self.shift.expand(count, 1, *shape)
        still = torch.zeros(count, len(shape) - 1, *shape)
        return torch.cat([along, still], dim=1)

    def displacement(self, velocity: Tensor, stride: int | None = None) -> Tensor:
        return velocity


class Bumps(CohortInMemory):
    """Images a, b, … with a bump and a label at 9, 10, … along the first axis."""

    def image(self, name: str) -> NDArray[np.float32]:
        place = 9 + ord(name) - ord("a")
        along = np.exp(-((np.arange(self.shape[0]) - place) ** 2) / 8)
        columns = np.ones(self.shape[1])
        return np.outer(along, columns).astype(np.float32)

    def label_map(self, name: str) -> NDArray[Any]:
        place = 9 + ord(name) - ord("a")
        labels = np.zeros(self.shape, dtype=np.uint8)
        labels[place - 3 : place + 4] = 1
        return labels


@pytest.fixture
def translating() -> AmortizedOracle:
    """A hypermorph that shifts by 4 (sin(π λ / 2) + 0.05) voxels."""
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    model = Hypermorph(Shift(), space, widths=[1])  # type: ignore[arg-type]
    hypernetwork = model.hypernetwork
    with torch.no_grad():
        hypernetwork.base.zero_()
        (layer,) = hypernetwork.trunk
        assert isinstance(layer, nn.Linear)
        layer.weight.copy_(torch.tensor([[0.0, 1.0]]))
        layer.bias.fill_(0.05)  # so that its unit is active from λ = 0 on
        hypernetwork.heads.transposed.fill_(4.0)
    names = list("abcd")
    cohort = Bumps(
        folder=Path("nowhere"),
        images=pd.DataFrame({"subject": names}, index=names),
        labels=("box",),
        shape=(24, 8),
        spacing_mm=(1.0, 1.0),
        identity="bumps",
    )
    return AmortizedOracle(model, cohort)


def pair(moving: str, fixed: str) -> Pair:
    return Pair(moving=moving, fixed=fixed, moving_subject=moving, fixed_subject=fixed)


def optimum_of(oracle: AmortizedOracle, objective: str, pairs: list[Pair], starts: int) -> float:
    """Return the best λ by ascents from some starts."""
    chosen = make_objective(objective)
    sign = 1 if chosen.direction == "maximize" else -1

    def evaluate(places: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score, slope = oracle.score_and_gradient(places.tolist(), pairs, chosen.score)
        return sign * score, sign * slope

    ascents = [ascend(evaluate, start.tolist()) for start in spread_starts(1, starts)]
    best, *_ = distinct_optima(evaluate, ascents, negligible=1e-4)
    return best.place[0]


@pytest.mark.parametrize("objective", ["dice", "mse"])
@pytest.mark.parametrize("shift", [1, 2, 3])
def test_the_optimum_is_the_setting_that_shifts_by_what_is_missing(
    translating: AmortizedOracle, objective: str, shift: int
) -> None:
    """4 (sin(π λ / 2) + 0.05) = shift has one solution, whatever the starts are."""
    expected = 2 / math.pi * math.asin(shift / 4 - 0.05)
    pairs = [pair("abcd"[shift], "a")]
    for starts in (1, 3, 4):
        found = optimum_of(translating, objective, pairs, starts)
        assert found == pytest.approx(expected, abs=0.01)


def test_the_optimum_is_that_of_the_dense_sweep(translating: AmortizedOracle) -> None:
    """Of pairs that ask for shifts of 1, 2 and 3 voxels, the median is best by Dice."""
    pairs = [pair("b", "a"), pair("c", "a"), pair("d", "a")]
    settings = [(index,) for index in range(translating.space.hyperparameters[0].points)]
    scores = np.zeros(len(settings))
    for block in translating.measure(settings, pairs, ["dice"]):
        scores[block.index[0]] += block.values["dice"].sum()
    dense = translating.space.setting((int(scores.argmax()),))["regularization"]
    found = optimum_of(translating, "dice", pairs, starts=3)
    assert found == pytest.approx(dense, abs=0.01)
    assert found == pytest.approx(2 / math.pi * math.asin(2 / 4 - 0.05), abs=0.01)


def test_a_mean_over_pairs_has_the_mean_of_their_gradients(translating: AmortizedOracle) -> None:
    pairs = [pair("b", "a"), pair("d", "a"), pair("c", "b")]
    score = make_objective("dice").score
    apart = [translating.score_and_gradient([0.4], [one], score) for one in pairs]
    value, slope = translating.score_and_gradient([0.4], pairs, score)
    assert value == pytest.approx(np.mean([one for one, _ in apart]))
    assert slope == pytest.approx(np.mean([one for _, one in apart], axis=0))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_score_changes_by_the_integral_of_its_gradient(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, name: str
) -> None:
    """Linear interpolation makes kinks, which finite differences stumble over and integrals do not."""
    oracle = AmortizedOracle(make_model(flat_cohort.shape), flat_cohort, batch=2)
    score = make_objective(name).score
    places = np.linspace(0.3, 0.36, 49)
    found = [oracle.score_and_gradient([place], pairs[:3], score) for place in places]
    scores = np.array([value for value, _ in found])
    slopes = np.array([slope[0] for _, slope in found])
    change = np.trapezoid(slopes, places)
    way = np.trapezoid(np.abs(slopes), places)
    assert way > 1e-5
    assert scores[-1] - scores[0] == pytest.approx(change, abs=0.05 * way)


@pytest.mark.parametrize(
    "name",
    [
        "dice",
        "similarity",
        "log_jacobian_sd",
        "inverse_consistency_mm",
        "inverse_consistency_voxels",
    ],
)
def test_a_metric_has_the_value_that_the_sweep_measures(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, name: str
) -> None:
    oracle = AmortizedOracle(make_model(flat_cohort.shape), flat_cohort, batch=2)
    value, _ = oracle.score_and_gradient([0.35], pairs, make_objective(name).score)
    of_pairs = []
    for block in oracle.measure([(70,)], pairs, [name]):
        of_pairs += np.nanmean(block.values[name].reshape(len(block.pairs), -1), axis=1).tolist()
    assert value == pytest.approx(np.mean(of_pairs), abs=1e-6)


def test_a_label_that_pairs_lack_has_no_score(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    oracle = AmortizedOracle(make_model(flat_cohort.shape), flat_cohort, batch=2)
    dot = make_objective("dice", label=2).score  # which is in image `a` alone
    value, slope = oracle.score_and_gradient([0.35], pairs, dot)
    assert math.isnan(value)
    assert slope.tolist() == [0.0]
    box, _ = oracle.score_and_gradient([0.35], pairs, make_objective("dice", label=0).score)
    (whole,) = oracle.measure([(70,)], pairs[:2], ["dice"])
    two, _ = oracle.score_and_gradient([0.35], pairs[:2], make_objective("dice", label=0).score)
    assert math.isfinite(box)
    assert two == pytest.approx(whole.values["dice"][:, 0].mean(), abs=1e-6)


@pytest.mark.parametrize("name", STEPPED)
def test_a_metric_that_changes_in_steps_is_refused(translating: AmortizedOracle, name: str) -> None:
    with pytest.raises(DeclarationError, match="objective: expected a metric with a gradient"):
        translating.score_and_gradient([0.4], [pair("b", "a")], make_objective(name).score)


@pytest.mark.parametrize(("name", "told"), OF_MORE_THAN_A_DISPLACEMENT)
def test_a_metric_that_needs_more_than_the_displacement_is_refused_by_its_name(
    name: str, told: str
) -> None:
    with pytest.raises(DeclarationError, match=told):
        make_objective(name)


def test_a_short_name_stands_for_the_metric() -> None:
    objective = make_objective("inverse_consistency")
    assert objective == make_objective("inverse_consistency_voxels")
    assert objective.direction == "minimize"


def test_unknown_objectives_and_landmarks_without_points_are_refused() -> None:
    with pytest.raises(DeclarationError, match="objective: expected one of dice"):
        make_objective("overlap")
    with pytest.raises(DeclarationError, match="landmarks: expected points"):
        make_objective("landmarks")


def test_the_gradient_of_partial_volume_dice_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2, 9, 8), generator=generator)
    fixed = torch.randint(0, 3, (2, 9, 8), generator=generator)
    image = torch.zeros(2, 1, 9, 8)
    originals = Originals(
        moving=image,
        fixed=image,
        moving_labels=labels,
        fixed_labels=fixed,
        label_count=5,
        spacing_mm=None,
    )
    displacement = 2 * torch.randn(2, 2, 9, 8, generator=generator)

    def score(field: Tensor) -> Tensor:
        return torch.nansum(dice(sampled_positions(field.float()), originals))

    wanted = displacement.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(wanted), wanted)
    assert torch.isfinite(gradient).all()
    direction = torch.randn(displacement.shape, generator=generator)
    step = 1e-4
    change = score(displacement + step * direction) - score(displacement - step * direction)
    expected = float((gradient * direction).sum())
    assert float(change) / (2 * step) == pytest.approx(expected, rel=0.02)


AFFINE = np.array([[2.0, 0, 0, -5], [0, 1.5, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]])


def originals_of_a_plane() -> Originals:
    """Return a pair of 9 × 8 voxels of 2 × 1.5 mm."""
    image, labels = torch.zeros(1, 1, 9, 8), torch.zeros(1, 9, 8, dtype=torch.long)
    return Originals(
        moving=image,
        fixed=image,
        moving_labels=labels,
        fixed_labels=labels,
        label_count=1,
        spacing_mm=(2.0, 1.5),
        pairs=(pair("b", "a"),),
        world_of=lambda name: AFFINE,
    )


def test_mapped_landmarks_have_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    displacement = torch.randn(1, 2, 9, 8, generator=generator).requires_grad_()
    registration = Registration(originals=originals_of_a_plane(), displacement=displacement)
    points = np.array([[0.3, 7.0, 0.0], [4.0, 5.5, 0.0]])
    mapped = registration.mapped_points_mm(0, points)
    (gradient,) = torch.autograd.grad(mapped[:, 0].sum(), displacement)
    # each point's shift along x is a mean of displacements, in voxels of 2 mm
    assert float(gradient.sum()) == pytest.approx(4.0, rel=1e-4)
    # between four voxels, by scipy
    voxels = np.linalg.inv(AFFINE) @ np.vstack([points.T, np.ones(2)])
    components = displacement.detach().double().numpy()[0]
    shift = [map_coordinates(component, voxels[:2], order=1) for component in components]
    expected = points[:, :2] + np.array([2.0, 1.5]) * np.array(shift).T
    np.testing.assert_allclose(registration.map_points_mm(0, points)[:, :2], expected, atol=1e-6)


def test_landmarks_without_a_displacement_are_left_out_of_the_objective() -> None:
    """Outside the fixed grid, off its plane, or off that of the moving image."""
    fixed = np.array([[1.0, 6.0, 0.0], [100.0, 6.0, 0.0], [1.0, 6.0, 2.0], [1.0, 6.0, 0.0]])
    moving = fixed + np.array([0.0, 2.0, 0.0])
    moving[1:, 1] += 50  # which none of the last three may add
    moving[3, 2] = 3.0
    displacement = torch.zeros(1, 2, 9, 8).requires_grad_()
    batch = registered(displacement)
    score = make_objective("landmarks", points={"a": fixed, "b": moving}).score(batch)
    assert score.item() == pytest.approx(2.0)
    (gradient,) = torch.autograd.grad(score.sum(), displacement)
    assert torch.isfinite(gradient).all()
    # to move on along y by a voxel of 1.5 mm brings the point so much nearer
    assert float(gradient[:, 1].sum()) == pytest.approx(-1.5)
    mapped = batch.registration.map_points_mm(0, fixed)
    np.testing.assert_array_equal(np.isnan(mapped).any(1), [False, True, True, False])


def registered(displacement: Tensor) -> DifferentiableBatch:
    """Return a pair that is registered by a displacement, whatever the network is."""
    batch = DifferentiableBatch(
        network=Shift(),  # type: ignore[arg-type]
        weights={},
        images=originals_of_a_plane(),
    )
    batch.__dict__["displacement"] = displacement
    return batch
