"""Reading the methods that a report sets side by side: study folders of the same pairs, and tables of scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.analysis.beside import (
    SECONDS,
    Beside,
    Entry,
    Source,
    entry_of_scores,
    make_entries,
    set_beside,
    tuned_roughness,
)
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.optimum import margin_of
from hmopt.catalogue import find_metric
from hmopt.commands import Command
from hmopt.csv_tables import read_text_table
from hmopt.declaration import BesideOptions, ReportOptions
from hmopt.declaration.study import with_absolute_beside
from hmopt.errors import DataError, HmoptError
from hmopt.ledger import Measurements, Searched
from hmopt.study_folder import StudyFolder

FIELD = "report.beside"
TABLE_COLUMNS = ("pair", "label")
"""Columns of a table of scores, beside that of the metric."""


def read_beside(files: StudyFolder, options: ReportOptions | None = None) -> Beside | None:
    """Read and compare what a study is set beside.

    Parameters
    ----------
    files
        The study folder, or its committed results.
    options
        `[report]`, its paths absolute; left out: as `study.toml` declares it.

    Returns
    -------
    Beside or None
        None where nothing is declared.

    Raises
    ------
    DataError
        If another folder is of other images, on another grid, or shares no pair or structure.
    LedgerError
        If one of them was not searched.
    """
    if options is None:
        options = declared_beside(files)
    if not options.beside:
        return None
    main = _read_folder(files, options.title)
    metric = main.searched.search.metric
    folders = [one for one in options.beside if not _is_table(one)]
    tables = [one for one in options.beside if _is_table(one)]
    others = [_read_folder(StudyFolder(one.path), one.title) for one in folders]
    scores = [_read_scores(one, metric) for one in tables]

    remarks: list[str] = []
    for other in others:
        remarks += _check_same(main, other, metric)
    remarks += _spending_remark([main, *others])
    measured = [set(other.measurements.labels) for other in others]
    measured += [set(table["label"]) for table in scores]
    labels = _shared_labels(main, measured)
    if len(labels) < len(main.measurements.labels):
        remarks.append(
            f"The comparison is limited to the structures available for all methods: {', '.join(labels)}."
        )

    pairs = main.measurements.pairs
    search = main.searched.search
    subjects = sorted(set(pairs["moving_subject"]) | set(pairs["fixed_subject"]))
    splits = split_subjects(subjects, search.splits, search.seed)
    entries = make_entries(main.source(options.choices), metric, labels, splits)
    if not entries:
        raise DataError(
            str(files.path),
            expected="scores of this study to compare with",
            got="none: no setting could be chosen, or the default was not measured",
            advice="Add other choices to [report], or search more subjects.",
        )
    for other, one in zip(others, folders, strict=True):
        source = other.source(one.choices or options.choices, pairs)
        roughness = None
        if "matched" in source.choices:
            ids = list(other.measurements.pairs["pair"])
            roughness = tuned_roughness(main.source(["tuned"]), metric, labels, splits, ids)
        entries += make_entries(source, metric, labels, splits, roughness)
    for table, one in zip(scores, tables, strict=True):
        entries += _entries_of_table(table, one, metric, labels, pairs)
    _check_names(entries)
    margin = margin_of(find_metric(metric), search.margin)
    return set_beside(entries, metric, margin, remarks)


def _spending_remark(folders: Sequence["_Folder"]) -> list[str]:
    """Return whose settings were measured on all pairs only where earlier pairs, of all subjects, looked good."""
    adaptive = []
    for one in folders:
        spent = one.searched.spent
        if spent is not None and spent.partial:
            adaptive.append(one.title)
    if not adaptive:
        return []
    return [
        f"Settings of {', '.join(adaptive)} were stopped early on pairs of all subjects, so held-out scores of its "
        "tuned settings may be slightly optimistic."
    ]


def declared_beside(files: StudyFolder) -> ReportOptions:
    """Return `[report]` of a study folder, its paths absolute; nothing beside it where nothing is declared.

    Raises
    ------
    DeclarationError
        If a path names a variable that is not set.
    """
    declared = files.declaration
    if declared is None:
        return ReportOptions()
    return with_absolute_beside(declared.report, files.path)


def check_beside(files: StudyFolder) -> None:
    """Refuse a study beside which something is declared that is not there, before anything is analysed.

    Raises
    ------
    DataError
        If a table of scores is not there.
    LedgerError
        If another folder was not searched.
    """
    for one in declared_beside(files).beside:
        if not _is_table(one):
            _ = StudyFolder(one.path).searched
        elif not one.path.is_file():
            raise _refused(one.path, "a table of scores", "no file")


def _is_table(one: BesideOptions) -> bool:
    """Tell whether a table of scores is declared, and not a study folder."""
    return one.path.suffix == ".csv"


def _shared_labels(main: "_Folder", measured: Sequence[set[str]]) -> list[str]:
    """Return the structures of the study that all others have."""
    ours = main.measurements.labels
    common = set(ours).intersection(*measured)
    labels = [label for label in ours if label in common]
    if not labels:
        raise DataError(
            FIELD,
            expected=f"structures of the study ({', '.join(ours)}) that all other methods have",
            got="none",
            advice="Use the same names for structures, or leave out one of the other methods.",
        )
    return labels


def _check_names(entries: Sequence[Entry]) -> None:
    names = [entry.title for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                FIELD,
                expected="methods with different names",
                got=f"{name!r} twice",
                advice="Give each method a title in study.toml.",
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Folder:
    """A study folder as a method.

    Parameters
    ----------
    files, title, searched, measurements
        What is read of it.
    """

    files: StudyFolder
    title: str
    searched: Searched
    measurements: Measurements

    @property
    def registrations(self) -> int:
        """The registrations of the search, of all its pairs; those that were given up early are among them."""
        counted = self.searched.registrations
        if counted is not None:
            return counted
        return len(self.measurements.settings) * len(self.measurements.pairs)

    def source(self, choices: Sequence[str], pairs: pd.DataFrame | None = None) -> Source:
        """Return the method; its pairs cut to those of a table."""
        measurements = self.measurements
        if pairs is not None:
            measurements = _at_pairs(measurements, pairs)
        training = _training_minutes(self.files, self.searched)
        minutes, is_complete = search_minutes(self.files.commands, training, self.measurements)
        return Source(
            title=self.title,
            measurements=measurements,
            choices=tuple(choices),  # type: ignore[arg-type]
            training_minutes=training,
            search_minutes=minutes,
            search_is_complete=is_complete,
            registrations=self.registrations,
            model=self.searched.model_identity,
            is_refined=self.searched.refine.iterations > 0,
        )


def _read_folder(files: StudyFolder, title: str | None) -> _Folder:
    searched = files.searched
    return _Folder(
        files=files,
        title=title or searched.name,
        searched=searched,
        measurements=files.measurements(),
    )


def _at_pairs(measurements: Measurements, wanted: pd.DataFrame) -> Measurements:
    """Return the same measurements of those pairs that are in another table too."""
    kept = np.flatnonzero(measurements.pairs["pair"].isin(wanted["pair"]))
    return Measurements(
        identity=measurements.identity,
        space=measurements.space,
        settings=measurements.settings,
        pairs=measurements.pairs.iloc[kept].reset_index(drop=True),
        labels=measurements.labels,
        values={name: values[:, kept] for name, values in measurements.values.items()},
    )


def _training_minutes(files: StudyFolder, searched: Searched) -> float:
    """Return how long the model was trained; 0 of an engine or without a model, NaN where it is not known."""
    if searched.engine is not None or searched.source in ("engine", "optimize"):
        return 0.0
    times = files.training_times
    if times is not None and not times.empty:
        return float(times["minutes"].max())
    trained = [one.minutes for one in files.commands if one.command.startswith("hmopt train")]
    return sum(trained) if trained else math.nan


def search_minutes(
    commands: Sequence[Command], training: float, measurements: Measurements
) -> tuple[float, bool]:
    """Return how long the search took by its commands, and whether these are all of its minutes.

    What `hmopt search` measures beyond the search, as with `--gap`, is no part of it. `hmopt run` trains
    and searches: the training is taken off. A run that was killed is not among the commands, and of one that
    was shared by several workers only the time from start to end: where the registrations themselves took
    longer, the minutes are not complete. Where no command tells them, they are those of the registrations.

    Parameters
    ----------
    commands
        Of the study folder.
    training
        Minutes of the training; NaN where they are not known.
    measurements
        Of the search.

    Returns
    -------
    float
        NaN where nothing tells it.
    bool
        Whether the search took no longer, as far as is known.
    """
    registering = math.nan
    if SECONDS in measurements.values:
        registering = float(np.nansum(measurements.values[SECONDS])) / 60
    searches = [one.minutes for one in commands if one.command == "hmopt search"]
    runs = [one.minutes for one in commands if one.command.startswith("hmopt run")]
    if searches:
        minutes = sum(searches)
    elif runs and math.isfinite(training):
        minutes = max(sum(runs) - training, 0.0)
    else:
        return registering, math.isnan(registering)
    return minutes, not registering > minutes


def _check_same(main: _Folder, other: _Folder, metric: str) -> list[str]:
    """Refuse measurements of other images or another spacing; return what else differs, as sentences."""
    path = other.files.path
    measured = other.measurements
    if metric not in measured.values:
        got = ", ".join(measured.values)
        raise _refused(path, f"measurements of {metric}, the metric that the study optimizes", got)
    labels = [label for label in main.measurements.labels if label in measured.labels]
    if not labels:
        got = ", ".join(measured.labels)
        raise _refused(
            path, f"structures of the study ({', '.join(main.measurements.labels)})", got
        )
    ours = _subjects(main.measurements.pairs)
    theirs = _subjects(measured.pairs)
    shared = [pair for pair in ours if pair in theirs]
    if not shared:
        raise _refused(
            path, f"pairs of the study, for example {next(iter(ours))}", next(iter(theirs))
        )
    for pair in shared:
        if ours[pair] != theirs[pair]:
            expected = f"pair {pair} of subjects {' and '.join(ours[pair])}"
            raise _refused(path, expected, " and ".join(theirs[pair]))
    known = main.searched.identity_unregistered
    if known is not None and known == other.searched.identity_unregistered:
        return []  # the hash of the same prepared images and labels
    remarks = _compare_grids(main, other)
    return remarks + _compare_unregistered(main, other, metric, labels, shared)


def _subjects(pairs: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the subjects of each pair."""
    sides = zip(pairs["moving_subject"], pairs["fixed_subject"], strict=True)
    return dict(zip(pairs["pair"], sides, strict=True))


