"""Several methods on the same pairs: paired differences of scores, and what each costs.

A method is anything with measurements: a trained model, an engine, or a table of scores. Each
stands there with settings of several kinds: its default, or one that was *tuned*, which means
chosen by scores. A tuned setting must not be judged by the subjects that chose it: in each split of
the subjects it is chosen on the pairs of one part and scored on those of the other, as everywhere
in a report. All methods share the splits.

Two methods are compared on the pairs that both have. A difference of a pair belongs to two
subjects, so that its mean has the standard error of the delete-one-subject jackknife. That error is
of given choices. But other subjects would choose other settings, and where two settings are about
equally good, this is most of what varies, as between a tuned setting and the default. Hence the
variance over choices is added,

    SE² = SE²_given + (n - d) / d · Var_r(g_r),

g_r being the mean difference over all pairs, at the settings that were chosen in split r, in which
d of n subjects were held out. In simulated cohorts with a true difference of 0, false alarms of
either sign are then about as frequent as the level of the test says; without it they are up to
three times as frequent.

A method with other hyperparameters than the study can also stand there with a *matched* setting: the
one whose deformations are as rough, by the standard deviation of the log Jacobian, as those of the
study's model at its best setting. It is found without labels of the pairs, but for those that chose
the setting of the model. How far it falls behind the tuned one says whether the best setting of the
model carries over to another program.

Shapes: n pairs, l labels, s settings, r splits.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.held_out import Splits, choose, sums_between, with_choices
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.optimum import shared_settings, within_range
from hmopt.analysis.pooling import FEWEST_SCOPES, Member, pooled_places
from hmopt.analysis.resampling import Estimate, Floats, Mask, Names, Places
from hmopt.catalogue import Metric, find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration.report import Choice
from hmopt.errors import DataError
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Index, Setting

SECONDS = "wall_time_s"
"""Metric: wall time of the registration of one pair."""

ROUGHNESS = "log_jacobian_sd"
"""Metric: standard deviation of the log Jacobian."""

MANY_TIMES = 2
"""So many times as many pairs must all methods share without one of them for its scores to be left
out of the table of shared pairs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A method that was measured at many settings.

    Parameters
    ----------
    title
        What it is called.
    measurements
        Its measurements.
    choices
        Which of its settings are compared.
    training_minutes
        Of its model; 0 where nothing was trained, NaN where it is not known.
    search_minutes
        Of its search; NaN where it is not known.
    search_is_complete
        Whether these are known to be all of its minutes.
    registrations
        Of its search; None: of all pairs at all settings.
    model
        Identity of the model alone, whether its registrations were refined or not; None where there is none.
    is_refined
        Whether they were.
    """

    title: str
    measurements: Measurements
    choices: tuple[Choice, ...]
    training_minutes: float = math.nan
    search_minutes: float = math.nan
    search_is_complete: bool = True
    registrations: int | None = None
    model: str | None = None
    is_refined: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A method at settings of one kind: a row of the comparison.

    Parameters
    ----------
    source
        Title of the method.
    choice
        How its settings were chosen; None where only scores are known.
    pairs
        Ids of n pairs.
    moving, fixed
        Their subjects, shape (n,).
    labels
        Names of l labels.
    measured
        Scores at all settings, shape (s, n, l).
    chosen
        Place of the chosen setting in each split, shape (r, l); -1: none.
    held_out
        Whether each pair is held out in each split, shape (r, n); all are where nothing is chosen.
    ratio
        Subjects that choose in a split for each one that is held out.
    settings
        The setting to use by label, of all subjects: the same one for all labels unless it was
        chosen for each.
    seconds
        Of one registration, the median; with a setting for each label, of all that are needed. NaN
        where it was not measured.
    folding, roughness
        Mean share of folded voxels and mean standard deviation of the log Jacobian at `settings`.
    evaluations
        Registrations that tuning took; 0 where nothing was tuned.
    failures
        Registrations of these pairs at `settings` that failed.
    tuning_minutes, training_minutes
        NaN where they are not known.
    tuning_is_complete
        Whether tuning took no more minutes than these.
    model, is_refined
        Identity of the model alone, and whether its registrations were refined, as of its source.
    """

    source: str
    choice: Choice | None
    pairs: tuple[str, ...]
    moving: Names
    fixed: Names
    labels: tuple[str, ...]
    measured: Floats
    chosen: Places
    held_out: Mask
    ratio: float = 1.0
    settings: Mapping[str, Setting] = field(default_factory=dict)
    seconds: float = math.nan
    folding: float = math.nan
    roughness: float = math.nan
    evaluations: int = 0
    failures: int = 0
    tuning_minutes: float = math.nan
    training_minutes: float = math.nan
    tuning_is_complete: bool = True
    model: str | None = None
    is_refined: bool = False

    @property
    def title(self) -> str:
        """Method and kind of setting."""
        if self.choice is None:
            return self.source
        return f"{self.source}, {self.choice.replace('per_structure', 'tuned per structure')}"

    @property
    def once_minutes(self) -> float:
        """Time before the first registration: training and tuning."""
        return self.training_minutes + self.tuning_minutes

    @cached_property
    def scores(self) -> Floats:
        """Held-out score of each pair and label, shape (n, l); NaN where there is none.

        It is the mean over the splits in which the pair is held out, each at its own setting.
        """
        _, pairs, labels = self.measured.shape
        scores = np.full((pairs, labels), np.nan)
        for column in range(labels):
            places = self.chosen[:, column]
            known = np.flatnonzero(places >= 0)
            # whether each setting was chosen in each split, shape (s, r)
            is_chosen = np.zeros((len(self.measured), len(places)))
            is_chosen[places[known], known] = 1
            # in how many splits it was, while the pair was held out, shape (s, n)
            times = is_chosen @ self.held_out
            # a setting that no split chose may have no score
            weighted = np.where(times > 0, times * self.measured[:, :, column], 0)
            total = weighted.sum(axis=0)
            count = times.sum(axis=0)
            is_scored = count > 0
            scores[is_scored, column] = total[is_scored] / count[is_scored]
        return scores

    def of_choices(self, label: str | None) -> Floats:
        """Return the mean score over all pairs at the settings of each split, shape (r,).

        Without a label it is the mean over labels, the same ones in all splits: where a split has no
        setting for a label, as too few of its subjects have it, the label counts with its mean over
        the other splits. Otherwise splits would differ by which labels they have.
        """
        means = mean(self.measured, axis=1)
        columns = np.arange(len(self.labels))
        found = np.where(self.chosen >= 0, means[self.chosen, columns], np.nan)
        if label is None:
            of_labels = mean(found, axis=0)
            complete = np.where(np.isfinite(found), found, of_labels)
            return mean(complete, axis=1)
        of_splits: Floats = found[:, self.labels.index(label)]
        return of_splits

    def of_label(self, label: str | None) -> Floats:
        """Return one score per pair, shape (n,): of a label, or the mean over those it has."""
        if label is None:
            return mean(self.scores, axis=1)
        place = self.labels.index(label)
        scores: Floats = self.scores[:, place]
        return scores

    def on(self, pairs: Sequence[str]) -> "Entry":
        """Return the same on some of its pairs, in their order."""
        if tuple(pairs) == self.pairs:
            return self
        places = pd.Index(self.pairs).get_indexer(pd.Index(pairs))
        some = replace(
            self,
            pairs=tuple(pairs),
            moving=self.moving[places],
            fixed=self.fixed[places],
            measured=self.measured[:, places],
            held_out=self.held_out[:, places],
        )
        vars(some)["scores"] = self.scores[places]  # which need not be worked out again
        return some

    def mean(self, label: str | None = None) -> Mean | None:
        """Compute the mean score over the pairs that have one; None where there is none."""
        scores = self.of_label(label)
        known = np.isfinite(scores)
        if not known.any():
            return None
        found = jackknife(scores[known], self.moving[known], self.fixed[known])
        return with_choices(found, self.of_choices(label), self.ratio)


