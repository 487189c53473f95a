"""What a cohort looks like before anything is declared, and which split and slices suit it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from hmopt.data.cohort import Cohort
from hmopt.data.grid import SAME_SPACING, Matrix, ras_frame, rotated
from hmopt.data.header import read_forms, shear_degrees
from hmopt.data.manifest import shown_names
from hmopt.data.placement import Placement, draw_image_pairs, measure_aligned, measure_placement
from hmopt.data.reference import common_axes, common_lattice, common_plane, planes_of
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, read_labels, read_lattice
from hmopt.declaration import SliceOptions, SplitOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_PAIRS = 12
_ALIGNED_PAIRS = 4
_ROUGH_OVERLAP = 0.3
_AS_GOOD = 0.005
"""Overlap by which headers may be worse than centres and still be followed."""
_FORMS_AGREE = 0.05
"""Share of a voxel by which qform and sform may differ."""
_RIGHT_DEGREES = 0.05
_FLAT = 16
_THICK = 3.0
_TUNE_SHARE = 0.1
_SEARCH_SHARE = 0.3
_FEWEST_IN_A_SET = 2
_MANY_LABELS = 50
_FEW_VOXELS = 10
"""Files with at least so many labels, most of fewer voxels, look like intensities and not like label maps."""
_MOST_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """Facts of one image, along right, anterior and superior.

    Parameters
    ----------
    shape
        Voxels along each axis.
    spacing_mm
        Their distances.
    voxels
        (structures,): how many voxels each has.
    structures_per_slice
        For each axis and each index along it, how many structures are there.
    lattice
        Where its voxels are.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    voxels: NDArray[np.int64]
    structures_per_slice: tuple[NDArray[np.int64], ...]
    lattice: Lattice

    @property
    def volumes_mm3(self) -> NDArray[np.float64]:
        """(structures,): the volume of each."""
        voxel_mm3 = np.prod(self.spacing_mm)
        volumes: NDArray[np.float64] = self.voxels * voxel_mm3
        return volumes


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """What headers of a cohort lack or contradict.

    Parameters
    ----------
    without
        How many images have neither qform nor sform.
    contradicting
        How many have both, more than a twentieth of a voxel apart.
    apart_mm
        The largest distance between the two.
    sheared
        How many have axes that are not orthogonal.
    shear_degrees
        The largest deviation of two axes from a right angle.
    """

    without: int
    contradicting: int
    apart_mm: float
    sheared: int
    shear_degrees: float

    @property
    def remarks(self) -> list[str]:
        """What a user must know of them, one sentence each."""
        lines = []
        if self.without:
            lines.append(
                f"{self.without} without qform and sform, placed with their middle at the origin"
            )
        if self.contradicting:
            lines.append(
                f"{self.contradicting} whose qform and sform lie up to {self.apart_mm:.3g} mm "
                "apart; the sform is followed, ITK may follow the other"
            )
        if self.sheared:
            lines.append(
                f"{self.sheared} with axes that miss a right angle by up to "
                f"{self.shear_degrees:.3g} degrees; ITK and ANTs may not read them"
            )
        return lines


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Facts of a cohort that a declaration follows from.

    Parameters
    ----------
    cohort
        Images and structures.
    scans
        Facts of each image, in the order of `cohort.images`.
    placement
        How images lie over each other.
    headers
        What the images' headers lack or contradict.
    axes
        (3, 3): what right, anterior and superior of the images are named after (see
        `common_axes`).
    """

    cohort: Cohort
    scans: tuple[ScanFacts, ...]
    placement: Placement
    headers: HeaderFacts
    axes: Matrix

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(images, 3): voxels along right, anterior and superior."""
        rows = [scan.shape for scan in self.scans]
        return np.array(rows)

    @property
    def spacings_mm(self) -> NDArray[np.float64]:
        """(images, 3): their distances."""
        rows = [scan.spacing_mm for scan in self.scans]
        return np.array(rows)

    @property
    def same_spacing(self) -> bool:
        """Whether all images have the same spacing, to a hundredth."""
        spacings_mm = self.spacings_mm
        median = np.median(spacings_mm, axis=0)
        return bool(np.allclose(spacings_mm, median, rtol=SAME_SPACING))

    @property
    def subjects(self) -> dict[str, int]:
        """Number of images of every subject."""
        counts = Counter(self.cohort.images["subject"])
        return dict(sorted(counts.items()))

    @property
    def pairs(self) -> dict[str, int]:
        """Number of ordered pairs between subjects and within one, in the whole cohort."""
        counts = list(self.subjects.values())
        images = sum(counts)
        within = sum(count * (count - 1) for count in counts)
        return {"cross": images * (images - 1) - within, "within": within}

    @property
    def structures(self) -> pd.DataFrame:
        """One row a structure.

        Columns `volume_mm3` and `voxels` (medians of images that have it; 0 where none has), and
        `images` (how many have it).
        """
        names = pd.Index(list(self.cohort.structures), name="structure")
        voxels = pd.DataFrame(
            [scan.voxels for scan in self.scans],
            columns=names,
        )
        volumes = pd.DataFrame(
            [scan.volumes_mm3 for scan in self.scans],
            columns=names,
        )
        shown = voxels > 0
        return pd.DataFrame(
            {
                "volume_mm3": volumes.where(shown).median().fillna(0.0),
                "voxels": voxels.where(shown).median().fillna(0.0),
                "images": shown.sum(),
            }
        )

    @property
    def doubts(self) -> list[str]:
        """What may be wrong with the files, one sentence each."""
        found = []
        are_flat = self.shapes.min(axis=1) == 1
        volumes = [str(name) for name in self.cohort.images.index[~are_flat]]
        if are_flat.any() and volumes:
            found.append(
                f"Dimensions: {len(volumes)} of {len(are_flat)} images have more than one slice "
                f"({shown_names(volumes, _MOST_SHOWN)}); of a volume among 2-D images one slice is used."
            )
        are_empty = [not np.any(scan.voxels) for scan in self.scans]
        empty = [str(name) for name in self.cohort.images.index[are_empty]]
        if empty:
            found.append(
                f"Labels: the label map of {shown_names(empty, _MOST_SHOWN)} contains none of the structures."
            )
        voxels = self.structures["voxels"]
        if len(voxels) >= _MANY_LABELS and voxels.median() < _FEW_VOXELS:
            found.append(
                f"Labels: there are {len(voxels)} labels, most of fewer than {_FEW_VOXELS} voxels. Images and label "
                "maps may have been swapped."
            )
        return found

    @property
    def slice_axis(self) -> int | None:
        """The axis along which slices are too few or too thick for 3-D work; None: volumes."""
        shape = np.median(self.shapes, axis=0)
        spacing = np.median(self.spacings_mm, axis=0)
        axis = int(shape.argmin())
        in_plane = np.delete(spacing, axis)
        thick = spacing[axis] >= _THICK * in_plane.max()
        few = shape[axis] < _FLAT
        return axis if few or thick else None

    @property
    def overlaps(self) -> dict[str, float]:
        """Mean Dice before registration by placement, of those that were measured."""
        measured = {
            "header": self.placement.overlap_in_world,
            "centre": self.placement.overlap_centred,
            "affine": self.placement.overlap_aligned,
        }
        return {name: overlap for name, overlap in measured.items() if not np.isnan(overlap)}

    @property
    def best_placement(self) -> str:
        """The placement of the largest overlap; where headers do as well as centres, the headers.

        Headers that give no orientation count for nothing.
        """
        overlaps = self.overlaps
        if self.headers.without == len(self.scans):
            overlaps.pop("header", None)
        if not overlaps:
            return "centre"
        enough = max(overlaps.values()) - _AS_GOOD
        as_good = [name for name, overlap in overlaps.items() if overlap >= enough]
        return as_good[0]

    @property
    def lattice(self) -> Lattice:
        """What the prepared grid is laid on where images are placed by their headers."""
        return common_lattice([scan.lattice for scan in self.scans], self.axes)

    @property
    def extents_mm(self) -> NDArray[np.float64]:
        """(3,): what a prepared grid must cover: the largest image; all, where headers put them."""
        extents: NDArray[np.float64]
        if self.best_placement == "header":
            frame = ras_frame(self.lattice, self.axes)
            extents = np.multiply(frame.shape, frame.spacing_mm)
        else:
            of_images = self.shapes * self.spacings_mm
            extents = of_images.max(axis=0)
        return extents

    @property
    def roughly_aligned(self) -> bool:
        """Whether a network can be expected to find the rest: mean Dice of at least 0.3."""
        overlaps = self.overlaps.values()
        best = max(overlaps, default=1.0)
        return best >= _ROUGH_OVERLAP

    @property
    def advice(self) -> str:
        """How images are placed and why, in one or two sentences."""
        names = {
            "header": "by headers",
            "centre": "centred",
            "affine": "after affine alignment",
        }
        measured = [f"{overlap:.2f} {names[name]}" for name, overlap in self.overlaps.items()]
        chosen = f'placement = "{self.best_placement}"'
        if not measured:
            return f"No pair of images shows the same label; {chosen} is used."
        found = f"Mean label overlap before registration: {', '.join(measured)}; {chosen} is used."
        if self.roughly_aligned:
            return found
        look = "look at the overlap of the prepared images before you train"
        if self.best_placement == "affine":
            return f"{found} Images are hardly aligned: {look}."
        return f'{found} Images are far apart: try placement = "affine", and {look}.'


