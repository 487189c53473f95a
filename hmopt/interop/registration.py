"""Registering two image files with a trained model, from any grid to any grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from hmopt.data.grid import ras_frame
from hmopt.data.image import PreparedImage, background_of, find_place, resample_image
from hmopt.data.opening import open_header
from hmopt.data.placement import share_inside
from hmopt.data.prepared import RECORD, TEMPLATE
from hmopt.data.reference import Reference, common_axes, common_plane, plane_name
from hmopt.data.volume import Lattice, Volume, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, DataError
from hmopt.files import checked, read_json
from hmopt.interop.displacement import (
    Floats,
    displacement_image,
    moved_image,
    moving_coordinates,
    resample,
    slice_coordinates,
)
from hmopt.interop.itk import ItkPlace, find_itk_place
from hmopt.model_file import check_header
from hmopt.networks import Hypermorph, RegistrationNetwork, load_hypermorph
from hmopt.space import Setting, Space
from hmopt.study_folder import StudyFolder

Placement = Literal["header", "centre", "affine"]

_PREPARE_AGAIN = "Remove that folder: the next command prepares the cohort again."

_SAME_SPACING = 0.01
_WELL_INSIDE, _HARDLY_INSIDE = 0.5, 0.25
"""Shares of the smaller image in the other from which headers count as of one space, or no longer do."""
_OTHER_SIZE = 5
"""Ratio of an image's length to the grid's from which its unit is doubted."""
_OFF_PLACE = 0.75
"""Prepared voxels by which centring may differ from the headers without a word."""


@dataclass(frozen=True, kw_only=True)
class RegisteredFiles:
    """What came of registering two files.

    Parameters
    ----------
    moved
        The moving image on the grid of the fixed file, background outside it; what `displacement` makes of it. Where
        slices were registered, the others hold the moving image where its header puts it.
    displacement
        The whole transformation, as `displacement_image` gives it; 0 outside registered slices.
    remarks
        What the user must know of the two files and how they were placed, one sentence each.
    """

    moved: nibabel.Nifti1Image
    displacement: nibabel.Nifti1Image
    remarks: tuple[str, ...] = ()


class Registrar:
    """The trained model of a study folder, ready for images from outside the cohort.

    Parameters
    ----------
    folder
        The study folder; of it only the model is needed, and the template where images are aligned.
    device
        Where the network runs.
    placement
        How the two images are laid on the prepared grid; None: as those were that the model was trained on.

    Raises
    ------
    CheckpointError
        If there is no model, or it cannot be used.
    """

    def __init__(
        self, folder: Path, device: torch.device | str = "cpu", placement: Placement | None = None
    ) -> None:
        self._device = torch.device(device)
        self._model: Hypermorph
        files = StudyFolder(folder)
        path = files.model_file()
        self._model, header = load_hypermorph(path)
        check_header(path, header, needed=["preprocessing", "cohort"])
        self._model.to(self._device)
        self._preprocessing = _preprocessing(path, header["preprocessing"])
        if placement is not None:
            self._preprocessing = self._preprocessing.model_copy(update={"placement": placement})
        prepared = files.prepared_folder / header["cohort"]
        self._template: Path = prepared / TEMPLATE
        self._reference = Reference.from_record(header.get("reference"))
        self._trained_spacing = _trained_spacing(header, prepared / RECORD)

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
            If an image cannot be used, the two lie in different planes, or their spacings differ and the model's is
            unknown.
        DeclarationError
            If the setting is not of the model's space.
        """
        self.space.index(setting)
        moving_image, fixed_image = read_image(moving), read_image(fixed)
        itk_moving = find_itk_place(moving, moving_image.lattice)
        itk_fixed = find_itk_place(fixed, fixed_image.lattice)
        pair = _Pair(moving=moving, fixed=fixed, moving_image=moving_image, fixed_image=fixed_image)
        prepared = self._prepare(pair)
        network = self._model.bake(setting)
        displacements = [
            self._displacement(network, moving_item, fixed_item)
            for moving_item, fixed_item in zip(prepared.moving, prepared.fixed, strict=True)
        ]
        coordinates = _coordinates(displacements, prepared)
        background = background_of(moving_image, self._preprocessing)
        everywhere = _filled(coordinates, itk_moving, itk_fixed)
        reference: Any = open_header(fixed)
        values = resample(moving_image.data, everywhere, outside=background).reshape(
            reference.shape
        )
        remarks = [
            *itk_moving.remarks,
            *itk_fixed.remarks,
            *_dimensions(itk_moving, itk_fixed),
            *prepared.remarks,
        ]
        return RegisteredFiles(
            moved=moved_image(values, reference, fixed_image.lattice.affine),
            displacement=displacement_image(coordinates, itk_fixed, itk_moving),
            remarks=tuple(dict.fromkeys(remarks)),
        )

    def _prepare(self, pair: "_Pair") -> "_Prepared":
        section, remarks = self._at_trained_spacing(pair)
        reference, said = self._reference_of(pair, section)
        remarks += said
        template = self._template_file() if section.placement == "affine" else None
        fixed_place = find_place(pair.fixed_image, section, reference, template)
        fixed = resample_image(pair.fixed_image, section, fixed_place, str(pair.fixed))
        moving_section = section
        if section.slices is not None and section.placement == "centre":
            moving_section, said = _slices_by_place(section, pair, reference)
            remarks += said
        moving_place = find_place(pair.moving_image, section, reference, template)
        moving = resample_image(pair.moving_image, moving_section, moving_place, str(pair.moving))
        prepared = _Prepared(moving=moving, fixed=fixed, remarks=())
        remarks += [
            *_sizes_against_grid(pair.moving, moving[0]),
            *_sizes_against_grid(pair.fixed, fixed[0]),
        ]
        if section.placement == "centre":
            remarks += _centring_against_headers(pair, prepared, section)
        if section.placement == "header":
            remarks += _headers_against_overlap(pair)
        return replace(prepared, remarks=tuple(remarks))

    def _template_file(self) -> Path:
        if not self._template.is_file():
            advice = "Run `hmopt train`, which prepares the cohort."
            raise DataError(
                str(self._template),
                expected="the template of the cohort",
                got="no file",
                advice=advice,
            )
        return self._template

    def _at_trained_spacing(self, pair: "_Pair") -> tuple[PreprocessingOptions, list[str]]:
        """Return the preprocessing with the spacing that the model was trained at, and what to say about it."""
        section, trained = self._preprocessing, self._trained_spacing
        if section.spacing_mm is not None or trained == "unknown":
            return section, []
        spacings = {
            path: _spacing(image.lattice, self._reference) for path, image in pair.files.items()
        }
        if trained is None:
            moving, fixed = spacings[pair.moving], spacings[pair.fixed]
            if not np.allclose(moving, fixed, rtol=_SAME_SPACING):
                raise DataError(
                    str(pair.moving),
                    expected=f"the spacing of {pair.fixed.name}, {_times(fixed)} mm, as the model's is not known",
                    got=f"{_times(moving)} mm",
                    advice="Resample one to the other.",
                )
            return section, []
        kept = _kept_axes(section, pair, self._reference)
        remarks = []
        for path, spacing in spacings.items():
            own = [spacing[axis] for axis in kept]
            if not np.allclose(own, trained, rtol=_SAME_SPACING):
                remarks.append(
                    f"{path.name}: its spacing, {_times(own)} mm, is not that of the images that the model was trained "
                    f"on; it is resampled to {_times(trained)} mm."
                )
        return section.model_copy(update={"spacing_mm": list(trained)}), remarks

    def _reference_of(
        self, pair: "_Pair", section: PreprocessingOptions
    ) -> tuple[Reference, list[str]]:
        """Return what both images are laid out by, and what to say about it."""
        remarks = []
        trained = self._reference
        axes = common_axes([image.lattice for image in pair.files.values()], near=trained.axes)
        plane = None
        if len(section.shape) == 2 and section.slices is None:
            plane = common_plane(
                {str(path): image.lattice for path, image in pair.files.items()}, axes
            )
            if trained.plane is not None and plane != trained.plane:
                remarks.append(
                    f"{pair.fixed.name}: {plane_name({plane})} plane, and the model was trained on "
                    f"{plane_name({trained.plane})} one: expect less of it."
                )
        if section.placement == "centre":
            return Reference(axes=axes, plane=plane), remarks
        if (
            section.placement == "affine"
        ):  # both lie on the template's grid, whose axes the model knows
            return Reference(axes=trained.axes, plane=plane), remarks
        if trained.lattice is None or plane != trained.plane:
            return Reference(axes=axes, lattice=pair.fixed_image.lattice, plane=plane), remarks
        lattice = trained.lattice
        if len(section.shape) == 3:
            lattice, said = _brought_near(lattice, pair)
            remarks += said
        return Reference(axes=trained.axes, lattice=lattice, plane=plane), remarks

    @torch.inference_mode()
    def _displacement(
        self, network: RegistrationNetwork, moving: PreparedImage, fixed: PreparedImage
    ) -> NDArray[np.float32]:
        moving_tensor, fixed_tensor = (
            torch.from_numpy(np.ascontiguousarray(item.data))[None, None].to(self._device)
            for item in (moving, fixed)
        )
        displacement: NDArray[np.float32] = (
            network.displacement(network(moving_tensor, fixed_tensor))[0].cpu().numpy()
        )
        return displacement


