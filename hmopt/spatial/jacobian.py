"""Jacobians of displacements."""

import torch
from torch import Tensor


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Give the determinant of the Jacobian of x + displacement(x), by central differences.

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
    rows = []
    for axis in range(d):
        slope = _central_difference(displacement, axis)
        unit = torch.zeros(d, dtype=slope.dtype, device=slope.device)
        unit[axis] = 1
        rows.append(slope + unit.reshape(1, d, *[1] * d))
    return _determinant(rows)


def _central_difference(displacement: Tensor, axis: int) -> Tensor:
    """Give (batch, d, *(shape - 2)): half the difference of the two neighbours along an axis."""
    for other, size in enumerate(displacement.shape[2:]):
        if other != axis:
            displacement = displacement.narrow(other + 2, 1, size - 2)
    size = displacement.shape[axis + 2] - 2
    return (displacement.narrow(axis + 2, 2, size) - displacement.narrow(axis + 2, 0, size)) / 2


def _determinant(rows: list[Tensor]) -> Tensor:
    if len(rows) == 2:
        (a, b), (c, d) = (row.unbind(1) for row in rows)
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(1) for row in rows)
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
