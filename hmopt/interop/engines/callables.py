"""Engines that are Python functions."""

import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.errors import DeclarationError
from hmopt.files import one_line

FIELD = "model.callable"

Engine = Callable[..., Any]
"""`(moving, fixed, setting) -> displacement`: images (*shape); (d, *shape), in voxels.

It may also take `spacing_mm`, of the prepared grid along each axis.
"""


def find_engine(path: str, folder: Path) -> tuple[Engine, Path | None]:
    """Return the function that a path names, and the file that defines it, if it is known.

    Parameters
    ----------
    path
        `package.module:function`, or `file.py:function`, the file relative to `folder`.
    folder
        The study folder.

    Raises
    ------
    DeclarationError
        If it cannot be imported, or cannot be called.

    Examples
    --------
    >>> find_engine("math:hypotenuse", Path("."))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: model.callable: expected a function that can be imported, got ...
    """
    place, name = path.rsplit(":", 1)
    try:
        module = _load_file(folder / place) if place.endswith(".py") else None
        found = getattr(module, name) if module else pkgutil.resolve_name(path)
    except Exception as error:  # importing runs somebody else's program
        got = f"{path!r} ({type(error).__name__}: {one_line(error)})"
        raise DeclarationError(
            FIELD,
            expected="a function that can be imported",
            got=got,
            advice="Correct the path or the file.",
        ) from error
    if not callable(found):
        raise DeclarationError(
            FIELD, expected="a function", got=f"{path!r}, a value", advice="Name a function."
        )
    defined_in = getattr(module or sys.modules.get(place), "__file__", None)
    return found, Path(defined_in) if defined_in else None


def _load_file(path: Path) -> Any:
    """Import a file under its own name, with the modules beside it in reach."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    beside = str(path.parent.resolve())
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(beside)
    return module


def call(
    engine: Engine,
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    values: Mapping[str, Any],
    spacing_mm: tuple[float, ...],
) -> Any:
    """Call an engine, with the spacing where it takes it.

    Examples
    --------
    >>> image = np.zeros((2, 2), np.float32)
    >>> call(lambda moving, fixed, setting, spacing_mm: spacing_mm, image, image, {}, (1.0, 2.0))
    (1.0, 2.0)
    """
    # copies, so that an engine that writes into its arguments changes nothing here
    arguments = (moving.copy(), fixed.copy(), dict(values))
    if _takes_spacing(engine):
        return engine(*arguments, spacing_mm=spacing_mm)
    return engine(*arguments)


def _takes_spacing(engine: Engine) -> bool:
    try:
        parameters = inspect.signature(engine).parameters
    except (TypeError, ValueError):  # a function of an extension need not have one
        return False
    return "spacing_mm" in parameters
