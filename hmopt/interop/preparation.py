"""Two files laid on the prepared grid of a model, and what a user must know of how they lie on it.

A model knows one grid: its shape, its spacing, the order of its axes, and how images were placed on
it (`header`, `centre` or `affine`). `Preparation` is that knowledge; `prepare_pair` brings any two
files to it. Wherever a choice is made that a user could not expect, a remark says so in one
sentence.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hmopt.data.grid import SAME_SPACING, ras_frame
from hmopt.data.image import PreparedImage, find_place, resample_image
from hmopt.data.placement import share_inside
from hmopt.data.prepared import RECORD, TEMPLATE, PreparedCohort
from hmopt.data.reference import (
    Reference,
    check_volumes,
    common_axes,
    common_plane,
    plane_name,
)
from hmopt.data.volume import Lattice, Volume, check_varied, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, DataError
from hmopt.files import checked, read_json
from hmopt.model_file import check_header
from hmopt.study_folder import StudyFolder

_PREPARE_AGAIN = "Remove that folder: the next command prepares the cohort again."

_WELL_INSIDE, _HARDLY_INSIDE = 0.5, 0.25
"""Shares of the smaller image inside the other: headers are of one space, or hardly."""
_OTHER_SIZE = 5
"""Ratio of an image's length to the grid's from which its unit is doubted."""
_SMALL_SHARE = 0.1
"""Of an image that the grid of a model covers: less is told."""
_OFF_PLACE = 0.75
"""Prepared voxels by which centring may differ from the headers without a word."""

Spacing = tuple[float, ...] | Literal["unknown"] | None
"""Of a grid, in mm: "unknown" where headers were declared wrong, None where it is not told."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images are brought to the grid of a model.

    Parameters
    ----------
    preprocessing
        The `[preprocessing]` of the cohort that the model is for.
    spacing_mm
        The spacing of that cohort's prepared grid.
    reference
        What that cohort was laid out by.
    template
        The image that it was aligned to; needed for the placement `affine`.
    """

    preprocessing: PreprocessingOptions
    spacing_mm: Spacing
    reference: Reference
    template: Path | None


@dataclass(frozen=True, kw_only=True)
class FilePair:
    """Two files and what was read of them."""

    moving: Path
    fixed: Path
    moving_image: Volume
    fixed_image: Volume

    @classmethod
    def read(cls, moving: Path, fixed: Path) -> "FilePair":
        """Read two files, each anything that nibabel reads.

        Raises
        ------
        DataError
            If one cannot be read, or has one intensity everywhere.
        """
        images = {}
        for path in (moving, fixed):
            images[path] = read_image(path)
            check_varied(path, images[path])
        return cls(
            moving=moving,
            fixed=fixed,
            moving_image=images[moving],
            fixed_image=images[fixed],
        )

    @property
    def files(self) -> dict[Path, Volume]:
        """Both images by their paths."""
        return {
            self.moving: self.moving_image,
            self.fixed: self.fixed_image,
        }

    @property
    def lattices(self) -> dict[str, Lattice]:
        """Where the voxels of both are, by their paths."""
        return {
            str(self.moving): self.moving_image.lattice,
            str(self.fixed): self.fixed_image.lattice,
        }

    @property
    def apart_mm(self) -> float:
        """How far the middles of the two boxes are apart, where the headers put them."""
        moving = self.moving_image.lattice
        fixed = self.fixed_image.lattice
        apart = moving.centre_mm - fixed.centre_mm
        distance = np.linalg.norm(apart)
        return float(distance)


@dataclass(frozen=True, kw_only=True)
class PreparedPair:
    """Both images on their prepared grids: one each, or one for every slice, in the same order."""

    moving: list[PreparedImage]
    fixed: list[PreparedImage]
    remarks: tuple[str, ...]


def trained_preparation(path: Path, header: Mapping[str, Any]) -> Preparation:
    """Return how images are brought to the grid of a trained model.

    Parameters
    ----------
    path
        The model's file. Beside it lies the prepared cohort, of which only the template is needed,
        and of older models the record; of a network in `compare/`, beside that folder.
    header
        Its header.

    Raises
    ------
    CheckpointError
        If the header does not tell.
    """
    check_header(path, header, needed=["preprocessing", "cohort"])
    preprocessing = checked(
        header["preprocessing"],
        PreprocessingOptions,
        field=str(path),
        error=CheckpointError,
        what="the header of a trained model",
        advice="Restore the file, or move it away and train again.",
    )
    study_folder = StudyFolder(path.parent)
    if path.parent == StudyFolder(path.parent.parent).baselines_folder:
        study_folder = StudyFolder(path.parent.parent)
    prepared = study_folder.prepared_folder / header["cohort"]
    return Preparation(
        preprocessing=preprocessing,
        spacing_mm=_trained_spacing(header, prepared / RECORD),
        reference=Reference.from_record(header.get("reference")),
        template=prepared / TEMPLATE,
    )


def cohort_preparation(cohort: PreparedCohort, preprocessing: PreprocessingOptions) -> Preparation:
    """Return how images are brought to the grid of a prepared cohort."""
    return Preparation(
        preprocessing=preprocessing,
        spacing_mm="unknown" if cohort.spacing_mm is None else cohort.spacing_mm,
        reference=cohort.reference,
        template=cohort.template,
    )


def _trained_spacing(header: Mapping[str, Any], record: Path) -> Spacing:
    """Return the spacing that a model was trained at, of older ones from their cohort's record."""
    if "spacing_mm" in header:
        spacing = header["spacing_mm"]
    elif record.is_file():
        what = "the record of a prepared cohort"
        content = read_json(record, error=DataError, what=what, advice=_PREPARE_AGAIN)
        spacing = content.get("spacing_mm")
    else:
        return None
    return "unknown" if spacing is None else tuple(float(step) for step in spacing)


