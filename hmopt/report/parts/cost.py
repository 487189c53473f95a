"""The training cost of a hypermorph beside that of a grid of separately trained networks."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hmopt.analysis.baselines import BaselineComparison, Budget, Replicates
from hmopt.analysis.cost import Cost, Work, break_even_settings, find_cost, training_work
from hmopt.report.figure import MUTED, OTHER, OWN, PAPER, legend, new_figure
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.summary import at_both
from hmopt.report.words import duration, number, plural
from hmopt.search.lattice import coarse_count

DRAWN = (2, 3, 5, 9, 15, 20)
"""Values of each hyperparameter on the grids of the figure."""

SHOWN = (5, 9, 20)
"""Those of the table."""

SECONDS_AN_HOUR = 3600


class CostPart(ReportPart):
    """Time to train and search a hypermorph, against a grid of separate networks."""

    anchor = "cost"
    place = Place.CHECKS
    needs = ("compared", "study")

    def section(self, material: Material) -> Section | None:
        """Return the cost; None where the duration of trainings is not known, or registrations are refined.

        A refined registration takes longer than is known from trainings, of a hypermorph as of separate networks.
        """
        compared = material.compared
        study = material.study
        assert compared is not None
        assert study is not None
        if not compared.separate.minutes > 0 or material.searched.refine.iterations:
            return None
        count = len(material.searched.space.names)
        batch = study.training.batch
        steps = study.training.steps
        pairs = len(material.measurements.pairs)
        settings = searched_settings(material)

        def numbers(budget: Budget) -> dict[str, Any]:
            prices = find_prices(compared, budget, batch, pairs, settings)
            return _numbers(budget, compared.separate, prices, count)

        main = find_prices(compared, compared.main, batch, pairs, settings)
        searched = main.of_model(steps, batch, material.training_minutes)
        settings_searched = searched.break_even()
        known = main.at_known_rates()
        return Section(
            title="Training cost",
            found=found(compared, main.break_even(), settings_searched, steps, known.break_even()),
            figures={"cost": cost_figure(main, count)},
            table=pd.DataFrame([_row(main.cost(count, values)) for values in SHOWN]),
            notes=_notes(compared, pairs),
            numbers={
                **at_both(compared, numbers),
                "break_even_settings_searched": settings_searched,
                "searched_steps": steps,
                **_rates_numbers(compared, known.break_even()),
            },
        )


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The work of one training and of one measured pair, and how much is measured.

    Parameters
    ----------
    hypermorph
        One training.
    network
        One training of a separate network.
    separate
        What a separate network of a setting takes: one training, or all those among which its
        learning rate was chosen.
    measured
        One pair at one setting.
    pairs
        Pairs measured at each setting.
    searched
        How many settings a search measures.
    """

    hypermorph: Work
    network: Work
    separate: Work
    measured: Work
    pairs: int
    searched: int

    def cost(self, hyperparameters: int, values: int) -> Cost:
        """Return the cost of a grid with so many values of each hyperparameter."""
        return find_cost(
            self.hypermorph,
            self.separate,
            self.measured,
            self.pairs,
            hyperparameters,
            values,
            self.searched,
        )

    def break_even(self) -> int:
        """Return the number of settings from which on separate networks cost more."""
        return break_even_settings(
            self.hypermorph, self.separate, self.measured, self.pairs, self.searched
        )

    def at_known_rates(self) -> "Prices":
        """Return the same as if the best learning rate of each setting had been known before."""
        return replace(self, separate=self.network)

    def of_model(self, steps: int, batch: int, minutes: float | None) -> "Prices":
        """Return the same with the searched hypermorph, whose training took `minutes`; None: as long a step."""
        work = self.hypermorph * (steps * batch / self.hypermorph.evaluations)
        if minutes is not None:
            work = replace(work, seconds=60 * minutes)
        return replace(self, hypermorph=work)


def searched_settings(material: Material) -> int:
    """Return how many settings the search measures: by the plan at most, by a sampler what it did."""
    searched = material.searched
    if searched.search.sampler == "plan":
        count = len(searched.space.names)
        return coarse_count(count, searched.search.coarse) + searched.search.refinements
    if searched.spent is None:
        return len(material.measurements.settings)
    return searched.spent.settings


def find_prices(
    compared: BaselineComparison, budget: Budget, batch: int, pairs: int, searched: int
) -> Prices:
    """Return what trainings took by the clock; a measured pair is taken to last as long as one in training.

    A pair in training takes three times the operations of registering it, since gradients take two. A step of a
    hypermorph adds three times the operations of the hypernetwork, shared by the pairs of the batch.
    """
    pair = compared.pair_operations
    hypernetwork = compared.setting_operations / batch
    single = _trained(compared.separate, batch, 3 * pair)
    amortized = _trained(budget.hypermorphs, batch, 3 * (pair + hypernetwork))
    tried = single
    rates = compared.chosen_rates
    if rates is not None:
        evaluations = rates.steps * batch
        tried = Work(
            seconds=60 * rates.minutes,
            evaluations=evaluations,
            operations=evaluations * 3 * pair,
        )
    seconds = single.seconds / single.evaluations
    measured = Work(seconds=seconds, evaluations=1, operations=pair)
    return Prices(
        hypermorph=amortized,
        network=single,
        separate=tried,
        measured=measured,
        pairs=pairs,
        searched=searched,
    )


