"""Local normalized cross-correlation of two images, and its gradient in closed form.

For images I and J, and the window W(x) of N(x) voxels around a voxel x, cut at the border of the
grid, let

    μ_I(x) = mean of I over W(x)
    v_I(x) = mean of I² over W(x) - μ_I(x)²             variance
    c(x)   = mean of I J over W(x) - μ_I(x) μ_J(x)      covariance
    s(x)   = c / (v_I v_J + ε)                          slope
    ρ²(x)  = s c                                        squared correlation

The loss is 1 - mean of ρ² over all voxels. A voxel y of W(x) changes ρ²(x) by way of the covariance
and the variance:

    ∂c(x) / ∂I(y)   = (J(y) - μ_J(x)) / N(x)
    ∂v_I(x) / ∂I(y) = 2 (I(y) - μ_I(x)) / N(x)
    ½ ∂ρ²(x) / ∂I(y) = s ∂c / ∂I(y) - ½ s² v_J ∂v_I / ∂I(y)

y lies in W(x) just where x lies in W(y). So with a = s / N and b = s² v_J / N, the sum over all x
is one over a window:

    ½ Σ_x ∂ρ²(x) / ∂I(y) = J(y) Σ_W(y) a - I(y) Σ_W(y) b - Σ_W(y) (a μ_J - b μ_I)

This takes three sums over windows for a gradient, where automatic differentiation takes more and
keeps every intermediate.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hmopt.spatial.window import cached_parts, inverse_count, window_sum

VARIANCE_FLOOR = 1e-8
"""ε: added to the product of two variances of images in [0, 1], so that flat windows count as unlike, not as noise."""


def local_cross_correlation(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Compute 1 - the mean squared local normalized cross-correlation of two images.

    Pairs are taken few at a time, so that what is computed of them stays in a processor's cache,
    and gradients (first ones; there are no second ones) are computed with it.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), intensities of the order of 1. An offset of a whole image does not
        matter; in windows whose variance is not well above 1e-4, as where an image is flat, the
        correlation tends to 0.
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


class _MeanCorrelation(torch.autograd.Function):
    """The mean of ρ² over voxels and pairs; what is kept for the backward pass is the gradient alone."""

    @staticmethod
    def forward(context: Any, moved: Tensor, fixed: Tensor, window: int) -> Tensor:
        for_moved, for_fixed, _ = context.needs_input_grad
        moved_parts = cached_parts(moved.flatten(0, 1))
        fixed_parts = cached_parts(fixed.flatten(0, 1))
        total = moved.new_zeros(())
        moved_gradients = []
        fixed_gradients = []
        for moved_part, fixed_part in zip(moved_parts, fixed_parts, strict=True):
            one = _moments(moved_part, window)
            other = _moments(fixed_part, window)
            covariance = _window_mean(one.image * other.image, window)
            covariance.addcmul_(one.mean, other.mean, value=-1)
            slope = covariance / (one.variance * other.variance).add_(VARIANCE_FLOOR)
            total += (slope * covariance).sum()
            if for_moved:
                moved_gradients.append(_half_gradient(one, other, slope, window))
            if for_fixed:
                fixed_gradients.append(_half_gradient(other, one, slope, window))
        context.save_for_backward(
            torch.cat(moved_gradients).view_as(moved) if for_moved else None,
            torch.cat(fixed_gradients).view_as(fixed) if for_fixed else None,
        )
        voxels = moved.numel()
        context.voxels = voxels
        return total / voxels

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        moved, fixed = context.saved_tensors
        factor = 2 * gradient / context.voxels
        of_moved = None if moved is None else factor * moved
        of_fixed = None if fixed is None else factor * fixed
        return of_moved, of_fixed, None


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """One image of each pair, less its mean over the grid, with μ and v of each window: (n, *shape) each."""

    image: Tensor
    mean: Tensor
    variance: Tensor


def _moments(image: Tensor, window: int) -> _Moments:
    # v is a difference, of close numbers unless the offset of the image is gone first
    image = image - _grid_mean(image)
    mean = _window_mean(image, window)
    variance = _window_mean(image.square(), window)
    variance.addcmul_(mean, mean, value=-1)
    return _Moments(image=image, mean=mean, variance=variance.clamp_(min=0))


def _half_gradient(one: _Moments, other: _Moments, slope: Tensor, window: int) -> Tensor:
    """Compute half the derivative of the sum of ρ² by the images of `one`, as at the head of this module."""
    inverse = _inverse_count(slope, window)
    b = slope.square().mul_(other.variance)
    b.mul_(inverse)
    a = slope * inverse
    by_means = (a * other.mean).addcmul_(b, one.mean, value=-1)
    gradient = window_sum(a, window)
    gradient.mul_(other.image)
    sum_of_b = window_sum(b, window)
    gradient.addcmul_(sum_of_b, one.image, value=-1)
    gradient.sub_(window_sum(by_means, window))
    # the offset that was taken from the image
    return gradient.sub_(_grid_mean(gradient))


def _window_mean(image: Tensor, window: int) -> Tensor:
    """Compute the mean over the window around each voxel: (n, *shape)."""
    total = window_sum(image, window)
    return total.mul_(_inverse_count(image, window))


def _inverse_count(image: Tensor, window: int) -> Tensor:
    """Return 1 / N(x): (1, *shape)."""
    shape = tuple(image.shape[1:])
    return inverse_count(shape, window, image.dtype, image.device)


def _grid_mean(images: Tensor) -> Tensor:
    """Compute the mean of each image: (n, 1, ..., 1)."""
    axes = tuple(range(1, images.dim()))
    return torch.mean(images, axes, keepdim=True)
