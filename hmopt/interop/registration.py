"""Registration of two image files with a model, from any grid to any grid.

read both files → bring them to the model's grid → displacement in voxels of that grid
→ coordinates in the moving file for each voxel of the fixed file → moved image, displacement in mm
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.data.formats import open_header
from hmopt.data.image import background_of
from hmopt.interop.displacement import (
    Floats,
    displacement_image,
    moved_image,
    moving_coordinates,
    resample,
    slice_coordinates,
)
from hmopt.interop.itk import ItkPlace, find_itk_place
from hmopt.interop.model import Model
from hmopt.interop.preparation import FilePair, Preparation, PreparedPair, prepare_pair
from hmopt.space import Setting, Space

Placement = Literal["header", "centre", "affine"]


@dataclass(frozen=True, kw_only=True)
class RegisteredFiles:
    """The outcome of registering two files.

    Parameters
    ----------
    moved
        The moving image on the grid of the fixed file, background outside it; what `displacement`
        makes of it. Where slices were registered, the others hold the moving image where its header
        puts it.
    displacement
        The whole transformation, as `displacement_image` returns it; 0 outside registered slices.
    remarks
        What the user must know of the two files and how they were placed, one sentence each.
    """

    moved: nibabel.Nifti1Image
    displacement: nibabel.Nifti1Image
    remarks: tuple[str, ...] = ()


class Registrar:
    """A model, ready for images from outside the cohort.

    `hmopt.oracle.open.open_registrar` makes one of a study folder.

    Parameters
    ----------
    model
        Registers prepared images.
    preparation
        How images are brought to the model's grid.
    placement
        How the two images are laid on the prepared grid; None: as the preparation says.
    """

    def __init__(
        self, model: Model, preparation: Preparation, placement: Placement | None = None
    ) -> None:
        self._model = model
        self._preparation = preparation
        if placement is not None:
            declared = preparation.preprocessing.model_copy(update={"placement": placement})
            self._preparation = replace(preparation, preprocessing=declared)

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._model.space

    def register(self, moving: Path, fixed: Path, setting: Setting) -> RegisteredFiles:
        """Register a moving to a fixed file.

        Parameters
        ----------
        moving, fixed
            Anything that nibabel reads.
        setting
            A value for every hyperparameter.

        Raises
        ------
        DataError
            If an image cannot be used, the two lie in different planes, or their spacings differ
            and the model's is unknown.
        DeclarationError
            If the setting is not of the model's space.
        """
        self.space.index(setting)
        pair = FilePair.read(moving, fixed)
        itk_moving = find_itk_place(moving, pair.moving_image.lattice)
        itk_fixed = find_itk_place(fixed, pair.fixed_image.lattice)

        prepared = prepare_pair(self._preparation, pair)
        displacements = [
            self._model.displacement(moving_item.data, fixed_item.data, setting)
            for moving_item, fixed_item in zip(prepared.moving, prepared.fixed, strict=True)
        ]
        coordinates = _coordinates(displacements, prepared)

        background = background_of(pair.moving_image, self._preparation.preprocessing)
        everywhere = _filled(coordinates, itk_moving, itk_fixed)
        moved = resample(pair.moving_image.data, everywhere, outside=background)
        reference: Any = open_header(fixed)
        values = moved.reshape(reference.shape)
        remarks = [
            *itk_moving.remarks,
            *itk_fixed.remarks,
            *_dimensions(itk_moving, itk_fixed),
            *prepared.remarks,
        ]
        return RegisteredFiles(
            moved=moved_image(values, reference, pair.fixed_image.lattice.affine),
            displacement=displacement_image(coordinates, itk_fixed, itk_moving),
            remarks=tuple(dict.fromkeys(remarks)),
        )


def _coordinates(displacements: Sequence[NDArray[np.floating]], prepared: PreparedPair) -> Floats:
    """Return the voxel of the moving file for each of the fixed file; NaN off the slices."""
    first = prepared.fixed[0]
    shape = first.original.shape
    if first.slice < 0:
        moving_grid = prepared.moving[0].grid
        return moving_coordinates(displacements[0], first.grid, moving_grid, shape)
    by_slice = {}
    fixed_grids = {}
    moving_grids = {}
    registered = zip(displacements, prepared.moving, prepared.fixed, strict=True)
    for displacement, moving, fixed in registered:
        by_slice[fixed.slice] = displacement
        fixed_grids[fixed.slice] = fixed.grid
        moving_grids[fixed.slice] = moving.grid
    return slice_coordinates(by_slice, fixed_grids, moving_grids, shape)


def _filled(coordinates: Floats, moving: ItkPlace, fixed: ItkPlace) -> Floats:
    """Return the coordinates with what a displacement of 0 means where there is none."""
    nowhere = np.isnan(coordinates).any(axis=-1)
    if not nowhere.any():
        return coordinates
    still = np.linalg.inv(moving.affine_lps) @ fixed.affine_lps
    filled = coordinates.copy()
    filled[nowhere] = np.argwhere(nowhere) @ still[:3, :3].T + still[:3, 3]
    return filled


def _dimensions(moving: ItkPlace, fixed: ItkPlace) -> list[str]:
    if moving.dimensions == fixed.dimensions:
        return []
    return [
        "one of the files is a 2-D image and the other a plane of a 3-D one: ITK and ANTs cannot "
        "apply a displacement from one to the other; save both as (x, y, 1)."
    ]
