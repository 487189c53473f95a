"""Registration of two image files with a model, from any grid to any grid.

read both files → bring them to the model's grid → displacement in voxels of that grid
→ coordinates in the moving file for each voxel of the fixed file → moved image, displacement in mm
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.formats import open_header
from hmopt.data.image import PreparedImage, background_of
from hmopt.data.volume import Volume
from hmopt.interop.displacement import (
    FileTransform,
    Floats,
    inverse_coordinates,
    moved_image,
    moving_coordinates,
    slice_coordinates,
    voxels_on_slice,
)
from hmopt.interop.itk import ItkPlace, find_itk_place
from hmopt.interop.model import InvertibleModel, Model
from hmopt.interop.preparation import FilePair, Preparation, PreparedPair, prepare_pair
from hmopt.interop.resampling import intensities_at
from hmopt.space import Setting, Space

Placement = Literal["header", "centre", "affine"]


@dataclass(frozen=True, kw_only=True)
class RegisteredFiles:
    """The outcome of registering two files.

    Parameters
    ----------
    moved
        The moving image on the grid of the fixed image, background outside it; what `displacement`
        makes of it. Where slices were registered, the others hold the moving image where its header
        puts it.
    displacement
        The whole transformation, as `displacement_image` returns it; 0 outside registered slices.
    transform
        The same with its affine part apart.
    remarks
        What the user must know of the two files and how they were placed, one sentence each.
    """

    moved: nibabel.Nifti1Image
    displacement: nibabel.Nifti1Image
    transform: FileTransform
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Residual:
    """How far voxels of the moving file end from where they began, there and back again.

    Each goes to the fixed file by the inverse, and back by the displacement as it is written. Those
    that leave the fixed file's box do not count.

    Parameters
    ----------
    mean_mm, p99_mm, largest_mm
        Mean, 99th percentile and maximum of the distance, in mm; NaN where no voxel counts.
    mean_voxels, p99_voxels, largest_voxels
        The same in voxels of the moving file.
    """

    mean_mm: float
    p99_mm: float
    largest_mm: float
    mean_voxels: float
    p99_voxels: float
    largest_voxels: float

    def __str__(self) -> str:
        """Return it as a line shows it."""
        return (
            f"mean {self.mean_mm:.2g} mm, 99 % within {self.p99_mm:.2g} mm, "
            f"largest {self.largest_mm:.2g} mm "
            f"({self.mean_voxels:.2g}, {self.p99_voxels:.2g} and {self.largest_voxels:.2g} voxels)"
        )


@dataclass(frozen=True, kw_only=True)
class RegisteredBothWays:
    """The outcome of registering two files, and its inverse.

    Parameters
    ----------
    forward
        The moving image on the fixed one.
    inverse
        The fixed image on the moving one; its displacement inverts the other.
    residual
        How well it does.
    """

    forward: RegisteredFiles
    inverse: RegisteredFiles
    residual: Residual


@dataclass(frozen=True, kw_only=True)
class _Registration:
    """Two files on the prepared grid, and the displacements of the model there, one a slice."""

    pair: FilePair
    prepared: PreparedPair
    displacements: Sequence[NDArray[np.floating]]
    itk_moving: ItkPlace
    itk_fixed: ItkPlace

    @property
    def items(self) -> list[tuple[NDArray[np.floating], PreparedImage, PreparedImage]]:
        """Displacement, moving and fixed image of each prepared slice, or of the whole image."""
        together = zip(self.displacements, self.prepared.moving, self.prepared.fixed, strict=True)
        return list(together)


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
    space
        The model's hyperparameters with the steps and defaults of a study; None: with its own.
    """

    def __init__(
        self,
        model: Model,
        preparation: Preparation,
        placement: Placement | None = None,
        *,
        space: Space | None = None,
    ) -> None:
        self._model = model
        self._space = model.space if space is None else space
        self._preparation = preparation
        if placement is not None:
            declared = preparation.preprocessing.model_copy(update={"placement": placement})
            self._preparation = replace(preparation, preprocessing=declared)

    @property
    def model(self) -> Model:
        """The model."""
        return self._model

    @property
    def preparation(self) -> Preparation:
        """How images are brought to the model's grid."""
        return self._preparation

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._space

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
        registration = self._registration(moving, fixed, setting)
        return self._forward(registration)

    def transforms(
        self, moving: Path, fixed: Path, settings: Sequence[Setting]
    ) -> Iterator[FileTransform]:
        """Yield the transformation at each of some settings; the files are read and prepared once.

        Parameters
        ----------
        moving, fixed
            As for `register`.
        settings
            One or more.

        Raises
        ------
        HmoptError
            As `register`.
        """
        first, *others = settings
        registration = self._registration(moving, fixed, first)
        yield _transform(registration)
        for setting in others:
            self.space.index(setting)
            displacements = self.displacements(registration.prepared, setting)
            yield _transform(replace(registration, displacements=displacements))

    def register_both_ways(self, moving: Path, fixed: Path, setting: Setting) -> RegisteredBothWays:
        """Register a moving to a fixed file, and compute the inverse.

        The inverse is the point that the displacement takes to each voxel of the moving file. The
        search for it starts at the flow of the negative velocity where the model has a velocity.

        Parameters
        ----------
        moving, fixed, setting
            As for `register`.

        Raises
        ------
        HmoptError
            As `register`.
        """
        registration = self._registration(moving, fixed, setting)
        forward = self._forward(registration)
        guesses = self.inverse_displacements(registration.prepared, setting)
        coordinates = _inverse_coordinates(registration, guesses)

        transform = FileTransform(
            coordinates=coordinates,
            on=registration.itk_moving,
            to=registration.itk_fixed,
            linear=np.linalg.inv(forward.transform.linear).astype(np.float64),
        )
        pair = registration.pair
        inverse = RegisteredFiles(
            moved=self._resampled(pair.fixed_image, moving, pair.moving_image, transform),
            displacement=transform.image(),
            transform=transform,
            remarks=forward.remarks,
        )
        residual = _round_trip(forward.transform, transform, pair)
        return RegisteredBothWays(forward=forward, inverse=inverse, residual=residual)

    def _registration(self, moving: Path, fixed: Path, setting: Setting) -> _Registration:
        self.space.index(setting)
        pair = FilePair.read(moving, fixed)
        itk_moving = find_itk_place(moving, pair.moving_image.lattice)
        itk_fixed = find_itk_place(fixed, pair.fixed_image.lattice)
        prepared = prepare_pair(self._preparation, pair)
        return _Registration(
            pair=pair,
            prepared=prepared,
            displacements=self.displacements(prepared, setting),
            itk_moving=itk_moving,
            itk_fixed=itk_fixed,
        )

    def displacements(
        self, prepared: PreparedPair, setting: Setting
    ) -> Sequence[NDArray[np.floating]]:
        """Return the displacement of each prepared slice, or of the whole image, (d, *shape)."""
        items = zip(prepared.moving, prepared.fixed, strict=True)
        return [
            self._model.displacement(moving.data, fixed.data, setting) for moving, fixed in items
        ]

    def inverse_displacements(
        self, prepared: PreparedPair, setting: Setting
    ) -> Sequence[NDArray[np.floating] | None]:
        """Return what the model says the inverse displacements are; None where it does not know."""
        model = self._model
        if not isinstance(model, InvertibleModel):
            return [None] * len(prepared.moving)
        items = zip(prepared.moving, prepared.fixed, strict=True)
        return [
            model.inverse_displacement(moving.data, fixed.data, setting) for moving, fixed in items
        ]

    def _forward(self, registration: _Registration) -> RegisteredFiles:
        pair = registration.pair
        itk_moving = registration.itk_moving
        itk_fixed = registration.itk_fixed
        transform = _transform(registration)
        remarks = [
            *itk_moving.remarks,
            *itk_fixed.remarks,
            *_dimensions(itk_moving, itk_fixed),
            *registration.prepared.remarks,
        ]
        return RegisteredFiles(
            moved=self._resampled(pair.moving_image, pair.fixed, pair.fixed_image, transform),
            displacement=transform.image(),
            transform=transform,
            remarks=tuple(dict.fromkeys(remarks)),
        )

    def _resampled(
        self, image: Volume, onto: Path, onto_image: Volume, transform: FileTransform
    ) -> nibabel.Nifti1Image:
        """Return an image on the grid of a file."""
        background = background_of(image, self._preparation.preprocessing)
        intensities = intensities_at(image.data, "linear", outside=background)
        values = intensities(_filled(transform))
        reference: Any = open_header(onto)
        in_shape = values.reshape(reference.shape)
        return moved_image(in_shape, reference, onto_image.lattice.affine)


