"""The files of a study folder: what each holds, which command writes it, and which belong together.

A study folder is declared by its user and filled by the commands:

=======================  =========================================================================
command                  writes
=======================  =========================================================================
hmopt new                `study.toml`
hmopt train              `prepared/`, `model.safetensors` and those of earlier checkpoints,
                         `training.csv`, `training-times.csv`
hmopt search             `search.json`, `pairs.csv`, `ledger/`, `studies.db`, `examples/`, of a
                         model of elsewhere `model-optima.json`, with `--per-structure` also
                         `composed.json` and `structure-maps.npz`, with `--gap` also `gap.json`, and
                         with `--uncertainty` also `uncertainty.json`
hmopt tune-by-gradient   `gradient.json`
hmopt compare            `compare.json`, `compare/`, and more measurements in `ledger/`
hmopt report             `report/`, and with `--results` also `results/`, in it `times.json`
hmopt tune               `setting.toml`
these and run, demo      `commands.csv`, but for new, report and tune
=======================  =========================================================================

The same declaration, data and seeds give the same bytes in every file, on the same machine with the same number of
threads, whatever the folder is called. **What a clock tells stands in files of its own**: `commands.csv`,
`training-times.csv` and `results/times.json`. Besides, `studies.db` holds the dates of trials; and where durations are
what is compared, they are in the files of the comparison: `wall_time_s` in the ledger, `compare.json`, `gradient.json`,
and the pages that show them.

Only `study.toml` and `results/` are committed. `results/` repeats in small what a report needs, so that everything
that reads a study folder reads one that was cloned, too: **a file of the folder itself is taken where it is there, and
the one in `results/` otherwise**. Measurements are taken from the ledger where the folder was searched here.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmopt.commands import Command, read_commands, timed
from hmopt.csv_tables import read_number_table, read_text_table, write_table
from hmopt.declaration import FILE_NAME, Study
from hmopt.declaration.study import (
    load_declared_plugins,
    model_path,
    read_declaration,
    with_absolute_paths,
)
from hmopt.errors import DeclarationError, HmoptError, LedgerError
from hmopt.files import check_folder, file_hash, leads_nowhere, read_json, slug, staying, sweep
from hmopt.ledger.baselines import Baseline, Comparison, read_comparison, write_comparison
from hmopt.ledger.composed import (
    ComposedFields,
    measurements_of_fields,
    read_composed,
    write_composed,
)
from hmopt.ledger.gap import GapRecord, Stage, measurements_of_stages, read_gap, write_gap
from hmopt.ledger.gradient import GradientRecord, read_gradient, write_gradient
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements, joined
from hmopt.ledger.searched import (
    ADVICE,
    EXPECTED,
    Model,
    Searched,
    changed_keys,
    pairs_hash,
    parse_searched,
    write_searched,
)
from hmopt.ledger.table import Part, read_measurements
from hmopt.ledger.uncertainty import UncertaintyRecord, read_uncertainty, write_uncertainty
from hmopt.model_file import model_identity
from hmopt.records import CHECKPOINTS, Checkpoint

if TYPE_CHECKING:
    import pandas as pd


class _SearchFiles:
    """The files that a searched folder has, and that are repeated in its `results/`.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def search_file(self) -> Path:
        """`search.json`: what was searched, as `Searched`. Written last by a search."""
        return self.path / "search.json"

    @property
    def pairs_file(self) -> Path:
        """`pairs.csv`: a row for each pair that was measured, with its images, subjects and groups."""
        return self.path / "pairs.csv"

    @property
    def comparison_file(self) -> Path:
        """`compare.json`: the baselines that the model was compared with, as `Comparison`."""
        return self.path / "compare.json"

    @property
    def composed_file(self) -> Path:
        """`composed.json`: the fields with a setting for each structure that were measured."""
        return self.path / "composed.json"

    @property
    def gap_file(self) -> Path:
        """`gap.json`: the pairs and settings at which registrations were measured alone, refined and converged."""
        return self.path / "gap.json"

    @property
    def gradient_file(self) -> Path:
        """`gradient.json`: the settings that were tuned by gradient."""
        return self.path / "gradient.json"

    @property
    def uncertainty_file(self) -> Path:
        """`uncertainty.json`: uncertainty of displacements and error at landmarks."""
        return self.path / "uncertainty.json"

    @property
    def training_file(self) -> Path:
        """`training.csv`: loss and its terms by step; in `results/` thinned to some hundred rows."""
        return self.path / "training.csv"

    @property
    def training_times_file(self) -> Path:
        """`training-times.csv`: minutes by step, a row for each of the log; thinned as that is in `results/`."""
        return times_of_log(self.training_file)

    @property
    def origin_file(self) -> Path:
        """`model-optima.json`: the best settings of a model of elsewhere on its own cohort, as they were searched."""
        return self.path / "model-optima.json"

    @property
    def commands_file(self) -> Path:
        """`commands.csv`: the commands that made the study, and how long they took."""
        return self.path / "commands.csv"


