"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hmopt.declaration import LossSection

VARIANCE_FLOOR = 1e-8
"""Added to the product of two variances of images in [0, 1], so that flat windows count as unlike, not as noise."""

ImageLoss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(moved: Tensor, fixed: Tensor) -> Tensor:
    """Give the mean squared difference of two images of shape (batch, 1, *shape).

    Examples
    --------
    >>> mean_squared_error(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0))
    tensor(4.)
    """
    return (moved - fixed).square().mean()


class _BoxMean(torch.autograd.Function):
    """Mean over a window around each voxel, zero outside the grid; its own adjoint."""

    @staticmethod
    def forward(context: Any, image: Tensor, window: int) -> Tensor:
        context.window = window
        return box_mean(image, window)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return box_mean(gradient, context.window), None


def box_mean(image: Tensor, window: int) -> Tensor:
    """Give the mean over a cubic window of odd side around each voxel, as if the image were 0 outside its grid.

    Parameters
    ----------
    image
        (batch, channel, *shape).
    window
        Side of the window, in voxels; odd.

    Returns
    -------
    Tensor
        (batch, channel, *shape).

    Examples
    --------
    >>> box_mean(torch.ones(1, 1, 1, 4), 3)[0, 0, 0] * 9
    tensor([2., 3., 3., 2.])
    """
    for axis in range(2, image.dim()):
        image = _sliding_sum(image, axis, window)
    return image / window ** (image.dim() - 2)


def _sliding_sum(image: Tensor, axis: int, window: int) -> Tensor:
    """Sum over windows by doubling: sums of 1, 2, 4, ... voxels, put together by the window's binary digits."""
    size = image.shape[axis]
    pad = [0] * (2 * (image.dim() - axis))
    pad[-2:] = [window // 2, window // 2]
    power, width, total, start = torch.nn.functional.pad(image, pad), 1, None, 0
    while width <= window:
        if window & width:
            part = power.narrow(axis, start, size)
            total = part if total is None else total + part
            start += width
        if 2 * width > window:
            break
        length = power.shape[axis] - width
        power = power.narrow(axis, 0, length) + power.narrow(axis, width, length)
        width *= 2
    assert total is not None
    return total


def local_cross_correlation(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Give 1 - the mean squared local normalized cross-correlation of two images.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), intensities of the order of 1.
    window
        Side of the cubic window, in voxels; odd.

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
    mean = fixed.mean(dim=tuple(range(1, fixed.dim())), keepdim=True)
    fixed, moved = fixed - mean, moved - mean
    fixed_mean, fixed_square = _BoxMean.apply(torch.cat([fixed, fixed.square()], 1), window).split(1, 1)
    moved_mean, moved_square, product = _BoxMean.apply(
        torch.cat([moved, moved.square(), moved * fixed], 1), window
    ).split(1, 1)
    covariance = product - fixed_mean * moved_mean
    fixed_variance = (fixed_square - fixed_mean.square()).clamp(min=0)
    moved_variance = (moved_square - moved_mean.square()).clamp(min=0)
    return 1 - (covariance.square() / (fixed_variance * moved_variance + VARIANCE_FLOOR)).mean()


def mutual_information(moved: Tensor, fixed: Tensor, bins: int = 32) -> Tensor:
    """Give minus the global mutual information of two images in [0, 1], by Gaussian Parzen windows.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape).
    bins
        Of each image's histogram.

    Returns
    -------
    Tensor
        A number in nats, below 0 the more the images tell of each other.

    References
    ----------
    Guo, MIT thesis 2019, "Multi-modal image registration with unsupervised deep learning", section 3.2.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(mutual_information(image, image) < mutual_information(image, image.flip(2)))
    True
    """
    from monai.losses.image_dissimilarity import GlobalMutualInformationLoss  # noqa: PLC0415

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