def _trained(family: Replicates, batch: int, operations: float) -> Work:
    seconds_a_step = 60 * family.minutes / family.steps
    return training_work(family.steps, batch, seconds_a_step, operations)


def found(
    compared: BaselineComparison,
    settings: int,
    of_searched: int,
    searched_steps: int,
    at_known_rates: int,
) -> str:
    """Return both trainings by the clock, and from how many settings on a hypermorph is cheaper."""
    hypermorphs = compared.main.hypermorphs
    separate = compared.separate
    ratio = number(compared.main.cost_ratio, 1)
    networks = "such networks"
    if_known = ""
    rates = compared.chosen_rates
    if rates is not None:
        tried = f"{number(rates.minutes, 1)} minutes per setting"
        networks += (
            f", each trained at {len(rates.rates)} learning rates to find its best ({tried}),"
        )
        if_known = (
            f" With known learning rates, it would cost less from {plural(at_known_rates, 'setting')}; trials of the "
            "learning rate of the hypermorph are not counted."
        )
    return (
        f"One hypermorph of {hypermorphs.steps} steps trained for {number(hypermorphs.minutes, 1)} minutes, "
        f"{ratio} times as long as one separate network of {separate.steps} steps ({number(separate.minutes, 1)} "
        f"minutes). Including the search, it costs less than {networks} from {plural(settings, 'setting')}."
        f"{if_known} The searched model was trained for {searched_steps} steps and costs less from "
        f"{plural(of_searched, 'setting')}."
    )


def cost_figure(prices: Prices, hyperparameters: int = 1) -> Figure:
    """Draw hours against the values of each hyperparameter on the grid."""
    costs = [prices.cost(hyperparameters, values) for values in DRAWN]
    separate = [cost.separate.seconds / SECONDS_AN_HOUR for cost in costs]
    amortized = [cost.amortized.seconds / SECONDS_AN_HOUR for cost in costs]
    single = prices.network.seconds / SECONDS_AN_HOUR
    figure = new_figure(6.6, 3.9)
    axes = figure.subplots()
    axes.plot(
        DRAWN,
        separate,
        "s-",
        color=OTHER,
        markerfacecolor=PAPER,
        label="separate networks",
    )
    axes.plot(
        DRAWN,
        amortized,
        "-",
        color=OWN,
        linewidth=2,
        label="hypermorph and search",
    )
    label = "one separate network"
    axes.axhline(
        single,
        color=MUTED,
        linewidth=1,
        linestyle=":",
        label=label,
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(DRAWN)
    axes.set_xlabel(
        "values of each hyperparameter" if hyperparameters > 1 else "values on the grid"
    )
    axes.set_ylabel("hours")
    legend(figure, handlelength=2.6)
    return figure


def _notes(compared: BaselineComparison, pairs: int) -> tuple[str, ...]:
    times = (
        "Times are medians over the trainings of this study on the machine that ran them. Each setting is "
        f"measured on {pairs} pairs; the time per measured pair is taken to be the time per training pair."
    )
    if compared.chosen_rates is None:
        return (times,)
    trials = (
        "The cost of separate networks includes all trainings used to choose the learning rate, including those "
        "that diverged, each with its actual duration. The hypermorph uses one learning rate for all settings and "
        "counts once."
    )
    return times, trials


def _row(cost: Cost) -> dict[str, str]:
    grid = f"{cost.settings} settings"
    if cost.hyperparameters > 1:
        grid += f", {cost.values} values of each hyperparameter"
    return {
        "": grid,
        "separate networks": duration(cost.separate.seconds / 60),
        "hypermorph and search": duration(cost.amortized.seconds / 60),
        "ratio of times": number(cost.ratio, 1),
        "pairs registered, separate networks": _thousands(cost.separate),
        "pairs registered, hypermorph and search": _thousands(cost.amortized),
    }


def _thousands(work: Work) -> str:
    count = round(work.evaluations / 1000)
    return f"{count:,} thousand"


def _numbers(
    budget: Budget, separate: Replicates, prices: Prices, hyperparameters: int
) -> dict[str, Any]:
    operations_ratio = prices.hypermorph.operations / prices.network.operations
    return {
        "training_cost_ratio": budget.cost_ratio,
        "training_operations_ratio": operations_ratio,
        "break_even_settings": prices.break_even(),
        "hypermorph_minutes": budget.hypermorphs.minutes,
        "separate_minutes": separate.minutes,
        "hypermorph_steps": budget.hypermorphs.steps,
        "separate_steps": separate.steps,
    }


def _rates_numbers(compared: BaselineComparison, at_known_rates: int) -> dict[str, Any]:
    rates = compared.chosen_rates
    if rates is None:
        return {}
    return {
        "separate_minutes_all_rates": rates.minutes,
        "break_even_settings_at_known_rates": at_known_rates,
    }
