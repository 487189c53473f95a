"""From NumPy arrays of prepared images to tensors, of one shape and type everywhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def image_tensor(images: Sequence[NDArray[np.floating]]) -> Tensor:
    """Return images as one tensor on the processor.

    Parameters
    ----------
    images
        n arrays of one shape.

    Returns
    -------
    Tensor
        (n, 1, *shape), float32.

    Examples
    --------
    >>> image_tensor([np.zeros((4, 6)), np.ones((4, 6))]).shape
    torch.Size([2, 1, 4, 6])
    """
    # stacked by numpy: threads that torch starts would take their processors from those that
    # compute
    stacked = np.stack(images).astype(np.float32, copy=False)
    return torch.from_numpy(stacked)[:, None]


def label_tensor(label_maps: Sequence[NDArray[Any]]) -> Tensor:
    """Return label maps as one tensor on the processor.

    Parameters
    ----------
    label_maps
        n arrays of one shape.

    Returns
    -------
    Tensor
        (n, *shape), int32.

    Examples
    --------
    >>> label_tensor([np.ones((4, 6), np.uint8)]).dtype
    torch.int32
    """
    stacked = np.stack(label_maps).astype(np.int32)
    return torch.from_numpy(stacked)
