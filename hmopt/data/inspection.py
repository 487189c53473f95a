"""What a cohort looks like, before anything is declared about it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.cohort import Cohort, read_cohort
from hmopt.data.grid import Matrix, ras_frame
from hmopt.data.header import read_forms, shear_degrees
from hmopt.data.placement import Placement, draw_image_pairs, measure_aligned, measure_placement
from hmopt.data.reference import common_axes, common_lattice, common_plane, planes_of
from hmopt.data.scan import ScanFacts, look_at
from hmopt.data.volume import Lattice, read_lattice
from hmopt.declaration import CohortOptions
from hmopt.progress import Track, silent

_PAIRS = 12
_ROUGH_OVERLAP = 0.3
_AS_GOOD = 0.005
"""Overlap by which headers may be worse than centres and still be followed."""
_ALIGNED_PAIRS = 4
_FORMS_AGREE = 0.05
_RIGHT_DEGREES = 0.05
_FLAT = 16
_THICK = 3.0


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
        How far the two are apart at most.
    sheared
        How many have axes that are not orthogonal.
    shear_degrees
        By how much two axes miss a right angle at most.
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
                f"{self.contradicting} whose qform and sform lie up to {self.apart_mm:.3g} mm apart; the sform is "
                "followed, ITK may follow the other"
            )
        if self.sheared:
            lines.append(
                f"{self.sheared} with axes that miss a right angle by up to {self.shear_degrees:.3g} degrees; ITK and "
                "ANTs may not read them"
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
        (3, 3): what right, anterior and superior of the images are named after (see `common_axes`).
    """

    cohort: Cohort
    scans: tuple[ScanFacts, ...]
    placement: Placement
    headers: HeaderFacts
    axes: Matrix

    @property
    def shapes(self) -> NDArray[np.int64]:
        """(images, 3): voxels along right, anterior and superior."""
        return np.array([scan.shape for scan in self.scans])

    @property
    def spacings_mm(self) -> NDArray[np.float64]:
        """(images, 3): their distances."""
        return np.array([scan.spacing_mm for scan in self.scans])

    @property
    def same_spacing(self) -> bool:
        """Whether all images have the same spacing, to a hundredth."""
        return bool(np.allclose(self.spacings_mm, self.spacings_mm[0], rtol=0.01))

    @property
    def subjects(self) -> dict[str, int]:
        """Number of images of every subject."""
        return dict(sorted(Counter(self.cohort.images["subject"]).items()))

    @property
    def pairs(self) -> dict[str, int]:
        """Number of ordered pairs between subjects and within one, in the whole cohort."""
        counts = list(self.subjects.values())
        within = sum(count * (count - 1) for count in counts)
        return {"cross": sum(counts) * (sum(counts) - 1) - within, "within": within}

    @property
    def structures(self) -> pd.DataFrame:
        """One row a structure: `volume_mm3` and `voxels` (medians of images that have it), `images` that have it."""
        voxels = np.array([scan.voxels for scan in self.scans])
        volumes = np.array([scan.volumes_mm3 for scan in self.scans])
        here = [column > 0 for column in voxels.T]
        return pd.DataFrame(
            {
                "volume_mm3": [
                    _median(column[rows]) for column, rows in zip(volumes.T, here, strict=True)
                ],
                "voxels": [
                    _median(column[rows]) for column, rows in zip(voxels.T, here, strict=True)
                ],
                "images": [int(rows.sum()) for rows in here],
            },
            index=pd.Index(list(self.cohort.structures), name="structure"),
        )

    @property
    def slice_axis(self) -> int | None:
        """The axis along which there are too few or too thick slices for 3-D work; None: volumes."""
        shape, spacing = np.median(self.shapes, axis=0), np.median(self.spacings_mm, axis=0)
        axis = int(shape.argmin())
        thick = spacing[axis] >= _THICK * np.delete(spacing, axis).max()
        return axis if shape[axis] < _FLAT or thick else None

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
        """The placement under which labels overlap most; where headers do as well as centres, the headers.

        Headers that give no orientation count for nothing.
        """
        overlaps = dict(self.overlaps)
        if self.headers.without == len(self.scans):
            overlaps.pop("header", None)
        if not overlaps:
            return "centre"
        best = max(overlaps.values())
        return next(
            name
            for name in ("header", "centre", "affine")
            if overlaps.get(name, -1.0) >= best - _AS_GOOD
        )

    @property
    def lattice(self) -> Lattice:
        """What the prepared grid is laid on where images are placed by their headers."""
        return common_lattice([scan.lattice for scan in self.scans], self.axes)

    @property
    def extents_mm(self) -> NDArray[np.float64]:
        """(3,): what a prepared grid must cover: the largest image, or all of them where headers put them."""
        if self.best_placement == "header":
            frame = ras_frame(self.lattice, self.axes)
            together: NDArray[np.float64] = np.array(frame.shape) * np.array(frame.spacing_mm)
            return together
        largest: NDArray[np.float64] = (self.shapes * self.spacings_mm).max(axis=0)
        return largest

    @property
    def roughly_aligned(self) -> bool:
        """Whether a network can be expected to find the rest: mean Dice of at least 0.3 under the best placement."""
        return not max(self.overlaps.values(), default=1.0) < _ROUGH_OVERLAP

    @property
    def advice(self) -> str:
        """How images are placed and why, in one or two sentences."""
        names = {
            "header": "where headers put them",
            "centre": "centre on centre",
            "affine": "after affine alignment",
        }
        numbers = ", ".join(
            f"{overlap:.2f} {names[name]}" for name, overlap in self.overlaps.items()
        )
        chosen = f'placement = "{self.best_placement}"'
        if not numbers:
            return f"No pair of images shows the same label: {chosen}."
        said = f"Mean overlap of labels before registration: {numbers}: {chosen}."
        if self.roughly_aligned:
            return said
        if self.slice_axis is not None:
            return f"{said} Images are not aligned: align them with another program first, as slices cannot be."
        return f"{said} Images are hardly aligned: look at the overlap of what is prepared before you train."


