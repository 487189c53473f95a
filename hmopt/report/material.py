"""Everything that a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hmopt.analysis.baselines import COHORT, BaselineComparison, compare_baselines
from hmopt.analysis.cross_validation import CrossValidated, by_kinds, choose_with_seeds, kinds_of
from hmopt.analysis.drift import Drift, find_drifts, warn_of_drift
from hmopt.analysis.gain import Gain, Over, gains_of_scopes, granularities
from hmopt.analysis.held_out import Splits, split_subjects
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.catalogue import find_metric
from hmopt.commands import Command
from hmopt.declaration import Study
from hmopt.errors import DataError
from hmopt.ledger import Measurements, Searched
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.search.scopes import Scope, list_scopes
from hmopt.study_folder import StudyFolder

OTHER_SEEDS = 9
"""Seeds that a verdict is tried with beside its own."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a study folder holds, and what follows from it.

    Parameters
    ----------
    folder
        The study folder.
    study
        Its declaration, where it is there.
    searched
        What was searched.
    facts
        The whole of `search.json`.
    measurements, half
        Of the model at full and at half training.
    before
        Scores before registration, where they were measured.
    training
        The log of the training, where it is there.
    findings
        What is known about each scope.
    compared
        What networks trained for one setting each, and other seeds, say; None where nothing was compared.
    commands
        What made it, and how long that took; empty where it was not written down.
    checkpoints
        Measurements of the model at each checkpoint of its training that was measured, the earliest first.
    drifts
        How the best setting of each scope moved over these checkpoints; empty where too few of them were measured.
    """

    folder: Path
    study: Study | None
    searched: Searched
    facts: Mapping[str, Any]
    measurements: Measurements
    half: Measurements | None
    before: Measurements | None
    training: pd.DataFrame | None
    findings: tuple[ScopeResult, ...]
    compared: BaselineComparison | None = None
    commands: tuple[Command, ...] = ()
    checkpoints: Mapping[Checkpoint, Measurements] = field(default_factory=dict)
    drifts: tuple[Drift, ...] = ()

    @property
    def cohort(self) -> ScopeResult:
        """The finding for all pairs and labels together, or the first one where no setting was measured for all."""
        return next(
            (finding for finding in self.findings if not finding.scope.criteria), self.findings[0]
        )

    def finding(self, **criteria: str) -> ScopeResult:
        """Give what is known about a declared scope, as `finding(label="thalamus", task="within")`; none: the cohort.

        Raises
        ------
        DataError
            If the scope was not declared, or nothing was measured for it.
        """
        asked = Scope(criteria=tuple(criteria.items()))
        for finding in self.findings:
            if dict(finding.scope.criteria) == criteria:
                return finding
        declared = ", ".join(" × ".join(kinds) for kinds in self.searched.search.scopes)
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
        """What each granularity gains; those of a single member, and what nobody could judge, are left out."""
        return self._granularities(self.findings)

    def _granularities(self, judged: Sequence[CrossValidated]) -> list[Gain]:
        several = [them for kinds, them in by_kinds(judged).items() if not kinds or len(them) > 1]
        together = [one for them in several for one in them]
        found = granularities(together, self.measurements.pairs, self.margin)
        return [gain for gain in found if gain.subjects]

    @cached_property
    def gains(self) -> dict[str, Gain]:
        """What each scope gains over the single setting for all, by its name, tested with the others of its family.

        Nothing of scopes of one subject, who is too few for a test, and of scopes without others.
        """
        return self._gains("common")

    @cached_property
    def default_gains(self) -> dict[str, Gain]:
        """The same over the default setting."""
        return self._gains("default")

    def _gains(self, over: Over) -> dict[str, Gain]:
        several = [
            them for kinds, them in by_kinds(self.findings).items() if kinds and len(them) > 1
        ]
        tested = [them for them in several if "subject" not in kinds_of(them[0])]
        return {
            gain.name: gain for them in tested for gain in gains_of_scopes(them, self.margin, over)
        }

    @cached_property
    def divisions(self) -> Splits:
        """How subjects are divided into those who choose and those who judge."""
        pairs, search = self.measurements.pairs, self.searched.search
        return split_subjects(
            sorted({*pairs["moving_subject"], *pairs["fixed_subject"]}), search.splits, search.seed
        )

    @cached_property
    def agreeing_seeds(self) -> int | None:
        """With how many of `OTHER_SEEDS` other seeds all granularities have the same verdicts.

        None where all divisions of the subjects are used, so that there is no seed.
        """
        if self.divisions.exhaustive:
            return None
        search = self.searched.search
        seeds = range(search.seed + 1, search.seed + 1 + OTHER_SEEDS)
        scopes = [finding.scope for finding in self.findings]
        again = choose_with_seeds(self.measurements, scopes, search, seeds)
        expected = [gain.evidence for gain in self.granularities]
        return sum(
            [gain.evidence for gain in self._granularities(choices)] == expected
            for choices in again
        )

    @property
    def training_minutes(self) -> float | None:
        """How long the training took; None where its log is not there."""
        known = self.training is not None and "minutes" in self.training and len(self.training)
        return (
            float(self.training["minutes"].max()) if self.training is not None and known else None
        )


def read_material(folder: Path | str | StudyFolder, track: Track = silent) -> Material:
    """Read a study folder, or its committed results where it was not searched here, and analyse it.

    Parameters
    ----------
    folder
        The study folder.
    track
        Who listens to progress.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    DataError
        If nothing was measured for any scope.
    """
    files = StudyFolder.of(folder)
    searched = files.searched
    measurements = files.measurements()
    checkpoints = _read_checkpoints(files, measurements)
    half = checkpoints.get("half")
    declared = list_scopes(searched.search, measurements.pairs, measurements.labels)
    scopes = list(dict.fromkeys([Scope(criteria=()), *declared]))
    before = None if searched.identity_unregistered is None else files.measurements("unregistered")
    findings = tuple(analyse_scopes(measurements, half, scopes, searched.search, track, before))
    if not findings:
        raise DataError(
            str(folder),
            expected="measurements for a scope",
            got="none",
            advice="Run `hmopt search` again.",
        )
    drifts = find_drifts(
        checkpoints, [finding.scope for finding in findings], searched.search, track
    )
    return Material(
        folder=files.path,
        study=files.declaration,
        searched=searched,
        facts=files.search_record,
        measurements=measurements,
        half=half,
        before=before,
        training=files.training,
        findings=tuple(warn_of_drift(findings, drifts)),
        compared=_read_compared(files, measurements),
        commands=files.commands,
        checkpoints=checkpoints,
        drifts=tuple(drifts),
    )


def _read_checkpoints(
    files: StudyFolder, measurements: Measurements
) -> dict[Checkpoint, Measurements]:
    """Read what was measured at each checkpoint of training; `measurements` are those of its end."""
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
    scopes = [COHORT, *(Scope(criteria=(("label", label),)) for label in searched.labels)]
    return compare_baselines(
        comparison, files.baseline_measurements, measurements, scopes, searched.search
    )
