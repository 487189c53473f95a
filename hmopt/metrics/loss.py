"""The loss of a registration."""

import torch
from torch import Tensor


def loss(losses: Tensor) -> Tensor:
    """Return the loss of each registration at its setting, without terms that need labels: (n,).

    Of one setting it tells how far registrations are from the best ones: between a model's and those
    that are refined lies the *amortization gap*. Losses of different settings weigh different terms,
    and are not to be compared. NaN where the model's loss is not known, as of an engine.

    Parameters
    ----------
    losses
        (n,).

    References
    ----------
    Cremer et al., Inference suboptimality in variational autoencoders, ICML 2018.

    Examples
    --------
    >>> loss(torch.tensor([0.5]))
    tensor([0.5000])
    """
    return torch.as_tensor(losses)
