"""Voxel coordinates, and displacements on grids of other resolution."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


@lru_cache(maxsize=16)
def identity_grid(shape: tuple[int, ...], device: torch.device = torch.device("cpu")) -> Tensor:  # noqa: B008
    """Return the coordinates of every voxel, made once for each shape and device.

    Parameters
    ----------
    shape
        Voxels along each of d axes.
    device
        Where the tensor lives.

    Returns
    -------
    Tensor
        (1, d, *shape), in voxels. Shared: do not write into it.

    Examples
    --------
    >>> identity_grid((2, 3))[0, 1]
    tensor([[0., 1., 2.],
            [0., 1., 2.]])
    """
    # made outside inference mode even if first asked for there: training uses the same tensor
    with torch.inference_mode(False):
        axes = [torch.arange(size, dtype=torch.float32, device=device) for size in shape]
        coordinates = torch.meshgrid(*axes, indexing="ij")
        return torch.stack(coordinates)[None]


def refine_displacement(displacement: Tensor, factor: int) -> Tensor:
    """Return a displacement on a grid that is finer by a whole factor.

    A coarse voxel i is centred on the fine voxels from `factor * i` to `factor * i + factor - 1`;
    vectors are counted in voxels of the fine grid.

    Parameters
    ----------
    displacement
        (batch, d, *shape), in voxels of its own grid.
    factor
        Fine voxels to a coarse one along each axis.

    Returns
    -------
    Tensor
        (batch, d, *(factor * shape)), in voxels of the fine grid.

    Examples
    --------
    >>> refine_displacement(torch.ones(1, 2, 3, 3), 2).unique()
    tensor([2.])
    """
    if factor == 1:
        return displacement
    mode = {2: "bilinear", 3: "trilinear"}[displacement.shape[1]]
    in_fine_voxels = displacement * factor
    return functional.interpolate(
        in_fine_voxels, scale_factor=factor, mode=mode, align_corners=False
    )
