"""What stands behind the page: a model, pairs of images, and answers to what is asked of them.

A `Tuner` knows neither HTTP nor notebooks: `server` and `widget` pass on to it what a page asks, and pass
back what it answers.
"""

import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from hmopt.errors import DataError
from hmopt.files import check_outputs
from hmopt.interop.model import FileModel, Model
from hmopt.interop.registration import Registrar
from hmopt.metrics import Originals, measure
from hmopt.report.words import symbol
from hmopt.space import Hyperparameter, Index, Setting, Value, choice_text
from hmopt.spatial import coarsen, image_tensor, label_tensor
from hmopt.tuner.curves import SearchFindings
from hmopt.tuner.known_fields import Field as Displacement
from hmopt.tuner.known_fields import KnownFields
from hmopt.tuner.pairs import PairSource, ShownPair
from hmopt.tuner.picture import Arrays, Plane, determinant, draw_plane, planes_at
from hmopt.tuner.worker import LatestFirst
from hmopt.workflow.register import given_setting
from hmopt.workflow.setting_file import OPTION, identity_of, write_setting

DIRECT_VOXELS = 2**18
"""Grids of more voxels are answered coarsely first: a pass of the network takes longer than a moved slider may."""
COARSE_VOXELS = 2**20
"""Voxels of the coarse grid, at most."""
KEPT_BYTES = 2**28
"""Displacements that stay in memory, those asked for last."""
KEPT_PAIRS = 4
MOST_STOPS = 1001
"""Stops of a slider, at most."""
ALIGNMENT = 4
"""Arrays begin at multiples of so many bytes, as JavaScript wants them."""


