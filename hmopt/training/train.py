"""Trainings: of a study's model, and of the models that it is compared with."""

import copy
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.optim import Optimizer

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import DivergedError
from hmopt.files import content_hash
from hmopt.locks import alone, lock_beside
from hmopt.networks import (
    HYPERMORPH_FORMAT,
    NETWORK_FORMAT,
    RegistrationNetwork,
    SeparateNetwork,
    architecture,
    build_hypermorph,
    make_registration,
    save_hypermorph,
    save_network,
)
from hmopt.networks.hypernetize import copied_module
from hmopt.progress import Track, silent
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder
from hmopt.training.batches import draw_settings
from hmopt.training.group import ALONE, Group
from hmopt.training.identity import (
    is_kept,
    is_trained,
    kept_models,
    network_key,
    training_key,
)
from hmopt.training.loop import (
    Files,
    Header,
    Trainable,
    Weights,
    help_training,
    run_training,
)
from hmopt.training.loss import with_scales
from hmopt.training.optimization import make_optimizer
from hmopt.training.state import remove_state

AT_WORK = "trains this model"
"""What another process does that is waited for."""
VALUES_CHECKED = 3
"""Values of each hyperparameter, from end to end, at which a hypermorph's weights must not all be the same."""


def train(
    study: Study,
    cohort: PreparedCohort,
    folder: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
    group: Group = ALONE,
) -> Path:
    """Train the declared hypermorph of a study folder, or resume an interrupted training.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    folder
        Where `model.safetensors` and `training.csv` go, and the model as it was after a quarter,
        half and three quarters of the steps (`model-quarter.safetensors` and so on).
    track
        Shows progress.
    device
        Where to train.
    group
        The processes that train together, of which this is the first; the others call `help_train`. Whoever
        starts them does so within `only_training`.

    Returns
    -------
    Path
        The model's file.

    Raises
    ------
    CheckpointError
        If the folder holds a model, or a state of training, of another declaration or cohort.
    DataError
        If there is no pair to train on.
    DivergedError
        If the loss is no longer a finite number.
    DeclarationError
        If the overlap loss is to see labels that the cohort lacks.

    References
    ----------
    Hoopes et al., MELBA 2022, algorithm 1.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.data.preprocessing import prepare
    >>> from hmopt.data.synthetic import make_cohort
    >>> from hmopt.declaration import parse_study
    >>> folder = Path(tempfile.mkdtemp())
    >>> data = folder / "data"
    >>> manifest = make_cohort(data, subjects=5, shape=(24, 24))
    >>> study = parse_study({
    ...     "name": "tiny",
    ...     "cohort": {"manifest": manifest, "label_names": data / "dseg.tsv"},
    ...     "preprocessing": {"shape": [24, 24]},
    ...     "split": {"train": 2, "tune": 2, "search": 1},
    ...     "pairs": {"tune": 1},
    ...     "network": {"encoder": [4, 4], "decoder": [4], "final": []},
    ...     "hypernetwork": {"widths": [4]},
    ...     "training": {"steps": 2, "batch": 1},
    ... })
    >>> cohort = prepare(study, folder)
    >>> path = train(study, cohort, folder)
    >>> path.name, is_trained(study, cohort, folder)
    ('model.safetensors', True)
    """
    study_folder = StudyFolder(folder)
    path = study_folder.model_file()
    key = training_key(study, cohort)
    files = Files(
        models=kept_models(folder, study.training.steps),
        state=study_folder.training_state_file,
        log=study_folder.training_file,
    )
    if is_trained(study, cohort, folder):
        remove_state(files.state, key)
        return path
    # of a group the caller holds the lock, as the other processes resume from the same state
    held = only_training(folder, track) if group.count == 1 else nullcontext()
    with held:
        if not is_trained(study, cohort, folder):  # by another process, meanwhile
            place = torch.device(device)
            run_training(study, cohort, TrainableHypermorph, files, key, place, track, group)
    return path