def _preprocessing(path: Path, values: dict[str, Any]) -> PreprocessingOptions:
    what, advice = (
        "the header of a trained model",
        "Restore the file, or move it away and train again.",
    )
    return checked(
        values,
        PreprocessingOptions,
        field=str(path),
        error=CheckpointError,
        what=what,
        advice=advice,
    )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two files and what was read of them."""

    moving: Path
    fixed: Path
    moving_image: Volume
    fixed_image: Volume

    @property
    def files(self) -> dict[Path, Volume]:
        return {self.moving: self.moving_image, self.fixed: self.fixed_image}

    @property
    def apart_mm(self) -> float:
        """How far the middles of the two boxes are apart, where the headers put them."""
        return float(
            np.linalg.norm(self.moving_image.lattice.centre_mm - self.fixed_image.lattice.centre_mm)
        )


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Both images on their prepared grids: one each, or one for every slice, in the same order."""

    moving: list[PreparedImage]
    fixed: list[PreparedImage]
    remarks: tuple[str, ...]


def _trained_spacing(
    header: dict[str, Any], record: Path
) -> tuple[float, ...] | Literal["unknown"] | None:
    """Return the spacing that a model was trained at, "unknown" where headers were declared wrong, None if not told.

    Older models do not say it themselves; the record of their prepared cohort does.
    """
    if "spacing_mm" in header:
        spacing = header["spacing_mm"]
    elif record.is_file():
        content = read_json(
            record, error=DataError, what="the record of a prepared cohort", advice=_PREPARE_AGAIN
        )
        spacing = content.get("spacing_mm")
    else:
        return None
    return "unknown" if spacing is None else tuple(float(step) for step in spacing)