def prepare_pair(preparation: Preparation, pair: FilePair) -> PreparedPair:
    """Return two images on the grid of a model, with remarks.

    Raises
    ------
    DataError
        If an image cannot be used, the two lie in different planes, their spacings differ and the
        model's is unknown, or the template is not there.
    """
    options, remarks = _at_trained_spacing(preparation, pair)
    reference, said = _reference_of(preparation, pair, options)
    remarks += said
    template = _template_file(preparation) if options.placement == "affine" else None

    fixed_place = find_place(pair.fixed_image, options, reference, template)
    fixed = resample_image(pair.fixed_image, options, fixed_place, str(pair.fixed))

    moving_options = options
    if options.slices is not None and options.placement == "centre":
        moving_options, said = _slices_by_place(options, pair, reference)
        remarks += said
    moving_place = find_place(pair.moving_image, options, reference, template)
    moving = resample_image(pair.moving_image, moving_options, moving_place, str(pair.moving))

    places = {pair.fixed: fixed_place, pair.moving: moving_place}
    for path, place in places.items():
        if place.alignment_failed:
            remarks.append(
                f"{path.name}: it could not be aligned to the template and lies centre on centre "
                "with it."
            )
    remarks += _sizes_against_grid(pair.moving, moving[0])
    remarks += _sizes_against_grid(pair.fixed, fixed[0])
    if options.placement == "centre":
        remarks += _centring_against_headers(pair, moving[0], fixed[0], options)
    if options.placement == "header":
        remarks += _headers_against_overlap(pair)
    return PreparedPair(moving=moving, fixed=fixed, remarks=tuple(remarks))


def _template_file(preparation: Preparation) -> Path:
    template = preparation.template
    if template is None or not template.is_file():
        advice = (
            "Run `hmopt train` in the study folder, which prepares the cohort; a published model has no template: "
            "use `--placement header` or `--placement centre` with images that are aligned."
        )
        raise DataError(
            str(template), expected="the template of the cohort", got="no file", advice=advice
        )
    return template


def _at_trained_spacing(
    preparation: Preparation, pair: FilePair
) -> tuple[PreprocessingOptions, list[str]]:
    """Return the preprocessing at the spacing that the model was trained at, and remarks."""
    options = preparation.preprocessing
    trained = preparation.spacing_mm
    if options.spacing_mm is not None or trained == "unknown":
        return options, []
    spacings = {
        path: ras_frame(image.lattice, preparation.reference.axes).spacing_mm
        for path, image in pair.files.items()
    }
    if trained is None:
        moving = spacings[pair.moving]
        fixed = spacings[pair.fixed]
        if not np.allclose(moving, fixed, rtol=SAME_SPACING):
            expected = f"the spacing of {pair.fixed.name}, {_times(fixed)} mm"
            raise DataError(
                str(pair.moving),
                expected=f"{expected}, as the model's is not known",
                got=f"{_times(moving)} mm",
                advice="Resample one to the other.",
            )
        return options, []
    kept = _kept_axes(options, pair, preparation.reference)
    remarks = []
    for path, spacing in spacings.items():
        own = [spacing[axis] for axis in kept]
        if not np.allclose(own, trained, rtol=SAME_SPACING):
            remarks.append(
                f"{path.name}: its spacing, {_times(own)} mm, is not that of the images that the "
                f"model was trained on; it is resampled to {_times(trained)} mm."
            )
    return options.model_copy(update={"spacing_mm": list(trained)}), remarks


