"""Nothing is lost with a manifest, and no damaged file is taken for measurements."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Ledger
from hmopt.ledger.seal import SEAL_KEY
from hmopt.records import Block, Pair
from hmopt.space import Space

METRICS = ("dice", "folding")
Known = dict[tuple[str, int], np.ndarray]


@pytest.fixture
def ledger(oracle: Any, pairs: list[Pair], tmp_path: Path) -> Ledger:
    """Return a ledger of two models, two settings each, in four shards."""
    ledger = Ledger(tmp_path / "ledger")
    for identity in ("aaaa", "bbbb"):
        for place in (0, 70):
            block = oracle.block((place,), [pair.id for pair in pairs], METRICS)
            ledger.write(identity, oracle.space, [block])
    return ledger


def shards(ledger: Ledger) -> list[Path]:
    return sorted(ledger.folder.glob("*.parquet"))


def everything(ledger: Ledger, oracle: Any, pairs: list[Pair]) -> Known:
    ids = [pair.id for pair in pairs]
    return {
        (identity, index[0]): ledger.block(
            identity, oracle.space, index, ids, ["dice"], oracle.labels
        ).values["dice"]
        for identity in ("aaaa", "bbbb")
        for index in ledger.settings(identity, oracle.space)
    }


def write_one_more(ledger: Ledger, space: Space) -> None:
    ledger.write(
        "cccc",
        space,
        [Block(index=(3,), pairs=("a->b",), labels=(), values={"folding": np.array([0.5])})],
    )


def lose(manifest: Path) -> None:
    manifest.unlink()


def cut(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-20])


def change_a_setting(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("70", "71", 1))


def empty(manifest: Path) -> None:
    manifest.write_text("")


def nest_deeply(manifest: Path) -> None:
    manifest.write_text("[" * 100_000)


@pytest.mark.parametrize("harm", [lose, cut, change_a_setting, empty, nest_deeply])
def test_a_lost_or_damaged_manifest_costs_no_measurement_of_any_model(
    harm: Callable[[Path], None], ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    before, files = everything(ledger, oracle, pairs), shards(ledger)
    harm(ledger.folder / "manifest.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = everything(ledger, oracle, pairs)
        write_one_more(
            ledger, oracle.space
        )  # what a search does, which wrote an empty manifest before
    assert set(files) < set(shards(ledger))
    for known in (found, everything(ledger, oracle, pairs)):
        assert known.keys() == before.keys()
        assert all(np.array_equal(known[key], before[key], equal_nan=True) for key in before)
    json.loads((ledger.folder / "manifest.json").read_text())


def test_of_two_values_under_one_key_the_first_stays_when_the_manifest_is_lost(
    space: Space, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    for value in (0.75, 0.5, 0.25, 0.125):
        block = Block(
            index=(70,), pairs=("a->b",), labels=("x",), values={"dice": np.array([[value]])}
        )
        ledger.write("0f", space, [block])
    (tmp_path / "manifest.json").unlink()
    assert ledger.block("0f", space, (70,), ["a->b"], ["dice"], ["x"]).values["dice"] == 0.75
    ledger.compact()
    (tmp_path / "manifest.json").unlink()
    assert ledger.block("0f", space, (70,), ["a->b"], ["dice"], ["x"]).values["dice"] == 0.75


def test_files_that_the_ledger_cannot_explain_are_named_and_left_alone(
    ledger: Ledger, oracle: Any
) -> None:
    notes = ledger.folder / "notes.parquet"
    pq.write_table(pa.table({"a": [1]}), notes)
    torn = ledger.folder / "torn.parquet"
    torn.write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="ignored") as caught:
        write_one_more(ledger, oracle.space)
    named = " ".join(str(one.message) for one in caught)
    assert str(notes) in named
    assert str(torn) in named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ledger.compact()
    assert notes.exists()
    assert torn.read_bytes() == b"PAR1"


def test_unfinished_files_of_a_killed_writer_are_removed(ledger: Ledger, oracle: Any) -> None:
    unfinished = ledger.folder / ".123-shard.parquet"
    unfinished.write_bytes(b"PAR1")
    write_one_more(ledger, oracle.space)
    assert not unfinished.exists()


def read_everything(ledger: Ledger, oracle: Any, pairs: list[Pair]) -> None:
    everything(ledger, oracle, pairs)


def compact(ledger: Ledger, *_: Any) -> None:
    ledger.compact()


def list_holdings(ledger: Ledger, *_: Any) -> None:
    ledger.holdings()


USES = [read_everything, compact, list_holdings]


@pytest.mark.parametrize("use", USES)
def test_every_flipped_bit_of_a_shard_is_seen(
    use: Callable[..., None], ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    victim = shards(ledger)[1]
    whole = victim.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 8 * len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        victim.write_bytes(flipped)
        with pytest.raises(LedgerError, match=victim.name) as caught:
            use(ledger, oracle, pairs)
        assert "\n" not in str(caught.value)
    victim.write_bytes(whole)
    use(ledger, oracle, pairs)


def test_a_flipped_bit_is_seen_without_a_manifest_too(
    ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    victim = shards(ledger)[1]
    (ledger.folder / "manifest.json").unlink()
    whole = victim.read_bytes()
    for place in np.random.default_rng(1).integers(0, 8 * len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        victim.write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            # a flipped name of the hash's key makes a file that tells nothing: it is named and not read
            with pytest.raises((LedgerError, UserWarning), match=victim.name):
                everything(ledger, oracle, pairs)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.998])
@pytest.mark.parametrize("use", USES)
def test_a_shard_that_was_cut_is_named(
    share: float, use: Callable[..., None], ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    victim = shards(ledger)[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        LedgerError, match=f"{victim.name}: expected the measurements that were written"
    ):
        use(ledger, oracle, pairs)


def test_a_shard_in_place_of_another_is_seen(
    ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    first, second, *_ = shards(ledger)
    shutil.copy(first, second)
    with pytest.raises(LedgerError, match=f"{second.name}: .* got another file of this name"):
        everything(ledger, oracle, pairs)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a shard as an earlier version did, without a hash, with a change."""
    pq.write_table(change(pq.read_table(path)).replace_schema_metadata(None), path)


