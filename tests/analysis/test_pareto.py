"""Fronts with known members, volumes and knees."""

import itertools
from dataclasses import replace

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hmopt.analysis.pareto import Front, find_front, find_knee, hypervolume, non_dominated
from hmopt.analysis.resampling import Samples, draw
from hmopt.catalogue import find_metric
from hmopt.errors import SearchError
from hmopt.report.parts.tradeoff import front_figure
from hmopt.search.scopes import Scope
from hmopt.search.tradeoff import Axis, Tradeoff
from hmopt.space import Hyperparameter, Setting, Space

NAMES = np.array([f"s{i}" for i in range(12)], dtype=object)
GRID = st.integers(0, 4).map(float)
POINTS = st.integers(1, 8).flatmap(
    lambda count: st.integers(2, 3).flatmap(
        lambda axes: arrays(np.float64, (count, axes), elements=GRID)
    )
)


def space_of(count: int) -> Space:
    return Space(hyperparameters=(Hyperparameter(name="regularization", step=1 / (count - 1)),))


def tradeoff_of(scores: np.ndarray, metrics: tuple[str, ...] = ("dice", "folding")) -> Tradeoff:
    """Scores (k, s, n) at s even values of λ."""
    _, count, pairs = scores.shape
    return Tradeoff(
        scope=Scope(criteria=()),
        space=space_of(count),
        axes=tuple(Axis(metric=find_metric(name)) for name in metrics),
        settings=tuple((place,) for place in range(count)),
        pairs=np.arange(pairs),
        ids=tuple(NAMES[:pairs]),
        scores=scores,
    )


def drawn(pairs: int = 12) -> Samples:
    return draw(NAMES[:pairs], NAMES[:pairs], draws=200, seed=0)


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one >= other).all() and (one > other).any())


@given(POINTS)
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_a_loop_over_pairs_of_settings_leaves(values: np.ndarray) -> None:
    expected = [not any(dominates(other, one) for other in values) for one in values]
    assert non_dominated(values).tolist() == expected
    # any rising function of each axis leaves the front as it is; duplicates are all on it
    assert non_dominated(np.exp(values) + values**3).tolist() == expected
    twice = np.concatenate([values, values])
    assert non_dominated(twice).tolist() == expected * 2


@given(POINTS)
@settings(max_examples=60, deadline=None)
def test_the_volume_is_the_number_of_unit_cells_below_a_setting(values: np.ndarray) -> None:
    """Coordinates are whole numbers from 0 to 4: cells of a grid are counted one by one."""
    cells = itertools.product(range(4), repeat=values.shape[1])
    count = sum(bool((values >= np.array(cell) + 1).all(axis=1).any()) for cell in cells)
    zero = np.zeros(values.shape[1])
    assert hypervolume(values, zero) == pytest.approx(count)
    assert hypervolume(values[non_dominated(values)], zero) == pytest.approx(count)
    assert hypervolume(np.stack([values, values[::-1]]), zero) == pytest.approx([count, count])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_front_is_that_of_optuna_and_so_is_its_volume() -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(size=(2, 9, 1)) * [[[1.0]], [[0.01]]]
    front = find_front(tradeoff_of(scores), drawn(1), {"dice": 0.0, "folding": 0.01})
    study = front.study()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert sorted(trial.number for trial in study.best_trials) == sorted(front.members)
    axes = optuna.visualization.matplotlib.plot_hypervolume_history(study, [0.0, 0.01])
    drawn_volumes = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    drawn_volumes += [np.asarray(points.get_offsets())[:, 1] for points in axes.collections]
    volumes = np.concatenate(drawn_volumes)
    assert front.hypervolume.value == pytest.approx(volumes.max())


def test_what_is_not_a_number_or_below_the_reference_counts_as_nothing() -> None:
    values = np.array([[2.0, 1.0], [np.nan, 5.0], [-1.0, 7.0], [np.inf, 1.0]])
    assert non_dominated(values).tolist() == [True, False, True, False]
    assert hypervolume(values, np.zeros(2)) == 2.0
    assert non_dominated(np.full((2, 2), np.nan)).tolist() == [False, False]


def test_the_knee_of_a_circle_is_at_45_degrees_in_any_units() -> None:
    """Of u² + v² = 1, u + v is largest at u = v = 1 / √2; units and offsets change nothing."""
    angles = np.linspace(0, np.pi / 2, 9)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert find_knee(circle, non_dominated(circle)) == 4
    stretched = circle * [300.0, 0.001] + [7.0, -2.0]
    assert find_knee(stretched, non_dominated(stretched)) == 4
    # dominated settings are passed over, however many lie inside
    inside = np.concatenate([0.5 * circle, circle])
    assert find_knee(inside, non_dominated(inside)) == 9 + 4


