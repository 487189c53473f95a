"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from hmopt import catalogue
from hmopt.declaration import LossOptions

ImageLoss = Callable[[Tensor, Tensor], Tensor]
"""A function of moved and fixed images, (batch, 1, *shape), that returns a number."""


def mean_squared_error(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute the mean squared difference of two images.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape).

    Returns
    -------
    Tensor
        A number >= 0.

    Examples
    --------
    >>> import torch
    >>> mean_squared_error(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0))
    tensor(4.)
    """
    return (moved - fixed).square().mean()


def mutual_information(moved: Tensor, fixed: Tensor, bins: int = 32) -> Tensor:
    """Compute minus the global mutual information of two images in [0, 1], by Gaussian Parzen windows.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), in [0, 1]; what lies outside counts as the end point.
    bins
        Of each image's histogram.

    Returns
    -------
    Tensor
        A number in nats: about 0 for independent images, the further below 0 the more one tells
        about the other.

    References
    ----------
    Guo, MIT thesis 2019, "Multi-modal image registration with unsupervised deep learning", section 3.2.

    Examples
    --------
    >>> import torch
    >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> bool(mutual_information(image, image) < mutual_information(image, image.flip(2)))
    True
    """
    from monai.losses.image_dissimilarity import GlobalMutualInformationLoss

    loss: Tensor = GlobalMutualInformationLoss(num_bins=bins)(moved, fixed)
    return loss


def find_similarity(options: LossOptions) -> ImageLoss:
    """Return the declared similarity loss, a function of the moved and the fixed image.

    Keys of `[loss]` that its arguments are named after, as `window`, are filled in.

    Raises
    ------
    DeclarationError
        If it is not in the catalogue.

    Examples
    --------
    >>> find_similarity(LossOptions(similarity="mse")).__name__
    'mean_squared_error'
    >>> find_similarity(LossOptions(similarity="lncc", window=5)).keywords
    {'window': 5}
    """
    record = catalogue.find_similarity(options.similarity)
    loss: ImageLoss = record.load()
    declared = {
        name: getattr(options, name)
        for name in record.parameters
        if name in type(options).model_fields
    }
    return partial(loss, **declared) if declared else loss
