"""The amortization gap: how far a model's registrations are from those that it stands for.

A network predicts, for every pair and setting, a registration near the minimum of its loss, and not
at it. The same pairs are registered in three stages: by the model alone, refined by some
iterations, and refined until the loss hardly falls any more. Three questions follow:

- *How large is the gap?* At each setting, the excess of the mean loss over that of the last stage,
  mean(L) / mean(L_min) - 1, and the difference of the searched metric. The first is a ratio of
  means r; its error is the jackknife's of the residuals (L - r L_min) / mean(L_min) of pairs.
- *Where is the best setting in each stage?*
- *Does the best setting of the model carry over?* In each split of the subjects, one setting is
  chosen by the scores of the model alone, and one by those of refined registrations, on the
  selection set. Both are judged by the refined scores of held-out pairs. Their difference is what
  it costs to search the model and to register with refinement.

Worked example of the ratio: losses 3 and 5 over minima 2 and 4 have r = 8 / 6 = 4/3, an excess of a
third, and residuals (3 - 8/3) / 3 = 1/9 and (5 - 16/3) / 3 = -1/9.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmopt.analysis.cross_validation import CrossValidation, by_kinds, places_in
from hmopt.analysis.held_out import Chosen, HeldOut
from hmopt.analysis.jackknife import ROUNDING, Mean, jackknife
from hmopt.analysis.optimum import CurveAnalysis, ModelAnalysis, margin_of, subject_of
from hmopt.analysis.resampling import Floats, Names, Places
from hmopt.analysis.transfer import Answer, Transfer, judged
from hmopt.catalogue import Metric, find_metric, metrics
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration.search import SearchOptions
from hmopt.errors import LedgerError
from hmopt.ledger.gap import GapRecord
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.lattice import coarse_lattice, spread_out
from hmopt.search.scopes import WHOLE_COHORT, Scope, list_scopes
from hmopt.space import Index, Setting

MODEL, REFINED, CONVERGED = 0, 1, 2
"""Places of the three stages."""

FURTHER = (metrics.LOSS, metrics.WALL_TIME, metrics.CONVERGED)
"""What is measured besides the metrics that decide the best setting."""
NOTHING_LEFT = 1e-3
"""A minimum below this share of the model's loss counts as 0, as where nothing but regularization does."""
MOST_COARSE = 6
"""Settings that are spread over the range, at most."""
FEWEST_REFINED_SETTINGS, MOST_REFINED_SETTINGS = 8, 10
"""Settings at which stages are measured: few, as a converged registration takes seconds."""


def gap_metrics(options: SearchOptions) -> tuple[str, ...]:
    """Return what is measured of each stage: what decides the best setting, loss, time and convergence.

    Examples
    --------
    >>> gap_metrics(SearchOptions())
    ('dice', 'folding', 'loss', 'wall_time_s', 'converged')
    """
    return tuple(dict.fromkeys([*options.deciding, *FURTHER]))


def gap_settings(measurements: Measurements, options: SearchOptions) -> list[Index]:
    """Choose the settings at which stages are measured, sorted.

    They are every second one of the coarse lattice, and the best and recommended settings of scopes
    other than subjects: those of the cohort first, then those that most scopes share, until there
    are `MOST_REFINED_SETTINGS`. Where these are fewer than `FEWEST_REFINED_SETTINGS`, more of the coarse lattice
    follow.

    Parameters
    ----------
    measurements
        Of the searched model.
    options
        Metric, scopes and coarse lattice of the search.
    """
    coarse = coarse_lattice(measurements.space, options.coarse)
    spread = coarse[::2]
    if len(spread) > MOST_COARSE:
        spread = spread_out(coarse, MOST_COARSE)
    chosen = set(spread)
    for index in _settings_of_scopes(measurements, options):
        if len(chosen) < MOST_REFINED_SETTINGS:
            chosen.add(index)
    for index in spread_out(coarse[1:-1:2]):
        if len(chosen) < FEWEST_REFINED_SETTINGS:
            chosen.add(index)
    return sorted(chosen)


