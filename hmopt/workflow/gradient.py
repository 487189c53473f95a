"""`hmopt.tune_by_gradient`: the best setting of a pair, a subject or a scope by automatic differentiation."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.gradient import GradientResult, judge_gradient, margin_for
from hmopt.commands import timed
from hmopt.data.pairs import draw_evenly
from hmopt.data.spreadsheets import read_table
from hmopt.errors import CheckpointError, DataError, DeclarationError, SearchError
from hmopt.ledger.gradient import GradientRecord, TunedOptimum, TunedScope
from hmopt.oracle import AmortizedOracle, source_of
from hmopt.oracle.differentiable import SettingObjective, make_objective
from hmopt.progress import Track, silent
from hmopt.records import Pair
from hmopt.search.ascent import ascend, distinct_optima, spread_starts
from hmopt.search.scopes import (
    COHORT,
    EVERY,
    WHOLE_COHORT,
    Criteria,
    Scope,
    expand_scope,
    joined_criteria,
)
from hmopt.space import Setting, Space
from hmopt.study_folder import StudyFolder
from hmopt.workflow.machine import MOST_PAIRS, check_number, find_device, keep_freed_memory
from hmopt.workflow.search import StudySearch

PAIR = "pair"
KINDS = (COHORT, "subject")
"""What settings are tuned for where nothing else is asked for."""
PAIRS = 20
"""Pairs of a scope that its score is a mean over, at most."""
STARTS = 5
MOST_STARTS = 10_000
VALLEY = 0.01
"""Depth of a valley between two optima that counts as none, as a share of the negligible difference."""

Floats = NDArray[np.float64]


def tune_by_gradient(
    folder: Path | str,
    *,
    kinds: Sequence[str] = (),
    scope: str | Criteria | None = None,
    objective: str | None = None,
    pairs: int | None = None,
    starts: int | None = None,
    points: Path | str | Mapping[str, Floats] | None = None,
    device: str | None = None,
    track: Track = silent,
    **criteria: str,
) -> GradientResult:
    """Tune the continuous hyperparameters of a searched model by gradient, for each of some scopes.

    The score of the scope's pairs is differentiated through displacement, registration network and
    hypernetwork, and climbed from several starts. The result is written to `gradient.json` beside the
    search; the report compares it with the sweep.

    Parameters
    ----------
    folder
        A study folder that was searched, with a hypermorph of hmopt.
    kinds
        What a setting is tuned for: `cohort`, `task`, `label`, `subject`, a column, or `pair`; None:
        the cohort and each subject.
    scope
        One scope instead, as `"label=thalamus, subject=*"`.
    objective
        A metric with a gradient (`dice`, `similarity`, `log_jacobian_sd`, or your own), a similarity
        loss (`lncc`, `mse`, `mutual_information`), `inverse_consistency` (short for the metric
        `inverse_consistency_voxels`), or `landmarks`; None: the metric of the search.
    pairs
        Pairs of a scope at most, chosen so that subjects occur about equally often; None: 20.
    starts
        Starts, spread over the range; None: 5.
    points
        Landmarks: a table with columns `image`, `x`, `y`, `z` in mm, RAS, or arrays (k, 3) by image.
        Those of all images are in one order.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.
    track
        Shows progress.
    **criteria
        The scope as keywords, as `label="thalamus"`.

    Returns
    -------
    GradientResult
        For each scope its setting, whether there are several optima, and how it agrees with the
        sweep.

    Raises
    ------
    CheckpointError
        If the model is no hypermorph of hmopt, or registrations are refined.
    DeclarationError
        If the objective has no gradient or needs a third subject, or an option is wrong.
    LedgerError, SearchError
        If nothing was searched, or there is no such scope.

    Examples
    --------
    >>> import hmopt
    >>> found = hmopt.tune_by_gradient("studies/mine", label="thalamus")  # doctest: +SKIP
    >>> found.results[0].setting  # doctest: +SKIP
    {'regularization': 0.314}
    """
    asked = joined_criteria(scope, criteria)
    has_scope = scope is not None or bool(criteria)
    if has_scope and kinds:
        raise DeclarationError(
            "--for", expected="kinds or a scope", got="both", advice="Use one of them."
        )
    check_number("--pairs", pairs, least=1, most=MOST_PAIRS)
    check_number("--starts", starts, least=1, most=MOST_STARTS)
    files = StudyFolder(folder)
    files.check_together()
    with timed(files.commands_file, "hmopt tune-by-gradient"):
        keep_freed_memory()
        study_search = StudySearch(files, track)
        oracle = _differentiable(files, study_search, device)
        tuner = _Tuner(
            oracle,
            study_search,
            objective or files.searched.search.metric,
            pairs or PAIRS,
            starts or STARTS,
            _read_points(points),
        )
        table = study_search.table
        if has_scope:
            scopes = expand_scope(asked, table, oracle.labels, min_paired_subjects=1)
        else:
            scopes = _scopes_of(kinds or KINDS, table, oracle.labels, pairs or PAIRS)
        tuned = [tuner.tune(one) for one in track(scopes, "Tuning by gradient", len(scopes))]
        found = [one for one in tuned if one is not None]
        if not found:
            raise SearchError(
                "scope",
                expected="a pair with a score",
                got=", ".join(one.name for one in scopes[:3]),
                advice="Choose another scope; its pairs lack the data that the objective needs.",
            )
        files.write_gradient(tuner.record(files.searched.model_identity, found))
    record = files.gradient
    assert record is not None  # as it was just written
    options = files.searched.search
    return judge_gradient(files.measurements(), files.dense_measurements(), record, options)


def _differentiable(
    files: StudyFolder, study_search: StudySearch, device: str | None
) -> AmortizedOracle:
    """Return the oracle of a study, or refuse one without a gradient."""
    study = study_search.study
    expected = "a hypermorph of hmopt, whose registrations are not refined"
    advice = "Use the sweep of `hmopt search`."
    if study.refine.iterations:
        got = f"registrations refined by {study.refine.iterations} iterations"
        raise CheckpointError("model", expected=expected, got=got, advice=advice)
    oracle = source_of(files.path, study).oracle(study_search.cohort, find_device(device))
    if not isinstance(oracle, AmortizedOracle):
        got = f"source = {study.model.source!r}"
        raise CheckpointError("model", expected=expected, got=got, advice=advice)
    return oracle


def _scopes_of(
    kinds: Sequence[str], table: pd.DataFrame, labels: Sequence[str], pairs: int
) -> list[Scope]:
    """Return the scopes of some kinds; of `pair` as many pairs as are asked for."""
    scopes = []
    for kind in kinds:
        if kind == COHORT:
            scopes.append(WHOLE_COHORT)
        elif kind == PAIR:
            rows = _evenly(table, pairs)
            ids = table["pair"].iloc[rows]
            scopes += [Scope(criteria=((PAIR, name),)) for name in ids]
        else:
            scopes += expand_scope({kind: EVERY}, table, labels, min_paired_subjects=1)
    return scopes


def _evenly(table: pd.DataFrame, count: int, seed: int = 0) -> list[int]:
    """Return rows of a table of pairs in which subjects occur about equally often, rising."""
    subjects = pd.Index(sorted({*table["moving_subject"], *table["fixed_subject"]}))
    moving = subjects.get_indexer(table["moving_subject"])
    fixed = subjects.get_indexer(table["fixed_subject"])
    drawn = draw_evenly(moving, fixed, count, np.random.default_rng(seed))
    return sorted(int(row) for row in drawn)


class _Tuner:
    """Tunes the setting of one scope after the other."""

    def __init__(
        self,
        oracle: AmortizedOracle,
        study_search: StudySearch,
        objective: str,
        pairs: int,
        starts: int,
        points: Mapping[str, Floats] | None,
    ) -> None:
        self._oracle = oracle
        self._search = study_search
        self._name = objective
        self._pairs = pairs
        self._starts = starts
        self._points = points
        space = oracle.space
        self._columns = [
            column for column, one in enumerate(space.hyperparameters) if one.is_continuous
        ]
        if not self._columns:
            raise SearchError(
                "hyperparameters",
                expected="a continuous one",
                got=", ".join(space.names),
                advice="Choices have no gradient: use the sweep of `hmopt search`.",
            )
        self._default = list(space.to_unit_interval(space.default))
        # refuses what is unknown before anything is computed
        self._objective = self._objective_of(None)

    def _objective_of(self, label: str | None) -> SettingObjective:
        place = None if label is None else self._oracle.labels.index(label)
        return make_objective(self._name, place, self._points, self._search.study.loss)

    def tune(self, scope: Scope) -> TunedScope | None:
        """Return the setting of a scope; None where no pair has a score."""
        pairs = self._pairs_of(scope)
        objective = self._objective_of(scope.label)
        sign = 1 if objective.direction == "maximize" else -1
        evaluations = 0

        def evaluate(places: Floats) -> tuple[float, Floats]:
            nonlocal evaluations
            evaluations += 1
            score, gradient = self._oracle.score_and_gradient(
                self._whole(places), pairs, objective.score
            )
            return sign * score, sign * gradient[self._columns]

        began = time.perf_counter()
        starts = spread_starts(len(self._columns), self._starts)
        if not np.isfinite(evaluate(starts[0])[0]):
            return None
        ascents = [ascend(evaluate, start.tolist()) for start in starts]
        negligible = VALLEY * margin_for(self._name, self._search.options)
        optima = distinct_optima(evaluate, ascents, negligible)
        seconds = time.perf_counter() - began
        return TunedScope(
            criteria=list(scope.criteria),
            pairs=[pair.id for pair in pairs],
            optima=[
                TunedOptimum(
                    setting=dict(self._setting(one.place)),
                    score=sign * one.score,
                    starts=one.starts,
                )
                for one in optima
            ],
            evaluations=evaluations,
            unfinished=sum(not one.converged for one in ascents),
            seconds=seconds,
            seconds_of_setting=self._seconds_of_setting(pairs),
        )

    def record(self, model: str, scopes: Sequence[TunedScope]) -> GradientRecord:
        """Return what `gradient.json` holds."""
        names = self._oracle.space.names
        return GradientRecord(
            model=model,
            objective=self._objective.name,
            title=self._objective.title,
            direction=self._objective.direction,
            starts=self._starts,
            tuned=[names[column] for column in self._columns],
            scopes=list(scopes),
        )

    def _pairs_of(self, scope: Scope) -> list[Pair]:
        table = self._search.table
        positions = np.flatnonzero(scope.mask(table))
        rows = _evenly(table.iloc[positions], self._pairs)
        return [self._search.pairs[positions[row]] for row in rows]

    def _whole(self, places: Floats) -> list[float]:
        """Return the places of all hyperparameters: those that are not tuned at their default."""
        whole = list(self._default)
        for column, place in zip(self._columns, places.tolist(), strict=True):
            whole[column] = place
        return whole

    def _setting(self, places: Sequence[float]) -> Setting:
        space: Space = self._oracle.space
        setting = dict(space.default)
        for column, place in zip(self._columns, places, strict=True):
            hyperparameter = space.hyperparameters[column]
            setting[hyperparameter.name] = hyperparameter.from_unit_interval(place)
        return setting

    def _seconds_of_setting(self, pairs: Sequence[Pair]) -> float:
        """Return what measuring the metric of the search at one setting takes."""
        default = self._oracle.space.index(self._oracle.space.default)
        began = time.perf_counter()
        for _ in self._oracle.measure([default], pairs, [self._search.options.metric]):
            pass
        return time.perf_counter() - began


def _read_points(
    points: Path | str | Mapping[str, Floats] | None,
) -> Mapping[str, Floats] | None:
    """Return landmarks by image.

    Raises
    ------
    DataError
        If the table lacks a column, or images have different numbers of points.
    """
    if points is None:
        return None
    if isinstance(points, Mapping):
        found = {name: np.asarray(array, dtype=float) for name, array in points.items()}
    else:
        path = Path(points)
        table = read_table(path, "a table of landmarks")
        missing = [column for column in ("image", "x", "y", "z") if column not in table]
        if missing:
            raise DataError(
                str(path),
                expected="columns image, x, y, z",
                got=f"none of {', '.join(missing)}",
                advice="Add them.",
            )
        found = {}
        for name, rows in table.groupby("image", sort=False):
            found[str(name)] = _coordinates(rows[["x", "y", "z"]], path, str(name))
    counts = {len(array) for array in found.values()}
    if len(counts) > 1:
        raise DataError(
            "points",
            expected="the same number of points in every image, in the same order",
            got=", ".join(str(count) for count in sorted(counts)),
            advice="Keep only points present in all images.",
        )
    return found


def _coordinates(rows: pd.DataFrame, path: Path, image: str) -> Floats:
    """Return the landmarks of an image, (k, 3), or refuse what is not a number."""
    numbers: Floats = rows.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{path}: {rows.columns[column]} of {image}",
            expected="numbers, in mm",
            got=repr(rows.iloc[row, column]),
            advice="Correct the table.",
        )
    return numbers