def _spacing(lattice: Lattice, reference: Reference) -> tuple[float, ...]:
    return ras_frame(lattice, reference.axes).spacing_mm


def _times(spacing: Sequence[float]) -> str:
    return " x ".join(f"{step:.4g}" for step in spacing)


def _kept_axes(section: PreprocessingOptions, pair: _Pair, reference: Reference) -> list[int]:
    """Return the axes that the prepared grid extends along."""
    if len(section.shape) == 3:
        return [0, 1, 2]
    if section.slices is not None:
        across = section.slices.axis
    else:
        lattices = {str(path): image.lattice for path, image in pair.files.items()}
        axes = common_axes(list(lattices.values()), near=reference.axes)
        across = common_plane(lattices, axes)
    return [axis for axis in range(3) if axis != across]


def _slices_by_place(
    section: PreprocessingOptions, pair: _Pair, reference: Reference
) -> tuple[PreprocessingOptions, list[str]]:
    """Return the preprocessing of the moving image: of each slice of the fixed one, that at the same place in mm.

    Where the moving image has nothing at these places, the headers are of different spaces, and slices of the same
    number are taken.
    """
    assert section.slices is not None
    axis, indices = section.slices.axis, section.slices.indices
    fixed, moving = (
        ras_frame(image.lattice, reference.axes) for image in (pair.fixed_image, pair.moving_image)
    )
    middle = (np.array(fixed.shape) - 1) / 2
    found = []
    for index in indices:
        place = np.array([*middle, 1.0])
        place[axis] = index
        found.append(float((np.linalg.inv(moving.to_world) @ fixed.to_world @ place)[axis]))
    nearest = [round(one) for one in found]
    if nearest == indices:
        return section, []
    step = moving.spacing_mm[axis]
    numbers = ", ".join(str(index) for index in indices)
    off_mm = max(abs(one - index) for one, index in zip(found, indices, strict=True)) * step
    if min(nearest) < 0 or max(nearest) >= moving.shape[axis]:
        return section, [
            f"{pair.moving.name}: nothing of it lies at the places of slices {numbers} of {pair.fixed.name} "
            f"({off_mm:.3g} mm off by the headers); slices of the same number are paired."
        ]
    places = ", ".join(str(index) for index in nearest)
    slices = section.slices.model_copy(update={"indices": nearest, "search_indices": []})
    return section.model_copy(update={"slices": slices}), [
        f"{pair.moving.name}: its slices {places} lie where slices {numbers} of {pair.fixed.name} do and are paired "
        f"with them; those of the same number lie up to {off_mm:.3g} mm off."
    ]


def _sizes_against_grid(path: Path, item: PreparedImage) -> list[str]:
    """Return what to say where an image is so much larger or smaller than the grid that its unit may be wrong."""
    affine = item.original.affine
    image_mm = np.sort(np.linalg.norm(affine[:3, :3], axis=0) * item.original.shape)[::-1]
    steps = np.linalg.norm((affine @ item.grid)[:3, : item.data.ndim], axis=0)
    grid_mm = np.sort(steps * item.data.shape)[::-1]
    if 1 / _OTHER_SIZE < image_mm[0] / grid_mm[0] < _OTHER_SIZE:
        return []
    return [
        f"{path.name}: it measures {_times(image_mm.tolist())} mm, and the model's grid {_times(grid_mm.tolist())} mm: "
        "look whether the unit and the spacing in its header are right."
    ]