def _transform(registration: _Registration) -> FileTransform:
    """Return the transformation from the fixed to the moving file."""
    return FileTransform(
        coordinates=_coordinates(registration),
        on=registration.itk_fixed,
        to=registration.itk_moving,
        linear=_linear(registration),
    )


def _coordinates(registration: _Registration) -> Floats:
    """Return the voxel of the moving file for each of the fixed file; NaN off the slices."""
    prepared = registration.prepared
    first = prepared.fixed[0]
    shape = first.original.shape
    if first.slice < 0:
        moving_grid = prepared.moving[0].grid
        return moving_coordinates(registration.displacements[0], first.grid, moving_grid, shape)
    by_slice = {}
    fixed_grids = {}
    moving_grids = {}
    for displacement, moving, fixed in registration.items:
        by_slice[fixed.slice] = displacement
        fixed_grids[fixed.slice] = fixed.grid
        moving_grids[fixed.slice] = moving.grid
    return slice_coordinates(by_slice, fixed_grids, moving_grids, shape)


def _inverse_coordinates(
    registration: _Registration, guesses: Sequence[NDArray[np.floating] | None]
) -> Floats:
    """Return the voxel of the fixed file for each of the moving file; NaN off the slices."""
    shape = registration.prepared.moving[0].original.shape
    coordinates = np.full((*shape, 3), np.nan)
    for (displacement, moving, fixed), guess in zip(registration.items, guesses, strict=True):
        found = inverse_coordinates(displacement, guess, fixed.grid, moving.grid, shape)
        if fixed.slice < 0:
            return found
        on_slice = voxels_on_slice(moving.grid, shape)
        coordinates[on_slice] = found[on_slice]
    return coordinates


