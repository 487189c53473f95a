"""The time of a registration."""

import torch
from torch import Tensor


def wall_time_s(seconds: Tensor) -> Tensor:
    """Return the seconds that each registration took, without reading images and metrics: (n,).

    Of pairs that are registered together, each has an equal share. NaN where it was not taken.

    Parameters
    ----------
    seconds
        (n,).

    Examples
    --------
    >>> wall_time_s(torch.tensor([0.5]))
    tensor([0.5000])
    """
    return torch.as_tensor(seconds)
