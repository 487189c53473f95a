"""Whether refined registrations have converged."""

import torch
from torch import Tensor


def converged(stops: Tensor) -> Tensor:
    """Return 1 where the refinement of a registration stopped by itself, 0 where its iterations were used up: (n,).

    NaN where it is not refined.

    Parameters
    ----------
    stops
        (n,).

    Examples
    --------
    >>> converged(torch.tensor([1.0, 0.0]))
    tensor([1., 0.])
    """
    return torch.as_tensor(stops)
