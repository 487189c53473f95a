"""What adaptive spending of pairs costs and misses, written to `spending.csv` and `spending.md`.

Run `python -m benchmarks.spending`. An oracle of known response and realistic noise is searched in two
spaces: one number, and a choice with an integer and a number. A full grid measures every pair at
every one of its settings. What others spend is a share of that; their regret is how much worse, in
the population, the setting is that they choose than the best of the lattice.

The score of pair p at setting x is

    s(x, p) = f(x) + a_p + b_p · (x - x̄) + e(x, p)

with the response f, a difference between pairs a (SD 0.05), a difference of their slopes b (0.02 over
the range), and noise e (0.006): of the size of Dice of the hippocampus and of its differences.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.storages import InMemoryStorage

from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.ledger import PAIR_COLUMNS, Measurements, pair_records
from hmopt.records import Block, Pair
from hmopt.search import optimize_scopes
from hmopt.space import Hyperparameter, Index, Space, as_number

FOLDER = Path(__file__).parent
SEEDS = 20
SUBJECTS = 30
PAIRS = 60
LABEL = "hippocampus"

PAIR_SD, SLOPE_SD, NOISE_SD = 0.05, 0.02, 0.006

Way = Literal["grid", "all", "wilcoxon", "halving"]
WAYS: tuple[Way, ...] = ("grid", "all", "wilcoxon", "halving")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A space with its response, and how many trials a sampler gets.

    Parameters
    ----------
    name
        What the table calls it.
    space
        The hyperparameters.
    response
        f of the module's text, of places in [0, 1] of a setting's values.
    coarse
        Values of each number on the full grid.
    trials
        Of the sampler.
    """

    name: str
    space: Space
    response: Callable[[NDArray[np.float64]], float]
    coarse: int
    trials: int

    def score(self, index: Index) -> float:
        """Return f at a setting."""
        return self.response(self.places(index))

    def places(self, index: Index) -> NDArray[np.float64]:
        """Return the places of a setting's values along their ranges, in [0, 1]."""
        setting = self.space.setting(index)
        return np.array(self.space.to_unit_interval(setting))

    @property
    def best(self) -> float:
        """f at the best setting of the whole lattice."""
        axes = [range(one.points) for one in self.space.hyperparameters]
        scores = [self.score(index) for index in self.space.product(axes)]
        return max(scores)


def _one_response(places: NDArray[np.float64]) -> float:
    """Fall steeply above the best place, 0.55, and slowly below it, as Dice does along λ."""
    (place,) = places.tolist()
    distance = float(place) - 0.55
    steepness = 0.45 if distance > 0 else 0.12
    return 0.78 - steepness * distance**2


def _mixed_response(places: NDArray[np.float64]) -> float:
    """Have a best number for every choice, of which the last is best, and a best integer."""
    choice, whole, number = map(float, places)
    of_choice = {0.0: 0.75, 0.5: 0.768, 1.0: 0.78}[choice]
    best_number = 0.35 + 0.3 * choice
    return of_choice - 0.08 * (whole - 2 / 3) ** 2 - 0.15 * (number - best_number) ** 2


PROBLEMS = (
    Problem(
        name="one number",
        space=Space(
            hyperparameters=(Hyperparameter(name="weight", step=0.05, default=0.2),),
        ),
        response=_one_response,
        coarse=21,
        trials=10,
    ),
    Problem(
        name="choice, integer and number",
        space=Space(
            hyperparameters=(
                Hyperparameter(
                    name="similarity", type="categorical", choices=("MSE", "MI", "CC"), default="MI"
                ),
                Hyperparameter(
                    name="grid_spacing", type="integer", low=2, high=8, step=2, default=4
                ),
                Hyperparameter(
                    name="weight", low=0.01, high=10.0, step=0.05, prior="log-uniform", default=0.1
                ),
            )
        ),
        response=_mixed_response,
        coarse=10,
        trials=40,
    ),
)


class Noisy:
    """An oracle of a problem: pairs differ, and every measurement has its own noise, the same when repeated.

    Parameters
    ----------
    problem
        The response.
    seed
        Of the pairs and the noise.
    """

    labels = (LABEL,)

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.space = problem.space
        self.identity = f"{problem.name} {seed}"
        generator = np.random.default_rng(seed)
        self.table = _pairs(generator)
        ids = self.table["pair"]
        self._place = {pair: place for place, pair in enumerate(ids)}
        self._offsets = generator.normal(0, PAIR_SD, PAIRS)
        self._slopes = generator.normal(0, SLOPE_SD, PAIRS)
        self._seed = seed
        self.evaluated: set[tuple[Index, str]] = set()

    @property
    def pairs(self) -> list[Pair]:
        """The pairs."""
        return pair_records(self.table)

    def scores(self, index: Index) -> NDArray[np.float64]:
        """Return the scores of all pairs at a setting."""
        last = self.problem.places(index)[-1]
        noise = np.random.default_rng([self._seed, *index]).normal(0, NOISE_SD, PAIRS)
        of_pairs = self._offsets + self._slopes * (last - 0.5)
        scores: NDArray[np.float64] = self.problem.score(index) + of_pairs + noise
        return scores

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Yield a block for each setting, and keep what was asked."""
        ids = tuple(pair.id for pair in pairs)
        places = [self._place[pair] for pair in ids]
        for index in settings:
            self.evaluated.update((index, pair) for pair in ids)
            scores = self.scores(index)[places]
            values = {"dice": scores[:, None], "folding": np.zeros(len(ids))}
            yield Block(index=index, pairs=ids, labels=self.labels, values=values)

    def measurements(self, settings: Sequence[Index]) -> Measurements:
        """Measure all pairs at some settings."""
        blocks = list(self.measure(settings, self.pairs, ("dice", "folding")))
        return Measurements(
            identity=self.identity,
            space=self.space,
            settings=tuple(settings),
            pairs=self.table,
            labels=self.labels,
            values={
                "dice": np.stack([block.values["dice"] for block in blocks]),
                "folding": np.stack([block.values["folding"] for block in blocks]),
            },
        )

    def complete(self) -> list[Index]:
        """Return the settings at which all pairs were measured."""
        settings = sorted({index for index, _ in self.evaluated})
        counts = dict.fromkeys(settings, 0)
        for index, _ in self.evaluated:
            counts[index] += 1
        return [index for index in settings if counts[index] == PAIRS]


def _pairs(generator: np.random.Generator) -> pd.DataFrame:
    """Draw different ordered pairs of subjects."""
    names = [f"{number:03d}" for number in range(SUBJECTS)]
    possible = [(moving, fixed) for moving in names for fixed in names if moving != fixed]
    chosen = generator.choice(len(possible), PAIRS, replace=False)
    rows = []
    for place in chosen.tolist():
        moving, fixed = possible[place]
        rows.append((f"{moving}->{fixed}", moving, fixed, moving, fixed, "cross"))
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one search spent, and how much worse than the best its choice is."""

    evaluations: int
    regret: float


