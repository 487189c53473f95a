"""`hmopt.check`: whether every file of a study is what was written, and what to rerun where one is not."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hmopt.data.cohort import Listing, check_images, list_cohort, read_structures
from hmopt.data.facts import check_facts
from hmopt.data.prepared import PreparedCohort, check_folder
from hmopt.data.preprocessing import open_if_prepared
from hmopt.data.split import split_subjects
from hmopt.declaration import Study
from hmopt.errors import DeclarationError, HmoptError, LedgerError, of_system
from hmopt.files import one_line
from hmopt.ledger.manifest import check_shard, read_manifest, shard_files
from hmopt.ledger.shard import check_rows
from hmopt.ledger.table import read_measurements
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS
from hmopt.report.changes import read_last
from hmopt.report.outlines import read_arrays
from hmopt.search.storage import check_file, open_storage
from hmopt.search.studies import check_stored
from hmopt.study_folder import StudyFolder

COMMANDS = (
    "hmopt train",
    "hmopt search",
    "hmopt search --per-structure",
    "hmopt search --gap",
    "hmopt search --uncertainty",
    "hmopt tune-by-gradient",
    "hmopt compare",
    "hmopt report --results",
)
"""Commands that write what can be damaged, in the order in which they are rerun."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A file that cannot be used, or does not belong to the others.

    Parameters
    ----------
    line
        What is wrong with it, and what to do.
    rerun
        The command that then writes it again; None for what the user wrote.
    """

    line: str
    rerun: str | None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The outcome of a check.

    Parameters
    ----------
    folder
        The study folder.
    files
        How many files, or folders of arrays, were checked.
    problems
        What was found, in the order in which commands make the files.
    """

    folder: Path
    files: int
    problems: tuple[Problem, ...]

    @property
    def rerun(self) -> tuple[str, ...]:
        """The commands to rerun, in order."""
        found = {problem.rerun for problem in self.problems}
        return tuple(_with_folder(command, self.folder) for command in COMMANDS if command in found)

    def __str__(self) -> str:
        """Return a line that sums up; the lines of problems are not among it."""
        if not self.problems:
            return f"Checked: {self.files} files, no problems"
        count = len(self.problems)
        summary = f"Checked: {self.files} files, {count} problem{'s' if count > 1 else ''}"
        if not self.rerun:
            return summary
        return f"{summary}. Then rerun: {'; '.join(self.rerun)}"


def _with_folder(command: str, folder: Path) -> str:
    """Return a command with its folder.

    Examples
    --------
    >>> _with_folder("hmopt search --gap", Path("brains"))
    'hmopt search brains --gap'
    """
    program, name, *options = command.split()
    return " ".join([program, name, str(folder), *options])


@dataclass(kw_only=True)
class _Findings:
    """What a check has found so far."""

    files: int = 0
    problems: list[Problem] = field(default_factory=list)

    @contextmanager
    def of(self, rerun: str | None, files: int = 1) -> Iterator[None]:
        """Count some files, and keep the error that one of them causes."""
        self.files += files
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the commands themselves warn
                yield
        except HmoptError as error:
            self.problems.append(Problem(line=one_line(error), rerun=rerun))
        except OSError as error:
            self.problems.append(Problem(line=str(of_system(error)), rerun=rerun))


def check(folder: Path | str, *, track: Track = silent) -> Checked:
    """Read every file of a study folder, and compare it with its hash, its schema and the files it belongs to.

    Nothing is changed. Images and label maps of the cohort are read to their end, unless the folder
    holds committed results alone. Files of earlier versions that hold no hash are checked by schema
    and range.

    Parameters
    ----------
    folder
        The study folder.
    track
        Shows progress.

    Returns
    -------
    Checked
        What is wrong, a line for each file, and the commands to rerun.

    Raises
    ------
    HmoptError
        If the folder holds nothing of a study.

    Examples
    --------
    >>> import hmopt
    >>> checked = hmopt.check("studies/mine")  # doctest: +SKIP
    >>> print(checked)  # doctest: +SKIP
    Checked: 61 files, no problems
    """
    files = StudyFolder(folder)
    found = _Findings()
    for error in files.wrong_places():
        with found.of(None):
            raise error
    study = _check_declaration(files, found)
    cohort = None
    if study is not None:
        cohort = _check_data(files, study, found, track)
    _check_prepared(files, found)
    _check_models(files, study, cohort, found)
    _check_search(files, found)
    _check_ledger(files, found)
    _check_results(files, found)
    _check_pictures(files, found)
    _check_studies(files, found)
    _check_setting(files, study, found)
    if not found.files:
        raise HmoptError(
            str(files.path),
            expected="a study folder",
            got="none of its files",
            advice="Name a folder with study.toml.",
        )
    return Checked(folder=files.path, files=found.files, problems=tuple(found.problems))