@pytest.mark.parametrize(
    "values",
    [
        [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]],  # straight
        [[0.0, 1.0], [0.3, 0.3], [1.0, 0.0]],  # bent inwards
        [[0.0, 1.0], [1.0, 0.0]],
        [[0.5, 0.5], [0.5, 0.5]],
        [[1.0, 1.0], [0.0, 0.0]],
        [[np.nan, np.nan]],
    ],
)
def test_a_front_that_does_not_bulge_has_no_knee(values: list[list[float]]) -> None:
    points = np.array(values)
    assert find_knee(points, non_dominated(points)) == -1


def test_of_three_axes_the_knee_has_the_largest_sum() -> None:
    ends = np.eye(3)
    points = np.concatenate([ends, [[0.5, 0.5, 0.5], [0.7, 0.6, 0.1]]])
    assert find_knee(points, non_dominated(points)) == 3


def test_a_front_with_certainty_has_sure_members_and_a_sure_knee() -> None:
    """The same scores for every subject: all bootstrap samples are equal."""
    dice = np.array([0.6, 0.72, 0.8, 0.78, 0.7])
    folding = np.array([0.0, 0.001, 0.004, 0.02, 0.0])
    scores = np.repeat(np.stack([dice, folding])[:, :, None], 12, axis=2)
    front = find_front(tradeoff_of(scores), drawn())
    assert front.members == [2, 1, 4]
    assert front.share.tolist() == [0, 1, 1, 0, 1]
    assert front.settings[0] == {"regularization": 0.5}
    # scaled: (1, 0), (0.2, 0.75), (0, 1): the middle one lies below the line of 1
    assert front.knee is None
    # of the box of 0.2 by 0.02: to 0.004, to 0.001, and to 0
    area = 0.016 * 0.2 + 0.003 * 0.12 + 0.001 * 0.1
    assert front.hypervolume.value == pytest.approx(area)
    assert front.hypervolume_share == pytest.approx(area / (0.2 * 0.02))
    assert front.reference.tolist() == pytest.approx([0.6, 0.02])
    np.testing.assert_allclose(front.band[0], front.tradeoff.means)


def test_a_member_that_few_subjects_put_there_is_in_few_samples() -> None:
    """At λ = 1 one subject of twelve makes the mean higher than at λ = 0, where nobody folds."""
    dice = np.full((2, 12), 0.7)
    dice[1, 0] = 0.706
    dice[1, 1:] -= 0.0003
    folding = np.array([[0.0] * 12, [0.01] * 12])
    front = find_front(tradeoff_of(np.stack([dice, folding])), drawn())
    assert front.on_front.tolist() == [True, True]
    assert front.share[0] == 1
    # where that subject is in the sample at all
    in_sample = 1 - (11 / 12) ** 12
    assert front.share[1] == pytest.approx(in_sample, abs=0.1)


def test_too_few_subjects_leave_the_certainty_open_and_another_reference_is_refused() -> None:
    scores = np.ones((2, 3, 3)) * np.arange(3)[None, :, None] / 10
    front = find_front(tradeoff_of(scores), drawn(3))
    assert np.isnan(front.share).all()
    assert np.isnan([front.hypervolume.low, front.hypervolume.high]).all()
    assert front.members == [2, 1, 0]  # more Dice, more folding
    table = front.table
    assert table["on_front"].all()
    assert table["regularization"].tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(SearchError, match="reference: expected a value for each of dice, folding"):
        find_front(tradeoff_of(scores), drawn(3), {"dice": 0.0})


def test_a_setting_that_an_axis_was_not_measured_at_is_not_marked() -> None:
    """As λ* is where a further metric of one pair failed."""
    scores = np.linspace(0, 1, 2 * 3 * 12).reshape(2, 3, 12)
    front = find_front(tradeoff_of(scores), drawn())
    marked: dict[str, Setting | None] = {
        "λ*": {"regularization": 0.5},
        "default": {"regularization": 0.0},
    }
    texts = legend_of(front, marked)
    assert any(text.startswith("λ*") for text in texts)
    without = replace(tradeoff_of(scores[:, [0, 2]]), space=space_of(3), settings=((0,), (2,)))
    texts = legend_of(find_front(without, drawn()), marked)
    assert not any(text.startswith("λ*") for text in texts)
    assert any(text.startswith("default") for text in texts)


def legend_of(front: Front, marked: dict[str, Setting | None]) -> list[str]:
    legend = front_figure(front, marked).axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]
