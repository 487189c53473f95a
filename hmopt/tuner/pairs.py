"""The pairs of images that the page shows: of the subjects to search on, or two files."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.image import resample_labels
from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.data.structures import Structures
from hmopt.data.volume import read_labels
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, HmoptError
from hmopt.interop.preparation import FilePair, PreparedPair, prepare_pair
from hmopt.interop.registration import Registrar
from hmopt.progress import Track, silent
from hmopt.records import Pair
from hmopt.spatial import coarsen, image_tensor
from hmopt.study_folder import StudyFolder

Image = NDArray[np.float32]
LabelMap = NDArray[np.integer]

PLANES = ("Sagittal", "Coronal", "Axial")
"""Planes by the axis that they are perpendicular to, in RAS+."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownPair:
    """Two prepared images, and their labels where these are known.

    Parameters
    ----------
    name
        What a person calls the pair.
    moving, fixed
        (*shape).
    labels
        Names of the structures: k + 1 in a label map is `labels[k]`.
    moving_labels, fixed_labels
        (*shape), 0 background; None where they are not known.
    spacing_mm
        Of the grid, along each axis; None: unknown.
    """

    name: str
    moving: Image
    fixed: Image
    labels: tuple[str, ...] = ()
    moving_labels: LabelMap | None = None
    fixed_labels: LabelMap | None = None
    spacing_mm: tuple[float, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.moving.shape

    def coarse(self, factor: int) -> "ShownPair":
        """Return the pair on a grid that is coarser by a whole factor: mean intensities, labels of middle voxels.

        Voxels at the upper ends that fill no cube of `factor` voxels are left out.

        Examples
        --------
        >>> image = np.zeros((4, 6), np.float32)
        >>> ShownPair(name="a → b", moving=image, fixed=image).coarse(2).shape
        (2, 3)
        """
        return replace(
            self,
            moving=_coarse_image(self.moving, factor),
            fixed=_coarse_image(self.fixed, factor),
            moving_labels=_coarse_labels(self.moving_labels, factor),
            fixed_labels=_coarse_labels(self.fixed_labels, factor),
        )

    def middle(self) -> tuple[int, ...]:
        """Return the voxel whose planes show most of the fixed labels; without any, that in the middle."""
        labels = self.fixed_labels
        if labels is None or not labels.any():
            return tuple(size // 2 for size in self.shape)
        found = []
        for axis in range(labels.ndim):
            others = tuple(other for other in range(labels.ndim) if other != axis)
            in_plane = (labels > 0).sum(axis=others)
            found.append(int(in_plane.argmax()))
        return tuple(found)


def _coarse_image(image: Image, factor: int) -> Image:
    coarse = coarsen(image_tensor([image]), factor)
    array: Image = coarse[0, 0].numpy()
    return array


def _coarse_labels(labels: LabelMap | None, factor: int) -> LabelMap | None:
    if labels is None:
        return None
    # the voxel in the middle of each whole cube
    places = []
    for side in labels.shape:
        whole = side // factor * factor
        places.append(slice(factor // 2, whole, factor))
    return labels[tuple(places)]


class PairSource(ABC):
    """Where pairs come from: a cohort, or two files."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """What a person calls each pair."""

    @property
    @abstractmethod
    def views(self) -> tuple[str, ...]:
        """Names of the planes that a pair is shown in, by axis: three of a volume, one of a plane."""

    @abstractmethod
    def pair(self, place: int) -> ShownPair:
        """Return one pair."""


class CohortPairs(PairSource):
    """Pairs of a prepared cohort.

    Parameters
    ----------
    cohort
        The images.
    pairs
        Which of them.
    options
        How they were prepared.
    """

    def __init__(
        self, cohort: PreparedCohort, pairs: Sequence[Pair], options: PreprocessingOptions
    ) -> None:
        self._cohort = cohort
        self._pairs = list(pairs)
        self._options = options

    @property
    def names(self) -> Sequence[str]:
        """Moving and fixed image of each pair."""
        return [f"{pair.moving} → {pair.fixed}" for pair in self._pairs]

    @property
    def views(self) -> tuple[str, ...]:
        """The planes of the prepared grid."""
        across = _across(self._options, self._cohort.reference.plane)
        return view_names(len(self._cohort.shape), across)

    def pair(self, place: int) -> ShownPair:
        """Return one pair, read from the prepared cohort."""
        pair = self._pairs[place]
        cohort = self._cohort
        return ShownPair(
            name=self.names[place],
            moving=cohort.image(pair.moving),
            fixed=cohort.image(pair.fixed),
            labels=cohort.labels,
            moving_labels=cohort.label_map(pair.moving),
            fixed_labels=cohort.label_map(pair.fixed),
            spacing_mm=cohort.spacing_mm,
        )


class FilesOfPair(PairSource):
    """Two files on the prepared grid of a model: one pair, or one for each slice.

    Parameters
    ----------
    pairs
        As they are shown.
    views
        Names of their planes.
    remarks
        What to know of how they were placed.
    """

    def __init__(
        self, pairs: Sequence[ShownPair], views: tuple[str, ...], remarks: Sequence[str] = ()
    ) -> None:
        self._pairs = list(pairs)
        self._views = views
        self.remarks = tuple(remarks)

    @property
    def names(self) -> Sequence[str]:
        """Both files of each pair, and the slice where there are several."""
        return [pair.name for pair in self._pairs]

    @property
    def views(self) -> tuple[str, ...]:
        """The planes of the prepared grid."""
        return self._views

    def pair(self, place: int) -> ShownPair:
        """Return one pair."""
        return self._pairs[place]


def view_names(dimensions: int, across: int | None) -> tuple[str, ...]:
    """Return the names of the planes of a prepared grid, by axis.

    Parameters
    ----------
    dimensions
        Of the grid, 2 or 3.
    across
        Of a grid of two axes: the axis that it is perpendicular to; None: not known.

    Examples
    --------
    >>> view_names(3, None), view_names(2, 1), view_names(2, None)
    (('Sagittal', 'Coronal', 'Axial'), ('Coronal',), ('Image',))
    """
    if dimensions == 3:
        return PLANES
    return ("Image",) if across is None else (PLANES[across],)


def _across(options: PreprocessingOptions, plane: int | None) -> int | None:
    return plane if options.slices is None else options.slices.axis


def search_pairs(files: StudyFolder, track: Track = silent) -> CohortPairs:
    """Return the pairs that a study searches.

    Parameters
    ----------
    files
        The study folder.
    track
        Shows how far the preparation of images is, where it is still to do.

    Raises
    ------
    DataError
        If the cohort is not there, or the folder holds a model alone.
    """
    if not files.is_declared:
        raise DataError(
            "MOVING, FIXED",
            expected="two images to register, as the folder holds a model and no cohort",
            got="none",
            advice="Name them after the folder.",
        )
    study = files.study
    cohort = prepare(study, files.path, track)
    pairs = draw_pairs(cohort, study.pairs, "search")
    return CohortPairs(cohort, pairs, study.preprocessing)


def pairs_of_files(
    files: StudyFolder,
    registrar: Registrar,
    moving: Path,
    fixed: Path,
    moving_labels: Path | None = None,
    fixed_labels: Path | None = None,
) -> FilesOfPair:
    """Return two files on the prepared grid of a model, as `hmopt.register` prepares them.

    Parameters
    ----------
    files
        The study folder, whose cohort tells what codes in label maps mean.
    registrar
        The model.
    moving, fixed
        Anything that nibabel reads.
    moving_labels, fixed_labels
        Label maps on the grids of these images; None: not known.

    Raises
    ------
    DataError
        If a file cannot be used.
    """
    prepared = prepare_pair(registrar.preparation, FilePair.read(moving, fixed))
    structures: Structures = {}
    if moving_labels is not None or fixed_labels is not None:
        structures = _structures(files, prepared, moving_labels, fixed_labels)
    maps_of_moving = _label_maps(moving_labels, prepared.moving, structures)
    maps_of_fixed = _label_maps(fixed_labels, prepared.fixed, structures)

    pairs = []
    for place, (one, other) in enumerate(zip(prepared.moving, prepared.fixed, strict=True)):
        name = f"{moving.name} → {fixed.name}"
        if other.slice >= 0:
            name += f", slice {other.slice}"
        pair = ShownPair(
            name=name,
            moving=one.data,
            fixed=other.data,
            labels=tuple(structures),
            moving_labels=maps_of_moving[place],
            fixed_labels=maps_of_fixed[place],
            spacing_mm=other.spacing_mm,
        )
        pairs.append(pair)
    preparation = registrar.preparation
    across = _across(preparation.preprocessing, preparation.reference.plane)
    views = view_names(len(pairs[0].shape), across)
    return FilesOfPair(pairs, views, prepared.remarks)


def _label_maps(
    path: Path | None, items: Sequence[Any], structures: Structures
) -> Sequence[LabelMap | None]:
    if path is None:
        return [None] * len(items)
    return resample_labels(path, items, structures, minimum_voxels=0)


def _structures(
    files: StudyFolder, prepared: PreparedPair, *paths_of_labels: Path | None
) -> Structures:
    """Return what codes mean: structures of the cohort, or without it each code by its number."""
    codes = _codes_of_cohort(files)
    found: set[int] = set()
    for path, items in zip(paths_of_labels, (prepared.moving, prepared.fixed), strict=True):
        if path is not None:
            volume = read_labels(path, items[0].original)
            found.update(int(code) for code in np.unique(volume.data))
    known = {code for of_structure in codes.values() for code in of_structure}
    if found & known:
        return codes
    return {str(code): (code,) for code in sorted(found - {0})}


def _codes_of_cohort(files: StudyFolder) -> Structures:
    if not files.is_declared:
        return {}
    try:
        return dict(prepare(files.study, files.path).codes)
    except HmoptError:  # a model is enough to register with: the cohort may be elsewhere
        return {}
