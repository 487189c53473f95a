"""How alike moved and fixed images are, by the same measure whatever the loss was."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmopt.spatial.window import window_mean

WINDOW = 9
VARIANCE_FLOOR = 1e-5
"""Share of the product of both images' variances below which a window counts as flat: unlike anything."""


@dataclass(frozen=True, kw_only=True)
class LocalMoments:
    """Images without their offset and scale, and the mean and variance in the window around each of their voxels.

    Parameters
    ----------
    image, mean, variance
        (n, 1, *shape).
    """

    image: Tensor
    mean: Tensor
    variance: Tensor


def local_moments(image: Tensor) -> LocalMoments:
    """Compute the local means and variances of images of shape (n, 1, *shape), in windows of 9 voxels.

    Examples
    --------
    >>> local_moments(torch.ones(1, 1, 16, 16)).variance.max()
    tensor(0.)
    """
    # the variance below is a difference, of close numbers unless the image's own offset is gone first
    standard = _standardized(image)
    both = torch.cat([standard, standard.square()], 1)
    mean, square = window_mean(both, WINDOW).chunk(2, 1)
    variance = (square - mean.square()).clamp(min=0)
    return LocalMoments(image=standard, mean=mean, variance=variance)


def similarity(moved_moments: LocalMoments, fixed_moments: LocalMoments) -> Tensor:
    """Compute the mean squared local cross-correlation of moved and fixed images, in windows of 9 voxels.

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
    product = window_mean(moved_moments.image * fixed_moments.image, WINDOW)
    covariance = product - moved_moments.mean * fixed_moments.mean
    variances = moved_moments.variance * fixed_moments.variance
    squared = covariance.square() / (variances + VARIANCE_FLOOR)
    return squared.flatten(1).mean(1)


def _standardized(image: Tensor) -> Tensor:
    """Return images with mean 0 and standard deviation 1; a flat one stays near 0."""
    axes = tuple(range(1, image.dim()))
    deviation, mean = torch.std_mean(image, axes, correction=0, keepdim=True)
    centred = image - mean
    return centred / deviation.clamp(min=1e-6)
