"""Comparison of search methods, written to `samplers.md` from two tables.

Run `python -m benchmarks.samplers`. It compares them

- on measured curves of single persons, with and without a warm start (`benchmarks.regret`):
  `samplers-problems.csv`;
- on synthetic curves, and on every scope of the studies that have a dense sweep (`hmopt search
  FOLDER --dense`, then `hmopt report FOLDER --results`), whose best of all lattice points is known:
  `samplers.csv`.

`python -m benchmarks.samplers problems` makes the first table alone, `searches` the second, and
`text` writes the text from the tables that there are.
"""

import argparse
import io
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import regret
from benchmarks.baselines import Baseline, baselines, even, samplers, space_of
from benchmarks.responses import (
    NEGLIGIBLE_REGRET,
    Response,
    Swept,
    families,
    surfaces,
    swept_studies,
)
from benchmarks.rows import Measured, row
from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.ledger import Measurements
from hmopt.search import coarse_settings, confirming_settings

FOLDER = Path(__file__).parent
SEARCHES = FOLDER / "samplers.csv"
PROBLEMS = FOLDER / "samplers-problems.csv"
TEXT = FOLDER / "samplers.md"
COUNT = 20
TRIALS = 24
TRIALS_2D = 50
NOISE = 0.002
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """Result of one search method on one kind of problem.

    Parameters
    ----------
    problem, baseline
        What was searched, and the method.
    responses
        Number of curves, surfaces or scopes.
    settings
        Trials of each, or settings per pair for all of them together where they share them.
    within
        Share whose regret ends below 0.001 or its standard error.
    median, worst
        Trials until the regret was below 0.001; infinite where it never was; NaN where they are shared.
    regret
        The largest at the end.
    missed
        Number of searches that ended on the lower hump.
    """

    problem: str
    baseline: str
    responses: int
    settings: int
    within: float
    median: float
    worst: float
    regret: float
    missed: int


def search_each(
    problem: str,
    baseline: str,
    search: Baseline,
    responses: Sequence[Response],
    trials: int,
    seed: int = SEED,
) -> Line:
    """Search each response by itself."""
    needed, ends = [], []
    for number, response in enumerate(responses):
        scores, places = response.scores, search(response.scores, trials, seed + number)
        regrets = [response.regret(place) for place in places]
        needed.append(
            next(
                (n for n, regret in enumerate(regrets, start=1) if regret < NEGLIGIBLE_REGRET),
                np.inf,
            )
        )
        ends.append(max(places, key=lambda place: scores.flat[place]))
    return _line(problem, baseline, responses, ends, trials, statistics.median(needed), max(needed))


def score_shared(
    problem: str, baseline: str, places: Sequence[int], responses: Sequence[Response]
) -> Line:
    """Score places that are measured once for all responses."""
    ends = [max(places, key=lambda place: response.scores.flat[place]) for response in responses]
    return _line(problem, baseline, responses, ends, len(places), np.nan, np.nan)


def _line(
    problem: str,
    baseline: str,
    responses: Sequence[Response],
    ends: Sequence[int],
    settings: int,
    median: float,
    worst: float,
) -> Line:
    judged = list(zip(responses, ends, strict=True))
    return Line(
        problem=problem,
        baseline=baseline,
        responses=len(responses),
        settings=settings,
        within=statistics.mean(response.within(place) for response, place in judged),
        median=median,
        worst=worst,
        regret=max(response.regret(place) for response, place in judged),
        missed=sum(response.missed(place) for response, place in judged),
    )


def planned_places(measurements: Measurements, section: SearchOptions) -> list[int]:
    """Return the places that `hmopt search` measures, given measurements of the whole lattice."""
    settings = coarse_settings(measurements.space, section)
    while further := confirming_settings(measurements.at(settings), section):
        settings = sorted([*settings, *further])
    shape = [hyperparameter.points for hyperparameter in measurements.space.hyperparameters]
    return [int(np.ravel_multi_index(setting, shape)) for setting in settings]


def as_measurements(response: Response) -> Measurements:
    """Return a response as the measurements of one pair."""
    space = space_of(response.scores)
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    return Measurements(
        identity="0",
        space=space,
        settings=tuple(np.ndindex(response.scores.shape)),
        pairs=pd.DataFrame([["a->b", "a", "b", "a", "b", "cross"]], columns=columns),
        labels=("structure",),
        values={"dice": response.scores.reshape(-1, 1, 1)},
    )


def search_each_by_plan(problem: str, responses: Sequence[Response]) -> Line:
    """Search each response by itself, by the plan of a sweep."""
    section = SearchOptions(scopes=[["cohort"]])
    found = [planned_places(as_measurements(response), section) for response in responses]
    ends = [
        max(places, key=lambda p: r.scores.flat[p])
        for r, places in zip(responses, found, strict=True)
    ]
    counts = [len(places) for places in found]
    return _line(
        problem,
        "hmopt search",
        responses,
        ends,
        max(counts),
        statistics.median(counts),
        max(counts),
    )


def curve_lines(seed: int) -> Iterable[Line]:
    """Search the synthetic curves."""
    for family, responses in families(COUNT, seed).items():
        yield search_each_by_plan(family, responses)
        for name, search in baselines().items():
            yield search_each(family, name, search, responses, TRIALS, seed)


def study_lines(study: Swept, seed: int) -> Iterable[Line]:
    """Search the scopes of a study: all at once with shared settings, and some of them one by one."""
    section, everything = study.section, f"{study.name}, all scopes"
    places = planned_places(study.measurements, section)
    yield score_shared(everything, "hmopt search", places, study.responses)
    for count in (len(places), TRIALS):
        yield score_shared(
            everything, "even places", even(study.responses[0].scores, count, seed), study.responses
        )
    drawn = np.random.default_rng(seed).permutation(len(study.responses))[:COUNT]
    some = [study.responses[number] for number in sorted(drawn)]
    for name, search in baselines().items():
        yield search_each(f"{study.name}, {len(some)} scopes", name, search, some, TRIALS, seed)


def surface_lines(seed: int) -> Iterable[Line]:
    """Search the synthetic surfaces over two hyperparameters, exact and noisy."""
    responses = surfaces(COUNT // 4, seed)
    yield search_each_by_plan("surface", responses)
    for problem, noise in (("surface", 0.0), (f"surface, noise {NOISE}", NOISE)):
        for name, search in samplers(noise).items():
            yield search_each(problem, name, search, responses, TRIALS_2D, seed)


def read_lines() -> list[Line]:
    """Read the committed results on synthetic curves and on studies with a dense sweep."""
    records: list[dict[str, Any]] = pd.read_csv(SEARCHES).to_dict("records")  # type: ignore[assignment]
    return [Line(**values) for values in records]


def render(lines: Sequence[Line], problems: pd.DataFrame) -> str:
    """Return the text, as Markdown, on searches (`Line`) and on problems (`regret.Run`)."""
    text = io.StringIO()
    text.write(_TITLE)
    text.write(regret.render(problems))
    text.write(_INTRODUCTION)
    by_problem: dict[str, list[Line]] = {}
    for line in lines:
        by_problem.setdefault(line.problem, []).append(line)
    for problem, part in by_problem.items():
        text.write(f"\n**{problem}** ({part[0].responses})\n\n{_HEAD}")
        for line in part:
            text.write(_row(line))
    return text.getvalue()


_HEAD = (
    "| | settings | within | median | worst | regret | humps missed |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)
_TITLE = """# Ways to find the best setting

Written by `python -m benchmarks.samplers`.
"""
_INTRODUCTION = """
## Known curves, and all scopes of a study at once

Written from `samplers.csv`. *hmopt search* plans one sweep that all scopes share. *Settings*: trials of each search, or
settings per pair that all scopes share; *within*: share of searches that end within 0.001, or a standard error over
subjects, of the best of all lattice points; *median*, *worst*: trials until the regret was below 0.001 (–: not within
these trials; empty: shared); *regret*: the largest at the end. With noise, a search is evaluated by the best setting
that it measured, by scores without noise.
"""


def _row(line: Line) -> str:
    return (
        f"| {line.baseline} | {line.settings} | {100 * line.within:.1f} % | {_trials(line.median)} "
        f"| {_trials(line.worst)} | {line.regret:.4f} | {line.missed or ''} |\n"
    )


def _trials(value: float) -> str:
    return "" if np.isnan(value) else "–" if np.isinf(value) else f"{value:g}"


@row(
    "settings-per-pair",
    goal=13,
    better="lower",
    unit="settings",
    against="a dense sweep of 201 settings",
    network="the committed studies' models",
)
def settings_per_pair() -> Measured:
    """The most that any study needs; more than the goal where a scope in a hundred is not within the regret."""
    lines = [
        score_shared(
            study.name, "", planned_places(study.measurements, study.section), study.responses
        )
        for study in swept_studies()
    ]
    notes = [
        f"{x.problem}: {x.settings} settings, {100 * x.within:.1f} % of {x.responses} scopes"
        for x in lines
    ]
    solved = [line.settings if line.within >= 0.99 else np.inf for line in lines]
    return Measured(
        max(solved, default=np.inf),
        f"{'; '.join(notes)} within 0.001 or a standard error of its best",
    )


def search_all(seed: int) -> None:
    """Search synthetic curves and surfaces and studies with a dense sweep; write the table."""
    lines = []
    for found in (
        curve_lines(seed),
        surface_lines(seed),
        *(study_lines(study, seed) for study in swept_studies()),
    ):
        for line in found:
            print(f"{line.problem}: {line.baseline}", file=sys.stderr)
            lines.append(line)
    table = pd.DataFrame([asdict(line) for line in lines])
    with replacing(SEARCHES) as beside:
        table.to_csv(beside, index=False, float_format="%.6g")


def main() -> None:
    """Make the tables that are asked for, and write the text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "part", nargs="?", choices=["all", "problems", "searches", "text"], default="all"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of everything that is drawn")
    parser.add_argument(
        "--resume", action="store_true", help="keep the problems that the file holds"
    )
    given = parser.parse_args()
    if given.part in ("all", "problems"):
        regret.main(given.seed, PROBLEMS, given.resume)
    if given.part in ("all", "searches"):
        search_all(given.seed)
    with replacing(TEXT) as beside:
        beside.write_text(render(read_lines(), pd.read_csv(PROBLEMS)), encoding="utf-8")


if __name__ == "__main__":
    main()
