"""The weighted loss of a registration network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from hmopt import catalogue
from hmopt.catalogue import (
    HYPERPARAMETERS,
    REGULARIZATION,
    Effect,
    Record,
    WeightedTerm,
    find_regularizer,
    weighted_terms,
)
from hmopt.declaration import LossOptions
from hmopt.losses.similarity import find_similarity
from hmopt.spatial import divided, divided_if_any, warp

SMALLEST_SHARE = 0.05
"""The least by which the loss is divided, however small the share of its data term."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RegisteredBatch:
    """n pairs of images with the velocity that registers them, for the terms of a loss.

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
    second_scale
        What the dissimilarity by the second similarity is multiplied by.
    dissimilarities, roughnesses
        Those of each pair, (n,), where they were computed of all at once (`with_terms_of_each`).
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
    second_scale: float = 1.0
    dissimilarities: Tensor | None = None
    roughnesses: Tensor | None = None

    @cached_property
    def moved(self) -> Tensor:
        """Moving images warped by linear interpolation: (n, 1, *shape)."""
        return warp(self.moving, self.displacement)

    def dissimilarity(self, setting: Mapping[str, float]) -> Tensor:
        """Compute the mean dissimilarity at a setting, which may hold arguments of the similarity."""
        if self.dissimilarities is not None:
            return self.dissimilarities.mean()
        similarity = find_similarity(self.options, setting)
        return similarity(self.moved, self.fixed)

    def with_terms_of_each(self, hyperparameters: Collection[str]) -> "RegisteredBatch":
        """Compute similarity and regularizer of all pairs at once, before the batch is divided.

        One that a hyperparameter changes, by name, is left to be computed at each setting, and so are
        one without a function of each pair, and a regularizer that is divided among regions.
        """
        dissimilarities = None
        roughnesses = None
        similarity = catalogue.find_similarity(self.options.similarity)
        if similarity.of_each is not None and _is_fixed(similarity, hyperparameters):
            compare = find_similarity(self.options, of_each=True)
            dissimilarities = compare(self.moved, self.fixed)
        regularizer = find_regularizer(self.options.regularizer)
        is_whole = not self.options.regions
        if regularizer.of_each is not None and is_whole and _is_fixed(regularizer, hyperparameters):
            roughness = regularizer.load_of_each()
            roughnesses = roughness(velocity=self.velocity, spacing=self.spacing)
        other = replace(self, dissimilarities=dissimilarities, roughnesses=roughnesses)
        vars(other)["moved"] = self.moved
        return other

    def divided(self, count: int) -> list["RegisteredBatch"]:
        """Return the batch in parts, in its order; where it does not divide evenly, the first have one pair more.

        Moving images are warped together, which several threads share.
        """
        fields = zip(
            divided(self.moving, count),
            divided(self.fixed, count),
            divided_if_any(self.moving_labels, count),
            divided_if_any(self.fixed_labels, count),
            divided(self.velocity, count),
            divided(self.displacement, count),
            divided(self.moved, count),
            divided_if_any(self.dissimilarities, count),
            divided_if_any(self.roughnesses, count),
            strict=True,
        )
        parts = []
        for (
            moving,
            fixed,
            labels_of_moving,
            labels_of_fixed,
            velocity,
            displacement,
            moved,
            dissimilarities,
            roughnesses,
        ) in fields:
            part = replace(
                self,
                moving=moving,
                fixed=fixed,
                moving_labels=labels_of_moving,
                fixed_labels=labels_of_fixed,
                velocity=velocity,
                displacement=displacement,
                dissimilarities=dissimilarities,
                roughnesses=roughnesses,
            )
            # where `cached_property` keeps it
            vars(part)["moved"] = moved
            parts.append(part)
        return parts

    def scaled(self, scale: float, second_scale: float) -> "RegisteredBatch":
        """Return the same pairs with other scales of the dissimilarities."""
        other = replace(self, scale=scale, second_scale=second_scale)
        vars(other)["moved"] = self.moved
        return other


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of a loss before weighting, each a number >= 0.

    Minus mutual information can be any number.

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
        dissimilarity = self.dissimilarity.detach()
        weighted = {}
        for name, term in self.weighted.items():
            weighted[name] = term.detach()
        return Terms(dissimilarity=dissimilarity, weighted=weighted)


def loss_terms(registered: RegisteredBatch, setting: Mapping[str, float]) -> Terms:
    """Compute the terms of the loss of registered pairs that a setting weighs.

    Parameters
    ----------
    registered
        The pairs.
    setting
        Values by hyperparameter. Functions of terms with an argument of the name of one are called
        with its value, as local correlation with that of `window`.

    Raises
    ------
    DeclarationError
        If a hyperparameter is not in the catalogue.

    Examples
    --------
    >>> import torch
    >>> image, velocity = torch.ones(1, 1, 8, 8), torch.ones(1, 2, 8, 8)
    >>> no_labels = {"moving_labels": None, "fixed_labels": None, "overlap_labels": ()}
    >>> registered = RegisteredBatch(
    ...     moving=2 * image, fixed=image, velocity=velocity, displacement=velocity, spacing=None,
    ...     options=LossOptions(similarity="mse"), scale=1.0, **no_labels,
    ... )
    >>> loss_terms(registered, {"regularization": 0.5})
    Terms(dissimilarity=tensor(1.), weighted={'regularization': tensor(0.)})
    """
    dissimilarity = registered.dissimilarity(setting)
    # a function may take values by their names, or the whole setting
    values = {**setting, "setting": setting}
    weighted = {}
    for hyperparameter in weighted_terms(setting):
        weighted[hyperparameter.name] = hyperparameter.compute(registered, values)
    return Terms(dissimilarity=dissimilarity, weighted=weighted)


def _is_fixed(record: Record, hyperparameters: Collection[str]) -> bool:
    return set(record.parameters).isdisjoint(hyperparameters)


def weighted_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the loss of a setting: (1 - λ) D + λ R.

    The data term is D = (1 - γ) · scale · dissimilarity + γ · overlap, the regularizer
    R = (1 - β) · regularization + β · bending energy.

    Other hyperparameters do to the loss what their `effect` says (see
    `hmopt.catalogue.WeightedTerm`).

    Parameters
    ----------
    terms
        The terms of the loss.
    setting
        Values by hyperparameter, as λ by `regularization`, β by `bending_share` and γ by
        `label_weight`; one that is not there counts as 0.
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
    >>> regularizer = {"regularization": torch.tensor(3.0)}
    >>> terms = Terms(dissimilarity=torch.tensor(1.0), weighted=regularizer)
    >>> weighted_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(2.2500)
    """
    loss = data_term(terms, setting, scale)
    for name in _with_effect("share of the loss", setting):
        share = setting[name]
        rest = 1 - share
        term = _regularizer(terms, setting) if name == REGULARIZATION else terms.weighted[name]
        weighted = share * term
        loss = rest * loss + weighted
    for name in _with_effect("added", setting):
        weight = setting[name]
        weighted = weight * terms.weighted[name]
        loss = loss + weighted
    return loss


