"""Everything that follows from a comparison of amortized models with separately trained networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hmopt.analysis.agreement import Agreement, find_agreement
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.regret import Regret, find_regret
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.robustness import Robustness, ensemble_gain, find_robustness, spread_ratio
from hmopt.catalogue import find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.baselines import Baseline, Comparison, Role
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting

GAP_TOLERANCES = 1.5
"""Tolerances of a metric by which separate networks may be better, for an amortized model to stand for them."""

COHORT = Scope(criteria=())


def negligible_gap(metric: str) -> float:
    """Return how much better separate networks may be for an amortized model to stand for them.

    Examples
    --------
    >>> negligible_gap("dice"), negligible_gap("hd95_mm")
    (0.003, 0.03)
    """
    return GAP_TOLERANCES * find_metric(metric).tolerance


Read = Callable[[Baseline], Measurements]
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """Trainings of one kind that differ in their seed alone.

    Parameters
    ----------
    role, steps
        What was trained, and how long.
    minutes
        One training, the median.
    learning_rate
        Adam's at the start; None where it was not recorded.
    along
        By scope: spread over those that hold every setting of the grid.
    at_optimum
        By scope: spread over all of them at the cohort's best setting.
    ensemble
        How many the largest ensemble averages; 0 where there is none.
    ensemble_gains
        By scope: how much better it is at the cohort's best setting than its members are on average.
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
        How many times as long one of them trains as one separate network, by the clock.
    agreements, regrets
        Against the separate networks that hold the whole grid.
    spread_ratios
        How many times as much they differ from seed to seed at the cohort's best setting, and what that says.
    """

    hypermorphs: Family
    times: float
    cost_ratio: float
    agreements: Mapping[Scope, Agreement]
    regrets: Mapping[Scope, Regret]
    spread_ratios: Mapping[Scope, tuple[Estimate, Evidence]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What a comparison says.

    Parameters
    ----------
    optimum, default
        The cohort's best setting by the model that was searched, and the one of who does not search.
    separate
        The separately trained networks.
    budgets
        Against hypermorphs of each length of training, the shortest first; at least one.
    pair_operations, setting_operations
        As of the comparison; NaN where they were not counted.
    full_steps
        Of separate networks that trained longer, at the cohort's best setting alone; None where there are none.
    confirmed
        By scope: the searched model against them.
    """

    optimum: Setting
    default: Setting
    separate: Family
    budgets: tuple[Budget, ...]
    pair_operations: float
    setting_operations: float
    full_steps: int | None
    confirmed: Mapping[Scope, Agreement]

    @property
    def main(self) -> Budget:
        """The hypermorphs that were trained longest: whom the text is about."""
        return self.budgets[-1]

    @property
    def equal(self) -> Budget | None:
        """The hypermorphs of as many steps as a separate network; None where there are none."""
        return next((budget for budget in self.budgets if budget.times == 1), None)


