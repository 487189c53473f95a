"""What a search found, for the page: response curves of the labels and the best setting of each scope."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hmopt.analysis.cross_validation import CrossValidation, by_kinds
from hmopt.analysis.optimum import CurveAnalysis, ModelAnalysis, Optimum
from hmopt.report.curves import profile
from hmopt.report.words import kind_name, metric_name, scope_title
from hmopt.search.curve import Curve
from hmopt.search.scopes import WHOLE_COHORT, Scope, list_scopes
from hmopt.space import Index, Setting, Value
from hmopt.study_folder import StudyFolder
from hmopt.workflow.register import optima_beside


@dataclass(frozen=True, kw_only=True)
class Response:
    """The response of a label, or of the mean over labels, along one hyperparameter.

    With several hyperparameters, each value stands for the best setting that has it.

    Parameters
    ----------
    values
        Of the hyperparameter, rising; of a choice its place.
    means
        Mean score at each.
    low, high
        95 % interval of each mean; None from too few subjects.
    best
        The best measured value; None where the hyperparameter is inactive there.
    interval
        95 % interval of the best value; None from too few subjects.
    equal
        Lowest and highest value of the settings that are equivalent to the best one.
    among
        Of a categorical hyperparameter: the choices that may be best, their 95 % confidence set.
    """

    values: list[float]
    means: list[float]
    low: list[float | None]
    high: list[float | None]
    best: Value | None
    interval: list[float] | None
    equal: list[float] | None
    among: list[Value] | None


@dataclass(frozen=True, kw_only=True)
class LabelCurve:
    """The responses of a label, by hyperparameter; without a label those of the mean over labels."""

    title: str
    label: str | None
    responses: dict[str, Response]


@dataclass(frozen=True, kw_only=True)
class BestSetting:
    """The setting that the search recommends for a scope, as `hmopt register --scope` takes it.

    Parameters
    ----------
    family
        Name of the kinds of scope, as `structure × task`.
    title
        Name of the scope.
    setting
        The recommended setting.
    within_limit
        The best setting that folds no more than the limit, where it is another one.
    """

    family: str
    title: str
    setting: dict[str, Value]
    within_limit: dict[str, Value] | None = None


@dataclass(frozen=True, kw_only=True)
class SearchFindings:
    """What a search found.

    Parameters
    ----------
    metric
        Name of the optimized metric.
    curves
        Of the mean over labels, and of each label.
    scopes
        The best settings, family by family.
    remark
        Why something is not shown; None: everything is.
    """

    metric: str = ""
    curves: list[LabelCurve] = field(default_factory=list)
    scopes: list[BestSetting] = field(default_factory=list)
    remark: str | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON holds it.

        Examples
        --------
        >>> SearchFindings(remark="Nothing was searched.").record()["curves"]
        []
        """
        return asdict(self)


def read_findings(files: StudyFolder) -> SearchFindings:
    """Return what a search found, from the ledger or from committed results.

    Parameters
    ----------
    files
        A study folder, or a published one, which tells the best settings alone.

    Raises
    ------
    HmoptError
        If the search is of another model or declaration than those in the folder.
    """
    published = optima_beside(files)
    if published is not None:
        best = []
        for one in published.scopes:
            within = None if one.within_limit == one.recommended else one.within_limit
            best.append(_best(one.scope, one.recommended, within))
        remark = "A published model tells its best settings, and no curves."
        return SearchFindings(scopes=best, remark=remark)
    if not files.readable_search_file.is_file():
        return SearchFindings(
            remark="Nothing was searched in this folder: `hmopt search` finds curves and best settings."
        )
    files.check_together()
    return _analyse(files)


def _analyse(files: StudyFolder) -> SearchFindings:
    options = files.searched.search
    measurements = files.measurements()
    labels = [Scope(criteria=(("label", name),)) for name in measurements.labels]
    declared = list_scopes(options, measurements.pairs, measurements.labels)
    analysis = ModelAnalysis(measurements, options)

    shown = []
    for scope in (WHOLE_COHORT, *labels):
        analysed = analysis.of(scope)
        if analysed is not None:
            shown.append(_curve(scope, analysed))

    curves = []
    for scope in dict.fromkeys([WHOLE_COHORT, *labels, *declared]):
        curve = analysis.curves.of(scope)
        if curve is not None:
            curves.append(curve)
    validation = CrossValidation(analysis, options)
    scopes = []
    for members in by_kinds(curves).values():
        recommended = validation.recommended(members)
        for member, index in zip(members, recommended, strict=True):
            setting = member.space.setting(index)
            within = _within_limits(member, index, options.all_limits)
            scopes.append(_best(member.scope, setting, within))
    return SearchFindings(metric=metric_name(options.metric), curves=shown, scopes=scopes)


def _within_limits(curve: Curve, recommended: Index, limits: Mapping[str, float]) -> Setting | None:
    """Return the best setting within the limits where the recommended one exceeds one, and there is one."""
    place = curve.place(recommended)
    exceeds = place >= 0 and not curve.within(limits)[place]
    other = curve.best_within(limits)
    if not exceeds or other is None:
        return None
    return curve.space.setting(curve.settings[other])


def _best(scope: Scope, setting: Setting, within_limit: Setting | None = None) -> BestSetting:
    kinds = [kind for kind, _ in scope.criteria]
    return BestSetting(
        family=kind_name(kinds),
        title=scope_title(scope),
        setting=dict(setting),
        within_limit=None if within_limit is None else dict(within_limit),
    )


def _curve(scope: Scope, analysed: CurveAnalysis) -> LabelCurve:
    responses = {}
    for column, hyperparameter in enumerate(analysed.response.space.hyperparameters):
        places = profile(analysed, column)
        low, high = analysed.band[:, places]
        responses[hyperparameter.name] = Response(
            values=analysed.response.values[places, column].tolist(),
            means=analysed.response.means[places].tolist(),
            low=_known(low.tolist()),
            high=_known(high.tolist()),
            best=analysed.optimum.setting.get(hyperparameter.name),
            interval=_ends(analysed.optimum.intervals[hyperparameter.name]),
            equal=_ends(analysed.optimum.equals[hyperparameter.name]),
            among=_among(analysed.optimum, hyperparameter.name),
        )
    title = "mean of all structures" if scope.label is None else scope.label
    return LabelCurve(title=title, label=scope.label, responses=responses)


def _known(numbers: Sequence[float]) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers]


def _ends(interval: tuple[float, float]) -> list[float] | None:
    low, high = interval
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


def _among(optimum: Optimum, name: str) -> list[Value] | None:
    return list(optimum.choices[name]) if name in optimum.choices else None
