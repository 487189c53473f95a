"""Packages have what the registry asks for, and what their READMEs show works."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
import yaml  # type: ignore[import-untyped]

from benchmarks.measured_problems import FILE, STUDIES

PACKAGES = Path(__file__).parents[2] / "optunahub" / "package"
NAMES = {
    "samplers/curve_sampler": "sampler",
    "benchmarks/deformable_registration": "benchmark",
}
KEYS = ["author", "title", "description", "tags", "optuna_versions", "license"]


def parts(name: str) -> tuple[dict[str, Any], str]:
    """Return the front matter and the text of a package's README."""
    text = (PACKAGES / name / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", maxsplit=2)
    return yaml.safe_load(front), body


@pytest.mark.parametrize("name", NAMES)
def test_a_package_is_of_the_form_that_the_registry_asks_for(name: str) -> None:
    front, body = parts(name)
    assert list(front) == KEYS
    assert NAMES[name] in front["tags"]
    assert front["license"] == "MIT License"
    assert front["optuna_versions"] == ["5.0.0"]
    for section in ("Abstract", "APIs", "Installation", "Example"):
        assert f"\n## {section}\n" in body
    licence = (PACKAGES / name / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 The hmopt developers\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_package_needs_nothing_of_hmopt(name: str) -> None:
    for path in (PACKAGES / name).glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
        assert "hmopt" not in imported


@pytest.mark.parametrize("name", NAMES)
def test_what_the_readme_shows_works(
    name: str, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    import optunahub

    monkeypatch.setattr(optunahub, "load_module", load)
    _, body = parts(name)
    shown = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "readme"}
    for code in shown:
        exec(code, namespace)
    assert isinstance(namespace["study"], optuna.Study)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs_where_the_registry_has_it(
    name: str, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(name)
    monkeypatch.chdir(PACKAGES.parent)
    runpy.run_path(str(PACKAGES / name / "example.py"))


def test_the_table_of_studies_is_that_of_the_data(load: Callable[[str], ModuleType]) -> None:
    _, body = parts("benchmarks/deformable_registration")
    module = load("benchmarks/deformable_registration")
    rows = re.findall(
        r"^\| `(.*?)` \|.*\| (?:all )?(\d+) \| (\d+) \| (\d+) \| (\d+) \|$", body, re.M
    )
    assert [row[0] for row in rows] == module.Problem.studies()
    total = 0
    for study, *shown in rows:
        number = STUDIES.index(study)
        with np.load(FILE) as content:
            settings, pairs, labels = content[f"{number}/dice"].shape
        scopes = len(module.Problem.scopes(study))
        assert [int(count) for count in shown] == [settings, pairs, labels, scopes]
        total += scopes
    assert f"{total:,} scopes" in body
