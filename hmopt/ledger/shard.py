"""One immutable Parquet file of measurements: a row for each metric, setting, pair and label."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hmopt.files import replacing
from hmopt.ledger.cells import Axes
from hmopt.metric import find_metric
from hmopt.records import Block
from hmopt.space import Space

NAMES = ("metric", "pair", "label")
ROWS_A_GROUP = 1 << 16


def block_rows(space: Space, blocks: Sequence[Block]) -> pa.Table:
    """Give the rows of blocks, metric by metric, so that groups of rows can be passed over when read."""
    metrics = sorted({metric for block in blocks for metric in block.values})
    tables = [_metric_rows(space, block, metric) for metric in metrics for block in blocks if metric in block.values]
    return pa.concat_tables(tables).unify_dictionaries()


def _metric_rows(space: Space, block: Block, metric: str) -> pa.Table:
    values = np.asarray(block.values[metric], dtype=np.float32)
    count, labels = values.size, len(block.labels)
    if values.ndim == 2:
        pair = np.repeat(np.arange(len(block.pairs), dtype=np.int32), labels)
        label = pa.array(np.tile(np.arange(labels, dtype=np.int32), len(block.pairs)))
    else:
        pair = np.arange(len(block.pairs), dtype=np.int32)
        label = pa.nulls(count, pa.int32())
    columns: dict[str, pa.Array] = {
        "metric": _dictionary(pa.array(np.zeros(count, dtype=np.int32)), [find_metric(metric).key]),
        "pair": _dictionary(pa.array(pair), block.pairs),
        "label": _dictionary(label, block.labels),
        "value": pa.array(values.ravel()),
    }
    settings = {
        name: pa.array(np.full(count, place, dtype=np.int32))
        for name, place in zip(space.names, block.index, strict=True)
    }
    return pa.table(columns | settings)


def _dictionary(places: pa.Array, names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(places, pa.array(names, pa.string()))


def write_shard(path: Path, rows: pa.Table) -> None:
    """Write rows, whole or not at all."""
    with replacing(path) as beside:
        pq.write_table(rows, beside, compression="zstd", row_group_size=ROWS_A_GROUP)


def read_shard(path: Path, axes: Axes, metrics: Sequence[str]) -> pa.Table:
    """Give the rows of a shard that can lie on the axes, names as dictionaries; other columns are not read."""
    wanted = pc.field("metric").isin([find_metric(metric).key for metric in metrics])
    for place, name in enumerate(axes.space.names):
        wanted &= pc.field(name).isin(sorted({setting[place] for setting in axes.settings}))
    columns = [*NAMES, *axes.space.names, "value"]
    return pq.read_table(path, columns=columns, filters=wanted, read_dictionary=list(NAMES))


def read_all(path: Path) -> pa.Table:
    """Give all rows of a shard, names as dictionaries."""
    return pq.read_table(path, read_dictionary=list(NAMES))
