import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from hmopt.errors import LedgerError
from hmopt.files import read_json, read_record, write_json

ADVICE = "Write it again."


class Facts(BaseModel):
    name: str
    count: int


def read(path: Path) -> dict[str, object]:
    return read_json(path, error=LedgerError, what="facts", advice=ADVICE)


def test_what_was_written_is_read_and_what_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"name": "brains", "values": (1, 2.5, None), "inner": {"λ": 0.1}})
    assert {"name": "brains", "values": [1, 2.5, None]}.items() <= read(path).items()
    whole = path.read_text(encoding="utf-8")
    for change in (("brains", "brainz"), ("2.5", "2.6"), ("0.1", "0.01"), ("null", "3")):
        path.write_text(whole.replace(*change), encoding="utf-8")
        with pytest.raises(LedgerError, match="changed or damaged after it was written"):
            read(path)


def test_layout_does_not_matter_nor_does_a_missing_hash(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"b": 1, "a": [0.1, "x"]})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, sort_keys=True).replace(" ", "\r\n "))
    assert read(path) == content
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert read(path) == content


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"a": NaN}', '{"a": Infinity}', "[" * 100_000, "\x00"]
)
def test_what_is_no_json_object_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(LedgerError, match=rf"facts.json: expected facts, got .*{ADVICE}") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b'{"a": "\x80"}')
    with pytest.raises(LedgerError, match="damaged file"):
        read(path)


def test_a_record_names_the_key_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    for content, key in (
        ({"name": "x"}, "count"),
        ({"name": None, "count": 1}, "name"),
        ({"count": 1}, "name"),
    ):
        write_json(path, content)
        with pytest.raises(LedgerError, match=f"got {key}: "):
            read_record(path, Facts, error=LedgerError, what="facts", advice=ADVICE)
