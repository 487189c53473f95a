"""Measured response curves of deformable image registration as benchmark problems."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optunahub
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection
from scipy.interpolate import CubicSpline, RBFInterpolator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Scope = dict[str, Any]

FILE = Path(__file__).parent / "measurements.npz"

STEP = 0.005
"""Distance of neighbouring values of every hyperparameter, all of which lie in [0, 1]."""

POINTS = 201

CODES = 65534
"""A Dice of 1 as it is stored; one more stands for what has no value."""

DIRECTIONS = {"dice": StudyDirection.MAXIMIZE, "folding": StudyDirection.MINIMIZE}
"""The metrics: overlap of a label, and the share of voxels at which the displacement folds."""

FOLDING_LIMIT = 0.001


class Problem(optunahub.benchmarks.BaseProblem):
    """The response of one scope: mean Dice over some pairs of images, by the hyperparameters.

    Parameters
    ----------
    study
        One of `studies()`.
    label
        A labelled structure; left out: the mean over those that a pair has.
    subject
        A person, in either image of a pair; left out: all.
    task
        `within` a person or `cross`, between two; left out: both.
    pair
        Number of a single pair; left out: all.
    metrics
        `dice`, `folding`, or both.
    folding_limit
        The largest mean share of folded voxels, a constraint; None: there is no constraint.

    Raises
    ------
    ValueError
        If a value is unknown, or the scope has no pair.
    """

    def __init__(
        self,
        study: str = "brains",
        *,
        label: str | None = None,
        subject: str | None = None,
        task: str | None = None,
        pair: int | None = None,
        metrics: Sequence[str] = ("dice",),
        folding_limit: float | None = None,
    ) -> None:
        self._study = _read_study(study)
        unknown = [metric for metric in metrics if metric not in DIRECTIONS]
        if unknown or not metrics:
            known = ", ".join(DIRECTIONS)
            raise ValueError(f"metrics: expected some of {known}, got {list(metrics)}.")
        scope = {"label": label, "subject": subject, "task": task, "pair": pair}
        self.study = study
        self.scope: Scope = {kind: value for kind, value in scope.items() if value is not None}
        self.folding_limit = folding_limit
        self.metric_names = list(metrics)
        positions = self._study.positions(self.scope)
        if not len(positions):
            raise ValueError(f"scope: expected one with pairs, got {self.scope} of {study}.")
        curves = {
            "dice": self._study.mean_dice(positions, label),
            "folding": self._study.folding[:, positions].mean(axis=1),
        }
        # (points,) or (points, points): the value at every lattice point
        self._values = {metric: self._study.on_lattice(curve) for metric, curve in curves.items()}

    def __repr__(self) -> str:
        """Return what makes the same problem."""
        given = "".join(f", {kind}={value!r}" for kind, value in self.scope.items())
        return f"Problem({self.study!r}{given})"

    @staticmethod
    def studies() -> list[str]:
        """Return the names of the studies."""
        return list(_study_names())

    @staticmethod
    def scopes(study: str | None = None) -> list[Scope]:
        """Return every scope, as arguments of `Problem`: all of a study, or of all studies.

        No two have the same pairs and the same label.
        """
        names = _study_names() if study is None else [study]
        found = []
        for name in names:
            found += [{"study": name, **scope} for scope in _read_study(name).scopes()]
        return found

    def related(self) -> list[Scope]:
        """Return the scopes of the study that differ in the subjects alone, as arguments of `Problem`.

        They have the same label, the same kinds, and no person in common with this one. Empty for a
        scope of all subjects.
        """
        own = self._study.people(self.scope)
        found = []
        for other in self.scopes(self.study):
            scope = {kind: value for kind, value in other.items() if kind != "study"}
            has_kinds = scope.keys() == self.scope.keys()
            has_label = scope.get("label") == self.scope.get("label")
            has_task = scope.get("task") == self.scope.get("task")
            if has_kinds and has_label and has_task and self._is_apart(scope, own):
                found.append(other)
        return found

    def _is_apart(self, scope: Scope, people: set[str]) -> bool:
        """Return whether a scope is about other people: its subject, or both of its pair."""
        if "subject" in scope:
            return bool(scope["subject"] != self.scope["subject"])
        return not people & self._study.people(scope)

    @property
    def search_space(self) -> dict[str, BaseDistribution]:
        """Return the distributions by name: 201 values of each hyperparameter in [0, 1]."""
        names = self._study.hyperparameters
        return {name: FloatDistribution(0.0, 1.0, step=STEP) for name in names}

    @property
    def directions(self) -> list[StudyDirection]:
        """Return the direction of each metric."""
        return [DIRECTIONS[metric] for metric in self.metric_names]

    def evaluate(self, params: dict[str, Any]) -> float | tuple[float, ...]:
        """Return the value of the metric, or one of each metric."""
        index = self._index(params)
        values = tuple(float(self._values[metric][index]) for metric in self.metric_names)
        return values[0] if len(values) == 1 else values

    def evaluate_constraints(self, params: dict[str, Any]) -> dict[str, float]:
        """Return by how much folding exceeds its limit: at most 0 where it is obeyed."""
        if self.folding_limit is None:
            return {}
        folding = float(self._values["folding"][self._index(params)])
        return {"folding": folding - self.folding_limit}

    def values(self, metric: str = "dice") -> Floats:
        """Return a metric at every lattice point, shape (201,), or (201, 201) for two hyperparameters."""
        return self._values[metric].copy()

    def is_measured(self, params: Mapping[str, Any]) -> bool:
        """Return whether all metrics were measured at these values; elsewhere they are interpolated."""
        return self._index(params) in self._study.settings

    @property
    def is_tabular(self) -> bool:
        """Whether every value of the search space was measured, so that nothing is interpolated."""
        return len(self._study.settings) == self._values["dice"].size

    @property
    def best_params(self) -> dict[str, float]:
        """The values with the best first metric, under the limit if there is one; of equals the first.

        Raises
        ------
        ValueError
            If the limit is obeyed nowhere.
        """
        place = int(self._scores().argmax())
        index = np.unravel_index(place, self._values["dice"].shape)
        names = self._study.hyperparameters
        return {name: _value(int(index[position])) for position, name in enumerate(names)}

    def regret(self, params: Mapping[str, Any]) -> float:
        """Return how much worse the first metric is than at `best_params`; infinite beyond the limit."""
        scores = self._scores()
        return float(scores.max() - scores[self._index(params)])

    def _scores(self) -> Floats:
        """Return the first metric such that more is better; minus infinity beyond the limit."""
        metric = self.metric_names[0]
        sign = 1 if DIRECTIONS[metric] == StudyDirection.MAXIMIZE else -1
        scores = sign * self._values[metric]
        if self.folding_limit is None:
            return scores
        is_feasible = self._values["folding"] <= self.folding_limit
        if not is_feasible.any():
            raise ValueError(
                f"folding_limit: expected one that is obeyed somewhere, got {self.folding_limit}."
            )
        return np.where(is_feasible, scores, -np.inf)

    def _index(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the lattice point nearest to some values."""
        return tuple(round(params[name] / STEP) for name in self._study.hyperparameters)


