"""The best settings that a model has on its own cohort: they travel with it to other cohorts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import Estimate, Interval
from hmopt.analysis.scope_result import ScopeResult
from hmopt.declaration import SearchOptions, Study
from hmopt.declaration.study import model_path, read_of_others
from hmopt.errors import DataError, HmoptError
from hmopt.files import file_hash, read_record, write_json
from hmopt.model_file import model_identity
from hmopt.progress import Track, silent
from hmopt.report.material import Material, read_material
from hmopt.schemas import Name, Record
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder

OPTIMA = "optima.json"
"""Name of the file beside a published model."""
_WHAT = "the best settings of a model"
_ADVICE = "Restore the file, or publish the model again."

Ends = tuple[float | None, float | None]
"""Of an interval; null where it is unknown, as JSON has no NaN."""


class Known(Record):
    """A value with its 95 % interval."""

    model_config = ConfigDict(extra="ignore")

    value: float | None
    interval: Ends

    @classmethod
    def of(cls, estimate: Estimate) -> "Known":
        """Return what JSON can hold of an estimate."""
        return cls(value=_known(estimate.value), interval=_ends(estimate.low, estimate.high))

    @property
    def estimate(self) -> Estimate:
        """The value with its interval; NaN where they are unknown."""
        low, high = self.interval
        return Estimate(_number(self.value), _number(low), _number(high))


class ScopeOptimum(Record):
    """The best setting of one scope of the model's own cohort."""

    model_config = ConfigDict(extra="ignore")

    criteria: list[tuple[str, str]]
    """Kinds and values of the scope; none: the whole cohort."""
    setting: dict[str, int | float]
    intervals: dict[str, Ends]
    """By hyperparameter: 95 % interval of the best value."""
    recommended: dict[str, int | float]
    """The best setting of the pooled curve."""
    folding: float | None = None
    """Mean share of folded voxels at the recommended setting; None where it was not measured."""
    within_limit: dict[str, int | float] | None = None
    """The best of the settings that obey the limits; None where none does, or it is not told."""
    limited: dict[str, float] = {}
    """By further metric that has a limit: its mean at the recommended setting."""
    score_held_out: Known | None = None
    gain_over_default: Known | None = None
    """Held-out gain of a setting that was chosen by other subjects, over the default."""
    verdict: str | None = None
    """What the test of that gain says; None where it was not tested."""
    pairs: Annotated[int, Field(ge=0)]
    subjects: Annotated[int, Field(ge=0)]
    flags: list[str] = []
    """Reasons to doubt the optimum."""

    @property
    def scope(self) -> Scope:
        """Whom or what the setting is for."""
        return Scope(criteria=tuple(self.criteria))

    def interval(self, name: str) -> Interval:
        """Return the interval of one hyperparameter; NaN where it is unknown."""
        low, high = self.intervals.get(name, (None, None))
        return Interval(_number(low), _number(high))


class ModelOptima(Record):
    """What a search found for a model on the cohort that it was trained for."""

    model_config = ConfigDict(extra="ignore")

    name: str
    """Of the study."""
    identity: Annotated[str, Field(min_length=1)]
    """Of the model by its file alone."""
    metric: Name
    labels: list[Name]
    default: dict[str, int | float]
    folding_limit: float | None = None
    """Of the mean share of folded voxels; None in files of earlier versions."""
    limits: dict[str, float] = {}
    """Limits of the means of further metrics."""
    searched: str | None = None
    """Hash of the search that these are of."""
    scopes: list[ScopeOptimum]

    def settings(self) -> dict[Scope, Setting]:
        """Return the best settings by scope."""
        return {optimum.scope: dict(optimum.setting) for optimum in self.scopes}

    def of(self, scope: Scope) -> ScopeOptimum | None:
        """Return the optimum of a scope; None where it was not searched."""
        for optimum in self.scopes:
            if dict(optimum.criteria) == dict(scope.criteria):
                return optimum
        return None


def optima_of(material: Material) -> ModelOptima:
    """Return the best settings of an analysed study, those of single subjects left out."""
    searched = material.searched
    tested = _tested(material)
    scopes = []
    for finding in material.findings:
        if any(kind == "subject" for kind, _ in finding.scope.criteria):
            continue
        gain = tested.get(finding.scope.name)
        scopes.append(_scope_optimum(finding, gain, searched.search))
    file = StudyFolder(material.folder).readable_search_file
    return ModelOptima(
        name=searched.name,
        identity=searched.trained_identity,
        metric=searched.search.metric,
        labels=list(searched.labels),
        default=dict(searched.space.default),
        folding_limit=searched.search.folding_limit,
        limits=searched.search.limits,
        searched=file_hash(file) if file.is_file() else None,
        scopes=scopes,
    )