def run(problem: Problem, way: Way, seed: int) -> Run:
    """Search a problem once, and choose the best mean of the settings that were measured on all pairs."""
    oracle = Noisy(problem, seed)
    if way == "grid":
        oracle.measurements(problem.space.coarse(problem.coarse))
    else:
        _search(oracle, way, seed)
    means = {index: float(oracle.scores(index).mean()) for index in oracle.complete()}
    chosen = max(means, key=lambda index: means[index])
    return Run(
        evaluations=len(oracle.evaluated),
        regret=as_number(problem.best - problem.score(chosen)),
    )


def _search(oracle: Noisy, way: Way, seed: int) -> None:
    """Search as `hmopt search` does, with Optuna's TPESampler."""
    assert way != "grid"
    problem = oracle.problem
    options = SearchOptions(
        sampler="TPESampler",
        trials=problem.trials,
        spending=way,
        reported=[],
        scopes=[["cohort"]],
        seed=seed,
    )
    default = problem.space.index(problem.space.default)
    known = oracle.measurements([default])
    settings = optimize_scopes(oracle, known, options, problem.name, InMemoryStorage())
    oracle.measurements(settings)


@dataclass(frozen=True, kw_only=True)
class Line:
    """Results of one way to spend pairs on one problem, over seeds.

    Parameters
    ----------
    problem, way
        What was searched, and how.
    seeds
        How many.
    evaluations
        Pairs at settings, mean.
    share
        Of the evaluations of the full grid.
    regret, worst
        Mean and largest regret.
    """

    problem: str
    way: str
    seeds: int
    evaluations: float
    share: float
    regret: float
    worst: float


def line(problem: Problem, way: Way, seeds: Sequence[int]) -> Line:
    """Search a problem with several seeds."""
    runs = [run(problem, way, seed) for seed in seeds]
    grid = problem.space.count(problem.coarse) * PAIRS
    evaluations = statistics.fmean(one.evaluations for one in runs)
    return Line(
        problem=problem.name,
        way=way,
        seeds=len(seeds),
        evaluations=evaluations,
        share=evaluations / grid,
        regret=statistics.fmean(one.regret for one in runs),
        worst=max(one.regret for one in runs),
    )


NAMES = {
    "grid": "full grid",
    "all": "TPESampler, all pairs",
    "wilcoxon": 'TPESampler, spending = "wilcoxon"',
    "halving": 'TPESampler, spending = "halving"',
}

INTRODUCTION = f"""# What adaptive spending costs and misses

Written by `python -m benchmarks.spending`: {SEEDS} seeds, {PAIRS} pairs of {SUBJECTS} subjects. *Evaluations*: pairs at
settings, mean over seeds, with those that complete the best setting and the default; *share*: of those
of the full grid; *regret*: how much worse the chosen setting is than the best of the lattice, in Dice of
the population, mean and largest over seeds.
"""


def write(lines: Sequence[Line]) -> None:
    """Write the table as CSV and as Markdown."""
    table = pd.DataFrame([asdict(one) for one in lines])
    with replacing(FOLDER / "spending.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    text = [INTRODUCTION]
    for problem in PROBLEMS:
        grid = problem.space.count(problem.coarse)
        text += [
            f"**{problem.name}** (grid of {grid} settings, {problem.trials} trials)\n",
            "| | evaluations | share | regret | largest |",
            "| --- | --- | --- | --- | --- |",
        ]
        for one in lines:
            if one.problem == problem.name:
                cells = [NAMES[one.way], f"{one.evaluations:,.0f}", f"{100 * one.share:.1f} %"]
                cells += [f"{one.regret:.4f}", f"{one.worst:.4f}"]
                text.append(f"| {' | '.join(cells)} |")
        text.append("")
    with replacing(FOLDER / "spending.md") as beside:
        beside.write_text("\n".join(text), encoding="utf-8")


def main() -> None:
    """Search every problem in every way, and write the table."""
    lines = []
    for problem in PROBLEMS:
        for way in WAYS:
            found = line(problem, way, range(SEEDS))
            lines.append(found)
            print(found)
    write(lines)


if __name__ == "__main__":
    main()
