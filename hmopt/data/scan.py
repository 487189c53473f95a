"""What one image of a cohort and its labels look like, before anything is prepared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from hmopt.data.grid import Matrix, ras_frame, rotated
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, read_labels


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
        volumes: NDArray[np.float64] = self.voxels.astype(np.float64) * np.prod(self.spacing_mm)
        return volumes


def look_at(label: Path, structures: Structures, axes: Matrix | None = None) -> ScanFacts:
    """Give the facts of an image from its label map, which lies on the same grid.

    Parameters
    ----------
    axes
        (3, 3): what takes the place of right, anterior and superior (see `common_axes`).
    """
    labels = read_labels(label)
    affine = labels.lattice.affine
    frame = ras_frame(labels.lattice, axes)
    orientation = io_orientation(affine if axes is None else rotated(affine, axes))
    codes = apply_orientation(labels.data, orientation)
    merged = merge_labels(codes, structures)
    count = len(structures)
    return ScanFacts(
        shape=frame.shape,
        spacing_mm=frame.spacing_mm,
        voxels=np.bincount(merged.ravel(), minlength=count + 1)[1:],
        structures_per_slice=tuple(
            np.array([np.count_nonzero(np.unique(plane)) for plane in np.moveaxis(merged, axis, 0)])
            for axis in range(3)
        ),
        lattice=labels.lattice,
    )
