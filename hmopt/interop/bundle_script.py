"""What a MONAI bundle of hmopt runs: images laid on the grid of the network, and fields written.

This file is copied into each bundle as `scripts/registration.py`. It needs MONAI, nibabel, SciPy and
torch, and nothing of hmopt.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.dataset import Dataset
from monai.transforms.transform import MapTransform
from nibabel.affines import voxel_sizes
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
VECTOR_INTENT = 1007
_SAME_SPACING = 1e-3


class PlaceOnGridd(MapTransform):
    """Normalize images and lay them on the grid of the network, centre on centre or by a lattice.

    MONAI's `Spacingd` and `ResizeWithPadOrCropd` do nearly the same, up to half a voxel and without
    the smoothing before a coarser grid.

    Parameters
    ----------
    keys
        Of images, (1, x, y (, z)) with their affine.
    shape
        Voxels of the grid along each axis, 2 or 3, in RAS+ order.
    spacing_mm
        Their distances; None: each image's own.
    normalization
        `percentile`, `minmax` or `zscore`, as hmopt has them.
    background
        Intensity outside an image, before normalization; None: its minimum.
    slice_axis, slice_index
        The slice that is taken of volumes by a network for slices; None: images of one slice.
    lattice
        `shape` and `affine` of the image whose centre and axes the grid has for all images; None:
        those of each image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        shape: Sequence[int],
        spacing_mm: Sequence[float] | None = None,
        normalization: str = "percentile",
        background: float | None = None,
        slice_axis: int | None = None,
        slice_index: int = 0,
        lattice: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.shape = tuple(shape)
        self.spacing_mm = spacing_mm
        self.normalization = normalization
        self.background = background
        self.slice_axis = slice_axis
        self.slice_index = slice_index
        self.lattice = lattice

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the prepared images, and for each key what is known of its file.

        `KEY_grid` is the matrix from prepared voxels to those of the file, `KEY_file` its
        intensities, `KEY_axes` how many axes it has, `KEY_affine` its affine, and `KEY_background`
        the intensity outside it.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            affine = np.asarray(image.affine, dtype=np.float64)
            intensities = np.asarray(image, dtype=np.float32)[0]
            result[f"{key}_axes"] = intensities.ndim
            if intensities.ndim == 2:
                intensities = intensities[..., None]
                affine = _with_third_axis(affine)
            grid = self._grid(affine, intensities.shape)
            prepared = self._resampled(intensities, grid)
            result[key] = torch.from_numpy(prepared)[None]
            result[f"{key}_grid"] = grid
            result[f"{key}_file"] = intensities
            result[f"{key}_affine"] = affine
            outside = self.background
            result[f"{key}_background"] = intensities.min() if outside is None else outside
        return result

    def _grid(self, affine: Floats, file_shape: Sequence[int]) -> Floats:
        """Return (4, 4), prepared voxel to voxel of the file; a slice is the plane z = 0."""
        frame_affine, frame_shape = affine, tuple(file_shape)
        if self.lattice is not None:
            frame_affine = np.asarray(self.lattice["affine"], dtype=np.float64)
            frame_shape = tuple(self.lattice["shape"])
        to_world, shape = _ras_order(frame_affine, frame_shape)
        spacing = np.array([float(f"{size:.6g}") for size in voxel_sizes(to_world)])
        wanted_shape = np.array(shape)
        wanted_spacing = spacing.copy()
        if len(self.shape) == 3:
            wanted_shape[:] = self.shape
            if self.spacing_mm is not None:
                wanted_spacing[:] = self.spacing_mm
            grid = _centred_grid(shape, spacing, wanted_shape, wanted_spacing)
        else:
            across = self._slice_axis(shape)
            plane = [axis for axis in range(3) if axis != across]
            wanted_shape[plane] = self.shape
            if self.spacing_mm is not None:
                wanted_spacing[plane] = self.spacing_mm
            grid = _centred_grid(shape, spacing, wanted_shape, wanted_spacing)
            grid[across, 3] = self.slice_index
            grid = grid[:, [*plane, across, 3]]
        in_file: Floats = np.linalg.inv(affine) @ to_world @ grid
        return in_file.round(9)

    def _slice_axis(self, shape: Sequence[int]) -> int:
        if self.slice_axis is not None:
            return self.slice_axis
        flat = [axis for axis, size in enumerate(shape) if size == 1]
        if not flat:
            raise ValueError(f"expected an image of one slice, got shape {tuple(shape)}")
        return flat[-1]

    def _resampled(self, intensities: NDArray[np.float32], grid: Floats) -> NDArray[np.float32]:
        low, width = _scale(intensities, self.normalization)
        normalized = (intensities - low) / width
        outside = None if self.background is None else (self.background - low) / width
        if self.normalization != "zscore":
            normalized = normalized.clip(0, 1)
            outside = None if outside is None else min(1.0, max(0.0, outside))
        if outside is None:
            outside = float(normalized.min())

        d = len(self.shape)
        # without the detail that a coarser grid cannot hold
        steps = np.linalg.norm(grid[:3, :d], axis=1)
        sigma = np.maximum(0, (steps - 1) / 2)
        smooth = normalized.astype(np.float32)
        if sigma.max() > _SAME_SPACING:
            smooth = ndimage.gaussian_filter(smooth, sigma, mode="nearest")
        whole_shape = self.shape if d == 3 else (*self.shape, 1)
        resampled: NDArray[np.float32] = ndimage.affine_transform(
            smooth,
            grid[:3, :3],
            grid[:3, 3],
            output_shape=whole_shape,
            order=1,
            mode="grid-constant",
            cval=outside,
        )
        return resampled.reshape(self.shape)