def _wrong_place(path: Path, expected: str) -> HmoptError:
    got = "a broken link" if leads_nowhere(path) else "something else"
    if path.is_dir():
        got = "a folder"
    elif path.is_file():
        got = "a file"
    return HmoptError(str(path), expected=expected, got=got, advice="Move it away.")


def _no_folder(path: Path) -> HmoptError:
    return HmoptError(
        str(path),
        expected="a study folder",
        got="a file" if path.is_file() else "something else",
        advice="Name the folder first, and files after it.",
    )


class ResultsFolder(_SearchFiles):
    """`results/` of a study folder: what is committed of it.

    Parameters
    ----------
    path
        The folder `results/` itself.

    Examples
    --------
    >>> ResultsFolder("studies/brains/results").measurements_file("half").name
    'measurements-half.parquet'
    """

    def measurements_file(self, model: Model = "full") -> Path:
        """`measurements.parquet`, `measurements-half.parquet` …: every measurement of a model."""
        name = "measurements" if model == "full" else f"measurements-{model}"
        return self.path / f"{name}.parquet"

    @property
    def dense_file(self) -> Path:
        """`measurements-dense.parquet`: what decides the optimum, at every value of the one hyperparameter."""
        return self.path / "measurements-dense.parquet"

    def composed_measurements_file(self, fields: ComposedFields) -> Path:
        """`measurements-composed-KIND.parquet`: the measurements of composed fields with maps of that kind."""
        return self.path / f"measurements-composed-{fields.maps}.parquet"

    def gap_measurements_file(self, stage: Stage) -> Path:
        """`measurements-gap-ITERATIONS.parquet`: the measurements of a model after so many iterations of refinement."""
        return self.path / f"measurements-gap-{stage.iterations}.parquet"

    @property
    def baselines_folder(self) -> Path:
        """`compare/`: the measurements of each baseline of a comparison."""
        return self.path / "compare"

    def baseline_file(self, baseline: Baseline) -> Path:
        """`compare/NAME.parquet`: the measurements of one baseline."""
        return self.baselines_folder / f"{baseline.name}.parquet"

    @property
    def optima_file(self) -> Path:
        """`optima.csv`: a row for each scope with its best setting, as in `report/`."""
        return self.path / "optima.csv"

    @property
    def summary_file(self) -> Path:
        """`summary.json`: the numbers of the report."""
        return self.path / "summary.json"

    @property
    def times_file(self) -> Path:
        """`times.json`: how long the training and the commands took."""
        return self.path / "times.json"

    @property
    def summary_text_file(self) -> Path:
        """`summary.md`: the report in short, as in `report/`."""
        return self.path / "summary.md"

    @property
    def examples_folder(self) -> Path:
        """`examples/`: pictures of pairs, where they were asked to be kept."""
        return self.path / "examples"

    @property
    def figures_folder(self) -> Path:
        """`figures/`: the figures of the report's first page, as SVG."""
        return self.path / "figures"


