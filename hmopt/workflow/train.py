"""`hmopt.train`: from a declared study to a trained hypermorph."""

from dataclasses import dataclass
from pathlib import Path

from hmopt.data.preprocessing import prepare
from hmopt.networks import read_header
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.training.train import train as train_model
from hmopt.workflow.checks import check_cohort, check_declared
from hmopt.workflow.machine import find_device, keep_freed_memory


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
    folder: Path | str, *, track: Track = silent, device: str | None = None
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

    Returns
    -------
    Trained
        The model's file and facts of its training.
    NothingToTrain
        If the declared model comes from elsewhere.

    Raises
    ------
    DeclarationError
        If `study.toml` is not there, breaks a rule, or the device is not available.
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
        return train_study(files, track, device)


def train_study(files: StudyFolder, track: Track, device: str | None) -> Trained | NothingToTrain:
    """Train as `train` does, as a part of a longer command."""
    keep_freed_memory()
    study = files.study
    if study.model.source != "trained":
        return NothingToTrain(source=study.model.source)
    check_declared(study)
    cohort = prepare(study, files.path, track)
    check_cohort(study, cohort)
    path = train_model(study, cohort, files.path, track=track, device=find_device(device))
    header = read_header(path)
    return Trained(
        model=path,
        steps=study.training.steps,
        minutes=float(header.get("minutes", 0.0)),
        device=str(header.get("device", "unknown")),
    )