def balanced_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the weighted loss divided by max(1 - λ, 0.05).

    Its minimum is the same, and its gradients are of similar size at every λ.
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
    >>> regularizer = {"regularization": torch.tensor(3.0)}
    >>> terms = Terms(dissimilarity=torch.tensor(1.0), weighted=regularizer)
    >>> balanced_loss(terms, {"regularization": 0.25}, scale=2.0)
    tensor(3.)
    """
    left_to_data = 1.0
    names = _with_effect("share of the loss", setting)
    for name in names:
        share = setting[name]
        left_to_data *= 1 - share
    divisor = max(left_to_data, SMALLEST_SHARE)
    loss = weighted_loss(terms, setting, scale)
    return loss / divisor


def data_term(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the mean of the scaled dissimilarity and the terms that share its weight.

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
    >>> terms = Terms(dissimilarity=torch.tensor(0.5), weighted={})
    >>> data_term(terms, {"regularization": 0.25}, scale=2.0)
    tensor(1.)
    """
    of_similarity = _with_effect("share of the similarity", setting)
    of_data = _with_effect("share of the data term", setting)
    return _shared(terms.dissimilarity, scale, [*of_similarity, *of_data], terms, setting)


def _regularizer(terms: Terms, setting: Mapping[str, float]) -> Tensor:
    """Compute the mean of the declared regularizer and the terms that share its weight."""
    shares = _with_effect("share of the regularizer", setting)
    return _shared(terms.weighted[REGULARIZATION], 1.0, shares, terms, setting)


def _shared(
    first: Tensor, scale: float, shares: Sequence[str], terms: Terms, setting: Mapping[str, float]
) -> Tensor:
    """Compute the mean of a scaled term and others, each of which takes a share of what came before.

    With shares γ₁, then γ₂, the weights are (1 - γ₁)(1 - γ₂) of the first term, γ₁ (1 - γ₂) and γ₂.
    """
    left = 1.0
    for name in shares:
        share = setting[name]
        left = left * (1 - share)
    left_times_scale = left * scale
    mean = left_times_scale * first
    for place, name in enumerate(shares):
        weight = setting[name]
        later_shares = shares[place + 1 :]
        for later in later_shares:
            later_share = setting[later]
            weight = weight * (1 - later_share)
        weighted = weight * terms.weighted[name]
        mean = mean + weighted
    return mean


def _with_effect(effect: Effect, setting: Mapping[str, float]) -> list[str]:
    """Return the hyperparameters of a setting with an effect, in the order of the catalogue."""
    found = []
    for name, record in HYPERPARAMETERS.items():
        is_set = name in setting
        has_effect = isinstance(record, WeightedTerm) and record.effect == effect
        if is_set and has_effect:
            found.append(name)
    return found
