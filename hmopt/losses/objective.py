"""The weighted objective of a registration network."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

SMALLEST_SIMILARITY_WEIGHT = 0.05


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of the loss before weighting, each a number >= 0 (mutual information: any number).

    Examples
    --------
    >>> import torch
    >>> one = torch.tensor(1.0)
    >>> Terms(similarity=one, overlap=one, regularization=one).overlap
    tensor(1.)
    """

    similarity: Tensor
    overlap: Tensor
    regularization: Tensor


def weighted_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Give (1 - λ)(1 - γ) · scale · similarity + (1 - λ) γ · overlap + λ · regularization.

    Parameters
    ----------
    terms
        The terms of the loss.
    setting
        λ as `regularization` in [0, 1] and γ as `label_weight` in [0, 1]; one that is not there counts as 0.
    scale
        What the similarity is multiplied by.

    Returns
    -------
    Tensor
        A number.

    References
    ----------
    Hoopes et al., MELBA 2022, equations 3 and 8.

    Examples
    --------
    >>> import torch
    >>> terms = Terms(similarity=torch.tensor(1.0), overlap=torch.tensor(0.0), regularization=torch.tensor(3.0))
    >>> weighted_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(2.2500)
    """
    strength, label_weight = setting.get("regularization", 0.0), setting.get("label_weight", 0.0)
    data = (1 - label_weight) * scale * terms.similarity + label_weight * terms.overlap
    return (1 - strength) * data + strength * terms.regularization


def balanced_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Give the weighted loss divided by max(1 - λ, 0.05): the same minimum, gradients of like size at every λ.

    Without it a batch at high λ hardly moves weights that an optimizer with one step size shares among all λ.

    Parameters
    ----------
    terms, setting, scale
        As in `weighted_loss`.

    Returns
    -------
    Tensor
        A number.

    Examples
    --------
    >>> import torch
    >>> terms = Terms(similarity=torch.tensor(1.0), overlap=torch.tensor(0.0), regularization=torch.tensor(3.0))
    >>> balanced_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(3.)
    """
    share = max(1 - setting.get("regularization", 0.0), SMALLEST_SIMILARITY_WEIGHT)
    return weighted_loss(terms, setting, scale) / share
