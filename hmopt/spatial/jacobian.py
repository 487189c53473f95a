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
    inner = [slice(1, -1)] * d
    rows = []
    for axis in range(d):
        after, before = [*inner], [*inner]
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        slope = (displacement[(..., *after)] - displacement[(..., *before)]) / 2
        unit = torch.zeros(d, dtype=slope.dtype, device=slope.device)
        unit[axis] = 1
        rows.append(slope + unit.reshape(1, d, *[1] * d))
    return _determinant(rows)


def _determinant(rows: list[Tensor]) -> Tensor:
    if len(rows) == 2:
        (a, b), (c, d) = (row.unbind(1) for row in rows)
        return a * d - b * c
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(1) for row in rows)
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
