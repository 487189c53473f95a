"""Jacobians of displacements."""

import torch
from torch import Tensor

from hmopt.errors import HmoptError

SHORTEST_SIDE = 3
"""Voxels along an axis of which one has neighbours on both sides."""


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Compute the determinant of the Jacobian of x + displacement(x), by central differences.

    Row a of the Jacobian is the slope along axis a, (displacement(x + e_a) - displacement(x - e_a))
    / 2 + e_a.

    Parameters
    ----------
    displacement
        (batch, d, *shape) with d = 2 or 3, in voxels; each side at least 3.

    Returns
    -------
    Tensor
        (batch, *(shape - 2)): the voxels that have neighbours on both sides. Values <= 0 are folds.

    Raises
    ------
    HmoptError
        If a side is shorter.

    Examples
    --------
    >>> from hmopt.spatial import identity_grid
    >>> jacobian_determinant(0.5 * identity_grid((4, 4))).unique()
    tensor([2.2500])
    """
    shape = tuple(displacement.shape[2:])
    if min(shape) < SHORTEST_SIDE:
        raise HmoptError(
            "displacement",
            expected=f"at least {SHORTEST_SIDE} voxels along each axis",
            got=f"shape {shape}",
            advice="Use a larger grid: inner voxels have neighbours on both sides.",
        )
    d = displacement.shape[1]
    each_voxel = [1] * d
    identity = torch.eye(d).to(displacement)
    # row a, for every voxel: (d, 1, d, 1, ..., 1)
    unit_vectors = identity.reshape(d, 1, d, *each_voxel)
    rows = []
    for axis, unit_vector in enumerate(unit_vectors):
        # (batch, d, *(shape - 2))
        slope = _central_difference(displacement, axis)
        row = slope + unit_vector
        rows.append(row)
    return _determinant(rows)


def _central_difference(displacement: Tensor, axis: int) -> Tensor:
    """Compute (batch, d, *(shape - 2)): half the difference of the two neighbours along an axis."""
    for other, size in enumerate(displacement.shape[2:]):
        inner = size - 2
        if other != axis:
            displacement = displacement.narrow(other + 2, 1, inner)
    along = axis + 2
    inner = displacement.shape[along] - 2
    ahead = displacement.narrow(along, 2, inner)
    behind = displacement.narrow(along, 0, inner)
    over_two_voxels = ahead - behind
    return over_two_voxels / 2


def _determinant(rows: list[Tensor]) -> Tensor:
    """Compute the determinant of 2 or 3 rows, whose columns are their channels: (batch, *inner)."""
    if len(rows) == 2:
        a, b = rows[0].unbind(1)
        c, d = rows[1].unbind(1)
        return a * d - b * c
    first, second, third = rows
    a, b, c = first.unbind(1)
    d, e, f = second.unbind(1)
    g, h, i = third.unbind(1)
    # expanded along the first row
    without_a = e * i - f * h
    without_b = d * i - f * g
    without_c = d * h - e * g
    return a * without_a - b * without_b + c * without_c
