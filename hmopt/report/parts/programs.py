"""Scores of other registration programs on the same pairs, from `results/versus_*.json`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ConfigDict, RootModel

from hmopt.analysis.evidence import Evidence, of_interval
from hmopt.analysis.resampling import Estimate
from hmopt.errors import DataError
from hmopt.files import read_record
from hmopt.report.beside import read_beside
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.parts.beside import beside_section
from hmopt.report.words import criterion_name, gain_text, listed, number, signed
from hmopt.schemas import Record
from hmopt.study_folder import StudyFolder

PATTERN = "versus_*.json"
ADVICE = "Write it again, or remove it."


class Method(Record):
    """Scores of one method on the pairs of one task.

    Attributes
    ----------
    dice_held_out
        Mean Dice of hmopt over `pairs`, each at the setting that other subjects chose.
    dice_of_method
        Mean Dice of the method over the same pairs.
    difference, interval
        hmopt − method, with its 95 % interval over subjects; ends are null where there are too few subjects.
    pairs, subjects
        How many pairs, and of how many subjects.
    seconds, seconds_of_method
        Median time of one pair, without any training; null where it was not measured.
    """

    model_config = ConfigDict(extra="ignore")

    dice_held_out: float
    dice_of_method: float
    difference: float
    interval: tuple[float | None, float | None]
    pairs: int
    subjects: int
    seconds: float | None = None
    seconds_of_method: float | None = None

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        low, high = self.interval
        if low is None or high is None:
            return Estimate(self.difference, math.nan, math.nan)
        return Estimate(self.difference, low, high)


class Programs(RootModel[dict[str, dict[str, Method]]]):
    """The content of a `versus_*.json`: methods by task (`cross`, `within`) and name."""


class ProgramsPart(ReportPart):
    """The study beside other methods: study folders and tables of scores that `[report]` names, and written summaries.

    Where only a summary of another program is at hand, write `results/versus_NAME.json` with the fields of `Method`, by
    task and name of the method. `studies/versus_ants.py` writes it for ANTs.
    """

    anchor = "programs"
    place = Place.RESULTS

    def section(self, material: Material) -> Section | None:
        """Return a row for each method; None where there is nothing to compare with."""
        compared = read_programs(material.folder)
        summaries = _summaries(compared) if compared else None
        beside = read_beside(material.files)
        if beside is None:
            return summaries
        section = beside_section(beside)
        if summaries is None:
            return section
        assert summaries.table is not None
        earlier = Table(title=summaries.title, content=summaries.table)
        return replace(
            section,
            further=(*section.further, earlier),
            notes=(*section.notes, *summaries.notes),
        )


def _summaries(compared: "list[MethodScores]") -> Section:
    """Return a row for each method and task of the written summaries."""
    return Section(
        title="Comparison with other registration programs",
        found=_found(compared),
        table=pd.DataFrame([_row(*one) for one in compared]),
        notes=(
            "The same pairs and structures for all. hmopt: each pair at the setting that other subjects chose. "
            "Difference: hmopt − program, with its 95 % interval over subjects (jackknife), not corrected for the "
            "number of programs. Time of one pair is the median, without the training of hmopt's model. Other "
            "programs were run with their defaults unless the study says otherwise.",
        ),
    )


MethodScores = tuple[str, str, Method]
"""Task, name of the method, and its scores."""


def read_programs(folder: Path) -> list[MethodScores]:
    """Read every `results/versus_*.json` of a study folder.

    Raises
    ------
    DataError
        If a file has other fields than those of `Method`.
    """
    compared: list[MethodScores] = []
    for path in sorted(StudyFolder(folder).results.path.glob(PATTERN)):
        what = "scores of another program"
        content: Any = read_record(
            path,
            Programs,
            error=DataError,
            what=what,
            advice=ADVICE,
        )
        program = path.stem.removeprefix("versus_")
        for task, methods in content.root.items():
            compared += [(task, _title(program, name), one) for name, one in methods.items()]
    return compared


def _title(program: str, method: str) -> str:
    name = "ANTs" if program == "ants" else program
    return f"{name} {method}"


def _found(compared: list[MethodScores]) -> str:
    by_evidence: dict[Evidence, list[MethodScores]] = {kind: [] for kind in Evidence}
    for one in compared:
        by_evidence[of_interval(one[2].estimate)].append(one)
    shown = by_evidence[Evidence.FOUND]
    better = [_named(one) for one in shown if one[2].difference > 0]
    worse = [_named(one) for one in shown if one[2].difference < 0]
    unclear = [_named(one) for one in by_evidence[Evidence.NONE]]
    few = [_named(one) for one in by_evidence[Evidence.TOO_FEW]]
    sentences = [
        ("On held-out subjects hmopt has a higher Dice than", better),
        ("It has a lower Dice than", worse),
        ("There is no evidence of a difference to", unclear),
        ("There are too few subjects to compare it with", few),
    ]
    return " ".join(f"{start} {listed(names)}." for start, names in sentences if names)


def _named(one: MethodScores) -> str:
    task, name, method = one
    where = criterion_name("task", task)
    if math.isnan(method.estimate.low):
        return f"{name} {where}"
    return f"{name} {where} ({signed(method.difference)})"


def _row(task: str, name: str, method: Method) -> dict[str, str]:
    return {
        "": name,
        "pairs": f"{method.pairs} {criterion_name('task', task)}",
        "subjects": str(method.subjects),
        "Dice": number(method.dice_of_method),
        "Dice of hmopt, held out": number(method.dice_held_out),
        "difference (95 % interval)": gain_text(method.estimate),
        "seconds a pair": number(method.seconds_of_method),
        "seconds a pair, hmopt": number(method.seconds),
    }
