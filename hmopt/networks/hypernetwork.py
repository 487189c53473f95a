"""The hypernetwork: from a setting to the weights of any module."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class Hypernetwork(nn.Module):
    """Predict all weights θ of a module from a setting.

    The setting enters as the places t of its n values along their ranges.

        z = encode(t)                                     (2 n,)       t in [0, 1]^n
        h = relu(A_k … relu(A_1 z + b_1) … + b_k)         (width,)     trunk
        θ = base + H h                                    (weights,)   heads

    `base` starts as the module's own weights; H, which has no bias, adds what depends on the
    setting. Rows of H that add to a tensor of standard deviation s are drawn from N(0, (c s)² /
    width), c being `spread`. What is learned, ω, is `base`, all A and b, and H.

    Parameters
    ----------
    module
        The module whose weights are predicted; it is read, not kept.
    hyperparameters
        n, the number of values of a setting.
    widths
        Outputs of each dense layer of the trunk.
    names
        The parameters to predict; None: all that learn.
    spread
        c.

    References
    ----------
    Ha et al., ICLR 2017; Hoopes et al., MELBA 2022, section 3.1; Ortiz et al., ICLR 2024,
    equations 4 (the encoding) and 6 (base weights).

    Examples
    --------
    >>> layer = nn.Linear(3, 2)
    >>> weights = Hypernetwork(layer, hyperparameters=1, widths=[8])(torch.tensor([0.5]))
    >>> {name: tuple(tensor.shape) for name, tensor in weights.items()}
    {'weight': (2, 3), 'bias': (2,)}
    """

    def __init__(
        self,
        module: nn.Module,
        hyperparameters: int,
        widths: Sequence[int],
        names: Sequence[str] | None = None,
        spread: float = 0.5,
    ) -> None:
        super().__init__()
        # θ is one vector: all tensors of the module, flattened, in the order of `shapes`
        self.shapes: dict[str, torch.Size] = {}
        tensors = []
        for name, tensor in module.named_parameters():
            is_left = not tensor.requires_grad if names is None else name not in names
            if is_left:
                continue
            self.shapes[name] = tensor.shape
            tensors.append(tensor.detach())

        flat = [tensor.flatten() for tensor in tensors]
        base = torch.cat(flat)
        self.base = nn.Parameter(base)

        self.trunk = nn.ModuleList()
        sizes = [2 * hyperparameters, *widths]
        for inputs, outputs in pairwise(sizes):
            layer = nn.Linear(inputs, outputs)
            self.trunk.append(layer)

        self.heads = Heads(sizes[-1], len(base))
        self._scale_heads(tensors, spread)

    def _scale_heads(self, tensors: list[Tensor], share: float) -> None:
        """Draw H: each row from N(0, (share s)² / width), s the spread of the tensor it adds to."""
        spreads = []
        for tensor in tensors:
            spread = tensor.std(correction=0)
            rows = tensor.numel()
            spreads.append(spread.expand(rows, 1))
        # (weights, 1)
        spread_of_row = torch.cat(spreads)
        width = self.heads.in_features
        # drawn as those of a dense layer of torch, so that seeds give the models that they gave before
        layer = nn.Linear(width, len(spread_of_row), bias=False)
        with torch.no_grad():
            layer.weight.normal_(std=1 / math.sqrt(width))
            layer.weight.mul_(share * spread_of_row)
            self.heads.transposed.copy_(layer.weight.t())

    def forward(self, places: Tensor) -> dict[str, Tensor]:
        """Predict the module's weights.

        Parameters
        ----------
        places
            (hyperparameters,), where each value of a setting lies along its range, in [0, 1]; or
            those of k settings, (k, hyperparameters).

        Returns
        -------
        dict
            θ: the module's tensors by name, in their shapes; of k settings, stacked along a first axis.
        """
        hidden = encode(places)
        for layer in self.trunk:
            hidden = torch.relu(layer(hidden))
        # (weights,), or of several settings (k, weights)
        flat = self.base + self.heads(hidden)

        weights = {}
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = flat.split(sizes, dim=-1)
        settings = places.shape[:-1]
        named = zip(self.shapes.items(), parts, strict=True)
        for (name, shape), part in named:
            weights[name] = part.view(*settings, *shape)
        return weights


class Heads(nn.Module):
    """The last dense layer, h ↦ H h, which has by far the most weights.

    H is kept transposed, an order in which the gradients of a few settings take half the time; state
    dictionaries, and so files, have it as `nn.Linear` has it, (weights, width).

    Parameters
    ----------
    in_features
        Units of the trunk's last layer, the width.
    out_features
        Weights that are predicted.

    Examples
    --------
    >>> heads = Heads(8, 100)
    >>> heads.transposed.shape, heads.state_dict()["weight"].shape
    (torch.Size([8, 100]), torch.Size([100, 8]))
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.transposed = nn.Parameter(torch.zeros(in_features, out_features))

    @property
    def weight(self) -> Tensor:
        """H, (weights, width), in the memory of the parameter."""
        return self.transposed.t()

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute (…, weights) of (…, width)."""
        return hidden @ self.transposed

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        # a copy in its order, which files of tensors ask for
        weight = self.weight if keep_vars else self.weight.detach().contiguous()
        destination[f"{prefix}weight"] = weight

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        name = f"{prefix}weight"
        if name in state_dict:
            state_dict[f"{prefix}transposed"] = state_dict.pop(name).t()
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def encode(places: Tensor) -> Tensor:
    """Encode each place t in [0, 1] as the point (cos πt/2, sin πt/2) of the unit circle.

    λ = 0 (no regularization) is the point (1, 0), λ = 1 (nothing else) the point (0, 1). The length
    of the encoding, and with it the size of gradients, is the same for every setting. With t itself
    as input, as in the first hypermorphs, t = 0 would pass no gradient to the first layer's
    weights.

    Parameters
    ----------
    places
        (…, n).

    Returns
    -------
    Tensor
        (…, 2 n): n cosines, then n sines.

    References
    ----------
    Ortiz et al., ICLR 2024, equation 4.

    Examples
    --------
    >>> encode(torch.tensor([0.0, 1.0])).round(decimals=6).abs()
    tensor([1., 0., 0., 1.])
    """
    angle = places * (math.pi / 2)
    cosine = angle.cos()
    sine = angle.sin()
    return torch.cat([cosine, sine], dim=-1)


def hypernetwork_operations(hypernetwork: Hypernetwork) -> int:
    """Count the floating-point operations of a hypernetwork's dense layers for one setting.

    A multiplication and an addition count as two; gradients are not counted.

    Examples
    --------
    >>> hypernetwork_operations(Hypernetwork(nn.Linear(3, 2), hyperparameters=1, widths=[8]))
    160
    """
    layers = [*hypernetwork.trunk, hypernetwork.heads]
    weights = 0
    for layer in layers:
        weights += layer.in_features * layer.out_features
    return 2 * weights
