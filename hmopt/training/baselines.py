"""Training of what a study's model is compared with: networks for one setting each, and hypermorphs of other seeds."""

from pathlib import Path

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.files import content_hash
from hmopt.networks import HYPERMORPH_FORMAT, NETWORK_FORMAT
from hmopt.progress import Track, silent
from hmopt.space import Setting
from hmopt.training.learner import HypermorphLearner, NetworkLearner
from hmopt.training.loop import Files, Training, study_scale
from hmopt.training.trained import is_kept, network_key, training_key


def with_budget(
    study: Study, cohort: PreparedCohort, steps: int, seed: int, learning_rate: float | None = None
) -> Study:
    """Give a study whose training takes other steps, another seed and learning rate, and is the same otherwise.

    The learning rate falls to zero within these steps. The loss scale stays that of the study, so that λ means the
    same whatever the seed.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    steps
        Optimizer steps.
    seed
        Decides first weights, pairs, settings and augmentation.
    learning_rate
        At the start; None leaves it as declared.

    Raises
    ------
    DataError
        If there is no pair to train on.
    """
    rate = study.training.learning_rate if learning_rate is None else learning_rate
    training = study.training.model_copy(
        update={"steps": steps, "seed": seed, "learning_rate": rate}
    )
    loss = study.loss.model_copy(update={"scale": study_scale(study, cohort)})
    return study.model_copy(update={"training": training, "loss": loss})


def train_network(
    study: Study,
    cohort: PreparedCohort,
    setting: Setting,
    path: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
) -> Path:
    """Train an ordinary registration network for one setting, or continue where an interrupted training stopped.

    Network, loss, pairs, augmentation, learning rate and averaging are those of the hypermorph of the same
    declaration: step by step it sees the same pairs, and its first weights are those that the base weights start as.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    setting
        A value for each hyperparameter.
    path
        The network's file; beside it are a log, and the state to continue from.
    track
        Shows progress.
    device
        Where the network lives.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If there is a network, or a state of training, of another declaration, cohort or setting.
    DataError
        If there is no pair to train on, or the loss ceases to be a finite number.
    """
    key = content_hash(network_key(study, cohort), setting)
    place = torch.device(device)
    if is_kept(path, NETWORK_FORMAT, key):
        return path
    files = files_beside(path, study.training.steps)
    Training(
        study,
        cohort,
        lambda: NetworkLearner(study, cohort.shape, place, setting),
        files,
        key,
        place,
    ).run(track)
    return path


def train_hypermorph(
    study: Study,
    cohort: PreparedCohort,
    path: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
) -> Path:
    """Train the declared hypermorph into a file of its own, or continue where an interrupted training stopped.

    Parameters
    ----------
    study, cohort, path, track, device
        As for `train_network`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If there is a model, or a state of training, of another declaration or cohort.
    DataError
        If there is no pair to train on, or the loss ceases to be a finite number.
    """
    key, place = training_key(study, cohort), torch.device(device)
    if is_kept(path, HYPERMORPH_FORMAT, key):
        return path
    files = files_beside(path, study.training.steps)
    Training(
        study, cohort, lambda: HypermorphLearner(study, cohort.shape, place), files, key, place
    ).run(track)
    return path


def files_beside(path: Path, steps: int) -> Files:
    """Give where a training writes that keeps one file: its state and its log are named after it.

    Examples
    --------
    >>> files_beside(Path("compare/seed-0.safetensors"), steps=10).state.as_posix()
    'compare/seed-0-state.safetensors'
    """
    name = path.name.removesuffix(".safetensors")
    state, log = (path.with_name(f"{name}{ending}") for ending in ("-state.safetensors", ".csv"))
    return Files(models={steps: path}, state=state, log=log)