def _check_declaration(files: StudyFolder, found: _Findings) -> Study | None:
    if not files.is_declared:
        return None
    with found.of(None):
        study = files.study if _has_data(files) else files.declaration
        if study is not None:
            from hmopt.workflow.checks import check_declared

            check_declared(study)
        return study
    return None


def _has_data(files: StudyFolder) -> bool:
    """Return whether the cohort should be there: it is not beside committed results alone."""
    was_searched = files.search_file.is_file() or files.model_file().is_file()
    return was_searched or not files.results.search_file.is_file()


def _check_data(
    files: StudyFolder, study: Study, found: _Findings, track: Track
) -> PreparedCohort | None:
    """Check images, label maps, their tables, and what is declared about them."""
    if not _has_data(files):
        return None
    listing: Listing | None = None
    with found.of(None):
        listing = list_cohort(study.cohort)
    if listing is None:
        return None
    from hmopt.workflow.checks import check_cohort, check_listed

    agrees = False
    with found.of(None, files=0):
        check_listed(study, listing.images, has_labels=listing.has_labels)
        agrees = True
    readable = False
    with found.of(None, files=2 * len(listing.images)):
        read_structures(listing, study.cohort, track)
        check_images(listing.images, track)
        split_subjects(list(listing.images["subject"]), study.split)
        readable = True
    if not readable:
        return None
    cohort: PreparedCohort | None = None
    with found.of("hmopt train", files=0):
        cohort = open_if_prepared(study, files.path)
    if cohort is not None and agrees:  # otherwise the same is found again
        with found.of(None, files=0):
            check_cohort(study, cohort)
    return cohort


def _check_prepared(files: StudyFolder, found: _Findings) -> None:
    if not files.prepared_folder.is_dir():
        return
    folders = []
    with found.of("hmopt train", files=0):
        folders = sorted(files.prepared_folder.iterdir())
    for folder in folders:
        if folder.is_dir() and not folder.name.startswith("."):
            with found.of("hmopt train"):
                check_folder(folder)


def _check_models(
    files: StudyFolder, study: Study | None, cohort: PreparedCohort | None, found: _Findings
) -> None:
    baselines = sorted(files.baselines_folder.rglob("*.safetensors"))
    own = [files.model_file(checkpoint) for checkpoint in CHECKPOINTS]
    is_other = study is not None and study.model.source != "trained"
    if not (
        any(path.is_file() for path in [*own, files.training_state_file, *baselines]) or is_other
    ):
        return

    # torch is loaded where there is a model only
    from hmopt.networks import load_hypermorph, read_header
    from hmopt.networks.separate import load_network
    from hmopt.oracle.open import load_trained, source_of
    from hmopt.training.state import check_state

    is_trained_here = study is not None and study.model.source == "trained"
    for checkpoint in CHECKPOINTS:
        path = files.model_file(checkpoint)
        if not path.is_file():
            continue
        with found.of("hmopt train"):
            if is_trained_here and study is not None and cohort is not None:
                load_trained(files.path, study, cohort, checkpoint=checkpoint)
            else:
                load_hypermorph(path)
            check_facts(path, read_header(path))
    if study is not None and not is_trained_here and _has_data(files):
        with found.of(None):
            source_of(files.path, study).check()
    if files.training_state_file.is_file():
        with found.of("hmopt train"):
            check_state(files.training_state_file)
    for path in baselines:
        load: Callable[[Path], object] = load_network
        if path.name.startswith("hypermorph-"):
            load = load_hypermorph
        if path.stem.endswith("-state"):
            load = check_state
        with found.of("hmopt compare"):
            load(path)


def _check_search(files: StudyFolder, found: _Findings) -> None:
    """Check the records of a search, whether they belong together, and the tables beside them."""
    with found.of(None, files=int(files.commands_file.is_file())):
        _ = files.commands
    with found.of("hmopt train", files=int(files.training_file.is_file())):
        _ = files.training
    with found.of(None, files=int(files.training_times_file.is_file())):
        _ = files.training_times
    if not files.readable_search_file.is_file():
        return
    with found.of("hmopt search"):
        _ = files.searched
    if "searched" not in files.__dict__:
        return
    with found.of("hmopt search"):
        _ = files.pairs
    with found.of("hmopt search", files=0):
        files.check_together()
    _check_records(files, found)


