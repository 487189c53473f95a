"""The state from which an interrupted training continues."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn

from hmopt.errors import CheckpointError
from hmopt.files import checked, one_line, replacing
from hmopt.model_file import read_tensors, sealed

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
WHAT, ADVICE = "a state of training", "Delete the file to begin anew."


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


class _Progress(BaseModel):
    """How far a training has come, as its file tells it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: Annotated[int, Field(ge=1, strict=True)]
    minutes: Annotated[float, Field(ge=0, strict=True)]
    scale: Annotated[float, Field(gt=0, strict=True)]


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
    tensors |= {
        f"averages/{name}": tensor
        for name, tensor in zip(module.state_dict(), averages, strict=True)
    }
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": moments[name] for name in MOMENTS}
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(vars(progress)), "key": key}
    with replacing(path) as beside:
        save_file(
            kept, beside, sealed(metadata, {name: tensor.numpy() for name, tensor in kept.items()})
        )


def load_state(
    path: Path,
    module: nn.Module,
    averages: list[Tensor],
    optimizer: torch.optim.Optimizer,
    key: str,
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
    metadata, arrays = read_tensors(path, WHAT, ADVICE)
    if metadata.get("key") != key:
        raise CheckpointError(
            str(path),
            expected="a state of the declared training",
            got="one of another declaration or cohort",
            advice="Restore the declaration to continue it, or delete the file to begin anew.",
        )
    progress = _read_progress(path, metadata.get("progress", "{}"))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _check_tensors(path, tensors, module, optimizer, progress)
    _restore(tensors, module, averages, optimizer)
    return progress


def _read_progress(path: Path, text: str) -> Progress:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            str(path), expected=WHAT, got=one_line(error), advice=ADVICE
        ) from error
    found = checked(
        content, _Progress, field=str(path), error=CheckpointError, what=WHAT, advice=ADVICE
    )
    return Progress(step=found.step, minutes=found.minutes, scale=found.scale)


def _check_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Refuse a state that lacks a tensor, has one of another shape or type, or took another number of steps."""
    wanted = {
        f"{kind}/{name}": tensor
        for name, tensor in module.state_dict().items()
        for kind in ("weights", "averages")
    }
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, parameter in enumerate(parameters):
        wanted |= {f"optimizer/{place}/{name}": parameter for name in ("exp_avg", "exp_avg_sq")}
        wanted[f"optimizer/{place}/step"] = torch.tensor(float(progress.step))
    for name, like in wanted.items():
        if name not in tensors:
            raise CheckpointError(str(path), expected=WHAT, got=f"no {name}", advice=ADVICE)
        found = tensors[name]
        if found.shape != like.shape or found.dtype != like.dtype:
            got = f"{name} of shape {list(found.shape)} as {found.dtype}"
            raise CheckpointError(str(path), expected=WHAT, got=got, advice=ADVICE)
        if name.endswith("/step") and not torch.equal(found, like):
            got = f"{progress.step} steps beside {found.item():g} of the optimizer"
            raise CheckpointError(str(path), expected=WHAT, got=got, advice=ADVICE)


def _restore(
    tensors: dict[str, Tensor],
    module: nn.Module,
    averages: list[Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    names = list(module.state_dict())
    module.load_state_dict({name: tensors[f"weights/{name}"] for name in names})
    for average, name in zip(averages, names, strict=True):
        average.copy_(tensors[f"averages/{name}"])
    state = optimizer.state_dict()
    count = sum(len(group["params"]) for group in state["param_groups"])
    moments = {
        i: {name: tensors[f"optimizer/{i}/{name}"] for name in MOMENTS} for i in range(count)
    }
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
