"""What a training writes while it runs: the state that it is resumed from, and its log."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from hmopt.catalogue import weighted_terms
from hmopt.errors import CheckpointError
from hmopt.files import append, checked, one_line, replacing, sync
from hmopt.model_file import check_weights, read_tensors, sealed
from hmopt.networks import unshared
from hmopt.schemas import Record
from hmopt.space import Space
from hmopt.study_folder import log_of_model, times_of_log

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What Adam keeps of each parameter."""
KINDS = ("weights", "averages", "optimizer")
"""What the names of tensors in its file begin with."""
WHAT = "a state of training"
ADVICE = "Delete the file to start again."

COLUMNS = (
    "step",
    "learning_rate",
    "loss",
    "similarity",
    "regularization_term",
    "overlap",
    "tune_dice",
)
"""Columns of the log, before one for each hyperparameter."""
TIMES = ("step", "minutes")
"""Columns of the file beside it, which differs from run to run."""


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
    >>> Progress(step=99, minutes=0.5, scale=1.0).after_step(minutes=0.6)
    Progress(step=100, minutes=0.6, scale=1.0)
    """

    step: int
    minutes: float
    scale: float

    def after_step(self, minutes: float) -> "Progress":
        """Return the progress one step later."""
        done = self.step + 1
        return replace(self, step=done, minutes=minutes)


class _Progress(Record):
    """How far a training has come, as its file tells it."""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[int, Field(ge=1, strict=True)]
    minutes: Annotated[float, Field(ge=0, strict=True)]
    scale: Annotated[float, Field(gt=0, strict=True)]


def save_state(
    path: Path,
    progress: Progress,
    module: nn.Module,
    average: AveragedModel,
    optimizer: Optimizer,
    key: str,
) -> None:
    """Write everything that a training is resumed from.

    The file holds `weights/NAME` and `averages/NAME` of each tensor of the module, and
    `optimizer/INDEX/MOMENT` of each parameter. The learning rate follows from the step.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    progress
        How far the training has come.
    module
        What is trained.
    average
        Running average of its weights.
    optimizer
        Adam, which has taken a step.
    key
        Hash of the declaration that the state is under.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.training.optimization import make_average
    >>> path = Path(tempfile.mkdtemp()) / "state.safetensors"
    >>> layer = nn.Linear(2, 1)
    >>> average = make_average(layer, decay=0.9)
    >>> optimizer = torch.optim.Adam(layer.parameters())
    >>> layer(torch.ones(2)).sum().backward()
    >>> optimizer.step()
    >>> progress = Progress(step=1, minutes=0.1, scale=1.0)
    >>> save_state(path, progress, layer, average, optimizer, key="a declaration")
    >>> load_state(path, layer, average, optimizer, key="a declaration").step
    1
    """
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensors[f"weights/{name}"] = tensor
    for name, tensor in average.module.state_dict().items():
        tensors[f"averages/{name}"] = tensor
    for index, moments in optimizer.state_dict()["state"].items():
        for name in MOMENTS:
            tensors[f"optimizer/{index}/{name}"] = moments[name]

    arrays = {}
    for name, tensor in tensors.items():
        tensors[name] = tensor.detach().cpu().contiguous()
        arrays[name] = tensors[name].numpy()

    metadata = {"key": key}
    metadata["progress"] = json.dumps(vars(progress))
    with replacing(path) as beside:
        save_file(unshared(tensors), beside, sealed(metadata, arrays))


def load_state(
    path: Path,
    module: nn.Module,
    average: AveragedModel,
    optimizer: Optimizer,
    key: str,
) -> Progress | None:
    """Restore what `save_state` wrote into a module, an average and an optimizer.

    Parameters
    ----------
    path, module, average, optimizer, key
        Like those that `save_state` was called with.

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
    >>> from hmopt.training.optimization import make_average
    >>> layer = nn.Linear(2, 1)
    >>> average = make_average(layer, decay=0.9)
    >>> optimizer = torch.optim.Adam(layer.parameters())
    >>> load_state(Path("nowhere/state.safetensors"), layer, average, optimizer, "key") is None
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
            advice="Restore the declaration to resume it, or delete the file to start again.",
        )
    progress = _read_progress(path, metadata.get("progress", "{}"))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _check_tensors(path, tensors, module, optimizer, progress)

    names = list(module.state_dict())
    module.load_state_dict(_under("weights", names, tensors))
    average.module.load_state_dict(_under("averages", names, tensors))
    average.n_averaged.fill_(1 + progress.step)  # the first weights, and those after each step

    moments = {}
    for index in range(len(_parameters(optimizer))):
        moments[index] = _under(f"optimizer/{index}", MOMENTS, tensors)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return progress


