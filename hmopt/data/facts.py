"""What the images that a model was trained on look like: facts that travel in the model's header.

A new cohort is compared with them before a model is used on it: intensities by their distribution,
structures by their size, pairs by how well they overlap before registration.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, NonNegativeFloat

from hmopt.data.manifest import known_values
from hmopt.data.pairs import possible_pairs
from hmopt.data.prepared import GRIDS, PreparedCohort
from hmopt.data.preprocessing import image_hash
from hmopt.declaration import Study
from hmopt.errors import CheckpointError
from hmopt.files import checked
from hmopt.records import Pair
from hmopt.schemas import Record

Floats = NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]

FACTS = "cohort_facts"
"""Key of a model's header that holds them."""
LEVELS = np.linspace(0.01, 0.99, 33)
"""Levels of the quantiles that stand for a distribution of intensities."""
MOST_IMAGES = 60
MOST_PAIRS = 60
"""Images that are measured, and pairs of each task; more are sampled evenly."""
_DARK = 0.05
"""Share of an image's range above its lowest intensity up to which a voxel counts as background."""


class Sizes(Record):
    """Sizes of one structure over images, in voxels of the prepared grid."""

    low: NonNegativeFloat
    """5th percentile."""
    median: NonNegativeFloat
    high: NonNegativeFloat
    """95th percentile."""
    images: Count
    """How many of the measured images show it."""


class Overlaps(Record):
    """Dice of one structure before registration, over pairs."""

    low: Share
    """10th percentile."""
    mean: Share
    pairs: Count
    """How many of the measured pairs show it in both images."""


class CohortFacts(Record):
    """Facts of prepared images: of those that a model was trained on, or of a new cohort."""

    model_config = ConfigDict(extra="ignore")

    subjects: Count
    images: Count
    modalities: list[str] = []
    """Values of the column `modality` of the manifest."""
    sampling: list[NonNegativeFloat]
    """Voxels of the files to a prepared voxel along each axis, medians; below 1, images are coarser
    than the grid; empty where it is not known."""
    intensities: list[float]
    """Quantiles at `LEVELS` of the normalized intensities of an image, without its background:
    means over images."""
    intensity_distance: float = Field(ge=0)
    """Distance of an image to them: the median over images."""
    sizes: dict[str, Sizes] = {}
    """By structure."""
    overlaps: dict[str, dict[str, Overlaps]] = {}
    """By task and structure."""
    files: list[str] = []
    """Hashes of the image files, by which a training image is recognized in another cohort."""

    @property
    def tasks(self) -> list[str]:
        """The tasks that pairs were of."""
        return list(self.overlaps)


def check_facts(path: Path, header: Mapping[str, Any]) -> CohortFacts | None:
    """Return the facts in the header of a model; None where an earlier version trained it.

    Parameters
    ----------
    path
        The model's file, which an error names.
    header
        Its header.

    Raises
    ------
    CheckpointError
        If they are none.
    """
    if header.get(FACTS) is None:
        return None
    return checked(
        header[FACTS],
        CohortFacts,
        field=str(path),
        error=CheckpointError,
        what="facts of the images that a model was trained on",
        advice="Restore the file, or move it away and train again.",
    )


def training_facts(study: Study, cohort: PreparedCohort) -> CohortFacts:
    """Return the facts of the images that a study trains on.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    """
    is_train = cohort.images["split"] == "train"
    images = [str(name) for name in cohort.images.index[is_train]]
    return measure_facts(cohort, images, pairs_by_task(cohort, study, "train"))


def measure_facts(
    cohort: PreparedCohort, images: Sequence[str], pairs: Mapping[str, Sequence[Pair]]
) -> CohortFacts:
    """Return the facts of some prepared images.

    Parameters
    ----------
    cohort
        The prepared cohort.
    images
        Names of the items that are asked about.
    pairs
        Pairs of them, by task.
    """
    rows = cohort.images.loc[list(images)]
    measured = _sampled(list(images), MOST_IMAGES)
    quantiles = np.array([intensity_quantiles(cohort.image(name)) for name in measured])
    centre = quantiles.mean(axis=0)
    distances = [distribution_distance(one, centre) for one in quantiles]
    scans = rows["scan"].unique()
    files = _hashes(cohort, scans)
    overlaps = {task: _overlaps(cohort, some) for task, some in pairs.items()}
    return CohortFacts(
        subjects=int(rows["subject"].nunique()),
        images=len(scans),
        modalities=_modalities(rows),
        sampling=_sampling(cohort, measured),
        intensities=_rounded(centre),
        intensity_distance=float(np.median(distances)),
        sizes=_sizes(cohort, measured),
        overlaps={task: found for task, found in overlaps.items() if found},
        files=files,
    )


def pairs_by_task(cohort: PreparedCohort, study: Study, side: str) -> dict[str, list[Pair]]:
    """Return the pairs of a side by task, none of them empty."""
    found = {}
    for task in study.pairs.tasks:
        of_task = study.pairs.model_copy(update={"tasks": [task]})
        pairs = possible_pairs(cohort, of_task, side)
        if pairs:
            found[str(task)] = pairs
    return found