def _check_records(files: StudyFolder, found: _Findings) -> None:
    """Check the records of what was measured besides the search, and that their measurements are there."""
    if files.comparison_file.is_file() or files.results.comparison_file.is_file():
        with found.of("hmopt compare"):
            comparison = files.comparison
            for baseline in () if comparison is None else comparison.baselines:
                files.baseline_measurements(baseline)
    if files.composed_file.is_file() or files.results.composed_file.is_file():
        with found.of("hmopt search --per-structure"):
            for fields in files.composed:
                files.composed_measurements(fields)
    if files.gap_file.is_file() or files.results.gap_file.is_file():
        with found.of("hmopt search --gap"):
            gap = files.gap
            if gap is not None:
                files.gap_measurements(gap)
    if files.gradient_file.is_file() or files.results.gradient_file.is_file():
        with found.of("hmopt tune-by-gradient"):
            _ = files.gradient
    if files.uncertainty_file.is_file() or files.results.uncertainty_file.is_file():
        with found.of("hmopt search --uncertainty"):
            _ = files.uncertainty
    if files.report.record_file.is_file():
        with found.of(None):
            read_last(files.report.record_file)


def _check_ledger(files: StudyFolder, found: _Findings) -> None:
    folder = files.ledger_folder
    if not folder.is_dir():
        return
    is_empty = True
    with found.of("hmopt search", files=0):
        is_empty = not any(folder.iterdir())
    if is_empty:
        return
    shards = []
    with found.of("hmopt search"):
        shards = read_manifest(folder)
    for shard in shards:
        with found.of("hmopt search"):
            try:
                path = check_shard(folder, shard)
            except FileNotFoundError as error:
                raise LedgerError(
                    str(folder / shard.file),
                    expected="a shard that the manifest names",
                    got="no file",
                    advice="Restore it from a copy, or move manifest.json away.",
                ) from error
            check_rows(path, [name for name, *_ in shard.lattice])
    listed = {shard.file for shard in shards}
    for path in shard_files(folder):
        if path.name not in listed:
            with found.of(None):
                raise LedgerError(
                    str(path),
                    expected="a shard that the manifest names",
                    got="another file",
                    advice="Move it away; it is not read.",
                )


def _check_setting(files: StudyFolder, study: Study | None, found: _Findings) -> None:
    """Check the chosen setting, and that a model which was trained here takes it."""
    path = files.setting_file
    if not path.is_file():
        return
    # torch is loaded where there is such a file only
    from hmopt.interop.load import load_model
    from hmopt.workflow.register import given_setting
    from hmopt.workflow.setting_file import identity_of, values_in

    is_trained_here = study is not None and study.model.source == "trained"
    model = files.model_file()
    with found.of(None):
        own = None
        has_own_code = study is not None and study.network.callable is not None
        if is_trained_here and model.is_file() and not has_own_code:  # which is not run here
            own = identity_of(load_model(model))
        values = values_in(path, own)
        if study is not None and is_trained_here:
            try:
                given_setting(study.space, values)
            except DeclarationError as error:
                raise DeclarationError(
                    str(path),
                    expected="a setting of the hyperparameters of study.toml",
                    got=f"one with a fault ({error})",
                    advice="Choose it again with `hmopt tune`.",
                ) from error


def _check_results(files: StudyFolder, found: _Findings) -> None:
    results = files.results
    tables = sorted(results.path.glob("measurements*.parquet"))
    tables += sorted(results.baselines_folder.glob("*.parquet"))
    for path in tables:
        with found.of("hmopt report --results"):
            read_measurements(path)
    committed = StudyFolder(results.path)  # the same names stand in both
    if not committed.search_file.is_file():
        return
    names = (
        "searched",
        "pairs",
        "comparison",
        "composed",
        "gap",
        "gradient",
        "uncertainty",
        "training",
        "commands",
    )
    for name in names:
        with found.of("hmopt report --results"):
            getattr(committed, name)


def _check_pictures(files: StudyFolder, found: _Findings) -> None:
    was_read = "searched" in files.__dict__
    metric = files.searched.search.metric if was_read else None
    for folder in (files.examples_folder, files.results.examples_folder):
        for path in sorted(folder.glob("*.npz")):
            with found.of("hmopt search"):
                read_arrays(path, metric)
    if files.structure_maps_file.is_file():
        from hmopt.oracle.structure_maps import read_frequencies

        with found.of("hmopt search --per-structure"):
            read_frequencies(files.structure_maps_file)


def _check_studies(files: StudyFolder, found: _Findings) -> None:
    """Check the database of studies, and that its trials have the scores that were measured."""
    path = files.studies_file
    if not path.is_file():
        return
    with found.of("hmopt search"):
        check_file(path)
        if "pairs" not in files.__dict__ or not files.has_ledger:
            return
        searched = files.searched
        # studies of other samplers hold fewer pairs of a trial
        if searched.search.sampler == "plan":
            storage = open_storage(files.path)
            check_stored(files.measurements(), searched.search, searched.name, storage)
