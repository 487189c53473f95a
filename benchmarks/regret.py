"""Regret of samplers on measured response curves, with and without a warm start.

`python -m benchmarks.samplers` runs it. Problems are those of the package of benchmark problems in
`optunahub/`: λ of one structure for one person. Persons are the unit: each is drawn once per study, and
intervals are over persons. A warm start enqueues the best settings of the same structure for other
persons before the first trial.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from scipy import stats

from hmopt.files import replacing
from hmopt.report import words
from hmopt.search import quiet

PACKAGES = Path(__file__).parent.parent / "optunahub" / "package"

AFTER = (5, 10, 20, 40)
"""Trials after which the regret is looked at."""

RELATED = 3
"""Other persons whose best settings are enqueued for a warm start."""

NEGLIGIBLE = 0.002
"""A difference of Dice that reports call negligible."""

OURS = "CurveSampler"
NO_SEARCH = "enqueued settings alone"
COLD, WARM = "cold", "warm"
LEVEL = 0.95

GROUPS: dict[str, dict[str, int]] = {
    "Every value was measured": {"brains": 6, "cardiac": 6},
    "Values between 11 settings are interpolated": {"hippocampus": 3, "hearts_two_sites": 3},
}
"""Persons drawn from each study, by the part of the text that they stand in."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Regret of one search after 5, 10, 20 and 40 trials, in Dice.

    Parameters
    ----------
    study, label, subject
        The problem.
    sampler
        Its name.
    start
        `cold` or `warm`.
    after_5, after_10, after_20, after_40
        How much less Dice the best setting so far has than the best of all.
    """

    study: str
    label: str
    subject: str
    sampler: str
    start: str
    after_5: float
    after_10: float
    after_20: float
    after_40: float


@cache
def load(package: str) -> ModuleType:
    """Return a package of `optunahub/`, loaded as its registry's users load it."""
    import optunahub

    module: ModuleType = optunahub.load_local_module(package, registry_root=str(PACKAGES))
    return module


def problems(seed: int) -> Iterator[Any]:
    """Yield a problem for every person that is drawn, with a structure drawn for it; studies of a group in turn."""
    make = load("benchmarks/deformable_registration").Problem
    generator = np.random.default_rng(seed)
    for studies in GROUPS.values():
        of_studies = [_drawn(study, count, generator) for study, count in studies.items()]
        for turn in itertools.zip_longest(*of_studies):
            yield from (make(**scope) for scope in turn if scope is not None)


