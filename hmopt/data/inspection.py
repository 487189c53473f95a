"""What a cohort looks like, before anything is declared about it."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.cohort import Cohort, read_cohort
from hmopt.data.placement import Placement, draw_image_pairs, measure_placement
from hmopt.data.scan import ScanFacts, look_at
from hmopt.declaration import CohortSection
from hmopt.progress import Track, silent

_PAIRS = 12
_ROUGH_OVERLAP = 0.3
_FLAT = 16
_THICK = 3.0


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
    """

    cohort: Cohort
    scans: tuple[ScanFacts, ...]
    placement: Placement

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
                "volume_mm3": [_median(column[rows]) for column, rows in zip(volumes.T, here, strict=True)],
                "voxels": [_median(column[rows]) for column, rows in zip(voxels.T, here, strict=True)],
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
    def roughly_aligned(self) -> bool:
        """Whether a network can be expected to find the rest: mean Dice of at least 0.3 on the prepared grids."""
        return not self.placement.overlap_centred < _ROUGH_OVERLAP

    @property
    def advice(self) -> str:
        """What to do about alignment, in one or two sentences."""
        overlap = f"mean overlap {self.placement.overlap_centred:.2f} before registration"
        if self.roughly_aligned:
            return f"Images are roughly aligned ({overlap}): nothing needs to be done."
        if self.slice_axis is not None:
            return f"Images are not aligned ({overlap}): align them with another program first, as slices cannot be."
        return (
            f'Images are not aligned ({overlap}): preprocessing.align = "affine" brings them to a template. '
            "Look at the overlap again after it."
        )


def inspect_cohort(section: CohortSection, track: Track = silent, seed: int = 0) -> Inspection:
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
        As `read_cohort`.
    """
    cohort = read_cohort(section, track)
    labels = list(cohort.images["label"])
    scans = tuple(look_at(label, cohort.structures) for label in track(labels, "Looking at labels", len(labels)))
    pairs = draw_image_pairs(cohort.images, _PAIRS, seed)
    return Inspection(cohort=cohort, scans=scans, placement=measure_placement(pairs, cohort.structures, track))


def _median(values: NDArray[np.generic]) -> float:
    return float(np.median(values)) if len(values) else 0.0  # type: ignore[arg-type]
