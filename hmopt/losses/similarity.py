"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hmopt.declaration import LossSection
from hmopt.spatial.window import window_mean

VARIANCE_FLOOR = 1e-8
"""Added to the product of two variances of images in [0, 1], so that flat windows count as unlike, not as noise."""

ImageLoss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(moved: Tensor, fixed: Tensor) -> Tensor:
    """Give the mean squared difference of two images.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape).

    Returns
    -------
    Tensor
        A number >= 0.

    Examples
    --------
    >>> mean_squared_error(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0))
    tensor(4.)
    """
    return (moved - fixed).square().mean()


def local_cross_correlation(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Give 1 - the mean squared local normalized cross-correlation of two images.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), intensities of the order of 1. An offset of a whole image does not matter; in windows whose
        variance is not well above 1e-4, as where an image is flat, the correlation tends to 0.
    window
        Side of the cubic window, in voxels; odd. Windows are cut at the border of the grid.

    Returns
    -------
    Tensor
        A number in [0, 1].

    References
    ----------
    Avants et al., Medical Image Analysis 12, 2008, equation 6; Balakrishnan et al., IEEE TMI 38, 2019, equation 5.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(local_cross_correlation(1 - 2 * image, image) < 1e-3)
    True
    """
    axes = tuple(range(1, fixed.dim()))
    fixed, moved = fixed - fixed.mean(axes, keepdim=True), moved - moved.mean(axes, keepdim=True)
    fixed_mean, fixed_square = _window_means([fixed, fixed.square()], window)
    moved_mean, moved_square, product = _window_means([moved, moved.square(), moved * fixed], window)
    covariance = product - fixed_mean * moved_mean
    fixed_variance = (fixed_square - fixed_mean.square()).clamp(min=0)
    moved_variance = (moved_square - moved_mean.square()).clamp(min=0)
    correlation = covariance.square() / (fixed_variance * moved_variance + VARIANCE_FLOOR)
    return 1 - correlation.mean()


def _window_means(images: list[Tensor], window: int) -> tuple[Tensor, ...]:
    return window_mean(torch.cat(images, 1), window).tensor_split(len(images), 1)


def mutual_information(moved: Tensor, fixed: Tensor, bins: int = 32) -> Tensor:
    """Give minus the global mutual information of two images in [0, 1], by Gaussian Parzen windows.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), in [0, 1]; what lies outside counts as the end point.
    bins
        Of each image's histogram.

    Returns
    -------
    Tensor
        A number in nats: about 0 for images that tell nothing of each other, the further below 0 the more they tell.

    References
    ----------
    Guo, MIT thesis 2019, "Multi-modal image registration with unsupervised deep learning", section 3.2.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(mutual_information(image, image) < mutual_information(image, image.flip(2)))
    True
    """
    from monai.losses.image_dissimilarity import GlobalMutualInformationLoss

    loss: Tensor = GlobalMutualInformationLoss(num_bins=bins)(moved, fixed)
    return loss


def find_similarity(section: LossSection) -> ImageLoss:
    """Give the declared similarity loss, a function of the moved and the fixed image.

    Examples
    --------
    >>> find_similarity(LossSection(similarity="mse")).__name__
    'mean_squared_error'
    """
    losses: dict[str, ImageLoss] = {
        "mse": mean_squared_error,
        "lncc": partial(local_cross_correlation, window=section.window),
        "mutual_information": mutual_information,
    }
    return losses[section.similarity]