class ReportFolder:
    """`report/` of a study folder.

    Parameters
    ----------
    path
        The folder `report/` itself.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def page_file(self) -> Path:
        """`index.html`: the report; it needs no other file."""
        return self.path / "index.html"

    @property
    def optima_file(self) -> Path:
        """`optima.csv`: a row for each scope with its best setting, its interval and its gain."""
        return self.path / "optima.csv"

    @property
    def summary_text_file(self) -> Path:
        """`summary.md`: the report in short."""
        return self.path / "summary.md"

    @property
    def references_file(self) -> Path:
        """`references.bib`: what the methods cite."""
        return self.path / "references.bib"

    @property
    def record_file(self) -> Path:
        """`report.json`: what this report said, for the next one to tell what changed."""
        return self.path / "report.json"

    @property
    def figures_folder(self) -> Path:
        """`figures/`: every figure as SVG."""
        return self.path / "figures"


class StudyFolder(_SearchFiles):
    """A study folder: its files, and what they hold.

    Each file is read once, when it is first asked for. Make another object to read a folder that was changed since;
    `write_search` and `write_comparison` of the object itself are seen at once.

    Parameters
    ----------
    path
        The folder. It may hold anything from nothing to a whole study, or committed results alone.

    Examples
    --------
    >>> folder = StudyFolder("studies/brains")
    >>> folder.model_file("half").as_posix()
    'studies/brains/model-half.safetensors'
    """

    @classmethod
    def of(cls, folder: "Path | str | StudyFolder") -> "StudyFolder":
        """Return a study folder for its path; one that is given already is returned with what it has read."""
        return folder if isinstance(folder, StudyFolder) else cls(folder)

    # --- files that only the study folder itself has

    @property
    def declaration_file(self) -> Path:
        """`study.toml`: what the user declares; `hmopt new` writes the first version."""
        return self.path / FILE_NAME

    @property
    def prepared_folder(self) -> Path:
        """`prepared/`: images and label maps on the declared grid, in a folder for each identity of a cohort."""
        return self.path / "prepared"

    def model_file(self, checkpoint: Checkpoint = "full") -> Path:
        """`model.safetensors`, `model-half.safetensors` …: the trained hypermorph at a checkpoint of its training."""
        name = "model" if checkpoint == "full" else f"model-{checkpoint}"
        return self.path / f"{name}.safetensors"

    @property
    def other_model_file(self) -> Path | None:
        """The model's file outside this folder that `[model]` names; None where it names none, or it is not there."""
        study = self.declaration
        if study is None or study.model.source not in ("study", "file"):
            return None
        try:
            place = model_path(study, self.path)
        except DeclarationError:  # an environment variable that is not set: the data are not here
            return None
        assert place is not None  # as the declaration has checked
        file = StudyFolder(place).model_file() if study.model.source == "study" else place
        return file if file.is_file() else None

    @property
    def training_state_file(self) -> Path:
        """`training-state.safetensors`: what an interrupted training resumes from; removed at its end."""
        return self.path / "training-state.safetensors"

    @property
    def ledger_folder(self) -> Path:
        """`ledger/`: every measurement of every model that this folder had."""
        return self.path / "ledger"

    @property
    def structure_maps_file(self) -> Path:
        """`structure-maps.npz`: how often training subjects have each structure at a voxel; its codes in label maps."""
        return self.path / "structure-maps.npz"

    @property
    def setting_file(self) -> Path:
        """`setting.toml`: the setting that was chosen last on the page of `hmopt tune`."""
        return self.path / "setting.toml"

    @property
    def studies_file(self) -> Path:
        """`studies.db`: the Optuna studies, where `[search] storage` names no other database."""
        return self.path / "studies.db"

    @property
    def examples_folder(self) -> Path:
        """`examples/`: pictures of a typical and the worst registration of each scope."""
        return self.path / "examples"

    def example_file(self, scope: str) -> Path:
        """`examples/SCOPE.npz`: the pictures of the scope of that name."""
        return self.examples_folder / f"{slug(scope)}.npz"

    def readable_example_file(self, scope: str) -> Path:
        """Return the pictures of a scope to read: the folder's own, or the committed ones."""
        own = self.example_file(scope)
        return _first(own, self.results.examples_folder / own.name)

    @property
    def baselines_folder(self) -> Path:
        """`compare/`: the networks and hypermorphs that `hmopt compare` trained."""
        return self.path / "compare"

    def hypermorph_file(self, steps: int, seed: int) -> Path:
        """`compare/hypermorph-…`: a hypermorph of another seed or of other steps."""
        name = f"hypermorph-{steps}-steps-seed-{seed}.safetensors"
        return self.baselines_folder / name

    def separate_folder(self, steps: int, seed: int, learning_rate: float | None) -> Path:
        """`compare/separate-…/`: networks for one setting each, a file for each; records of trainings that diverged.

        Parameters
        ----------
        steps, seed
            Of each training.
        learning_rate
            One of those that `[compare]` declares; None: that of the hypermorph, and the name tells none.
        """
        at_rate = "" if learning_rate is None else f"-rate-{learning_rate:g}"
        name = f"separate-{steps}-steps{at_rate}-seed-{seed}"
        return self.baselines_folder / name

    @property
    def report(self) -> ReportFolder:
        """`report/`: the page and its figures."""
        return ReportFolder(self.path / "report")

    @property
    def results(self) -> ResultsFolder:
        """`results/`: what is committed."""
        return ResultsFolder(self.path / "results")

    # --- where to read from

    @property
    def is_declared(self) -> bool:
        """Whether `study.toml` is there."""
        return self.declaration_file.is_file()

    @property
    def has_ledger(self) -> bool:
        """Whether the folder was searched here: measurements are read from its ledger, not from its results."""
        return self.search_file.is_file() and self.ledger_folder.is_dir()

    @property
    def has_compared(self) -> bool:
        """Whether the model was compared here: its ledger holds the measurements of the baselines."""
        return self.has_ledger and self.comparison_file.is_file()

    @property
    def readable_search_file(self) -> Path:
        """The `search.json` to read: the folder's own, or the committed one."""
        return _first(self.search_file, self.results.search_file)

    # --- what the files hold

    @cached_property
    def study(self) -> Study:
        """The declaration, its paths absolute.

        Raises
        ------
        DeclarationError
            If `study.toml` is not there or breaks a rule, or a path in it names a variable that is not set.
        """
        declaration = self.declaration
        if declaration is None:
            declaration = read_declaration(self.path)  # which refuses, as there is none
        return with_absolute_paths(declaration, self.path)

    @cached_property
    def declaration(self) -> Study | None:
        """The declaration, its paths as they stand there, for who needs no data; None without `study.toml`.

        Raises
        ------
        DeclarationError
            If `study.toml` breaks a rule.
        """
        return read_declaration(self.path) if self.is_declared else None

    @cached_property
    def search_record(self) -> dict[str, Any]:
        """The content of `search.json` as JSON.

        Raises
        ------
        LedgerError
            If nothing was searched, or the file was damaged.
        """
        path = self.readable_search_file
        if not path.is_file():
            raise LedgerError(
                str(self.path),
                expected=f"{path.name} of a search",
                got="none",
                advice="Run `hmopt search` first.",
            )
        return read_json(path, error=LedgerError, what=EXPECTED, advice=ADVICE)

    @cached_property
    def searched(self) -> Searched:
        """What was searched.

        Raises
        ------
        LedgerError
            If nothing was searched, or `search.json` was damaged.
        """
        load_declared_plugins(self.path)  # a metric of one's own may have been searched
        return parse_searched(self.search_record, self.readable_search_file)

    @cached_property
    def pairs(self) -> "pd.DataFrame":
        """The table of the pairs that were searched, every cell as text.

        Raises
        ------
        LedgerError
            If there is none, or it is not the one that was searched.
        """
        path = _first(self.pairs_file, self.results.pairs_file)
        try:
            pairs = read_text_table(path, PAIR_COLUMNS, ADVICE)
        except FileNotFoundError as error:
            raise LedgerError(
                str(path), expected="the pairs of a search", got="no file", advice=ADVICE
            ) from error
        known = self.searched.pairs_hash
        if known is not None and known != pairs_hash(pairs):
            expected = f"the pairs that {self.search_file.name} is about"
            raise LedgerError(str(path), expected=expected, got="others", advice=ADVICE)
        return pairs

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparison of the searched model; None where it was not compared, or another model was.

        Raises
        ------
        LedgerError
            If nothing was searched, or `compare.json` was damaged.
        """
        path = _first(self.comparison_file, self.results.comparison_file)
        if not path.is_file():
            return None
        comparison = read_comparison(path, self.searched.space)
        return comparison if comparison.model == self.searched.identity else None

    @cached_property
    def composed(self) -> tuple[ComposedFields, ...]:
        """The composed fields of the searched model that were measured; none where another model's were.

        Raises
        ------
        LedgerError
            If nothing was searched, or `composed.json` was damaged.
        """
        path = _first(self.composed_file, self.results.composed_file)
        if not path.is_file():
            return ()
        model, fields = read_composed(path, self.searched.space)
        return fields if model == self.searched.identity else ()

    @cached_property
    def gap(self) -> GapRecord | None:
        """What was measured of the amortization gap of the searched model; None where nothing, or another model's was.

        Also None where the search refined registrations in another way, to which the gap does not refer.

        Raises
        ------
        LedgerError
            If nothing was searched, or `gap.json` was damaged.
        """
        path = _first(self.gap_file, self.results.gap_file)
        if not path.is_file() or not self.searched.refines_as_gap:
            return None
        model, record = read_gap(path, self.searched.space)
        return record if model == self.searched.model_identity else None

    @cached_property
    def gradient(self) -> GradientRecord | None:
        """What was tuned by gradient with the searched model; None where nothing, or with another model.

        Settings are tuned for registrations that are not refined: they say nothing of a search of refined ones.

        Raises
        ------
        LedgerError
            If nothing was searched, or `gradient.json` was damaged.
        """
        path = _first(self.gradient_file, self.results.gradient_file)
        if not path.is_file():
            return None
        record = read_gradient(path)
        if record.model != self.searched.identity:
            return None
        record.check_settings(path, self.searched.space)
        return record

    @cached_property
    def uncertainty(self) -> UncertaintyRecord | None:
        """Uncertainty and error at landmarks, of the searched model; None where it was not measured, or of another.

        Raises
        ------
        LedgerError
            If nothing was searched, or `uncertainty.json` was damaged.
        """
        path = _first(self.uncertainty_file, self.results.uncertainty_file)
        if not path.is_file():
            return None
        record = read_uncertainty(path)
        if record.identity != self.searched.identity:
            return None
        record.check_settings(path, self.searched.space)
        return record

    @cached_property
    def training(self) -> "pd.DataFrame | None":
        """The log of the training, a row for each step or mean of steps; None where there is none.

        Raises
        ------
        HmoptError
            If the file was damaged.
        """
        path = _first(self.training_file, self.results.training_file)
        advice = "Restore it from a copy, or move it away."
        return read_number_table(path, ["step"], advice) if path.is_file() else None

    @cached_property
    def training_times(self) -> "pd.DataFrame | None":
        """The minutes of the training by step; None where there are none. Logs of earlier versions hold them.

        Raises
        ------
        HmoptError
            If the file was damaged.
        """
        path = _first(self.training_times_file, self.results.training_times_file)
        advice = "Restore it from a copy, or remove the file, which only records durations."
        if path.is_file():
            return read_number_table(path, ["step", "minutes"], advice)
        log = self.training
        if log is None or "minutes" not in log:
            return None
        return log[["step", "minutes"]]

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """The commands that made the study, each once; empty where they were not written down.

        Raises
        ------
        HmoptError
            If the file was damaged.
        """
        path = _first(self.commands_file, self.results.commands_file)
        return tuple(read_commands(path))

    @property
    def ledger(self) -> Ledger:
        """Every measurement that was made here."""
        return Ledger(self.ledger_folder)

    def measurements(self, model: Model = "full") -> Measurements:
        """Read what a search measured of a model: from the ledger, or from the committed results where there is none.

        Parameters
        ----------
        model
            The model at the end of training, at an earlier checkpoint, or `unregistered`. Of earlier checkpoints only
            the metrics that decide which setting is best are read.

        Raises
        ------
        LedgerError
            If nothing was measured.
        """
        if not self.has_ledger:
            return read_measurements(self.results.measurements_file(model))
        measured = self._read_ledger(model, self.searched.metrics_of(model))
        return self._of_search(measured) if model == "full" else measured

    def dense_measurements(self) -> Measurements | None:
        """Read the optimized metric and folding at every setting of the lattice; None where some were not measured.

        Raises
        ------
        LedgerError
            If nothing was measured.
        """
        if not self.has_ledger:
            path = self.results.dense_file
            return read_measurements(path) if path.is_file() else None
        searched = self.searched
        measurements = self._read_ledger("full", searched.search.deciding)
        points = [hyperparameter.points for hyperparameter in searched.space.hyperparameters]
        has_all = len(measurements.settings) == math.prod(points)
        return measurements if has_all else None

    def measurements_of_part(self, part: Part) -> Measurements:
        """Read some pairs, labels and metrics of the model, at every setting of the search at which all were measured.

        Raises
        ------
        LedgerError
            If nothing was measured.
        """
        if not self.has_ledger:
            return read_measurements(self.results.measurements_file(), part)
        searched = self.searched
        measured = self.ledger.measurements(
            searched.identity, searched.space, part.pairs, part.metrics, part.labels
        )
        return self._of_search(measured)

    def baseline_measurements(self, baseline: Baseline) -> Measurements:
        """Read the optimized metric and folding of a baseline, at every setting where all pairs were measured.

        Parameters
        ----------
        baseline
            One of those of `comparison`.

        Raises
        ------
        LedgerError
            If it was not measured.
        """
        if not self.has_compared:
            return read_measurements(self.results.baseline_file(baseline))
        if not baseline.at_rates:
            return self._read_baseline(baseline.identity)
        parts = []
        for part in baseline.at_rates:
            measured = self._read_baseline(part.identity)
            # a rate that was tried elsewhere too was not chosen there
            parts.append(measured.at(part.settings))
        return joined(parts, baseline.identity)

    def _read_baseline(self, identity: str) -> Measurements:
        searched = self.searched
        return self.ledger.measurements(
            identity,
            searched.space,
            self.pairs,
            searched.search.deciding,
            searched.labels,
        )

    def composed_measurements(self, fields: ComposedFields) -> Measurements:
        """Read the optimized metric and folding of composed fields, numbered as in their record.

        Parameters
        ----------
        fields
            One of those of `composed`.

        Raises
        ------
        LedgerError
            If one of them was not measured.
        """
        if not (self.has_ledger and self.composed_file.is_file()):
            return read_measurements(self.results.composed_measurements_file(fields))
        searched = self.searched
        return measurements_of_fields(
            self.ledger,
            fields,
            searched.space,
            self.pairs,
            searched.search.deciding,
            searched.labels,
        )

    def gap_measurements(self, record: GapRecord) -> tuple[Measurements, ...]:
        """Read what was measured of the amortization gap, by stage.

        Parameters
        ----------
        record
            That of `gap`.

        Raises
        ------
        LedgerError
            If a stage was not measured, or the pairs are of another search.
        """
        if not (self.has_ledger and self.gap_file.is_file()):
            files = [self.results.gap_measurements_file(stage) for stage in record.stages]
            return tuple(read_measurements(file) for file in files)
        searched = self.searched
        return measurements_of_stages(
            self.ledger, record, searched.space, self.pairs, searched.labels
        )

    def _read_ledger(self, model: Model, metrics: tuple[str, ...]) -> Measurements:
        searched = self.searched
        identity = searched.identity_of(model)
        if identity is None:
            raise LedgerError(
                str(self.path),
                expected=f"measurements of model {model!r}",
                got="none",
                advice="Run `hmopt search` again.",
            )
        space = searched.space_of(model)
        return self.ledger.measurements(identity, space, self.pairs, metrics, searched.labels)

    def _of_search(self, measured: Measurements) -> Measurements:
        """Return the measurements at the settings of the search alone."""
        settings = self.searched.settings
        return measured if settings is None else measured.at(settings)

    # --- working on it

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Work on the folder in this block: what killed commands left there is removed first.

        Once the folder was removed, nothing is written there any more.

        Raises
        ------
        HmoptError
            If the folder cannot be written to, something else stands in place of one of its files, or something is to
            be written below the folder when it was removed.
        """
        for error in self.wrong_places():
            raise error
        if self.path.is_dir():
            check_folder("FOLDER", self.path)
        for folder in self._written_folders():
            sweep(folder)
        with staying(self.path):
            yield

    @contextmanager
    def command(self, command: str) -> Iterator[None]:
        """Work on the folder in this block, and note in `commands.csv` how long that took.

        Parameters
        ----------
        command
            What was asked for, without the folder.
        """
        with self.in_use(), timed(self.commands_file, command):
            yield

    def wrong_places(self) -> Iterator[HmoptError]:
        """Yield an error for each place of a file where a folder or a broken link stands, and each of a folder.

        A link to a file, or to a folder, is as good as the file or folder.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            yield _no_folder(self.path)
            return
        for path in self._files():
            if os.path.lexists(path) and not path.is_file():
                yield _wrong_place(path, "a file")
        for path in self._written_folders():
            if os.path.lexists(path) and not path.is_dir():
                yield _wrong_place(path, "a folder")

    def _files(self) -> list[Path]:
        """Return the files that commands read or write by their names."""
        own = [
            self.declaration_file,
            *[self.model_file(checkpoint) for checkpoint in CHECKPOINTS],
            self.training_state_file,
            self.structure_maps_file,
            self.setting_file,
            self.studies_file,
        ]
        results = self.results
        committed = [results.dense_file]
        committed += [results.measurements_file(model) for model in CHECKPOINTS]
        for folder in (self, results):
            own += [
                folder.search_file,
                folder.pairs_file,
                folder.comparison_file,
                folder.composed_file,
                folder.gap_file,
                folder.gradient_file,
                folder.uncertainty_file,
                folder.training_file,
                folder.training_times_file,
                folder.origin_file,
                folder.commands_file,
            ]
        return [*own, *committed]

    def _written_folders(self) -> list[Path]:
        """Return the folders that commands write to."""
        results = self.results
        folders = [
            self.path,
            self.prepared_folder,
            self.ledger_folder,
            self.examples_folder,
            self.baselines_folder,
            self.report.path,
            self.report.figures_folder,
            results.path,
            results.baselines_folder,
            results.examples_folder,
            results.figures_folder,
        ]
        separate = self.baselines_folder.glob("separate-*")
        return [*folders, *sorted(separate)]

    # --- writing what several files must agree on

    def write_search(self, searched: Searched, pairs: "pd.DataFrame") -> None:
        """Write `pairs.csv` and `search.json`, which holds its hash.

        Parameters
        ----------
        searched
            What was searched.
        pairs
            The table of its pairs.
        """
        write_table(pairs, self.pairs_file)
        write_searched(self.search_file, searched, pairs)
        self._forget("search_record", "searched", "pairs", "comparison", "composed", "gap")
        self._forget("gradient", "uncertainty")

    def write_comparison(self, comparison: Comparison) -> None:
        """Write `compare.json`, its settings as values of the searched hyperparameters."""
        write_comparison(self.comparison_file, comparison, self.searched.space)
        self._forget("comparison")

    def write_composed(self, fields: ComposedFields) -> None:
        """Write `composed.json`: these fields in place of those with maps of the same kind."""
        searched = self.searched
        others = [one for one in self.composed if one.maps != fields.maps]
        write_composed(self.composed_file, searched.identity, [*others, fields], searched.space)
        self._forget("composed")

    def write_gap(self, record: GapRecord) -> None:
        """Write `gap.json`."""
        searched = self.searched
        write_gap(self.gap_file, searched.model_identity, record, searched.space)
        self._forget("gap")

    def write_gradient(self, record: GradientRecord) -> None:
        """Write `gradient.json`."""
        write_gradient(self.gradient_file, record)
        self._forget("gradient")

    def write_uncertainty(self, record: UncertaintyRecord) -> None:
        """Write `uncertainty.json`."""
        write_uncertainty(self.uncertainty_file, record)
        self._forget("uncertainty")

    def _forget(self, *names: str) -> None:
        for name in names:
            self.__dict__.pop(name, None)

    # --- what belongs together

    def check_together(self) -> None:
        """Refuse a model, a log or a declaration that is not the one that was searched; each may be missing.

        Raises
        ------
        LedgerError
            If nothing was searched, or another model than the one in the folder.
        DeclarationError
            If `study.toml` declares something else than what was searched.
        """
        self._check_model()
        self._check_log()
        self._check_declaration()

    def _check_model(self) -> None:
        self._check_other_model()
        searched, path = self.searched, self.model_file()
        if searched.source != "trained" or not path.is_file():
            return
        study = self.declaration
        declared_order = None if study is None else list(study.hyperparameters)
        identity = model_identity(path, declared_order)
        if identity != searched.trained_identity:
            raise LedgerError(
                str(self.readable_search_file),
                expected=f"a search of the model in {path} ({identity})",
                got=f"one of another model ({searched.trained_identity})",
                advice=f"Run `hmopt search {self.path}`, or restore the model that was searched.",
            )

    def _check_other_model(self) -> None:
        """Refuse a model's file outside the folder that is not the one that was searched."""
        known = self.searched.model_hash
        path = self.other_model_file
        if known is None or path is None:
            return
        found = file_hash(path)
        if found != known:
            raise LedgerError(
                str(self.readable_search_file),
                expected=f"a search of the model in {path} ({found})",
                got=f"one of the file as it was before ({known})",
                advice=f"Run `hmopt search {self.path}`, or restore the file that was searched.",
            )

    def _check_log(self) -> None:
        """Refuse the log of another training than that of the searched model, or one that was damaged."""
        known, path = self.searched.log_hash, self.training_file
        was_searched_here = self.search_file.is_file()
        if not was_searched_here or known is None or not path.is_file():
            return
        if file_hash(path) != known:
            again = f"run `hmopt search {self.path}` again"
            raise LedgerError(
                str(path),
                expected=f"the log of the training whose model {self.search_file.name} is about",
                got="another one, or one that was damaged",
                advice=f"Restore it from a copy, move it away, or {again}.",
            )

    def _check_declaration(self) -> None:
        study = self.declaration
        if study is None:
            return
        for key, before, now in changed_keys(study, self.searched):
            raise DeclarationError(
                f"{self.declaration_file}: {key}",
                expected=f"{before} as in {self.readable_search_file}",
                got=now,
                advice=f"Run `hmopt search {self.path}`, or restore the declaration of that search.",
            )