def find_compared(
    comparison: Comparison,
    read: Read,
    model: Measurements,
    scopes: Sequence[Scope],
    section: SearchOptions,
) -> Compared | None:
    """Give what a comparison says; None where not both sides hold the whole grid for some pair.

    Every side is looked at where separate networks were trained: on the grid, and at the best and the default setting.

    Parameters
    ----------
    comparison
        Who was compared.
    read
        Gives the measurements of a baseline.
    model
        Measurements of the model that was searched.
    scopes
        Whose pairs; the cohort among them.
    section
        Metric, margin, divisions of the subjects and seed.

    Raises
    ------
    LedgerError
        If a baseline was not measured.
    """
    table = _Table(comparison, read, scopes, section)
    separate = table.seats("separate", comparison.steps)
    lengths = dict.fromkeys((comparison.steps, comparison.hypermorph_steps))
    sides = [table.seats("hypermorph", steps) for steps in lengths]
    rivals = table.family(separate)
    budgets = tuple(
        table.budget(side, separate, rivals) for side in sides if side.whole and separate.whole
    )
    if not any(COHORT in budget.agreements for budget in budgets):
        return None
    return Compared(
        optimum=model.space.setting(comparison.optimum),
        default=model.space.setting(comparison.default),
        separate=rivals,
        budgets=tuple(budget for budget in budgets if COHORT in budget.agreements),
        pair_operations=_known(comparison.pair_operations),
        setting_operations=_known(comparison.setting_operations),
        full_steps=comparison.full_steps,
        confirmed=table.confirmed(model),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seats:
    """Measurements of one kind and length of training: by seed, those with the whole grid, and an ensemble's."""

    role: Role
    steps: int
    minutes: float
    learning_rate: float | None
    singles: Mapping[str, Measurements]
    whole: Mapping[str, Measurements]
    ensemble: tuple[Baseline, Measurements] | None


class _Table:
    """Who sits where, and what is asked of them."""

    def __init__(
        self, comparison: Comparison, read: Read, scopes: Sequence[Scope], section: SearchOptions
    ) -> None:
        self.comparison, self.read, self.scopes, self.section = comparison, read, scopes, section
        self.known: list[Index] = sorted({*comparison.grid, comparison.optimum, comparison.default})

    def seats(self, role: Role, steps: int) -> _Seats:
        baselines = self.comparison.singles(role, steps)
        singles = {str(one.seeds[0]): self.read(one).at(self.known) for one in baselines}
        ensembles = self.comparison.ensembles(role, steps)
        minutes = [one.minutes / one.networks for one in baselines]
        return _Seats(
            role=role,
            steps=steps,
            minutes=float(np.median(minutes)) if minutes else np.nan,
            learning_rate=baselines[0].learning_rate if baselines else None,
            singles=singles,
            whole={
                seed: one
                for seed, one in singles.items()
                if {*self.comparison.grid} <= {*one.settings}
            },
            ensemble=(ensembles[-1], self.read(ensembles[-1])) if ensembles else None,
        )

    def family(self, seats: _Seats) -> Family:
        best = {seed: one.at([self.comparison.optimum]) for seed, one in seats.singles.items()}
        metric = self.section.metric
        return Family(
            role=seats.role,
            steps=seats.steps,
            minutes=seats.minutes,
            learning_rate=seats.learning_rate,
            along=self._each(
                lambda scope: find_robustness(seats.whole, scope, metric) if seats.whole else None
            ),
            at_optimum=self._each(
                lambda scope: find_robustness(best, scope, metric) if best else None
            ),
            ensemble=len(seats.ensemble[0].seeds) if seats.ensemble else 0,
            ensemble_gains=self._ensemble_gains(seats, best),
        )

    def budget(self, side: _Seats, separate: _Seats, rivals: Family) -> Budget:
        hypermorphs, section = self.family(side), self.section
        return Budget(
            hypermorphs=hypermorphs,
            times=side.steps / separate.steps,
            cost_ratio=side.minutes / separate.minutes if separate.minutes else np.nan,
            agreements=self._each(
                lambda scope: find_agreement(side.whole, separate.whole, scope, section.metric)
            ),
            regrets=self._each(
                lambda scope: find_regret(side.whole, separate.whole, scope, section)
            ),
            spread_ratios={
                scope: _spread_ratio(one, rivals.at_optimum[scope])
                for scope, one in hypermorphs.at_optimum.items()
                if scope in rivals.at_optimum
            },
        )

    def confirmed(self, model: Measurements) -> dict[Scope, Agreement]:
        steps, metric = self.comparison.full_steps, self.section.metric
        if steps is None:
            return {}
        longer = self.seats("separate", steps).singles
        at_optimum = {"model": model.at([self.comparison.optimum])}
        return self._each(lambda scope: find_agreement(at_optimum, longer, scope, metric))

    def _ensemble_gains(
        self, seats: _Seats, best: Mapping[str, Measurements]
    ) -> dict[Scope, Estimate]:
        if seats.ensemble is None:
            return {}
        team, together = seats.ensemble
        members = {str(seed): best[str(seed)] for seed in team.seeds}
        metric = self.section.metric
        return self._each(lambda scope: ensemble_gain(members, together, scope, metric))

    def _each(self, find: Callable[[Scope], Found | None]) -> dict[Scope, Found]:
        """Give what is found for each scope, where something is."""
        return {scope: found for scope in self.scopes if (found := find(scope)) is not None}


def _known(count: int | None) -> float:
    return np.nan if count is None else float(count)


def _spread_ratio(one: Robustness, other: Robustness) -> tuple[Estimate, Evidence]:
    return spread_ratio(one.score_spread, one.models, other.score_spread, other.models)
