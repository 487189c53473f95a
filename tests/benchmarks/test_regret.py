"""The comparison of samplers on measured curves: how it searches, and that its text says what its table holds."""

import csv
import math
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.samplers import BaseSampler, GridSampler, RandomSampler
from scipy import stats

pytest.importorskip("optunahub", reason="problems are loaded by optunahub")

from benchmarks.regret import (
    AFTER,
    COLD,
    GROUPS,
    NO_SEARCH,
    OURS,
    RELATED,
    SAMPLERS,
    WARM,
    interval,
    load,
    problems,
    run,
    search,
    warm_settings,
)
from benchmarks.samplers import PROBLEMS, TEXT, read_lines, render

SEED = 0


@pytest.fixture(scope="module")
def problem() -> Any:
    return load("benchmarks/deformable_registration").Problem(
        "brains", label="hippocampus", subject="sub-1003"
    )


def rows() -> list[dict[str, str]]:
    with PROBLEMS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary(values: list[float]) -> tuple[float, float, float]:
    """Return the mean and its 95 % t interval in thousandths, by the textbook."""
    mean = statistics.mean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    return 1000 * mean, 1000 * (mean - half), 1000 * (mean + half)


def numbers(cell: str) -> list[float]:
    """Return the numbers of a cell as `1.20 (−0.30 to 2.70)`."""
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", cell)]


def test_the_text_is_that_of_the_committed_tables() -> None:
    expected = render(read_lines(), pd.read_csv(PROBLEMS))
    assert TEXT.read_text(encoding="utf-8") == expected, "run: python -m benchmarks.samplers text"


def test_every_number_of_the_tables_in_the_text_is_computed_again_from_the_runs() -> None:
    text = TEXT.read_text(encoding="utf-8")
    compared = 0
    for group, studies in GROUPS.items():
        section = text[text.index(f"### {group}") :]
        for start in (COLD, WARM):
            part = section[section.index(f"**{start.capitalize()} start**") :]
            kept = [row for row in rows() if row["study"] in studies and row["start"] == start]
            shown = re.findall(r"^\| ([A-Za-z].*?) \| (.*) \|$", part, re.MULTILINE)
            names = list(dict.fromkeys(row["sampler"] for row in kept))
            for name, cells in shown[: len(names)]:
                own = {r["subject"]: r for r in kept if r["sampler"] == name}
                ours = {r["subject"]: r for r in kept if r["sampler"] == OURS}
                columns = [
                    [float(row[f"after_{trials}"]) for row in own.values()] for trials in AFTER
                ]
                if name != OURS:
                    columns.append(
                        [
                            float(own[subject]["after_20"]) - float(ours[subject]["after_20"])
                            for subject in own
                        ]
                    )
                for place, values in enumerate(columns):
                    mean, low, high = summary(values)
                    is_regret = place < len(AFTER)
                    expected = (mean, max(low, 0) if is_regret else low, high)
                    cell = cells.split(" | ")[place]
                    assert numbers(cell) == pytest.approx(expected, abs=0.00501)
                    compared += 1
            assert [name for name, _ in shown[: len(names)]] == names
    assert compared == len(GROUPS) * (5 * 2 * len(SAMPLERS) - 2 + 5)


def test_the_sentences_below_the_tables_are_those_of_the_runs() -> None:
    text = TEXT.read_text(encoding="utf-8")
    sentences = re.findall(
        r"Lowest mean regret: (.*?)\. CurveSampler ranks (.*?) of 10\. "
        r"Mean regret is below 2 thousandths for (.*?) samplers\.\n\n.* CurveSampler after 20 trials (.*)\.",
        text,
    )
    expected = []
    for studies in GROUPS.values():
        for start in (COLD, WARM):
            kept = [row for row in rows() if row["study"] in studies and row["start"] == start]
            expected.append(told(kept))
    assert sentences == expected


