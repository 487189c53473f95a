"""Comparison of amortized models with separately trained networks, for all scopes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.agreement import Agreement, Regret, find_agreement, find_regret
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.model_scores import Robustness, ensemble_gain, find_robustness, spread_ratio
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.resampling import Estimate
from hmopt.catalogue import find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.baselines import Baseline, Comparison, RateTrial, Role
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Index, Setting, Space

GAP_TOLERANCES = 1.5
"""How much better separate networks may be where an amortized model is equivalent to them, in
tolerances of the metric."""


def negligible_gap(metric: str, margin: float | None = None) -> float:
    """Return how much better separate networks may be for an amortized model to stand for them.

    Parameters
    ----------
    metric
        Name of the metric.
    margin
        The declared margin of the search; None: the metric's own tolerance.

    Examples
    --------
    >>> negligible_gap("dice"), negligible_gap("hd95_mm"), negligible_gap("hd95_mm", margin=0.5)
    (0.003, 0.03, 0.75)
    """
    return GAP_TOLERANCES * margin_of(find_metric(metric), margin)


Read = Callable[[Baseline], Measurements]
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicates:
    """Trainings of one kind and length that differ in their seed alone.

    Parameters
    ----------
    role, steps
        What was trained, and for how many steps.
    minutes
        Wall time of one training, the median.
    learning_rate
        Adam's at the start; None where it was not recorded, or differs between settings.
    along
        By scope: spread over those that hold every setting of the grid.
    at_optimum
        By scope: spread over all of them at the cohort's best setting.
    ensemble
        Number of members of the largest ensemble; 0 where there is none.
    ensemble_gains
        By scope: how much better it is at the cohort's best setting than its members are on
        average.
    """

    role: Role
    steps: int
    minutes: float
    learning_rate: float | None
    along: Mapping[Scope, Robustness]
    at_optimum: Mapping[Scope, Robustness]
    ensemble: int
    ensemble_gains: Mapping[Scope, Estimate]


@dataclass(frozen=True, kw_only=True, eq=False)
class Budget:
    """Hypermorphs of one length of training, against separate networks; all by scope.

    Parameters
    ----------
    hypermorphs
        The hypermorphs.
    times
        Their steps as a multiple of those of one separate network.
    cost_ratio
        Wall time of training one of them, as a multiple of that of one separate network.
    agreements, regrets
        Against the separate networks that hold the whole grid.
    spread_ratios
        Their spread over seeds at the cohort's best setting, as a multiple of that of separate
        networks, and whether it differs from 1.
    """

    hypermorphs: Replicates
    times: float
    cost_ratio: float
    agreements: Mapping[Scope, Agreement]
    regrets: Mapping[Scope, Regret]
    spread_ratios: Mapping[Scope, tuple[Estimate, Evidence]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenRates:
    """The learning rates of separate networks, where each setting has the best of several (R).

    Parameters
    ----------
    rates
        The R rates that were tried, rising.
    settings
        The S settings, sorted on the lattice.
    tune_dice
        Shape (S, R): Dice on pairs to tune on at the end of training, of the first seed; NaN where
        training diverged.
    chosen
        The rate of each setting, for all seeds.
    minutes
        Wall time of all R trainings of a setting, the mean over settings; one that diverged took as
        long as it lasted.
    steps
        Optimizer steps of all R trainings of a setting, the mean over settings.
    """

    rates: tuple[float, ...]
    settings: tuple[Setting, ...]
    tune_dice: NDArray[np.float64]
    chosen: tuple[float, ...]
    minutes: float
    steps: float


def chosen_rates(trials: Sequence[RateTrial], steps: int, space: Space) -> ChosenRates | None:
    """Return which learning rates were tried and chosen for networks of so many steps; None where one was declared.

    Parameters
    ----------
    trials
        Those of a comparison.
    steps
        Of each training, as it was declared.
    space
        The hyperparameters.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> both = {"steps": 100, "setting": (190,), "steps_done": 100, "minutes": 2.0}
    >>> trials = [
    ...     RateTrial(learning_rate=0.002, tune_dice=0.70, diverged=False, chosen=True, **both),
    ...     RateTrial(learning_rate=0.004, tune_dice=0.65, diverged=False, chosen=False, **both),
    ... ]
    >>> found = chosen_rates(trials, 100, Space(hyperparameters=(Hyperparameter(name="regularization"),)))
    >>> found.chosen, found.minutes
    ((0.002,), 4.0)
    """
    of_steps = [trial for trial in trials if trial.steps == steps]
    if not of_steps:
        return None
    rates = sorted({trial.learning_rate for trial in of_steps})
    indices: list[Index] = sorted({trial.setting for trial in of_steps})
    tune_dice = np.full((len(indices), len(rates)), np.nan)
    chosen = dict.fromkeys(indices, np.nan)
    for trial in of_steps:
        row = indices.index(trial.setting)
        column = rates.index(trial.learning_rate)
        if trial.tune_dice is not None:
            tune_dice[row, column] = trial.tune_dice
        if trial.chosen:
            chosen[trial.setting] = trial.learning_rate
    return ChosenRates(
        rates=tuple(rates),
        settings=tuple(space.setting(index) for index in indices),
        tune_dice=tune_dice,
        chosen=tuple(chosen.values()),
        minutes=sum(trial.minutes for trial in of_steps) / len(indices),
        steps=sum(trial.steps_done for trial in of_steps) / len(indices),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class BaselineComparison:
    """A comparison of amortized models with separately trained networks.

    Parameters
    ----------
    optimum, default
        The cohort's best setting by the model that was searched, and the default setting.
    separate
        The separately trained networks.
    budgets
        Hypermorphs of each length of training, the shortest first; at least one.
    pair_operations, setting_operations
        As of the comparison; NaN where they were not counted.
    full_steps
        Of separate networks that trained longer, at the cohort's best setting alone; None where
        there are none.
    confirmed
        By scope: the searched model against them.
    chosen_rates
        The learning rates of the separate networks, where each setting has the best of several;
        None where one was declared for all.
    """

    optimum: Setting
    default: Setting
    separate: Replicates
    budgets: tuple[Budget, ...]
    pair_operations: float
    setting_operations: float
    full_steps: int | None
    confirmed: Mapping[Scope, Agreement]
    chosen_rates: ChosenRates | None = None

    @property
    def main(self) -> Budget:
        """The hypermorphs that were trained longest, which conclusions are about."""
        return self.budgets[-1]

    @property
    def equal(self) -> Budget | None:
        """The hypermorphs of as many steps as a separate network; None where there are none."""
        for budget in self.budgets:
            if budget.times == 1:
                return budget
        return None


def compare_baselines(
    comparison: Comparison,
    read: Read,
    model: Measurements,
    scopes: Sequence[Scope],
    options: SearchOptions,
) -> BaselineComparison | None:
    """Compare hypermorphs with separate networks, at the settings that these were trained at.

    The settings are those of the grid, the cohort's best and the default one.

    Parameters
    ----------
    comparison
        The baselines that were trained.
    read
        Returns the measurements of a baseline.
    model
        Measurements of the model that was searched.
    scopes
        Whom or what settings are chosen for; the cohort among them.
    options
        Metric, margin, splits of the subjects and seed.

    Returns
    -------
    BaselineComparison or None
        None where not both sides hold the whole grid for some pair.

    Raises
    ------
    LedgerError
        If a baseline was not measured.
    """
    analysis = _Comparing(comparison, read, scopes, options)
    networks = analysis.trained("separate", comparison.steps)
    separate = analysis.replicates(networks)
    budgets = []
    for steps in dict.fromkeys((comparison.steps, comparison.hypermorph_steps)):
        hypermorphs = analysis.trained("hypermorph", steps)
        if hypermorphs.whole and networks.whole:
            budget = analysis.budget(hypermorphs, networks, separate)
            if WHOLE_COHORT in budget.agreements:
                budgets.append(budget)
    if not budgets:
        return None
    return BaselineComparison(
        optimum=model.space.setting(comparison.optimum),
        default=model.space.setting(comparison.default),
        separate=separate,
        budgets=tuple(budgets),
        pair_operations=_known(comparison.pair_operations),
        setting_operations=_known(comparison.setting_operations),
        full_steps=comparison.full_steps,
        confirmed=analysis.confirmed(model),
        chosen_rates=chosen_rates(comparison.rate_trials, comparison.steps, model.space),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trained:
    """Trainings of one kind and length, with their measurements.

    Parameters
    ----------
    role, steps, minutes, learning_rate
        As of `Replicates`.
    singles
        Measurements of each training, by seed.
    whole
        Those of `singles` that hold the whole grid.
    members
        Seeds of the members of the largest ensemble; empty where there is none.
    ensemble
        Its measurements.
    """

    role: Role
    steps: int
    minutes: float
    learning_rate: float | None
    singles: Mapping[str, Measurements]
    whole: Mapping[str, Measurements]
    members: Sequence[int]
    ensemble: Measurements | None


class _Comparing:
    """One comparison: which trainings there are, and how they compare for every scope."""

    def __init__(
        self, comparison: Comparison, read: Read, scopes: Sequence[Scope], options: SearchOptions
    ) -> None:
        self.comparison = comparison
        self.read = read
        self.scopes = scopes
        self.options = options

    def trained(self, role: Role, steps: int) -> _Trained:
        """Read the trainings of one kind and length, at the settings that are compared."""
        comparison = self.comparison
        compared = sorted({*comparison.grid, comparison.optimum, comparison.default})
        baselines = comparison.singles(role, steps)
        singles = {}
        whole = {}
        for baseline in baselines:
            seed = str(baseline.seeds[0])
            singles[seed] = self.read(baseline).at(compared)
            if set(comparison.grid) <= set(singles[seed].settings):
                whole[seed] = singles[seed]
        minutes = np.nan
        learning_rate = None
        if baselines:
            of_networks = [baseline.minutes / baseline.networks for baseline in baselines]
            minutes = float(np.median(of_networks))
            learning_rate = baselines[0].learning_rate
        members: Sequence[int] = ()
        ensemble = None
        ensembles = comparison.ensembles(role, steps)
        if ensembles:
            largest = ensembles[-1]
            members = largest.seeds
            ensemble = self.read(largest)
        return _Trained(
            role=role,
            steps=steps,
            minutes=minutes,
            learning_rate=learning_rate,
            singles=singles,
            whole=whole,
            members=members,
            ensemble=ensemble,
        )

    def replicates(self, trained: _Trained) -> Replicates:
        """Compute spreads over seeds, and what the ensemble gains."""
        metric = self.options.metric
        optimum = [self.comparison.optimum]
        at_optimum = {seed: one.at(optimum) for seed, one in trained.singles.items()}
        members = {str(seed): at_optimum[str(seed)] for seed in trained.members}
        ensemble = trained.ensemble

        def spread_along(scope: Scope) -> Robustness | None:
            if not trained.whole:
                return None
            return find_robustness(trained.whole, scope, metric)

        def spread_at_optimum(scope: Scope) -> Robustness | None:
            if not at_optimum:
                return None
            return find_robustness(at_optimum, scope, metric)

        def gain_of_ensemble(scope: Scope) -> Estimate | None:
            if ensemble is None:
                return None
            return ensemble_gain(members, ensemble, scope, metric)

        return Replicates(
            role=trained.role,
            steps=trained.steps,
            minutes=trained.minutes,
            learning_rate=trained.learning_rate,
            along=self._for_scopes(spread_along),
            at_optimum=self._for_scopes(spread_at_optimum),
            ensemble=len(trained.members),
            ensemble_gains=self._for_scopes(gain_of_ensemble),
        )

    def budget(self, trained: _Trained, networks: _Trained, separate: Replicates) -> Budget:
        """Compare hypermorphs of one length of training with separate networks."""
        hypermorphs = self.replicates(trained)
        options = self.options

        def agreement(scope: Scope) -> Agreement | None:
            amortized = trained.whole
            return find_agreement(amortized, networks.whole, scope, options.metric)

        def regret(scope: Scope) -> Regret | None:
            amortized = trained.whole
            return find_regret(amortized, networks.whole, scope, options)

        def ratio(scope: Scope) -> tuple[Estimate, Evidence] | None:
            one = hypermorphs.at_optimum.get(scope)
            other = separate.at_optimum.get(scope)
            if one is None or other is None:
                return None
            return spread_ratio(one.score_spread, one.models, other.score_spread, other.models)

        cost_ratio = trained.minutes / networks.minutes if networks.minutes else np.nan
        return Budget(
            hypermorphs=hypermorphs,
            times=trained.steps / networks.steps,
            cost_ratio=cost_ratio,
            agreements=self._for_scopes(agreement),
            regrets=self._for_scopes(regret),
            spread_ratios=self._for_scopes(ratio),
        )

    def confirmed(self, model: Measurements) -> dict[Scope, Agreement]:
        """Compare the searched model with networks that trained longer, at its best setting."""
        steps = self.comparison.full_steps
        if steps is None:
            return {}
        separate = self.trained("separate", steps)
        longer = separate.singles
        at_optimum = model.at([self.comparison.optimum])

        def agreement(scope: Scope) -> Agreement | None:
            searched = {"model": at_optimum}
            return find_agreement(searched, longer, scope, self.options.metric)

        return self._for_scopes(agreement)

    def _for_scopes(self, find: Callable[[Scope], Found | None]) -> dict[Scope, Found]:
        """Return what is found for each scope, where something is."""
        results = {}
        for scope in self.scopes:
            found = find(scope)
            if found is not None:
                results[scope] = found
        return results


def _known(count: int | None) -> float:
    if count is None:
        return np.nan
    return float(count)
