"""Files and functions stay small enough to be read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hmopt").rglob("*.py"))
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "misc", "manager")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring left out: it is for reading, and long where shapes need telling."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_fewer_than_300_lines_and_its_functions_fewer_than_40(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    long = {
        function.name: code_lines(function) for function in functions(ast.parse(text)) if code_lines(function) >= 40
    }
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_named_for_what_it_is_about(path: Path) -> None:
    assert not {*path.relative_to(ROOT).parent.parts, path.stem} & set(FORBIDDEN_NAMES)


def test_a_long_function_is_seen_and_its_docstring_not_counted() -> None:
    body = "\n".join(["    x = 1"] * 39)
    tree = ast.parse(f'def long():\n    """One.\n\n    Two.\n    """\n{body}\n')
    assert [code_lines(function) for function in functions(tree)] == [40]