def forget_hashes(folder: Path) -> None:
    """Make a ledger one of an earlier version: neither shards nor manifest hold a hash."""
    for path in folder.glob("*.parquet"):
        rewritten(path, lambda table: table)
    content = json.loads((folder / "manifest.json").read_text())
    plain = [
        {key: value for key, value in shard.items() if key != "sha256"}
        for shard in content["shards"]
    ]
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "shards": plain}))


def test_a_ledger_of_an_earlier_version_is_read_and_gets_its_hashes(
    ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    before = everything(ledger, oracle, pairs)
    forget_hashes(ledger.folder)
    assert all(
        np.array_equal(v, before[k], equal_nan=True)
        for k, v in everything(ledger, oracle, pairs).items()
    )
    write_one_more(ledger, oracle.space)
    rewritten(shards(ledger)[0], lambda table: table.slice(1))
    with pytest.raises(LedgerError, match="got another file of this name"):
        everything(ledger, oracle, pairs)


def test_shards_of_an_earlier_version_outlive_their_manifest(ledger: Ledger, oracle: Any) -> None:
    forget_hashes(ledger.folder)
    files = shards(ledger)
    (ledger.folder / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="does not say what it holds"):
        write_one_more(ledger, oracle.space)
    assert set(files) < set(shards(ledger))


def test_a_damaged_manifest_of_an_earlier_version_is_refused(
    ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    forget_hashes(ledger.folder)
    manifest = ledger.folder / "manifest.json"
    manifest.write_text("[]")
    with pytest.raises(
        LedgerError, match=r"manifest.json: expected the manifest of a ledger, got a JSON list"
    ):
        everything(ledger, oracle, pairs)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


CHANGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no value": lambda table: table.drop_columns(["value"]),
    "no setting": lambda table: table.drop_columns(["regularization"]),
    "value of text": lambda table: with_column(table, "value", ["x"] * len(table)),
    "value of inf": lambda table: with_column(
        table, "value", np.full(len(table), np.inf, np.float32)
    ),
    "dice of 5": lambda table: with_column(table, "value", np.full(len(table), 5, np.float32)),
    "metric of nothing": lambda table: with_column(table, "metric", [None] * len(table)),
    "pair of numbers": lambda table: with_column(table, "pair", list(range(len(table)))),
    "rows twice": lambda table: pa.concat_tables([table, table]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_without_a_hash_is_checked_by_what_measurements_can_be(
    change: str, ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    forget_hashes(ledger.folder)
    victim = shards(ledger)[0]
    rewritten(victim, CHANGES[change])
    with pytest.raises(
        LedgerError, match=f"{victim.name}: expected the measurements that were written"
    ):
        everything(ledger, oracle, pairs)


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a list": lambda content: [],
    "null": lambda content: None,
    "no shards": lambda content: {"format": 1},
    "shards null": lambda content: {**content, "shards": None},
    "an empty shard": lambda content: {**content, "shards": [{}]},
    "an absolute file": lambda content: changed(content, file="/etc/passwd"),
    "a file elsewhere": lambda content: changed(content, file="../other.parquet"),
    "metrics null": lambda content: changed(content, metrics=None),
    "settings of text": lambda content: changed(content, settings=[["x"]]),
    "a setting outside": lambda content: changed(content, settings=[[10**9]]),
    "a negative setting": lambda content: changed(content, settings=[[-1]]),
    "a setting too long": lambda content: changed(content, settings=[[1, 2]]),
    "lattice of text": lambda content: changed(content, lattice=["x"]),
    "lattice that is none": lambda content: changed(
        content, lattice=[["regularization", 0, 1, 0.3, "uniform"]]
    ),
    "identity of a number": lambda content: changed(content, identity=3),
}


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    first, *others = content["shards"]
    return {**content, "shards": [{**first, **values}, *others]}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_manifest_without_a_hash_is_checked_by_its_schema(
    fault: str, ledger: Ledger, oracle: Any, pairs: list[Pair]
) -> None:
    forget_hashes(ledger.folder)
    manifest = ledger.folder / "manifest.json"
    manifest.write_text(json.dumps(FAULTS[fault](json.loads(manifest.read_text()))))
    for use in (*USES, lambda *_: write_one_more(ledger, oracle.space)):
        with pytest.raises(
            LedgerError, match=r"manifest.json: expected the manifest of a ledger"
        ) as caught:
            use(ledger, oracle, pairs)
        assert "\n" not in str(caught.value)


def test_a_shard_tells_what_it_holds(ledger: Ledger) -> None:
    for path in shards(ledger):
        metadata = pq.read_metadata(path).metadata
        header = json.loads(metadata[b"hmopt"])
        assert header["identity"] in ("aaaa", "bbbb")
        assert header["lattice"][0][0] == "regularization"
        assert header["metrics"] == ["dice@1", "folding@1"]
        assert metadata[SEAL_KEY].decode().startswith(path.stem)
