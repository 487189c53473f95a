"""Local normalized cross-correlation of two images, and its gradient in closed form."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hmopt.spatial.window import cached_parts, inverse_count, window_sum

VARIANCE_FLOOR = 1e-8
"""Added to the product of two variances of images in [0, 1], so that flat windows count as unlike, not as noise."""


def local_cross_correlation(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Give 1 - the mean squared local normalized cross-correlation of two images.

    Pairs are taken few at a time, so that what is computed of them stays in a processor's cache, and gradients (first
    ones; there are no second ones) are computed with it.

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
    correlation: Tensor = _MeanCorrelation.apply(moved, fixed, window)  # type: ignore[no-untyped-call]
    return 1 - correlation


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One image of each pair, free of its offset, with means and variances in windows: (n, *shape) each."""

    image: Tensor
    mean: Tensor
    variance: Tensor


class _MeanCorrelation(torch.autograd.Function):
    """The mean over voxels and pairs; what is kept for the backward pass is the gradient alone."""

    @staticmethod
    def forward(context: Any, moved: Tensor, fixed: Tensor, window: int) -> Tensor:
        total = moved.new_zeros(())
        gradients: list[list[Tensor]] = [[], []]
        for part in zip(
            *(cached_parts(images.flatten(0, 1)) for images in (moved, fixed)), strict=True
        ):
            one, other = (_side(images, window) for images in part)
            covariance = _mean(one.image * other.image, window).addcmul_(
                one.mean, other.mean, value=-1
            )
            slope = covariance / (one.variance * other.variance).add_(VARIANCE_FLOOR)
            total += (slope * covariance).sum()
            for place, sides in enumerate([(one, other), (other, one)]):
                if context.needs_input_grad[place]:
                    gradients[place].append(_gradient(*sides, slope, window))
        context.save_for_backward(
            *(torch.cat(each).view_as(moved) if each else None for each in gradients)
        )
        context.voxels = voxels = moved.numel()
        return total / voxels

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        factor = 2 * gradient / context.voxels
        moved, fixed = (None if each is None else factor * each for each in context.saved_tensors)
        return moved, fixed, None


def _side(image: Tensor, window: int) -> _Side:
    image = image - _image_mean(image)
    mean = _mean(image, window)
    variance = _mean(image.square(), window).addcmul_(mean, mean, value=-1).clamp_(min=0)
    return _Side(image=image, mean=mean, variance=variance)


def _gradient(one: _Side, other: _Side, slope: Tensor, window: int) -> Tensor:
    """Give half the derivative of the sum of squared correlations by the first images.

    The derivative of a squared correlation is twice the slope by the covariance, and minus the slope's square times the
    other variance by a variance. A voxel counts in the windows around all voxels of the window around it, so that the
    sum over windows of their derivatives is a sum over a window again.
    """
    inverse = inverse_count(tuple(slope.shape[1:]), window, slope.dtype, slope.device)
    by_variance = slope.square().mul_(other.variance).mul_(inverse)
    by_covariance = slope * inverse
    by_mean = (by_covariance * other.mean).addcmul_(by_variance, one.mean, value=-1)
    total = window_sum(by_covariance, window).mul_(other.image)
    total.addcmul_(window_sum(by_variance, window), one.image, value=-1).sub_(
        window_sum(by_mean, window)
    )
    return total.sub_(_image_mean(total))


def _mean(image: Tensor, window: int) -> Tensor:
    return window_sum(image, window).mul_(
        inverse_count(tuple(image.shape[1:]), window, image.dtype, image.device)
    )


def _image_mean(images: Tensor) -> Tensor:
    return torch.mean(images, tuple(range(1, images.dim())), keepdim=True)