def inspect_cohort(cohort: Cohort, track: Track = silent, seed: int = 0) -> Inspection:
    """Return the facts of a cohort; every label map is read, and of images the headers.

    Where label maps hardly overlap, some images are read too, to measure what affine alignment brings.

    Parameters
    ----------
    cohort
        Its files and structures.
    track
        Shows how far it is.
    seed
        Of the pairs that are compared.

    Raises
    ------
    DataError
        If a label map cannot be read, or 2-D images lie in different planes.
    """
    structures = cohort.structures
    images = list(cohort.images["image"])
    labels = list(cohort.images["label"])
    lattices = dict(zip(images, map(read_lattice, labels), strict=True))
    axes = common_axes(list(lattices.values()))
    all_flat = all(planes_of(lattice, axes) for lattice in lattices.values())
    if all_flat:
        by_name = {str(path): lattice for path, lattice in lattices.items()}
        common_plane(by_name, axes)
    tracked = track(labels, "Inspecting labels", len(labels))
    scans = tuple(inspect_scan(label, structures, axes) for label in tracked)
    pairs = draw_image_pairs(cohort.images, _PAIRS, seed)
    placement = measure_placement(pairs, structures, track, axes)
    inspection = Inspection(
        cohort=cohort,
        scans=scans,
        placement=placement,
        headers=read_header_facts({image: read_lattice(image) for image in images}),
        axes=axes,
    )
    if inspection.roughly_aligned or inspection.slice_axis is not None:
        return inspection
    image_pairs = draw_image_pairs(cohort.images, _PAIRS, seed, "image")
    overlap_aligned = measure_aligned(
        image_pairs[:_ALIGNED_PAIRS], pairs[:_ALIGNED_PAIRS], structures, track
    )
    return replace(inspection, placement=replace(placement, overlap_aligned=overlap_aligned))