def _drawn(study: str, count: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """Return the scopes of some persons of a study, each of one structure."""
    make = load("benchmarks/deformable_registration").Problem
    of_subjects: dict[str, list[dict[str, Any]]] = {}
    for scope in make.scopes(study):
        if scope.keys() == {"study", "label", "subject"}:
            of_subjects.setdefault(scope["subject"], []).append(scope)
    subjects = generator.choice(sorted(of_subjects), count, replace=False)
    drawn = []
    for subject in subjects:
        scopes = of_subjects[str(subject)]
        drawn.append(scopes[generator.integers(len(scopes))])
    return drawn


def grid(problem: Any) -> dict[str, list[float]]:
    """Return 41 even values of λ, one more than trials."""
    values = [place / 40 for place in range(41)]
    return dict.fromkeys(problem.search_space, values)


Make = Callable[[Any, int], BaseSampler]

SAMPLERS: dict[str, Make] = {
    OURS: lambda problem, seed: load("samplers/curve_sampler").CurveSampler(
        problem.search_space, seed=seed
    ),
    "GPSampler": lambda problem, seed: GPSampler(seed=seed, deterministic_objective=True),
    "TPESampler": lambda problem, seed: TPESampler(seed=seed),
    "TPESampler, multivariate": lambda problem, seed: TPESampler(seed=seed, multivariate=True),
    "CmaEsSampler": lambda problem, seed: CmaEsSampler(seed=seed),
    "NSGAIISampler, population 10": lambda problem, seed: NSGAIISampler(
        population_size=10, seed=seed
    ),
    "QMCSampler": lambda problem, seed: QMCSampler(seed=seed, scramble=True),
    "GridSampler": lambda problem, seed: GridSampler(grid(problem), seed=seed),
    "BruteForceSampler": lambda problem, seed: BruteForceSampler(seed=seed),
    "RandomSampler": lambda problem, seed: RandomSampler(seed=seed),
}


def warm_settings(problem: Any, seed: int) -> list[dict[str, float]]:
    """Return the best settings of the same structure for some other persons, each once."""
    make = load("benchmarks/deformable_registration").Problem
    related = problem.related()
    generator = np.random.default_rng(seed)
    drawn = generator.choice(len(related), min(RELATED, len(related)), replace=False)
    found = [make(**related[number]).best_params for number in drawn]
    return [setting for place, setting in enumerate(found) if setting not in found[:place]]


def search(
    problem: Any, make: Make, enqueued: Sequence[dict[str, float]], seed: int
) -> list[float]:
    """Return the regret of the best setting so far after every trial."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = make(problem, seed)
        study = optuna.create_study(directions=problem.directions, sampler=sampler)
        for setting in enqueued:
            study.enqueue_trial(setting)
        study.optimize(problem, n_trials=max(AFTER))
    regrets = [problem.regret(trial.params) for trial in study.trials]
    best_so_far: list[float] = np.minimum.accumulate(regrets).tolist()
    return best_so_far


def run(problem: Any, sampler: str, start: str, regrets: Sequence[float]) -> Run:
    """Return the record of a search; one that ended early keeps its last regret."""
    at = [regrets[min(trials, len(regrets)) - 1] for trials in AFTER]
    return Run(
        study=problem.study,
        label=problem.scope["label"],
        subject=problem.scope["subject"],
        sampler=sampler,
        start=start,
        after_5=at[0],
        after_10=at[1],
        after_20=at[2],
        after_40=at[3],
    )


def runs(problem: Any, seed: int) -> list[Run]:
    """Search a problem with every sampler, without and with a warm start."""
    enqueued = warm_settings(problem, seed)
    found = []
    for name, make in SAMPLERS.items():
        found.append(run(problem, name, COLD, search(problem, make, [], seed)))
        found.append(run(problem, name, WARM, search(problem, make, enqueued, seed)))
    known = np.minimum.accumulate([problem.regret(setting) for setting in enqueued])
    found.append(run(problem, NO_SEARCH, WARM, known.tolist()))
    return found


def as_table(found: Sequence[Run]) -> pd.DataFrame:
    """Return runs as a table, regrets rounded to a millionth."""
    return pd.DataFrame([asdict(one) for one in found]).round(6)


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean over persons, and its 95 % t interval."""
    array = values.to_numpy(dtype=float)
    mean = float(array.mean())
    error = float(array.std(ddof=1)) / len(array) ** 0.5
    half = error * float(stats.t.ppf((1 + LEVEL) / 2, len(array) - 1))
    return mean, mean - half, mean + half


def render(table: pd.DataFrame) -> str:
    """Return the text on runs, as Markdown."""
    text = _INTRODUCTION
    for group, studies in GROUPS.items():
        part = table[table["study"].isin(list(studies))]
        persons = ", ".join(f"{count} of `{study}`" for study, count in studies.items())
        text += f"\n### {group} ({persons})\n"
        for start in (COLD, WARM):
            text += f"\n{_section(part[part['start'] == start], start)}"
    return text


def _section(part: pd.DataFrame, start: str) -> str:
    """Return the table of one start, and what is to be seen in it."""
    columns = [f"after_{trials}" for trials in AFTER]
    by_sampler = {str(name): rows for name, rows in part.groupby("sampler", sort=False)}
    head = " | ".join(f"after {trials}" for trials in AFTER)
    lines = [
        f"**{start.capitalize()} start**\n",
        f"| | {head} | after 20, less {OURS}'s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    ours = by_sampler[OURS].set_index(["study", "subject"])["after_20"]
    told_apart = []
    for name, rows in by_sampler.items():
        cells = []
        for column in columns:
            mean, low, high = interval(rows[column])
            cells.append(_cell(mean, max(low, 0.0), high))
        if name == OURS:
            cells.append("")
        else:
            theirs = rows.set_index(["study", "subject"])["after_20"]
            mean, low, high = interval(theirs - ours)
            cells.append(_cell(mean, low, high, sign="+"))
            if low > 0 or high < 0:
                told_apart.append(name)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    means = part.groupby("sampler", sort=False)[columns].mean()
    means = means.drop(index=NO_SEARCH, errors="ignore")
    lines += [_order(means), _differences(told_apart)]
    return "\n".join(lines)


def _order(means: pd.DataFrame) -> str:
    """Return which sampler has the lowest mean regret, where ours stands, and how many are near the best."""
    first, places, near = [], [], []
    for column, trials in zip(means.columns, AFTER, strict=True):
        first.append(f"{means[column].idxmin()!s} after {trials}")
        is_lower = means[column] < means.loc[OURS, column]
        places.append(_ordinal(int(is_lower.sum()) + 1))
        near.append(str(int((means[column] < NEGLIGIBLE).sum())))
    return (
        f"\nLowest mean regret: {', '.join(first)}. {OURS} ranks {words.listed(places)} of {len(means)}. "
        f"Mean regret is below {1000 * NEGLIGIBLE:g} thousandths for {words.listed(near)} samplers."
    )


def _ordinal(rank: int) -> str:
    """Return a rank as a sentence names it."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    is_teen = rank % 100 in (11, 12, 13)
    return f"{rank}th" if is_teen else f"{rank}{endings.get(rank % 10, 'th')}"


def _differences(told_apart: Sequence[str]) -> str:
    """Return whose difference from ours has an interval without 0."""
    if not told_apart:
        return f"\nNo difference from {OURS} after 20 trials has an interval that excludes 0.\n"
    names = "; ".join(told_apart)
    return f"\nDifferences from {OURS} after 20 trials whose interval excludes 0: {names}.\n"


def _cell(mean: float, low: float, high: float, sign: str = "") -> str:
    """Return a mean and its interval, in thousandths."""
    # 0.00, not -0.00
    rounded = [round(1000 * value, 2) + 0.0 for value in (mean, low, high)]
    shown = [f"{value:{sign}.2f}" for value in rounded]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


_INTRODUCTION = f"""
## Optuna's samplers on measured curves

Written from `samplers-problems.csv`. λ of one structure for one subject, from the studies' measurements
([the problems](../optunahub/package/benchmarks/deformable_registration/README.md)). Each subject is one problem, with a
structure drawn at random. *Regret*: Dice of the best of 201 values minus that of the best setting measured so far, in
thousandths, mean over subjects with a 95 % t interval, cut at 0. Reports call {1000 * NEGLIGIBLE:g} thousandths
negligible. *Less {OURS}'s*: the paired difference of regrets; above 0 the other sampler is worse.

*Warm start*: the best settings of the same structure for {RELATED} other subjects are enqueued first, the same for
every sampler; *{NO_SEARCH}* measures nothing else. {OURS} has no warm start of its own: it counts enqueued trials as
measured, and measures its coarse settings all the same.

Intervals are not adjusted for the number of comparisons, so that none of them is evidence. In the brains and the
hippocampus subjects share partners, which makes intervals somewhat narrow. {OURS} is deterministic; the others run once
for each subject, each time with another seed, and all that begin with random trials begin with the same ones. With one
hyperparameter multivariate TPE is identical to TPE. Samplers of OptunaHub's registry are left out: this runs without a
network.

{OURS} draws cubic splines, by which the interpolated curves were made, and is favoured there. Where every value was
measured it is not.
"""


def main(seed: int, file: Path, resume: bool = False) -> None:
    """Search every problem that a seed draws; write the file anew after each.

    Parameters
    ----------
    seed
        Of the problems that are drawn, of the warm starts and of the samplers.
    file
        Where the table is written.
    resume
        Keep the problems that the file holds. They must be of the same seed and samplers.
    """
    parts = [pd.read_csv(file)] if resume and file.is_file() else []
    known = {(row.study, row.subject) for part in parts for row in part.itertuples()}
    for number, problem in enumerate(problems(seed)):
        if (problem.study, problem.scope["subject"]) in known:
            continue
        print(problem, file=sys.stderr)
        parts.append(as_table(runs(problem, 1000 * seed + number)))
        with replacing(file) as beside:
            pd.concat(parts).to_csv(beside, index=False)
