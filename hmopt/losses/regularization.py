"""How rough a velocity is: 0 is constant, larger is rougher."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

from torch import Tensor

from hmopt.catalogue import find_regularizer
from hmopt.declaration import LossOptions


def squared_gradient(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Compute the mean over voxels, components and axes of the squared forward differences.

    With sides s of a voxel, component c of the velocity counts in lengths, s_c v_c, and a step
    along axis a is s_a long, so that each slope is that of lengths over lengths:

        1 / d²  Σ_a Σ_c  mean over x of  ((s_c / s_a) · (v_c(x + e_a) - v_c(x)))²

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
    sides = [1.0] * d if spacing is None else spacing
    total = velocity.new_zeros(())
    for axis in range(d):
        squared = velocity.diff(dim=axis + 2).square()
        # one number for each component
        of_components = squared.movedim(1, 0).flatten(1).mean(1)
        ratios = [(side / sides[axis]) ** 2 for side in sides]
        slopes = of_components * velocity.new_tensor(ratios)
        total = total + slopes.mean()
    return total / d


def bending_energy(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Compute the mean over voxels and components of the sum of squared second differences, mixed ones twice.

        1 / d  Σ_c Σ_a Σ_b  mean over x of  (∂² v_c / ∂x_a ∂x_b)²

    Lengths count in units of the shortest side of a voxel.

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
    lengths = velocity.new_tensor(sides).reshape(1, d, *[1] * d)
    velocity = velocity * lengths
    total = velocity.new_zeros(())
    for one, other in combinations_with_replacement(range(d), 2):
        area = sides[one] * sides[other]
        curvature = _second_difference(velocity, one, other) / area
        energy = curvature.square().mean()
        if one != other:
            energy = 2 * energy
        total = total + energy
    return total


def _second_difference(velocity: Tensor, one: int, other: int) -> Tensor:
    """Return (batch, d, *(shape - 2)): the compact difference along one axis, or the central one along two.

    v(x + e) - 2 v(x) + v(x - e)
    (v(x + e + f) - v(x + e - f) - v(x - e + f) + v(x - e - f)) / 4
    """
    if one == other:
        ahead = _shifted(velocity, {one: 1})
        behind = _shifted(velocity, {one: -1})
        return ahead - 2 * _shifted(velocity, {}) + behind
    slope_ahead = _shifted(velocity, {one: 1, other: 1}) - _shifted(velocity, {one: 1, other: -1})
    slope_behind = _shifted(velocity, {one: -1, other: 1}) - _shifted(
        velocity, {one: -1, other: -1}
    )
    return (slope_ahead - slope_behind) / 4


def _shifted(velocity: Tensor, shifts: Mapping[int, int]) -> Tensor:
    """Return the neighbours, some voxels along some axes, of the voxels that have neighbours on all sides."""
    for axis, size in enumerate(velocity.shape[2:]):
        start = 1 + shifts.get(axis, 0)
        velocity = velocity.narrow(axis + 2, start, size - 2)
    return velocity


def regularize(velocity: Tensor, options: LossOptions, spacing: Sequence[float] | None) -> Tensor:
    """Compute the declared regularization of a velocity of shape (batch, d, *shape).

    Raises
    ------
    DeclarationError
        If it is not in the catalogue.

    Examples
    --------
    >>> import torch
    >>> regularize(torch.ones(1, 2, 8, 8), LossOptions(), None)
    tensor(0.)
    """
    loss = find_regularizer(options.regularizer).load()
    term: Tensor = loss(velocity=velocity, spacing=spacing)
    return term