def inspect_scan(label: Path, structures: Structures, axes: Matrix | None = None) -> ScanFacts:
    """Return the facts of an image from its label map, which lies on the same grid.

    Parameters
    ----------
    label
        The file of the label map.
    structures
        Codes of the structures.
    axes
        (3, 3): what takes the place of right, anterior and superior (see `common_axes`).
    """
    labels = read_labels(label)
    frame = ras_frame(labels.lattice, axes)
    orientation = io_orientation(rotated(labels.lattice.affine, axes))
    codes = apply_orientation(labels.data, orientation)
    merged = merge_labels(codes, structures)
    structures_per_slice = []
    for axis in range(3):
        planes = np.moveaxis(merged, axis, 0)
        counts = [np.count_nonzero(np.unique(plane)) for plane in planes]
        structures_per_slice.append(np.array(counts))
    count = len(structures)
    voxels = np.bincount(merged.ravel(), minlength=count + 1)
    return ScanFacts(
        shape=frame.shape,
        spacing_mm=frame.spacing_mm,
        voxels=voxels[1:],
        structures_per_slice=tuple(structures_per_slice),
        lattice=labels.lattice,
    )


def read_header_facts(lattices: Mapping[Path, Lattice]) -> HeaderFacts:
    """Return what the headers of images lack or contradict.

    Parameters
    ----------
    lattices
        Shape and affine of every image, by its file.
    """
    without = 0
    contradicting = 0
    apart_mm = [0.0]
    shear = []
    for path, lattice in lattices.items():
        shear.append(shear_degrees(lattice.affine))
        forms = read_forms(path)
        if forms is None:
            continue
        without += forms.neither
        apart = forms.apart_mm(lattice.shape)
        shortest_edge = float(np.linalg.norm(lattice.affine[:3, :3], axis=0).min())
        contradicting += apart / shortest_edge > _FORMS_AGREE
        apart_mm.append(apart)
    return HeaderFacts(
        without=without,
        contradicting=contradicting,
        apart_mm=max(apart_mm),
        sheared=sum(degrees > _RIGHT_DEGREES for degrees in shear),
        shear_degrees=max(shear),
    )


