"""Names of hyperparameters and choices that would be mistaken for something else are refused in the declaration."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from hmopt.analysis.scope_result import optima_table
from hmopt.catalogue import ENGINES
from hmopt.declaration import parse_study
from hmopt.declaration.names import OF_OPTIMA, RESERVED, check_names, columns_of
from hmopt.errors import DeclarationError
from hmopt.interop.engines.command import PLACES
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.ledger.shard import NAMES
from hmopt.report import read_material
from hmopt.space import Hyperparameter, Space
from tests.report.test_any_oracle import SEVERAL, write_search


def declared(**hyperparameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "x",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {"shape": [8, 8]},
        "split": {"train": 0, "tune": 0, "search": 4},
        "model": {"source": "engine", "callable": "mine.py:register"},
        "search": {"sampler": "TPESampler"},
        "hyperparameters": hyperparameters,
    }


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_name_that_tables_use_themselves_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(DeclarationError, match=rf"hyperparameters.{name}: expected") as refusal:
        parse_study(declared(**{name: {}}))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a b", "a/b", "a,b", "1st", "_private", "σ", "", "x" * 65])
def test_a_name_that_no_file_name_and_no_placeholder_can_hold_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="expected a name of ASCII letters"):
        parse_study(declared(**{name: {}}))


@pytest.mark.parametrize("name", ["gain_over_common", "score"])
def test_a_name_is_refused_for_a_column_that_it_would_have(name: str) -> None:
    with pytest.raises(DeclarationError, match=r"expected a name that tables do not use"):
        check_names(Space(hyperparameters=(Hyperparameter(name=name),)))


def test_two_names_with_a_column_in_common_are_refused() -> None:
    with pytest.raises(DeclarationError, match="sigma_low: expected a name whose columns differ"):
        parse_study(declared(sigma={}, sigma_low={}))
    with pytest.raises(DeclarationError, match="'sigma_by_folding' of both"):
        parse_study(declared(sigma={}, sigma_by_folding={}))
    with pytest.raises(DeclarationError, match="by more than capitals"):
        parse_study(declared(sigma={}, Sigma={}))
    assert parse_study(declared(sigma={}, sigma_flow={})).space.names == ("sigma", "sigma_flow")


@pytest.mark.parametrize("choice", ["a\nb", "a; b", " a", "a\t", "\x01"])
def test_choices_that_no_table_can_hold_are_refused(choice: str) -> None:
    kernel = {"type": "categorical", "choices": ["box", choice]}
    with pytest.raises(DeclarationError, match=r"kernel\.choices: expected choices of printable"):
        parse_study(declared(kernel=kernel))


def test_choices_with_commas_quotes_and_slashes_are_taken() -> None:
    kernel = {"type": "categorical", "choices": ["a,b", 'c"d', "e/f.txt", "g'h", "Größe 2"]}
    assert len(parse_study(declared(kernel=kernel)).space.hyperparameters[0].choices) == 5


@pytest.mark.parametrize("program", sorted(ENGINES))
def test_the_parameters_of_all_adaptors_may_be_searched(program: str) -> None:
    adaptor: Any = importlib.import_module(ENGINES[program].module)
    parse_study(declared(**adaptor.SPACE))


def test_reserved_are_the_columns_that_tables_have_beside_hyperparameters(tmp_path: Path) -> None:
    model = {"source": "engine", "callable": "mine.py:register"}
    material = read_material(write_search(tmp_path / "study", SEVERAL, model))
    columns = set(optima_table(material.findings, None).columns)
    for name in SEVERAL.names:
        columns -= set(columns_of(name, ["dice", "folding"]))
    assert columns <= RESERVED
    assert set(OF_OPTIMA) <= columns
    assert {*NAMES, *PAIR_COLUMNS, *PLACES} <= RESERVED


def test_a_space_of_ordinary_names_is_taken() -> None:
    check_names(Space(hyperparameters=(Hyperparameter(name="regularization"),)), ["dice"])
