"""`hmopt.train`: from a declared study to a trained hypermorph."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import Study
from hmopt.errors import DeclarationError
from hmopt.files import one_line
from hmopt.networks import read_header
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.training.group import ALONE, Group, check_divisible
from hmopt.training.identity import is_trained
from hmopt.training.state import minutes_of_model
from hmopt.training.train import help_train, only_training
from hmopt.training.train import train as train_model
from hmopt.workflow.checks import check_cohort, check_declared, check_manifest
from hmopt.workflow.machine import find_devices, keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained hypermorph.

    Parameters
    ----------
    model
        The file of its weights.
    steps
        Optimizer steps of its training.
    minutes
        Duration of its training, over all times that it was resumed.
    device
        Where it was trained, as it was recorded.
    """

    model: Path
    steps: int
    minutes: float
    device: str

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"Trained: {self.model}"


@dataclass(frozen=True, kw_only=True)
class NothingToTrain:
    """The outcome of training a study whose model comes from elsewhere.

    Parameters
    ----------
    source
        Where it comes from, as `[model]` declares it.
    """

    source: str

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"Nothing to train: model.source is {self.source}. Next: hmopt search."


def train(
    folder: Path | str,
    *,
    track: Track = silent,
    device: str | None = None,
    devices: int = 1,
) -> Trained | NothingToTrain:
    """Train the hypermorph of a study: prepare its images where they are not prepared yet, then optimize.

    An interrupted training is resumed, a finished one is reused.

    Parameters
    ----------
    folder
        The study folder, with `study.toml`.
    track
        Shows progress.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.
    devices
        How many devices of a kind, `cpu` or `cuda`, share the pairs of each step. More than one need a
        process each: in a script, call this below `if __name__ == "__main__":`.

    Returns
    -------
    Trained
        The model's file and facts of its training.
    NothingToTrain
        If the declared model comes from elsewhere.

    Raises
    ------
    DeclarationError
        If `study.toml` is not there, breaks a rule, a device is not available, or the pairs of a step
        cannot be divided among the devices.
    DataError
        If an image, a label map or the manifest cannot be used, or the loss ceases to be finite.
    CheckpointError
        If the folder holds a model of another declaration or cohort.

    Examples
    --------
    After `hmopt.new`:

    >>> import hmopt
    >>> trained = hmopt.train("studies/mine", device="cpu")  # doctest: +SKIP
    >>> trained.model.as_posix(), trained.steps  # doctest: +SKIP
    ('studies/mine/model.safetensors', 6000)
    """
    files = StudyFolder(folder)
    with files.command("hmopt train"):
        return train_study(files, track, device, devices)


def train_study(
    files: StudyFolder, track: Track, device: str | None, devices: int = 1
) -> Trained | NothingToTrain:
    """Train as `train` does, as a part of a longer command."""
    keep_freed_memory()
    study = files.study
    if study.model.source != "trained":
        return NothingToTrain(source=study.model.source)
    check_declared(study)
    names = find_devices(device, devices)
    check_divisible(study.training, len(names))
    check_manifest(study)
    join = _joined_by_fabric(files.path, names)
    cohort = prepare(study, files.path, track)
    check_cohort(study, cohort)
    if len(names) == 1 or is_trained(study, cohort, files.path):
        path = train_model(study, cohort, files.path, track, names[0])
    else:
        path = _train_together(study, cohort, files.path, track, names, join)
    header = read_header(path)
    return Trained(
        model=path,
        steps=study.training.steps,
        minutes=minutes_of_model(path, header),
        device=str(header.get("device", "unknown")),
    )


Join = Callable[[], AbstractContextManager[Group]]
"""Starts the other processes of a training, and ends them."""


def _train_together(
    study: Study,
    cohort: PreparedCohort,
    folder: Path,
    track: Track,
    names: Sequence[str],
    join: Join,
) -> Path:
    """Train on several devices, once no other command trains the model."""
    with only_training(folder, track):
        if is_trained(study, cohort, folder):  # by another command, meanwhile
            join = _alone
        with join() as group:
            return train_model(study, cohort, folder, track, names[0], group)


def _alone() -> AbstractContextManager[Group]:
    return nullcontext(ALONE)


def _joined_by_fabric(folder: Path, devices: Sequence[str]) -> Join:
    """Return what starts a process for each further device, or refuse where its package is not there."""
    if len(devices) == 1:
        return _alone
    try:
        from hmopt.workflow.devices import together
    except ImportError as error:
        raise DeclarationError(
            "--devices",
            expected="Lightning Fabric, for more than one device",
            got=one_line(error),
            advice="Install it: pip install 'hmopt[devices]'.",
        ) from error
    work = partial(_take_part, folder, devices)
    return partial(together, work, devices)


def _take_part(folder: Path, devices: Sequence[str], group: Group) -> None:
    """Take a part in a training, in a process that does nothing else; its images are prepared."""
    keep_freed_memory()
    study = StudyFolder(folder).study
    cohort = prepare(study, folder)
    help_train(study, cohort, folder, devices[group.number], group)