def median_distance(
    cohort: PreparedCohort, images: Sequence[str], intensities: Sequence[float]
) -> float:
    """Return how far the intensities of images are from given ones, the median over images.

    Parameters
    ----------
    cohort
        The prepared cohort.
    images
        Names of its items.
    intensities
        Quantiles at `LEVELS`, as `CohortFacts.intensities`.
    """
    distances = []
    for name in _sampled(images, MOST_IMAGES):
        quantiles = intensity_quantiles(cohort.image(name))
        distances.append(distribution_distance(quantiles, intensities))
    return float(np.median(distances))


def intensity_quantiles(image: NDArray[Any]) -> Floats:
    """Return the quantiles of an image's intensities at `LEVELS`, without its background.

    Background is what lies within a twentieth of the range above the lowest intensity, so that
    the share of air around a body does not count.

    Examples
    --------
    >>> ramp = np.concatenate([np.zeros(1000), np.linspace(0.06, 1, 1000)])
    >>> found = intensity_quantiles(ramp)
    >>> round(float(found[0]), 2), round(float(found[-1]), 2)
    (0.07, 0.99)
    """
    values = np.asarray(image, dtype=np.float64).ravel()
    lowest = values.min()
    span = values.max() - lowest
    body = values[values > lowest + _DARK * span]
    if not len(body):
        body = values
    quantiles: Floats = np.quantile(body, LEVELS)
    return quantiles


def distribution_distance(one: ArrayLike, other: ArrayLike) -> float:
    """Return the 1-Wasserstein distance of two distributions that are given by their quantiles.

    In one dimension it is the mean distance of the quantile functions, ∫ |F⁻¹(p) − G⁻¹(p)| dp.

    References
    ----------
    Vallender, "Calculation of the Wasserstein distance between probability distributions on the
    line", Theory of Probability and Its Applications 1974.

    Examples
    --------
    >>> distribution_distance([0.0, 0.5, 1.0], [0.1, 0.6, 1.1])
    0.1
    """
    apart = np.abs(np.subtract(one, other))
    return round(float(apart.mean()), 9)


def label_overlaps(moving: NDArray[np.integer], fixed: NDArray[np.integer], labels: int) -> Floats:
    """Return the Dice of each label of two label maps, (labels,); NaN where either lacks it.

    Examples
    --------
    >>> label_overlaps(np.array([1, 1, 2]), np.array([1, 0, 2]), labels=3).round(2).tolist()
    [0.67, 1.0, nan]
    """
    count = labels + 1
    of_moving = np.bincount(moving.ravel(), minlength=count)[1:]
    of_fixed = np.bincount(fixed.ravel(), minlength=count)[1:]
    agreeing = moving[moving == fixed]
    shared = np.bincount(agreeing.ravel(), minlength=count)[1:]
    dice: Floats = np.full(labels, np.nan)
    in_both = (of_moving > 0) & (of_fixed > 0)
    total = of_moving + of_fixed
    dice[in_both] = 2 * shared[in_both] / total[in_both]
    return dice


def _sampled(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many items, evenly spread."""
    if len(items) <= most:
        return list(items)
    places = np.linspace(0, len(items) - 1, most).round().astype(int)
    return [items[place] for place in places]


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _hashes(cohort: PreparedCohort, scans: Iterable[str]) -> list[str]:
    """Return the hashes of the original images, of those that are still there."""
    found = set()
    for scan in scans:
        path = cohort.files.get(scan)
        if path is not None and path.is_file():
            found.add(image_hash(path))
    return sorted(found)


def _modalities(rows: Any) -> list[str]:
    for column in rows:
        if str(column).lower() == "modality":
            known = known_values(rows[[column]])[column].dropna()
            return sorted(set(known))
    return []


def _sampling(cohort: PreparedCohort, names: Sequence[str]) -> list[float]:
    """Return the median voxels of the files to a prepared voxel; nothing for a cohort that was made by a script."""
    if not (cohort.folder / GRIDS).is_file():
        return []
    dimensions = len(cohort.shape)
    steps = []
    for name in names:
        columns = cohort.grid(name)[:3, :dimensions]
        steps.append(np.linalg.norm(columns, axis=0))
    medians = np.median(steps, axis=0)
    return _rounded(medians)


def _sizes(cohort: PreparedCohort, names: Sequence[str]) -> dict[str, Sizes]:
    count = len(cohort.labels) + 1
    rows = [np.bincount(cohort.label_map(name).ravel(), minlength=count)[1:] for name in names]
    voxels = np.array(rows)
    found = {}
    for label, of_label in zip(cohort.labels, voxels.T, strict=True):
        shown = of_label[of_label > 0]
        if not len(shown):
            continue
        low, median, high = np.quantile(shown, [0.05, 0.5, 0.95])
        found[label] = Sizes(
            low=float(low), median=float(median), high=float(high), images=len(shown)
        )
    return found


def _overlaps(cohort: PreparedCohort, pairs: Sequence[Pair]) -> dict[str, Overlaps]:
    if not pairs:
        return {}
    rows = []
    for pair in _sampled(pairs, MOST_PAIRS):
        moving = cohort.label_map(pair.moving)
        fixed = cohort.label_map(pair.fixed)
        rows.append(label_overlaps(moving, fixed, len(cohort.labels)))
    found = {}
    for label, dice in zip(cohort.labels, np.array(rows).T, strict=True):
        shown = dice[np.isfinite(dice)]
        if len(shown):
            low = float(np.quantile(shown, 0.1))
            found[label] = Overlaps(low=low, mean=float(shown.mean()), pairs=len(shown))
    return found
