"""Measurements as one small Parquet file, which pandas alone can read.

A row holds what was measured of one pair at one setting for one label, a column for each metric.
Metrics that a pair has only one of stand in the row without a label:

    pair   …   regularization   label      dice   folding
    a->b                 0.1    cortex     0.71   NaN
    a->b                 0.1    thalamus   0.88   NaN
    a->b                 0.1    null       NaN    0.001
    a->b                 0.5    cortex     0.69   NaN

Rows are complete and in order, so that a column is an array of shape (pairs, settings, labels + 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError

from hmopt.catalogue import METRICS, find_metric
from hmopt.errors import HmoptError, LedgerError, first_fault
from hmopt.files import one_line, replacing
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.seal import SEAL_KEY, damaged, file_digest, read_metadata, seal, unsealed
from hmopt.schemas import Record
from hmopt.space import Hyperparameter, Index, Space, Value, choice_text

Array = NDArray[np.float64]
HEADER = b"hmopt"
RESTORE = "Restore it from a copy."
SET_APART = "column: "
"""Before the name of a column of the pairs that has the name of a metric, a hyperparameter or `label`."""
SETTING = "setting: "
"""Before the name of a hyperparameter that has the name of a metric, as the `similarity` of ANTs."""


class _Header(Record):
    """What the footer of a table says about it."""

    model_config = ConfigDict(extra="ignore")

    identity: Annotated[str, Field(min_length=1)]
    space: list[dict[str, Any]]
    labels: list[str]
    metrics: dict[str, int]
    """Version of each."""
    groups: list[str]
    """Columns of the pairs."""
    hyperparameter_columns: dict[str, str] = {}
    """Columns of hyperparameters that are not named as they are."""
    sealed: bool = False
    """Whether the footer also holds the hash of the file; False where an earlier version wrote it."""

    def hyperparameters(self) -> Space:
        """Return the space of the settings."""
        known = [Hyperparameter(**fields) for fields in self.space]
        return Space(hyperparameters=tuple(known))


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of some measurements that is asked for.

    Parameters
    ----------
    pairs
        Rows of the table of pairs.
    metrics, labels
        Names.
    """

    pairs: pd.DataFrame
    metrics: tuple[str, ...]
    labels: tuple[str, ...]


def write_measurements(measurements: Measurements, path: Path) -> None:
    """Write measurements as a table; its footer holds a hash of the file.

    Parameters
    ----------
    measurements
        What to write; values as float32.
    path
        The file.
    """
    header = _Header(
        identity=measurements.identity,
        space=[known.record() for known in measurements.space.hyperparameters],
        labels=list(measurements.labels),
        metrics={metric: find_metric(metric).version for metric in measurements.values},
        groups=[str(column) for column in measurements.pairs.columns],
        hyperparameter_columns=_renamed(measurements),
        sealed=True,
    )
    metadata = unsealed({HEADER: header.model_dump_json().encode()})
    table = _rows(measurements).replace_schema_metadata(metadata)
    texts = [name for name in table.column_names if name not in measurements.values]
    with replacing(path) as beside:
        pq.write_table(
            table,
            beside,
            compression="zstd",
            compression_level=19,
            use_dictionary=texts,
            column_encoding=dict.fromkeys(measurements.values, "BYTE_STREAM_SPLIT"),
        )
        seal(beside)


def _rows(measurements: Measurements) -> pa.Table:
    hyperparameters = measurements.space.names
    labels = len(measurements.labels)
    shape = (len(measurements.pairs), len(measurements.settings), labels + 1)
    # of every row: the place of its pair, its setting and its label
    places = np.indices(shape, dtype=np.int32)
    pair, setting, label = places.reshape(3, -1)
    columns: dict[str, pa.Array] = {}
    for name, cells in measurements.pairs.items():
        stored = _stored_name(str(name), hyperparameters)
        texts = cells.astype(str).tolist()
        columns[stored] = _repeated(texts, pair)
    space = measurements.space
    renamed = _renamed(measurements)
    settings = [space.setting(index) for index in measurements.settings]
    for hyperparameter in space.hyperparameters:
        name = hyperparameter.name
        values = [_stored_value(hyperparameter, values_of.get(name)) for values_of in settings]
        columns[renamed.get(name, name)] = _repeated(values, setting)
    columns["label"] = _repeated([*measurements.labels, None], label)
    for metric, array in measurements.values.items():
        columns[metric] = _column(array, labels)
    return pa.table(columns)


