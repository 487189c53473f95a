"""How regular a displacement is, by the determinant of the Jacobian of x + displacement(x)."""

from torch import Tensor

DETERMINANT_FLOOR = 1e-3
"""Where a determinant is smaller, or negative, it is taken as this before its logarithm."""


def folding(determinant: Tensor) -> Tensor:
    """Compute the share of voxels where the displacement folds: where the determinant is not positive.

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
    folded = (determinant <= 0).float()
    return folded.flatten(1).mean(1)


def log_jacobian_sd(determinant: Tensor) -> Tensor:
    """Compute the standard deviation over voxels of the logarithm of the determinant, clamped below at 0.001.

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
    logarithm = determinant.clamp(min=DETERMINANT_FLOOR).log()
    return logarithm.flatten(1).std(1, correction=0)
