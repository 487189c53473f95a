"""Files and modules that add records of one's own, named by `plugins` in `study.toml`."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hmopt.catalogue.hyperparameters import HYPERPARAMETERS
from hmopt.catalogue.losses import REGULARIZERS, SIMILARITIES
from hmopt.catalogue.metrics import METRICS
from hmopt.errors import DeclarationError, HmoptError


def load_plugins(plugins: Sequence[str], folder: Path) -> None:
    """Import files and modules that add to the catalogue, each once in a process.

    Parameters
    ----------
    plugins
        Files, whose names end in `.py`, relative to the folder; or modules that Python can import.
    folder
        The study folder.

    Raises
    ------
    DeclarationError
        If one cannot be imported, or adds a name that there is already. Nothing of it is added
        then.

    Examples
    --------
    >>> load_plugins(["nowhere.py"], Path())
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: plugins: expected a file or module to import, ...
    """
    for plugin in plugins:
        before = [dict(records) for records in _all_records()]
        try:
            _load(plugin, folder)
        except BaseException:
            for records, earlier in zip(_all_records(), before, strict=True):
                records.clear()
                records.update(earlier)
            raise


def _all_records() -> tuple[dict[str, Any], ...]:
    return METRICS, SIMILARITIES, REGULARIZERS, HYPERPARAMETERS


def _load(plugin: str, folder: Path) -> None:
    try:
        if plugin.endswith(".py"):
            _import_file(folder / plugin, plugin)
        else:
            importlib.import_module(plugin)
    except HmoptError as error:
        error.add_note(plugin)
        raise
    except (Exception, SystemExit) as error:  # a script may end with sys.exit
        raise _not_imported(plugin, f"{type(error).__name__}: {error}") from error


def _import_file(path: Path, plugin: str) -> None:
    """Import a file under a name that holds a hash of its path, unlike files of other folders."""
    path = path.resolve()
    if not path.is_file():
        raise _not_imported(plugin, "no such file")
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"hmopt_plugin_{path.stem}_{place}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _not_imported(plugin, "no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _not_imported(plugin: str, reason: str) -> DeclarationError:
    return DeclarationError(
        "plugins",
        expected="a file or module to import",
        got=f"{plugin!r} ({reason})",
        advice="Correct the name or the file.",
    )
