"""Which normalization a model of another program expects, measured without labels on a few pairs of new images."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.data.alignment import resolve_template
from hmopt.data.image import find_place, resample_image
from hmopt.data.placement import draw_image_pairs
from hmopt.data.reference import find_reference
from hmopt.data.volume import read_image, read_lattice
from hmopt.declaration import PreprocessingOptions, Study
from hmopt.interop.model import FileModel
from hmopt.metrics.similarity import local_moments, similarity
from hmopt.progress import Track
from hmopt.space import Setting
from hmopt.spatial import image_tensor, warp

NORMALIZATIONS: tuple[str, ...] = get_args(
    PreprocessingOptions.model_fields["normalization"].annotation
)
PAIRS = 12
"""Pairs of a model that registers fast."""
BUDGET_S = 30.0
"""Time for all registrations; a model that takes longer for one is not measured."""
SEED = 0
PLACES = (0.25, 0.75)
"""Where in the range of each hyperparameter a model is measured, besides its default."""

CLOSE = 0.01
"""Difference of two gains in similarity, of 1 at most, that decides nothing."""
_STANDARD_ERRORS = 2.0

Images = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class NormalizationGains:
    """How much a model improves the similarity of pairs, by the normalization of what it is given.

    The similarity is that of `hmopt.metrics.similarity`, always of the same images, scaled by their
    minimum and maximum: only the displacement differs.

    Parameters
    ----------
    gains
        (pairs,) of each normalization: similarity of moved and fixed image less that of the
        unregistered pair, the mean of some settings.
    unregistered
        Mean similarity of the unregistered pairs.
    """

    gains: Mapping[str, NDArray[np.float64]]
    unregistered: float

    @property
    def pairs(self) -> int:
        """How many pairs were registered."""
        return len(next(iter(self.gains.values())))

    @property
    def ranked(self) -> list[str]:
        """The normalizations, that of the largest mean gain first."""
        return sorted(self.gains, key=lambda name: -float(self.gains[name].mean()))

    @property
    def best(self) -> str:
        """The normalization of the largest mean gain."""
        return self.ranked[0]

    @property
    def remark(self) -> str:
        """The numbers, in a sentence or two."""
        told = [f"{float(self.gains[name].mean()):+.3f} with {name}" for name in self.ranked]
        pairs = "1 pair" if self.pairs == 1 else f"{self.pairs} pairs"
        return (
            f"Not stored in the file. Measured without labels: registration changes the similarity of {pairs} "
            f"({self.unregistered:.3f}) by {', '.join(told)}."
        )

    @property
    def warnings(self) -> list[str]:
        """What makes the choice doubtful, one sentence each."""
        best, second = self.ranked[:2]
        advice = "Compare preprocessing.normalization with the training of the model."
        if not _is_above(self.gains[best], 0.0):
            return [
                "Normalization: the model hardly improves the similarity with any normalization "
                f"({self.remark.split(': ')[-1]} {best} is taken. {advice}"
            ]
        if not _is_above(self.gains[best] - self.gains[second], 0.0):
            return [
                f"Normalization: {best} ({self.gains[best].mean():+.3f}) and {second} "
                f"({self.gains[second].mean():+.3f}) improve the similarity about equally; {best} is used. {advice}"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class TooSlow:
    """A model of which one registration takes too long to measure its normalization.

    Parameters
    ----------
    seconds
        That one registration took.
    """

    seconds: float


def measure_normalizations(
    model: FileModel, study: Study, images: pd.DataFrame, folder: Path, track: Track
) -> NormalizationGains | TooSlow | None:
    """Register a few pairs of new images with each normalization; no label map is read.

    Parameters
    ----------
    model
        Takes images in RAS+ (see `in_ras`).
    study
        How the images are prepared but for their normalization, paths absolute.
    images
        As of `list_images`.
    folder
        The study folder.
    track
        Shows progress.

    Returns
    -------
    NormalizationGains, TooSlow or None
        None where there is no pair of two subjects.

    Raises
    ------
    DataError
        If an image cannot be prepared.
    """
    pairs = draw_pairs_alike(images, study.pairs.same, PAIRS, SEED)
    if not pairs:
        return None
    prepared = _Preparation(study.preprocessing, images, folder)
    settings = _settings(model)

    # the first pair tells what one costs
    name: str = study.preprocessing.normalization
    first = [prepared.images(path, name) for path in pairs[0]]
    begin = time.perf_counter()
    model.displacement(first[0], first[1], settings[0])
    seconds = time.perf_counter() - begin
    if seconds > BUDGET_S:
        return TooSlow(seconds=seconds)

    registrations = len(NORMALIZATIONS) * len(settings)
    affordable = int(BUDGET_S / max(seconds * registrations, 1e-9))
    if affordable < len(pairs):
        settings = settings[:1]
        affordable = int(BUDGET_S / (seconds * len(NORMALIZATIONS)))
    pairs = pairs[: max(1, affordable)]

    gains: dict[str, list[float]] = {name: [] for name in NORMALIZATIONS}
    unregistered = []
    for pair in track(pairs, "Comparing normalizations", len(pairs)):
        moving, fixed = (image_tensor([prepared.images(path, "minmax")]) for path in pair)
        before = _similarity(moving, fixed)
        unregistered.append(before)
        for name in NORMALIZATIONS:
            given = [prepared.images(path, name) for path in pair]
            after = [_after(model, given, setting, moving, fixed) for setting in settings]
            gains[name].append(float(np.mean(after)) - before)
    return NormalizationGains(
        gains={name: np.array(values) for name, values in gains.items()},
        unregistered=float(np.mean(unregistered)),
    )


def draw_pairs_alike(
    images: pd.DataFrame, same: list[str], count: int, seed: int
) -> list[tuple[Path, Path]]:
    """Return files of random pairs of two subjects that agree in some columns, as in their modality."""
    if images["subject"].nunique() < 2:
        return []
    if not same:
        return draw_image_pairs(images, count, seed, "image")
    groups = [rows for _, rows in images.groupby(same) if rows["subject"].nunique() > 1]
    drawn: list[tuple[Path, Path]] = []
    for rows in groups:
        drawn += draw_image_pairs(rows, max(1, count // len(groups)), seed, "image")
    return drawn[:count]


class _Preparation:
    """Prepares images with any normalization; what was read last is kept, as pairs are few."""

    def __init__(self, options: PreprocessingOptions, images: pd.DataFrame, folder: Path) -> None:
        slices = options.slices
        if slices is not None:
            searched = slices.search_indices or slices.indices
            middle = [searched[len(searched) // 2]]
            only = slices.model_copy(update={"indices": middle, "search_indices": []})
            options = options.model_copy(update={"slices": only})
        self._options = options
        self._template = resolve_template(options, images, folder)
        lattices = {str(path): read_lattice(path) for path in images["image"]}
        template = None if self._template is None else read_lattice(self._template)
        self._reference = find_reference(options, lattices, template)
        self._kept: dict[Path, dict[str, NDArray[np.float32]]] = {}

    def images(self, path: Path, normalization: str) -> NDArray[np.float32]:
        """Return an image on the prepared grid, (*shape)."""
        if path not in self._kept:
            if len(self._kept) == 2:
                self._kept.clear()
            self._kept[path] = self._prepare(path)
        return self._kept[path][normalization]

    def _prepare(self, path: Path) -> dict[str, NDArray[np.float32]]:
        image = read_image(path)
        place = find_place(image, self._options, self._reference, self._template)
        found = {}
        for name in NORMALIZATIONS:
            options = self._options.model_copy(update={"normalization": name})
            found[name] = resample_image(image, options, place, str(path))[0].data
        return found


def _settings(model: FileModel) -> list[Setting]:
    """Return the default setting, and two others where a new one costs nothing."""
    space = model.space
    settings: list[Setting] = [space.default]
    if model.is_slow_to_set:
        return settings
    for place in PLACES:
        values: dict[str, Any] = {}
        for one in space.hyperparameters:
            values[one.name] = one.from_unit_interval(place)
        settings.append(values)
    return settings


def _after(
    model: FileModel,
    given: Images,
    setting: Setting,
    moving: Tensor,
    fixed: Tensor,
) -> float:
    """Return the similarity of a pair after registration of its images as they are given to the model."""
    moving_given, fixed_given = given
    displacement = model.displacement(moving_given, fixed_given, setting)
    # (1, d, *shape)
    batch = torch.from_numpy(np.ascontiguousarray(displacement))[None]
    moved = warp(moving, batch)
    return _similarity(moved, fixed)


def _similarity(moved: Tensor, fixed: Tensor) -> float:
    return float(similarity(local_moments(moved), local_moments(fixed))[0])


def _is_above(differences: NDArray[np.float64], limit: float) -> bool:
    """Tell whether a mean is above a limit by more than its error, and by more than nothing to speak of."""
    mean = float(differences.mean()) - limit
    if len(differences) < 2:
        return mean > CLOSE
    error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
    return bool(mean > max(CLOSE, _STANDARD_ERRORS * error))
