"""Jacobians of displacements."""

import torch
from torch import Tensor


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Compute the determinant of the Jacobian of x + displacement(x), by central differences.

    Row a of the Jacobian is the slope along axis a, (displacement(x + e_a) - displacement(x - e_a))
    / 2 + e_a.

    Parameters
    ----------
    displacement
        (batch, d, *shape) with d = 2 or 3, in voxels.

    Returns
    -------
    Tensor
        (batch, *(shape - 2)): the voxels that have neighbours on both sides. Values <= 0 are folds.

    Examples
    --------
    >>> from hmopt.spatial.grid import identity_grid
    >>> jacobian_determinant(0.5 * identity_grid((4, 4))).unique()
    tensor([2.2500])
    """
    d = displacement.shape[1]
    identity = torch.eye(d, dtype=displacement.dtype, device=displacement.device)
    rows = []
    for axis in range(d):
        slope = _central_difference(displacement, axis)
        rows.append(slope + identity[axis].reshape(1, d, *[1] * d))
    return _determinant(rows)


def _central_difference(displacement: Tensor, axis: int) -> Tensor:
    """Compute (batch, d, *(shape - 2)): half the difference of the two neighbours along an axis."""
    for other, size in enumerate(displacement.shape[2:]):
        if other != axis:
            displacement = displacement.narrow(other + 2, 1, size - 2)
    size = displacement.shape[axis + 2] - 2
    ahead = displacement.narrow(axis + 2, 2, size)
    behind = displacement.narrow(axis + 2, 0, size)
    return (ahead - behind) / 2


def _determinant(rows: list[Tensor]) -> Tensor:
    """Compute the determinant of 2 or 3 rows, whose columns are their channels: (batch, *inner)."""
    if len(rows) == 2:
        a, b = rows[0].unbind(1)
        c, d = rows[1].unbind(1)
        return a * d - b * c
    a, b, c = rows[0].unbind(1)
    d, e, f = rows[1].unbind(1)
    g, h, i = rows[2].unbind(1)
    # along the first row
    without_a = e * i - f * h
    without_b = d * i - f * g
    without_c = d * h - e * g
    return a * without_a - b * without_b + c * without_c