def _centring_against_headers(
    pair: _Pair, prepared: _Prepared, section: PreprocessingOptions
) -> list[str]:
    """Return what to say where images are centred and their headers put them elsewhere in one space."""
    moving, fixed = prepared.moving[0], prepared.fixed[0]
    # the points of the prepared grid at a quarter and at three quarters of each axis, (4, points)
    quarters = np.array(list(np.ndindex(*[2] * len(section.shape)))) / 2 + 0.25
    points = np.zeros((4, len(quarters)))
    points[: len(section.shape)] = (quarters * (np.array(section.shape) - 1)).T
    points[3] = 1
    apart = (
        moving.original.affine @ moving.grid @ points - fixed.original.affine @ fixed.grid @ points
    )[:3]
    if len(section.shape) == 2:
        across = (fixed.original.affine @ fixed.grid)[:3, 2]
        across = across / np.linalg.norm(across)
        apart = apart - np.outer(across, across @ apart)
    apart_mm = float(np.linalg.norm(apart, axis=0).mean())
    share = share_inside(moving.original, fixed.original)
    if share < _WELL_INSIDE or apart_mm <= _OFF_PLACE * min(fixed.spacing_mm):
        return []
    return [
        f"{pair.moving.name} and {pair.fixed.name} are laid centre on centre, {apart_mm:.3g} mm from where their "
        f"headers put them, and by these {100 * share:.0f} % of the smaller image lies in the other. If the headers "
        "are right, register with `--placement header`."
    ]


def _headers_against_overlap(pair: _Pair) -> list[str]:
    """Return what to say where images are placed by their headers and hardly overlap."""
    share = share_inside(pair.moving_image.lattice, pair.fixed_image.lattice)
    if share >= _HARDLY_INSIDE:
        return []
    return [
        f"{pair.moving.name} and {pair.fixed.name} are placed by their headers, and {100 * share:.0f} % of the smaller "
        f"image lies in the other; their centres are {pair.apart_mm:.3g} mm apart. If their headers are not of one "
        "space, register them with `--placement centre`."
    ]


def _brought_near(lattice: Lattice, pair: _Pair) -> tuple[Lattice, list[str]]:
    """Return the cohort's lattice, or where the fixed image lies elsewhere, the same moved to its middle."""
    fixed = pair.fixed_image.lattice
    if share_inside(lattice, fixed) >= _WELL_INSIDE:
        return lattice, []
    apart = fixed.centre_mm - lattice.centre_mm
    # whole voxels, so that images on the lattice are still not resampled
    steps = np.round(np.linalg.inv(lattice.affine[:3, :3]) @ apart)
    affine = lattice.affine.copy()
    affine[:3, 3] += lattice.affine[:3, :3] @ steps
    distance = float(np.linalg.norm(apart))
    return Lattice(shape=lattice.shape, affine=affine), [
        f"{pair.fixed.name} lies {distance:.3g} mm from the images that the model was trained on; the grid is brought "
        "to its middle, for both images."
    ]


def _dimensions(moving: ItkPlace, fixed: ItkPlace) -> list[str]:
    if moving.dimensions == fixed.dimensions:
        return []
    return [
        "one of the files is a 2-D image and the other a plane of a 3-D one: ITK and ANTs cannot apply a displacement "
        "from one to the other; save both as (x, y, 1)."
    ]


def _filled(coordinates: Floats, moving: ItkPlace, fixed: ItkPlace) -> Floats:
    """Return the coordinates with what a displacement of 0 means where there is none."""
    nowhere = np.isnan(coordinates).any(axis=-1)
    if not nowhere.any():
        return coordinates
    still = np.linalg.inv(moving.affine_lps) @ fixed.affine_lps
    filled = coordinates.copy()
    filled[nowhere] = np.argwhere(nowhere) @ still[:3, :3].T + still[:3, 3]
    return filled


def _coordinates(displacements: list[NDArray[np.float32]], prepared: _Prepared) -> Floats:
    moving, fixed = prepared.moving, prepared.fixed
    shape = fixed[0].original.shape
    if fixed[0].slice < 0:
        return moving_coordinates(displacements[0], fixed[0].grid, moving[0].grid, shape)
    by_slice = {
        item.slice: displacement for item, displacement in zip(fixed, displacements, strict=True)
    }
    fixed_grids = {item.slice: item.grid for item in fixed}
    moving_grids = {of.slice: item.grid for of, item in zip(fixed, moving, strict=True)}
    return slice_coordinates(by_slice, fixed_grids, moving_grids, shape)
