"""The oracle of an engine: any Python function that registers two images."""

import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import DeclarationError, SearchError
from hmopt.files import content_hash, file_hash, one_line
from hmopt.interop.model import Image
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Pair
from hmopt.space import Index, Setting, Space, value_text

Engine = Callable[[Image, Image, Setting], NDArray[np.floating]]
"""`(moving, fixed, setting) -> displacement`: images (*shape); (d, *shape), in voxels."""

_FIELD = "model.callable"


class EngineModel:
    """An engine as a model: what it returns is checked, and an error of it becomes one line.

    Parameters
    ----------
    engine
        Registers two prepared images at a setting: `moved(x) = moving(x + displacement(x))`.
    space
        The hyperparameters that the engine takes.
    version
        Stands for what the engine computes: measurements of another version are not reused.
    """

    def __init__(self, engine: Engine, space: Space, version: str) -> None:
        self._engine = engine
        self.space = space
        self.version = version

    def displacement(
        self, moving: Image, fixed: Image, setting: Setting, pair: str | None = None
    ) -> NDArray[np.float32]:
        """Return the displacement (d, *shape), in voxels.

        Parameters
        ----------
        moving, fixed
            Prepared images, (*shape).
        setting
            A value for every hyperparameter.
        pair
            What a message calls the two images.

        Raises
        ------
        SearchError
            If the engine fails, or returns something else than a displacement.
        """
        on_pair = "" if pair is None else f" on pair {pair}"
        where = f"the engine{on_pair} at {_told(setting)}"
        shape = (moving.ndim, *moving.shape)
        try:
            # copies, so that an engine that writes into its arguments changes nothing here
            returned = self._engine(moving.copy(), fixed.copy(), dict(setting))
            found = np.asarray(returned)
        except Exception as error:  # whatever somebody else's program raises
            got = f"{type(error).__name__}: {one_line(error)}"
            advice = "Correct the engine, or leave the setting or the pair out."
            raise SearchError(where, expected="a displacement", got=got, advice=advice) from error
        if found.shape != shape:
            raise _wrong(where, f"a displacement of shape {shape}", found.shape)
        if found.dtype.kind not in "fiu":
            raise _wrong(where, "numbers", f"values of type {found.dtype}")
        others = np.count_nonzero(~np.isfinite(found))
        if others:
            raise _wrong(where, "finite numbers", f"{others} others")
        return found.astype(np.float32)


def _wrong(where: str, expected: str, got: object) -> SearchError:
    advice = "Correct the engine."
    return SearchError(where, expected=expected, got=got, advice=advice)


class EngineOracle(RegisteringOracle):
    """Measures settings on pairs of a cohort with the displacements of an engine.

    Parameters
    ----------
    model
        The engine.
    cohort
        Holds the images of pairs.
    device
        Where metrics are computed.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(
        self,
        model: EngineModel,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._model = model
        self._identity = content_hash("engine", model.version, cohort.identity)

    @property
    def space(self) -> Space:
        """The hyperparameters that the engine takes."""
        return self._model.space

    @property
    def identity(self) -> str:
        """Hash of the engine's version and the prepared cohort."""
        return self._identity

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs, one after the other.

        Raises
        ------
        SearchError
            If the engine fails, or returns something else than a displacement.
        """
        setting = self.space.setting(index)
        moving = images.moving[:, 0].cpu().numpy()
        fixed = images.fixed[:, 0].cpu().numpy()
        displacements = []
        for row, pair in enumerate(pairs):
            found = self._model.displacement(moving[row], fixed[row], setting, pair.id)
            displacements.append(found)
        stacked = torch.from_numpy(np.stack(displacements))
        return stacked.to(self.device)


def load_engine(folder: Path, study: Study) -> EngineModel:
    """Return the engine that a study declares.

    Parameters
    ----------
    folder
        The study folder, which the file of an engine is relative to.
    study
        The declaration, with `model.callable`.

    Raises
    ------
    DeclarationError
        If there is no such function.
    """
    declared = study.model
    assert declared.callable is not None  # as the declaration has checked
    engine, content = find_engine(declared.callable, folder)
    version = content_hash(declared.callable, declared.version, content)
    return EngineModel(engine, study.space, version)


def find_engine(path: str, folder: Path) -> tuple[Engine, str]:
    """Return the function that a path names, and a hash of the file that defines it.

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
            _FIELD,
            expected="a function that can be imported",
            got=got,
            advice="Correct the path or the file.",
        ) from error
    if not callable(found):
        raise DeclarationError(
            _FIELD, expected="a function", got=f"{path!r}, a value", advice="Name a function."
        )
    defined_in = getattr(module or sys.modules.get(place), "__file__", None)
    content = file_hash(Path(defined_in)) if defined_in else ""
    return cast(Engine, found), content


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


def _told(setting: Setting) -> str:
    values = [f"{name} = {value_text(value)}" for name, value in setting.items()]
    return ", ".join(values)
