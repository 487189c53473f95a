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
    grid_axes = range(2, d + 2)
    batch_and_grid = (0, *grid_axes)
    total = velocity.new_zeros(())
    for axis, step in enumerate(sides):
        differences = velocity.diff(dim=axis + 2)
        squared = differences.square()
        # (d,)
        means = squared.mean(batch_and_grid)

        ratios = [(side / step) ** 2 for side in sides]
        factors = velocity.new_tensor(ratios)
        slopes = means * factors
        total = total + slopes.mean()
    return total / d


def bending_energy(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Compute the bending energy of a velocity: its squared second differences, mixed ones twice.

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
    sides = [1.0] * d
    if spacing is not None:
        shortest = min(spacing)
        sides = [side / shortest for side in spacing]
    each_voxel = [1] * d
    lengths = velocity.new_tensor(sides)
    lengths = lengths.reshape(1, d, *each_voxel)
    in_lengths = velocity * lengths

    total = velocity.new_zeros(())
    pairs_of_axes = combinations_with_replacement(range(d), 2)
    for one, other in pairs_of_axes:
        area = sides[one] * sides[other]
        difference = _second_difference(in_lengths, one, other)
        curvature = difference / area
        energy = curvature.square().mean()
        if one != other:
            energy = 2 * energy
        total = total + energy
    return total


def _second_difference(velocity: Tensor, one: int, other: int) -> Tensor:
    """Compute the second difference along two axes, (batch, d, *(shape - 2)).

    Along one axis twice it is the compact one, along two axes the central one:

        v(x + e) - 2 v(x) + v(x - e)
        (v(x + e + f) - v(x + e - f) - v(x - e + f) + v(x - e - f)) / 4
    """
    if one == other:
        ahead = _shifted(velocity, {one: 1})
        behind = _shifted(velocity, {one: -1})
        here = _shifted(velocity, {})
        return ahead - 2 * here + behind
    ahead_up = _shifted(velocity, {one: 1, other: 1})
    ahead_down = _shifted(velocity, {one: 1, other: -1})
    behind_up = _shifted(velocity, {one: -1, other: 1})
    behind_down = _shifted(velocity, {one: -1, other: -1})
    slope_ahead = ahead_up - ahead_down
    slope_behind = behind_up - behind_down
    return (slope_ahead - slope_behind) / 4


def _shifted(velocity: Tensor, shifts: Mapping[int, int]) -> Tensor:
    """Return what lies some voxels from each inner voxel: (batch, d, *(shape - 2)).

    An inner voxel has neighbours on all sides; shifts, -1 or 1, are by axis.
    """
    _, _, *shape = velocity.shape
    for axis, size in enumerate(shape):
        start = 1 + shifts.get(axis, 0)
        inner = size - 2
        velocity = velocity.narrow(axis + 2, start, inner)
    return velocity


def regularize(
    velocity: Tensor,
    options: LossOptions,
    spacing: Sequence[float] | None,
    setting: Mapping[str, float] | None = None,
) -> Tensor:
    """Compute the declared regularization of a velocity.

    Parameters
    ----------
    velocity
        (batch, d, *shape).
    options
        `[loss]`.
    spacing
        Size of a voxel along each axis; None: equal sides.
    setting
        Values of hyperparameters, for a regularizer with arguments of their names.

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
    name = options.regularizer
    record = find_regularizer(name)
    loss = record.load()
    values = setting or {}
    further = {}
    for parameter in record.parameters:
        if parameter in values:
            further[parameter] = values[parameter]
    term: Tensor = loss(velocity=velocity, spacing=spacing, **further)
    return term
