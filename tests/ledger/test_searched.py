import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmopt.declaration import SearchOptions, parse_study
from hmopt.errors import LedgerError
from hmopt.ledger import Ledger, Searched, write_measurements
from hmopt.ledger.gradient import GradientRecord, TunedOptimum, TunedScope, write_gradient
from hmopt.ledger.searched import changed_keys, declared_sections
from hmopt.ledger.uncertainty import PairPoints, UncertaintyRecord, write_uncertainty
from hmopt.records import Pair
from hmopt.study_folder import StudyFolder, read_dense, read_folder


@pytest.fixture
def searched(oracle: Any) -> Searched:
    return Searched(
        name="small",
        identity=oracle.identity,
        identity_half=None,
        labels=oracle.labels,
        spacing_mm=(1.0, 1.0, 1.2),
        space=oracle.space,
        loss={"similarity": "lncc", "scale": None},
        loss_scale=1.7,
        search=SearchOptions(reported=["similarity"], storage="postgresql://me:secret@host/db"),
    )


@pytest.fixture
def folder(
    oracle: Any, searched: Searched, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> Path:
    StudyFolder(tmp_path).write_search(searched, pair_table)
    block = oracle.block((70,), [pair.id for pair in pairs], ["dice", "folding", "similarity"])
    Ledger(tmp_path / "ledger").write(oracle.identity, oracle.space, [block])
    return tmp_path


def test_what_was_searched_is_read_back_without_the_storages_password(
    folder: Path, searched: Searched
) -> None:
    without = searched.search.model_copy(update={"storage": None})
    assert StudyFolder(folder).searched == replace(searched, search=without)
    assert "secret" not in (folder / "search.json").read_text()


def test_a_folder_is_read_from_its_ledger_with_pairs_as_text(
    folder: Path, oracle: Any, pair_table: pd.DataFrame
) -> None:
    measurements = read_folder(folder)
    assert tuple(measurements.values) == ("dice", "folding", "similarity")
    pd.testing.assert_frame_equal(measurements.pairs, pair_table)
    np.testing.assert_array_equal(
        measurements.values["dice"][0], oracle.array((70,), list(pair_table["pair"]), "dice")
    )


def test_a_folder_without_a_ledger_is_read_from_its_results(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    measurements = read_folder(folder)
    clone = tmp_path_factory.mktemp("clone")
    write_measurements(measurements, StudyFolder(clone).results.measurements_file())
    (clone / "results" / "search.json").write_text((folder / "search.json").read_text())
    assert read_folder(clone).settings == measurements.settings
    assert StudyFolder(clone).searched.name == "small"


def test_a_dense_sweep_is_read_when_every_setting_has_what_decides(
    folder: Path, oracle: Any, pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert read_dense(folder) is None
    ledger, ids = Ledger(folder / "ledger"), [pair.id for pair in pairs]
    lattice = oracle.space.coarse(201)
    ledger.write(
        oracle.identity,
        oracle.space,
        [oracle.block(i, ids, ["dice", "folding"]) for i in lattice[:-1]],
    )
    assert read_dense(folder) is None
    ledger.write(
        oracle.identity, oracle.space, [oracle.block(lattice[-1], ids, ["dice", "folding"])]
    )
    dense = read_dense(folder)
    assert dense is not None
    assert dense.settings == tuple(lattice)
    assert tuple(dense.values) == ("dice", "folding")
    assert read_folder(folder).settings == ((70,),)  # where the reported metrics are measured too
    clone = tmp_path_factory.mktemp("clone")
    assert read_dense(clone) is None
    write_measurements(dense, StudyFolder(clone).results.dense_file)
    again = read_dense(clone)
    assert again is not None
    np.testing.assert_allclose(again.values["dice"], dense.values["dice"], rtol=1e-6)


def test_a_folder_without_measurements_says_what_to_do(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(LedgerError, match="Run `hmopt search` first"):
        read_folder(tmp_path_factory.mktemp("empty"))
    with pytest.raises(LedgerError, match="Run `hmopt search` first"):
        _ = StudyFolder(tmp_path_factory.mktemp("empty")).searched
    with pytest.raises(LedgerError, match="expected measurements of model 'half', got none"):
        read_folder(folder, "half")


def test_what_was_searched_before_checkpoints_were_kept_is_read(
    folder: Path, searched: Searched
) -> None:
    path = folder / "search.json"
    content = json.loads(path.read_text())
    for key in ("identity_quarter", "identity_three_quarters", "steps", "sha256"):
        del content[key]
    path.write_text(json.dumps(content | {"identity_half": "0f"}))
    old = StudyFolder(folder).searched
    assert old.identity_of("half") == "0f"
    assert old.identity_of("full") == searched.identity
    assert old.identity_of("quarter") is None
    assert old.steps is None


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("space", 0, "name"), True, "expected names that are text, got True"),
        (("space", 0, "low"), -1, "a range inside [0, 1], got -1 to 1.0"),
        (("space", 0, "high"), True, "expected a number as high, got True"),
        (("space", 0, "step"), True, "expected a number as step, got True"),
        (("space", 0, "prior"), "even", "expected prior uniform or log-uniform, got 'even'"),
        (("space", 0, "type"), [], "expected type float or integer or categorical, got []"),
        (("space", 0, "choices"), "CC", "expected choices that are texts, numbers"),
        (("space", 0, "only_if"), [[1]], "expected names with values as only_if"),
        (("metric",), "hd95_mm", "metric: 'hd95_mm' beside dice of search"),
        (("metric",), [], "metric: []"),
        (("declared", "split", "train"), -1, "split.train"),
        (("declared", "cohort", "spacing_known"), 0, "cohort.spacing_known"),
    ],
)
def test_a_value_that_no_search_writes_is_named_without_a_hash_too(
    place: tuple[str | int, ...], value: object, message: str, folder: Path
) -> None:
    path = folder / "search.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    content["declared"] = {"split": {}, "cohort": {}}
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(LedgerError, match=re.escape(message)) as raised:
        _ = StudyFolder(folder).searched
    assert "\n" not in str(raised.value)


def test_of_checkpoints_before_the_end_only_what_decides_is_read(
    folder: Path, oracle: Any, searched: Searched, pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    StudyFolder(folder).write_search(
        replace(searched, identity_quarter="early", steps=100), pair_table
    )
    assert StudyFolder(folder).searched.identity_of("quarter") == "early"
    block = oracle.block((70,), [pair.id for pair in pairs], ["dice", "folding"])
    Ledger(folder / "ledger").write("early", oracle.space, [block])
    assert tuple(read_folder(folder, "quarter").values) == ("dice", "folding")


def test_search_json_is_plain_json(folder: Path) -> None:
    content = json.loads((folder / "search.json").read_text())
    assert content["metric"] == "dice"
    assert content["space"][0]["name"] == "regularization"


def test_how_a_network_is_trained_says_nothing_of_a_study_without_one(oracle: Any) -> None:
    """Neither where an engine was searched, nor where a file of an earlier version tells it all the same."""
    values: dict[str, Any] = {
        "name": "small",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {"shape": [16, 16]},
        "split": {"train": 0, "tune": 0, "search": 3},
    }
    engine = {"source": "engine", "engine": "ants"}
    spaces = {"gradient_step": {"low": 0.1, "high": 0.5, "default": 0.2}}
    by_engine = parse_study({**values, "model": engine, "hyperparameters": spaces})
    trained = parse_study({**values, "split": {"train": 1, "tune": 1, "search": 3}})
    assert {"network", "hypernetwork", "training"} <= declared_sections(trained).keys()
    assert not {"network", "hypernetwork", "training"} & declared_sections(by_engine).keys()

    older = {**declared_sections(by_engine), "hypernetwork": {"widths": [1, 2, 3]}}
    searched = Searched(
        name="small",
        identity=oracle.identity,
        identity_half=None,
        labels=oracle.labels,
        spacing_mm=None,
        space=by_engine.space,
        loss={},
        loss_scale=None,
        search=by_engine.search,
        declared=older,
    )
    assert list(changed_keys(by_engine, searched)) == []


@pytest.mark.parametrize("value", [True, -1, 1.5, "x"])
def test_settings_beside_a_search_are_of_its_hyperparameters(
    value: bool | float | str, folder: Path, searched: Searched
) -> None:
    points = PairPoints(pair="a->b", uncertainty=[0.1], error=[0.2])
    uncertain = UncertaintyRecord(
        identity=searched.identity,
        unit="mm",
        setting={"regularization": 0.5},
        settings=[{"regularization": value}],
        pairs=[points],
    )
    write_uncertainty(folder / "uncertainty.json", uncertain)
    optimum = TunedOptimum(setting={"regularization": value}, score=0.8, starts=1)
    scope = TunedScope(
        criteria=[],
        pairs=["a->b"],
        optima=[optimum],
        evaluations=3,
        unfinished=0,
        seconds=1.0,
        seconds_of_setting=0.1,
    )
    tuned = GradientRecord(
        model=searched.model_identity,
        objective="dice",
        title="Dice",
        direction="maximize",
        starts=1,
        tuned=["regularization"],
        scopes=[scope],
    )
    write_gradient(folder / "gradient.json", tuned)
    files = StudyFolder(folder)
    with pytest.raises(LedgerError, match=r"uncertainty\.json: .*\[0\.0, 1\.0\]"):
        _ = files.uncertainty
    with pytest.raises(LedgerError, match=r"gradient\.json: .*\[0\.0, 1\.0\]"):
        _ = files.gradient
