"""The loss of a training with a regularization weight for each region of the fixed image.

Regions k = 1, 2, … are unions of labels of the fixed image, region 0 is all else; λ_k is the
regularization of region k, λ_0 the ordinary one. With the data term D, the part R_k of the
regularizer that lies in region k, and ρ(λ) = λ / max(1 - λ, 0.05),

    L = δ · D + Σ_k ρ(λ_k) R_k,    δ = min(1, (1 - λ_least) / 0.05).

δ is 1 unless all λ_k are above 0.95. So λ_k does to the voxels of its region what an ordinary λ does
to all, and where all λ_k are equal this is `balanced_loss`: Σ_k R_k is the regularizer. Only beyond
0.95 is there a difference: a region whose λ_k is 1 cannot lose its data term alone, and has 20 times
the weight of it, as an ordinary λ of 0.952.

Worked example: two halves of an image with R_1 = R_0 = 1.5 and D = 2. At λ_0 = 0.5 and λ_1 = 0.75 the
weights are 1 and 3, and L = 2 + 1.5 + 4.5 = 8. At λ_0 = λ_1 = 0.5 it is 2 + 1.5 + 1.5 = 5, which is
the balanced loss (0.5 · 2 + 0.5 · 3) / 0.5.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hmopt.catalogue import REGULARIZATION, find_regularizer, region_of, regional_name
from hmopt.declaration import LossOptions
from hmopt.errors import DataError
from hmopt.losses.objective import SMALLEST_SHARE, RegisteredBatch, Terms, data_term, loss_terms
from hmopt.spatial.blending import coarsen

Regions = Mapping[str, tuple[int, ...]]
"""By region: its values in label maps."""


def region_shares(labels: Tensor, regions: Sequence[Sequence[int]], stride: int) -> Tensor:
    """Return the part of each voxel of a velocity that lies in each region, all else first.

    Parameters
    ----------
    labels
        (batch, *shape), whole numbers.
    regions
        Values in the map of each of k regions, none of them in two.
    stride
        Image voxels to a voxel of the velocity.

    Returns
    -------
    Tensor
        (batch, 1 + k, *shape / stride), float32; the parts of a voxel sum to 1.

    Examples
    --------
    >>> labels = torch.tensor([[[1, 1, 3, 0], [1, 2, 3, 0]]])
    >>> region_shares(labels, [[1], [2, 3]], stride=2)[0, :, 0]
    tensor([[0.0000, 0.5000],
            [0.7500, 0.0000],
            [0.2500, 0.5000]])
    """
    masks = []
    for values in regions:
        wanted = torch.as_tensor(values, device=labels.device)
        masks.append(torch.isin(labels, wanted))
    of_regions = torch.stack(masks, dim=1)
    elsewhere = ~of_regions.any(dim=1, keepdim=True)
    every = torch.cat([elsewhere, of_regions], dim=1)
    return coarsen(every.float(), stride)


def regularize_regions(
    velocity: Tensor,
    fixed_labels: Tensor | None,
    regions: Regions,
    options: LossOptions,
    spacing: Sequence[float] | None,
) -> dict[str, Tensor]:
    """Compute the part of the declared regularizer that lies in each region.

    Parameters
    ----------
    velocity
        (batch, d, *shape / stride), in voxels.
    fixed_labels
        Label maps of the fixed images, (batch, *shape).
    regions
        What the regions are.
    options
        `[loss]`.
    spacing
        Size of a voxel along each axis; None: equal sides.

    Returns
    -------
    dict
        By hyperparameter: R_0 of `regularization`, and R_k of `regularization_REGION`.

    Raises
    ------
    DataError
        If there are no label maps.
    DeclarationError
        If the regularizer cannot be divided among regions.

    Examples
    --------
    >>> from hmopt.spatial import identity_grid
    >>> labels = torch.tensor([0, 0, 5, 5]).expand(1, 4, 4)
    >>> regularize_regions(3 * identity_grid((4, 4)), labels, {"deep": (5,)}, LossOptions(), None)
    {'regularization': tensor(2.2500), 'regularization_deep': tensor(2.2500)}
    """
    if fixed_labels is None:
        raise DataError(
            "loss.regions",
            expected="label maps of the fixed images",
            got="none",
            advice="Train on images with label maps, or without regions.",
        )
    divide = find_regularizer(options.regularizer).load_by_region()
    stride = fixed_labels.shape[-1] // velocity.shape[-1]
    shares = region_shares(fixed_labels, list(regions.values()), stride)
    parts = divide(velocity=velocity, shares=shares.to(velocity.dtype), spacing=spacing)

    found = {REGULARIZATION: parts[0]}
    for region, part in zip(regions, parts[1:], strict=True):
        found[regional_name(region)] = part
    return found


def regional_terms(
    registered: RegisteredBatch, setting: Mapping[str, float], regions: Regions
) -> Terms:
    """Compute the terms of the loss of registered pairs, the regularizer divided among regions.

    Parameters
    ----------
    registered
        The pairs.
    setting
        Values by hyperparameter.
    regions
        What the regions are.

    Raises
    ------
    DataError
        If the pairs have no label maps.
    DeclarationError
        If a hyperparameter is not in the catalogue, or the regularizer cannot be divided.

    Examples
    --------
    >>> from hmopt.spatial import identity_grid
    >>> velocity = 3 * identity_grid((4, 4))
    >>> image, labels = torch.ones(1, 1, 4, 4), torch.tensor([0, 0, 5, 5]).expand(1, 4, 4)
    >>> registered = RegisteredBatch(
    ...     moving=image, fixed=image, moving_labels=labels, fixed_labels=labels, velocity=velocity,
    ...     displacement=velocity, spacing=None, options=LossOptions(similarity="mse"),
    ...     overlap_labels=(), scale=1.0,
    ... )
    >>> weights = {"regularization": 0.5, "regularization_deep": 0.7}
    >>> list(regional_terms(registered, weights, {"deep": (5,)}).weighted)
    ['regularization', 'regularization_deep']
    """
    further = {name: value for name, value in setting.items() if not _is_weight(name)}
    others = loss_terms(registered, further)
    parts = regularize_regions(
        registered.velocity,
        registered.fixed_labels,
        regions,
        registered.options,
        registered.spacing,
    )
    return Terms(dissimilarity=others.dissimilarity, weighted={**parts, **others.weighted})


def regional_loss(terms: Terms, setting: Mapping[str, float], scale: float) -> Tensor:
    """Compute the loss of a setting with a regularization weight for each region, as above.

    Parameters
    ----------
    terms
        As of `regional_terms`.
    setting
        Values by hyperparameter, as λ_0 by `regularization` and λ_k by `regularization_REGION`.
    scale
        What the dissimilarity is multiplied by.

    Returns
    -------
    Tensor
        A number.

    Examples
    --------
    The example of the module's text:

    >>> part = torch.tensor(1.5)
    >>> weighted = {"regularization": part, "regularization_deep": part}
    >>> terms = Terms(dissimilarity=torch.tensor(1.0), weighted=weighted)
    >>> regional_loss(terms, {"regularization": 0.5, "regularization_deep": 0.75}, scale=2.0)
    tensor(8.)
    """
    strengths = {name: value for name, value in setting.items() if _is_weight(name)}
    left_to_data = 1 - min(strengths.values())
    data_share = left_to_data / max(left_to_data, SMALLEST_SHARE)
    loss = data_share * data_term(terms, setting, scale)
    for name, strength in strengths.items():
        weight = strength / max(1 - strength, SMALLEST_SHARE)
        loss = loss + weight * terms.weighted[name]
    return loss


def _is_weight(name: str) -> bool:
    return name == REGULARIZATION or region_of(name) is not None
