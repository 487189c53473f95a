"""Measurements as one small Parquet file that a person can read with pandas alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hmopt.catalogue import METRICS, find_metric
from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, replacing
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.seal import SEAL_KEY, damaged, file_digest, read_metadata, seal, unsealed
from hmopt.space import Hyperparameter, Index, Space

HEADER = b"hmopt"
RESTORE = "Restore it from a copy."
SET_APART = "column: "
"""What a column of the pairs is called in the file after it, where it has the name of a column of another kind."""


class _Header(BaseModel):
    """What the footer of a table tells about it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    identity: Annotated[str, Field(min_length=1)]
    space: list[dict[str, Any]]
    labels: list[str]
    metrics: dict[str, int]
    groups: list[str]
    """Columns of the pairs."""
    sealed: bool = False
    """Whether the footer also holds the hash of the file; False where an earlier version wrote it."""

    def hyperparameters(self) -> Space:
        """Return the space of the settings."""
        return Space(hyperparameters=tuple(Hyperparameter(**fields) for fields in self.space))


def write_measurements(measurements: Measurements, path: Path) -> None:
    """Write measurements as a table: a row for each pair, setting and label.

    Columns are those of the pairs, the hyperparameters' values, `label`, and one for each metric (float32). Metrics
    that a pair has only one of stand in rows without a label. The footer holds a hash of the file.
    """
    header = _Header(
        identity=measurements.identity,
        space=[asdict(h) for h in measurements.space.hyperparameters],
        labels=list(measurements.labels),
        metrics={metric: find_metric(metric).version for metric in measurements.values},
        groups=[str(column) for column in measurements.pairs.columns],
        sealed=True,
    )
    table = _rows(measurements).replace_schema_metadata(
        unsealed({HEADER: header.model_dump_json().encode()})
    )
    names = [name for name in table.column_names if name not in measurements.values]
    with replacing(path) as beside:
        pq.write_table(
            table,
            beside,
            compression="zstd",
            compression_level=19,
            use_dictionary=names,
            column_encoding=dict.fromkeys(measurements.values, "BYTE_STREAM_SPLIT"),
        )
        seal(beside)


def _stored(column: str, hyperparameters: Sequence[str]) -> str:
    """Return what a column of the pairs is called in the file: its name, unless a column of another kind has it."""
    taken = (
        column == "label"
        or column in hyperparameters
        or column in METRICS
        or column.startswith(SET_APART)
    )
    return f"{SET_APART}{column}" if taken else column


@dataclass(frozen=True, kw_only=True)
class Part:
    """What of some measurements is asked for.

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


def read_measurements(path: Path, part: Part | None = None) -> Measurements:
    """Read what `write_measurements` wrote.

    Parameters
    ----------
    path
        The file.
    part
        Which rows and columns; left out: all. Metrics that are not there are left out.

    Raises
    ------
    LedgerError
        If there is no such file, it is not such a table, or a metric means other numbers in this version.
    """
    try:
        file_digest(path, RESTORE)
        header = _read_header(path)
        space = header.hyperparameters()
        wanted = header.metrics if part is None else part.metrics
        # a metric that a plugin adds is not there without it
        metrics = {
            metric: header.metrics[metric]
            for metric in wanted
            if metric in header.metrics and metric in METRICS
        }
        header = header.model_copy(update={"metrics": metrics})
        if part is not None:
            header = header.model_copy(update={"labels": list(part.labels)})
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
    what = "a table of measurements"
    if HEADER not in metadata:
        raise LedgerError(str(path), expected=what, got="another file", advice=RESTORE)
    try:
        header = _Header.model_validate_json(metadata[HEADER])
    except ValidationError as error:
        got = one_line(ValueError(error.errors()[0]["msg"]))
        raise LedgerError(
            str(path), expected=what, got=f"a damaged footer ({got})", advice=RESTORE
        ) from error
    if header.sealed and SEAL_KEY not in metadata:
        raise damaged(path, "a footer without its hash", RESTORE)
    return header


def _check_versions(path: Path, header: _Header) -> None:
    for metric, version in header.metrics.items():
        if find_metric(metric).version != version:
            key = find_metric(metric).key
            raise LedgerError(
                str(path), expected=key, got=f"{metric}@{version}", advice="Measure anew."
            )


def _columns(header: _Header, space: Space) -> list[str]:
    groups = [_stored(column, space.names) if header.sealed else column for column in header.groups]
    return [*groups, *space.names, "label", *header.metrics]


def _rows_of(part: Part) -> pc.Expression:
    of_label = pc.field("label").isin(list(part.labels)) | pc.field("label").is_null()
    return pc.field("pair").isin(part.pairs["pair"].tolist()) & of_label


def _rows(measurements: Measurements) -> pa.Table:
    settings, pairs, labels = (
        len(measurements.settings),
        len(measurements.pairs),
        len(measurements.labels),
    )
    names = measurements.space.names
    place = np.indices((pairs, settings, labels + 1), dtype=np.int32).reshape(3, -1)
    columns = {
        _stored(str(name), names): _repeated(values.astype(str).tolist(), place[0])
        for name, values in measurements.pairs.items()
    }
    values = [measurements.space.setting(index) for index in measurements.settings]
    columns |= {name: _repeated([value[name] for value in values], place[1]) for name in names}
    columns["label"] = _repeated([*measurements.labels, None], place[2])
    columns |= {metric: _cells(array, labels) for metric, array in measurements.values.items()}
    return pa.table(columns)


def _repeated(
    values: list[str] | list[float] | list[str | None], place: NDArray[np.int32]
) -> pa.Array:
    return pa.array(values).take(pa.array(place))


def _cells(array: NDArray[np.float64], labels: int) -> pa.Array:
    rows = np.full((array.shape[1], array.shape[0], labels + 1), np.nan, dtype=np.float32)
    if array.ndim == 3:
        rows[:, :, :labels] = array.transpose(1, 0, 2)
    else:
        rows[:, :, labels] = array.T
    return pa.array(rows.ravel())


def _measurements(path: Path, table: pa.Table, header: _Header, space: Space) -> Measurements:
    labels = tuple(header.labels)
    unlabelled = table.filter(
        table["label"].is_null()
    )  # one for each pair and setting, pair by pair
    settings = _settings(unlabelled, space)
    stored = _columns(header, space)[: len(header.groups)]
    groups = {
        name: unlabelled[column].to_pylist()
        for name, column in zip(header.groups, stored, strict=True)
    }
    shape = (-1, len(settings), len(labels) + 1)
    for metric in header.metrics if not header.sealed else ():
        values = table[metric].to_numpy()
        wrong = values[~find_metric(metric).can_be(values)]
        if len(wrong):
            raise damaged(path, f"a {metric} of {wrong[0]:g}", RESTORE)
    return Measurements(
        identity=header.identity,
        space=space,
        settings=settings,
        pairs=pd.DataFrame(groups).iloc[:: len(settings)].reset_index(drop=True),
        labels=labels,
        values={
            name: _array(table[name].to_numpy().reshape(shape), name) for name in header.metrics
        },
    )


def _settings(rows: pa.Table, space: Space) -> tuple[Index, ...]:
    if not space.names:
        return ((),)
    values = zip(*(rows[name].to_pylist() for name in space.names), strict=True)
    return tuple(
        space.index(dict(zip(space.names, value, strict=True))) for value in dict.fromkeys(values)
    )


def _array(cells: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    if find_metric(metric).per_label:
        return cells[:, :, :-1].transpose(1, 0, 2).astype(np.float64)
    return cells[:, :, -1].T.astype(np.float64)
