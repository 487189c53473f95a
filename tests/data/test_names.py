import json
from pathlib import Path

import pytest

from hmopt.data.names import read_label_table
from hmopt.errors import DataError


def test_a_decathlon_table_names_labels_by_code_without_the_background(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(
        json.dumps({"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}),
        encoding="utf-8",
    )
    assert read_label_table(path).names == {1: "Anterior", 2: "Posterior"}


def test_a_table_that_gives_codes_by_name_is_understood_too(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "liver": 1}}), encoding="utf-8")
    assert read_label_table(path).names == {1: "liver"}


def test_a_bids_table_may_have_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "dseg.tsv"
    path.write_text(
        "index\tname\tcolor\n10\tLeft-Thalamus\t#fff\n49\tRight-Thalamus\t#eee\n", encoding="utf-8"
    )
    assert read_label_table(path).names == {10: "Left-Thalamus", 49: "Right-Thalamus"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("dseg.tsv", "index\tname\n1\ta\n1\tb\n", "1 more than once"),
        ("dseg.tsv", "index\tname\n1\ta\n2\ta\n", "'a' more than once"),
        ("dseg.tsv", "colour\tname\n1\ta\n", "columns index"),
        ("dseg.tsv", "index\tname\none\ta\n", "columns index"),
        ("dataset.json", "{", '"labels"'),
        ("dataset.json", '{"modality": {}}', '"labels"'),
        ("dataset.json", '{"labels": ["liver"]}', '"labels"'),
        ("dataset.json", "[]", '"labels"'),
        ("dataset.json", '{"labels": {"": 1, "b": 2}}', "no name for 1"),
        ("dataset.json", '{"labels": {" ": [1], "b": 2}}', r"no name for \[1\]"),
        ("dataset.json", '{"labels": {"1": ""}}', "a name for each label, got an empty one for 1"),
        ("dataset.json", '{"labels": {"a ": 1, "a": 2}}', "'a' more than once"),
        ("dataset.json", '{"labels": {"\\ud800": 1}}', "a name in one line"),
        ("dataset.json", '{"labels": {"a\\rb": 1}}', "a name in one line"),
        ("dataset.json", '{"labels": {"a": ' + "9" * 40 + "}}", "at most 18 digits, got one of 40"),
        ("dataset.json", '{"labels": {"a": ' + "9" * 5000 + "}}", '"labels"'),
        ("dseg.tsv", 'index\tname\n1\t"a\rb"\n', "a name in one line"),
        ("dseg.tsv", 'index\tname\n1\t"a\n2\tb\n', "line 2: expected a table of label names whose"),
        ("dseg.tsv", "index\tname\n" + "9" * 5000 + "\ta\n", "at most 18 digits, got one of 5000"),
        ("dseg.tsv", "index\tname\n" + "9" * 19 + "\ta\n", "at most 18 digits, got one of 19"),
        ("lut.txt", "9" * 5000 + " a 0 0 0 0\n", "at most 18 digits, got one of 5000"),
        ("itk.label", '1 0 0 0 1 1 1 ""\n2 0 0 0 1 1 1 ""\n', "an empty one for 1"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint) as caught:
        read_label_table(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_large_code_is_read_exactly(tmp_path: Path) -> None:
    # floating-point numbers have no odd ones beyond 2^53
    code = 2**53 + 1
    path = tmp_path / "dseg.tsv"
    path.write_text(f"index\tname\n{code}\ta\n{code + 1}.0\tb\n", encoding="utf-8")
    assert read_label_table(path).names == {code: "a", code + 1: "b"}


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_label_table(tmp_path / "dseg.tsv")
