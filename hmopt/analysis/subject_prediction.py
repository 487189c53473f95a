"""The best setting of a subject whom nobody labelled, predicted from measurements that need no labels.

What is learned is a map from a subject's features to its curve of scores. A feature is a metric without labels at one
setting, as the similarity at λ = 0.2, averaged over the subject's pairs. The curve is the mean score of its pairs at
every setting, less its mean over the settings: the level decides no choice. The predicted setting is where the
predicted curve is highest. A regressor that finds nothing predicts the mean curve of all subjects, and thereby the
setting that is best for all of them.

It is judged by cross-validation over subjects. In each split, the regressor learns from pairs whose subjects are both
in the selection set. Features of a held-out subject are those of its pairs with subjects of the selection set, as a
new person is registered with a labelled cohort. Scores are those of pairs whose subjects are both held out:

    gain of pair (i, j) = (score at i's setting + score at j's setting) / 2 - score at the common setting,

the common setting being the best for all pairs of the selection set.

What there is to gain is judged on the same pairs over the same common setting, with each held-out subject's own setting
in place of the predicted one: its labelled pairs with the selection set tell it, and none of these is scored. As they
are few, the subject's curve shrinks towards the mean one,

    own(λ) = mean(λ) + w · (curve(λ) - mean(λ)),    w = 2 c / (1 + c),

c being the correlation of the subjects' differences from their mean between two halves of their partners, and w that of
both halves together.

Reference: Spearman, "Correlation calculated from faulty data", and Brown, "Some experimental results in the correlation
of mental abilities", British Journal of Psychology 1910.

Shapes: r splits, k subjects, n pairs, s settings, f features.
"""

import copy
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from hmopt.analysis.conformal import LEVEL_OF_INTERVAL, jackknife_plus
from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.held_out import Splits, split_subjects
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.optimum import ModelAnalysis, margin_of
from hmopt.analysis.resampling import (
    FEWEST_SUBJECTS,
    NOTHING,
    Floats,
    Interval,
    Mask,
    Names,
    Places,
)
from hmopt.catalogue import METRICS
from hmopt.declaration.search import SearchOptions
from hmopt.errors import DataError
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, gain
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Index, Setting, Space

FEATURE_SETTINGS = 5
"""Settings, evenly spread over the measured ones, at which metrics without labels are features."""

STRENGTHS = np.logspace(-1, 6, 8)
"""Penalties among which the default regressor chooses; of the largest, the mean curve remains."""


