"""A sample of the malformed inputs ends in one line each; `make fuzz` runs all of them."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import hmopt
from tests.fuzz.cases import SEED, Case, list_cases
from tests.fuzz.originals import make_originals
from tests.fuzz.run import run_cases

COUNTS = Path(__file__).with_name("counts.json")
EVERY = 97
"""One case of so many is run here."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_originals(tmp_path_factory.mktemp("fuzz"))


def test_nothing_is_wrong_before_a_mutation(folders: Mapping[str, Path]) -> None:
    for folder in folders.values():
        checked = hmopt.check(folder)
        assert checked.problems == ()
        assert checked.files > 0


def test_a_sample_of_malformed_inputs_ends_cleanly(folders: dict[str, Path]) -> None:
    cases = itertools.islice(list_cases(folders), 0, None, EVERY)
    faults = [str(ended) for ended in run_cases(cases, folders) if ended.is_fault]
    assert faults == []


def test_an_accepted_damage_would_be_told(folders: dict[str, Path]) -> None:
    harmless = Case(
        part="images",
        kind="image",
        mutation="none at all",
        file="study.toml",
        content=(folders["images"] / "study.toml").read_bytes(),
    )
    (ended,) = run_cases([harmless], folders)
    assert ended.outcome == "wrong acceptance"


def test_cases_are_many_and_of_each_kind(folders: dict[str, Path]) -> None:
    cases = list(list_cases(folders))
    assert len(cases) >= 2500
    assert {case.part for case in cases} == set(folders)


def test_the_committed_counts_tell_of_no_crash() -> None:
    content = json.loads(COUNTS.read_text(encoding="utf-8"))
    assert content["seed"] == SEED
    assert sum(content["outcomes"].values()) == content["run"] <= content["listed"]
    crashes = {"traceback", "hang", "memory", "unclear"}
    assert not set(content["outcomes"]) & crashes
