"""How rough a velocity is: 0 is constant, larger is rougher."""

from collections.abc import Sequence
from itertools import product

from torch import Tensor

from hmopt.declaration import LossSection


def squared_gradient(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Give the mean over voxels, components and axes of the squared forward differences.

    Parameters
    ----------
    velocity
        (batch, d, *shape), in voxels.
    spacing
        Size of a voxel along each axis; only ratios count, and equal sides count as none.

    Returns
    -------
    Tensor
        A number >= 0, without unit.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019, equation 8.

    Examples
    --------
    >>> from hmopt.spatial import identity_grid
    >>> squared_gradient(3 * identity_grid((4, 4)))
    tensor(4.5000)
    """
    d = velocity.shape[1]
    spacing = [1.0] * d if spacing is None else spacing
    total = velocity.new_zeros(())
    for axis in range(d):
        slope = velocity.diff(dim=axis + 2).square().movedim(1, 0).flatten(1).mean(1)
        ratios = velocity.new_tensor([(side / spacing[axis]) ** 2 for side in spacing])
        total = total + (slope * ratios).mean()
    return total / d


def bending_energy(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Give the mean squared second derivatives, mixed ones twice.

    Parameters
    ----------
    velocity
        (batch, d, *shape), in voxels, at least 5 along each axis.
    spacing
        Size of a voxel along each axis; only ratios count.

    Returns
    -------
    Tensor
        A number >= 0.

    References
    ----------
    Rueckert et al., IEEE TMI 18, 1999, equation 6.

    Examples
    --------
    >>> from hmopt.spatial import identity_grid
    >>> bending_energy(3 * identity_grid((6, 6)))
    tensor(0.)
    """
    if spacing is not None:
        sides = velocity.new_tensor(spacing) / min(spacing)
        velocity = velocity * sides.reshape(1, -1, *[1] * (velocity.dim() - 2))
    else:
        sides = velocity.new_ones(velocity.shape[1])
    total = velocity.new_zeros(())
    for one, other in product(range(velocity.shape[1]), repeat=2):
        second = _central_difference(_central_difference(velocity, one), other)
        total = total + (second / (sides[one] * sides[other])).square().mean()
    return total


def _central_difference(field: Tensor, axis: int) -> Tensor:
    size = field.shape[axis + 2]
    return (field.narrow(axis + 2, 2, size - 2) - field.narrow(axis + 2, 0, size - 2)) / 2


def regularize(velocity: Tensor, section: LossSection, spacing: Sequence[float] | None) -> Tensor:
    """Give the declared regularization of a velocity of shape (batch, d, *shape).

    Examples
    --------
    >>> import torch
    >>> regularize(torch.ones(1, 2, 8, 8), LossSection(), None)
    tensor(0.)
    """
    loss = {"gradient": squared_gradient, "bending": bending_energy}[section.regularization]
    return loss(velocity, spacing)