def _renamed(measurements: Measurements) -> dict[str, str]:
    """Return the columns of hyperparameters that have the name of a metric."""
    names = [name for name in measurements.space.names if name in measurements.values]
    return {name: f"{SETTING}{name}" for name in names}


def _stored_value(hyperparameter: Hyperparameter, value: Value | None) -> Value | None:
    """Return a value as a column holds it: a choice as text, none where the hyperparameter is inactive."""
    if value is None or hyperparameter.is_ordered:
        return value
    return choice_text(value)


def _stored_name(column: str, hyperparameters: Sequence[str]) -> str:
    """Return the name in the file of a column of the pairs: its own, unless a column of another kind has it."""
    is_taken = (
        column == "label"
        or column in hyperparameters
        or column in METRICS
        or column.startswith((SET_APART, SETTING))
    )
    return f"{SET_APART}{column}" if is_taken else column


def _repeated(values: Sequence[Value | None], place: NDArray[np.int32]) -> pa.Array:
    distinct = pa.array(values)
    places = pa.array(place)
    return distinct.take(places)


def _column(array: Array, labels: int) -> pa.Array:
    """Return values, shape (settings, pairs, labels) or (settings, pairs), in the order of rows."""
    settings, pairs = array.shape[:2]
    shape = (pairs, settings, labels + 1)
    cells = np.full(shape, np.nan, dtype=np.float32)
    if array.ndim == 3:
        cells[:, :, :labels] = array.transpose(1, 0, 2)
    else:
        cells[:, :, labels] = array.T
    return pa.array(cells.ravel())


def _array(column: pa.ChunkedArray, metric: str, settings: int, labels: int) -> Array:
    """Return a column as the array that `_column` made it of."""
    rows = column.to_numpy()
    cells = rows.reshape(-1, settings, labels + 1)
    if find_metric(metric).per_label:
        per_label = cells[:, :, :labels]
        values = per_label.transpose(1, 0, 2)
    else:
        per_pair = cells[:, :, labels]
        values = per_pair.T
    return np.asarray(values.astype(np.float64))


def read_measurements(path: Path, part: Part | None = None) -> Measurements:
    """Read what `write_measurements` wrote.

    Parameters
    ----------
    path
        The file.
    part
        Which rows and columns; left out: all. Metrics that the file lacks are left out.

    Raises
    ------
    LedgerError
        If there is no such file, it is not such a table, or a metric has another version than here.
    """
    try:
        file_digest(path, RESTORE)
        header = _with_known_metrics(_read_header(path))
        if part is not None:
            header = _header_of_part(header, part)
        space = header.hyperparameters()
        _check_versions(path, header)
        filters = None if part is None else _rows_of(part)
        table = pq.read_table(path, columns=_columns(header, space), filters=filters)
        return _measurements(path, table, header, space)
    except FileNotFoundError as error:
        raise LedgerError(
            str(path),
            expected="a table of measurements",
            got="no file",
            advice="Run `hmopt search` first.",
        ) from error
    except LedgerError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, HmoptError) as error:
        raise damaged(path, one_line(error), RESTORE) from error


def _read_header(path: Path) -> _Header:
    metadata = read_metadata(path, RESTORE)
    expected = "a table of measurements"
    if HEADER not in metadata:
        raise LedgerError(str(path), expected=expected, got="another file", advice=RESTORE)
    try:
        header = _Header.model_validate_json(metadata[HEADER])
    except ValidationError as error:
        fault = first_fault(error)
        got = f"a damaged footer ({fault.key}: not {fault.rule})"
        raise LedgerError(str(path), expected=expected, got=got, advice=RESTORE) from error
    if header.sealed and SEAL_KEY not in metadata:
        raise damaged(path, "a footer without its hash", RESTORE)
    return header


