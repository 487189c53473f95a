"""Files are named for what they are about."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hmopt").rglob("*.py"))
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "misc", "manager")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_for_what_it_is_about(path: Path) -> None:
    assert not {*path.relative_to(ROOT).parent.parts, path.stem} & set(FORBIDDEN_NAMES)
