"""Optimizers of a response curve: each returns the lattice places that it measures, in order."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    RandomSampler,
    TPESampler,
)
from scipy.optimize import minimize_scalar

from hmopt.search import CurveSampler, distributions, quiet
from hmopt.space import Hyperparameter, Space

Scores = NDArray[np.float64]
Baseline = Callable[[Scores, int, int], list[int]]
"""Takes the scores over the lattice, the number of trials and a seed; returns the measured places."""


def space_of(scores: Scores) -> Space:
    """Return the space of whose lattice the scores are."""
    names = ("regularization", "label_weight", "third")[: scores.ndim]
    return Space(
        hyperparameters=tuple(
            Hyperparameter(name=name, step=1 / (points - 1))
            for name, points in zip(names, scores.shape, strict=True)
        )
    )


def by_optuna(make: Callable[[Space, int], BaseSampler], noise: float = 0.0) -> Baseline:
    """Return the search by a sampler of Optuna; `noise` is the standard deviation added to each score."""

    def search(scores: Scores, trials: int, seed: int) -> list[int]:
        space, generator = space_of(scores), np.random.default_rng(seed)
        among, places = distributions(space), []
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(direction="maximize", sampler=make(space, seed))
            for _ in range(trials):
                trial = study.ask(among)
                index = space.index(trial.params)
                places.append(int(np.ravel_multi_index(index, scores.shape)))
                study.tell(trial, scores[index] + noise * generator.standard_normal())
        return places

    return search


def brent(scores: Scores, trials: int, seed: int) -> list[int]:
    """Measure where Brent's bounded method asks, each value rounded to the lattice."""
    places: list[int] = []

    def loss(value: float) -> float:
        places.append(round(value * (len(scores) - 1)))
        return -float(scores[places[-1]])

    minimize_scalar(
        loss, method="bounded", bounds=(0.0, 1.0), options={"maxiter": trials, "xatol": 1e-3}
    )
    return list(dict.fromkeys(places))[:trials]


def golden_section(scores: Scores, trials: int, seed: int) -> list[int]:
    """Measure by golden-section search, both ends first."""
    low, high, ratio = 0.0, len(scores) - 1.0, (5**0.5 - 1) / 2
    places = [round(low), round(high)]
    while high - low > 1:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        places += [round(left), round(right)]
        low, high = (low, right) if scores[round(left)] >= scores[round(right)] else (left, high)
    return list(dict.fromkeys(places))[:trials]


def even(scores: Scores, trials: int, seed: int) -> list[int]:
    """Measure equidistant places."""
    places = np.linspace(0, len(scores) - 1, trials)
    return [round(float(place)) for place in places]


def samplers(noise: float = 0.0) -> Mapping[str, Baseline]:
    """Return the samplers that take any number of hyperparameters."""
    exact = noise == 0
    return {
        "CurveSampler": by_optuna(lambda space, seed: CurveSampler(space, seed=seed), noise),
        "GPSampler": by_optuna(
            lambda space, seed: GPSampler(seed=seed, deterministic_objective=exact), noise
        ),
        "TPESampler": by_optuna(lambda space, seed: TPESampler(seed=seed), noise),
        "CmaEsSampler": by_optuna(lambda space, seed: CmaEsSampler(seed=seed), noise),
        "RandomSampler": by_optuna(lambda space, seed: RandomSampler(seed=seed), noise),
    }


def baselines() -> Mapping[str, Baseline]:
    """Return all ways to search one hyperparameter."""
    return {
        **samplers(),
        "BruteForceSampler": by_optuna(lambda space, seed: BruteForceSampler(seed=seed)),
        "even places": even,
        "golden section": golden_section,
        "Brent": brent,
    }
