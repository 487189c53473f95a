"""How rough a velocity is: 0 is constant, larger is rougher."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

from torch import Tensor

from hmopt.declaration import LossOptions


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
    """Give the mean over voxels and components of the sum of squared second differences, mixed ones twice.

    Parameters
    ----------
    velocity
        (batch, d, *shape), in voxels, at least 3 along each axis.
    spacing
        Size of a voxel along each axis; only ratios count, and equal sides count as none.

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
    >>> bending_energy(identity_grid((6, 6)).square())
    tensor(4.)
    """
    d = velocity.shape[1]
    sides = [1.0] * d if spacing is None else [side / min(spacing) for side in spacing]
    velocity = velocity * velocity.new_tensor(sides).reshape(1, d, *[1] * d)
    total = velocity.new_zeros(())
    for one, other in combinations_with_replacement(range(d), 2):
        mean = (
            (_second_difference(velocity, one, other) / (sides[one] * sides[other])).square().mean()
        )
        total = total + (mean if one == other else 2 * mean)
    return total


def _second_difference(velocity: Tensor, one: int, other: int) -> Tensor:
    """Give (batch, d, *(shape - 2)): the compact difference along one axis, or the central one along two."""
    if one == other:
        return (
            _shifted(velocity, {one: 1})
            - 2 * _shifted(velocity, {})
            + _shifted(velocity, {one: -1})
        )
    ahead = _shifted(velocity, {one: 1, other: 1}) - _shifted(velocity, {one: 1, other: -1})
    behind = _shifted(velocity, {one: -1, other: 1}) - _shifted(velocity, {one: -1, other: -1})
    return (ahead - behind) / 4


def _shifted(velocity: Tensor, shifts: Mapping[int, int]) -> Tensor:
    """Give the neighbours, some voxels along some axes, of the voxels that have neighbours on all sides."""
    for axis, size in enumerate(velocity.shape[2:]):
        velocity = velocity.narrow(axis + 2, 1 + shifts.get(axis, 0), size - 2)
    return velocity


def regularize(velocity: Tensor, section: LossOptions, spacing: Sequence[float] | None) -> Tensor:
    """Give the declared regularization of a velocity of shape (batch, d, *shape).

    Examples
    --------
    >>> import torch
    >>> regularize(torch.ones(1, 2, 8, 8), LossOptions(), None)
    tensor(0.)
    """
    loss = {"gradient": squared_gradient, "bending": bending_energy}[section.regularizer]
    return loss(velocity, spacing)
