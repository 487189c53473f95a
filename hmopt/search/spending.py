"""How many pairs a trial is measured on: all, or only as many as it takes to see that others are better.

Pairs of expensive oracles are spent adaptively. All trials go through the pairs in one order, which
is random but spread over subjects; so any two trials were measured on the same first pairs, and
their difference is one of the settings, not of the pairs.

`wilcoxon`: pairs are measured one after the other, `jobs` at once. After each, Optuna's
`WilcoxonPruner` compares the trial with the best one so far on the pairs that it has, and prunes it
when it is worse by a signed-rank test. `halving`: Optuna's `SuccessiveHalvingPruner` has the trial
measured on n / 9, n / 3 and n pairs, and prunes it where its mean is not among the better third of
those that came as far.

A worked example, three trials of `wilcoxon` on eight pairs (Dice, the best is in the first row):

    pair           1     2     3     4     5     6     7     8
    first trial   0.80  0.76  0.81  0.78  0.74  0.80  0.79  0.77    complete: mean 0.781
    second        0.74  0.71  0.77  0.75  0.70                      pruned: worse on 5 of 5, p = 0.03
    third         0.82  0.75  0.82  0.79  0.76  0.81  0.78  0.79    complete: mean 0.790

References
----------
Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945. Li et al., "A system
for massively parallel hyperparameter tuning", MLSys 2020: asynchronous successive halving.
"""

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import optuna
import pandas as pd
from optuna.pruners import BasePruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.files import one_line

if TYPE_CHECKING:
    from hmopt.search.objective import Objective, Scores

MEASURED_PAIRS = "measured_pairs"
"""User attribute of a trial: how many pairs it was measured on."""

FEWEST_PAIRS = 5
"""Pairs that a trial is measured on at least: of fewer no test can tell that it is worse."""

REDUCTION = 3
"""One of so many trials goes on from one rung of `halving` to the next, which has as many times the pairs."""

RUNGS = 2
"""Rungs of `halving` before all pairs."""


def pair_order(pairs: pd.DataFrame, seed: int) -> list[str]:
    """Return the ids of pairs in a random order whose first pairs are of as many subjects as possible.

    Next comes the pair whose two subjects have been in the fewest pairs so far; of equals, the one
    that comes first in a random order.

    Parameters
    ----------
    pairs
        Columns as of `Measurements.pairs`.
    seed
        Seed of the random order.

    Examples
    --------
    >>> sides = [("a", "b"), ("b", "a"), ("c", "d"), ("a", "c")]
    >>> rows = [(f"{moving}->{fixed}", moving, fixed) for moving, fixed in sides]
    >>> pairs = pd.DataFrame(rows, columns=["pair", "moving_subject", "fixed_subject"])
    >>> first, second, *_ = pair_order(pairs, seed=1)
    >>> sorted([first, second])
    ['a->b', 'c->d']
    """
    generator = np.random.default_rng(seed)
    shuffled = pairs.sort_values("pair").iloc[generator.permutation(len(pairs))]
    sides = shuffled[["moving_subject", "fixed_subject"]].to_numpy(dtype=object)
    subjects, places = np.unique(sides, return_inverse=True)
    places = places.reshape(sides.shape)  # (pairs, 2)
    times = np.zeros(len(subjects))
    is_taken = np.zeros(len(pairs), dtype=bool)
    ids = shuffled["pair"].tolist()
    order = []
    for _ in range(len(pairs)):
        used = times[places].sum(axis=1)
        used[is_taken] = math.inf
        following = int(used.argmin())
        is_taken[following] = True
        times[places[following]] += 1
        order.append(ids[following])
    return order


