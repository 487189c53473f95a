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
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Pair
from hmopt.space import Index, Setting, Space

Engine = Callable[[NDArray[np.float32], NDArray[np.float32], Setting], NDArray[np.floating]]
"""`(moving, fixed, setting) -> displacement`: images (*shape), float32; displacement (d, *shape), in voxels."""

_FIELD = "model.callable"


class EngineOracle(RegisteringOracle):
    """Measures settings on pairs of a cohort with the displacements of an engine.

    Parameters
    ----------
    engine
        Registers two prepared images at a setting: `moved(x) = moving(x + displacement(x))`.
    cohort
        Holds the images of pairs.
    space
        The hyperparameters that the engine takes.
    version
        Stands for what the engine computes: measurements of another version are not reused.
    device
        Where metrics are computed.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.

    Examples
    --------
    An engine that moves nothing:

    >>> def still(moving, fixed, setting):
    ...     return np.zeros((moving.ndim, *moving.shape))
    """

    def __init__(
        self,
        engine: Engine,
        cohort: PreparedCohort,
        space: Space,
        version: str,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._engine = engine
        self._space = space
        self._identity = content_hash("engine", version, cohort.identity)

    @property
    def space(self) -> Space:
        """The hyperparameters that the engine takes."""
        return self._space

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
        displacements = [
            self._displacement(moving[row], fixed[row], setting, pair)
            for row, pair in enumerate(pairs)
        ]
        return torch.from_numpy(np.stack(displacements)).to(self.device)

    def _displacement(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Setting, pair: Pair
    ) -> NDArray[np.float32]:
        where = f"the engine on pair {pair.id} at {_told(setting)}"
        expected = (moving.ndim, *moving.shape)
        try:
            # copies, so that an engine that writes into its arguments changes nothing here
            found = np.asarray(self._engine(moving.copy(), fixed.copy(), dict(setting)))
        except Exception as error:  # whatever somebody else's program raises
            got = f"{type(error).__name__}: {one_line(error)}"
            advice = "Correct the engine, or leave the setting or the pair out."
            raise SearchError(where, expected="a displacement", got=got, advice=advice) from error
        if found.shape != expected:
            rule = f"a displacement of shape {expected}"
            raise SearchError(where, expected=rule, got=found.shape, advice="Correct the engine.")
        if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            got = "others" if found.dtype.kind in "fiu" else f"values of type {found.dtype}"
            raise SearchError(where, expected="finite numbers", got=got, advice="Correct it.")
        return found.astype(np.float32)


def open_engine(
    folder: Path, study: Study, cohort: PreparedCohort, device: torch.device | str = "cpu"
) -> EngineOracle:
    """Return the oracle of the engine that a study declares.

    Parameters
    ----------
    folder
        The study folder, which the file of an engine is relative to.
    study
        The declaration, with `model.callable`.
    cohort
        Its prepared images.
    device
        Where metrics are computed.

    Raises
    ------
    DeclarationError
        If there is no such function.
    """
    declared = study.model
    assert declared.callable is not None  # as the declaration has checked
    engine, content = find_engine(declared.callable, folder)
    version = content_hash(declared.callable, declared.version, content)
    return EngineOracle(engine, cohort, study.space, version, device)


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
    hmopt.errors.DeclarationError: model.callable: expected a function that can be imported, got 'math:hypotenuse' ...
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
    return ", ".join(f"{name} = {value:g}" for name, value in setting.items())
