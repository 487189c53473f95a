"""Measurements as one small Parquet file that a person can read with pandas alone."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hmopt.errors import LedgerError
from hmopt.files import replacing
from hmopt.ledger.measurements import Measurements
from hmopt.metric import find_metric
from hmopt.space import Hyperparameter, Index, Space

HEADER = b"hmopt"


def write_measurements(measurements: Measurements, path: Path) -> None:
    """Write measurements as a table: a row for each pair, setting and label.

    Columns are those of the pairs, the hyperparameters' values, `label`, and one for each metric (float32). Metrics
    that a pair has only one of stand in rows without a label.
    """
    header = {
        "identity": measurements.identity,
        "space": [asdict(h) for h in measurements.space.hyperparameters],
        "labels": measurements.labels,
        "metrics": {metric: find_metric(metric).version for metric in measurements.values},
        "groups": [str(column) for column in measurements.pairs.columns],
    }
    table = _rows(measurements).replace_schema_metadata({HEADER: json.dumps(header).encode()})
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
        header = json.loads(pq.read_schema(path).metadata[HEADER])
        if part is not None:
            metrics = {metric: header["metrics"][metric] for metric in part.metrics if metric in header["metrics"]}
            header |= {"labels": part.labels, "metrics": metrics}
        table = pq.read_table(path, columns=_columns(header), filters=None if part is None else _rows_of(part))
    except FileNotFoundError as error:
        raise LedgerError(
            str(path), expected="a table of measurements", got="no file", advice="Run `hmopt search` first."
        ) from error
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise LedgerError(
            str(path), expected="a table of measurements", got="another file", advice="Restore it from a copy."
        ) from error
    for metric, version in header["metrics"].items():
        if find_metric(metric).version != version:
            raise LedgerError(
                str(path), expected=find_metric(metric).key, got=f"{metric}@{version}", advice="Measure anew."
            )
    return _measurements(table, header)


def _columns(header: dict[str, Any]) -> list[str]:
    return [*header["groups"], *(fields["name"] for fields in header["space"]), "label", *header["metrics"]]


def _rows_of(part: Part) -> pc.Expression:
    of_label = pc.field("label").isin(list(part.labels)) | pc.field("label").is_null()
    return pc.field("pair").isin(part.pairs["pair"].tolist()) & of_label


def _rows(measurements: Measurements) -> pa.Table:
    settings, pairs, labels = len(measurements.settings), len(measurements.pairs), len(measurements.labels)
    place = np.indices((pairs, settings, labels + 1), dtype=np.int32).reshape(3, -1)
    columns = {str(c): _repeated(v.astype(str).tolist(), place[0]) for c, v in measurements.pairs.items()}
    values = [measurements.space.setting(index) for index in measurements.settings]
    columns |= {name: _repeated([value[name] for value in values], place[1]) for name in measurements.space.names}
    columns["label"] = _repeated([*measurements.labels, None], place[2])
    columns |= {metric: _cells(array, labels) for metric, array in measurements.values.items()}
    return pa.table(columns)


def _repeated(values: list[str] | list[float] | list[str | None], place: NDArray[np.int32]) -> pa.Array:
    return pa.array(values).take(pa.array(place))


def _cells(array: NDArray[np.float64], labels: int) -> pa.Array:
    rows = np.full((array.shape[1], array.shape[0], labels + 1), np.nan, dtype=np.float32)
    if array.ndim == 3:
        rows[:, :, :labels] = array.transpose(1, 0, 2)
    else:
        rows[:, :, labels] = array.T
    return pa.array(rows.ravel())


def _measurements(table: pa.Table, header: dict[str, Any]) -> Measurements:
    space = Space(hyperparameters=tuple(Hyperparameter(**fields) for fields in header["space"]))
    labels = tuple(header["labels"])
    unlabelled = table.filter(table["label"].is_null())  # one for each pair and setting, pair by pair
    settings = _settings(unlabelled, space)
    pairs = pd.DataFrame(unlabelled.select(header["groups"]).to_pydict())
    shape = (-1, len(settings), len(labels) + 1)
    return Measurements(
        identity=header["identity"],
        space=space,
        settings=settings,
        pairs=pairs.iloc[:: len(settings)].reset_index(drop=True),
        labels=labels,
        values={name: _array(table[name].to_numpy().reshape(shape), name) for name in header["metrics"]},
    )


def _settings(rows: pa.Table, space: Space) -> tuple[Index, ...]:
    if not space.names:
        return ((),)
    values = zip(*(rows[name].to_pylist() for name in space.names), strict=True)
    return tuple(space.index(dict(zip(space.names, value, strict=True))) for value in dict.fromkeys(values))


def _array(cells: NDArray[np.float32], metric: str) -> NDArray[np.float64]:
    if find_metric(metric).per_label:
        return cells[:, :, :-1].transpose(1, 0, 2).astype(np.float64)
    return cells[:, :, -1].T.astype(np.float64)
