"""What a declaration says of its engine, and the engine that is made of it."""

import importlib
import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import EngineProgram, find_engine_program
from hmopt.errors import DeclarationError
from hmopt.files import content_hash, file_hash, one_line
from hmopt.interop.engines.callables import Engine, call, find_engine
from hmopt.interop.engines.command import (
    CommandEngine,
    check_command,
    check_program,
    content_of,
)
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid

Kind = Literal["callable", "command", "engine"]

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
        if self.kind == "command":
            check_command(self.name, self.outputs, {**self.options, **self.defaults})
            check_program(self.name, self.folder)
        if self.kind == "engine":
            self._check_program(find_engine_program(self.name))

    def _check_program(self, program: EngineProgram) -> None:
        dimensions = self.grid.dimensions
        if dimensions not in program.dimensions:
            taken = " or ".join(f"{d}-D" for d in program.dimensions)
            raise DeclarationError(
                "model.engine",
                expected=f"{taken} images, as {program.title} takes",
                got=f"{dimensions}-D ones",
                advice="Choose another engine.",
            )
        if importlib.util.find_spec(program.imports) is None:
            raise DeclarationError(
                "model.engine",
                expected=f"{program.title} to be installed",
                got=f"no package {program.package}",
                advice=f"Run {program.install}.",
            )
        adaptor = importlib.import_module(program.module)
        known = [*adaptor.SPACE, *adaptor.OPTIONS]
        for table, names in (("hyperparameters", self.defaults), ("model.options", self.options)):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise DeclarationError(
                    f"{table}.{unknown[0]}",
                    expected=f"one of {', '.join(known)}, as the adaptor of {program.title} takes",
                    got=unknown[0],
                    advice="Correct the name.",
                )

    def version(self, declared: str, defined_in: Path | None) -> str:
        """Return a hash of all that decides what the engine computes.

        Parameters
        ----------
        declared
            `model.version`.
        defined_in
            The file that defines the function, if that is the kind and it is known.
        """
        parts: list[Any] = [self.name, declared]
        if self.kind == "callable":
            parts.append(file_hash(defined_in) if defined_in is not None else "")
        if self.kind == "command":
            parts += ["command", list(self.outputs), content_of(self.name, self.folder)]
        if self.kind == "engine":
            program = find_engine_program(self.name)
            installed = importlib.metadata.version(program.package)
            parts += ["engine", installed, ADAPTORS_VERSION]
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
        if self.kind == "command":
            return LoadedEngine(source=self)
        if self.kind == "callable":
            engine, defined_in = find_engine(self.name, self.folder)
            return LoadedEngine(source=self, function=engine, defined_in=defined_in)
        program = find_engine_program(self.name)
        try:
            importlib.import_module(program.imports)
        except Exception as error:  # a broken installation fails in any way
            raise DeclarationError(
                "model.engine",
                expected=f"{program.title} to be installed",
                got=f"{type(error).__name__}: {one_line(error)}",
                advice=f"Run {program.install}.",
            ) from error
        return LoadedEngine(source=self)

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
    function
        Where it is a Python function.
    defined_in
        The file that defines that function, if it is known.
    """

    source: EngineSource
    function: Engine | None = None
    defined_in: Path | None = None

    def register(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Mapping[str, Any]
    ) -> Registered:
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
            found, seconds = self._run(moving, fixed, values)
        except EngineFailure:
            raise
        except Exception as error:  # whatever somebody else's program raises
            raise EngineFailure(f"{type(error).__name__}: {one_line(error)}") from error
        if seconds is None:
            seconds = time.perf_counter() - began
        displacement = checked_displacement(found, moving.shape)
        return Registered(displacement=displacement, wall_time_s=seconds)

    def _run(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], values: dict[str, Any]
    ) -> tuple[Any, float | None]:
        """Return what the engine returns; of a program also the seconds that it ran."""
        source = self.source
        if source.kind == "command":
            engine = CommandEngine(
                source.name, source.outputs, source.folder, source.grid, source.threads
            )
            return engine.register(moving, fixed, values)
        if source.kind == "callable":
            assert self.function is not None
            spacing_mm = source.grid.spacing_mm
            return call(self.function, moving, fixed, values, spacing_mm), None
        adaptor: Any = importlib.import_module(find_engine_program(source.name).module)
        defaults = {name: declared["default"] for name, declared in adaptor.SPACE.items()}
        every = {**defaults, **adaptor.OPTIONS, **values}
        return adaptor.register(moving, fixed, every, source.grid, source.threads), None


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