def only_training(folder: Path, track: Track = silent) -> AbstractContextManager[None]:
    """Be the only process in a block that trains the model of a study folder; wait while another one does.

    Parameters
    ----------
    folder
        The study folder.
    track
        Shows who is waited for.
    """
    state = StudyFolder(folder).training_state_file
    return alone(lock_beside(state), AT_WORK, track)


def help_train(
    study: Study, cohort: PreparedCohort, folder: Path, device: str | torch.device, group: Group
) -> None:
    """Take a part in what `train` does in another process of a group.

    Parameters
    ----------
    study, cohort, folder
        As of `train`; nothing is written there.
    device, group
        Of this process.

    Raises
    ------
    HmoptError
        As `train` raises.
    """
    key = training_key(study, cohort)
    state = StudyFolder(folder).training_state_file
    help_training(study, cohort, TrainableHypermorph, state, key, torch.device(device), group)


def train_hypermorph(
    study: Study,
    cohort: PreparedCohort,
    path: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
) -> Path:
    """Train the declared hypermorph into a file of its own, or resume an interrupted training.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    path
        The model's file; beside it are a log, and the state to resume from.
    track
        Shows progress.
    device
        Where to train.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If there is a model, or a state of training, of another declaration or cohort.
    DataError
        If there is no pair to train on.
    DivergedError
        If the loss is no longer a finite number.
    """
    key = training_key(study, cohort)
    files = files_beside(path, study.training.steps)
    if is_kept(path, HYPERMORPH_FORMAT, key, study):
        remove_state(files.state, key)
        return path
    with alone(lock_beside(files.state), AT_WORK, track):
        if not is_kept(path, HYPERMORPH_FORMAT, key, study):
            run_training(
                study, cohort, TrainableHypermorph, files, key, torch.device(device), track
            )
    return path


def train_network(
    study: Study,
    cohort: PreparedCohort,
    setting: Setting,
    path: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
) -> Path:
    """Train an ordinary registration network at one setting, or resume an interrupted training.

    Network, loss, pairs, augmentation, learning rate and averaging are those of the hypermorph of
    the same declaration: step by step it sees the same pairs, and its first weights are those that
    the base weights start as.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    setting
        A value for each hyperparameter.
    path
        The network's file; beside it are a log, and the state to resume from.
    track
        Shows progress.
    device
        Where to train.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If there is a network, or a state of training, of another declaration, cohort or setting.
    DataError
        If there is no pair to train on.
    DivergedError
        If the loss is no longer a finite number, or the tune Dice falls below half of that before
        registration.
    """
    key = setting_key(study, cohort, setting)
    files = files_beside(path, study.training.steps)
    if is_kept(path, NETWORK_FORMAT, key, study):
        remove_state(files.state, key)
        return path
    build = partial(TrainableNetwork, setting=setting)
    with alone(lock_beside(files.state), AT_WORK, track):
        if not is_kept(path, NETWORK_FORMAT, key, study):
            run_training(study, cohort, build, files, key, torch.device(device), track)
    return path


def setting_key(study: Study, cohort: PreparedCohort, setting: Setting) -> str:
    """Return a hash of everything that decides the weights of a network for one setting."""
    return content_hash(network_key(study, cohort), setting)


