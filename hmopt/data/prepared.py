"""A cohort after preprocessing, on disk, opened one image at a time."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

IMAGES, LABEL_MAPS, GRIDS, RECORD, TEMPLATE = "images.npy", "labels.npy", "grids.npy", "record.json", "template.nii.gz"


@dataclass(frozen=True, kw_only=True)
class PreparedCohort:
    """Images and label maps on their prepared grids, in the order of `images`.

    Parameters
    ----------
    folder
        Where the arrays are.
    images
        One row an item, by its name: the image's, or `{image}_slice-{index}`. Columns `subject`, `scan` (name of the
        image), `slice` (-1: none), `split` (`train`, `tune`, `search`, or `unused`), then those of the manifest.
    labels
        Names of the structures: k + 1 in a label map is `labels[k]`.
    shape
        Voxels of the prepared grid, 2 or 3 numbers.
    spacing_mm
        Their distances, as many; None: unknown.
    identity
        Hash of the files' contents, the merging of labels and the preprocessing.
    search_slices
        Slices on which λ is searched; empty: all.
    """

    folder: Path
    images: pd.DataFrame
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    identity: str
    search_slices: tuple[int, ...] = ()

    @property
    def template(self) -> Path | None:
        """The image that all were aligned to, or None."""
        path = self.folder / TEMPLATE
        return path if path.is_file() else None

    def image(self, name: str) -> NDArray[np.float32]:
        """Give the normalized intensities of an item, of `shape`."""
        return np.array(_mapped(self.folder / IMAGES)[self._row(name)])

    def label_map(self, name: str) -> NDArray[Any]:
        """Give the label map of an item, of `shape`: uint8, or uint16 where there are more than 255 structures."""
        return np.array(_mapped(self.folder / LABEL_MAPS)[self._row(name)])

    def grid(self, name: str) -> NDArray[np.float64]:
        """Give the matrix from prepared voxel to voxel of the original file: (4, 4).

        A 2-D item's voxel is (first, second, 0, 1).
        """
        return np.array(_mapped(self.folder / GRIDS)[self._row(name)])

    def _row(self, name: str) -> int:
        return int(self.images.index.get_loc(name))  # type: ignore[arg-type]


@lru_cache(maxsize=32)
def _mapped(path: Path) -> NDArray[Any]:
    # a folder's arrays never change under their content's key, so that an open map stays right
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
