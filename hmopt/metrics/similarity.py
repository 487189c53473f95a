"""How alike moved and fixed images are, by a measure of its own whatever the loss was."""

import torch
from torch import Tensor

from hmopt.spatial.window import window_mean

WINDOW = 9
VARIANCE_FLOOR = 1e-5
"""Share of the product of both images' variances below which a window counts as flat: unlike anything."""


def similarity(moved: Tensor, fixed: Tensor) -> Tensor:
    """Give the mean squared local cross-correlation of moved and fixed images, in windows of 9 voxels.

    Windows are cut at the border of the grid. The scale and offset of intensities do not matter.

    Parameters
    ----------
    moved, fixed
        (n, 1, *shape).

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
    >>> round(float(similarity(5 - 3 * image, image)), 2)
    1.0
    """
    # the variance below is a difference, of close numbers unless the images' own offset is gone first
    moved, fixed = _standardized(moved), _standardized(fixed)
    fields = torch.cat([moved, fixed, moved.square(), fixed.square(), moved * fixed], 1)
    means = window_mean(fields, WINDOW)
    moved_mean, fixed_mean, moved_square, fixed_square, product = means.unbind(1)
    covariance = product - moved_mean * fixed_mean
    moved_variance = (moved_square - moved_mean.square()).clamp(min=0)
    fixed_variance = (fixed_square - fixed_mean.square()).clamp(min=0)
    squared = covariance.square() / (moved_variance * fixed_variance + VARIANCE_FLOOR)
    return squared.flatten(1).mean(1)


def _standardized(image: Tensor) -> Tensor:
    voxels = tuple(range(1, image.dim()))
    deviation, mean = torch.std_mean(image, voxels, correction=0, keepdim=True)
    return (image - mean) / deviation.clamp(min=1e-6)
