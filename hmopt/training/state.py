"""The state from which an interrupted training continues."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hmopt.errors import CheckpointError
from hmopt.files import replacing

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come.

    Parameters
    ----------
    step
        Optimizer steps done.
    minutes
        Time they took.
    scale
        The loss scale in use.

    Examples
    --------
    >>> Progress(step=100, minutes=0.5, scale=1.0).step
    100
    """

    step: int
    minutes: float
    scale: float


def save_state(
    path: Path,
    progress: Progress,
    module: nn.Module,
    averages: list[Tensor],
    optimizer: torch.optim.Optimizer,
    key: str,
) -> None:
    """Write everything that a training continues from.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    progress
        How far the training has come.
    module
        What is trained.
    averages
        Running averages of the module's tensors, in their order.
    optimizer
        Adam, which has taken a step.
    key
        Stands for the declaration that the state is under.

    Examples
    --------
    >>> import tempfile
    >>> path, layer = Path(tempfile.mkdtemp()) / "state.safetensors", nn.Linear(2, 1)
    >>> averages, optimizer = [torch.zeros(1, 2), torch.zeros(1)], torch.optim.Adam(layer.parameters())
    >>> layer(torch.ones(2)).sum().backward()
    >>> optimizer.step()
    >>> save_state(path, Progress(step=1, minutes=0.1, scale=1.0), layer, averages, optimizer, key="a declaration")
    >>> load_state(path, layer, averages, optimizer, key="a declaration").step
    1
    """
    tensors = {f"weights/{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"averages/{name}": tensor for name, tensor in zip(module.state_dict(), averages, strict=True)}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": moments[name] for name in MOMENTS}
    metadata = {"progress": json.dumps(vars(progress)), "key": key}
    with replacing(path) as beside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata)


def load_state(
    path: Path, module: nn.Module, averages: list[Tensor], optimizer: torch.optim.Optimizer, key: str
) -> Progress | None:
    """Restore what `save_state` wrote into a module, averages and an optimizer like those it was called with.

    Parameters
    ----------
    path, module, averages, optimizer, key
        As for `save_state`.

    Returns
    -------
    Progress or None
        How far the training had come; None, and nothing restored, if there is no such file.

    Raises
    ------
    CheckpointError
        If the file is damaged, or was written under another declaration.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> load_state(Path("nowhere/state.safetensors"), layer, [], torch.optim.Adam(layer.parameters()), "a key") is None
    True
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            str(path), expected="a state of training", got=str(error), advice="Delete the file to begin anew."
        ) from error
    if metadata.get("key") != key:
        raise CheckpointError(
            str(path),
            expected="a state of the declared training",
            got="one of another declaration or cohort",
            advice="Restore the declaration to continue it, or delete the file to begin anew.",
        )
    _restore(tensors, module, averages, optimizer)
    return Progress(**json.loads(metadata["progress"]))


def _restore(
    tensors: dict[str, Tensor], module: nn.Module, averages: list[Tensor], optimizer: torch.optim.Optimizer
) -> None:
    names = list(module.state_dict())
    module.load_state_dict({name: tensors[f"weights/{name}"] for name in names})
    for average, name in zip(averages, names, strict=True):
        average.copy_(tensors[f"averages/{name}"])
    state = optimizer.state_dict()
    count = sum(len(group["params"]) for group in state["param_groups"])
    moments = {i: {name: tensors[f"optimizer/{i}/{name}"] for name in MOMENTS} for i in range(count)}
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
