"""How rough a velocity is: 0 is constant, larger is rougher."""

from collections.abc import Iterator, Mapping, Sequence
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
    return squared_gradients(velocity, spacing).mean()


def squared_gradients(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Compute `squared_gradient` of each pair, (batch,)."""
    d = velocity.shape[1]
    sides = [1.0] * d if spacing is None else spacing
    grid_axes = tuple(range(2, d + 2))
    total = velocity.new_zeros(len(velocity))
    for axis, step in enumerate(sides):
        differences = velocity.diff(dim=axis + 2)
        squared = differences.square()
        # (batch, d)
        means = squared.mean(grid_axes)

        ratios = [(side / step) ** 2 for side in sides]
        factors = velocity.new_tensor(ratios)
        slopes = means * factors
        total = total + slopes.mean(1)
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
    return bending_energies(velocity, spacing).mean()


def bending_energies(velocity: Tensor, spacing: Sequence[float] | None = None) -> Tensor:
    """Compute `bending_energy` of each pair, (batch,)."""
    total = velocity.new_zeros(len(velocity))
    for times, curvature in _curvatures(velocity, spacing):
        energies = curvature.square().flatten(1).mean(1)
        total = total + times * energies
    return total


def squared_gradient_by_region(
    velocity: Tensor, shares: Tensor, spacing: Sequence[float] | None = None
) -> Tensor:
    """Divide the squared gradient of a velocity among regions.

    A difference lies between two voxels, and belongs to regions as these do on average:

        1 / d²  Σ_a Σ_c  mean over x of  m_k(x + e_a / 2) · ((s_c / s_a) · (v_c(x + e_a) - v_c(x)))²

    Parameters
    ----------
    velocity, spacing
        As of `squared_gradient`.
    shares
        m, (batch, regions, *shape): the part of each voxel that lies in each region.

    Returns
    -------
    Tensor
        (regions,). Where the shares of each voxel sum to 1, its sum is `squared_gradient`.

    Examples
    --------
    >>> import torch
    >>> from hmopt.spatial import identity_grid
    >>> left = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 1, 4, 4)
    >>> shares = torch.cat([left, 1 - left], dim=1)
    >>> squared_gradient_by_region(3 * identity_grid((4, 4)), shares)
    tensor([2.2500, 2.2500])
    """
    d = velocity.shape[1]
    sides = [1.0] * d if spacing is None else spacing
    each_voxel = [1] * d
    total = velocity.new_zeros(())
    for axis, step in enumerate(sides):
        differences = velocity.diff(dim=axis + 2)
        ratios = [(side / step) ** 2 for side in sides]
        factors = velocity.new_tensor(ratios).reshape(1, d, *each_voxel)
        # (batch, 1, *grid)
        slopes = (differences.square() * factors).mean(dim=1, keepdim=True)

        last = shares.shape[axis + 2] - 1
        before = shares.narrow(axis + 2, 0, last)
        after = shares.narrow(axis + 2, 1, last)
        between = (before + after) / 2
        total = total + _mean_by_region(between * slopes)
    return total / d


def bending_energy_by_region(
    velocity: Tensor, shares: Tensor, spacing: Sequence[float] | None = None
) -> Tensor:
    """Divide the bending energy of a velocity among regions, by the voxels it is computed at.

    Parameters
    ----------
    velocity, spacing
        As of `bending_energy`.
    shares
        (batch, regions, *shape): the part of each voxel that lies in each region.

    Returns
    -------
    Tensor
        (regions,). Where the shares of each voxel sum to 1, its sum is `bending_energy`.

    Examples
    --------
    >>> import torch
    >>> from hmopt.spatial import identity_grid
    >>> left = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).expand(1, 1, 6, 6)
    >>> shares = torch.cat([left, 1 - left], dim=1)
    >>> bending_energy_by_region(identity_grid((6, 6)).square(), shares)
    tensor([2., 2.])
    """
    at_inner = _shifted(shares, {})
    total = velocity.new_zeros(())
    for times, curvature in _curvatures(velocity, spacing):
        # (batch, 1, *(shape - 2))
        energies = curvature.square().mean(dim=1, keepdim=True)
        total = total + times * _mean_by_region(at_inner * energies)
    return total


def _mean_by_region(values: Tensor) -> Tensor:
    """Return the mean over batch and voxels of (batch, regions, *grid): (regions,)."""
    grid_axes = range(2, values.dim())
    batch_and_grid = (0, *grid_axes)
    return values.mean(batch_and_grid)


def _curvatures(velocity: Tensor, spacing: Sequence[float] | None) -> Iterator[tuple[int, Tensor]]:
    """Yield the second differences along every two axes, and how often each counts.

    They are those of the velocity in lengths, in units of the shortest side: (batch, d, *(shape - 2)).
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

    pairs_of_axes = combinations_with_replacement(range(d), 2)
    for one, other in pairs_of_axes:
        area = sides[one] * sides[other]
        difference = _second_difference(in_lengths, one, other)
        times = 1 if one == other else 2
        yield times, difference / area


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
    roughnesses: Tensor | None = None,
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
    roughnesses
        That of each pair, (batch,), where it was computed before.

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
    if roughnesses is not None:
        return roughnesses.mean()
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