def remove_state(path: Path, key: str) -> None:
    """Remove the state of a training whose model is there: of one that was killed right before doing so.

    Parameters
    ----------
    path
        The state. One of another training stays.
    key
        Hash of the declaration that the model was trained under.
    """
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="np") as file:
            known = (file.metadata() or {}).get("key")
    except (SafetensorError, OSError):
        return
    if known == key:
        path.unlink(missing_ok=True)


def check_state(path: Path) -> Progress:
    """Check that a state of training is what was written, and return how far the training had come.

    Whether it is of the declared training is seen when it is loaded.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    metadata, arrays = read_tensors(path, WHAT, ADVICE)
    progress = _read_progress(path, metadata.get("progress", "{}"))
    kinds: dict[str, dict[str, object]] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        kinds.setdefault(kind, {})[rest] = (array.shape, array.dtype)
    weights = kinds.get("weights", {})
    if not weights or weights != kinds.get("averages") or set(kinds) - set(KINDS):
        got = "not an average of each tensor, in its shape and type"
        raise CheckpointError(str(path), expected=WHAT, got=got, advice=ADVICE)
    # a network of the user may have buffers of other types
    single = {name: array for name, array in arrays.items() if array.dtype == np.float32}
    numbers = {name: array for name, array in single.items() if not name.endswith("/step")}
    check_weights(path, numbers, WHAT)
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
    tensors: Mapping[str, Tensor],
    module: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
) -> None:
    """Check that a state has every tensor, in its shape and type, after as many steps."""
    for name, like in _expected_tensors(module, optimizer, progress).items():
        if name not in tensors:
            raise CheckpointError(str(path), expected=WHAT, got=f"no {name}", advice=ADVICE)
        found = tensors[name]
        same_kind = found.shape == like.shape and found.dtype == like.dtype
        if not same_kind:
            shape = list(found.shape)
            got = f"{name} of shape {shape} as {found.dtype}"
            raise CheckpointError(str(path), expected=WHAT, got=got, advice=ADVICE)
        if name.endswith("/step") and not torch.equal(found, like):
            got = f"{progress.step} steps beside {found.item():g} of the optimizer"
            raise CheckpointError(str(path), expected=WHAT, got=got, advice=ADVICE)


def _expected_tensors(
    module: nn.Module, optimizer: Optimizer, progress: Progress
) -> dict[str, Tensor]:
    """Return the names of a state's tensors, with a tensor of the shape and type of each."""
    expected = {}
    weights = module.state_dict()
    for name, tensor in weights.items():
        expected[f"weights/{name}"] = tensor
        expected[f"averages/{name}"] = tensor

    steps = torch.tensor(progress.step, dtype=torch.float32)
    parameters = _parameters(optimizer)
    for index, parameter in enumerate(parameters):
        expected[f"optimizer/{index}/exp_avg"] = parameter
        expected[f"optimizer/{index}/exp_avg_sq"] = parameter
        expected[f"optimizer/{index}/step"] = steps
    return expected


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    parameters: list[Tensor] = []
    for group in optimizer.param_groups:
        parameters.extend(group["params"])
    return parameters


