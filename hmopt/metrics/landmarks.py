"""Target registration error: how far corresponding landmarks lie apart after registration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hmopt.data.landmarks import Landmarks, correspond

Floats = NDArray[np.float64]
Summary = Callable[[Floats], float | np.floating]
"""One number of the distances of a pair's landmarks."""

HALF_A_VOXEL = 0.5
"""How far outside the outermost voxels' centres, or off a slice, a landmark still lies in an image."""


@dataclass(frozen=True, kw_only=True)
class LandmarkErrors:
    """From where each landmark of a fixed image is mapped to, to where it is in the moving one.

    Parameters
    ----------
    before, after
        (k, 3), without and with the displacement, in voxels of the moving image's file.
    edges_mm
        (3, 3): the edges of such a voxel in the world, a column each, in mm.
    """

    before: Floats
    after: Floats
    edges_mm: Floats

    @property
    def voxels(self) -> Floats:
        """Distances with the displacement: (k,)."""
        return np.asarray(np.linalg.norm(self.after, axis=1))

    @property
    def mm(self) -> Floats:
        """The same in mm."""
        return self._lengths_mm(self.after)

    @property
    def falls(self) -> NDArray[np.bool_]:
        """Whether the displacement brings each landmark nearer to its place: (k,)."""
        nearer: NDArray[np.bool_] = self.mm < self._lengths_mm(self.before)
        return nearer

    def _lengths_mm(self, vectors: Floats) -> Floats:
        in_world = vectors @ self.edges_mm.T
        return np.asarray(np.linalg.norm(in_world, axis=1))


NO_LANDMARKS = LandmarkErrors(before=np.empty((0, 3)), after=np.empty((0, 3)), edges_mm=np.eye(3))
"""Of a pair without landmarks."""


def find_landmark_errors(
    moving: Landmarks,
    fixed: Landmarks,
    moving_grid: Floats,
    fixed_grid: Floats,
    displacement: Floats,
) -> LandmarkErrors:
    """Return the errors of the landmarks that two images have in common.

    A landmark of the fixed image lies at voxel p of the prepared grid, is mapped to p + displacement(p), and from there
    to the moving image. Landmarks outside the grid of the fixed image, where no displacement is known, are left out; of
    2-D images also those that are more than half a voxel off the plane of either image.

    Parameters
    ----------
    moving, fixed
        Landmarks of either image.
    moving_grid, fixed_grid
        (4, 4): voxel of the prepared grid to voxel of either image's file.
    displacement
        (d, *shape), in voxels of the prepared grid.
    """
    common = correspond(moving, fixed)
    on_fixed = apply_affine(np.linalg.inv(fixed_grid), common.fixed)
    on_moving = apply_affine(np.linalg.inv(moving_grid), common.moving)

    d, *sides = displacement.shape
    counts = on_grid(on_fixed, sides) & on_plane(on_moving, d)
    unmoved = on_fixed[counts]
    mapped = displaced(torch.from_numpy(unmoved), torch.as_tensor(displacement)).numpy()
    expected = common.moving[counts]
    return LandmarkErrors(
        before=expected - apply_affine(moving_grid, unmoved),
        after=expected - apply_affine(moving_grid, mapped),
        edges_mm=common.moving_affine[:3, :3],
    )


def on_plane(places: Floats, d: int) -> NDArray[np.bool_]:
    """Tell which places lie on the plane of a 2-D grid, up to half a voxel off it; of volumes, all do: (k,).

    Parameters
    ----------
    places
        (k, 3), in voxels of the grid.
    d
        Axes of the grid.

    Examples
    --------
    >>> on_plane(np.array([[1.0, 2.0, 0.4], [1.0, 2.0, 0.6]]), 2)
    array([ True, False])
    """
    off_plane = np.abs(places[:, d:])
    return np.asarray((off_plane <= HALF_A_VOXEL).all(axis=1))


def on_grid(places: Floats, sides: Sequence[int]) -> NDArray[np.bool_]:
    """Tell which places lie in the voxels of a grid, where a displacement is known: (k,).

    Parameters
    ----------
    places
        (k, 3), in voxels of the grid.
    sides
        Voxels along each of its axes.

    Examples
    --------
    >>> on_grid(np.array([[-0.5, 2.0, 0.0], [3.6, 2.0, 0.0]]), (4, 4))
    array([ True, False])
    """
    d = len(sides)
    last = np.array(sides) - 1
    within = places[:, :d]
    inside = (within >= -HALF_A_VOXEL) & (within <= last + HALF_A_VOXEL)
    return np.asarray(inside.all(axis=1) & on_plane(places, d))


