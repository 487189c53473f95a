"""The hypernetwork: from a setting to the weights of any module."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Hypernetwork(nn.Module):
    """Predicts every weight of a module from a setting: base weights plus what the setting adds.

    Each hyperparameter enters as a point on the unit circle, so that the size of the input, and with it the size of
    gradients, does not depend on the setting; what the dense layers give is added to base weights that start as the
    module's own.

    Parameters
    ----------
    module
        The module whose weights are predicted; it is read, not kept.
    hyperparameters
        How many values a setting has.
    units
        Width of each dense layer.

    References
    ----------
    Ha et al., ICLR 2017; Hoopes et al., MELBA 2022, section 3.1; Ortiz et al., ICLR 2024, equations 4 and 6.

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> weights = Hypernetwork(layer, hyperparameters=1, units=[8])(torch.tensor([0.5]))
    >>> {name: tuple(tensor.shape) for name, tensor in weights.items()}
    {'weight': (2, 3), 'bias': (2,)}
    """

    def __init__(self, module: nn.Module, hyperparameters: int, units: Sequence[int]) -> None:
        super().__init__()
        named = dict(module.named_parameters())
        self.names = tuple(named)
        self.shapes = tuple(tensor.shape for tensor in named.values())
        self.sizes = [tensor.numel() for tensor in named.values()]
        self.base = nn.Parameter(
            torch.cat([tensor.detach().flatten() for tensor in named.values()])
        )
        widths = [2 * hyperparameters, *units]
        self.trunk = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.heads = nn.Linear(widths[-1], sum(self.sizes), bias=False)
        self._scale_heads(list(named.values()))

    def _scale_heads(self, tensors: list[Tensor]) -> None:
        spread = torch.cat([t.detach().std(correction=0).expand(t.numel()) for t in tensors])
        with torch.no_grad():
            self.heads.weight.normal_(std=1 / math.sqrt(self.heads.in_features)).mul_(
                0.5 * spread[:, None]
            )

    def forward(self, units: Tensor) -> dict[str, Tensor]:
        """Give the weights by name at a setting's places (hyperparameters,) along the ranges, each in [0, 1]."""
        angle = units * (math.pi / 2)
        hidden = torch.cat([angle.cos(), angle.sin()])
        for layer in self.trunk:
            hidden = torch.relu(layer(hidden))
        flat = self.base + self.heads(hidden)
        parts = flat.split(self.sizes)
        return {
            name: part.view(shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
