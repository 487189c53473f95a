"""The documentation site: it builds without a warning, and its code runs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hmopt
from hmopt.workflow import gap

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def python_blocks(page: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


SCRIPTS = [
    pytest.param(page, id=str(page.relative_to(DOCS))) for page in PAGES if python_blocks(page)
]


@pytest.fixture(scope="module")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was trained and searched."""
    folder = tmp_path_factory.mktemp("searched") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder)
    return folder


@pytest.mark.parametrize("page", SCRIPTS)
def test_the_python_of_a_page_runs(
    page: Path,
    searched: Path,
    catalogue: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(searched, tmp_path / "studies" / "mine")
    shutil.copytree(ROOT / "optunahub", tmp_path / "optunahub")
    monkeypatch.chdir(tmp_path)
    # registrations converge soon enough for a page
    monkeypatch.setattr(gap, "ITERATIONS", 3)
    monkeypatch.setattr(gap, "MOST_ITERATIONS", 12)
    names: dict[str, Any] = {"__file__": str(tmp_path / "mine.py")}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    environment = os.environ | {"HMOPT_DOCS_SCREENSHOTS": "0"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    fetched = re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]+)"', page)
    assert [url for url in fetched if "hmopt.github.io" not in url] == []


def test_the_report_that_pictures_are_taken_of_is_made_anew(tmp_path: Path) -> None:
    """Pictures themselves need Chromium, which is not everywhere."""
    found = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert found is not None
    assert found.loader is not None
    hooks = importlib.util.module_from_spec(found)
    found.loader.exec_module(hooks)
    page = hooks._fresh_report(tmp_path).read_text(encoding="utf-8")
    guide = (DOCS / "how-to" / "read-a-report.md").read_text(encoding="utf-8")
    for _, part in hooks.SCREENSHOT.findall(guide):
        assert f'id="{part}"' in page


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"([\w/-]+\.md)\b", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert set(listed) == {page.relative_to(DOCS).as_posix() for page in PAGES}


def test_every_public_name_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^::: hmopt\.(?:workflow\.\w+\.)?(\w+)$", page, re.MULTILINE))
    public = {name for name in hmopt.__all__ if not name.startswith("__")}
    assert described == public


def test_the_table_of_layers_is_the_import_graph() -> None:
    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]
    layers = next(contract for contract in declared["contracts"] if contract["type"] == "layers")[
        "layers"
    ]
    upwards = [layer for layer in reversed(layers) if not layer.startswith("(")]
    rows = re.findall(r"^\| `hmopt/([^|]+?)` \|", page, re.MULTILINE)
    shown = [set(re.findall(r"\w+", row)) for row in rows]
    assert shown == [set(layer.split(" : ")) for layer in upwards]


def test_the_files_of_the_walks_are_there() -> None:
    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    walks = page[page.index("## How λ reaches the convolutions") :]
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", walks))
    assert len(named) > 20
    homes = {path.parent for path in (ROOT / "hmopt").rglob("*.py")}
    missing = [name for name in named if not any((home / name).is_file() for home in homes)]
    assert missing == []
