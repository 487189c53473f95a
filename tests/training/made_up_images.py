"""Pairs of images that can be registered, made from a seed."""

import numpy as np
import torch
from torch import Tensor


def blobs(shape: tuple[int, ...], count: int = 3) -> tuple[Tensor, Tensor]:
    """Moving and fixed images (count, 1, *shape) of one soft blob each, somewhere."""
    generator = np.random.default_rng(0)
    images = []
    for _ in range(2 * count):
        middle = np.array(shape) / 2 + generator.normal(0, 1, len(shape))
        place = middle.reshape(-1, *[1] * len(shape))
        distance = np.linalg.norm(np.indices(shape) - place, axis=0)
        images.append(np.exp(-((distance / 4) ** 2)).astype(np.float32))
    stacked = torch.from_numpy(np.stack(images)).unsqueeze(1)
    return stacked[:count], stacked[count:]
