"""`hmopt.run` and `hmopt.demo`: a whole study with one call."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

from hmopt.data.synthetic import TRUE_ORDER, make_cohort
from hmopt.errors import DeclarationError
from hmopt.files import appearing, check_outputs, replacing
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.workflow.report import Reported, report
from hmopt.workflow.search import Swept, search_study
from hmopt.workflow.train import NothingToTrain, Trained, train_study


def _ignore(_line: str) -> None:
    """Take a remark and do nothing."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A study that was trained, searched and reported.

    Parameters
    ----------
    trained, swept, reported
        What each of the three commands returned.
    """

    trained: Trained | NothingToTrain
    swept: Swept
    reported: Reported

    def __str__(self) -> str:
        """Return a line for each command."""
        return f"{self.trained}\n{self.swept}\n{self.reported}"


def run(
    folder: Path | str,
    *,
    track: Track = silent,
    say: Callable[[str], None] = _ignore,
    device: str | None = None,
) -> Run:
    """Train, search and report a declared study; finished work is reused.

    Parameters
    ----------
    folder
        The study folder, with `study.toml`.
    track
        Shows progress.
    say
        Is told a line when each of the three is finished.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.

    Returns
    -------
    Run
        What `train`, `search` and `report` return.

    Raises
    ------
    HmoptError
        As `train`, `search` and `report` raise.

    Examples
    --------
    After `hmopt.new`:

    >>> import hmopt
    >>> hmopt.run("studies/mine").reported.page.as_posix()  # doctest: +SKIP
    'studies/mine/report/index.html'
    """
    files = StudyFolder(folder)
    with files.command("hmopt run"):
        return _run(files, track, say, device)


def _run(files: StudyFolder, track: Track, say: Callable[[str], None], device: str | None) -> Run:
    trained = train_study(files, track, device)
    say(str(trained))
    swept = search_study(files, track, device)
    say(str(swept))
    reported = report(files.path, track=track)
    say(str(reported))
    return Run(trained=trained, swept=swept, reported=reported)


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """A study of a synthetic cohort whose order of best λ is known.

    Parameters
    ----------
    run
        The study.
    optima
        The λ* that was found for each structure.
    """

    run: Run
    optima: dict[str, float]

    def __str__(self) -> str:
        """Return the known order, and the λ* that was found for each structure."""
        known = " to ".join(", ".join(group) for group in TRUE_ORDER)
        found = "; ".join(self._of_group(group) for group in TRUE_ORDER)
        return f"By construction, λ* rises from {known}\nFound: {found}"

    def _of_group(self, names: Sequence[str]) -> str:
        parts = []
        for name in names:
            optimum = self.optima[name]
            parts.append(f"{name} {optimum:g}")
        return ", ".join(parts)


def demo(
    folder: Path | str = "demo",
    *,
    track: Track = silent,
    say: Callable[[str], None] = _ignore,
    device: str | None = None,
) -> Demonstrated:
    """Make a synthetic cohort, train, search and report: everything that hmopt does, in about three minutes.

    Parameters
    ----------
    folder
        Where the study goes; an interrupted demo is resumed.
    track
        Shows progress.
    say
        Is told a line when each step is finished.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.

    Returns
    -------
    Demonstrated
        The study, and the λ* that was found for each structure.

    Raises
    ------
    DeclarationError
        If the folder holds a cohort but no study.

    Examples
    --------
    >>> import hmopt
    >>> made = hmopt.demo("demo", device="cpu")  # doctest: +SKIP
    >>> made.run.reported.page.as_posix()  # doctest: +SKIP
    'demo/report/index.html'
    >>> made.optima["thalamus"]  # doctest: +SKIP
    0.85
    """
    files = StudyFolder(folder)
    with files.command("hmopt demo"):
        _make_demo(files, track)
        done = _run(files, track, say, device)
        return Demonstrated(run=done, optima=_structure_optima(files.report.optima_file))


def demo_declaration() -> str:
    """Return the text of the `study.toml` of the demo.

    Examples
    --------
    >>> demo_declaration().splitlines()[2]
    'name = "demo"'
    """
    path = package_files("hmopt.workflow") / "demo_study.toml"
    return path.read_text(encoding="utf-8")


def _make_demo(files: StudyFolder, track: Track) -> None:
    """Write the synthetic cohort and its declaration, where they are not there already."""
    declaration = files.declaration_file
    if files.is_declared:
        return
    check_outputs({"FOLDER": declaration}, {})
    cohort = files.path / "cohort"
    if cohort.exists():
        raise DeclarationError(
            "FOLDER",
            expected="a folder without a cohort",
            got=cohort,
            advice="Choose another folder, or move it away.",
        )
    with appearing(cohort) as unfinished:
        make_cohort(unfinished, track=track)
    with replacing(declaration) as beside:
        beside.write_text(demo_declaration(), encoding="utf-8")


def _structure_optima(path: Path) -> dict[str, float]:
    """Return λ* of each structure from a table of optima."""
    optima = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["scope"] == "label":
                optima[row["value"]] = float(row["regularization"])
    return optima
