"""No module of hmopt runs what a file or a name holds: no pickle, no eval, no shell.

The source is parsed, not searched: a word in a docstring is no use of it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "hmopt").rglob("*.py"))

FORBIDDEN_MODULES = {
    "pickle": "unpickling runs code",
    "cPickle": "unpickling runs code",
    "_pickle": "unpickling runs code",
    "dill": "unpickling runs code",
    "cloudpickle": "unpickling runs code",
    "joblib": "its files are pickles",
    "shelve": "its files are pickles",
    "marshal": "its files can crash the interpreter",
    "yaml": "its default loader makes any object",
}
FORBIDDEN_CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "tempfile.mktemp": "another process can take the name first",
    "pandas.read_pickle": "unpickling runs code",
    "pd.read_pickle": "unpickling runs code",
    "yaml.load": "makes any object",
    "torch.jit.load": "runs a program of the file",
}
ALLOWED: dict[tuple[str, str], str] = {}
"""By module and use: why it is allowed all the same. Nothing is, so far."""


def uses(tree: ast.AST) -> Iterator[str]:
    """Yield what a module must not use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from _forbidden_modules(names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from _forbidden_modules([module])
            called = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name for name in called if name in FORBIDDEN_CALLS or name == "torch.load")
        elif isinstance(node, ast.Call):
            yield from _forbidden_calls(node)


def _forbidden_modules(names: list[str]) -> Iterator[str]:
    for name in names:
        top, _, _ = name.partition(".")
        if top in FORBIDDEN_MODULES:
            yield top


def _forbidden_calls(call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called in FORBIDDEN_CALLS:
        yield called
    if called == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if given.get("shell", "False") != "False":
        yield "shell=True"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle=True"


def test_no_module_runs_what_a_file_or_a_name_holds() -> None:
    found = set()
    for module in MODULES:
        name = str(module.relative_to(ROOT))
        tree = ast.parse(module.read_text(encoding="utf-8"))
        found |= {(name, use) for use in uses(tree)}
    assert len(MODULES) > 100
    assert found - set(ALLOWED) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=asked)",
        "from torch import load",
        "eval(text)",
        "exec(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=asked)",
        "from os import system",
        "tempfile.mktemp()",
        "from tempfile import mktemp",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_the_check_sees_each_of_them(source: str) -> None:
    assert list(uses(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "import pickletools",
        "subprocess.run(command)",
        "np.load(path, allow_pickle=False)",
        '"""pickle, eval(x)"""',
    ],
)
def test_the_check_lets_pass_what_runs_nothing(source: str) -> None:
    assert list(uses(ast.parse(source))) == []


def test_what_is_allowed_is_used_and_has_a_reason() -> None:
    for (module, use), reason in ALLOWED.items():
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        assert use in set(uses(tree))
        assert len(reason.split()) > 3
