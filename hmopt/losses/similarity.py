"""How badly a moved image matches a fixed one: 0 is a perfect match, larger is worse."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from hmopt.declaration import LossOptions
from hmopt.losses.correlation import local_cross_correlation

ImageLoss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(moved: Tensor, fixed: Tensor) -> Tensor:
    """Give the mean squared difference of two images.

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
    """Give minus the global mutual information of two images in [0, 1], by Gaussian Parzen windows.

    Parameters
    ----------
    moved, fixed
        (batch, 1, *shape), in [0, 1]; what lies outside counts as the end point.
    bins
        Of each image's histogram.

    Returns
    -------
    Tensor
        A number in nats: about 0 for images that tell nothing of each other, the further below 0 the more they tell.

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


def find_similarity(section: LossOptions) -> ImageLoss:
    """Give the declared similarity loss, a function of the moved and the fixed image.

    Examples
    --------
    >>> find_similarity(LossOptions(similarity="mse")).__name__
    'mean_squared_error'
    """
    losses: dict[str, ImageLoss] = {
        "mse": mean_squared_error,
        "lncc": partial(local_cross_correlation, window=section.window),
        "mutual_information": mutual_information,
    }
    return losses[section.similarity]
