"""Random transforms of training images."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hmopt.declaration import AugmentationOptions
from hmopt.spatial import identity_grid


def random_displacement(
    section: AugmentationOptions, count: int, shape: tuple[int, ...], generator: np.random.Generator
) -> Tensor | None:
    """Draw a small affine and smooth displacement for each of some images.

    The affine part turns and scales about the centre of the grid, in voxels: on anisotropic voxels a rotation shears.

    Parameters
    ----------
    section
        How large the parts of the transform are.
    count
        How many images.
    shape
        Of the images, along each of d axes.
    generator
        Where randomness comes from.

    Returns
    -------
    Tensor or None
        (count, d, *shape), in voxels; None if nothing is declared that moves voxels.

    Examples
    --------
    >>> section = AugmentationOptions(translation=1.0)
    >>> random_displacement(section, 2, (8, 8), np.random.default_rng(0)).shape
    torch.Size([2, 2, 8, 8])
    """
    if not (
        section.rotation_degrees or section.scaling or section.translation or section.deformation
    ):
        return None
    matrices = np.stack([_random_matrix(section, len(shape), generator) for _ in range(count)])
    displacement = _affine_displacement(torch.from_numpy(matrices).float(), shape)
    if section.deformation:
        displacement = displacement + _smooth_displacement(section, count, shape, generator)
    return displacement


def random_gamma(
    section: AugmentationOptions, images: Tensor, generator: np.random.Generator
) -> Tensor:
    """Raise the intensities of images to random powers near 1, one for each image.

    Parameters
    ----------
    section
        How far the powers are from 1.
    images
        (n, 1, *shape), in [0, 1].
    generator
        Where randomness comes from.

    Returns
    -------
    Tensor
        (n, 1, *shape), in [0, 1].

    Examples
    --------
    >>> images = torch.rand(2, 1, 4, 4)
    >>> torch.equal(random_gamma(AugmentationOptions(), images, np.random.default_rng(0)), images)
    True
    """
    if not section.intensity:
        return images
    powers = np.exp(generator.normal(0, section.intensity, len(images)))
    return images.clamp(min=0) ** torch.from_numpy(powers).float().reshape(
        -1, *[1] * (images.dim() - 1)
    )


def _random_matrix(
    section: AugmentationOptions, d: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Give the d × (d + 1) matrix of x -> A x + t about the centre, less the identity."""
    matrix = np.diag(np.exp(generator.normal(0, section.scaling, d)))
    for one in range(d):
        for other in range(one + 1, d):
            angle = math.radians(section.rotation_degrees) * generator.normal()
            turn = np.eye(d)
            turn[[one, other], [one, other]] = math.cos(angle)
            turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
            matrix = turn @ matrix
    return np.column_stack([matrix - np.eye(d), generator.normal(0, section.translation, d)])


def _affine_displacement(matrices: Tensor, shape: tuple[int, ...]) -> Tensor:
    centre = torch.tensor([(size - 1) / 2 for size in shape]).reshape(1, -1, *[1] * len(shape))
    from_centre = (identity_grid(shape) - centre).flatten(2)
    moved = matrices[:, :, :-1] @ from_centre + matrices[:, :, -1:]
    return moved.reshape(*moved.shape[:2], *shape)


def _smooth_displacement(
    section: AugmentationOptions, count: int, shape: tuple[int, ...], generator: np.random.Generator
) -> Tensor:
    d = len(shape)
    control = [max(2, round(size / section.deformation_spacing) + 1) for size in shape]
    values = torch.from_numpy(
        generator.normal(0, section.deformation, (count, d, *control))
    ).float()
    mode = "bicubic" if d == 2 else "trilinear"
    return functional.interpolate(values, size=shape, mode=mode, align_corners=True)