def with_budget(
    study: Study, cohort: PreparedCohort, steps: int, seed: int, learning_rate: float | None = None
) -> Study:
    """Return a study of another number of steps, seed and learning rate, otherwise the same.

    The learning rate falls to zero within these steps. The loss scale stays that of the study, so
    that λ means the same whatever the seed.

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
    budget: dict[str, float] = {"steps": steps, "seed": seed}
    if learning_rate is not None:
        budget["learning_rate"] = learning_rate
    training = study.training.model_copy(update=budget)
    scaled = with_scales(study, cohort)
    return scaled.model_copy(update={"training": training})


def files_beside(path: Path, steps: int) -> Files:
    """Return the files of a training that keeps one model: state and log are named after it.

    Examples
    --------
    >>> files_beside(Path("compare/seed-0.safetensors"), steps=10).state.as_posix()
    'compare/seed-0-state.safetensors'
    """
    name = path.name.removesuffix(".safetensors")
    return Files(
        models={steps: path},
        state=path.with_name(f"{name}-state.safetensors"),
        log=path.with_name(f"{name}.csv"),
    )


class TrainableHypermorph(Trainable):
    """The declared hypermorph, its first weights drawn by torch's global generator.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it is trained.
    """

    def __init__(self, study: Study, shape: tuple[int, ...], device: torch.device) -> None:
        self._study = study
        self._architecture = architecture(study, shape)
        self._hypermorph = build_hypermorph(self._architecture, study.network).to(device)
        self.model = self._hypermorph
        self.module = self._hypermorph.hypernetwork

    def make_optimizer(self) -> Optimizer:
        """Return Adam with a learning rate of its own for the dense layers."""
        study = self._study
        training = study.training
        return make_optimizer(self._hypermorph, training, study.hypernetwork)

    def draw_settings(self, generator: np.random.Generator) -> list[Setting]:
        """Draw settings from their prior."""
        training = self._study.training
        count = min(training.settings_per_step, training.batch)
        return draw_settings(self._hypermorph.space, count, generator)

    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return the network at the baseline setting."""
        hypermorph = copy.deepcopy(self._hypermorph)
        hypermorph.hypernetwork.load_state_dict(weights)
        baseline = hypermorph.space.default
        return hypermorph.bake(baseline).eval()

    def check(self) -> None:
        """Refuse a hypernetwork that a setting no longer changes: units of its last layer are 0 for all of them.

        Raises
        ------
        DivergedError
            If weights are the same at all of some settings that are spread over the range.
        """
        space = self._hypermorph.space
        first, *others = space.coarse(VALUES_CHECKED)
        with torch.no_grad():
            weights = self._hypermorph.weights(space.setting(first))
            for index in others:
                for name, tensor in self._hypermorph.weights(space.setting(index)).items():
                    if not torch.equal(tensor, weights[name]):
                        return
        raise DivergedError(
            "training",
            expected="weights of the registration network that depend on the setting",
            got="the same at all settings",
            advice="Lower training.learning_rate, or widen the last of hypernetwork.widths.",
        )

    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write a hypermorph."""
        hypermorph = {"architecture": self._architecture}
        tensors = {**weights, **self._hypermorph.constants()}
        save_hypermorph(path, tensors, {**hypermorph, **header})


class TrainableNetwork(Trainable):
    """An ordinary registration network at one setting.

    Its first weights are those that the base weights of a hypermorph of the same seed start as.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it is trained.
    setting
        The setting.
    """

    def __init__(
        self, study: Study, shape: tuple[int, ...], device: torch.device, setting: Setting
    ) -> None:
        self._study = study
        self._setting = setting
        options = study.network
        self._architecture = {"shape": list(shape), "network": options.model_dump()}
        self._network = make_registration(options, shape).to(device)
        self.model = SeparateNetwork(self._network, setting)
        self.module = self._network

    def make_optimizer(self) -> Optimizer:
        """Return Adam."""
        rate = self._study.training.learning_rate
        return torch.optim.Adam(self.module.parameters(), lr=rate, fused=True)

    def draw_settings(self, generator: np.random.Generator) -> list[Setting]:
        """Return the one setting, and leave the numbers that a hypermorph would draw its own from."""
        draw_settings(self._study.space, 1, generator)
        return [self._setting]

    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return the network."""
        network = copied_module(self._network)
        network.load_state_dict(weights)
        return network.eval()

    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write an ordinary network."""
        network = {"architecture": self._architecture, "setting": self._setting}
        save_network(path, weights, {**network, **header})
