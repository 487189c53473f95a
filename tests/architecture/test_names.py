"""Files are named for what they are about."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hmopt").rglob("*.py"))
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "misc", "manager")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_for_what_it_is_about(path: Path) -> None:
    assert not {*path.relative_to(ROOT).parent.parts, path.stem} & set(FORBIDDEN_NAMES)


def test_the_folders_and_modules_that_are_marked_slow_are_there() -> None:
    text = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    listed = text[text.index("SLOW_FOLDERS") : text.index("SLOW_FIXTURES")]
    named = re.findall(r'"([a-z_/]+(?:\.py)?)"', listed)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