def displaced(places: Tensor, displacement: Tensor) -> Tensor:
    """Return where places of a grid are mapped to, by linear interpolation of the displacement.

    It can be differentiated by the displacement.

    Parameters
    ----------
    places
        (k, 3), in voxels of the grid; of 2-D images the third coordinate stays.
    displacement
        (d, *shape), in voxels, of the same type. Within half a voxel of the grid it is that of the nearest voxel.

    Returns
    -------
    Tensor
        (k, 3).

    Examples
    --------
    >>> displaced(torch.tensor([[1.0, 2.0, 0.0]]), torch.full((2, 4, 4), 0.5))
    tensor([[1.5000, 2.5000, 0.0000]])
    """
    d, *sides = displacement.shape
    last = torch.tensor(sides, dtype=places.dtype, device=places.device) - 1
    # from voxels to [-1, 1], the last axis first, as `grid_sample` has it: (1, k, 1, …, d)
    scaled = 2 * places[:, :d] / last.clamp(min=1) - 1
    each_place = [1] * (d - 1)
    grid = scaled.flip(1).reshape(1, len(places), *each_place, d)
    # (1, d, k, 1, …)
    sampled = functional.grid_sample(
        displacement.unsqueeze(0), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    shift = sampled.reshape(d, len(places)).T
    return torch.cat([places[:, :d] + shift, places[:, d:]], 1)


def tre_mm(
    landmark_errors: Sequence[LandmarkErrors], spacing_mm: tuple[float, ...] | None
) -> Tensor:
    """Compute the mean distance of landmarks after registration: (n,), in mm.

    Parameters
    ----------
    landmark_errors
        Of n pairs.
    spacing_mm
        Of the grid; None where it is unknown.

    Returns
    -------
    Tensor
        (n,), float64. NaN where the images have no landmark in common, and everywhere if the spacing is unknown.

    References
    ----------
    Fitzpatrick, West and Maurer, IEEE TMI 17, 1998: target registration error.

    Examples
    --------
    >>> error = LandmarkErrors(
    ...     before=np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ...     after=np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]]),
    ...     edges_mm=np.diag([2.0, 1.0, 1.0]),
    ... )
    >>> tre_mm([error], (2.0, 1.0)).item(), tre_voxels([error]).item(), tre_robustness([error]).item()
    (2.5, 2.0, 0.5)
    """
    return _of_lengths_mm(landmark_errors, spacing_mm, np.mean)


def tre_median_mm(
    landmark_errors: Sequence[LandmarkErrors], spacing_mm: tuple[float, ...] | None
) -> Tensor:
    """Compute the median distance of landmarks after registration: (n,), in mm; NaN as for `tre_mm`."""
    return _of_lengths_mm(landmark_errors, spacing_mm, np.median)


def tre_p90_mm(
    landmark_errors: Sequence[LandmarkErrors], spacing_mm: tuple[float, ...] | None
) -> Tensor:
    """Compute the 90th percentile of the distances of landmarks: (n,), in mm; NaN as for `tre_mm`."""
    return _of_lengths_mm(landmark_errors, spacing_mm, _p90)


def tre_voxels(landmark_errors: Sequence[LandmarkErrors]) -> Tensor:
    """Compute the mean distance of landmarks after registration: (n,), in voxels of the moving image's file.

    It needs no spacing. NaN where the images have no landmark in common.
    """
    return _of_each([errors.voxels for errors in landmark_errors], np.mean)


def tre_median_voxels(landmark_errors: Sequence[LandmarkErrors]) -> Tensor:
    """Compute the median distance of landmarks: (n,), in voxels of the moving image's file."""
    return _of_each([errors.voxels for errors in landmark_errors], np.median)


def tre_p90_voxels(landmark_errors: Sequence[LandmarkErrors]) -> Tensor:
    """Compute the 90th percentile of the distances of landmarks: (n,), in voxels of the moving image's file."""
    return _of_each([errors.voxels for errors in landmark_errors], _p90)


def tre_robustness(landmark_errors: Sequence[LandmarkErrors]) -> Tensor:
    """Compute the share of landmarks whose error falls by registration: (n,), in [0, 1].

    Before registration images lie as they are placed on the prepared grid: by header, by their centres, or aligned.
    NaN where they have no landmark in common.

    References
    ----------
    Borovec et al., ANHIR: Automatic non-rigid histological image registration challenge, IEEE TMI 39, 2020, section
    IV-A: robustness.
    """
    return _of_each([errors.falls for errors in landmark_errors], np.mean)


def _of_lengths_mm(
    landmark_errors: Sequence[LandmarkErrors],
    spacing_mm: tuple[float, ...] | None,
    summary: Summary,
) -> Tensor:
    if spacing_mm is None:
        return torch.full((len(landmark_errors),), torch.nan, dtype=torch.float64)
    return _of_each([errors.mm for errors in landmark_errors], summary)


def _of_each(values: Sequence[NDArray[np.generic]], summary: Summary) -> Tensor:
    """Return one number of each pair: (n,); NaN of a pair without landmarks."""
    found = []
    for of_pair in values:
        number = float(summary(of_pair.astype(float))) if len(of_pair) else np.nan
        found.append(number)
    return torch.tensor(found, dtype=torch.float64)


def _p90(values: Floats) -> float:
    return float(np.quantile(values, 0.9))
