"""Registering two image files with a trained model, from any grid to any grid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from hmopt.data.image import PreparedImage, find_matrix, resample_image
from hmopt.data.prepared import TEMPLATE
from hmopt.data.preprocessing import FOLDER as PREPARED_FOLDER
from hmopt.data.volume import read_image
from hmopt.declaration import PreprocessingSection
from hmopt.errors import CheckpointError, DataError
from hmopt.files import checked
from hmopt.interop.displacement import Floats, displacement_image, moving_coordinates, resample, slice_coordinates
from hmopt.model_file import MODEL_FILE, check_header
from hmopt.networks import Hypermorph, RegistrationNetwork, load_hypermorph
from hmopt.space import Setting, Space


@dataclass(frozen=True, kw_only=True)
class RegisteredFiles:
    """What came of registering two files.

    Parameters
    ----------
    moved
        The moving image on the grid of the fixed file; where slices were registered, 0 outside of them.
    displacement
        The whole transformation, as `displacement_image` gives it.
    """

    moved: nibabel.Nifti1Image
    displacement: nibabel.Nifti1Image


class Registrar:
    """The trained model of a study folder, ready for images from outside the cohort.

    Parameters
    ----------
    folder
        The study folder; of it only the model is needed, and the template where images are aligned.
    device
        Where the network runs.

    Raises
    ------
    CheckpointError
        If there is no model, or it cannot be used.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._model: Hypermorph
        self._model, header = load_hypermorph(folder / MODEL_FILE)
        check_header(folder / MODEL_FILE, header, needed=["preprocessing", "cohort"])
        self._model.to(self._device)
        self._preprocessing = _preprocessing(folder / MODEL_FILE, header["preprocessing"])
        self._template = folder / PREPARED_FOLDER / header["cohort"] / TEMPLATE

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
            If an image cannot be used.
        DeclarationError
            If the setting is not of the model's space.
        """
        self.space.index(setting)
        prepared_moving, prepared_fixed = self._prepare(moving), self._prepare(fixed)
        network = self._model.bake(setting)
        displacements = {
            fixed_item.slice: self._displacement(network, moving_item, fixed_item)
            for moving_item, fixed_item in zip(prepared_moving, prepared_fixed, strict=True)
        }
        coordinates = _coordinates(displacements, prepared_moving, prepared_fixed)
        image, reference = read_image(moving), nibabel.load(fixed)
        fixed_affine = prepared_fixed[0].original.affine
        moved = resample(image.data, coordinates).reshape(reference.shape)  # type: ignore[attr-defined]
        return RegisteredFiles(
            moved=nibabel.Nifti1Image(moved, fixed_affine),
            displacement=displacement_image(coordinates, fixed_affine, image.lattice.affine),
        )

    def _prepare(self, path: Path) -> list[PreparedImage]:
        template = None
        if self._preprocessing.align != "none":
            template = self._template
            if not template.is_file():
                advice = "Run `hmopt train`, which prepares the cohort."
                raise DataError(str(template), expected="the template of the cohort", got="no file", advice=advice)
        image = read_image(path)
        place = find_matrix(image, self._preprocessing, template)
        return resample_image(image, self._preprocessing, place, str(path))

    @torch.inference_mode()
    def _displacement(
        self, network: RegistrationNetwork, moving: PreparedImage, fixed: PreparedImage
    ) -> NDArray[np.float32]:
        moving_tensor, fixed_tensor = (
            torch.from_numpy(np.ascontiguousarray(item.data))[None, None].to(self._device) for item in (moving, fixed)
        )
        displacement: NDArray[np.float32] = network.displacement(network(moving_tensor, fixed_tensor))[0].cpu().numpy()
        return displacement


def _preprocessing(path: Path, values: dict[str, Any]) -> PreprocessingSection:
    what, advice = "the header of a trained model", "Restore the file, or move it away and train again."
    return checked(values, PreprocessingSection, field=str(path), error=CheckpointError, what=what, advice=advice)


def _coordinates(
    displacements: dict[int, NDArray[np.float32]], moving: list[PreparedImage], fixed: list[PreparedImage]
) -> Floats:
    shape = fixed[0].original.shape
    if fixed[0].data.ndim == 3:
        (displacement,) = displacements.values()
        return moving_coordinates(displacement, fixed[0].grid, moving[0].grid, shape)
    fixed_grids, moving_grids = ({item.slice: item.grid for item in items} for items in (fixed, moving))
    return slice_coordinates(displacements, fixed_grids, moving_grids, shape)