def infer_split(inspection: Inspection, seed: int = 0) -> SplitOptions:
    """Return a split with about 60 % of the subjects to train, 10 % to tune and 30 % to search.

    Where at most half of the subjects have several images, these are searched first, because
    pairs within a subject need them there.

    Raises
    ------
    DataError
        If there are too few subjects to make pairs in each set.
    """
    subjects = inspection.subjects
    count = len(subjects)
    fewest = 3 * _FEWEST_IN_A_SET
    if count < fewest:
        raise DataError(
            "cohort",
            expected=f"at least {fewest} subjects, to train, tune and search on different ones",
            got=count,
            advice="Add subjects.",
        )
    tune = round(_TUNE_SHARE * count)
    tune = max(_FEWEST_IN_A_SET, tune)
    search = round(_SEARCH_SHARE * count)
    search = max(_FEWEST_IN_A_SET, search)
    train = count - tune - search
    repeated = [subject for subject, images in subjects.items() if images > 1]
    if not 0 < len(repeated) <= count // 2:
        return SplitOptions(train=train, tune=tune, search=search, seed=seed)
    single = [subject for subject, images in subjects.items() if images == 1]
    order = _shuffled(repeated, seed) + _shuffled(single, seed)
    searched = sorted(order[:search])
    return SplitOptions(train=train, tune=tune, search=searched, seed=seed)


def infer_slices(
    inspection: Inspection,
    axis: int,
    placement: str | None = None,
    indices: Sequence[int] | None = None,
) -> SliceOptions | None:
    """Return the slices across an axis that show structures in at least half of the images.

    The one with the most structures is searched.

    Parameters
    ----------
    inspection
        The facts of a cohort.
    axis
        Slices are perpendicular to it.
    placement
        How images are placed, which decides what an index counts: the slices of each image, or of
        the lattice that they share where headers place them. None: as `best_placement`.
    indices
        Slices to take instead.

    Returns
    -------
    SliceOptions or None
        None where images have a single slice.

    Raises
    ------
    DataError
        If slices are given that not all images have, or that show no structure in any image.
    """
    lengths = inspection.shapes[:, axis]
    if lengths.max() == 1 and indices is None:
        return None
    by_header = (placement or inspection.best_placement) == "header"
    if by_header:
        structures = _structures_by_place(inspection, axis)
    else:
        counts = [scan.structures_per_slice[axis][: lengths.min()] for scan in inspection.scans]
        structures = np.array(counts)
    if indices is not None:
        _check_slices(structures, axis, indices)
    share_of_images = (structures > 0).mean(axis=0)
    shown = np.flatnonzero(share_of_images >= 0.5).tolist()
    most = structures.mean(axis=0)
    taken = list(shown if indices is None else indices) or [int(most.argmax())]
    best = max(taken, key=lambda index: float(most[index]))
    return SliceOptions(axis=axis, indices=taken, search_indices=[best])


def _check_slices(structures: NDArray[np.int64], axis: int, indices: Sequence[int]) -> None:
    """Refuse slices that images do not have, or that show nothing; `structures` is (images, slices)."""
    count = structures.shape[1]
    beyond = [index for index in indices if index >= count]
    if beyond:
        raise DataError(
            "--slices",
            expected=f"indices below {count}, the number of slices along axis {axis} that all images have",
            got=", ".join(str(index) for index in beyond),
            advice="Choose slices that every image has.",
        )
    in_any = np.flatnonzero((structures > 0).any(axis=0))
    if not set(indices) & set(in_any.tolist()):
        shown = f"{in_any.min()} to {in_any.max()}" if len(in_any) else "none"
        raise DataError(
            "--slices",
            expected=f"slices along axis {axis} that show labels ({shown})",
            got=", ".join(str(index) for index in indices),
            advice="Choose slices through the structures.",
        )


def _structures_by_place(inspection: Inspection, axis: int) -> NDArray[np.int64]:
    """Return how many structures each image has at every slice of the common lattice.

    Slices that not all images have are left without structures, so that none of them is taken.

    Returns
    -------
    NDArray
        (images, slices).
    """
    common = ras_frame(inspection.lattice, inspection.axes)
    count = common.shape[axis]
    # (4, slices): the middles of the slices, in voxels of the common lattice
    middles = np.ones((4, count))
    middles[:3] = (np.array(common.shape)[:, None] - 1) / 2
    middles[axis] = np.arange(count)
    found = np.zeros((len(inspection.scans), count), dtype=np.int64)
    covered = np.ones(count, dtype=bool)
    for row, scan in enumerate(inspection.scans):
        frame = ras_frame(scan.lattice, inspection.axes)
        to_scan = np.linalg.inv(frame.to_world) @ common.to_world
        nearest = np.rint((to_scan @ middles)[axis]).astype(int)
        structures = scan.structures_per_slice[axis]
        inside = (nearest >= 0) & (nearest < len(structures))
        found[row, inside] = structures[nearest[inside]]
        covered &= inside
    found[:, ~covered] = 0
    return found


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    return [names[place] for place in order]
