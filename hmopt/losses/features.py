"""Features of images that similarities compare: intensities, and what is sharp in them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

SQUARED_FLOOR = 1e-6
"""Added to the squared gradient, whose root has no derivative at 0."""


def intensity(image: Tensor) -> Tensor:
    """Return an image as it is."""
    return image


def gradient_magnitude(image: Tensor) -> Tensor:
    """Compute the magnitude of the gradient, by central differences.

    Parameters
    ----------
    image
        (batch, 1, *shape); at the border of the grid the outermost voxel is repeated.

    Returns
    -------
    Tensor
        (batch, 1, *shape), intensity per voxel.

    Examples
    --------
    >>> ramp = torch.arange(5.0).reshape(1, 1, 1, 5)
    >>> gradient_magnitude(ramp).flatten().round(decimals=3)
    tensor([0.5000, 1.0000, 1.0000, 1.0000, 0.5000])
    """
    squared = torch.full_like(image, SQUARED_FLOOR)
    for before, after in _neighbours(image):
        difference = (after - before) / 2
        squared = squared + difference.square()
    return squared.sqrt()


def laplacian(image: Tensor) -> Tensor:
    """Compute how far the mean of a voxel's neighbours along the axes is above the voxel.

    Up to a factor this is the Laplacian by finite differences. The local correlation of Laplacians is
    sensitive to detail at the scale of a voxel; that of intensities is dominated by strong edges.

    Parameters
    ----------
    image
        (batch, 1, *shape); at the border of the grid the outermost voxel is repeated.

    Returns
    -------
    Tensor
        (batch, 1, *shape), in intensities.

    Examples
    --------
    >>> spot = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 1, 5)
    >>> laplacian(spot).flatten()
    tensor([ 0.0000,  0.2500, -0.5000,  0.2500,  0.0000])
    """
    neighbours = [both for pair in _neighbours(image) for both in pair]
    total = torch.stack(neighbours).sum(0)
    return total / len(neighbours) - image


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "intensity": intensity,
    "gradient": gradient_magnitude,
    "laplacian": laplacian,
}
"""By the name in `[loss] features`."""


def comparing_features(
    compare: Callable[[Tensor, Tensor], Tensor], features: Sequence[str]
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a similarity loss that is the mean over features of that of each.

    Parameters
    ----------
    compare
        A similarity loss of two images (batch, 1, *shape).
    features
        Names of `FEATURES`.

    Examples
    --------
    >>> from hmopt.losses import mean_squared_error
    >>> compare = comparing_features(mean_squared_error, ["intensity", "laplacian"])
    >>> image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> compare(image, image + 1).round(decimals=3)  # an offset does not change the Laplacian
    tensor(0.5000)
    """
    computed = [FEATURES[name] for name in features]
    if computed == [intensity]:
        return compare

    def compare_features(moved: Tensor, fixed: Tensor) -> Tensor:
        losses = [compare(feature(moved), feature(fixed)) for feature in computed]
        return torch.stack(losses).mean(0)

    return compare_features


def _neighbours(image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the intensities of the neighbours before and after each voxel, axis by axis."""
    for axis in range(2, image.dim()):
        last = image.shape[axis] - 1
        first_voxel = image.narrow(axis, 0, 1)
        last_voxel = image.narrow(axis, last, 1)
        before = torch.cat([first_voxel, image.narrow(axis, 0, last)], axis)
        after = torch.cat([image.narrow(axis, 1, last), last_voxel], axis)
        yield before, after
