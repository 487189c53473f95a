"""What a report is made from: the files of a study folder and the analyses of them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hmopt.analysis.baselines import BaselineComparison, compare_baselines
from hmopt.analysis.composed import FieldGain, judge_fields
from hmopt.analysis.cross_validation import CrossValidated, by_kinds, choose_with_seeds
from hmopt.analysis.drift import Drift, find_drifts, warn_of_drift
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain, Over, gains_of_scopes, granularities
from hmopt.analysis.gap import GapResult, judge_gap
from hmopt.analysis.gradient import GradientResult, judge_gradient
from hmopt.analysis.held_out import Splits, split_subjects
from hmopt.analysis.optimum import margin_of, within_range
from hmopt.analysis.pareto import Front, front_of_scope
from hmopt.analysis.regional import RegionalGain, judge_regions
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.analysis.subject_prediction import SubjectPrediction, judge_subject_prediction
from hmopt.analysis.uncertainty import UncertaintyResult, judge_uncertainty
from hmopt.analysis.without_labels import StandIns, find_stand_ins
from hmopt.catalogue import find_metric
from hmopt.commands import Command
from hmopt.declaration import Study
from hmopt.declaration.search import metric_of_axis
from hmopt.errors import DataError, LedgerError
from hmopt.ledger import Measurements, Searched
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.search.scopes import WHOLE_COHORT, Scope, list_scopes
from hmopt.study_folder import StudyFolder

OTHER_SEEDS = 9
"""Random seeds with which the verdicts are repeated."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """The files of a study folder, and the analyses of them.

    Parameters
    ----------
    files
        The study folder.
    study
        `study.toml`; None where there is none.
    searched
        The model, the pairs and the search.
    facts
        The whole content of `search.json`.
    measurements, half
        Of the model after full and after half training.
    before
        Of the pairs before registration; None where they were not measured.
    training
        The training log; None where there is none.
    training_times
        Minutes of the training by step; None where they were not written down.
    findings
        The analysis of each scope.
    compared
        The comparison with separately trained networks; None where there was none.
    commands
        Commands that were run, with their duration; empty where they were not recorded.
    checkpoints
        Measurements of the model at each measured checkpoint of its training, the earliest first.
    drifts
        Change of the best setting over these checkpoints; empty where too few of them were measured.
    composed
        What one field with a setting for each structure gains, by kind of maps; empty where it was not measured.
    regional
        What a regularization weight for each region gains; None of a model without regions.
    gap
        The amortization gap; None where it was not measured.
    gradient
        What was tuned by gradient; None where nothing was.
    uncertainty
        Uncertainty of displacements and error at landmarks; None where it was not measured.
    """

    files: StudyFolder
    study: Study | None
    searched: Searched
    facts: Mapping[str, Any]
    measurements: Measurements
    half: Measurements | None
    before: Measurements | None
    training: pd.DataFrame | None
    training_times: pd.DataFrame | None = None
    findings: tuple[ScopeResult, ...]
    compared: BaselineComparison | None = None
    commands: tuple[Command, ...] = ()
    checkpoints: Mapping[Checkpoint, Measurements] = field(default_factory=dict)
    drifts: tuple[Drift, ...] = ()
    composed: tuple[FieldGain, ...] = ()
    regional: RegionalGain | None = None
    gap: GapResult | None = None
    gradient: GradientResult | None = None
    uncertainty: UncertaintyResult | None = None

    @property
    def folder(self) -> Path:
        """Path of the study folder."""
        return self.files.path

    @property
    def cohort(self) -> ScopeResult:
        """The finding for the whole cohort, or the first one where no setting was measured for all pairs and labels."""
        for finding in self.findings:
            if not finding.scope.criteria:
                return finding
        return self.findings[0]

    def finding(self, **criteria: str) -> ScopeResult:
        """Return the finding of a declared scope: `finding(label="thalamus", task="within")`.

        Without criteria, that of the whole cohort.

        Raises
        ------
        DataError
            If the scope was not declared, or nothing was measured for it.
        """
        asked = Scope(criteria=tuple(criteria.items()))
        for finding in self.findings:
            if dict(finding.scope.criteria) == criteria:
                return finding
        products = [" × ".join(kinds) for kinds in self.searched.search.scopes]
        declared = ", ".join(products)
        raise DataError(
            "scope",
            expected=f"a measured one of {declared}",
            got=asked.name,
            advice="Ask hmopt.open_study for others.",
        )

    @property
    def margin(self) -> float:
        """The difference of the searched metric that is negligible."""
        search = self.searched.search
        return margin_of(find_metric(search.metric), search.margin)

    @cached_property
    def granularities(self) -> list[Gain]:
        """The held-out gain of each granularity, without families of one scope or without held-out pairs."""
        return self._granularities(self.findings)

    def _granularities(self, judged: Sequence[CrossValidated]) -> list[Gain]:
        tested: list[CrossValidated] = []
        for kinds, members in by_kinds(judged).items():
            if not kinds or len(members) > 1:
                tested.extend(members)
        found = granularities(tested, self.measurements.pairs, self.margin)
        return [gain for gain in found if gain.subjects]

    @cached_property
    def gains(self) -> dict[str, Gain]:
        """The held-out gain of each scope over the single setting for all, by name, tested within its family.

        Scopes of a single subject, which is too few for a test, and families of one scope are left out.
        """
        return self._gains("common")

    @cached_property
    def default_gains(self) -> dict[str, Gain]:
        """The same over the default setting."""
        return self._gains("default")

    def _gains(self, over: Over) -> dict[str, Gain]:
        gains: dict[str, Gain] = {}
        for kinds, members in by_kinds(self.findings).items():
            is_tested = kinds and "subject" not in kinds
            if not is_tested or len(members) == 1:
                continue
            tested = gains_of_scopes(members, self.margin, over)
            for gain in tested:
                gains[gain.name] = gain
        return gains

    @cached_property
    def fronts(self) -> list[Front]:
        """The declared fronts of every scope but those of single subjects; of what was not measured there is none.

        A front that names labels is that of scopes without one.
        """
        search = self.searched.search
        found: list[Front] = []
        for axes in search.all_fronts:
            names_labels = any(":" in axis for axis in axes)
            if any(metric_of_axis(axis) not in self.measurements.values for axis in axes):
                continue
            for finding in self.findings:
                scope = finding.scope
                kinds = dict(scope.criteria)
                if "subject" in kinds or (names_labels and "label" in kinds):
                    continue
                front = front_of_scope(self.measurements, scope, axes, search.seed)
                if front is not None:
                    found.append(front)
        return found

    @cached_property
    def divisions(self) -> Splits:
        """The divisions of the subjects into those who choose a setting and those it is scored on."""
        search = self.searched.search
        return split_subjects(self.subjects, search.splits, search.seed)

    @property
    def subjects(self) -> list[str]:
        """The subjects of all pairs."""
        pairs = self.measurements.pairs
        moving = set(pairs["moving_subject"])
        fixed = set(pairs["fixed_subject"])
        return sorted(moving | fixed)

    @cached_property
    def agreeing_seeds(self) -> int | None:
        """How many of `OTHER_SEEDS` other seeds give all granularities the same verdicts, in the same direction.

        None where all divisions of the subjects are used, so that there is no seed.
        """
        if self.divisions.exhaustive:
            return None
        search = self.searched.search
        seeds = range(search.seed + 1, search.seed + 1 + OTHER_SEEDS)
        scopes = [finding.scope for finding in self.findings]
        again = choose_with_seeds(self.measurements, scopes, search, seeds)
        expected = [_verdict(gain) for gain in self.granularities]
        agreeing = 0
        for choices in again:
            verdicts = [_verdict(gain) for gain in self._granularities(choices)]
            agreeing += verdicts == expected
        return agreeing

    @cached_property
    def stand_ins(self) -> StandIns | None:
        """What is lost with settings that a metric without labels chooses; None where none was measured."""
        scopes = [finding.scope for finding in self.findings]
        return find_stand_ins(self.measurements, scopes, self.searched.search)

    @cached_property
    def subject_prediction(self) -> SubjectPrediction | None:
        """What a setting for each subject gains, known and predicted; None of too few subjects or no labels."""
        search = self.searched.search
        if find_metric(search.metric).is_without_labels:
            return None
        return judge_subject_prediction(self.measurements, search)

    @property
    def training_minutes(self) -> float | None:
        """Duration of the training; None where it was not written down."""
        times = self.training_times
        if times is None or times.empty:
            return None
        return float(times["minutes"].max())


def held_out_score(finding: ScopeResult) -> Estimate | None:
    """Return the held-out score with its interval, cut to the range of the metric; None where there is none."""
    held = finding.held_out
    if held is None:
        return None
    return within_range(finding.full.response.metric, held.score.estimate)


def _verdict(gain: Gain) -> tuple[Evidence, bool]:
    """Return what was found, and whether it is a gain."""
    is_gain = gain.evidence is Evidence.FOUND and gain.gain.value > 0
    return gain.evidence, is_gain


def read_material(folder: Path | str | StudyFolder, track: Track = silent) -> Material:
    """Read and analyse a study folder, or its committed results where it was not searched here.

    Parameters
    ----------
    folder
        The study folder.
    track
        Called with the progress.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    DataError
        If nothing was measured for any scope.
    """
    files = StudyFolder.of(folder)
    searched = files.searched
    search = searched.search
    measurements = files.measurements()
    checkpoints = _read_checkpoints(files, measurements)
    half = checkpoints.get("half")
    before = None
    if searched.identity_unregistered is not None:
        before = files.measurements("unregistered")
    declared = list_scopes(search, measurements.pairs, measurements.labels)
    scopes = list(dict.fromkeys([WHOLE_COHORT, *declared]))
    findings = tuple(analyse_scopes(measurements, half, scopes, search, track, before))
    if not findings:
        raise DataError(
            str(files.path),
            expected=f"pairs with a value of {search.metric}",
            got="none",
            advice="Look at the images, labels and landmarks with `hmopt check`, then run `hmopt search` again.",
        )
    measured = [finding.scope for finding in findings]
    drifts = find_drifts(checkpoints, measured, search, track)
    return Material(
        files=files,
        study=files.declaration,
        searched=searched,
        facts=files.search_record,
        measurements=measurements,
        half=half,
        before=before,
        training=files.training,
        training_times=files.training_times,
        findings=tuple(warn_of_drift(findings, drifts)),
        compared=_read_compared(files, measurements),
        commands=files.commands,
        checkpoints=checkpoints,
        drifts=tuple(drifts),
        composed=tuple(_judge_composed(files, measurements)),
        regional=judge_regions(measurements, search) if searched.loss.get("regions") else None,
        gap=_judge_gap(files, measurements),
        gradient=_judge_gradient(files, measurements),
        uncertainty=_judge_uncertainty(files, measurements),
    )


def _judge_composed(files: StudyFolder, measurements: Measurements) -> Iterator[FieldGain]:
    """Judge the composed fields that were measured; those of an earlier search are left out with a warning."""
    for fields in files.composed:
        try:
            composed = files.composed_measurements(fields)
            found = judge_fields(measurements, fields, composed, files.searched.search)
        except LedgerError as error:
            warnings.warn(
                f"Fields with a setting per structure are not reported: {error}", stacklevel=3
            )
            continue
        if found is not None:
            yield found


def _judge_gap(files: StudyFolder, measurements: Measurements) -> GapResult | None:
    """Judge the amortization gap that was measured; that of an earlier search is left out with a warning."""
    record = files.gap
    if record is None:
        return None
    try:
        stages = files.gap_measurements(record)
        return judge_gap(measurements, record, stages, files.searched.search)
    except LedgerError as error:
        warnings.warn(f"The amortization gap is not reported: {error}", stacklevel=3)
        return None


def _judge_gradient(files: StudyFolder, measurements: Measurements) -> GradientResult | None:
    """Compare what was tuned by gradient with the sweep."""
    record = files.gradient
    if record is None:
        return None
    return judge_gradient(measurements, files.dense_measurements(), record, files.searched.search)


def _judge_uncertainty(files: StudyFolder, measurements: Measurements) -> UncertaintyResult | None:
    """Compare uncertainty and error at landmarks."""
    record = files.uncertainty
    if record is None:
        return None
    return judge_uncertainty(record, measurements.pairs, files.searched.search.seed)


def _read_checkpoints(
    files: StudyFolder, measurements: Measurements
) -> dict[Checkpoint, Measurements]:
    """Read the measurements at each checkpoint of training; `measurements` are those at its end."""
    read: dict[Checkpoint, Measurements] = {}
    for checkpoint in CHECKPOINTS:
        if checkpoint == "full":
            read[checkpoint] = measurements
        elif files.searched.identity_of(checkpoint) is not None:
            read[checkpoint] = files.measurements(checkpoint)
    return read


def _read_compared(files: StudyFolder, measurements: Measurements) -> BaselineComparison | None:
    comparison = files.comparison
    if comparison is None:
        return None
    searched = files.searched
    labels = [Scope(criteria=(("label", label),)) for label in searched.labels]
    scopes = [WHOLE_COHORT, *labels]
    read = files.baseline_measurements
    return compare_baselines(comparison, read, measurements, scopes, searched.search)