def _with_known_metrics(header: _Header) -> _Header:
    """Return a header without the metrics of plugins that are not loaded."""
    versions = header.metrics
    known = [name for name in versions if name in METRICS]
    metrics = {name: versions[name] for name in known}
    return header.model_copy(update={"metrics": metrics})


def _header_of_part(header: _Header, part: Part) -> _Header:
    versions = header.metrics
    asked = [metric for metric in part.metrics if metric in versions]
    update = {
        "labels": list(part.labels),
        "metrics": {metric: versions[metric] for metric in asked},
    }
    return header.model_copy(update=update)


def _check_versions(path: Path, header: _Header) -> None:
    for name, version in header.metrics.items():
        metric = find_metric(name)
        if metric.version != version:
            raise LedgerError(
                str(path),
                expected=metric.key,
                got=f"{name}@{version}",
                advice="Run `hmopt search` again.",
            )


def _columns(header: _Header, space: Space) -> list[str]:
    return [
        *_group_columns(header, space),
        *_setting_columns(header, space),
        "label",
        *header.metrics,
    ]


def _group_columns(header: _Header, space: Space) -> list[str]:
    """Return the names in the file of the pairs' columns; earlier versions set none apart."""
    if not header.sealed:
        return header.groups
    return [_stored_name(column, space.names) for column in header.groups]


def _setting_columns(header: _Header, space: Space) -> list[str]:
    """Return the names in the file of the hyperparameters' columns."""
    renamed = header.hyperparameter_columns
    return [renamed.get(name, name) for name in space.names]


def _rows_of(part: Part) -> pc.Expression:
    pairs = part.pairs["pair"].tolist()
    labels = list(part.labels)
    pair = pc.field("pair")
    label = pc.field("label")
    is_of_pair = pair.isin(pairs)
    is_of_label = label.isin(labels)
    has_no_label = label.is_null()
    return is_of_pair & (is_of_label | has_no_label)


def _measurements(path: Path, table: pa.Table, header: _Header, space: Space) -> Measurements:
    if not header.sealed:
        _check_values(path, table, header)
    # one for each pair and setting, pair by pair
    unlabelled = table.filter(table["label"].is_null())
    settings = _settings(unlabelled, space, _setting_columns(header, space))
    groups = {}
    for name, column in zip(header.groups, _group_columns(header, space), strict=True):
        groups[name] = unlabelled[column].to_pylist()
    every_pair_once = pd.DataFrame(groups).iloc[:: len(settings)]
    labels = len(header.labels)
    return Measurements(
        identity=header.identity,
        space=space,
        settings=settings,
        pairs=every_pair_once.reset_index(drop=True),
        labels=tuple(header.labels),
        values={
            metric: _array(table[metric], metric, len(settings), labels)
            for metric in header.metrics
        },
    )


def _check_values(path: Path, table: pa.Table, header: _Header) -> None:
    """Refuse values that a metric cannot have: of a file without a hash, damage is seen by nothing else."""
    for metric in header.metrics:
        values = table[metric].to_numpy()
        is_possible = find_metric(metric).can_be(values)
        wrong = values[~is_possible]
        if len(wrong):
            first = wrong[0]
            raise damaged(path, f"a {metric} of {first:g}", RESTORE)


def _settings(rows: pa.Table, space: Space, names: Sequence[str]) -> tuple[Index, ...]:
    """Return the settings in the order of rows, each once; `names` are the columns of the hyperparameters."""
    if not names:
        return ((),)
    columns = [rows[name].to_pylist() for name in names]
    of_rows = zip(*columns, strict=True)
    distinct = dict.fromkeys(of_rows)
    indices = []
    for values in distinct:
        setting = {}
        for hyperparameter, value in zip(space.hyperparameters, values, strict=True):
            if value is None:  # it is inactive at this setting
                continue
            is_number = hyperparameter.is_ordered
            setting[hyperparameter.name] = value if is_number else hyperparameter.parse(value)
        index = space.index(setting)
        indices.append(index)
    return tuple(indices)
