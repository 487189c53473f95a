"""Studies, benchmarks and notebooks use what `hmopt` and its packages offer, never a module inside a package."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
USERS = sorted(
    [
        *(ROOT / "studies").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]
)
OFFERED_MODULES = {"simulation", "words"}
"""Modules that are offered whole, by their name; any other offered name is a function, a class or a constant."""
PACKAGE_OF_PACKAGE = "hmopt.data.synthetic"
"""A package that is offered although it lies in another one: what makes the synthetic cohort."""


def source(path: Path) -> str:
    """Return the Python code of a script or a notebook."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return "\n".join(line for line in code.splitlines() if not line.startswith("%"))


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the modules of hmopt that a file imports, and the name that it takes from each."""
    names: list[tuple[str, str | None]]
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        yield from (found for found in names if found[0].split(".")[0] == "hmopt")


def is_offered(module: str, name: str | None) -> bool:
    """Tell whether a name is one that `hmopt`, a package or a module directly in it offers."""
    if module.count(".") > 1 and module != PACKAGE_OF_PACKAGE:
        return False
    offered = getattr(importlib.import_module(module), "__all__", None)
    return name is None or offered is None or name in offered


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_offered_names_are_imported(path: Path) -> None:
    assert [found for found in imported(path) if not is_offered(*found)] == []


@pytest.mark.parametrize(
    "package",
    ["hmopt", *sorted(f"hmopt.{p.parent.name}" for p in (ROOT / "hmopt").glob("*/__init__.py"))],
)
def test_every_offered_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", []):
        offered = getattr(module, name)
        # a command that has the name of a package, as `hmopt.report`, is a package that can be called
        is_module = isinstance(offered, ModuleType) and not callable(offered)
        assert is_module == (name in OFFERED_MODULES)