class Spending:
    """An objective that is called with a trial and measures all its pairs at once: `spending = "all"`.

    Derived classes ask Optuna after some of the pairs whether to prune the trial.

    Parameters
    ----------
    objective
        Measures pairs.
    order
        Ids of all pairs of the search, in the order in which they are measured.
    options
        `spending_options` and `jobs`.
    """

    pruner: BasePruner | None = None
    """What the study prunes trials with."""

    def __init__(
        self, objective: "Objective", order: Sequence[str], options: SearchOptions
    ) -> None:
        self.objective = objective
        self.options = options
        by_id = {pair.id: pair for pair in objective.pairs}
        self.pairs = [by_id[pair] for pair in order if pair in by_id]
        step_of = {pair.id: step for step, pair in enumerate(objective.pairs)}
        self.steps = [step_of[pair.id] for pair in self.pairs]

    def __call__(self, trial: Trial) -> float:
        """Measure a trial as far as it is worth it, and return its mean score over all pairs.

        Raises
        ------
        optuna.TrialPruned
            If others are better; the trial has the mean score of the pairs that were measured.
        SearchError, FailedPairsError
            As `Objective` raises.
        """
        index = self.objective.suggest(trial)
        stops = self.stops()
        found: list[Scores] = []
        start = 0
        for stop in stops:
            found.append(self.objective.measure(index, self.pairs[start:stop]))
            self.report(trial, found, start)
            start = stop
            trial.set_user_attr(MEASURED_PAIRS, stop)
            if stop < len(self.pairs) and trial.should_prune():
                self.prune(trial, found)
        return self.objective.tell(trial, joined(found))

    def stops(self) -> list[int]:
        """Return after how many pairs it is asked whether to prune; the last one is all."""
        return [len(self.pairs)]

    def report(self, trial: Trial, found: Sequence["Scores"], start: int) -> None:
        """Tell Optuna what was measured: nothing, where no trial is pruned."""

    def prune(self, trial: Trial, found: Sequence["Scores"]) -> None:
        """End a trial with the mean score of what was measured."""
        score = self.objective.tell(trial, joined(found))
        # a pruned trial has the value of its last step: one behind those of all pairs
        trial.report(score, step=len(self.pairs))
        raise optuna.TrialPruned


class SpendByTest(Spending):
    """`spending = "wilcoxon"`: a trial is pruned when it is worse than the best one by a signed-rank test.

    Reports the score of each pair, the pair's place in the objective as the step.
    """

    def __init__(
        self, objective: "Objective", order: Sequence[str], options: SearchOptions
    ) -> None:
        super().__init__(objective, order, options)
        arguments = {"n_startup_steps": FEWEST_PAIRS, **options.spending_options}
        self._fewest = int(arguments["n_startup_steps"])
        self.pruner = _made(WilcoxonOfAll, arguments)

    def stops(self) -> list[int]:
        """Return where it is tested: after the fewest pairs, and then after each `jobs`."""
        jobs = max(1, self.options.jobs)
        first = max(1, math.ceil(self._fewest / jobs)) * jobs
        everything = len(self.pairs)
        between = range(first, everything, jobs)
        return [*between, everything]

    def report(self, trial: Trial, found: Sequence["Scores"], start: int) -> None:
        """Report each pair's score, but for those that lack the label."""
        latest = found[-1]
        for place, score in enumerate(latest.scores.tolist()):
            if math.isfinite(score):
                trial.report(score, step=self.steps[start + place])