class Registration:
    """Registers the pairs of a dataset and writes what comes of them.

    Parameters
    ----------
    network
        Takes moving and fixed images, (1, 1, *shape), and returns displacement and moved images.
    dataset
        Of pairs, after `PlaceOnGridd` of the keys `moving` and `fixed`.
    device
        Where the network runs.
    output_dir
        Gets `moved.nii.gz` and `displacement.nii.gz`; for several pairs with a number in front.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        dataset: Dataset,
        device: torch.device | str,
        output_dir: str,
    ) -> None:
        self.network = network
        self.dataset = dataset
        self.device = torch.device(device)
        self.output_dir = Path(output_dir)

    def run(self) -> list[Path]:
        """Register all pairs, and return the files that were written."""
        written = []
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for number in range(len(self.dataset)):
            pair = self.dataset[number]
            start = f"{number + 1}_" if len(self.dataset) > 1 else ""
            moved, displacement = self.register(pair)
            for name, image in (("moved", moved), ("displacement", displacement)):
                path = self.output_dir / f"{start}{name}.nii.gz"
                nibabel.save(image, path)
                written.append(path)
        return written

    def register(self, pair: Mapping[str, Any]) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
        """Return the moved image on the fixed grid, and the displacement that ITK and ANTs read.

        The displacement is in mm, LPS+, of the points of the fixed image.
        """
        moving = pair["moving"][None].to(self.device)
        fixed = pair["fixed"][None].to(self.device)
        with torch.no_grad():
            found, _ = self.network(moving, fixed)
        # (d, *shape), in prepared voxels
        displacement = found[0].cpu().numpy()

        fixed_shape = pair["fixed_file"].shape
        voxels = _voxels(fixed_shape)
        prepared = _apply(np.linalg.inv(pair["fixed_grid"]), voxels)
        d = displacement.shape[0]
        places = np.moveaxis(prepared[..., :d], -1, 0).copy()
        for axis, component in enumerate(displacement):
            shift = ndimage.map_coordinates(component, places, order=1, mode="nearest")
            prepared[..., axis] += shift
        coordinates = _apply(pair["moving_grid"], prepared)
        if d == 2:
            # voxels off the slice, which is z = 0, stay where the headers put them
            still = np.linalg.inv(pair["moving_affine"]) @ pair["fixed_affine"]
            off_slice = np.abs(prepared[..., 2]) >= 0.5
            coordinates[off_slice] = _apply(still, voxels[off_slice])

        image = pair["moving_file"]
        upper = np.array(image.shape) - 0.5
        inside = ((coordinates >= -0.5) & (coordinates < upper)).all(axis=-1)
        moved = np.full(fixed_shape, pair["moving_background"], np.float32)
        moved[inside] = ndimage.map_coordinates(
            image, coordinates[inside].T, order=1, mode="nearest"
        )

        in_moving_world = _apply(pair["moving_affine"], coordinates)
        in_fixed_world = _apply(pair["fixed_affine"], voxels)
        shift_lps = (in_moving_world - in_fixed_world) @ LPS_FROM_RAS
        if pair["fixed_axes"] == 2:
            moved = moved[..., 0]
        if pair["fixed_axes"] == 2 and pair["moving_axes"] == 2:
            shift_lps = shift_lps[..., :2]
        field = _vector_image(shift_lps, pair["fixed_affine"])
        return nibabel.Nifti1Image(moved, pair["fixed_affine"]), field


def _vector_image(vectors: Floats, affine: Floats) -> nibabel.Nifti1Image:
    """Return vectors (x, y, z, c) as ITK reads them: (x, y, z, 1, c), intent "vector".

    Of two 2-D files c = 2, else 3. ITK takes a field of 3 with one voxel along the last axis for
    two-dimensional. Its axes are stored in the first cyclic order whose last one is longer.
    """
    order = [0, 1, 2]
    is_of_planes = vectors.shape[-1] == 2
    while not is_of_planes and vectors.shape[order[-1]] == 1 and order != [1, 2, 0]:
        order = [order[-1], *order[:-1]]
    columns = [*order, 3]
    data = np.transpose(vectors, columns).astype(np.float32)[:, :, :, None, :]
    image = nibabel.Nifti1Image(data, affine[:, columns])
    image.header.set_intent(VECTOR_INTENT, name="displacement")
    image.header.set_xyzt_units("mm")
    return image


def _scale(intensities: NDArray[np.float32], normalization: str) -> tuple[float, float]:
    """Return the intensity that becomes 0, and the difference of intensities that becomes 1."""
    if normalization == "zscore":
        mean = float(intensities.mean(dtype=np.float64))
        deviation = float(intensities.std(dtype=np.float64))
        return mean, deviation or 1.0
    low = float(intensities.min())
    high = float(intensities.max())
    if normalization == "percentile":
        inner_low, inner_high = np.percentile(intensities, (0.5, 99.5)).tolist()
        if inner_high > inner_low:
            low = inner_low
            high = inner_high
    return low, (high - low) or 1.0


def _ras_order(affine: Floats, shape: Sequence[int]) -> tuple[Floats, tuple[int, ...]]:
    """Return the affine and the shape of a file with its axes towards right, anterior, superior."""
    orientation = io_orientation(affine)
    to_world = affine @ inv_ornt_aff(orientation, tuple(shape))
    ordered = np.empty(3, dtype=int)
    ordered[orientation[:, 0].astype(int)] = shape
    return to_world, tuple(ordered.tolist())


def _centred_grid(
    shape: Sequence[int], spacing: Floats, wanted_shape: NDArray[Any], wanted_spacing: Floats
) -> Floats:
    """Return (4, 4), from voxels of a grid to those of an image that has the same centre.

    Where both spacings are the same, it is moved by whole voxels, so that nothing is resampled.
    """
    ratio = wanted_spacing / spacing
    same = np.abs(ratio - 1) < _SAME_SPACING
    ratio[same] = 1
    middle = np.subtract(shape, 1) / 2
    grid_middle = ratio * (wanted_shape - 1) / 2
    offset = middle - grid_middle
    offset[same] = np.floor(offset[same])
    grid = np.diag([*ratio, 1.0])
    grid[:3, 3] = offset
    return grid


def _with_third_axis(affine: Floats) -> Floats:
    if affine.shape == (4, 4):
        return affine
    whole = np.eye(4)
    whole[:2, :2] = affine[:2, :2]
    whole[:2, 3] = affine[:2, -1]
    return whole


def _voxels(shape: Sequence[int]) -> Floats:
    """Return the numbers of all voxels, (x, y, z, 3)."""
    axes = [np.arange(size, dtype=np.float64) for size in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.stack(grid, axis=-1)


def _apply(matrix: Floats, points: Floats) -> Floats:
    moved: Floats = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
