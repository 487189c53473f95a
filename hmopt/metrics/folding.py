"""How regular a displacement is, by the determinant of the Jacobian of x + displacement(x)."""

from torch import Tensor

DETERMINANT_FLOOR = 1e-3
"""A smaller determinant counts as this, so that it has a logarithm."""


def folding(determinant: Tensor) -> Tensor:
    """Compute the share of voxels where the displacement folds: the determinant is not positive.

    Parameters
    ----------
    determinant
        (n, *inner).

    Returns
    -------
    Tensor
        (n,), in [0, 1].

    Examples
    --------
    >>> import torch
    >>> folding(torch.tensor([[1.0, 0.5, 0.0, -1.0]]))
    tensor([0.5000])
    """
    is_folded = determinant <= 0
    # (n, voxels)
    folded = is_folded.float().flatten(1)
    return folded.mean(1)


def log_jacobian_sd(determinant: Tensor) -> Tensor:
    """Compute the standard deviation over voxels of the determinant's logarithm.

    Determinants below 0.001 count as 0.001.

    Parameters
    ----------
    determinant
        (n, *inner).

    Returns
    -------
    Tensor
        (n,), at least 0.

    References
    ----------
    Leow et al., IEEE TMI 26, 2007, section II: log determinants treat growth and shrinkage alike.

    Examples
    --------
    >>> import torch
    >>> log_jacobian_sd(torch.tensor([[1.0, 1.0, 2.0, 2.0]]) ** 2)
    tensor([0.6931])
    """
    clamped = determinant.clamp(min=DETERMINANT_FLOOR)
    # (n, voxels)
    logarithm = clamped.log().flatten(1)
    return logarithm.std(1, correction=0)