def told(kept: list[dict[str, str]]) -> tuple[str, str, str, str]:
    """Return the lowest, the places of ours, how many are near the best, and who is told apart."""
    names = list(dict.fromkeys(row["sampler"] for row in kept))
    of_samplers = {name: [row for row in kept if row["sampler"] == name] for name in names}
    lowest, places, near = [], [], []
    for trials in AFTER:
        means = {}
        for name in SAMPLERS:
            values = [float(row[f"after_{trials}"]) for row in of_samplers[name]]
            means[name] = statistics.mean(values)
        lowest.append(f"{min(means, key=lambda name: means[name])} after {trials}")
        place = 1 + sum(mean < means[OURS] for mean in means.values())
        places.append({1: "1st", 2: "2nd", 3: "3rd"}.get(place, f"{place}th"))
        near.append(str(sum(mean < 0.002 for mean in means.values())))
    apart = []
    for name in names:
        differences = []
        for own, other in zip(of_samplers[OURS], of_samplers[name], strict=True):
            assert own["subject"] == other["subject"]
            differences.append(float(other["after_20"]) - float(own["after_20"]))
        _, low, high = summary(differences)
        if low > 0 or high < 0:
            apart.append(name)
    shown = "has an interval that excludes 0"
    if apart:
        shown = f"whose interval excludes 0: {'; '.join(apart)}"
    return ", ".join(lowest), listed(places), listed(near), shown


def listed(texts: list[str]) -> str:
    *others, last = texts
    return f"{', '.join(others)} and {last}"


def test_every_person_is_searched_by_every_sampler_from_both_starts() -> None:
    expected = {(name, start) for name in SAMPLERS for start in (COLD, WARM)}
    expected.add((NO_SEARCH, WARM))
    of_persons: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows():
        person = (row["study"], row["subject"])
        of_persons.setdefault(person, []).append((row["sampler"], row["start"]))
    for found in of_persons.values():
        assert len(found) == len(set(found))
        assert set(found) == expected
    counts = {study: count for group in GROUPS.values() for study, count in group.items()}
    for study, count in counts.items():
        assert sum(person[0] == study for person in of_persons) == count


def test_the_persons_of_the_table_are_those_that_the_seed_draws() -> None:
    drawn = [(p.study, p.scope["label"], p.scope["subject"]) for p in problems(SEED)]
    stored = dict.fromkeys((row["study"], row["label"], row["subject"]) for row in rows())
    assert list(stored) == drawn
    assert [repr(p) for p in problems(SEED + 1)] != [repr(p) for p in problems(SEED)]


def test_a_search_of_the_table_comes_again(problem: Any) -> None:
    first = next(problems(SEED))
    regrets = search(first, SAMPLERS[OURS], [], SEED)
    again = run(first, OURS, COLD, regrets)
    stored = next(row for row in rows() if (row["sampler"], row["start"]) == (OURS, COLD))
    assert stored["subject"] == again.subject
    for trials in AFTER:
        assert float(stored[f"after_{trials}"]) == pytest.approx(
            getattr(again, f"after_{trials}"), abs=1e-6
        )


def test_regret_is_that_of_the_best_setting_so_far(problem: Any) -> None:
    places = [0.0, 1.0, 0.5, 0.25]

    def make(problem: Any, seed: int) -> BaseSampler:
        return GridSampler({"regularization": places}, seed=seed)

    regrets = search(problem, make, [], SEED)
    values = problem.values()
    each = sorted(values.max() - values[round(200 * place)] for place in places)
    assert regrets[-1] == pytest.approx(each[0])
    assert regrets == sorted(regrets, reverse=True)
    ended = run(problem, "grid", COLD, regrets)
    assert ended.after_5 == ended.after_40 == regrets[-1]


def test_a_warm_start_tries_the_best_settings_of_other_persons_first(problem: Any) -> None:
    settings = warm_settings(problem, SEED)
    assert 1 <= len(settings) <= RELATED
    make = load("benchmarks/deformable_registration").Problem
    best_of_others = [make(**scope).best_params for scope in problem.related()]
    assert all(setting in best_of_others for setting in settings)
    regrets = search(problem, lambda problem, seed: RandomSampler(seed=seed), settings, SEED)
    known = np.minimum.accumulate([problem.regret(setting) for setting in settings])
    np.testing.assert_allclose(regrets[: len(settings)], known)


def test_an_interval_is_that_of_students_t() -> None:
    values = [0.001, 0.002, 0.004, 0.0, 0.003]
    found = [1000 * bound for bound in interval(pd.Series(values))]
    assert found == pytest.approx(list(summary(values)))


def test_the_file_is_small() -> None:
    assert Path(PROBLEMS).stat().st_size < 100_000