class Regressor(Protocol):
    """Anything with the two methods of a scikit-learn regressor of several outputs.

    One of a single output is wrapped: `sklearn.multioutput.MultiOutputRegressor(SVR())`.
    """

    def fit(self, X: Any, y: Any) -> Any:  # noqa: N803 (scikit-learn's name)
        """Learn outputs, shape (k, s), from features, shape (k, f)."""

    def predict(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's name)
        """Return the outputs for features, shape (k, f)."""


@dataclass(frozen=True, kw_only=True)
class PredictedSetting:
    """The setting predicted for one subject.

    Parameters
    ----------
    subject
        Name of the subject.
    setting
        Best by the predicted curve, among the measured settings.
    intervals
        By hyperparameter: an interval that is to hold the best value of 90 % of new subjects, as their labelled pairs
        would tell it; NaN of a choice and where a hyperparameter is inactive. The whole range where there are too
        few subjects to learn from.
    """

    subject: str
    setting: Setting
    intervals: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class SubjectPrediction:
    """What settings for single subjects gain on held-out pairs, predicted without labels and known from labels.

    Parameters
    ----------
    metric
        Name of the scores' metric.
    features
        Metrics without labels that were learned from; empty where none differs between subjects.
    settings
        Settings at which they were features.
    subjects
        Subjects with labels.
    choosing
        Subjects that were learned from in each split.
    gain
        Over the best setting for all, of the predicted settings; None where nothing could be predicted.
    known
        The same of each subject's own best setting, which labels of its other pairs tell: what there is to gain, less
        what is lost by choosing on few pairs. None where no pair is left to judge on.
    p_gain, p_known
        Two-sided p-values after Holm's correction for both questions; NaN where unknown.
    evidence_of_gain, evidence_of_known
        What the corrected tests and the intervals say.
    """

    metric: str
    features: tuple[str, ...]
    settings: int
    subjects: int
    choosing: int
    gain: Mean | None
    known: Mean | None
    p_gain: float
    p_known: float
    evidence_of_gain: Evidence
    evidence_of_known: Evidence

    @property
    def improves(self) -> bool:
        """Whether there is evidence that predicted settings improve scores."""
        found = self.evidence_of_gain is Evidence.FOUND
        return found and self.gain is not None and self.gain.value > 0


def judge_subject_prediction(
    measurements: Measurements,
    options: SearchOptions,
    regressor: Regressor | None = None,
    scope: Scope = WHOLE_COHORT,
) -> SubjectPrediction | None:
    """Judge predicted settings of single subjects on held-out pairs, beside settings that labels tell.

    Parameters
    ----------
    measurements
        Of the model, of labelled pairs.
    options
        The metric, the margin, and the splits of the subjects.
    regressor
        What learns; left out: ridge regression of scikit-learn, its penalty chosen by leave-one-out. Without
        scikit-learn nothing is predicted.
    scope
        Whose pairs.

    Returns
    -------
    SubjectPrediction or None
        None where the scope has no pair of two subjects, or fewer than `FEWEST_SUBJECTS` subjects.

    Examples
    --------
    Without a metric that needs no labels, only what there is to gain is told:

    >>> from hmopt.analysis.simulation import flat, simulate
    >>> measured = simulate(flat(1), subjects=6, pairs=30, seed=0).at([(0,), (100,), (200,)])
    >>> found = judge_subject_prediction(measured, SearchOptions())
    >>> found.gain is None, found.known.subjects
    (True, 6)
    """
    analysis = ModelAnalysis(measurements, options)
    curve = analysis.curves.of(scope)
    if curve is None or len(curve.settings) == 1:
        return None
    learning = Learning(measurements, curve)
    if len(learning.subjects) < FEWEST_SUBJECTS or not learning.between.any():
        return None
    splits = split_subjects(learning.subjects, options.splits, options.seed)
    learner = _default_regressor() if regressor is None else regressor
    found, known = _held_out_gains(learning, splits, learner if learning.names else None)
    tested = [mean for mean in (found, known) if mean is not None]
    corrected = iter(holm([mean.p_value for mean in tested]).tolist())
    p_gain = math.nan if found is None else next(corrected)
    p_known = math.nan if known is None else next(corrected)
    margin = margin_of(curve.metric, options.margin)
    return SubjectPrediction(
        metric=curve.metric.name,
        features=learning.names,
        settings=len(learning.places),
        subjects=len(learning.subjects),
        choosing=splits.choosing,
        gain=found,
        known=known,
        p_gain=p_gain,
        p_known=p_known,
        evidence_of_gain=_evidence(found, p_gain, margin),
        evidence_of_known=_evidence(known, p_known, margin),
    )


def predict_subjects(
    measurements: Measurements,
    others: Measurements,
    options: SearchOptions,
    regressor: Regressor | None = None,
    level: float = LEVEL_OF_INTERVAL,
) -> list[PredictedSetting]:
    """Predict the best setting of subjects without labels.

    Parameters
    ----------
    measurements
        Of labelled pairs.
    others
        Of pairs of the subjects to predict for, by the same model or one like it. Only metrics without labels are
        read, at settings that both have.
    options
        The metric that settings are to be best by.
    regressor
        As in `judge_subject_prediction`.
    level
        Share of subjects whose best value the intervals are to hold.

    Raises
    ------
    DataError
        If the two share no metric without labels, no setting or no hyperparameters, there are fewer than
        `FEWEST_SUBJECTS` labelled subjects, or scikit-learn is missing and no regressor is given.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from hmopt.analysis.simulation import flat, simulate
    >>> measured = simulate(flat(1), subjects=6, pairs=30, seed=0).at([(0,), (100,), (200,)])
    >>> similarity = np.random.default_rng(0).random((3, 30))
    >>> measured = replace(measured, values={**measured.values, "similarity": similarity})
    >>> found = predict_subjects(measured, measured, SearchOptions())
    >>> [person.subject for person in found], found[0].intervals["regularization"]
    (['s0', 's1', 's2', 's3', 's4', 's5'], Interval(low=0.0, high=1.0))
    """
    learner = _default_regressor() if regressor is None else regressor
    if learner is None:
        raise DataError(
            "regressor",
            expected="one, or scikit-learn",
            got="neither",
            advice='Run `pip install "hmopt[prediction]"`, or give a regressor.',
        )
    _check_space(measurements.space, others.space)
    curve = ModelAnalysis(measurements, options).curves.of(WHOLE_COHORT)
    if curve is None:
        raise DataError(
            options.metric,
            expected="measurements of labelled pairs",
            got="none",
            advice="Give those of a study with labels first.",
        )
    learning = Learning(measurements, curve, others)
    if len(learning.subjects) < FEWEST_SUBJECTS or not learning.names:
        raise DataError(
            "measurements",
            expected=f"at least {FEWEST_SUBJECTS} labelled subjects, and metrics without labels at settings that the "
            "others have too",
            got=f"{len(learning.subjects)} subjects and {len(learning.names)} such metrics",
            advice="Report the same metrics in both searches.",
        )
    names, asked = learning.features_of(others)
    everyone = np.ones(len(learning.subjects), dtype=bool)
    features = learning.features(everyone)
    predicted = learning.predict(learner, everyone, features, asked)
    left_out, errors = _leave_one_out(learning, learner, asked)
    space = curve.space
    found = []
    for row, subject in enumerate(names):
        index = curve.settings[predicted[row]]
        intervals = _intervals(space, index, left_out[:, row], errors, level)
        found.append(
            PredictedSetting(subject=subject, setting=space.setting(index), intervals=intervals)
        )
    return found


class Learning:
    """Features and curves of the subjects of a scope, for any subjects that are learned from.

    Parameters
    ----------
    measurements
        Metrics without labels are read from them.
    curve
        Scores of the scope's n pairs.
    others
        Measurements whose features must be known too.

    Attributes
    ----------
    subjects
        Names of the k subjects, sorted.
    names
        Metrics that the features are of.
    places
        Of the settings of `measurements` at which they are features.
    between
        Whether a pair is of two subjects, shape (n,).
    """

    def __init__(
        self, measurements: Measurements, curve: Curve, others: Measurements | None = None
    ) -> None:
        self.curve = curve
        moving, fixed = (
            measurements.pairs[side].to_numpy(dtype=object)[curve.pairs]
            for side in ("moving_subject", "fixed_subject")
        )
        self.sides: tuple[Names, Names] = (moving, fixed)
        self.subjects: list[str] = sorted({*moving, *fixed})
        self._subjects = _Incidence(self.subjects, moving, fixed)
        self.moving = self._subjects.moving
        self.fixed = self._subjects.fixed
        self.between: Mask = self.moving != self.fixed
        shared = [
            place
            for place, index in enumerate(measurements.settings)
            if others is None or index in others.settings
        ]
        self.places: list[int] = _evenly(shared)
        self.indices: list[Index] = [measurements.settings[place] for place in self.places]
        candidates = []
        for name, metric in METRICS.items():
            is_there = name in measurements.values and (others is None or name in others.values)
            if metric.is_without_labels and is_there and name != curve.metric.name:
                candidates.append(name)
        columns = {
            name: measurements.array(name)[self.places].T[curve.pairs] for name in candidates
        }
        self.names: tuple[str, ...] = tuple(
            name for name, values in columns.items() if _differs(values)
        )
        tables = [columns[name] for name in self.names]
        self._values = np.concatenate(tables, axis=1) if tables else np.empty((len(moving), 0))
        self._scores = curve.signed.T

    def features(self, partners: Mask) -> Floats:
        """Return the features of every subject over its pairs with some partners, shape (k, f).

        Parameters
        ----------
        partners
            Whether each subject is one of them, shape (k,).

        Returns
        -------
        array
            NaN where a subject has no such pair.
        """
        return self._subjects.means(self._values, partners)

    def curves(self, partners: Mask) -> Floats:
        """Return the curve of every subject over its pairs with some partners, less its mean: (k, s)."""
        means = self._subjects.means(self._scores, partners)
        centred: Floats = means - means.mean(axis=1, keepdims=True)
        return centred

    def features_of(self, others: Measurements) -> tuple[list[str], Floats]:
        """Return the subjects of other measurements and their features over all their pairs."""
        moving, fixed = (
            others.pairs[side].to_numpy(dtype=object)
            for side in ("moving_subject", "fixed_subject")
        )
        subjects = sorted({*moving, *fixed})
        places = [others.settings.index(index) for index in self.indices]
        columns = [others.array(name)[places].T for name in self.names]
        incidence = _Incidence(subjects, moving, fixed)
        everyone = np.ones(len(subjects), dtype=bool)
        return subjects, incidence.means(np.concatenate(columns, axis=1), everyone)

    def predict(
        self, regressor: Regressor, learned: Mask, features: Floats, asked: Floats
    ) -> Places:
        """Learn from pairs of some subjects, and predict the place of the best setting for features.

        Parameters
        ----------
        regressor
            It is copied before it learns.
        learned
            Whether each subject is learned from, shape (k,).
        features
            Of all subjects, over pairs with these, shape (k, f).
        asked
            To predict for, shape (m, f).

        Returns
        -------
        array
            Places among the settings of the curve, shape (m,). The best one for all where fewer than
            `FEWEST_SUBJECTS` are learned from, or the features of a subject are unknown.
        """
        curves = self.curves(learned)
        common = self.common(learned)
        places = np.full(len(asked), common)
        of_features = np.isfinite(features).any(axis=1)
        usable = learned & of_features & np.isfinite(curves).all(axis=1)
        if usable.sum() < FEWEST_SUBJECTS:
            return places
        # what is unknown of one of these subjects is no feature
        known = np.isfinite(features[usable]).all(axis=0)
        rows = features[usable][:, known]
        spread = rows.std(axis=0)
        centre = rows.mean(axis=0)
        varies = spread > 1e-12 * np.abs(centre)
        if not varies.any():
            return places
        centre = centre[varies]
        spread = spread[varies]
        scaled = (rows[:, varies] - centre) / spread
        scaled_asked = (asked[:, known][:, varies] - centre) / spread
        complete = np.isfinite(scaled_asked).all(axis=1)
        if not complete.any():
            return places
        fitted = copy.deepcopy(regressor)
        fitted.fit(scaled, curves[usable])
        outputs = np.asarray(fitted.predict(scaled_asked[complete]), dtype=float)
        expected = (int(complete.sum()), len(self.curve.settings))
        if outputs.shape != expected:
            raise DataError(
                "regressor",
                expected=f"predictions of shape {expected}",
                got=outputs.shape,
                advice="Wrap it in sklearn.multioutput.MultiOutputRegressor.",
            )
        places[complete] = outputs.argmax(axis=1)
        return places

    def known(self, learned: Mask) -> Places:
        """Return the place of each subject's own best setting, by its pairs with some subjects, shape (k,).

        Parameters
        ----------
        learned
            Whether each subject is one of these, shape (k,).
        """
        curves = self.curves(learned)
        has_pairs = np.isfinite(curves).all(axis=1)
        places = np.full(len(curves), self.common(learned))
        if not (learned & has_pairs).any():
            return places
        differences = curves - curves[learned & has_pairs].mean(axis=0)
        weight = self._reliability(learned)
        # the level of a curve decides nothing
        own = self._mean_curve(learned) + weight * differences
        places[has_pairs] = own[has_pairs].argmax(axis=1)
        return places

    def _reliability(self, learned: Mask) -> float:
        """Return the weight of a subject's curve, w of the module's text, in [0, 1]."""
        numbers = np.cumsum(learned)
        halves = [learned & (numbers % 2 == rest) for rest in (0, 1)]
        first, second = (self.curves(half) for half in halves)
        usable = learned & np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
        if usable.sum() < FEWEST_SUBJECTS:
            return 0.0
        ones = first[usable] - first[usable].mean(axis=0)
        others = second[usable] - second[usable].mean(axis=0)
        size = np.sqrt((ones**2).sum() * (others**2).sum())
        if not size:
            return 0.0
        correlation = max(float((ones * others).sum() / size), 0.0)
        return 2 * correlation / (1 + correlation)

    def gains(self, places: Places, learned: Mask, pairs: Places) -> Floats:
        """Return the gain of some pairs over the common setting, shape (pairs,).

        Parameters
        ----------
        places
            Of each subject's setting, shape (k,).
        learned
            Whose best setting is the common one.
        pairs
            Positions of the pairs.
        """
        scores = self.curve.scores
        of_moving = scores[places[self.moving[pairs]], pairs]
        of_fixed = scores[places[self.fixed[pairs]], pairs]
        own = (of_moving + of_fixed) / 2
        return gain(self.curve.metric, own, scores[self.common(learned), pairs])

    def common(self, learned: Mask) -> int:
        """Return the place of the best setting for all pairs among some subjects."""
        return int(self._mean_curve(learned).argmax())

    def _mean_curve(self, learned: Mask) -> Floats:
        """Return the mean curve of all pairs among some subjects, or of all where there is none: (s,)."""
        among = learned[self.moving] & learned[self.fixed]
        scores = self._scores[among] if among.any() else self._scores
        means: Floats = scores.mean(axis=0)
        return means


class _Incidence:
    """Which subjects are in which pairs, as rows of (subject, pair, partner) sorted by subject."""

    def __init__(self, subjects: Sequence[str], moving: Names, fixed: Names) -> None:
        place_of = {name: place for place, name in enumerate(subjects)}
        self.moving: Places = np.array([place_of[name] for name in moving], dtype=np.intp)
        self.fixed: Places = np.array([place_of[name] for name in fixed], dtype=np.intp)
        pairs = np.arange(len(moving))
        # a pair within one subject counts once
        twice = self.moving != self.fixed
        subject = np.concatenate([self.moving, self.fixed[twice]])
        order = np.argsort(subject, kind="stable")
        self._pair = np.concatenate([pairs, pairs[twice]])[order]
        self._partner = np.concatenate([self.fixed, self.moving[twice]])[order]
        counts = np.bincount(subject, minlength=len(subjects))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._shape = (len(subjects), len(moving))

    def means(self, values: Floats, partners: Mask) -> Floats:
        """Return the mean of values (n, c) over each subject's pairs with some partners: (k, c)."""
        weights = partners[self._partner].astype(float)
        matrix = csr_matrix((weights, self._pair, self._starts), shape=self._shape)
        finite = np.isfinite(values)
        if finite.all():
            total = matrix @ values
            count = matrix @ np.ones((len(values), 1))
        else:
            total = matrix @ np.where(finite, values, 0.0)
            count = matrix @ finite.astype(float)
        means = total / np.maximum(count, 1)
        return np.where(count > 0, means, np.nan)


def _held_out_gains(
    learning: Learning, splits: Splits, regressor: Regressor | None
) -> tuple[Mean | None, Mean | None]:
    """Return the held-out gain of predicted settings and of known ones; None where no pair is held out.

    That of predicted ones is None without a regressor too.
    """
    groups = splits.groups_of(np.array(learning.subjects, dtype=object))
    scores = learning.curve.scores
    predicted = np.zeros(scores.shape[1])
    known = np.zeros(scores.shape[1])
    count = np.zeros(scores.shape[1])
    for selection in splits.selection:
        learned = selection[groups]
        held_out = ~learned
        pairs = np.flatnonzero(held_out[learning.moving] & held_out[learning.fixed])
        among = learned[learning.moving] & learned[learning.fixed]
        if not len(pairs) or not among.any():
            continue
        count[pairs] += 1
        known[pairs] += learning.gains(learning.known(learned), learned, pairs)
        if regressor is not None:
            features = learning.features(learned)
            places = learning.predict(regressor, learned, features, features)
            predicted[pairs] += learning.gains(places, learned, pairs)
    scored = count > 0
    if not scored.any():
        return None, None
    moving, fixed = (side[scored] for side in learning.sides)
    of_known = jackknife(known[scored] / count[scored], moving, fixed)
    if regressor is None:
        return None, of_known
    return jackknife(predicted[scored] / count[scored], moving, fixed), of_known


def _leave_one_out(
    learning: Learning, regressor: Regressor, asked: Floats
) -> tuple[Floats, Floats]:
    """Predict without each subject in turn.

    Returns
    -------
    array
        Lattice indices predicted for the asked features, shape (k, m, hyperparameters).
    array
        Absolute error for the subject itself, shape (k, hyperparameters).
    """
    indices = np.array(learning.curve.settings, dtype=float)
    everyone = np.ones(len(learning.subjects), dtype=bool)
    own = learning.curves(everyone).argmax(axis=1)
    left_out = []
    errors = []
    for place in range(len(learning.subjects)):
        learned = everyone.copy()
        learned[place] = False
        features = learning.features(learned)
        rows = np.concatenate([features[[place]], asked])
        predicted = indices[learning.predict(regressor, learned, features, rows)]
        left_out.append(predicted[1:])
        errors.append(np.abs(predicted[0] - indices[own[place]]))
    return np.array(left_out), np.array(errors)


def _intervals(
    space: Space, index: Index, left_out: Floats, errors: Floats, level: float
) -> dict[str, Interval]:
    """Return the interval of each hyperparameter of one subject, which holds the predicted value."""
    intervals = {}
    for column, hyperparameter in enumerate(space.hyperparameters):
        is_active = hyperparameter.name in space.setting(index)
        if not hyperparameter.is_ordered or not is_active:
            intervals[hyperparameter.name] = NOTHING
            continue
        last = hyperparameter.points - 1
        low, high = jackknife_plus(left_out[:, column], errors[:, column], level)
        low = min(max(low, 0), index[column])
        high = max(min(high, last), index[column])
        ends = [hyperparameter.coordinate(end) for end in (math.floor(low), math.ceil(high))]
        intervals[hyperparameter.name] = Interval(*ends)
    return intervals


def _default_regressor() -> Regressor | None:
    """Return ridge regression of scikit-learn; None where it is not installed."""
    if not has_default_regressor():
        return None
    from sklearn.linear_model import RidgeCV

    found: Regressor = RidgeCV(alphas=STRENGTHS)
    return found


def has_default_regressor() -> bool:
    """Return whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def _evenly(places: Sequence[int]) -> list[int]:
    """Return at most `FEATURE_SETTINGS` of some places, evenly spread, the first and the last among them."""
    count = min(FEATURE_SETTINGS, len(places))
    steps = np.linspace(0, len(places) - 1, count).round().astype(int)
    return [places[step] for step in steps]


def _differs(values: Floats) -> bool:
    """Return whether a metric was measured, and differs between pairs at one setting at least."""
    known = np.isfinite(values)
    if not known.any():
        return False
    low = np.where(known, values, np.inf).min(axis=0)
    high = np.where(known, values, -np.inf).max(axis=0)
    return bool((high > low).any())


def _evidence(mean: Mean | None, p_adjusted: float, margin: float) -> Evidence:
    if mean is None:
        return Evidence.TOO_FEW
    return of_mean(mean, p_adjusted, margin)


def _check_space(ours: Space, theirs: Space) -> None:
    if ours != theirs:
        raise DataError(
            "others",
            expected=f"measurements over {', '.join(ours.names)} with the same ranges",
            got=f"over {', '.join(theirs.names)}",
            advice="Search both with the same model.",
        )