class _Study:
    """Measurements at S settings, of P pairs and L labels.

    Attributes
    ----------
    hyperparameters
        Their names.
    settings
        The S measured settings, as lattice indices.
    folding
        Shape (S, P).
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.hyperparameters = [str(name) for name in arrays["hyperparameters"]]
        self.settings = [tuple(setting) for setting in arrays["settings"].tolist()]
        self.folding: Floats = arrays["folding"].astype(float)
        self._labels = [str(label) for label in arrays["labels"]]
        self._subjects = [str(subject) for subject in arrays["subjects"]]
        self._pairs = arrays["pairs"]  # (P, 2): positions of the moving and the fixed subject
        self._tasks = arrays["tasks"]
        codes = np.cumsum(arrays["dice"], axis=0, dtype=np.uint16)
        # (S, P, L); NaN where a pair lacks a label
        self._dice: Floats = np.where(codes > CODES, np.nan, codes / CODES)
        self._has_label: NDArray[np.bool_] = np.asarray(
            np.isfinite(self._dice).any(axis=0)
        )  # (P, L)
        self._matrix: Floats | None = None
        self._scopes: list[Scope] = []

    def positions(self, scope: Scope) -> NDArray[np.intp]:
        """Return the positions of a scope's pairs that have its label, rising."""
        chosen = np.asarray(self._has_label.any(axis=1))
        if "label" in scope:
            chosen = self._has_label[:, self._label(scope["label"])].copy()
        if "task" in scope:
            tasks = sorted(set(self._tasks.tolist()))
            _check_known("task", scope["task"], tasks)
            chosen &= self._tasks == scope["task"]
        if "subject" in scope:
            _check_known("subject", scope["subject"], self._subjects)
            subject = self._subjects.index(scope["subject"])
            chosen &= (self._pairs == subject).any(axis=1)
        if "pair" in scope:
            _check_known("pair", scope["pair"], range(len(self._pairs)))
            chosen &= np.arange(len(self._pairs)) == scope["pair"]
        return np.flatnonzero(chosen)

    def people(self, scope: Scope) -> set[str]:
        """Return the subjects in a scope's pairs."""
        sides = self._pairs[self.positions(scope)]
        return {self._subjects[side] for side in np.unique(sides)}

    def mean_dice(self, positions: NDArray[np.intp], label: str | None) -> Floats:
        """Return the mean Dice over some pairs, (S,): of a label, or of the means over each pair's labels."""
        if label is None:
            of_pairs = np.nanmean(self._dice[:, positions], axis=2)
        else:
            of_pairs = self._dice[:, positions, self._label(label)]
        return np.asarray(of_pairs.mean(axis=1))

    def on_lattice(self, curve: Floats) -> Floats:
        """Return a metric at every lattice point from its values at the settings; both in [0, 1]."""
        if self._matrix is None:
            self._matrix = _interpolation(self.settings)
        values = np.clip(self._matrix @ curve, 0.0, 1.0)
        return values.reshape((POINTS,) * len(self.hyperparameters))

    def scopes(self) -> list[Scope]:
        """Return every scope, each with pairs and a label of its own."""
        known: set[tuple[bytes, str | None]] = set()
        if not self._scopes:
            for scope in self._products():
                positions = self.positions(scope)
                content = (positions.tobytes(), scope.get("label"))
                if len(positions) and content not in known:
                    known.add(content)
                    self._scopes.append(scope)
        return list(self._scopes)

    def _products(self) -> Iterator[Scope]:
        """Yield products of labels, tasks and subjects, then of labels and pairs."""
        tasks = sorted(set(self._tasks.tolist()))
        labels = [None, *self._labels]
        by_subject = itertools.product(labels, [None, *tasks], [None, *self._subjects])
        for label, task, subject in by_subject:
            yield _without_none(label=label, task=task, subject=subject)
        for label, pair in itertools.product(labels, range(len(self._pairs))):
            yield _without_none(label=label, pair=pair)

    def _label(self, label: str) -> int:
        _check_known("label", label, self._labels)
        return self._labels.index(label)


