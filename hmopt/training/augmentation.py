"""Random transforms of training images."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hmopt.declaration import AugmentationOptions
from hmopt.spatial import identity_grid


def random_displacement(
    options: AugmentationOptions,
    count: int,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    rows: Sequence[int] | None = None,
) -> Tensor | None:
    """Draw a small affine and smooth displacement for each of some images.

        displacement(x) = A (x - c) + t - (x - c) + s(x)

    A scales and rotates about the centre c of the grid, in voxels (on anisotropic voxels a
    rotation shears), t translates, and s interpolates random vectors at control points.

    Parameters
    ----------
    options
        Standard deviations of the parts.
    count
        How many images.
    shape
        Of the images, along each of d axes.
    generator
        Source of randomness; numbers are drawn for all images.
    rows
        Those whose displacement is computed; None: all.

    Returns
    -------
    Tensor or None
        (rows, d, *shape), in voxels; None if nothing is declared that moves voxels.

    Examples
    --------
    >>> options = AugmentationOptions(translation=1.0)
    >>> random_displacement(options, 2, (8, 8), np.random.default_rng(0)).shape
    torch.Size([2, 2, 8, 8])
    """
    affine_parts = (options.rotation_degrees, options.scaling, options.translation)
    if not any(affine_parts) and not options.deformation:
        return None
    d = len(shape)
    drawn = [_random_affine(options, d, generator) for _ in range(count)]
    matrices = torch.from_numpy(np.stack(drawn))
    if rows is not None:
        matrices = matrices[list(rows)]
    affine = _affine_displacement(matrices.float(), shape)
    if not options.deformation:
        return affine
    smooth = _smooth_displacement(options, count, shape, generator, rows)
    return affine + smooth


def random_gamma(
    options: AugmentationOptions,
    images: Tensor,
    generator: np.random.Generator,
    count: int | None = None,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """Raise the intensities of each image to a random power γ, log γ ~ N(0, intensity²).

    Parameters
    ----------
    options
        `intensity`, the standard deviation of log γ.
    images
        (n, 1, *shape), in [0, 1].
    generator
        Source of randomness.
    count, rows
        Where they are some of more images: for how many a γ is drawn, and which of them they are.

    Returns
    -------
    Tensor
        (n, 1, *shape), in [0, 1].

    Examples
    --------
    >>> images = torch.rand(2, 1, 4, 4)
    >>> generator = np.random.default_rng(0)
    >>> torch.equal(random_gamma(AugmentationOptions(), images, generator), images)
    True
    """
    if not options.intensity:
        return images
    log_powers = generator.normal(0, options.intensity, count or len(images))
    powers = torch.from_numpy(np.exp(log_powers))
    if rows is not None:
        powers = powers[list(rows)]
    each_voxel = [1] * (images.dim() - 1)
    powers = powers.float().reshape(len(images), *each_voxel)
    intensities = images.clamp(min=0)
    return intensities**powers


def _random_affine(
    options: AugmentationOptions, d: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw [A - I | t], d × (d + 1): what x -> A x + t adds to x, with x from the centre."""
    log_scales = generator.normal(0, options.scaling, d)
    scales = np.exp(log_scales)
    matrix = np.diag(scales)
    spread = math.radians(options.rotation_degrees)
    planes = combinations(range(d), 2)
    for plane in planes:
        angle = spread * generator.normal()
        rotation = _rotation(angle, plane, d)
        matrix = rotation @ matrix
    difference = matrix - np.eye(d)
    translation = generator.normal(0, options.translation, d)
    return np.column_stack([difference, translation])


def _rotation(angle: float, plane: tuple[int, int], d: int) -> NDArray[np.float64]:
    """Return the d × d rotation by an angle in the plane of two axes."""
    one, other = plane
    cosine = math.cos(angle)
    sine = math.sin(angle)
    rotation = np.eye(d)
    rotation[one, one] = cosine
    rotation[other, other] = cosine
    rotation[one, other] = -sine
    rotation[other, one] = sine
    return rotation


def _affine_displacement(matrices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Compute (A - I) (x - c) + t at every voxel x: (count, d, *shape)."""
    d = len(shape)
    middle = [(size - 1) / 2 for size in shape]
    one_voxel = [1] * d
    centre = torch.tensor(middle)
    centre = centre.reshape(1, d, *one_voxel)
    grid = identity_grid(shape)
    from_centre = grid - centre
    # (1, d, voxels)
    columns = from_centre.flatten(2)
    linear = matrices[:, :, :d]
    translation = matrices[:, :, d:]
    displacement = linear @ columns + translation
    return displacement.reshape(-1, d, *shape)


def _smooth_displacement(
    options: AugmentationOptions,
    count: int,
    shape: tuple[int, ...],
    generator: np.random.Generator,
    rows: Sequence[int] | None,
) -> Tensor:
    """Draw vectors at control points, and interpolate those of some images: (rows, d, *shape)."""
    d = len(shape)
    control = []
    for size in shape:
        intervals = round(size / options.deformation_spacing)
        control.append(max(2, intervals + 1))
    vectors = generator.normal(0, options.deformation, (count, d, *control))
    if rows is not None:
        vectors = vectors[list(rows)]
    at_control_points = torch.from_numpy(vectors).float()
    mode = "bicubic" if d == 2 else "trilinear"
    return functional.interpolate(at_control_points, size=shape, mode=mode, align_corners=True)
