"""The version stands in one place."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import hmopt

ROOT = Path(__file__).parents[2]


def test_the_installed_version_is_that_of_the_package() -> None:
    assert importlib.metadata.version("hmopt") == hmopt.__version__


def test_no_other_file_states_a_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert not re.search(
        r"^version:", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_changelog_has_an_entry_for_the_version() -> None:
    headings = re.findall(
        r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert any(hmopt.__version__ in heading for heading in headings)
