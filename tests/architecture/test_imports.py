"""What importing costs, and that imports go one way."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> set[str]:
    """Give every dotted name that a file imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_importing_hmopt_loads_neither_torch_nor_optuna_nor_pandas() -> None:
    code = "import sys, hmopt; print(sorted({'torch', 'optuna', 'pandas', 'numpy'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_the_command_line_answers_help_without_loading_torch() -> None:
    code = "import sys, hmopt.cli.app; print(sorted({'torch', 'optuna', 'pandas', 'monai'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_modules_import_each_other_without_a_cycle() -> None:
    paths = {
        module_name(path): path
        for path in (ROOT / "hmopt").rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: (imported_names(path) & paths.keys()) - {name} for name, path in paths.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_imports_name_their_module_in_full() -> None:
    relative = [
        path
        for path in (ROOT / "hmopt").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []
