"""The weighted loss of a registration network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hmopt.catalogue import HYPERPARAMETERS, Effect, find_hyperparameter
from hmopt.declaration import LossOptions
from hmopt.losses.similarity import find_similarity
from hmopt.spatial import warp

SMALLEST_SHARE = 0.05
"""Share of the loss by which it is divided at least, however little is left to its data term."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RegisteredBatch:
    """n pairs of images with the velocity that registers them: what the terms of a loss are computed from.

    A term is a function whose arguments are named after these attributes.

    Parameters
    ----------
    moving, fixed
        (n, 1, *shape).
    moving_labels, fixed_labels
        Label maps (n, *shape), whole numbers; None where no term needs them.
    velocity
        (n, d, *shape / stride), in voxels of its own grid.
    displacement
        (n, d, *shape), in voxels.
    spacing
        Size of a voxel along each axis where it is anisotropic, else None.
    options
        `[loss]`.
    overlap_labels
        Values in the label maps that the overlap loss sees.
    scale
        What the dissimilarity is multiplied by.
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None
    fixed_labels: Tensor | None
    velocity: Tensor
    displacement: Tensor
    spacing: tuple[float, ...] | None
    options: LossOptions
    overlap_labels: tuple[int, ...]
    scale: float

    @cached_property
    def moved(self) -> Tensor:
        """Moving images warped by linear interpolation: (n, 1, *shape)."""
        return warp(self.moving, self.displacement)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of a loss before weighting, each a number >= 0 (minus mutual information: any number).

    Parameters
    ----------
    dissimilarity
        How badly moved images match fixed ones.
    weighted
        By hyperparameter: the term that it weighs.
    """

    dissimilarity: Tensor
    weighted: Mapping[str, Tensor]

    def detach(self) -> "Terms":
        """Return the same terms, free of their gradients."""
        return Terms(
            dissimilarity=self.dissimilarity.detach(),
            weighted={name: term.detach() for name, term in self.weighted.items()},
        )


def loss_terms(registered: RegisteredBatch, setting: Mapping[str, float]) -> Terms:
    """Compute the terms of the loss of registered pairs that a setting weighs.

    Raises
    ------
    DeclarationError
        If a hyperparameter is not in the catalogue.

    Examples
    --------
    >>> import torch
    >>> image, velocity = torch.ones(1, 1, 8, 8), torch.ones(1, 2, 8, 8)
    >>> registered = RegisteredBatch(
    ...     moving=2 * image, fixed=image, moving_labels=None, fixed_labels=None, velocity=velocity,
    ...     displacement=velocity, spacing=None, options=LossOptions(similarity="mse"), overlap_labels=(), scale=1.0,
    ... )
    >>> loss_terms(registered, {"regularization": 0.5})
    Terms(dissimilarity=tensor(1.), weighted={'regularization': tensor(0.)})
    """
    similarity = find_similarity(registered.options)
    return Terms(
        dissimilarity=similarity(registered.moved, registered.fixed),
        weighted={name: find_hyperparameter(name).compute(registered) for name in setting},
    )


def weighted_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute (1 - λ) D + λ · regularization with D = (1 - γ) · scale · dissimilarity + γ · overlap.

    Other hyperparameters do to the loss what their `effect` says (see
    `hmopt.catalogue.WeightedTerm`).

    Parameters
    ----------
    terms
        The terms of the loss.
    setting
        Values by hyperparameter, as λ by `regularization` and γ by `label_weight`; one that is not
        there counts as 0.
    scale
        What the dissimilarity is multiplied by.

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
    >>> terms = Terms(dissimilarity=torch.tensor(1.0), weighted={"regularization": torch.tensor(3.0)})
    >>> weighted_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(2.2500)
    """
    loss = _data_term(terms, setting, scale)
    for name in _with_effect("share of the loss", setting):
        share = setting[name]
        loss = (1 - share) * loss + share * terms.weighted[name]
    for name in _with_effect("added", setting):
        loss = loss + setting[name] * terms.weighted[name]
    return loss


def balanced_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the weighted loss divided by max(1 - λ, 0.05): the same minimum, gradients of like size at every λ.

    Without it a batch at high λ hardly moves weights that an optimizer with one step size shares
    among all λ.

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
    >>> terms = Terms(dissimilarity=torch.tensor(1.0), weighted={"regularization": torch.tensor(3.0)})
    >>> balanced_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(3.)
    """
    left_to_data = 1.0
    for name in _with_effect("share of the loss", setting):
        left_to_data *= 1 - setting[name]
    return weighted_loss(terms, setting, scale) / max(left_to_data, SMALLEST_SHARE)


def _data_term(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the mean of the scaled dissimilarity and the terms that share its weight."""
    shares = _with_effect("share of the data term", setting)
    left = 1.0
    for name in shares:
        left = left * (1 - setting[name])
    data = left * scale * terms.dissimilarity
    for place, name in enumerate(shares):
        weight = setting[name]
        for later in shares[place + 1 :]:
            weight = weight * (1 - setting[later])
        data = data + weight * terms.weighted[name]
    return data


def _with_effect(effect: Effect, setting: Mapping[str, float]) -> list[str]:
    """Return the hyperparameters of a setting that have an effect, in the order of the catalogue."""
    return [
        name
        for name, record in HYPERPARAMETERS.items()
        if name in setting and record.effect == effect
    ]