def times_of_log(log: Path) -> Path:
    """Return the file that holds the minutes of a training beside its log.

    Examples
    --------
    >>> times_of_log(Path("mine/training.csv")).name
    'training-times.csv'
    """
    return log.with_name(f"{log.stem}-times.csv")


def log_of_model(model: Path) -> Path:
    """Return the log of the training that wrote a model: `training.csv` of a study folder, or one named as the model.

    Examples
    --------
    >>> log_of_model(Path("mine/model-half.safetensors")).name
    'training.csv'
    >>> log_of_model(Path("mine/compare/hypermorph-100-steps-seed-1.safetensors")).name
    'hypermorph-100-steps-seed-1.csv'
    """
    is_of_study = model.stem == "model" or model.stem.startswith("model-")
    return model.with_name("training.csv" if is_of_study else f"{model.stem}.csv")


def _first(own: Path, committed: Path) -> Path:
    """Return the folder's own file where it is there, and the committed one otherwise."""
    return own if own.is_file() else committed


def read_folder(folder: Path | str, model: Model = "full") -> Measurements:
    """Read what was measured in a study folder: from its ledger, or from its committed results where it has none.

    Parameters
    ----------
    folder
        The study folder.
    model
        The model at the end of training, at an earlier checkpoint, or `unregistered`. Of earlier checkpoints only the
        metrics that decide which setting is best are read.

    Raises
    ------
    LedgerError
        If nothing was measured.
    """
    files = StudyFolder(folder)
    return files.measurements(model)


def read_dense(folder: Path | str) -> Measurements | None:
    """Read the optimized metric and folding at every setting of the lattice, as `hmopt search --dense` measures them.

    Parameters
    ----------
    folder
        The study folder; its ledger is read, or its committed results where it has none.

    Returns
    -------
    Measurements or None
        None where some setting was not measured.

    Raises
    ------
    LedgerError
        If nothing was measured.
    """
    return StudyFolder(folder).dense_measurements()
