"""What importing costs, and that imports go one way."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def executed_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module, but for those that only type checkers read."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from executed_nodes(child)


def imported_modules(path: Path, modules: Collection[str]) -> set[str]:
    """Return the modules that a file imports from, wherever in it the import stands.

    A name that a package offers counts as an import of the package's `__init__`: `from hmopt.ledger import Ledger` is
    one of `hmopt.ledger`, and `from hmopt.ledger import shard` one of `hmopt.ledger.shard`.
    """
    found: set[str] = set()
    for node in executed_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in modules else node.module)
    return found & set(modules)


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


def test_modules_and_packages_import_each_other_without_a_cycle() -> None:
    paths = {module_name(path): path for path in (ROOT / "hmopt").rglob("*.py")}
    graph = {name: imported_modules(path, paths) - {name} for name, path in paths.items()}
    assert sum(len(imported) for imported in graph.values()) > len(paths)
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_imports_name_their_module_in_full() -> None:
    relative = [
        path
        for path in (ROOT / "hmopt").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []
