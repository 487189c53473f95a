"""Comparison of search methods, written to `samplers.csv` and `samplers.md`.

Run `python -m benchmarks.samplers`. It compares them on synthetic curves, and on every scope of the
studies that have a dense sweep (`hmopt search FOLDER --dense`, then `hmopt report FOLDER
--results`), whose best of all lattice points is known.
"""

import io
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

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
    problem: str, baseline: str, search: Baseline, responses: Sequence[Response], trials: int
) -> Line:
    """Search each response by itself."""
    needed, ends = [], []
    for number, response in enumerate(responses):
        scores, places = response.scores, search(response.scores, trials, SEED + number)
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


def curve_lines() -> Iterable[Line]:
    """Search the synthetic curves."""
    for family, responses in families(COUNT, SEED).items():
        yield search_each_by_plan(family, responses)
        for name, search in baselines().items():
            yield search_each(family, name, search, responses, TRIALS)


def study_lines(study: Swept) -> Iterable[Line]:
    """Search the scopes of a study: all at once with shared settings, and some of them one by one."""
    section, everything = study.section, f"{study.name}, all scopes"
    places = planned_places(study.measurements, section)
    yield score_shared(everything, "hmopt search", places, study.responses)
    for count in (len(places), TRIALS):
        yield score_shared(
            everything, "even places", even(study.responses[0].scores, count, SEED), study.responses
        )
    drawn = np.random.default_rng(SEED).permutation(len(study.responses))[:COUNT]
    some = [study.responses[number] for number in sorted(drawn)]
    for name, search in baselines().items():
        yield search_each(f"{study.name}, {len(some)} scopes", name, search, some, TRIALS)


def surface_lines() -> Iterable[Line]:
    """Search the synthetic surfaces over two hyperparameters, exact and noisy."""
    responses = surfaces(COUNT // 4, SEED)
    yield search_each_by_plan("surface", responses)
    for problem, noise in (("surface", 0.0), (f"surface, noise {NOISE}", NOISE)):
        for name, search in samplers(noise).items():
            yield search_each(problem, name, search, responses, TRIALS_2D)


def write(lines: Sequence[Line]) -> str:
    """Write both tables; return the Markdown one."""
    table = pd.DataFrame([asdict(line) for line in lines])
    with replacing(FOLDER / "samplers.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    text = io.StringIO()
    for problem, part in table.groupby("problem", sort=False):
        text.write(f"\n**{problem}** ({part['responses'].iloc[0]})\n\n{_HEAD}")
        for line in lines:
            if line.problem == problem:
                text.write(_row(line))
    with replacing(FOLDER / "samplers.md") as beside:
        beside.write_text(_INTRODUCTION + text.getvalue(), encoding="utf-8")
    return text.getvalue()


_HEAD = (
    "| | settings | within | median | worst | regret | humps missed |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)
_INTRODUCTION = """# Ways to find the best setting

Written by `python -m benchmarks.samplers`. *Settings*: trials of each search, or settings per pair that all scopes
share; *within*: share of searches that end within 0.001, or a standard error over subjects, of the best of all lattice
points; *median*, *worst*: trials until the regret was below 0.001 (–: not within these trials; empty: shared);
*regret*: the largest at the end. With noise, a search is judged by the best place it visited, whatever it saw there.
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


def main() -> None:
    """Run everything and print the tables."""
    lines = []
    for found in (
        curve_lines(),
        surface_lines(),
        *(study_lines(study) for study in swept_studies()),
    ):
        for line in found:
            print(f"{line.problem}: {line.baseline}", file=sys.stderr)
            lines.append(line)
    print(write(lines))


if __name__ == "__main__":
    main()