def _settings_of_scopes(measurements: Measurements, options: SearchOptions) -> list[Index]:
    """Return best and recommended settings of scopes, the cohort's first, then by how many have them."""
    analysis = ModelAnalysis(measurements, options)
    validation = CrossValidation(analysis, options)
    curves = _curves(analysis, _scopes(measurements, options))
    times: Counter[Index] = Counter()
    for family in by_kinds(curves.values()).values():
        times.update(curve.settings[curve.best()] for curve in family)
        times.update(validation.recommended(family))
    ordered = [index for index, _ in times.most_common()]
    if validation.common is not None:
        ordered.insert(0, validation.common)
    return ordered


def _scopes(measurements: Measurements, options: SearchOptions) -> list[Scope]:
    """Return the cohort and all declared scopes that are not about a subject."""
    declared = list_scopes(options, measurements.pairs, measurements.labels)
    of_groups = [scope for scope in declared if subject_of(scope) is None]
    return list(dict.fromkeys([WHOLE_COHORT, *of_groups]))


def _curves(analysis: ModelAnalysis, scopes: Sequence[Scope]) -> dict[Scope, Curve]:
    found = {scope: analysis.curves.of(scope) for scope in scopes}
    return {scope: curve for scope, curve in found.items() if curve is not None}


def answer_of(transfer: Transfer | None) -> Answer:
    """Return what a transfer answers; without one, there were too few subjects to choose on."""
    return Answer.TOO_FEW if transfer is None else transfer.answer


@dataclass(frozen=True, kw_only=True, eq=False)
class SettingGap:
    """The three stages at one setting; every tuple holds one value for each stage.

    Parameters
    ----------
    index, setting
        On the lattice, and as values.
    loss
        Mean loss.
    excess
        By which share the mean loss lies above that of the last stage; NaN where that is 0.
    score
        Mean of the searched metric.
    shortfall
        By how much the score is worse than that of the last stage: above 0 where refinement
        improves it.
    folding
        Mean share of folded voxels.
    seconds
        Median time of a registration; NaN where it was not measured.
    converged
        Share of the pairs whose refinement stopped by itself; NaN of the model alone.
    """

    index: Index
    setting: Setting
    loss: tuple[float, ...]
    excess: tuple[Mean, ...]
    score: tuple[float, ...]
    shortfall: tuple[Mean, ...]
    folding: tuple[float, ...]
    seconds: tuple[float, ...]
    converged: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScopeGap:
    """Best settings of one scope in the three stages; every tuple holds one value for each stage.

    Parameters
    ----------
    scope
        Whom or what settings are for.
    views
        Curve and best setting.
    held_out
        Held-out score of the stage, at the setting that other subjects chose by the scores of the
        same stage; None where there are too few subjects to choose on.
    transfers
        What is lost in the stage with the setting that the scores of the model alone choose; None
        for the model itself, and where there are too few subjects.
    """

    scope: Scope
    views: tuple[CurveAnalysis, ...]
    held_out: tuple[Mean | None, ...]
    transfers: tuple[Transfer | None, ...]

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """Whether the best setting carries over to refined and to converged registrations."""
        return answer_of(self.transfers[REFINED]), answer_of(self.transfers[CONVERGED])


@dataclass(frozen=True, kw_only=True, eq=False)
class GapResult:
    """The amortization gap of a model.

    Parameters
    ----------
    record
        What was measured.
    metric, margin
        The searched metric, and its difference that is negligible.
    settings
        The stages at each setting.
    scopes
        Best settings of the cohort and of all declared scopes that are not about a subject.
    recommended
        The best setting of the whole cohort in the search.
    subjects
        Number of subjects of the pairs.
    """

    record: GapRecord
    metric: Metric
    margin: float
    settings: tuple[SettingGap, ...]
    scopes: tuple[ScopeGap, ...]
    recommended: Index
    subjects: int

    @property
    def iterations(self) -> tuple[int, ...]:
        """Iterations of each stage, at most."""
        return tuple(stage.iterations for stage in self.record.stages)

    @property
    def at_recommended(self) -> SettingGap:
        """The stages at the best setting of the search."""
        return next(one for one in self.settings if one.index == self.recommended)

    @property
    def cohort(self) -> ScopeGap:
        """The whole cohort."""
        return next(one for one in self.scopes if one.scope == WHOLE_COHORT)

    def __str__(self) -> str:
        """Return a line for a person."""
        here = self.at_recommended
        model, _, minimum = here.loss
        answer, _ = self.cohort.answers
        return (
            f"Amortization gap at the best setting ({len(self.record.pairs)} pairs): loss {model:.4f}, at its minimum "
            f"{minimum:.4f}; gain in {self.metric.name} there {here.shortfall[MODEL].value:+.4f}; does the best "
            f"setting carry over to {self.iterations[REFINED]} iterations? {answer.value}"
        )