class SpendByHalving(Spending):
    """`spending = "halving"`: a trial goes on where it is among the better third at as many pairs.

    Reports the mean score so far, the number of pairs as the step.
    """

    def __init__(
        self, objective: "Objective", order: Sequence[str], options: SearchOptions
    ) -> None:
        super().__init__(objective, order, options)
        everything = len(self.pairs)
        arguments = {
            "min_resource": max(FEWEST_PAIRS, math.ceil(everything / REDUCTION**RUNGS)),
            "reduction_factor": REDUCTION,
            **options.spending_options,
        }
        self.pruner = _made(SuccessiveHalvingPruner, arguments)
        self._first = int(arguments["min_resource"])
        self._factor = int(arguments["reduction_factor"])

    def stops(self) -> list[int]:
        """Return the rungs: every one has `reduction_factor` times the pairs of the one before."""
        rungs = []
        rung = self._first
        while rung < len(self.pairs):
            rungs.append(rung)
            rung *= self._factor
        return [*rungs, len(self.pairs)]

    def report(self, trial: Trial, found: Sequence["Scores"], start: int) -> None:
        """Report the mean score of all pairs so far."""
        score, _ = self.objective.means(joined(found))
        measured = start + len(found[-1].scores)
        trial.report(score, step=measured)

    def prune(self, trial: Trial, found: Sequence["Scores"]) -> None:
        """End a trial; its last report is its mean already."""
        self.objective.tell(trial, joined(found))
        raise optuna.TrialPruned


SPENDING: dict[str, type[Spending]] = {
    "all": Spending,
    "wilcoxon": SpendByTest,
    "halving": SpendByHalving,
}
"""By `search.spending`."""


def make_spending(objective: "Objective", pairs: pd.DataFrame, options: SearchOptions) -> Spending:
    """Return the objective that spends pairs as `search.spending` declares.

    Parameters
    ----------
    objective
        Measures pairs.
    pairs
        All that are searched: their order is the same in the studies of all scopes.
    options
        `spending`, `spending_options`, `jobs` and `seed`.

    Raises
    ------
    SearchError
        If the pruner refuses its arguments.
    """
    order = pair_order(pairs, options.seed)
    return SPENDING[options.spending](objective, order, options)


def _made(pruner: type[BasePruner], arguments: dict[str, bool | int | float]) -> BasePruner:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return pruner(**arguments)
    except Exception as error:  # what the pruner raises
        raise SearchError(
            "search.spending_options",
            expected=f"arguments of {pruner.__name__}",
            got=one_line(error),
            advice="Correct them.",
        ) from error


class WilcoxonOfAll(WilcoxonPruner):
    """Optuna's pruner, comparing with the best trial of all, not the best of those within the limits.

    Where no trial obeys the limit there would be nothing to compare with, and none would be pruned.
    Trials that were added without the scores of their pairs are passed over.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a trial is worse than the best one; not where it has its very scores, as of its setting."""
        best = _Best(study)
        of_best = best.scores
        is_different = [
            score != of_best.get(step) for step, score in trial.intermediate_values.items()
        ]
        # a test of ties alone takes scipy seconds, and can tell nothing
        if not any(is_different):
            return False
        return super().prune(cast(Study, best), trial)


class _Best:
    """The two attributes of a study that the pruner reads."""

    def __init__(self, study: Study) -> None:
        self.direction = study.direction
        self._study = study

    @cached_property
    def _found(self) -> FrozenTrial | None:
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        of_pairs = [trial for trial in finished if trial.intermediate_values]
        return best_by_score(self.direction, of_pairs)

    @property
    def best_trial(self) -> FrozenTrial:
        """The best finished trial whose scores of single pairs are known."""
        if self._found is None:
            raise ValueError("no trial is complete")  # as Optuna's study says it
        return self._found

    @property
    def scores(self) -> dict[int, float]:
        """Its scores of pairs, by their place; none where there is no such trial."""
        return {} if self._found is None else self._found.intermediate_values


def best_by_score(direction: StudyDirection, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the trial with the best value, of equals the first; None of none."""
    if not trials:
        return None
    best = max if direction == StudyDirection.MAXIMIZE else min
    return best(trials, key=lambda trial: cast(float, trial.value))


def joined(found: Sequence["Scores"]) -> "Scores":
    """Return several scores as one."""
    kind = type(found[0])
    limited = {}
    for name in found[0].limited:
        limited[name] = np.concatenate([one.limited[name] for one in found])
    return kind(
        scores=np.concatenate([one.scores for one in found]),
        folding=np.concatenate([one.folding for one in found]),
        limited=limited,
    )
