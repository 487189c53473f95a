"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hmopt import catalogue
from hmopt.declaration import LossOptions
from hmopt.errors import DeclarationError
from hmopt.losses.features import comparing_features
from hmopt.spatial.window import cached_parts, inverse_count, window_sum

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""A function of moved and fixed images, (batch, 1, *shape), that returns a number."""

CORRELATION_FLOOR = 1e-8
"""ε: added to the product of two variances of images in [0, 1]; flat windows do not correlate."""


def mean_squared_error(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute the mean squared difference of two images.

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
    return mean_squared_errors(moved, fixed).mean()


def mean_squared_errors(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute the mean squared difference of each pair, (batch,)."""
    difference = moved - fixed
    return difference.square().flatten(1).mean(1)


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
    Avants et al., Medical Image Analysis 12, 2008, equation 6; Balakrishnan et al., IEEE TMI 38,
    2019, equation 5.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(local_cross_correlation(1 - 2 * image, image) < 1e-3)
    True
    """
    return local_cross_correlations(moved, fixed, window).mean()


def local_cross_correlations(moved: Tensor, fixed: Tensor, window: int = 9) -> Tensor:
    """Compute `local_cross_correlation` of each pair, (batch,)."""
    compute: Callable[[Tensor, Tensor, int], Tensor] = _MeanCorrelations.apply
    correlations = compute(moved, fixed, window)
    return 1 - correlations


def mutual_information(moved: Tensor, fixed: Tensor, bins: int = 32) -> Tensor:
    """Compute minus the mutual information of two images in [0, 1], by Gaussian Parzen windows.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), in [0, 1]; what lies outside counts as the end point.
    bins
        Of each image's histogram.

    Returns
    -------
    Tensor
        A number in nats: about 0 for independent images, the further below 0 the more one tells
        about the other.

    References
    ----------
    Guo, "Multi-modal image registration with unsupervised deep learning", MIT thesis, 2019,
    section 3.2.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(mutual_information(image, image) < mutual_information(image, image.flip(2)))
    True
    """
    from monai.losses.image_dissimilarity import GlobalMutualInformationLoss

    compute = GlobalMutualInformationLoss(num_bins=bins)
    loss: Tensor = compute(moved, fixed)
    return loss


def find_similarity(
    options: LossOptions, setting: Mapping[str, float] | None = None, *, of_each: bool = False
) -> ImageLoss:
    """Return the declared similarity loss, a function of the moved and the fixed image.

    Its further arguments are filled in by their names: from the setting, or else from `[loss]`, as
    `window`. Of several `features` it is the mean.

    Parameters
    ----------
    options
        `[loss]`.
    setting
        Values of hyperparameters.
    of_each
        Whether it is to return that of each pair, (batch,), and not their mean.

    Raises
    ------
    DeclarationError
        If it is not in the catalogue, or cannot be computed of each pair.

    Examples
    --------
    >>> find_similarity(LossOptions(similarity="mse")).__name__
    'mean_squared_error'
    >>> find_similarity(LossOptions(similarity="lncc", window=5)).keywords
    {'window': 5}
    >>> find_similarity(LossOptions(similarity="lncc", window=5), {"window": 3}).keywords
    {'window': 3}
    """
    record = catalogue.find_similarity(options.similarity)
    loss: ImageLoss = record.load_of_each() if of_each else record.load()
    keys = type(options).model_fields
    values = setting or {}
    declared = {}
    for name in record.parameters:
        if name in values:
            declared[name] = values[name]
        elif name in keys:
            declared[name] = getattr(options, name)
    if declared:
        loss = partial(loss, **declared)
    return comparing_features(loss, options.features)


def of_second_similarity(options: LossOptions) -> LossOptions:
    """Return the options of the loss with the second similarity in place of the first.

    Raises
    ------
    DeclarationError
        If no second one is declared.

    Examples
    --------
    >>> options = LossOptions(similarity="lncc", second_similarity="mse", second_scale=20.0)
    >>> second = of_second_similarity(options)
    >>> second.similarity, second.scale
    ('mse', 20.0)
    """
    if options.second_similarity is None:
        raise DeclarationError(
            "loss.second_similarity",
            expected="a similarity",
            got="none",
            advice="Declare one, or leave out similarity_share.",
        )
    changed = {"similarity": options.second_similarity, "scale": options.second_scale}
    return options.model_copy(update=changed)


def second_dissimilarity(
    moved: Tensor,
    fixed: Tensor,
    options: LossOptions,
    second_scale: float,
    setting: Mapping[str, float],
) -> Tensor:
    """Compute the declared second similarity loss, times its scale.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape).
    options
        `[loss]`.
    second_scale
        What it is multiplied by.
    setting
        Values of hyperparameters.

    Returns
    -------
    Tensor
        A number.

    Raises
    ------
    DeclarationError
        If no second similarity is declared.

    Examples
    --------
    >>> options = LossOptions(second_similarity="mse")
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> second_dissimilarity(image, image + 2, options, second_scale=0.5, setting={})
    tensor(2.)
    """
    similarity = find_similarity(of_second_similarity(options), setting)
    return second_scale * similarity(moved, fixed)


class _MeanCorrelations(torch.autograd.Function):
    """The mean over voxels of the squared local normalized cross-correlation of each pair.

    For images I and J, and the window W(x) of N(x) voxels around a voxel x, cut at the border of
    the grid, let

        μ_I(x) = mean of I over W(x)
        v_I(x) = mean of I² over W(x) - μ_I(x)²             variance
        c(x)   = mean of I J over W(x) - μ_I(x) μ_J(x)      covariance
        s(x)   = c / (v_I v_J + ε)                          slope
        ρ²(x)  = s c                                        squared correlation

    The loss of a pair is 1 - mean of ρ² over its voxels. A voxel y of W(x) changes ρ²(x) by way of the
    covariance and the variance:

        ∂c(x) / ∂I(y)   = (J(y) - μ_J(x)) / N(x)
        ∂v_I(x) / ∂I(y) = 2 (I(y) - μ_I(x)) / N(x)
        ½ ∂ρ²(x) / ∂I(y) = s ∂c / ∂I(y) - ½ s² v_J ∂v_I / ∂I(y)

    y lies in W(x) just where x lies in W(y). So with a = s / N and b = s² v_J / N, the sum over all
    x is one over a window:

        ½ Σ_x ∂ρ²(x) / ∂I(y) = J(y) Σ_W(y) a - I(y) Σ_W(y) b - Σ_W(y) (a μ_J - b μ_I)

    This takes three sums over windows for a gradient, where automatic differentiation takes more
    and keeps every intermediate.
    """

    @staticmethod
    def forward(context: Any, moved: Tensor, fixed: Tensor, window: int) -> Tensor:
        for_moved, for_fixed, _ = context.needs_input_grad
        # (batch, *shape), split into parts of a few pairs
        moved_stack = moved.flatten(0, 1)
        fixed_stack = fixed.flatten(0, 1)
        moved_parts = cached_parts(moved_stack)
        fixed_parts = cached_parts(fixed_stack)
        totals = []
        moved_gradients = []
        fixed_gradients = []
        for moved_part, fixed_part in zip(moved_parts, fixed_parts, strict=True):
            one = _moments(moved_part, window)
            other = _moments(fixed_part, window)

            covariance = _window_mean(one.image * other.image, window)
            covariance.addcmul_(one.mean, other.mean, value=-1)
            variances = one.variance * other.variance
            slope = covariance / variances.add_(CORRELATION_FLOOR)
            squared = slope * covariance
            totals.append(squared.flatten(1).sum(1))

            if for_moved:
                of_one = _half_gradient(one, other, slope, window)
                moved_gradients.append(of_one)
            if for_fixed:
                of_other = _half_gradient(other, one, slope, window)
                fixed_gradients.append(of_other)

        # the gradients alone are kept for the backward pass
        half_of_moved = None
        half_of_fixed = None
        if for_moved:
            half_of_moved = torch.cat(moved_gradients).view_as(moved)
        if for_fixed:
            half_of_fixed = torch.cat(fixed_gradients).view_as(fixed)
        context.save_for_backward(half_of_moved, half_of_fixed)
        voxels = moved[0].numel()
        context.voxels = voxels
        of_pairs = torch.cat(totals).view(len(moved), -1).sum(1)
        return of_pairs / voxels

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        half_of_moved, half_of_fixed = context.saved_tensors
        factors = 2 * gradients / context.voxels
        # (batch, 1, ..., 1)
        half = half_of_fixed if half_of_moved is None else half_of_moved
        factor = factors.reshape(-1, *[1] * (half.dim() - 1))
        of_moved = None
        of_fixed = None
        if half_of_moved is not None:
            of_moved = factor * half_of_moved
        if half_of_fixed is not None:
            of_fixed = factor * half_of_fixed
        return of_moved, of_fixed, None


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """One image of each pair, less its mean over the grid, with μ and v of each window.

    Each is (n, *shape).
    """

    image: Tensor
    mean: Tensor
    variance: Tensor


def _moments(image: Tensor, window: int) -> _Moments:
    # v is a difference, of close numbers unless the offset of the image is gone first
    offset = _grid_mean(image)
    centred = image - offset
    mean = _window_mean(centred, window)

    squared = centred.square()
    mean_square = _window_mean(squared, window)
    variance = mean_square.addcmul_(mean, mean, value=-1)
    variance.clamp_(min=0)
    return _Moments(image=centred, mean=mean, variance=variance)


def _half_gradient(one: _Moments, other: _Moments, slope: Tensor, window: int) -> Tensor:
    """Compute half the derivative of the sum of ρ² by the images of `one`: (n, *shape).

    I is an image of `one`, J that of `other`; tensors are reused in place.
    """
    # 1 / N
    inverse = _inverse_count(slope, window)
    b = slope.square()
    b.mul_(other.variance)
    b.mul_(inverse)
    a = slope * inverse

    # a μ_J - b μ_I
    by_means = a * other.mean
    by_means.addcmul_(b, one.mean, value=-1)

    # J Σ a - I Σ b - Σ (a μ_J - b μ_I)
    gradient = window_sum(a, window)
    gradient.mul_(other.image)
    sum_of_b = window_sum(b, window)
    gradient.addcmul_(sum_of_b, one.image, value=-1)
    sum_by_means = window_sum(by_means, window)
    gradient.sub_(sum_by_means)
    # the offset that was taken from the image
    offset = _grid_mean(gradient)
    return gradient.sub_(offset)


def _window_mean(image: Tensor, window: int) -> Tensor:
    """Compute the mean over the window around each voxel: (n, *shape)."""
    total = window_sum(image, window)
    inverse = _inverse_count(image, window)
    return total.mul_(inverse)


def _inverse_count(image: Tensor, window: int) -> Tensor:
    """Return 1 / N(x): (1, *shape)."""
    _, *shape = image.shape
    dtype = image.dtype
    device = image.device
    return inverse_count(tuple(shape), window, dtype, device)


def _grid_mean(images: Tensor) -> Tensor:
    """Compute the mean of each image: (n, 1, ..., 1)."""
    grid_axes = tuple(range(1, images.dim()))
    return torch.mean(images, grid_axes, keepdim=True)
