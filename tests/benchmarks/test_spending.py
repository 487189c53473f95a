"""The committed table of adaptive spending: a piece of it is made again, and holds what is promised of it."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.spending import (
    FOLDER,
    PAIRS,
    PROBLEMS,
    SEEDS,
    WAYS,
    Noisy,
    Problem,
    Way,
    line,
    run,
)

TABLE = pd.read_csv(FOLDER / "spending.csv")
LARGEST_SHARE = 0.2
LARGEST_REGRET = 0.002


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
@pytest.mark.parametrize("way", ["wilcoxon", "halving"])
def test_a_fifth_of_the_grid_is_enough_for_a_regret_of_two_thousandths(
    problem: Problem, way: Way
) -> None:
    found = line(problem, way, range(2))
    assert found.share <= 0.25  # of two seeds; the mean over all stands in the table
    assert found.regret <= LARGEST_REGRET


def test_the_table_holds_every_way_and_keeps_the_promise() -> None:
    assert len(TABLE) == len(PROBLEMS) * len(WAYS)
    assert (TABLE["seeds"] == SEEDS).all()
    adaptive = TABLE[TABLE["way"].isin(["wilcoxon", "halving"])]
    assert (adaptive["share"] <= LARGEST_SHARE).all()
    assert (adaptive["regret"] <= LARGEST_REGRET).all()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_the_grid_of_the_table_is_made_again(problem: Problem) -> None:
    rows = TABLE[(TABLE["problem"] == problem.name) & (TABLE["way"] == "grid")]
    again = line(problem, "grid", range(SEEDS))
    assert again.share == 1
    assert (
        rows["evaluations"].item()
        == again.evaluations
        == problem.space.count(problem.coarse) * PAIRS
    )
    assert rows["regret"].item() == pytest.approx(again.regret, abs=1e-6)


def test_an_oracle_gives_the_same_scores_again_whatever_was_asked_before() -> None:
    problem = PROBLEMS[1]
    one, other = Noisy(problem, seed=3), Noisy(problem, seed=3)
    settings = problem.space.coarse(3)
    for index in reversed(settings):
        other.scores(index)
    for index in settings:
        np.testing.assert_array_equal(one.scores(index), other.scores(index))
    assert not np.array_equal(one.scores(settings[0]), Noisy(problem, seed=4).scores(settings[0]))


def test_a_run_gives_the_same_result_again() -> None:
    assert run(PROBLEMS[0], "halving", 5) == run(PROBLEMS[0], "halving", 5)
