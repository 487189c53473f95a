"""Whether settings that were tuned by gradient agree with the sweep of the same pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmopt.analysis.optimum import interpolation, margin_of
from hmopt.analysis.resampling import Floats
from hmopt.catalogue import METRICS, find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.gradient import GradientRecord, TunedScope
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, Curves
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting, Space

AGREEMENT = 0.01
"""Difference, as a share of a range, up to which two values agree."""


@dataclass(frozen=True, kw_only=True)
class TunedResult:
    """What was tuned for one scope, beside the sweep.

    Parameters
    ----------
    tuned
        What was tuned.
    sweep
        The best setting by the sweep of the same pairs, interpolated between the measured ones; None
        where the objective was not measured.
    difference
        Largest difference to it, as a share of the range of a hyperparameter; NaN without a sweep.
    loss
        How much worse the tuned setting is than the sweep's by the interpolated sweep, in the unit
        of the objective; NaN without a sweep.
    settings
        Settings of the sweep.
    rivals
        Further optima that lose less than the margin.
    """

    tuned: TunedScope
    sweep: Setting | None
    difference: float
    loss: float
    settings: int
    rivals: int

    @property
    def scope(self) -> Scope:
        """Whom the setting is for."""
        return Scope(criteria=tuple(self.tuned.criteria))

    @property
    def setting(self) -> Setting:
        """The best setting by gradient."""
        return self.tuned.optima[0].setting

    @property
    def score(self) -> float:
        """Its score."""
        return self.tuned.optima[0].score

    @property
    def has_several(self) -> bool:
        """Whether ascents ended in different optima."""
        return len(self.tuned.optima) > 1

    @property
    def agrees(self) -> bool:
        """Whether both settings are the same to within `AGREEMENT`."""
        return self.difference <= AGREEMENT

    @property
    def seconds_of_sweep(self) -> float:
        """What measuring all settings of the sweep on these pairs takes."""
        return self.settings * self.tuned.seconds_of_setting


@dataclass(frozen=True, kw_only=True)
class GradientResult:
    """What was tuned by gradient.

    Parameters
    ----------
    record
        How.
    results
        One for each scope.
    is_dense
        Whether the sweep is the dense one, of every value.
    """

    record: GradientRecord
    results: tuple[TunedResult, ...]
    is_dense: bool

    @property
    def compared(self) -> list[TunedResult]:
        """Those beside which there is a sweep."""
        return [one for one in self.results if one.sweep is not None]

    def of_kind(self, kind: str) -> list[TunedResult]:
        """Return those of scopes of one kind, as `subject`."""
        return [one for one in self.results if [name for name, _ in one.tuned.criteria] == [kind]]

    def __str__(self) -> str:
        """Return a line for a person."""
        agreeing = sum(one.agrees for one in self.compared)
        several = sum(one.has_several for one in self.results)
        seconds = sum(one.tuned.seconds for one in self.results) / len(self.results)
        end = f"; {several} with several optima" if several else ""
        return (
            f"By gradient: {len(self.results)} scopes, {agreeing} of {len(self.compared)} agree with the sweep to "
            f"{AGREEMENT:g} of the range{end}; {seconds:.3g} s each"
        )


def judge_gradient(
    measurements: Measurements,
    dense: Measurements | None,
    record: GradientRecord,
    options: SearchOptions,
) -> GradientResult:
    """Compare what was tuned by gradient with the sweep of the same pairs.

    Parameters
    ----------
    measurements
        Of the sweep.
    dense
        Of every value of the hyperparameter, where they were measured.
    record
        What was tuned.
    options
        Metric and margin.
    """
    is_dense = dense is not None and record.objective in dense.values
    swept = dense if is_dense and dense is not None else measurements
    curves = None
    if record.objective in swept.values:
        curves = Curves(swept, record.objective)
    results = [_result(one, curves, swept, record, options) for one in record.scopes]
    return GradientResult(record=record, results=tuple(results), is_dense=is_dense)


def _result(
    tuned: TunedScope,
    curves: Curves | None,
    swept: Measurements,
    record: GradientRecord,
    options: SearchOptions,
) -> TunedResult:
    best, *others = tuned.optima
    sign = 1 if record.direction == "maximize" else -1
    negligible = margin_for(record.objective, options)
    rivals = sum(sign * (best.score - other.score) <= negligible for other in others)
    curve = None if curves is None else curves.of(Scope(criteria=tuple(tuned.criteria)))
    if curve is not None:
        curve = of_pairs(curve, tuned.pairs)
    if curve is None:
        return TunedResult(
            tuned=tuned,
            sweep=None,
            difference=np.nan,
            loss=np.nan,
            settings=len(swept.settings),
            rivals=rivals,
        )
    candidates, means = interpolated_means(curve)
    place = int((sign * means).argmax())
    space = curve.space
    sweep = space.setting(candidates[place])
    here = _nearest(space, candidates, best.setting)
    return TunedResult(
        tuned=tuned,
        sweep=sweep,
        difference=_difference(space, best.setting, sweep, record.tuned),
        loss=float(sign * (means[place] - means[here])),
        settings=len(curve.settings),
        rivals=rivals,
    )


def margin_for(objective: str, options: SearchOptions) -> float:
    """Return the negligible difference of an objective: that of a metric, else none.

    Examples
    --------
    >>> margin_for("dice", SearchOptions()), margin_for("mse", SearchOptions())
    (0.002, 0.0)
    """
    if objective not in METRICS:
        return 0.0
    declared = options.margin if objective == options.metric else None
    return margin_of(find_metric(objective), declared)


def of_pairs(curve: Curve, pairs: Sequence[str]) -> Curve | None:
    """Return a curve over some of its pairs; None where it has none of them."""
    kept = np.isin(np.array(curve.ids, dtype=object), list(pairs))
    return curve.over(kept) if kept.any() else None


def interpolated_means(curve: Curve) -> tuple[list[Index], Floats]:
    """Return settings between the measured ones, and the interpolated mean score of each."""
    candidates, matrix = interpolation(curve.space, curve.settings)
    means: Floats = matrix @ curve.means
    return candidates, means


def _nearest(space: Space, candidates: Sequence[Index], setting: Setting) -> int:
    """Return the place of the candidate that is nearest to a setting."""
    there = np.array(space.to_unit_interval(setting))
    places = [space.to_unit_interval(space.setting(index)) for index in candidates]
    distances = np.abs(np.array(places) - there).sum(axis=1)
    return int(distances.argmin())


def _difference(space: Space, setting: Setting, other: Setting, names: Sequence[str]) -> float:
    """Return the largest difference of two settings, as a share of the range."""
    here = space.to_unit_interval(setting)
    there = space.to_unit_interval(other)
    differences = [0.0]
    for name, one, two in zip(space.names, here, there, strict=True):
        if name in names:
            differences.append(abs(one - two))
    return max(differences)