def inspect_cohort(section: CohortOptions, track: Track = silent, seed: int = 0) -> Inspection:
    """Give the facts of a cohort; every label map is read, images are not.

    Parameters
    ----------
    section
        Where the cohort is.
    track
        Shows how far it is.
    seed
        Of the pairs that are compared.

    Raises
    ------
    DataError
        As `read_cohort`; also where 2-D images lie in different planes.
    """
    cohort = read_cohort(section, track)
    images, labels = list(cohort.images["image"]), list(cohort.images["label"])
    lattices = [read_lattice(label) for label in labels]
    axes = common_axes(lattices)
    if all(planes_of(lattice, axes) for lattice in lattices):
        common_plane(
            {str(path): lattice for path, lattice in zip(images, lattices, strict=True)}, axes
        )
    structures = cohort.structures
    scans = tuple(
        look_at(label, structures, axes)
        for label in track(labels, "Looking at labels", len(labels))
    )
    pairs = draw_image_pairs(cohort.images, _PAIRS, seed)
    placement = measure_placement(pairs, structures, track, axes)
    found = Inspection(
        cohort=cohort,
        scans=scans,
        placement=placement,
        headers=_read_headers(images, lattices),
        axes=axes,
    )
    if found.roughly_aligned or found.slice_axis is not None:
        return found
    tried = draw_image_pairs(cohort.images, _PAIRS, seed, "image")[:_ALIGNED_PAIRS]
    aligned = measure_aligned(tried, pairs[:_ALIGNED_PAIRS], structures, track)
    return replace(found, placement=replace(placement, overlap_aligned=aligned))


def _read_headers(images: list[Path], lattices: list[Lattice]) -> HeaderFacts:
    known = [(read_forms(path), lattice) for path, lattice in zip(images, lattices, strict=True)]
    apart = [
        forms.apart_mm(lattice.shape) / float(np.linalg.norm(lattice.affine[:3, :3], axis=0).min())
        for forms, lattice in known
        if forms is not None
    ]
    apart_mm = [forms.apart_mm(lattice.shape) for forms, lattice in known if forms is not None]
    return HeaderFacts(
        without=sum(forms is not None and forms.neither for forms, _ in known),
        contradicting=sum(voxels > _FORMS_AGREE for voxels in apart),
        apart_mm=max(apart_mm, default=0.0),
        sheared=sum(shear_degrees(lattice.affine) > _RIGHT_DEGREES for lattice in lattices),
        shear_degrees=max(shear_degrees(lattice.affine) for lattice in lattices),
    )


def _median(values: NDArray[np.generic]) -> float:
    return float(np.median(values)) if len(values) else 0.0  # type: ignore[arg-type]