def _without_none(**values: Any) -> Scope:
    return {name: value for name, value in values.items() if value is not None}


def _check_known(kind: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        shown = ", ".join(str(name) for name in known)
        if isinstance(known, range):
            shown = f"0 to {len(known) - 1}"
        raise ValueError(f"{kind}: expected one of {shown}, got {value!r}.")


def _interpolation(settings: list[tuple[int, ...]]) -> Floats:
    """Return the matrix that takes values at S settings to all lattice points, shape (points, S).

    One hyperparameter: the cubic spline. Two: a cubic radial basis function with a quadratic
    polynomial. Where all lattice points were measured it is the identity.
    """
    unit_vectors = np.eye(len(settings))
    lattice = np.arange(POINTS)
    if settings == [(place,) for place in range(POINTS)]:
        return unit_vectors
    if len(settings[0]) == 1:
        measured = [place for (place,) in settings]
        return np.asarray(CubicSpline(measured, unit_vectors)(lattice))
    wanted = np.stack(np.meshgrid(lattice, lattice, indexing="ij"), axis=-1).reshape(-1, 2)
    scale = POINTS - 1
    surface = RBFInterpolator(np.array(settings) / scale, unit_vectors, kernel="cubic", degree=2)
    return np.asarray(surface(wanted / scale))


def _value(index: int) -> float:
    """Return the value at a lattice index: 0.35, not 0.35000000000000003."""
    return float(f"{index * STEP:.12g}")


@cache
def _study_names() -> list[str]:
    with np.load(FILE) as content:
        return [str(name) for name in content["studies"]]


@cache
def _read_study(name: str) -> _Study:
    names = _study_names()
    _check_known("study", name, names)
    prefix = f"{names.index(name)}/"
    with np.load(FILE) as content:
        keys = [key for key in content.files if key.startswith(prefix)]
        return _Study({key[len(prefix) :]: content[key] for key in keys})