def judge_gap(
    measurements: Measurements,
    record: GapRecord,
    stages: Sequence[Measurements],
    options: SearchOptions,
) -> GapResult | None:
    """Compare the stages, and judge on held-out pairs whether best settings carry over.

    Parameters
    ----------
    measurements
        Of the search, on all pairs.
    record
        Which pairs and settings were measured by stage.
    stages
        Measurements of the stages: the model alone, refined, converged.
    options
        Metric, scopes, margin, splits and seed of the search.

    Returns
    -------
    GapResult or None
        None where there is no curve of the whole cohort.

    Raises
    ------
    LedgerError
        If the metric, or the best setting of the search, was not measured by stage.
    """
    searched = Curves(measurements, options.metric).of(WHOLE_COHORT)
    if searched is None:
        return None
    recommended = searched.settings[searched.best()]
    needed = gap_metrics(options)
    if not {*needed} <= {*record.metrics} or recommended not in record.settings:
        raise LedgerError(
            "gap.json",
            expected=f"{', '.join(needed)} at the best setting of the present search",
            got=f"{', '.join(record.metrics)} at the settings of another one",
            advice="Run `hmopt search --gap` again.",
        )
    metric = find_metric(options.metric)
    margin = margin_of(metric, options.margin)
    pairs = stages[MODEL].pairs
    scopes = tuple(_compare_scopes(stages, options, margin))
    if WHOLE_COHORT not in {one.scope for one in scopes}:
        return None
    return GapResult(
        record=record,
        metric=metric,
        margin=margin,
        settings=tuple(_compare_settings(stages, metric)),
        scopes=scopes,
        recommended=recommended,
        subjects=len({*pairs["moving_subject"], *pairs["fixed_subject"]}),
    )


def _compare_settings(stages: Sequence[Measurements], metric: Metric) -> Iterator[SettingGap]:
    """Yield the stages at each setting."""
    first = stages[MODEL]
    moving = first.pairs["moving_subject"].to_numpy(dtype=object)
    fixed = first.pairs["fixed_subject"].to_numpy(dtype=object)
    scores = [stage.score(metric.name) for stage in stages]
    for place, index in enumerate(first.settings):
        losses = [stage.values[metrics.LOSS][place] for stage in stages]
        least = NOTHING_LEFT * float(losses[MODEL].mean())
        # a pair without any of the labels has no score
        scored = np.isfinite(scores[MODEL][place])
        of_stages = [of_stage[place, scored] for of_stage in scores]
        shortfalls = [gain(metric, of_stages[CONVERGED], of_stage) for of_stage in of_stages]
        yield SettingGap(
            index=index,
            setting=first.space.setting(index),
            loss=tuple(float(loss.mean()) for loss in losses),
            excess=tuple(
                relative_excess(loss, losses[CONVERGED], moving, fixed, least) for loss in losses
            ),
            score=tuple(float(of_stage.mean()) for of_stage in of_stages),
            shortfall=tuple(
                jackknife(shortfall, moving[scored], fixed[scored]) for shortfall in shortfalls
            ),
            folding=_means(stages, FOLDING, place),
            seconds=tuple(_median(stage.values[metrics.WALL_TIME][place]) for stage in stages),
            converged=_means(stages, metrics.CONVERGED, place),
        )