def _tested(material: Material) -> dict[str, Gain]:
    """Return the tested gains over the default, by scope."""
    found = dict(material.default_gains)
    for gain in material.granularities:
        if gain.name == WHOLE_COHORT.name and gain.over == "default":
            found[gain.name] = gain
    return found


def _scope_optimum(finding: ScopeResult, gain: Gain | None, options: SearchOptions) -> ScopeOptimum:
    optimum = finding.full.optimum
    response = finding.full.response
    place = response.place(response.space.index(finding.recommended))
    is_measured = place >= 0
    folding = float(response.folding[place]) if is_measured else math.nan
    limited = {}
    for name in options.limits:
        value = float(response.mean_of(name)[place]) if is_measured else math.nan
        if math.isfinite(value):
            limited[name] = value
    # as in a search: the recommended setting itself where it obeys the limits
    obeys = is_measured and response.within(options.all_limits)[place]
    within = finding.recommended if obeys else optimum.constrained
    held_out = finding.held_out
    return ScopeOptimum(
        criteria=list(finding.scope.criteria),
        setting=dict(optimum.setting),
        intervals={name: _ends(*found) for name, found in optimum.intervals.items()},
        recommended=dict(finding.recommended),
        folding=_known(folding),
        within_limit=None if within is None else dict(within),
        limited=limited,
        score_held_out=None if held_out is None else Known.of(held_out.score.estimate),
        gain_over_default=None if held_out is None else Known.of(held_out.over_default.estimate),
        verdict=None if gain is None else gain.evidence.value,
        pairs=len(finding.full.response.pairs),
        subjects=finding.subjects,
        flags=[warning.value for warning in finding.warnings],
    )


def read_optima(path: Path) -> ModelOptima:
    """Read what `write_optima` wrote.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    return read_record(path, ModelOptima, error=DataError, what=_WHAT, advice=_ADVICE)


def published_optima(folder: Path) -> ModelOptima | None:
    """Return the best settings that lie beside a published model; None where the folder was not published with some.

    Raises
    ------
    DataError
        If the file is damaged, or tells the settings of another model.
    """
    path = folder / OPTIMA
    if not path.is_file():
        return None
    optima = read_optima(path)
    if not _is_of_model(optima, folder):
        raise DataError(
            str(path),
            expected=f"the best settings of the model beside it ({optima.identity})",
            got="those of another model",
            advice=_ADVICE,
        )
    return optima


def write_optima(path: Path, optima: ModelOptima) -> None:
    """Write the best settings of a model as JSON."""
    write_json(path, optima.model_dump(mode="json"))


def optima_of_origin(study: Study, folder: Path, track: Track = silent) -> ModelOptima | None:
    """Return the best settings of a study's model on its own cohort; None where they are not known.

    They are looked for beside the model: `optima.json` of a published folder, or what was searched
    in its study folder. What an earlier command found there is taken where the other folder is gone
    or was not searched since.

    Parameters
    ----------
    study
        The declaration of the study that uses the model.
    folder
        Its folder.
    track
        Shows progress.
    """
    if study.model.source not in ("study", "file"):
        return None
    files = StudyFolder(folder)
    kept = _read_kept([files.origin_file, files.results.origin_file])
    place = _place_of(study, folder)
    if place is None:
        return kept
    try:
        return _optima_beside(place, kept, track)
    except (HmoptError, OSError):  # of another model, or damaged: its own report says so
        return kept


def _place_of(study: Study, folder: Path) -> Path | None:
    """Return the folder that the model lies in; None where it is not there."""
    try:
        path = model_path(study, folder)
    except HmoptError:  # names a variable that is not set here
        return None
    if path is None or not path.exists():
        return None
    return path if path.is_dir() else path.parent


def _read_kept(paths: Sequence[Path]) -> ModelOptima | None:
    for path in paths:
        if path.is_file():
            return read_optima(path)
    return None


def _optima_beside(place: Path, kept: ModelOptima | None, track: Track) -> ModelOptima | None:
    published = place / OPTIMA
    if published.is_file():
        found = read_optima(published)
        return found if _is_of_model(found, place) else kept
    files = StudyFolder(place)
    if not files.readable_search_file.is_file():
        return kept
    if files.is_declared and read_of_others(place) is None:  # it needs plugins, which are not run
        return kept
    if kept is not None and kept.searched == file_hash(files.readable_search_file):
        return kept
    files.check_together()
    return optima_of(read_material(files, track))


def _is_of_model(optima: ModelOptima, place: Path) -> bool:
    file = StudyFolder(place).model_file()
    declaration = read_of_others(place)
    order = None if declaration is None else list(declaration.hyperparameters)
    return model_identity(file, order) == optima.identity


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ends(low: float, high: float) -> Ends:
    return _known(low), _known(high)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