def _reference_of(
    preparation: Preparation, pair: FilePair, options: PreprocessingOptions
) -> tuple[Reference, list[str]]:
    """Return what both images are laid out by, and remarks."""
    remarks = []
    trained = preparation.reference
    axes = common_axes(list(pair.lattices.values()), near=trained.axes)
    plane = None
    if len(options.shape) == 3:
        check_volumes(
            pair.lattices,
            expected="a volume, as the model was trained on",
            advice="Give volumes, or a model that was trained on 2-D images.",
        )
    if len(options.shape) == 2 and options.slices is None:
        plane = common_plane(pair.lattices, axes)
        if trained.plane is not None and plane != trained.plane:
            remarks.append(
                f"{pair.fixed.name}: {plane_name({plane})} plane, and the model was trained on "
                f"{plane_name({trained.plane})} one: expect less of it."
            )
    if options.placement == "centre":
        return Reference(axes=axes, plane=plane), remarks
    if options.placement == "affine":
        # both lie on the template's grid, whose axes the model knows
        return Reference(axes=trained.axes, plane=plane), remarks
    if trained.lattice is None or plane != trained.plane:
        return Reference(axes=axes, lattice=pair.fixed_image.lattice, plane=plane), remarks
    lattice = trained.lattice
    if len(options.shape) == 3:
        lattice, said = _brought_near(lattice, pair)
        remarks += said
    return Reference(axes=trained.axes, lattice=lattice, plane=plane), remarks


def _times(numbers: Sequence[float]) -> str:
    texts = [f"{number:.4g}" for number in numbers]
    return " x ".join(texts)


def _kept_axes(options: PreprocessingOptions, pair: FilePair, reference: Reference) -> list[int]:
    """Return the axes that the prepared grid extends along."""
    if len(options.shape) == 3:
        return [0, 1, 2]
    if options.slices is not None:
        across = options.slices.axis
    else:
        axes = common_axes(list(pair.lattices.values()), near=reference.axes)
        across = common_plane(pair.lattices, axes)
    return [axis for axis in range(3) if axis != across]


def _slices_by_place(
    options: PreprocessingOptions, pair: FilePair, reference: Reference
) -> tuple[PreprocessingOptions, list[str]]:
    """Return the preprocessing of the moving image, its slices at the places of the fixed ones.

    A slice z of the fixed image lies, in voxels of the moving one, at M⁻¹ F (x, y, z, 1), where F
    and M take voxels of the fixed and moving image to the world and (x, y) is the middle of the
    slice. Where the moving image has nothing there, the headers are of different spaces, and slices
    of the same number are taken.
    """
    assert options.slices is not None
    axis = options.slices.axis
    indices = options.slices.indices
    fixed = ras_frame(pair.fixed_image.lattice, reference.axes)
    moving = ras_frame(pair.moving_image.lattice, reference.axes)
    moving_from_fixed = np.linalg.inv(moving.to_world) @ fixed.to_world
    middle = (np.array(fixed.shape) - 1) / 2
    found = []
    for index in indices:
        voxel = np.array([*middle, 1.0])
        voxel[axis] = index
        found.append(float((moving_from_fixed @ voxel)[axis]))
    nearest = [round(one) for one in found]
    if nearest == indices:
        return options, []
    numbers = ", ".join(str(index) for index in indices)
    off = max(abs(one - index) for one, index in zip(found, indices, strict=True))
    off_mm = off * moving.spacing_mm[axis]
    if min(nearest) < 0 or max(nearest) >= moving.shape[axis]:
        return options, [
            f"{pair.moving.name}: nothing of it lies at the places of slices {numbers} of "
            f"{pair.fixed.name} ({off_mm:.3g} mm off by the headers); slices of the same number "
            "are paired."
        ]
    places = ", ".join(str(index) for index in nearest)
    slices = options.slices.model_copy(update={"indices": nearest, "search_indices": []})
    return options.model_copy(update={"slices": slices}), [
        f"{pair.moving.name}: its slices {places} lie where slices {numbers} of {pair.fixed.name} "
        f"do and are paired with them; those of the same number lie up to {off_mm:.3g} mm off."
    ]


