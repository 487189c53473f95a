"""Velocities blended into one, by weights that say how much each of them counts at each voxel."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from hmopt.spatial.jacobian import jacobian_determinant

NEAR = 0.1
"""Share of structures from which a voxel belongs to them alone, and not to the common velocity."""

SMALLEST = 1e-30
"""Sums of shares below it count as none."""

REACH = 4.0
"""Standard deviations at which a Gaussian is cut off."""

POOLING = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
MAXIMA = {2: functional.max_pool2d, 3: functional.max_pool3d}

ROUNDS = 10
"""How often the share of a blend is halved at most where it folds."""

AROUND = 2
"""Voxels of the velocity's grid around a fold in which it is halved."""


def coarsen(images: Tensor, stride: int) -> Tensor:
    """Return the means over cubes of voxels: images on the grid of a velocity.

    A voxel i of that grid is centred on the voxels from `stride * i` to `stride * i + stride - 1`,
    as `refine_displacement` has it.

    Parameters
    ----------
    images
        (batch, channel, *shape), each side a multiple of `stride`.
    stride
        Voxels to a coarse one along each axis.

    Returns
    -------
    Tensor
        (batch, channel, *shape / stride).

    Examples
    --------
    >>> coarsen(torch.tensor([[[[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]]]), 2)
    tensor([[[[0.5000, 1.0000]]]])
    """
    if stride == 1:
        return images
    pool = POOLING[images.dim() - 2]
    return pool(images, stride)


def smooth(images: Tensor, width: float) -> Tensor:
    """Convolve images with a Gaussian; beyond the border they have the border's value.

    Parameters
    ----------
    images
        (batch, channel, *shape).
    width
        Standard deviation, in voxels; 0: the images as they are.

    Returns
    -------
    Tensor
        (batch, channel, *shape). Constant images stay as they are.

    Examples
    --------
    >>> image = torch.zeros(1, 1, 9, 9)
    >>> image[..., 4, 4] = 1
    >>> smooth(image, 1.0)[0, 0, 4, 3:6].mul(100).round()
    tensor([10., 16., 10.])
    """
    if width <= 0:
        return images
    radius = int(REACH * width + 0.5)
    distances = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(distances**2) / (2 * width**2))
    kernel = kernel / kernel.sum()
    for axis in range(2, images.dim()):
        images = _convolved(images, kernel, axis)
    return images


