"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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


class _WindowMean(torch.autograd.Function):
    """Mean over the part of a window around each voxel that lies inside the grid."""

    @staticmethod
    def forward(context: Any, image: Tensor, window: int) -> Tensor:
        context.window = window
        return _window_sum(image, window) * _inverse_count(tuple(image.shape[2:]), window, image.device)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        scaled = gradient * _inverse_count(tuple(gradient.shape[2:]), context.window, gradient.device)
        return _window_sum(scaled, context.window), None


@lru_cache(maxsize=16)
def _inverse_count(shape: tuple[int, ...], window: int, device: torch.device) -> Tensor:
    return 1 / _window_sum(torch.ones(1, 1, *shape, device=device), window)


def _window_sum(image: Tensor, window: int) -> Tensor:
    for axis in range(2, image.dim()):
        image = _sliding_sum(image, axis, window)
    return image


def _sliding_sum(image: Tensor, axis: int, window: int) -> Tensor:
    """Sum over windows by doubling: sums of 1, 2, 4, ... voxels, put together by the window's binary digits."""
    size, half = image.shape[axis], window // 2
    padding = [0] * (2 * (image.dim() - axis - 1)) + [half, half]
    power, width, start = functional.pad(image, padding), 1, 0
    parts = []
    while width <= window:
        if window & width:
            parts.append(power.narrow(axis, start, size))
            start += width
        if 2 * width <= window:
            length = power.shape[axis] - width
            power = power.narrow(axis, 0, length) + power.narrow(axis, width, length)
        width *= 2
    return sum(parts[1:], parts[0])


def _window_means(images: list[Tensor], window: int) -> tuple[Tensor, ...]:
    means: Tensor = _WindowMean.apply(torch.cat(images, 1), window)  # type: ignore[no-untyped-call]
    return means.tensor_split(len(images), 1)


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
    axes = tuple(range(1, fixed.dim()))
    fixed, moved = fixed - fixed.mean(axes, keepdim=True), moved - moved.mean(axes, keepdim=True)
    fixed_mean, fixed_square = _window_means([fixed, fixed.square()], window)
    moved_mean, moved_square, product = _window_means([moved, moved.square(), moved * fixed], window)
    covariance = product - fixed_mean * moved_mean
    fixed_variance = (fixed_square - fixed_mean.square()).clamp(min=0)
    moved_variance = (moved_square - moved_mean.square()).clamp(min=0)
    correlation = covariance.square() / (fixed_variance * moved_variance + VARIANCE_FLOOR)
    return 1 - correlation.mean()


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
