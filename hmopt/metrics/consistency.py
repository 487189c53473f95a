"""How well registrations of the same images agree: there and back, and around three subjects.

None of these needs labels. A displacement of zero is perfectly consistent: what they say of a setting must be read
beside what it registers.
"""

import torch
from torch import Tensor

from hmopt.spatial import warp


def inverse_consistency_mm(
    displacement: Tensor, backward: Tensor, spacing_mm: tuple[float, ...] | None
) -> Tensor:
    """Compute the mean distance at which a voxel arrives that is mapped there and back, in mm: (n,).

    With the displacement u of a pair, and v of the pair with its images exchanged, it is the mean over voxels of both

        |v(x + u(x)) + u(x)|  and  |u(x + v(x)) + v(x)|.

    Beyond the grid a displacement is that of the nearest voxel.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.
    backward
        The same of the reversed pairs.
    spacing_mm
        Of the grid, along each axis; None where it is unknown.

    Returns
    -------
    Tensor
        (n,), at least 0; NaN where the reversed pair was not registered, and everywhere if the spacing is unknown.

    References
    ----------
    Christensen and Johnson, Consistent image registration, IEEE TMI 20, 2001, section II-C.

    Examples
    --------
    One voxel of 2 mm there, and half a voxel back:

    >>> there, back = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    >>> there[:, 0], back[:, 0] = 1.0, -0.5
    >>> inverse_consistency_mm(there, back, (2.0, 1.0)), inverse_consistency_voxels(there, back)
    (tensor([1.]), tensor([0.5000]))
    """
    there = _return(displacement, backward)
    back = _return(backward, displacement)
    return (_mean_mm(there, spacing_mm) + _mean_mm(back, spacing_mm)) / 2


def inverse_consistency_voxels(displacement: Tensor, backward: Tensor) -> Tensor:
    """Compute the mean distance at which a voxel arrives that is mapped there and back, in voxels of the grid.

    It needs no spacing. See `inverse_consistency_mm` for its definition and source.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.
    backward
        The same of the reversed pairs.

    Returns
    -------
    Tensor
        (n,), at least 0; NaN where the reversed pair was not registered.

    Examples
    --------
    >>> there = torch.full((1, 2, 4, 4), 3.0)
    >>> inverse_consistency_voxels(there, -there)
    tensor([0.])
    """
    return inverse_consistency_mm(displacement, backward, _ones(displacement))


def cycle_inconsistency_mm(
    displacement: Tensor, onward: Tensor, spacing_mm: tuple[float, ...] | None
) -> Tensor:
    """Compute the mean distance at which a voxel arrives that is mapped around three images, in mm: (n,).

    A voxel x of the fixed image is mapped to the moving one, from there to an image of a third subject, and back:

        y = x + u(x),  z = y + v(y),  |z + w(z) - x|.

    Parameters
    ----------
    displacement
        u, (n, d, *shape), in voxels.
    onward
        v and w, (n, 2, d, *shape): of the pair whose fixed image is the moving one and whose moving image is the third,
        and of the pair whose fixed image is the third and whose moving image is the fixed one.
    spacing_mm
        Of the grid, along each axis; None where it is unknown.

    Returns
    -------
    Tensor
        (n,), at least 0; NaN where there is no third subject, and everywhere if the spacing is unknown.

    References
    ----------
    Christensen and Johnson, Invertibility and transitivity analysis for nonrigid image registration, Journal of
    Electronic Imaging 12, 2003.

    Examples
    --------
    >>> step = torch.zeros(1, 2, 4, 4)
    >>> step[:, 0] = 0.25
    >>> cycle_inconsistency_mm(step, torch.stack([step, step], 1), (2.0, 1.0))
    tensor([1.5000])
    """
    to_third, to_fixed = onward.unbind(1)
    second = displacement + warp(to_third, displacement)
    third = second + warp(to_fixed, second)
    known = torch.isfinite(onward).flatten(1).all(1)
    return _mean_mm(third, spacing_mm).masked_fill(~known, torch.nan)


def cycle_inconsistency_voxels(displacement: Tensor, onward: Tensor) -> Tensor:
    """Compute the mean distance at which a voxel arrives that is mapped around three images, in voxels of the grid.

    It needs no spacing. See `cycle_inconsistency_mm` for its definition and source.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.
    onward
        (n, 2, d, *shape), as of `cycle_inconsistency_mm`.

    Returns
    -------
    Tensor
        (n,), at least 0; NaN where there is no third subject.

    Examples
    --------
    >>> step = torch.full((1, 2, 4, 4), 3.0)
    >>> cycle_inconsistency_voxels(step, torch.stack([step, -2 * step], 1))
    tensor([0.])
    """
    return cycle_inconsistency_mm(displacement, onward, _ones(displacement))


def _return(first: Tensor, second: Tensor) -> Tensor:
    """Return second(x + first(x)) + first(x): (n, d, *shape); NaN where either was not registered."""
    both = warp(second, first) + first
    known = torch.isfinite(first) & torch.isfinite(second)
    of_pair = known.flatten(1).all(1)
    each_voxel = [1] * (both.dim() - 1)
    return both.masked_fill(~of_pair.reshape(-1, *each_voxel), torch.nan)


def _mean_mm(vectors: Tensor, spacing_mm: tuple[float, ...] | None) -> Tensor:
    """Return the mean length of vectors (n, d, *shape), in voxels: (n,), in mm."""
    if spacing_mm is None:
        return torch.full((len(vectors),), torch.nan)
    each_voxel = [1] * (vectors.dim() - 2)
    sizes = torch.tensor(spacing_mm, dtype=vectors.dtype, device=vectors.device)
    lengths = (vectors * sizes.reshape(-1, *each_voxel)).norm(dim=1)
    means: Tensor = lengths.flatten(1).mean(1)
    return means


def _ones(displacement: Tensor) -> tuple[float, ...]:
    return (1.0,) * displacement.shape[1]
