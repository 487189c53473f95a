"""Prepared cohorts: damage is found and named with the folder to remove; items are read ahead."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.data.prepared import PreparedCohort, prefetch
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import Study, parse_study
from hmopt.errors import DataError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    make_cohort(folder / "data", subjects=3, shape=(24, 24))
    prepare(declared(folder), folder)
    return folder


def declared(folder: Path) -> Study:
    values = {
        "name": "tiny",
        "cohort": {"manifest": folder / "data/cohort.csv", "label_names": folder / "data/dseg.tsv"},
        "preprocessing": {"shape": [24, 24]},
        "split": {"train": 1, "tune": 1, "search": 1},
    }
    return parse_study(values)


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "study"))


def prepared(folder: Path) -> Path:
    (found,) = (folder / "prepared").iterdir()
    return found


def read_all(cohort: PreparedCohort) -> list[NDArray[Any]]:
    arrays: list[NDArray[Any]] = []
    for name in cohort.images.index:
        arrays += [cohort.image(name), cohort.label_map(name), cohort.grid(name)]
    return arrays


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(prepare(declared(folder), folder))
    message = str(caught.value)
    assert "\n" not in message
    assert f"Remove the folder {prepared(folder)}: the next command prepares it again." in message
    return message


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "grids.npy"])
def test_every_flipped_bit_of_an_array_is_seen(name: str, folder: Path) -> None:
    path = prepared(folder) / name
    whole = path.read_bytes()
    start = len(whole) - np.load(path).nbytes
    for place in np.random.default_rng(0).integers(8 * start, 8 * len(whole), 20).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.unlink()
        path.write_bytes(flipped)
        assert refused(folder).startswith(str(path))
    path.unlink()
    path.write_bytes(whole)
    read_all(prepare(declared(folder), folder))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "grids.npy", "record.json"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_is_named(name: str, share: float, folder: Path) -> None:
    path = prepared(folder) / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert refused(folder).startswith(str(path))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "grids.npy", "record.json"])
def test_a_file_that_is_gone_is_named(name: str, folder: Path) -> None:
    path = prepared(folder) / name
    path.unlink()
    assert refused(folder).startswith(str(path))


def test_a_changed_record_is_named(folder: Path) -> None:
    path = prepared(folder) / "record.json"
    path.write_text(path.read_text().replace("thalamus", "thblamus"), encoding="utf-8")
    assert "changed or damaged after it was written" in refused(folder)


def forget_hashes(folder: Path) -> Path:
    """Make a prepared folder one of an earlier version."""
    path = prepared(folder) / "record.json"
    content = json.loads(path.read_text())
    del content["hashes"], content["sha256"]
    path.write_text(json.dumps(content))
    return path


def test_images_of_an_earlier_version_are_read(folder: Path) -> None:
    expected = read_all(prepare(declared(folder), folder))
    forget_hashes(folder)
    found = read_all(prepare(declared(folder), folder))
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_of_an_earlier_version_are_checked_by_what_they_can_be(folder: Path) -> None:
    forget_hashes(folder)
    labels = np.load(prepared(folder) / "labels.npy")
    labels[0, 3, 3] = 200
    np.save(prepared(folder) / "labels.npy", labels)
    assert "label 200 of" in refused(folder)


@pytest.mark.parametrize(
    "value", [None, [], 3, "x", {"scans": []}, {"labels": None}, {"spacing_mm": -1}]
)
def test_a_record_of_another_form_is_named(value: object, folder: Path) -> None:
    path = forget_hashes(folder)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **value} if isinstance(value, dict) else value))
    assert refused(folder).startswith(str(path))


def test_the_next_is_made_while_the_last_is_used() -> None:
    made = {number: threading.Event() for number in range(3)}

    def make(number: int) -> int:
        made[number].set()
        return number

    results = prefetch(make, range(3))
    assert next(results) == 0
    assert made[1].wait(timeout=240)  # without being asked for


def test_nothing_is_made_further_ahead() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    results = prefetch(make, range(5))
    next(results)
    del results
    assert max(made) <= 1


def test_what_fails_fails_where_it_is_asked_for() -> None:
    results = prefetch(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_comes_of_nothing() -> None:
    assert list(prefetch(str, [])) == []