def _compare_grids(main: _Folder, other: _Folder) -> list[str]:
    path = other.files.path
    ours = main.searched.spacing_mm
    theirs = other.searched.spacing_mm
    if ours is not None and theirs is not None and not _close(ours, theirs):
        raise _refused(path, f"images prepared at {_millimetres(ours)}", _millimetres(theirs))
    before = main.searched.declared.get("preprocessing", {})
    now = other.searched.declared.get("preprocessing", {})
    differing = [
        f"{key} {before[key]} and {now[key]}"
        for key in ("shape", "slices", "normalization", "placement", "template")
        if key in before and key in now and before[key] != now[key]
    ]
    if not differing:
        return []
    return [f"{main.title} and {other.title} were prepared differently: {'; '.join(differing)}."]


def _close(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return len(ours) == len(theirs) and bool(np.allclose(ours, theirs, rtol=1e-3))


def _millimetres(spacing: Sequence[float]) -> str:
    return " × ".join(f"{side:g}" for side in spacing) + " mm"


def _compare_unregistered(
    main: _Folder,
    other: _Folder,
    metric: str,
    labels: Sequence[str],
    pairs: Sequence[str],
) -> list[str]:
    """Refuse other images of the same names: their scores before registration are others."""
    ours = _unregistered(main, metric, labels, pairs)
    theirs = _unregistered(other, metric, labels, pairs)
    if ours is None or theirs is None:
        return [
            f"It is not known whether {main.title} and {other.title} were measured on the same prepared images."
        ]
    apart = np.abs(ours - theirs)
    typical = float(np.nanmean(apart))
    record = find_metric(metric)
    margin = margin_of(record, main.searched.search.margin)
    if typical > margin:
        expected = (
            f"the same images: {record.title} before registration within {margin:g} of the study's"
        )
        got = f"{typical:.4f} apart on average over {len(pairs)} pairs"
        raise _refused(other.files.path, expected, got)
    return []


def _unregistered(
    folder: _Folder, metric: str, labels: Sequence[str], pairs: Sequence[str]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """Return the scores before registration, (pairs, labels); None where they were not measured."""
    if folder.searched.identity_unregistered is None:
        return None
    try:
        measured = folder.files.measurements("unregistered")
    except HmoptError:
        return None
    if metric not in measured.values:
        return None
    rows = pd.Index(measured.pairs["pair"]).get_indexer(pd.Index(pairs))
    if (rows < 0).any():
        return None
    columns = [measured.score(metric, label)[0, rows] for label in labels]
    return np.stack(columns, axis=1)


def _read_scores(one: BesideOptions, metric: str) -> pd.DataFrame:
    """Read a table of scores."""
    advice = (
        f"Write a CSV file with columns pair, label, {metric}, and optionally method and seconds."
    )
    try:
        table = read_text_table(one.path, [*TABLE_COLUMNS, metric], advice)
    except FileNotFoundError as error:
        raise _refused(one.path, "a table of scores", "no file") from error
    table[metric] = _numbers(one.path, table[metric], metric)
    if "method" not in table:
        table["method"] = ""
    if one.methods is not None:
        known = set(table["method"])
        for method in one.methods:
            if method not in known:
                raise _refused(one.path, f"method {method!r}", ", ".join(sorted(known)))
        table = table[table["method"].isin(one.methods)]
    keys = ["method", "pair", "label"]
    twice = table.duplicated(keys)
    if twice.any():
        got = " ".join(table.loc[twice, keys].iloc[0])
        raise _refused(one.path, "one score for each method, pair and label", f"two of {got}")
    return table


def _numbers(path: Path, texts: pd.Series, metric: str) -> pd.Series:
    """Return the scores of a column of texts; NaN where one is empty or `nan`."""
    scores = pd.to_numeric(texts, errors="coerce")
    is_empty = texts.str.strip().str.lower().isin(["", "nan"])
    others = texts[scores.isna() & ~is_empty]
    if len(others):
        raise _refused(path, f"numbers in column {metric}", repr(others.iloc[0]))
    record = find_metric(metric)
    outside = scores[~record.can_be(scores.to_numpy(dtype=float))]
    if len(outside):
        low, high = record.range
        raise _refused(path, f"{metric} in [{low:g}, {high:g}]", outside.iloc[0])
    return scores


def _entries_of_table(
    table: pd.DataFrame,
    one: BesideOptions,
    metric: str,
    labels: Sequence[str],
    pairs: pd.DataFrame,
) -> list[Entry]:
    """Return an entry for each method of a table of scores."""
    known = pairs.set_index("pair")
    entries = []
    for method, rows in table.groupby("method", sort=False):
        scores = rows.pivot(index="pair", columns="label", values=metric)
        shared = [pair for pair in known.index if pair in scores.index]
        if not shared:
            raise _refused(
                one.path, f"pairs of the study, for example {known.index[0]}", scores.index[0]
            )
        of_pairs = known.loc[shared]
        program = one.title or one.path.stem
        seconds = math.nan
        if "seconds" in rows:
            times = pd.to_numeric(rows["seconds"], errors="coerce")
            seconds = float(times.groupby(rows["pair"]).first().median())
        moving = of_pairs["moving_subject"].to_numpy(dtype=object)
        fixed = of_pairs["fixed_subject"].to_numpy(dtype=object)
        array = scores.reindex(index=shared, columns=list(labels)).to_numpy(dtype=float)
        title = f"{program} {method}".strip()
        entry = entry_of_scores(title, shared, (moving, fixed), labels, array, seconds)
        entries.append(entry)
    return entries


def _refused(path: Path, expected: str, got: object) -> DataError:
    return DataError(
        f"{FIELD} {path}",
        expected=expected,
        got=got,
        advice="Correct [report] in study.toml, or search the same prepared pairs.",
    )
