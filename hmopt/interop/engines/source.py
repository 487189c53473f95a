"""What a declaration says of its engine, and the engine that is made of it."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import find_engine_program
from hmopt.errors import DeclarationError
from hmopt.files import content_hash, file_hash, one_line
from hmopt.interop.engines.command import (
    CommandEngine,
    check_command,
    check_program,
    content_of,
)
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid

Kind = Literal["callable", "command", "engine"]
Image = NDArray[np.float32]
Engine = Callable[..., Any]
"""`(moving, fixed, setting) -> displacement`: images (*shape); (d, *shape), in voxels.

It may also take `spacing_mm`, of the prepared grid along each axis.
"""

Run = Callable[[Image, Image, Mapping[str, Any]], tuple[Any, float | None]]

ADAPTORS_VERSION = 1
"""Raised when an adaptor begins to give other displacements with the same program."""


@dataclass(frozen=True, kw_only=True)
class EngineSource:
    """An engine as it is declared: enough to make it in another process.

    Parameters
    ----------
    kind
        The key of `[model]` that names it.
    name
        Its value: a path of a function, a command, or the name of a program with an adaptor.
    folder
        The study folder.
    grid
        The prepared grid.
    defaults
        The default setting.
    options
        Values that are not searched.
    outputs
        Patterns of the files that a command writes.
    threads
        Of one registration.
    """

    kind: Kind
    name: str
    folder: Path
    grid: Grid
    defaults: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    threads: int = 1

    def check(self) -> None:
        """Refuse what cannot work, without running anything.

        Raises
        ------
        DeclarationError
            If a program or package is not there, takes no such images, or has no such
            hyperparameter; or the command cannot be filled in.
        """
        self._kind.check()

    @property
    def _kind(self) -> "_OfKind":
        return _KINDS[self.kind](self)

    def version(self, declared: str, defined_in: Path | None) -> str:
        """Return a hash of all that decides what the engine computes.

        Parameters
        ----------
        declared
            `model.version`.
        defined_in
            The file that defines the function, if that is the kind and it is known.
        """
        parts = [self.name, declared, *self._kind.decides(defined_in)]
        if self.options:
            parts.append(dict(self.options))
        return content_hash(*parts)

    def load(self) -> "LoadedEngine":
        """Return the engine: imports what it needs.

        Raises
        ------
        DeclarationError
            If it cannot be imported.
        """
        return self._kind.load()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        content = asdict(self)
        content["folder"] = str(self.folder)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EngineSource":
        """Return what `to_json` was made of."""
        values = dict(content)
        grid = values.pop("grid")
        values["folder"] = Path(values["folder"])
        values["outputs"] = tuple(values["outputs"])
        shape = tuple(grid["shape"])
        return cls(grid=Grid(shape=shape, spacing_mm=tuple(grid["spacing_mm"])), **values)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What an engine found.

    Parameters
    ----------
    displacement
        (d, *shape), in voxels, finite.
    wall_time_s
        Of the registration itself.
    """

    displacement: NDArray[np.float32]
    wall_time_s: float


@dataclass(frozen=True, kw_only=True)
class LoadedEngine:
    """An engine that is ready to register.

    Parameters
    ----------
    source
        What it was made of.
    run
        Takes two images and values by name; returns what the engine returns, and of a program also
        the seconds that it ran.
    defined_in
        The file that defines a Python function, if it is known.
    """

    source: EngineSource
    run: Run
    defined_in: Path | None = None

    def register(self, moving: Image, fixed: Image, setting: Mapping[str, Any]) -> Registered:
        """Register two prepared images, and check what is returned.

        Parameters
        ----------
        moving, fixed
            (*shape).
        setting
            Values of the hyperparameters.

        Raises
        ------
        EngineFailure
            If the engine raises, or returns something else than a displacement.
        """
        values = {**self.source.options, **setting}
        began = time.perf_counter()
        try:
            found, seconds = self.run(moving, fixed, values)
        except EngineFailure:
            raise
        except Exception as error:  # whatever somebody else's program raises
            raise EngineFailure(f"{type(error).__name__}: {one_line(error)}") from error
        if seconds is None:
            seconds = time.perf_counter() - began
        displacement = checked_displacement(found, moving.shape)
        return Registered(displacement=displacement, wall_time_s=seconds)


class _OfKind(ABC):
    """What differs between kinds of engines: one class for each key of `[model]` that names one."""

    def __init__(self, source: EngineSource) -> None:
        self.source = source

    @abstractmethod
    def check(self) -> None:
        """Refuse what cannot work, without running anything."""

    @abstractmethod
    def decides(self, defined_in: Path | None) -> list[Any]:
        """Return what decides the displacements beside name and options."""

    @abstractmethod
    def load(self) -> LoadedEngine:
        """Import what it needs."""