def _under(prefix: str, names: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of some names, each of which has a prefix in the file."""
    chosen = {}
    for name in names:
        key = f"{prefix}/{name}"
        chosen[name] = tensors[key]
    return chosen


class Log:
    """`training.csv`: what a training did, a row every few steps; and `training-times.csv`, when it did.

    Rows after the step that a training is resumed from are dropped.

    Parameters
    ----------
    path
        The file.
    space
        Its hyperparameters get a column each, `setting_NAME`.
    step
        Steps done; 0 begins a new file.

    Raises
    ------
    CheckpointError
        If the rows of a resumed training cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.space import Hyperparameter
    >>> path = Path(tempfile.mkdtemp()) / "training.csv"
    >>> log = Log(path, Space(hyperparameters=(Hyperparameter(name="regularization"),)), step=0)
    >>> log.write({"step": 1, "loss": 0.5, "setting_regularization": 0.25}, minutes=0.1)
    >>> path.read_text().splitlines()[1]
    '1,,0.5,,,,,0.25'
    >>> log.times_path.read_text().splitlines()
    ['step,minutes', '1,0.1']
    """

    def __init__(self, path: Path, space: Space, step: int) -> None:
        self.path = path
        self.times_path = times_of_log(path)
        terms = [record.term_column for record in weighted_terms(space.names)]
        settings = [f"setting_{name}" for name in space.names]
        self.columns = list(dict.fromkeys([*COLUMNS, *terms, *settings]))
        kept = _rows_until(path, step) if step else []
        times = _times_until(path, step) if step else []
        _begin(path, self.columns, kept)
        _begin(self.times_path, TIMES, times)

    def write(self, row: Mapping[str, float], minutes: float) -> None:
        """Append one row, and the minutes until then; columns that it lacks stay empty."""
        append(self.path, _line(self.columns, row))
        append(self.times_path, _line(TIMES, {"step": row["step"], "minutes": minutes}))

    def sync(self) -> None:
        """Have the rows written to the disk, before a state is that is resumed after them."""
        for path in (self.path, self.times_path):
            if path.is_file():
                sync(path)


def _begin(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table that is appended to; what rows have in other columns is left out."""
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _line(columns: Sequence[str], row: Mapping[str, float]) -> str:
    """Return a row of a table as text."""
    texts = {}
    for name, value in row.items():
        if isinstance(value, int):
            texts[name] = str(value)
        else:
            texts[name] = f"{value:.6g}"
    line = io.StringIO()
    csv.DictWriter(line, columns, lineterminator="\n").writerow(texts)
    return line.getvalue()


def logged_progress(path: Path) -> tuple[int, float]:
    """Return the steps done in the last row of a log, and the minutes taken; zeros where they are not known.

    Raises
    ------
    CheckpointError
        If its rows cannot be read.

    Examples
    --------
    >>> logged_progress(Path("nowhere/training.csv"))
    (0, 0.0)
    """
    rows = _rows_until(path, sys.maxsize)
    if not rows:
        return 0, 0.0
    steps = int(rows[-1]["step"])
    return steps, _last_minutes(_times_until(path, steps))


def minutes_of_model(path: Path, header: Mapping[str, Any]) -> float:
    """Return how long a model was trained, over all times that it was resumed; 0 where it is not known.

    Parameters
    ----------
    path
        Its file, beside the times of its training.
    header
        Its header; one of an earlier version tells the minutes itself.

    Raises
    ------
    CheckpointError
        If the times cannot be read.
    """
    if "minutes" in header:
        return float(header["minutes"])
    log = log_of_model(path)
    return _last_minutes(_times_until(log, int(header.get("steps", sys.maxsize))))


def _last_minutes(rows: Sequence[Mapping[str, str]]) -> float:
    return float(rows[-1]["minutes"] or 0) if rows else 0.0


def _times_until(log: Path, step: int) -> list[dict[str, str]]:
    """Read the times of a log up to a step; those of an earlier version stand in the log itself."""
    beside = times_of_log(log)
    path = beside if beside.is_file() else log
    rows = _rows_until(path, step)
    return [row for row in rows if row.get("minutes")]


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Read the rows of a log up to a step; the last one may have been cut short."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows and not rows[-1].get("step", "").isdecimal():
            del rows[-1]
        whole = [row for row in rows if None not in row.values()]
        return [row for row in whole if int(row["step"]) <= step]
    except (csv.Error, ValueError, KeyError) as error:
        raise CheckpointError(
            str(path),
            expected="the log of a training, with a whole number of steps in each row",
            got=one_line(error),
            advice="Delete the file; the training resumes from its state and continues the log from there.",
        ) from error
