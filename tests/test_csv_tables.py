import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hmopt.csv_tables import neutralized, read_number_table, read_text_table, restored, write_table
from hmopt.errors import HmoptError

DANGEROUS = [
    "=1+1",
    "+cmd",
    "-x",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "'=1",
    "''=1",
    "=",
    "-",
    "+",
    "@",
    "＝1",
    "\n=1",
]
NUMBERS = ["-0.5", "+3", "1e-3", "-1E+5", ".5", "-inf", "nan", "0"]
PLAIN = ["thalamus", "a=b", "1→2", "", "'quoted'", "'", "x-y", "''", "λ"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_cell_begins_as_a_formula(text: str) -> None:
    assert neutralized(text) == f"'{text}"
    assert restored(neutralized(text)) == text


@pytest.mark.parametrize("text", NUMBERS + PLAIN)
def test_numbers_and_names_stay_as_they_are(text: str) -> None:
    assert neutralized(text) == text
    assert restored(text) == text


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r\n 1.eaλ"), max_size=8))
def test_what_is_restored_is_what_was_neutralized(text: str) -> None:
    cell = neutralized(text)
    assert restored(cell) == text
    assert cell[:1] not in ("=", "@", "\t", "\r")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(alphabet=st.sampled_from("'=+-@\t\r\n ,\"1aλ"), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_tables_are_read_back_as_they_were(names: list[str], tmp_path: Path) -> None:
    table = pd.DataFrame({"=label": names, "pair": [f"{name}->b" for name in names]})
    write_table(table, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(read_text_table(tmp_path / "table.csv"), table, check_dtype=False)


def test_columns_of_numbers_and_their_names_are_written_plainly(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [-1.5, 2.0], "b": [-1, 2], "c": [True, False]})
    write_table(table, tmp_path / "table.csv", float_format="%.3g")
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["a", "b", "c"],
            ["-1.5", "-1", "True"],
            ["2", "2", "False"],
        ]
    pd.testing.assert_frame_equal(
        read_number_table_of(table[["a", "b"]], tmp_path), table[["a", "b"]]
    )


def read_number_table_of(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    write_table(table, folder / "numbers.csv")
    return read_number_table(folder / "numbers.csv")


def test_empty_cells_of_numbers_are_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("step,tune_dice\n10,\n20,0.5\n")
    found = read_number_table(tmp_path / "t.csv")
    assert found["step"].dtype == np.int64
    np.testing.assert_array_equal(found["tune_dice"], [np.nan, 0.5])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"step,loss\n1,x\n",
        b"step,loss\n1,inf\n",
        b"step,loss\nnan,1\n",
        b"step\n1\n",
        b"\x80\x81",
        b"step,loss\n1,\x00\n",
    ],
)
def test_what_is_no_table_of_numbers_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    path.write_bytes(content)
    with pytest.raises(HmoptError, match=r"training.csv: expected ") as caught:
        read_number_table(path, ["step", "loss"], "Restore it.")
    assert "\n" not in str(caught.value)


def test_a_row_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("pair,task\na->b,cross\nb-")
    with pytest.raises(HmoptError, match="expected 2 cells in each row, got 1 in row 3"):
        read_text_table(path)