def relative_excess(
    values: Floats, references: Floats, moving: Names, fixed: Names, least: float = 0.0
) -> Mean:
    """Compute mean(values) / mean(references) - 1 over pairs, with its linearized jackknife error.

    Parameters
    ----------
    values, references
        One of each pair, shape (n,).
    moving, fixed
        Subjects of each pair, shape (n,).
    least
        A mean of the references at or below it counts as 0.

    Returns
    -------
    Mean
        NaN where the mean of the references is 0 or negative.

    References
    ----------
    Cochran, Sampling Techniques, 1977, section 6.4.

    Examples
    --------
    The example of the module's text:

    >>> names = np.array(["a", "b"], dtype=object)
    >>> round(relative_excess(np.array([3.0, 5.0]), np.array([2.0, 4.0]), names, names).value, 3)
    0.333
    """
    reference = float(references.mean())
    if reference <= max(least, 0):
        unknown = jackknife(values, moving, fixed)
        return replace(unknown, value=math.nan, error=math.nan)
    ratio = float(values.mean()) / reference
    residuals = (values - ratio * references) / reference
    found = jackknife(residuals, moving, fixed)
    # residuals of equal ratios are rounding
    error = 0.0 if found.error <= ROUNDING * ratio else found.error
    return replace(found, value=ratio - 1, error=error)


def _means(stages: Sequence[Measurements], metric: str, place: int) -> tuple[float, ...]:
    """Return the mean of a metric of whole pairs in each stage, at one setting."""
    return tuple(float(mean(stage.values[metric][place], axis=0)) for stage in stages)


def _median(seconds: Floats) -> float:
    known = seconds[np.isfinite(seconds)]
    return float(np.median(known)) if len(known) else math.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class _Choice:
    """What the scores of one stage choose for a scope: in each split, and on all subjects."""

    curve: Curve
    places: Places
    recommended: Index


def _compare_scopes(
    stages: Sequence[Measurements], options: SearchOptions, margin: float
) -> Iterator[ScopeGap]:
    """Yield the best settings of each scope in all stages."""
    scopes = _scopes(stages[MODEL], options)
    analyses = [ModelAnalysis(stage, options) for stage in stages]
    validations = [CrossValidation(analysis, options) for analysis in analyses]
    choices = [_choose(validation, scopes) for validation in validations]
    held_out = [
        _judge(validation, own, choices[MODEL])
        for validation, own in zip(validations, choices, strict=True)
    ]
    transfers = [_transfers(found, choices[MODEL], margin) for found in held_out]
    transfers[MODEL] = {}  # what it chooses is its own
    for scope in scopes:
        views = [view for view in (analysis.of(scope) for analysis in analyses) if view is not None]
        if len(views) < len(stages):
            continue
        scores = [found[scope].score if scope in found else None for found in held_out]
        yield ScopeGap(
            scope=scope,
            views=tuple(views),
            held_out=tuple(scores),
            transfers=tuple(found.get(scope) for found in transfers),
        )


def _choose(validation: CrossValidation, scopes: Sequence[Scope]) -> dict[Scope, _Choice]:
    """Choose a setting for each scope by the scores of one stage."""
    curves = _curves(validation.analysis, scopes)
    chosen = {}
    for family in by_kinds(curves.values()).values():
        of_family = zip(
            family, validation.places(family), validation.recommended(family), strict=True
        )
        for curve, places, recommended in of_family:
            chosen[curve.scope] = _Choice(curve=curve, places=places, recommended=recommended)
    return chosen


def _judge(
    validation: CrossValidation,
    choices: Mapping[Scope, _Choice],
    of_model: Mapping[Scope, _Choice],
) -> dict[Scope, HeldOut]:
    """Score what a stage chooses on held-out pairs, over what the model alone chooses, by scores of the stage."""
    found = {}
    for scope, own in choices.items():
        if scope not in of_model:
            continue
        other = of_model[scope]
        places = places_in(own.curve, other.curve.settings, other.places)
        chosen = Chosen(own=own.places, common=own.places, default=places)
        held_out = validation.held_out(own.curve, chosen)
        if held_out is not None:
            found[scope] = held_out
    return found


def _transfers(
    held_out: Mapping[Scope, HeldOut], of_model: Mapping[Scope, _Choice], margin: float
) -> dict[Scope, Transfer]:
    """Return what each scope loses with the setting that the model alone chooses."""
    found = []
    for scope, of_scope in held_out.items():
        choice = of_model[scope]
        setting = choice.curve.space.setting(choice.recommended)
        # the choice of the model stands in the place of the default
        found.append(Transfer(scope=scope, setting=setting, loss=of_scope.over_default))
    return judged(found, margin)