class Asked(BaseModel):
    """What a page asks to see.

    Parameters
    ----------
    setting
        Values by name of a hyperparameter; others are at their default.
    pair
        Which pair, from 0.
    voxel
        The voxel whose planes are shown; None: one that shows most of the labels.
    coarse
        Whether an answer from what is known already is asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    setting: dict[str, bool | int | float | str]
    pair: NonNegativeInt = 0
    voxel: Annotated[list[int], Field(min_length=2, max_length=3)] | None = None
    coarse: bool = False


class Kept(BaseModel):
    """A setting that a page asks to keep in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    setting: dict[str, bool | int | float | str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is shown of a pair at a setting.

    Parameters
    ----------
    header
        As JSON holds it: the setting, the planes with the places of their arrays in `body`, scores.
    body
        All arrays, one after the other.
    """

    header: Mapping[str, Any]
    body: bytes

    def encoded(self) -> bytes:
        """Return it as bytes: the length of the header in 4, little end first, the header, and the arrays.

        Examples
        --------
        >>> Answer(header={}, body=b"1234").encoded()[4:]
        b'{}  1234'
        """
        text = json.dumps(self.header, ensure_ascii=False).encode()
        padded = text.ljust(_aligned(len(text)))
        return len(padded).to_bytes(4, "little") + padded + self.body


class Tuner:
    """Answers what a page asks about a model and some pairs.

    Parameters
    ----------
    registrar
        The model.
    source
        The pairs.
    findings
        What a search of the model found.
    folder
        The study folder, for the command that the page shows.
    setting_file
        Where a chosen setting goes.
    name
        What the study is called.
    inputs
        Files that are read, by what names them: nothing is written over them.

    Attributes
    ----------
    is_coarse_first
        Whether a coarse answer is asked for before an exact one.
    kept_file
        The file of the setting that was kept; None: none was.
    """

    def __init__(
        self,
        registrar: Registrar,
        source: PairSource,
        findings: SearchFindings,
        *,
        folder: Path,
        setting_file: Path,
        name: str,
        inputs: Mapping[str, Path] | None = None,
    ) -> None:
        check_outputs({OPTION: setting_file}, inputs or {})
        self._model = registrar.model
        self._space = registrar.space
        self._source = source
        self._findings = findings
        self._folder = folder
        self._setting_file = setting_file
        self._name = name
        self.kept_file: Path | None = None
        self._names = list(source.names)
        self._worker: LatestFirst[Answer] = LatestFirst()
        self._pair = lru_cache(maxsize=KEPT_PAIRS)(source.pair)
        self._originals = lru_cache(maxsize=KEPT_PAIRS)(self._read_originals)
        self._known = lru_cache(maxsize=KEPT_PAIRS)(self._no_fields)
        shape = self._pair(0).shape
        self._shape = shape
        bytes_each = 4 * len(shape) * math.prod(shape)
        keep = lru_cache(maxsize=max(2, KEPT_BYTES // bytes_each))
        self._displacement = keep(self._register)
        self.is_coarse_first = math.prod(shape) > DIRECT_VOXELS or not _is_quick(self._model)
        self._factor = coarse_factor(shape) if self.is_coarse_first else 1
        self._coarse_pair = lru_cache(maxsize=KEPT_PAIRS)(self._make_coarse)

    # --- what a page asks

    def facts(self) -> dict[str, Any]:
        """Return what a page must know before it asks, as JSON holds it."""
        pair = self._pair(0)
        best = self._findings.scopes
        start = best[0].setting if best else self._space.default
        return {
            "name": self._name,
            "hyperparameters": [control(one) for one in self._space.hyperparameters],
            "start": dict(start),
            "pairs": self._names,
            "labels": list(pair.labels),
            "views": list(self._source.views),
            "shape": list(self._shape),
            "spacing": list(pair.spacing_mm or [1.0] * len(self._shape)),
            "coarse_first": self.is_coarse_first,
            "setting_file": str(self._setting_file),
            "findings": self._findings.record(),
            "remarks": list(getattr(self._source, "remarks", ())),
        }

    def ask(self, asked: Asked) -> "Future[Answer]":
        """Return the future of an answer; it is cancelled if a newer one is asked for before it begins.

        A coarse answer is there at once.

        Raises
        ------
        HmoptError
            If the setting, the pair or the voxel is none.
        """
        index, voxel = self._checked(asked)
        if asked.coarse and self.is_coarse_first:
            done: Future[Answer] = Future()
            done.set_result(self._coarse_answer(asked.pair, index, voxel))
            self._compute_ahead(asked.pair)
            return done
        return self._worker.ask(lambda: self._exact_answer(asked.pair, index, voxel))

    def answer(self, asked: Asked) -> Answer:
        """Return an answer when it is there.

        Raises
        ------
        HmoptError
            As `ask`.
        """
        return self.ask(asked).result()

    def keep(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Write a setting into the file, and return where it is and the command that takes it.

        Raises
        ------
        HmoptError
            If it is no setting of the model.
        OSError
            If the file cannot be written.
        """
        setting = given_setting(self._space, values)
        path = self._setting_file
        was_there = path.exists()
        write_setting(path, setting, identity_of(self._model))
        self.kept_file = path
        folder, file = shlex.quote(str(self._folder)), shlex.quote(str(path))
        command = (
            f"hmopt register {folder} moving.nii.gz fixed.nii.gz --moved moved.nii.gz "
            f"{OPTION} {file}"
        )
        return {"path": str(path), "command": command, "replaced": was_there}

    def close(self) -> None:
        """End what runs in the background."""
        self._worker.close()

    # --- checks

    def _checked(self, asked: Asked) -> tuple[Index, tuple[int, ...]]:
        setting = given_setting(self._space, asked.setting)
        if asked.pair >= len(self._names):
            last = len(self._names) - 1
            raise DataError(
                "pair", expected=f"0 to {last}", got=asked.pair, advice="Choose one of the list."
            )
        voxel = asked.voxel
        if voxel is None:
            return self._space.index(setting), self._pair(asked.pair).middle()
        if len(voxel) != len(self._shape):
            raise DataError(
                "voxel",
                expected=f"{len(self._shape)} numbers",
                got=len(voxel),
                advice="State one for each axis.",
            )
        inside = np.clip(voxel, 0, np.array(self._shape) - 1).tolist()
        return self._space.index(setting), tuple(inside)

    # --- answers

    def _exact_answer(self, place: int, index: Index, voxel: tuple[int, ...]) -> Answer:
        began = time.perf_counter()
        pair = self._pair(place)
        displacement = self._shown_displacement(place, index)
        determinants = determinant(displacement)
        planes = planes_at(voxel, pair.shape)
        drawn = [draw_plane(pair, displacement, determinants, plane) for plane in planes]
        scores = self._scores(place, displacement, determinants)
        setting = self._space.setting(index)
        return _answer(setting, voxel, planes, drawn, scores, is_coarse=False, began=began)

    def _coarse_answer(self, place: int, index: Index, voxel: tuple[int, ...]) -> Answer:
        began = time.perf_counter()
        pair = self._coarse_pair(place)
        displacement = self._known(place).between(index)
        if displacement is None:  # nothing is known yet: both images as they are
            displacement = np.zeros((len(pair.shape), *pair.shape), np.float32)
        determinants = determinant(displacement)
        coarse_voxel = [one // self._factor for one in voxel]
        planes = planes_at(coarse_voxel, pair.shape)
        drawn = [draw_plane(pair, displacement, determinants, plane) for plane in planes]
        setting = self._space.setting(index)
        return _answer(setting, voxel, planes, drawn, {}, is_coarse=True, began=began)

    def _register(self, place: int, index: Index) -> Displacement:
        """Return the displacement of a pair at a setting, as `hmopt.register` finds it: (d, *shape)."""
        pair = self._pair(place)
        setting = self._space.setting(index)
        displacement = self._model.displacement(pair.moving, pair.fixed, setting)
        return displacement.astype(np.float32, copy=False)

    def _shown_displacement(self, place: int, index: Index) -> Displacement:
        """Return the displacement of a pair at a setting, which coarse answers are then interpolated from, too."""
        displacement: Displacement = self._displacement(place, index)
        # a pair that was left for others may have lost its coarse fields, but not this one
        if self.is_coarse_first and index not in self._known(place):
            self._known(place).keep(index, coarse_displacement(displacement, self._factor))
        return displacement

    def _compute_ahead(self, place: int) -> None:
        """Ask for the displacements of a pair between which others are interpolated, when there is time."""
        known = self._known(place)
        missing = [index for index in known.nodes() if index not in known]
        self._worker.later([_later(self._shown_displacement, place, index) for index in missing])

    def _no_fields(self, place: int) -> KnownFields:
        return KnownFields(self._space)

    def _make_coarse(self, place: int) -> ShownPair:
        return self._pair(place).coarse(self._factor)

    def _scores(
        self, place: int, displacement: Displacement, determinants: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Return the share of folded voxels, and the Dice of each label where both label maps are known."""
        inner = determinants[(slice(1, -1),) * determinants.ndim]
        scores: dict[str, Any] = {"folding": float((inner <= 0).mean())}
        originals = self._originals(place)
        if originals is None:
            return scores
        tensor = torch.from_numpy(np.ascontiguousarray(displacement))[None]
        values = measure(["dice"], originals, tensor)["dice"][0]
        known = values[np.isfinite(values)]
        scores["dice"] = [float(one) if np.isfinite(one) else None for one in values]
        scores["mean_dice"] = float(known.mean()) if len(known) else None
        return scores

    def _read_originals(self, place: int) -> Originals | None:
        pair = self._pair(place)
        if pair.moving_labels is None or pair.fixed_labels is None:
            return None
        return Originals(
            moving=image_tensor([pair.moving]),
            fixed=image_tensor([pair.fixed]),
            moving_labels=label_tensor([pair.moving_labels]),
            fixed_labels=label_tensor([pair.fixed_labels]),
            label_count=len(pair.labels),
            spacing_mm=None,
        )


def _later(compute: Any, place: int, index: Index) -> Any:
    return lambda: compute(place, index)


def _is_quick(model: Model) -> bool:
    """Tell whether a displacement takes one pass of a network: not of an engine, nor with refinement."""
    return isinstance(model, FileModel) and not model.is_slow_to_set


def coarse_factor(shape: tuple[int, ...]) -> int:
    """Return how much coarser the grid of coarse answers is: a power of 2, at most the shortest side.

    Examples
    --------
    >>> coarse_factor((80, 96, 80)), coarse_factor((160, 192, 224))
    (1, 2)
    """
    factor = 1
    while math.prod(size // factor for size in shape) > COARSE_VOXELS:
        if 2 * factor > min(shape):
            break
        factor *= 2
    return factor


def coarse_displacement(displacement: Displacement, factor: int) -> Displacement:
    """Return a displacement on a grid that is coarser by a whole factor, in voxels of that grid.

    Parameters
    ----------
    displacement
        (d, *shape), in voxels.

    Examples
    --------
    >>> coarse_displacement(np.ones((2, 4, 6), np.float32), 2)[:, 0, 0].tolist()
    [0.5, 0.5]
    """
    tensor = torch.from_numpy(np.ascontiguousarray(displacement))[None]
    coarse = coarsen(tensor, factor)[0] / factor
    array: Displacement = coarse.numpy()
    return array


def control(hyperparameter: Hyperparameter) -> dict[str, Any]:
    """Return what a page must know of a hyperparameter: name, symbol, values, and when it is active.

    The values of a number are those of its lattice, at most `MOST_STOPS` of them.
    """
    points = hyperparameter.points
    stops = min(points, MOST_STOPS) if hyperparameter.is_ordered else points
    places = np.linspace(0, points - 1, stops).round().astype(int)
    values = [hyperparameter.value(int(place)) for place in places]
    return {
        "name": hyperparameter.name,
        "symbol": symbol(hyperparameter.name),
        "ordered": hyperparameter.is_ordered,
        "logarithmic": hyperparameter.prior == "log-uniform",
        "values": values,
        "texts": [_text(value) for value in values],
        "default": hyperparameter.default,
        "only_if": [[name, list(allowed)] for name, allowed in hyperparameter.conditions],
    }


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else choice_text(value)


def _answer(
    setting: Setting,
    voxel: Sequence[int],
    planes: Sequence[Plane],
    drawn: Sequence[Arrays],
    scores: Mapping[str, Any],
    *,
    is_coarse: bool,
    began: float,
) -> Answer:
    body = bytearray()
    described = []
    for plane, arrays in zip(planes, drawn, strict=True):
        places = {}
        for name, array in arrays.items():
            places[name] = {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "offset": len(body),
            }
            content = array.tobytes()
            body += content.ljust(_aligned(len(content)), b"\0")
        described.append({"axis": plane.axis, "index": plane.index, "arrays": places})
    header = {
        "setting": dict(setting),
        "voxel": list(voxel),
        "planes": described,
        "scores": dict(scores),
        "coarse": is_coarse,
        "milliseconds": round(1000 * (time.perf_counter() - began), 1),
    }
    return Answer(header=header, body=bytes(body))


def _aligned(length: int) -> int:
    """Return the length, rounded up so that what follows begins where it should."""
    return -(-length // ALIGNMENT) * ALIGNMENT