def _linear(registration: _Registration) -> Floats:
    """Return what lays the fixed file on the moving one, from world to world, LPS+ mm.

    With G the matrices from the prepared grid to voxels of the files and A those from voxels to the
    world, it is A_m G_m (A_f G_f)⁻¹. Slices that are laid in different ways have none in common.
    """
    matrices = []
    for _, moving, fixed in registration.items:
        moving_from_prepared = registration.itk_moving.affine_lps @ moving.grid
        fixed_from_prepared = registration.itk_fixed.affine_lps @ fixed.grid
        matrices.append(moving_from_prepared @ np.linalg.inv(fixed_from_prepared))
    first = matrices[0]
    if all(np.allclose(first, other, atol=1e-4) for other in matrices):
        return first
    return np.eye(4)


def _filled(transform: FileTransform) -> Floats:
    """Return the coordinates with what a displacement of 0 means where there is none."""
    coordinates = transform.coordinates
    nowhere = np.isnan(coordinates).any(axis=-1)
    if not nowhere.any():
        return coordinates
    still = np.linalg.inv(transform.to.affine_lps) @ transform.on.affine_lps
    filled = coordinates.copy()
    filled[nowhere] = np.argwhere(nowhere) @ still[:3, :3].T + still[:3, 3]
    return filled


def _round_trip(forward: FileTransform, inverse: FileTransform, pair: FilePair) -> Residual:
    """Return where voxels of the moving file end, by the inverse and then by the displacement."""
    reached = inverse.coordinates
    upper = np.array(pair.fixed_image.lattice.shape) - 1
    # comparisons with NaN are false: voxels off the slices do not count
    inside = ((reached >= 0) & (reached <= upper)).all(axis=-1)
    if not inside.any():
        return Residual(**dict.fromkeys(Residual.__dataclass_fields__, float("nan")))
    places = reached[inside].T
    components = np.moveaxis(_filled(forward), -1, 0)
    back = [
        ndimage.map_coordinates(component, places, order=1, mode="nearest")
        for component in components
    ]
    apart = np.stack(back, axis=-1) - np.argwhere(inside)
    in_voxels = np.linalg.norm(apart, axis=-1)
    to_mm = pair.moving_image.lattice.affine[:3, :3]
    in_mm = np.linalg.norm(apart @ to_mm.T, axis=-1)
    return Residual(
        mean_mm=float(in_mm.mean()),
        p99_mm=float(np.quantile(in_mm, 0.99)),
        largest_mm=float(in_mm.max()),
        mean_voxels=float(in_voxels.mean()),
        p99_voxels=float(np.quantile(in_voxels, 0.99)),
        largest_voxels=float(in_voxels.max()),
    )


def _dimensions(moving: ItkPlace, fixed: ItkPlace) -> list[str]:
    if moving.dimensions == fixed.dimensions:
        return []
    return [
        "one of the files is a 2-D image and the other a plane of a 3-D one: ITK and ANTs cannot "
        "apply a displacement from one to the other; save both as (x, y, 1)."
    ]