class _OfFunction(_OfKind):
    """A Python function; what it does is known when it is imported."""

    def check(self) -> None:
        return

    def decides(self, defined_in: Path | None) -> list[Any]:
        return ["" if defined_in is None else file_hash(defined_in)]

    def load(self) -> LoadedEngine:
        engine, defined_in = find_engine(self.source.name, self.source.folder)
        spacing_mm = self.source.grid.spacing_mm

        def run(moving: Image, fixed: Image, values: Mapping[str, Any]) -> tuple[Any, None]:
            return call(engine, moving, fixed, values, spacing_mm), None

        return LoadedEngine(source=self.source, run=run, defined_in=defined_in)


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
    except (Exception, SystemExit) as error:  # importing runs somebody else's program
        got = f"{path!r} ({type(error).__name__}: {one_line(error)})"
        raise DeclarationError(
            "model.callable",
            expected="a function that can be imported",
            got=got,
            advice="Correct the path or the file.",
        ) from error
    if not callable(found):
        raise DeclarationError(
            "model.callable",
            expected="a function",
            got=f"{path!r}, a value",
            advice="Name a function.",
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


class _OfCommand(_OfKind):
    """A command that is run for each pair."""

    def check(self) -> None:
        source = self.source
        check_command(source.name, source.outputs, {**source.options, **source.defaults})
        check_program(source.name, source.folder)

    def decides(self, defined_in: Path | None) -> list[Any]:
        files = content_of(self.source.name, self.source.folder)
        return ["command", list(self.source.outputs), files]

    def load(self) -> LoadedEngine:
        source = self.source
        engine = CommandEngine(
            source.name, source.outputs, source.folder, source.grid, source.threads
        )
        return LoadedEngine(source=source, run=engine.register)


class _OfProgram(_OfKind):
    """A program with an adaptor."""

    def __init__(self, source: EngineSource) -> None:
        super().__init__(source)
        self.program = find_engine_program(source.name)
        self.adaptor: Any = importlib.import_module(self.program.module)

    def check(self) -> None:
        program = self.program
        dimensions = self.source.grid.dimensions
        if dimensions not in program.dimensions:
            taken = " or ".join(f"{d}-D" for d in program.dimensions)
            raise DeclarationError(
                "model.engine",
                expected=f"{taken} images, as {program.title} takes",
                got=f"{dimensions}-D ones",
                advice="Choose another engine.",
            )
        if importlib.util.find_spec(program.imports) is None:
            raise self._not_installed(f"no package {program.package}")
        self._check_names("hyperparameters", self.source.defaults)
        self._check_names("model.options", self.source.options)

    def _check_names(self, table: str, names: Iterable[str]) -> None:
        known = [*self.adaptor.SPACE, *self.adaptor.OPTIONS]
        for name in names:
            if name not in known:
                title = self.program.title
                raise DeclarationError(
                    f"{table}.{name}",
                    expected=f"one of {', '.join(known)}, as the adaptor of {title} takes",
                    got=name,
                    advice="Correct the name.",
                )

    def _not_installed(self, got: str) -> DeclarationError:
        return DeclarationError(
            "model.engine",
            expected=f"{self.program.title} to be installed",
            got=got,
            advice=f"Run {self.program.install}.",
        )

    def decides(self, defined_in: Path | None) -> list[Any]:
        installed = importlib.metadata.version(self.program.package)
        return ["engine", installed, ADAPTORS_VERSION]

    def load(self) -> LoadedEngine:
        try:
            importlib.import_module(self.program.imports)
        except Exception as error:  # a broken installation fails in any way
            raise self._not_installed(f"{type(error).__name__}: {one_line(error)}") from error
        adaptor, source = self.adaptor, self.source
        defaults = {name: declared["default"] for name, declared in adaptor.SPACE.items()}

        def run(moving: Image, fixed: Image, values: Mapping[str, Any]) -> tuple[Any, None]:
            every = {**defaults, **adaptor.OPTIONS, **values}
            return adaptor.register(moving, fixed, every, source.grid, source.threads), None

        return LoadedEngine(source=source, run=run)


_KINDS: dict[Kind, type[_OfKind]] = {
    "callable": _OfFunction,
    "command": _OfCommand,
    "engine": _OfProgram,
}


def checked_displacement(found: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return what an engine returned, if it is a displacement.

    Parameters
    ----------
    found
        What it returned.
    shape
        Of the images.

    Raises
    ------
    EngineFailure
        If it has another shape, or values that are no finite numbers.

    Examples
    --------
    >>> checked_displacement(np.zeros((2, 3)), (2, 3))
    Traceback (most recent call last):
    hmopt.interop.engines.failure.EngineFailure: expected a displacement of shape (2, 2, 3), got (2, 3)
    """
    array = np.asarray(found)
    expected = (len(shape), *shape)
    if array.shape != expected:
        got = f"{array.shape} (None was returned)" if found is None else str(array.shape)
        raise EngineFailure(got, expected=f"a displacement of shape {expected}")
    if array.dtype.kind not in "fiu":
        raise EngineFailure(f"values of type {array.dtype}", expected="numbers")
    others = np.count_nonzero(~np.isfinite(array))
    if others:
        raise EngineFailure(f"{others} others", expected="finite numbers")
    return array.astype(np.float32)