def _convolved(images: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Convolve along one axis."""
    radius = len(kernel) // 2
    # (rows, 1, side): every row of voxels along the axis
    turned = images.movedim(axis, -1)
    side = turned.shape[-1]
    rows = turned.reshape(-1, 1, side)
    longer = functional.pad(rows, (radius, radius), mode="replicate")
    smoothed = functional.conv1d(longer, kernel.view(1, 1, -1))
    return smoothed.view(turned.shape).movedim(-1, axis)


def blending_weights(shares: Tensor, width: float) -> Tensor:
    """Return how much the velocity of each structure counts at each voxel.

    With p_s the shares of the structures, smoothed by a Gaussian, and V_s their volumes, the sums of
    the shares, the weights are

        w_s = q_s / (q_1 + … + q_L) · min(1, (p_1 + … + p_L) / NEAR),     q_s = p_s / V_s.

    At the border of a small structure and a large one the velocity of the small one counts more. Its
    setting was chosen by an overlap that depends on this border, that of the large one mostly by
    borders elsewhere. Inside structures and around them the weights add up to 1; what they lack
    elsewhere belongs to the common velocity.

    Parameters
    ----------
    shares
        (n, L, *shape): how much of each voxel belongs to each of L structures, at least 0 and
        together at most 1, as a label map or a mean of several.
    width
        Standard deviation of the Gaussian, in voxels.

    Returns
    -------
    Tensor
        (n, L, *shape).

    Examples
    --------
    Structures of 5.5 and 1.5 voxels along a line; the voxel at their border is half of either:

    >>> large, small = [1.0] * 5 + [0.5] + [0.0] * 2, [0.0] * 5 + [0.5, 0.5, 0.0]
    >>> shares = torch.tensor([large, small]).unsqueeze(1).unsqueeze(0)
    >>> blending_weights(shares, width=0)[0, :, 0, 4:].round(decimals=3)
    tensor([[1.0000, 0.1540, 0.0000, 0.0000],
            [0.0000, 0.8460, 1.0000, 0.0000]])
    """
    grid_axes = tuple(range(2, shares.dim()))
    # one that is not there, or less than a voxel, has no share that it could be divided by
    volumes = shares.sum(grid_axes, keepdim=True).clamp(min=1)
    smoothed = smooth(shares, width)
    by_volume = smoothed / volumes
    parts = by_volume / by_volume.sum(dim=1, keepdim=True).clamp(min=SMALLEST)
    nearness = smoothed.sum(dim=1, keepdim=True) / NEAR
    return parts * nearness.clamp(max=1)


def blend(common: Tensor, others: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Blend velocities: v + Σ_k w_k (v_k - v), which is Σ_k w_k v_k with the rest of 1 for v.

    As the differences are weighted, velocities that are equal stay exactly what they are.

    Parameters
    ----------
    common
        v, (n, d, *shape).
    others
        Weight (n or 1, 1, *shape) and velocity (n, d, *shape) of each; weights add up to 1 at most.

    Returns
    -------
    Tensor
        (n, d, *shape).

    Examples
    --------
    >>> common, other = torch.zeros(1, 2, 1, 2), torch.ones(1, 2, 1, 2)
    >>> blend(common, [(torch.tensor([[[[0.0, 0.25]]]]), other)])[0, 0]
    tensor([[0.0000, 0.2500]])
    """
    velocity = common
    for weight, other in others:
        velocity = velocity + weight * (other - common)
    return velocity


def unfold(common: Tensor, blended: Tensor, displacement_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Move a blended velocity towards the common one where it folds and the common one does not.

    With a share s(x), 1 at first, the velocity is v + s (b - v), of the common velocity v and the
    blend b. Around voxels that fold s is halved, smoothly, until none are left or ten times.

    Parameters
    ----------
    common, blended
        v and b, (n, d, *shape / stride).
    displacement_of
        From such a velocity to its displacement on the grid of the images, (n, d, *shape).

    Returns
    -------
    Tensor
        (n, d, *shape / stride). Pairs that do not fold, and all that is far from folds, are those
        of the blend.

    Examples
    --------
    A velocity that folds at its step:

    >>> from hmopt.spatial.integration import integrate
    >>> steep = torch.zeros(1, 2, 32, 32)
    >>> steep[:, 1, :, :16] = 4
    >>> still = torch.zeros_like(steep)
    >>> velocity = unfold(still, steep, lambda velocity: integrate(velocity, steps=0))
    >>> bool((jacobian_determinant(velocity) > 0).all())
    True
    >>> velocity[0, 1, 16, [4, 15]].round(decimals=2)
    tensor([4.0000, 0.8600])
    """
    known = _folded(displacement_of(common))
    kept = torch.ones_like(common[:, :1])
    velocity = blended
    for _ in range(ROUNDS):
        folded = _folded(displacement_of(velocity)) & ~known
        if not folded.any():
            break
        kept = kept * (1 - _around(folded, common) / 2)
        velocity = torch.lerp(common, blended, kept)
    return velocity


def _folded(displacement: Tensor) -> Tensor:
    """Return which voxels fold, those at the border never: (n, 1, *shape)."""
    d = displacement.shape[1]
    inner = jacobian_determinant(displacement) <= 0
    return functional.pad(inner.unsqueeze(1), [1] * (2 * d))


def _around(folded: Tensor, velocity: Tensor) -> Tensor:
    """Return a smooth map on the velocity's grid: 1 at folds, 0 far from them."""
    maximum = MAXIMA[folded.dim() - 2]
    stride = folded.shape[2] // velocity.shape[2]
    on_own_grid = maximum(folded.to(velocity.dtype), stride)
    near = maximum(on_own_grid, 2 * AROUND + 1, stride=1, padding=AROUND)
    return smooth(near, AROUND / 2)
