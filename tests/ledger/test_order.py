"""Orders and names make no difference: of pairs, settings, labels and metrics, and of what images are called."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hmopt.ledger import Ledger, Measurements, read_measurements, write_measurements
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.records import Block, Pair
from hmopt.space import Hyperparameter, Index, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
SETTINGS: tuple[Index, ...] = ((0,), (3,), (7,), (10,))
IMAGES = ("a", "b", "c")
PAIRS = tuple((moving, fixed) for moving in IMAGES for fixed in IMAGES if moving != fixed)
LABELS = ("cortex", "pons", "thalamus")
METRICS = ("dice", "folding")
IDENTITY = "0f"

Values = dict[str, NDArray[np.float64]]

EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def known(metric: str) -> NDArray[np.float64]:
    """Return values of a metric at all settings, in the order of the constants above."""
    shape = (len(SETTINGS), len(PAIRS), len(LABELS))
    values = np.random.default_rng(0).random(shape).astype(np.float32).astype(np.float64)
    values[1, 2, 0] = np.nan
    return values if metric == "dice" else values[..., 0]


def orders(count: int) -> st.SearchStrategy[list[int]]:
    return st.permutations(range(count))


def ids(names: dict[str, str], order: list[int]) -> list[str]:
    return [f"{names[PAIRS[place][0]]}->{names[PAIRS[place][1]]}" for place in order]


def block(
    setting: int, pairs: list[int], labels: list[int], names: dict[str, str], metrics: list[str]
) -> Block:
    values: Values = {}
    for metric in metrics:
        array = known(metric)[setting][pairs]
        values[metric] = array[:, labels] if array.ndim == 2 else array
    return Block(
        index=SETTINGS[setting],
        pairs=tuple(ids(names, pairs)),
        labels=tuple(LABELS[place] for place in labels),
        values=values,
    )


def records(names: dict[str, str]) -> list[Pair]:
    return [
        Pair(
            moving=names[moving],
            fixed=names[fixed],
            moving_subject=f"of {names[moving]}",
            fixed_subject=f"of {names[fixed]}",
        )
        for moving, fixed in PAIRS
    ]


def table(names: dict[str, str], order: list[int]) -> pd.DataFrame:
    pairs = [records(names)[place] for place in order]
    rows = [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in pairs]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6),
    min_size=3,
    max_size=3,
    unique=True,
).map(lambda names: dict(zip(IMAGES, names, strict=True)))


@EXAMPLES
@given(
    data=st.data(),
    names=NAMES,
    in_one_shard=st.booleans(),
    compacted=st.booleans(),
)
def test_a_ledger_returns_what_was_written_in_any_order_and_under_any_names(
    data: Any, names: dict[str, str], in_one_shard: bool, compacted: bool
) -> None:
    ledger = Ledger(Path(tempfile.mkdtemp()))
    blocks = [
        block(
            setting,
            data.draw(orders(len(PAIRS))),
            data.draw(orders(len(LABELS))),
            names,
            data.draw(st.permutations(METRICS)),
        )
        for setting in data.draw(orders(len(SETTINGS)))
    ]
    for written in [blocks] if in_one_shard else [[one] for one in blocks]:
        ledger.write(IDENTITY, SPACE, written)
    if compacted:
        ledger.compact()

    pairs, labels = data.draw(orders(len(PAIRS))), data.draw(orders(len(LABELS)))
    metrics = data.draw(st.permutations(METRICS))
    chosen = [LABELS[place] for place in labels]
    found = ledger.measurements(IDENTITY, SPACE, table(names, pairs), metrics, chosen)
    assert found.settings == SETTINGS
    np.testing.assert_array_equal(found.values["dice"], known("dice")[:, pairs][:, :, labels])
    np.testing.assert_array_equal(found.values["folding"], known("folding")[:, pairs])
    ordered = [records(names)[place] for place in pairs]
    asked = [SETTINGS[place] for place in data.draw(orders(len(SETTINGS)))]
    assert ledger.missing(IDENTITY, SPACE, asked, ordered, metrics, chosen) == []


@EXAMPLES
@given(data=st.data(), absent=st.sets(st.sampled_from(range(len(PAIRS))), min_size=1))
def test_what_is_missing_does_not_depend_on_the_order_of_the_question(
    data: Any, absent: set[int]
) -> None:
    names = dict(zip(IMAGES, IMAGES, strict=True))
    ledger = Ledger(Path(tempfile.mkdtemp()))
    present = [place for place in range(len(PAIRS)) if place not in absent]
    every_label = list(range(len(LABELS)))
    if present:
        ledger.write(IDENTITY, SPACE, [block(0, present, every_label, names, list(METRICS))])
    order = data.draw(orders(len(PAIRS)))
    asked = [records(names)[place] for place in order]
    (gap,) = ledger.missing(IDENTITY, SPACE, [SETTINGS[0]], asked, METRICS, LABELS)
    lacking = [records(names)[place] for place in order if place in absent]
    assert list(gap.pairs) == lacking


@EXAMPLES
@given(data=st.data(), names=NAMES)
def test_a_table_of_measurements_keeps_values_under_any_order_and_names(
    data: Any, names: dict[str, str], tmp_path: Path
) -> None:
    pairs, labels = data.draw(orders(len(PAIRS))), data.draw(orders(len(LABELS)))
    path = tmp_path / "measurements.parquet"
    measurements = Measurements(
        identity=IDENTITY,
        space=SPACE,
        settings=SETTINGS,
        pairs=table(names, pairs),
        labels=tuple(LABELS[place] for place in labels),
        values={
            "dice": known("dice")[:, pairs][:, :, labels],
            "folding": known("folding")[:, pairs],
        },
    )
    write_measurements(measurements, path)
    found = read_measurements(path)
    assert (found.settings, found.labels) == (SETTINGS, measurements.labels)
    pd.testing.assert_frame_equal(found.pairs, measurements.pairs)
    for metric in METRICS:
        np.testing.assert_array_equal(found.values[metric], measurements.values[metric])
    assert np.nanmean(found.score("dice")) == pytest.approx(
        np.nanmean(np.nanmean(known("dice"), axis=2))
    )
