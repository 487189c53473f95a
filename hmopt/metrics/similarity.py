"""How alike moved and fixed images are, by the same measure whatever the loss was."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmopt.spatial.window import window_mean

WINDOW = 9
BINS = 32
"""Steps of intensity of each image in mutual information."""
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


def normalized_mutual_information(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute how much of what either image tells, in bits, the other tells too.

    With the entropies H of the intensities in 32 equal steps from an image's minimum to its maximum, it is
    2 (H(moved) + H(fixed) - H(moved, fixed)) / (H(moved) + H(fixed)). It takes images of any two modalities.

    Parameters
    ----------
    moved, fixed
        (n, 1, *shape).

    Returns
    -------
    Tensor
        (n,), in [0, 1]: 1 where one image is a one-to-one function of the other, 0 where neither tells of the other.

    References
    ----------
    Studholme, Hill and Hawkes, Pattern Recognition 32, 1999, of whose measure Y this is 2 - 2 / Y.

    Examples
    --------
    >>> image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> normalized_mutual_information(1 - image, image)
    tensor([1.])
    """
    found = []
    for one, other in zip(_binned(moved), _binned(fixed), strict=True):
        joint = torch.bincount(one * BINS + other, minlength=BINS**2)
        shares = joint.double() / joint.sum()
        shares = shares.reshape(BINS, BINS)
        apart = _entropy(shares.sum(1)) + _entropy(shares.sum(0))
        together = _entropy(shares.flatten())
        # two flat images tell nothing
        found.append(2 * (apart - together) / apart.clamp(min=1e-12))
    return torch.stack(found).clamp(0, 1).to(moved.dtype)


def gradient_similarity(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute how parallel the edges of two images are, whichever side of them is brighter.

    With gradients a and b at a voxel, and the mean length ε of an image's gradients, it is the mean over voxels of
    (a · b)² / ((|a|² + ε²) (|b|² + ε²)), divided by that of the fixed image with itself. It takes images of any two
    modalities that show the same edges. Gradients are differences from voxel to voxel, whatever the spacing is: where
    voxels are longer along one axis, edges across it weigh more than they would in mm.

    Parameters
    ----------
    moved, fixed
        (n, 1, *shape). Along an axis of one voxel nothing changes.

    Returns
    -------
    Tensor
        (n,), in [0, 1] but for sharper edges in the moved image than in the fixed one.

    References
    ----------
    Haber and Modersitzki, Intensity gradient based registration and fusion of multi-modal images, MICCAI 2006,
    equation 4.

    Examples
    --------
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> gradient_similarity(5 - 3 * image, image)
    tensor([1.0000])
    """
    a, b = _edges(moved), _edges(fixed)
    parallel = (a * b).sum(1).square().flatten(1).mean(1)
    itself = (b * b).sum(1).square().flatten(1).mean(1)
    return parallel / itself.clamp(min=1e-12)


def _binned(images: Tensor) -> Tensor:
    """Return the step of each intensity, 0 to 31, from an image's minimum to its maximum: (n, voxels)."""
    flat = images.flatten(1)
    low = flat.amin(1, keepdim=True)
    extent = (flat.amax(1, keepdim=True) - low).clamp(min=1e-12)
    steps = (flat - low) / extent * BINS
    return steps.long().clamp(max=BINS - 1)


def _entropy(shares: Tensor) -> Tensor:
    """Return the entropy of shares that sum to 1, in bits."""
    present = shares[shares > 0]
    return -(present * present.log2()).sum()


def _edges(images: Tensor) -> Tensor:
    """Return gradients divided by √(|gradient|² + ε²): (n, d, *shape), in 1 / voxel."""
    axes = tuple(range(2, images.dim()))
    slopes = []
    for axis in axes:
        is_flat = images.shape[axis] == 1
        slope = torch.zeros_like(images) if is_flat else torch.gradient(images, dim=axis)[0]
        slopes.append(slope)
    gradient = torch.cat(slopes, 1)
    squared = gradient.square().sum(1, keepdim=True)
    mean_length = squared.sqrt().mean(axes, keepdim=True)
    return gradient / (squared + mean_length.square()).clamp(min=1e-12).sqrt()


def _standardized(image: Tensor) -> Tensor:
    """Return images with mean 0 and standard deviation 1; a flat one stays near 0."""
    grid_axes = tuple(range(1, image.dim()))
    # (n, 1, ..., 1) each
    deviation, mean = torch.std_mean(image, grid_axes, correction=0, keepdim=True)
    centred = image - mean
    divisor = deviation.clamp(min=1e-6)
    return centred / divisor
