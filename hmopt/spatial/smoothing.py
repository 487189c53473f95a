"""Smoothing of fields by the cosine transform: what a regularizer's inverse Hessian does."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from hmopt.spatial.axes import along_axes


def sobolev_smooth(field: Tensor, stiffness: float) -> Tensor:
    """Compute (1 - stiffness · Δ)⁻¹ of a field, with slopes of 0 at the border of the grid.

    Δ is the sum of second differences, whose eigenvectors are products of cosines. A wave of
    frequency ω along each axis (radians per voxel) is divided by

        1 + stiffness · Σ_a (2 - 2 cos ω_a)

    so that constants stay and the finest waves all but vanish. This is the Sobolev gradient of a
    field of derivatives, and up to scale the inverse Hessian of an energy of values and slopes.

    Parameters
    ----------
    field
        (batch, channel, *shape).
    stiffness
        In squared voxels, >= 0; 0 changes nothing.

    Returns
    -------
    Tensor
        (batch, channel, *shape).

    References
    ----------
    Neuberger, Sobolev Gradients and Differential Equations, 2010; Strang, SIAM Review 41, 1999,
    section 2 (the cosine transform DCT-2).

    Examples
    --------
    >>> wave = torch.tensor([0.5, -0.5]).reshape(1, 1, 2, 1)
    >>> sobolev_smooth(wave, stiffness=2.0).flatten().round(decimals=4)
    tensor([ 0.1000, -0.1000])
    """
    shape = tuple(field.shape[2:])
    cosines = []
    for size in shape:
        of_axis = _cosines(size, field.dtype, field.device)
        cosines.append(of_axis)
    waves = along_axes(field, cosines)
    waves = waves / _divisor(shape, stiffness, field.dtype, field.device)
    # the matrices are orthogonal
    inverses = [matrix.T for matrix in cosines]
    return along_axes(waves, inverses)


@lru_cache(maxsize=16)
def _cosines(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthogonal matrix of DCT-2, (size, size): row k is a cosine of frequency πk/size."""
    # made outside inference mode even if first asked for there
    with torch.inference_mode(False):
        frequencies = _frequencies(size).unsqueeze(1)
        centres = torch.arange(size, dtype=torch.float64) + 0.5
        waves = torch.cos(frequencies * centres)
        lengths = waves.norm(dim=1, keepdim=True)
        unit: Tensor = waves / lengths
        return unit.to(device=device, dtype=dtype)


@lru_cache(maxsize=16)
def _divisor(
    shape: tuple[int, ...], stiffness: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return 1 + stiffness · Σ_a (2 - 2 cos ω_a) of every wave: (*shape)."""
    with torch.inference_mode(False):
        squared = torch.zeros(shape, dtype=torch.float64)
        for axis, size in enumerate(shape):
            of_axis = 2 - 2 * torch.cos(_frequencies(size))
            each_other = [1] * len(shape)
            each_other[axis] = size
            squared = squared + of_axis.reshape(each_other)
        divisor = 1 + stiffness * squared
        return divisor.to(device=device, dtype=dtype)


def _frequencies(size: int) -> Tensor:
    """Return πk/size for k = 0, …, size - 1."""
    numbers = torch.arange(size, dtype=torch.float64)
    return numbers * (math.pi / size)