def _brought_near(lattice: Lattice, pair: FilePair) -> tuple[Lattice, list[str]]:
    """Return the cohort's lattice, moved to the fixed image where that lies elsewhere."""
    fixed = pair.fixed_image.lattice
    if share_inside(lattice, fixed) >= _WELL_INSIDE:
        return lattice, []
    apart = fixed.centre_mm - lattice.centre_mm
    to_world = lattice.affine[:3, :3]
    # whole voxels, so that images on the lattice are still not resampled
    steps = np.round(np.linalg.inv(to_world) @ apart)
    affine = lattice.affine.copy()
    affine[:3, 3] += to_world @ steps
    distance = float(np.linalg.norm(apart))
    return Lattice(shape=lattice.shape, affine=affine), [
        f"{pair.fixed.name} lies {distance:.3g} mm from the images that the model was trained on; "
        "the grid is brought to its middle, for both images."
    ]


def _sizes_against_grid(path: Path, item: PreparedImage) -> list[str]:
    """Return a remark where the size of an image makes its unit doubtful."""
    affine = item.original.affine
    image_mm = np.linalg.norm(affine[:3, :3], axis=0) * item.original.shape
    steps_mm = np.linalg.norm((affine @ item.grid)[:3, : item.data.ndim], axis=0)
    grid_mm = steps_mm * item.data.shape
    if 1 / _OTHER_SIZE < image_mm.max() / grid_mm.max() < _OTHER_SIZE:
        return _share_of_image(path, item)
    image_sides = _times(sorted(image_mm.tolist(), reverse=True))
    grid_sides = _times(sorted(grid_mm.tolist(), reverse=True))
    return [
        f"{path.name}: it measures {image_sides} mm, and the model's grid {grid_sides} mm: "
        "look whether the unit and the spacing in its header are right."
    ]


def _share_of_image(path: Path, item: PreparedImage) -> list[str]:
    """Return a remark where most of an image lies outside the grid."""
    dimensions = item.data.ndim
    ends = [(-0.5, side - 0.5) for side in item.original.shape]
    # (4, 8): the corners of the file
    corners = np.array(list(itertools.product(*ends))).T
    corners = np.vstack([corners, np.ones(corners.shape[1])])
    extents = np.ptp((np.linalg.inv(item.grid) @ corners)[:dimensions], axis=1)
    share = float(np.prod(np.minimum(item.data.shape / extents, 1)))
    if share > _SMALL_SHARE:
        return []
    return [
        f"{path.name}: the model's grid covers {share:.1%} of it. Crop the image around the structures to register, or "
        "use a model of larger images; displacements outside the grid are extrapolated."
    ]


def _centring_against_headers(
    pair: FilePair, moving: PreparedImage, fixed: PreparedImage, options: PreprocessingOptions
) -> list[str]:
    """Return a remark where images are centred and their headers put them elsewhere.

    A point p of the prepared grid lies at A_m G_m p in the world of the moving header and at A_f
    G_f p in that of the fixed one (G: prepared voxel to file voxel, A: file voxel to world). The
    mean distance of these two over points at a quarter and three quarters of each axis is how far
    centring is from the headers.
    """
    dimensions = len(options.shape)
    quarters = np.array(list(np.ndindex(*[2] * dimensions))) / 2 + 0.25
    points = np.zeros((4, len(quarters)))
    points[:dimensions] = (quarters * (np.array(options.shape) - 1)).T
    points[3] = 1
    in_moving_world = moving.original.affine @ moving.grid @ points
    in_fixed_world = fixed.original.affine @ fixed.grid @ points
    apart = (in_moving_world - in_fixed_world)[:3]
    if dimensions == 2:
        # the distance across the plane does not count: the planes are laid on each other
        normal = (fixed.original.affine @ fixed.grid)[:3, 2]
        normal = normal / np.linalg.norm(normal)
        apart = apart - np.outer(normal, normal @ apart)
    apart_mm = float(np.linalg.norm(apart, axis=0).mean())
    share = share_inside(moving.original, fixed.original)
    if share < _WELL_INSIDE or apart_mm <= _OFF_PLACE * min(fixed.spacing_mm):
        return []
    return [
        f"{pair.moving.name} and {pair.fixed.name} are laid centre on centre, {apart_mm:.3g} mm "
        f"from where their headers put them, and by these {100 * share:.0f} % of the smaller "
        "image lies in the other. If the headers are right, register with `--placement header`."
    ]


def _headers_against_overlap(pair: FilePair) -> list[str]:
    """Return a remark where images are placed by their headers and hardly overlap."""
    share = share_inside(pair.moving_image.lattice, pair.fixed_image.lattice)
    if share >= _HARDLY_INSIDE:
        return []
    return [
        f"{pair.moving.name} and {pair.fixed.name} are placed by their headers, and "
        f"{100 * share:.0f} % of the smaller image lies in the other; their centres are "
        f"{pair.apart_mm:.3g} mm apart. If their headers are not of one space, register them with "
        "`--placement centre`."
    ]
