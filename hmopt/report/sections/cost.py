"""What the hypermorph costs against a grid of separately trained networks."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hmopt.analysis.baselines import BaselineComparison, Budget, Replicates
from hmopt.analysis.cost import Cost, Work, break_even, find_cost, training_work
from hmopt.declaration.search import SearchOptions
from hmopt.report.budgets import at_both
from hmopt.report.figure import MUTED, OTHER, OWN, PAPER, new_figure
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import number

DRAWN = (2, 3, 5, 9, 15, 20)
"""Values of each hyperparameter on the grids of the figure."""

SHOWN = (5, 9, 20)
"""Those of the table."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What one training and one measured pair take, and how much is measured.

    Parameters
    ----------
    hypermorph, separate
        One training of either.
    measured
        One pair at one setting.
    pairs
        Pairs measured at each setting.
    search
        How many settings a search measures.
    """

    hypermorph: Work
    separate: Work
    measured: Work
    pairs: int
    search: SearchOptions

    def searched(self, hyperparameters: int) -> int:
        """Give how many settings a search measures at most."""
        return int(self.search.coarse**hyperparameters) + self.search.refinements

    def cost(self, hyperparameters: int, values: int) -> Cost:
        """Give what a grid of so many values of each hyperparameter costs."""
        searched = self.searched(hyperparameters)
        return find_cost(
            self.hypermorph,
            self.separate,
            self.measured,
            self.pairs,
            hyperparameters,
            values,
            searched,
        )

    def break_even(self, hyperparameters: int) -> int:
        """Give from how many settings on separate networks cost more."""
        searched = self.searched(hyperparameters)
        return break_even(self.hypermorph, self.separate, self.measured, self.pairs, searched)

    def of_model(self, steps: int, batch: int, minutes: float | None) -> "Prices":
        """Give the same with the searched hypermorph: what its training took, or as long a step where unknown."""
        work = self.hypermorph * (steps * batch / self.hypermorph.evaluations)
        return replace(
            self, hypermorph=work if minutes is None else replace(work, seconds=60 * minutes)
        )


def find_prices(
    compared: BaselineComparison, budget: Budget, batch: int, pairs: int, search: SearchOptions
) -> Prices:
    """Give what trainings took by the clock; a measured pair is taken to last as long as one in training.

    A pair in training takes three times the operations that it takes to register it: its gradients take two. A step of
    a hypermorph adds three times those of the hypernetwork, shared by the pairs of the batch.
    """
    separate, hypermorphs = compared.separate, budget.hypermorphs
    single = _trained(separate, batch, 3 * compared.pair_operations)
    amortized = _trained(
        hypermorphs, batch, 3 * (compared.pair_operations + compared.setting_operations / batch)
    )
    seconds = single.seconds / single.evaluations
    measured = Work(seconds=seconds, evaluations=1, operations=compared.pair_operations)
    return Prices(
        hypermorph=amortized, separate=single, measured=measured, pairs=pairs, search=search
    )


def _trained(family: Replicates, batch: int, operations: float) -> Work:
    return training_work(family.steps, batch, 60 * family.minutes / family.steps, operations)


def cost_section(material: Material) -> Section | None:
    """Give the section; None where nothing was compared, or trainings took no time that was told."""
    compared, study = material.compared, material.study
    if compared is None or study is None or not compared.separate.minutes > 0:
        return None
    hyperparameters = len(material.searched.space.names)

    def prices(budget: Budget) -> Prices:
        pairs = len(material.measurements.pairs)
        return find_prices(compared, budget, study.training.batch, pairs, material.searched.search)

    main = prices(compared.main)
    own = main.of_model(study.training.steps, study.training.batch, material.training_minutes)
    searched = own.break_even(hyperparameters)
    costs = at_both(
        compared,
        lambda budget: _numbers(budget, compared.separate, prices(budget), hyperparameters),
    )
    return Section(
        anchor="cost",
        title="What does it cost?",
        found=found(compared, main.break_even(hyperparameters), searched, study.training.steps),
        figures={"cost": cost_figure(main)},
        table=pd.DataFrame(
            [_row(main.cost(count, values)) for count in (1, 2) for values in SHOWN]
        ),
        notes=tuple(_notes(main, hyperparameters)),
        numbers={
            **costs,
            "break_even_settings_searched": searched,
            "searched_steps": study.training.steps,
        },
    )


def found(
    compared: BaselineComparison, settings: int, of_searched: int, searched_steps: int
) -> str:
    """Give both trainings by the clock, and from how many settings on a hypermorph is cheaper."""
    hypermorphs, separate = compared.main.hypermorphs, compared.separate
    return (
        f"One hypermorph of {hypermorphs.steps} steps trained for {number(hypermorphs.minutes, 1)} minutes, "
        f"{number(compared.main.cost_ratio, 1)} times as long as one separate network of {separate.steps} steps "
        f"({number(separate.minutes, 1)} minutes); with the search it costs less than such networks for {settings} "
        f"settings or more. The model that was searched has {searched_steps} steps: it costs less from {of_searched} "
        "settings on."
    )


def cost_figure(prices: Prices) -> Figure:
    """Give hours against the values of each hyperparameter on the grid, for one and two hyperparameters."""
    figure = new_figure(6.6, 3.9)
    axes = figure.subplots()
    for count, line, word in ((1, "-", "one hyperparameter"), (2, "--", "two")):
        costs = [prices.cost(count, values) for values in DRAWN]
        separate, amortized = (
            [getattr(cost, side).seconds / 3600 for cost in costs] for side in _SIDES
        )
        axes.plot(
            DRAWN,
            separate,
            f"s{line}",
            color=OTHER,
            markerfacecolor=PAPER,
            label=f"separate networks, {word}",
        )
        axes.plot(
            DRAWN, amortized, line, color=OWN, linewidth=2, label=f"hypermorph and search, {word}"
        )
    axes.axhline(
        prices.separate.seconds / 3600,
        color=MUTED,
        linewidth=1,
        linestyle=":",
        label="one separate network",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(DRAWN)
    axes.set_xlabel("values of each hyperparameter")
    axes.set_ylabel("hours")
    figure.legend(loc="outside lower left", ncols=2, handlelength=2.6)
    return figure


_SIDES = ("separate", "amortized")
_COUNTS = {1: "one hyperparameter", 2: "two hyperparameters"}


def _row(cost: Cost) -> dict[str, str]:
    return {
        "": f"{cost.values} values of {cost.hyperparameters} hyperparameter{'s' * (cost.hyperparameters > 1)}",
        "settings": str(cost.settings),
        "hours, separate networks": number(cost.separate.seconds / 3600, 1),
        "hours, hypermorph and search": number(cost.amortized.seconds / 3600, 1),
        "times as long": number(cost.ratio, 1),
        "pairs registered, separate networks": _thousands(cost.separate),
        "pairs registered, hypermorph and search": _thousands(cost.amortized),
        **_operations(cost),
    }


def _operations(cost: Cost) -> dict[str, str]:
    """Give what was counted, where it was."""
    if math.isnan(cost.separate.operations):
        return {}
    return {
        "operations (10¹²), separate networks": _whole(cost.separate.operations / 1e12),
        "operations (10¹²), hypermorph and search": _whole(cost.amortized.operations / 1e12),
    }


def _thousands(work: Work) -> str:
    return f"{_whole(work.evaluations / 1000)} thousand"


def _whole(count: float) -> str:
    return f"{round(count):,}".replace(",", " ")


def _notes(prices: Prices, hyperparameters: int) -> list[str]:
    other = 3 - hyperparameters
    notes = [
        f"Times are of this study's trainings on the machine that ran them, the median of each kind; each setting is "
        f"measured on {prices.pairs} pairs, and a measured pair is counted like one in training."
    ]
    if other in _COUNTS:
        notes.append(
            f"Hypermorphs of {_COUNTS[hyperparameters]} were trained; for {_COUNTS[other]} they are taken to need as "
            "many steps."
        )
    return notes


def _numbers(
    budget: Budget, separate: Replicates, prices: Prices, hyperparameters: int
) -> dict[str, Any]:
    return {
        "training_cost_ratio": budget.cost_ratio,
        "training_operations_ratio": prices.hypermorph.operations / prices.separate.operations,
        "break_even_settings": prices.break_even(hyperparameters),
        "hypermorph_minutes": budget.hypermorphs.minutes,
        "separate_minutes": separate.minutes,
        "hypermorph_steps": budget.hypermorphs.steps,
        "separate_steps": separate.steps,
    }