def entry_of_scores(
    title: str,
    pairs: Sequence[str],
    subjects: tuple[Names, Names],
    labels: Sequence[str],
    scores: Floats,
    seconds: float = math.nan,
) -> Entry:
    """Return the entry of a method of which only scores are known.

    Parameters
    ----------
    title
        What it is called.
    pairs, subjects
        Ids of n pairs, and their moving and fixed subjects.
    labels
        Names of l labels.
    scores
        Shape (n, l); NaN where there is none.
    seconds
        Of one registration.
    """
    moving, fixed = subjects
    return Entry(
        source=title,
        choice=None,
        pairs=tuple(pairs),
        moving=moving,
        fixed=fixed,
        labels=tuple(labels),
        measured=scores[None],
        chosen=np.zeros((1, len(labels)), dtype=np.intp),
        held_out=np.ones((1, len(pairs)), dtype=bool),
        seconds=seconds,
        tuning_minutes=0.0,
        training_minutes=0.0,
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better one entry is than another.

    It is taken on the pairs of the table of scores, so that it is the difference of two of its
    rows; of a method that is too sparse to stand in it, on the pairs that both have.

    Parameters
    ----------
    first, second
        Titles of the entries.
    label
        A label, or None: mean over the labels of a pair.
    mean
        Mean of first - second such that more is better, with its standard error.
    p_adjusted
        Two-sided p-value after Holm's correction: over all labels of the two entries; without a
        label, over all differences to the first entry, over all of the refined model to other methods,
        and of others over every two.
    pairs
        Number of pairs.
    evidence
        What test, interval and margin say together.
    """

    first: str
    second: str
    label: str | None
    mean: Mean
    p_adjusted: float
    pairs: int
    evidence: Evidence

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `negligible`, `no evidence` or `too few subjects`."""
        if self.evidence is Evidence.FOUND:
            return "better" if self.mean.value > 0 else "worse"
        return self.evidence.answer

    def turned(self) -> "Difference":
        """Return the difference the other way round."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            mean=replace(self.mean, value=-self.mean.value),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Beside:
    """Several methods side by side.

    Parameters
    ----------
    metric, margin
        What is compared, and the difference that is negligible.
    labels
        Structures that every method has.
    entries
        The rows, the first of which the others are compared with.
    differences
        Between every two entries, the earlier one first: overall, and of each label.
    shared
        Pairs of the table of scores.
    sparse
        Titles of methods that have too few pairs to stand in it.
    remarks
        In what the methods differ besides.
    """

    metric: Metric
    margin: float
    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    differences: tuple[Difference, ...]
    shared: tuple[str, ...]
    sparse: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def score(self, entry: Entry, label: str | None = None) -> Estimate | None:
        """Return an entry's mean score on the shared pairs; of a sparse one on its own pairs."""
        shown = entry if entry.source in self.sparse else entry.on(self.shared)
        found = shown.mean(label)
        return None if found is None else within_range(self.metric, found.estimate)

    def pairs_of(self, entry: Entry) -> int:
        """Return the number of pairs of an entry's scores."""
        return len(entry.pairs) if entry.source in self.sparse else len(self.shared)

    def difference(self, first: str, second: str, label: str | None = None) -> Difference | None:
        """Return how much better one entry is than another; None where they share no pair."""
        for found in self.differences:
            if found.label != label:
                continue
            if (found.first, found.second) == (first, second):
                return found
            if (found.first, found.second) == (second, first):
                return found.turned()
        return None

    @property
    def own(self) -> Entry:
        """The entry that stands for the study's model: that of its refined registrations, where there are such.

        Its model may stand there several times: of the refined source named last, the first choice counts.
        """
        return _own_and_others(self.entries)[0]

    @property
    def others(self) -> list[Entry]:
        """The first choice of each method that is not the study's own model."""
        return _own_and_others(self.entries)[1]

    def table(self) -> pd.DataFrame:
        """Return a row for each entry and structure, with numbers.

        Returns
        -------
        table
            `method`, `choice`, `label` (empty: mean over all), `pairs`, `score` with its interval,
            `difference_to_first` with its interval, `p_adjusted` and `verdict`; in the rows without
            a label also the setting, seconds, folding, and what tuning and training took.
        """
        rows = []
        for entry in self.entries:
            labels: list[str | None] = [None, *self.labels]
            rows += [self._row(entry, label) for label in labels]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        """Return the rows over all structures, as a notebook shows them."""
        table = self.table()
        overall = table[table["label"] == ""].drop(columns="label")
        html: str = overall.to_html(index=False, float_format="{:.4g}".format, na_rep="")
        return html

    def _row(self, entry: Entry, label: str | None) -> dict[str, object]:
        score = self.score(entry, label) or Estimate(math.nan, math.nan, math.nan)
        row: dict[str, object] = {
            "method": entry.source,
            "choice": entry.choice or "",
            "label": label or "",
            "pairs": self.pairs_of(entry),
            **score.columns(self.metric.name),
        }
        against = self.difference(entry.title, self.entries[0].title, label)
        estimate = Estimate(math.nan, math.nan, math.nan)
        if against is not None:
            estimate = against.mean.estimate
        row |= estimate.columns("difference_to_first")
        row["p_adjusted"] = math.nan if against is None else against.p_adjusted
        row["verdict"] = "" if against is None else against.verdict
        of_label = entry.settings if label is None else _only(entry.settings, label)
        row["setting"] = setting_column(of_label)
        of_method: dict[str, float] = {
            "seconds": entry.seconds,
            "folding": entry.folding,
            "log_jacobian_sd": entry.roughness,
            "failures": entry.failures,
            "evaluations": entry.evaluations,
            "tuning_minutes": entry.tuning_minutes,
            "tuning_is_complete": entry.tuning_is_complete,
            "training_minutes": entry.training_minutes,
        }
        return row | (of_method if label is None else dict.fromkeys(of_method, math.nan))


def _only(settings: Mapping[str, Setting], label: str) -> dict[str, Setting]:
    return {label: settings[label]} if label in settings else {}


def setting_column(settings: Mapping[str, Setting]) -> str:
    """Return settings as a cell: `a=1, b=2`; several different ones each after its label.

    Examples
    --------
    >>> setting_column({"thalamus": {"regularization": 0.3}, "caudate": {"regularization": 0.3}})
    'regularization=0.3'
    >>> setting_column({"thalamus": {"regularization": 0.3}, "caudate": {"regularization": 0.5}})
    'thalamus: regularization=0.3; caudate: regularization=0.5'
    """
    texts = {label: _setting_text(setting) for label, setting in settings.items()}
    different = set(texts.values())
    if len(different) == 1:
        return different.pop()
    return "; ".join(f"{label}: {text}" for label, text in texts.items())


def _setting_text(setting: Setting) -> str:
    values = []
    for name, value in setting.items():
        text = f"{value:g}" if isinstance(value, int | float) else str(value)
        values.append(f"{name}={text}")
    return ", ".join(values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Roughness:
    """How rough the deformations of a method are at its tuned setting.

    Parameters
    ----------
    of_splits
        Mean standard deviation of the log Jacobian at the setting of each split, shape (r,); NaN
        where none was chosen.
    of_all
        At the setting of all subjects.
    """

    of_splits: Floats
    of_all: float


def tuned_roughness(
    source: Source, metric: str, labels: Sequence[str], splits: Splits, pairs: Sequence[str]
) -> Roughness | None:
    """Return how rough a method's deformations of some pairs are, at the setting that is tuned on all its pairs.

    Parameters
    ----------
    source, metric, labels, splits
        As in `make_entries`.
    pairs
        Ids of pairs; those that the method lacks do not count.

    Returns
    -------
    Roughness or None
        None where the standard deviation of the log Jacobian was not measured, or nothing is tuned.
    """
    return _Method(source, metric, labels, splits).tuned_roughness(pairs)


def make_entries(
    source: Source,
    metric: str,
    labels: Sequence[str],
    splits: Splits,
    roughness: Roughness | None = None,
) -> list[Entry]:
    """Return a method's entries, one for each of its choices for which there are scores.

    Parameters
    ----------
    source
        The method.
    metric
        What settings are chosen by and compared in.
    labels
        Structures to compare, which it has measured.
    splits
        Of the subjects, the same ones for all methods.
    roughness
        Of the study's model, which a matched setting is to have; None: there is no matched setting.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """
    method = _Method(source, metric, labels, splits, roughness)
    entries = [method.entry(choice) for choice in source.choices]
    return [entry for entry in entries if entry is not None]


class _Method:
    """One method: its curves, and what is chosen in each split."""

    def __init__(
        self,
        source: Source,
        metric: str,
        labels: Sequence[str],
        splits: Splits,
        roughness: Roughness | None = None,
    ) -> None:
        measurements = source.measurements
        places = [measurements.labels.index(label) for label in labels]
        kept = {}
        for name, values in measurements.values.items():
            # metrics of whole pairs have no axis of labels
            kept[name] = values[:, :, places] if values.ndim == 3 else values
        self.source = source
        self.metric = find_metric(metric)
        self.labels = tuple(labels)
        self.measured = replace(measurements, labels=self.labels, values=kept)
        self.moving = measurements.pairs["moving_subject"].to_numpy(dtype=object)
        self.fixed = measurements.pairs["fixed_subject"].to_numpy(dtype=object)
        self.splits = splits
        self.roughness = roughness
        curves = Curves(self.measured, metric)
        self.cohort = curves.of(WHOLE_COHORT)
        self.curves: dict[str, Curve] = {}
        for label in labels:
            curve = curves.of(Scope(criteria=(("label", label),)))
            if curve is not None:
                self.curves[label] = curve

    def entry(self, choice: Choice) -> Entry | None:
        """Return the entry of one choice; None where no pair has a score."""
        choose_settings = {
            "default": self._default,
            "tuned": self._tuned,
            "per_structure": self._per_structure,
            "matched": self._matched,
        }
        chosen, settings = choose_settings[choice]()
        of_labels = [self.measured.score(self.metric.name, label) for label in self.labels]
        none = np.full(len(self.splits.selection), -1)
        places = [chosen.get(label, none) for label in self.labels]
        is_default = choice == "default"
        held_out = self.splits.held_out_pairs(self.moving, self.fixed)
        if is_default:
            held_out = np.ones_like(held_out)
        used = self._places(settings)
        entry = Entry(
            source=self.source.title,
            choice=choice,
            pairs=tuple(self.measured.pairs["pair"]),
            moving=self.moving,
            fixed=self.fixed,
            labels=self.labels,
            measured=np.stack(of_labels, axis=2),
            chosen=np.stack(places, axis=1),
            held_out=held_out,
            ratio=self.splits.ratio,
            settings=settings,
            seconds=self._seconds(used),
            folding=self._mean_of(FOLDING, used),
            roughness=self._mean_of(ROUGHNESS, used),
            evaluations=0 if is_default else self._registrations(),
            failures=self._failures(used),
            tuning_minutes=0.0 if is_default else self.source.search_minutes,
            training_minutes=self.source.training_minutes,
            tuning_is_complete=is_default or self.source.search_is_complete,
            model=self.source.model,
            is_refined=self.source.is_refined,
        )
        return entry if np.isfinite(entry.scores).any() else None

    def _default(self) -> tuple[dict[str, Places], dict[str, Setting]]:
        space = self.measured.space
        place = self._place(space.index(space.default))
        everywhere = np.full(len(self.splits.selection), place)
        chosen = dict.fromkeys(self.labels, everywhere)
        return chosen, dict.fromkeys(self.labels, space.default)

    def _tuned(self) -> tuple[dict[str, Places], dict[str, Setting]]:
        """Choose one setting for all structures: in each split, and on all subjects."""
        if self.cohort is None:
            return {}, {}
        sums = sums_between(self.cohort, self.splits, *self._sides(self.cohort))
        places = choose(sums, self.splits.selection)
        chosen = self._in_table(self.cohort.settings, places)
        best = self.cohort.settings[self.cohort.best()]
        setting = self.measured.space.setting(best)
        return dict.fromkeys(self.labels, chosen), dict.fromkeys(self.labels, setting)

    def tuned_roughness(self, pairs: Sequence[str]) -> Roughness | None:
        """Return how rough deformations of some pairs are at the tuned setting."""
        chosen, settings = self._tuned()
        if not chosen or ROUGHNESS not in self.measured.values:
            return None
        kept = self.measured.pairs["pair"].isin(pairs)
        means = mean(self.measured.values[ROUGHNESS][:, kept], axis=1)
        (label, *_) = self.labels
        places = chosen[label]
        of_splits = np.where(places >= 0, means[places], np.nan)
        (best,) = self._places({label: settings[label]})
        return Roughness(of_splits=of_splits, of_all=float(means[best]))

    def _matched(self) -> tuple[dict[str, Places], dict[str, Setting]]:
        """Choose the setting with the roughness of the study's model: in each split, and on all subjects."""
        if self.roughness is None or ROUGHNESS not in self.measured.values:
            return {}, {}
        values = self.measured.values[ROUGHNESS]
        # settings that were given up after some pairs do not compare
        counts = np.isfinite(values).sum(axis=1)
        is_complete = counts == counts.max()
        means = np.where(is_complete, mean(values, axis=1), np.nan)
        wanted = np.append(self.roughness.of_splits, self.roughness.of_all)
        # (r + 1, s)
        apart = np.abs(means - wanted[:, None])
        nearest = np.where(np.isfinite(apart), apart, np.inf).argmin(axis=1)
        places = np.where(np.isfinite(apart).any(axis=1), nearest, -1)
        if places[-1] < 0:
            # the roughness of the model, or that of every setting here, is not known
            return {}, {}
        chosen = dict.fromkeys(self.labels, places[:-1])
        setting = self.measured.space.setting(self.measured.settings[places[-1]])
        return chosen, dict.fromkeys(self.labels, setting)

    def _per_structure(self) -> tuple[dict[str, Places], dict[str, Setting]]:
        """Choose a setting for each structure by its pooled curve, as a search recommends it."""
        curves = list(self.curves.values())
        if not curves:
            return {}, {}
        shared = shared_settings(curves)
        if len(curves) < FEWEST_SCOPES or not shared:
            return self._tuned()
        members = []
        for curve in curves:
            at_shared = curve.at(shared)
            sums = sums_between(at_shared, self.splits, *self._sides(curve))
            members.append(Member(sums=sums, group=None))
        everyone = np.ones((1, self.splits.selection.shape[1]), dtype=bool)
        in_splits = pooled_places(members, self.splits.selection)
        of_all = pooled_places(members, everyone)[:, 0]
        chosen = {}
        settings: dict[str, Setting] = {}
        for label, places, best in zip(self.curves, in_splits, of_all, strict=True):
            chosen[label] = self._in_table(shared, places)
            settings[label] = self.measured.space.setting(shared[best])
        return chosen, settings

    def _sides(self, curve: Curve) -> tuple[Names, Names]:
        return self.moving[curve.pairs], self.fixed[curve.pairs]

    def _in_table(self, settings: Sequence[Index], places: Places) -> Places:
        """Return places among all measured settings of places among some; -1 stays -1."""
        table = np.array([*map(self._place, settings), -1])
        found: Places = table[places]
        return found

    def _place(self, index: Index) -> int:
        if index not in self.measured.settings:
            return -1
        return self.measured.settings.index(index)

    def _places(self, settings: Mapping[str, Setting]) -> list[int]:
        """Return the places of the different settings that are used."""
        indices = [self.measured.space.index(setting) for setting in settings.values()]
        places = [self._place(index) for index in dict.fromkeys(indices)]
        return [place for place in places if place >= 0]

    def _seconds(self, places: Sequence[int]) -> float:
        """Return the time of a pair: each setting is a registration, whose median counts."""
        if SECONDS not in self.measured.values or not places:
            return math.nan
        total = 0.0
        for times in self.measured.values[SECONDS][places]:
            known = times[np.isfinite(times)]
            total += float(np.median(known)) if len(known) else math.nan
        return total

    def _mean_of(self, metric: str, places: Sequence[int]) -> float:
        if metric not in self.measured.values or not places:
            return math.nan
        values = self.measured.values[metric][places]
        return float(mean(values.ravel(), axis=0))

    def _registrations(self) -> int:
        """Return the registrations of the search: as told, or of all pairs at all settings."""
        if self.source.registrations is not None:
            return self.source.registrations
        return len(self.measured.settings) * len(self.moving)

    def _failures(self, places: Sequence[int]) -> int:
        """Count registrations that gave nothing, of pairs that others could register."""
        scores = self.measured.score(self.metric.name)
        finite = np.isfinite(scores)
        can_be = finite.any(axis=0)
        failed = ~finite[places][:, can_be]
        return int(failed.sum())


def set_beside(
    entries: Sequence[Entry], metric: str, margin: float, remarks: Sequence[str] = ()
) -> Beside:
    """Compare every two entries.

    Parameters
    ----------
    entries
        Of the same labels; at least two, the first of which the others are compared with.
    metric
        What the scores are of.
    margin
        Difference that is negligible.
    remarks
        In what the methods differ besides.

    Raises
    ------
    DataError
        If there are not two entries that share pairs.

    Examples
    --------
    >>> names = np.array(["a", "b", "c", "d", "e"], dtype=object)
    >>> def made(title, scores):
    ...     column = np.array(scores)[:, None]
    ...     return entry_of_scores(title, "12345", (names, np.roll(names, 1)), ["thalamus"], column)
    >>> one = made("one", [0.80, 0.81, 0.80, 0.82, 0.80])
    >>> two = made("two", [0.70, 0.72, 0.70, 0.71, 0.72])
    >>> found = set_beside([one, two], "dice", margin=0.002).difference("two", "one")
    >>> round(found.mean.value, 3), found.verdict
    (-0.096, 'worse')
    """
    record = find_metric(metric)
    labels = entries[0].labels
    shared, sparse = _shared_pairs(entries)
    overall: list[Difference] = []
    of_labels: list[Difference] = []
    for first, second in itertools.combinations(entries, 2):
        is_sparse = first.source in sparse or second.source in sparse
        pairs = _pairs_of_both(first, second) if is_sparse else shared
        whole = _difference(first, second, None, record, pairs)
        if whole is None:
            continue
        overall.append(whole)
        found = [_difference(first, second, label, record, pairs) for label in labels]
        of_labels += _judged([one for one in found if one is not None], margin)
    if not overall:
        raise DataError(
            "report.beside",
            expected="methods with pairs in common",
            got="none",
            advice="Search the same pairs: name them in [pairs] csv.",
        )
    return Beside(
        metric=record,
        margin=margin,
        labels=labels,
        entries=tuple(entries),
        differences=(*_judged_overall(overall, entries, margin), *of_labels),
        shared=shared,
        sparse=sparse,
        remarks=tuple(remarks),
    )


def _pairs_of_both(first: Entry, second: Entry) -> tuple[str, ...]:
    theirs = set(second.pairs)
    return tuple(pair for pair in first.pairs if pair in theirs)


def _difference(
    first: Entry, second: Entry, label: str | None, metric: Metric, pairs: Sequence[str]
) -> Difference | None:
    """Return the difference of two entries on some pairs, not yet tested with others."""
    one = first.on(pairs)
    other = second.on(pairs)
    gains = gain(metric, one.scores, other.scores)
    # overall: of the structures that both have, so that a missing one is no difference
    of_pairs = mean(gains, axis=1) if label is None else gains[:, one.labels.index(label)]
    known = np.isfinite(of_pairs)
    if not known.any():
        return None
    of_given_choices = jackknife(of_pairs[known], one.moving[known], one.fixed[known])
    over_splits = one.of_choices(label) - other.of_choices(label)
    found = with_choices(of_given_choices, over_splits, max(one.ratio, other.ratio))
    return Difference(
        first=first.title,
        second=second.title,
        label=label,
        mean=found,
        p_adjusted=found.p_value,
        pairs=int(known.sum()),
        evidence=Evidence.NONE,
    )


def _own_and_others(entries: Sequence[Entry]) -> tuple[Entry, list[Entry]]:
    """Return the entry that stands for the study's model, and the first choice of each other method."""
    firsts: dict[str, Entry] = {}
    for entry in entries:
        firsts.setdefault(entry.source, entry)
    own = [entry for entry in firsts.values() if _has_model_of(entry, entries[0])]
    others = [entry for entry in firsts.values() if not _has_model_of(entry, entries[0])]
    refined = [entry for entry in own if entry.is_refined]
    stands_for_all = refined[-1] if refined else own[0]
    return stands_for_all, others


def _has_model_of(entry: Entry, first: Entry) -> bool:
    is_same = entry.model is not None and entry.model == first.model
    return entry.source == first.source or is_same


def _judged_overall(
    differences: Sequence[Difference], entries: Sequence[Entry], margin: float
) -> list[Difference]:
    """Judge overall differences in three families.

    They are those to the first entry, which is asked about; where the study's model also stands
    there refined, those of it to the other methods; and every two.
    """
    first = entries[0].title
    own = _own_and_others(entries)[0].title
    of_others = {entry.title for entry in entries if not _has_model_of(entry, entries[0])}
    to_first, of_own, further = [], [], []
    for place, one in enumerate(differences):
        sides = {one.first, one.second}
        if first in sides:
            to_first.append(place)
        elif own in sides and sides & of_others:
            of_own.append(place)
        else:
            further.append(place)
    everything = range(len(differences))
    judged: dict[int, Difference] = {}
    for shown, family in ((to_first, to_first), (of_own, of_own), (further, everything)):
        found = _judged([differences[place] for place in family], margin)
        by_place = dict(zip(family, found, strict=True))
        judged.update({place: by_place[place] for place in shown})
    return [judged[place] for place in everything]


def _judged(differences: Sequence[Difference], margin: float) -> list[Difference]:
    """Correct p-values for all differences together, and judge what each shows."""
    p_adjusted = holm([one.mean.p_value for one in differences]).tolist()
    judged = []
    for one, p_value in zip(differences, p_adjusted, strict=True):
        evidence = of_mean(one.mean, p_value, margin)
        judged.append(replace(one, p_adjusted=p_value, evidence=evidence))
    return judged


def _shared_pairs(entries: Sequence[Entry]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the pairs that all methods have, and the methods that were left out for it.

    The methods with fewest pairs are left out where the others share `MANY_TIMES` as many without
    them; never the first method, nor the last one beside it.

    Examples of numbers: methods with 330, 60, 60 and 30 pairs share 60, and the last is left out.
    Methods with 330, 66, 30 and 30 pairs share 66, and the last two are left out.
    """
    pairs_of: dict[str, set[str]] = {}
    for entry in entries:
        scored = _scored(entry)
        pairs_of[entry.source] = pairs_of.get(entry.source, scored) & scored
    first, *others = pairs_of
    others.sort(key=lambda source: len(pairs_of[source]))
    left_out = 0
    common = set.intersection(*pairs_of.values())
    for number in range(1, len(others)):
        kept = [pairs_of[source] for source in others[number:]]
        without = pairs_of[first].intersection(*kept)
        if len(without) > len(common) and len(without) >= MANY_TIMES * len(common):
            left_out = number
            common = without
    shared = tuple(pair for pair in entries[0].pairs if pair in common)
    return shared, tuple(others[:left_out])


def _scored(entry: Entry) -> set[str]:
    known = np.isfinite(entry.scores)
    places = np.flatnonzero(known.any(axis=1))
    return {entry.pairs[place] for place in places}


def break_even(first: Entry, other: Entry) -> float:
    """Return from how many registrations on the first costs less time than the other.

    Of n registrations, either takes once + n · seconds: the first costs less where n exceeds
    (once₁ - once₂) / (seconds₂ - seconds₁).

    Returns
    -------
    float
        At least 1; infinite where the first never costs less; NaN where a time is not known.

    Examples
    --------
    >>> def made(minutes, seconds):
    ...     none = np.array([], dtype=object)
    ...     entry = entry_of_scores("", [], (none, none), [], np.empty((0, 0)), seconds)
    ...     return replace(entry, tuning_minutes=minutes)
    >>> break_even(made(60.0, 0.1), made(0.0, 1.9)), break_even(made(60.0, 2.0), made(0.0, 1.0))
    (2001, inf)
    """
    once = 60 * (first.once_minutes - other.once_minutes)
    saved = other.seconds - first.seconds
    if math.isnan(once) or math.isnan(saved):
        return math.nan
    if saved <= 0:
        is_cheaper = once < 0 and saved == 0
        return 1 if is_cheaper else math.inf
    return max(1, math.floor(once / saved) + 1)
