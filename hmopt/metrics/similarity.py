"""How alike moved and fixed images are, by the same measure whatever the loss was."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmopt.spatial.window import window_mean

WINDOW = 9
VARIANCE_FLOOR = 1e-5
"""Added to the product of both images' variances in a window; flat windows do not correlate."""


@dataclass(frozen=True, kw_only=True)
class LocalMoments:
    """Standardized images, with the mean and variance in the window around each voxel.

    Parameters
    ----------
    image, mean, variance
        (n, 1, *shape).
    """

    image: Tensor
    mean: Tensor
    variance: Tensor


def local_moments(image: Tensor) -> LocalMoments:
    """Compute local means and variances of images (n, 1, *shape), in windows of 9 voxels.

    Examples
    --------
    >>> local_moments(torch.ones(1, 1, 16, 16)).variance.max()
    tensor(0.)
    """
    # the variance is a difference, of close numbers unless the image's own offset is gone first
    standard = _standardized(image)
    squared = standard.square()
    # (n, 2, *shape)
    both = torch.cat([standard, squared], dim=1)
    means = window_mean(both, WINDOW)
    mean, mean_square = means.chunk(2, dim=1)
    variance = mean_square - mean.square()
    variance = variance.clamp(min=0)
    return LocalMoments(image=standard, mean=mean, variance=variance)


def similarity(moved_moments: LocalMoments, fixed_moments: LocalMoments) -> Tensor:
    """Compute the mean squared local cross-correlation of images, in windows of 9 voxels.

    With covariance c and variances v in a window, the mean over windows of c² / (v_moved v_fixed +
    1e-5). Windows are cut at the border of the grid. The scale and offset of intensities do not
    matter.

    Parameters
    ----------
    moved_moments, fixed_moments
        Of n images each.

    Returns
    -------
    Tensor
        (n,), in [0, 1]: 1 where each image is a linear function of the other in every window.

    References
    ----------
    Avants et al., Medical Image Analysis 12, 2008, equation 5.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> round(float(similarity(local_moments(5 - 3 * image), local_moments(image))), 2)
    1.0
    """
    moved = moved_moments
    fixed = fixed_moments
    product = moved.image * fixed.image
    mean_product = window_mean(product, WINDOW)
    covariance = mean_product - moved.mean * fixed.mean
    variances = moved.variance * fixed.variance
    squared_correlation = covariance.square() / (variances + VARIANCE_FLOOR)
    # (n, voxels)
    of_windows = squared_correlation.flatten(1)
    return of_windows.mean(1)


def _standardized(image: Tensor) -> Tensor:
    """Return images with mean 0 and standard deviation 1; a flat one stays near 0."""
    grid_axes = tuple(range(1, image.dim()))
    # (n, 1, ..., 1) each
    deviation, mean = torch.std_mean(image, grid_axes, correction=0, keepdim=True)
    centred = image - mean
    divisor = deviation.clamp(min=1e-6)
    return centred / divisor
