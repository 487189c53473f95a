"""The training loop."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hmopt.catalogue import find_hyperparameter, weighted_terms
from hmopt.data.facts import FACTS, CohortFacts, training_facts
from hmopt.data.pairs import draw_pairs as draw_tuning_pairs
from hmopt.data.prepared import PreparedCohort, prefetch
from hmopt.declaration import Study
from hmopt.errors import DivergedError
from hmopt.losses import Terms
from hmopt.metrics import Originals, measure
from hmopt.networks import RegistrationNetwork
from hmopt.progress import Track
from hmopt.records import Pair
from hmopt.space import Setting, numbers_of
from hmopt.stopping import stopping_between_steps
from hmopt.training.batches import (
    Batch,
    draw_pairs,
    load_images,
    load_labels,
    make_batch,
    training_pairs,
)
from hmopt.training.group import ALONE, Group
from hmopt.training.loss import Loss, Model, declared_loss, study_scale
from hmopt.training.optimization import (
    make_average,
    make_schedule,
    take_step,
    take_step_together,
)
from hmopt.training.state import Log, Progress, load_state, save_state

STEPS_BETWEEN_ROWS = 10

DIVERGED = 0.5
"""Share of the tune Dice before registration below which a training has diverged."""

Weights = Mapping[str, Tensor]
"""Tensors by name, as `state_dict` returns them."""
Header = Mapping[str, Any]
"""What a model's file tells about its training, as values that JSON can hold."""
Drawn = tuple[list[Setting], Batch]
"""What a step trains on: settings λ, and image pairs that are divided among them."""


class Trainable(ABC):
    """What the training loop trains, and what it asks of it.

    Once: `make_optimizer`. In every step: `draw_settings`, then `model` at each. At checkpoints
    `check`, and with averaged weights: `network`, which is measured, and `save`.
    """

    model: Model
    """Registers a batch at a setting."""
    module: nn.Module
    """Holds the weights that are optimized and averaged."""

    @abstractmethod
    def make_optimizer(self) -> Optimizer:
        """Return what optimizes the weights of `module`."""

    @abstractmethod
    def draw_settings(self, generator: np.random.Generator) -> list[Setting]:
        """Draw the settings of a step.

        All trainables draw as many numbers, so that all see the same pairs at the same seed.
        """

    @abstractmethod
    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return a registration network of given weights, to measure the tune Dice with."""

    @abstractmethod
    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write given weights, with a header that also says what they are."""

    def check(self) -> None:  # noqa: B027, as most have nothing to check
        """Refuse to go on where training has made the weights useless, as those that no setting changes."""


Build = Callable[[Study, tuple[int, ...], torch.device], Trainable]
"""Makes what is trained, its first weights drawn by torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a training writes.

    Parameters
    ----------
    models
        By the number of steps done: where the averaged weights of then are kept. The declared steps
        are among them.
    state
        What an interrupted training resumes from; removed when the training has ended.
    log
        A row of losses every few steps.
    """

    models: Mapping[int, Path]
    state: Path
    log: Path


def run_training(
    study: Study,
    cohort: PreparedCohort,
    build: Build,
    files: Files,
    key: str,
    device: torch.device,
    track: Track,
    group: Group = ALONE,
) -> None:
    """Train a network, or resume an interrupted training.

    One step of a hypermorph with learned weights ω, whose registration network g has the weights
    θ = h(λ; ω) at a setting λ (Hoopes et al., MELBA 2022, algorithm 1):

        λ ~ prior                                       Trainable.draw_settings
        (m, f) ~ pairs, augmented                       make_batch
        v = g(m, f; h(λ; ω))                            Hypermorph.velocities, in Loss.registered
        L = (1 - λ) · scale · D(m ∘ exp v, f) + λ R(v)  weighted_loss
        ω ← Adam(ω, gradient of L / max(1 - λ, 0.05))   take_step, or take_step_together
        average ← d · average + (1 - d) · ω             make_average

    D is the similarity loss, R the regularizer. Other hyperparameters, as the weight γ of the
    overlap loss, are drawn with λ. The pairs of a step are divided among some settings, spread
    evenly over the prior; their gradients are averaged. So a step moves weights that all λ share in
    a direction that suits them all. A separate network is trained by the same steps: its setting is
    constant, and its learned weights are those of g.

    What is kept as the model is the average. A step depends on the seed and its own number alone,
    and the state holds all else: a training that was interrupted and resumed ends in the same
    bytes as one that was not. The state is written at checkpoints, and where Ctrl-C or SIGTERM
    comes, after the step that it comes in.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    build
        Makes what is trained; called once torch is seeded.
    files
        Where the training writes.
    key
        Hash of everything that decides the result.
    device
        Where to compute.
    track
        Shows progress.
    group
        The processes that train together, of which this is the first; the others call `help_training`.

    Raises
    ------
    CheckpointError
        If there is a state of another training.
    DataError
        If there is no pair to train on.
    DivergedError
        If the loss is no longer a finite number, the tune Dice at a checkpoint is below half of that
        before registration, or a setting no longer changes the weights of a hypermorph.
    DeclarationError
        If the overlap loss is to see labels that the cohort lacks.
    KeyboardInterrupt
        If Ctrl-C came; the state is written.
    """
    training = _Training(study, cohort, build, files.state, key, device, group)
    options = study.training
    module, average, optimizer = training.module, training.average, training.optimizer
    tuning_pairs = draw_tuning_pairs(cohort, study.pairs, "tune")
    progress = training.progress
    first = progress.step
    log = Log(files.log, study.space, first)
    clock = _Clock(progress.minutes)
    facts: CohortFacts | None = None
    before = unregistered_dice(cohort, tuning_pairs, options.batch, device)
    with stopping_between_steps() as stop:
        for drawn in track(training.each_drawn(), "Training", options.steps, first):
            rate = training.schedule.get_last_lr()[0]
            value, terms = training.take_step(drawn)
            average.update_parameters(module)

            progress = progress.after_step(clock.minutes)
            step = progress.step
            is_last = step == options.steps
            is_checkpoint = is_last or step % options.checkpoint_every == 0
            settings, _ = drawn
            row = _row(progress, float(rate), value, terms, settings[0])
            if is_checkpoint:
                network = training.trainable.network(average.module.state_dict())
                row["tune_dice"] = tune_dice(network, cohort, tuning_pairs, options.batch)
            if is_checkpoint or step % STEPS_BETWEEN_ROWS == 0:
                log.write(row, progress.minutes)
            if is_checkpoint:
                check_dice(step, row["tune_dice"], before)
                training.trainable.check()
            if step in files.models:
                # once is enough: images and split stay the same
                facts = facts or training_facts(study, cohort)
                place = group.device_text(device)
                header = _header(study, cohort, key, progress, training.loss, place)
                header[FACTS] = facts.model_dump()
                header["tune_dice"] = _json_number(row.get("tune_dice", math.nan))
                training.trainable.save(files.models[step], average.module.state_dict(), header)
            must_stop = stop.is_asked
            if (is_checkpoint or must_stop) and not is_last:
                log.sync()
                save_state(files.state, progress, module, average, optimizer, key)
            if must_stop:
                break
    stop.check()
    files.state.unlink(missing_ok=True)


def help_training(
    study: Study,
    cohort: PreparedCohort,
    build: Build,
    state: Path,
    key: str,
    device: torch.device,
    group: Group,
) -> None:
    """Take the steps of a training that another process runs, and write nothing.

    Parameters
    ----------
    study, cohort, build, key
        As of `run_training`.
    state
        What an interrupted training resumes from; it is only read.
    device, group
        Of this process.

    Raises
    ------
    HmoptError
        As `run_training` raises.
    """
    training = _Training(study, cohort, build, state, key, device, group)
    for drawn in training.each_drawn():
        training.take_step(drawn)


class _Training:
    """What each process of a training has: model, optimizer and loss, and what is drawn for every step.

    Parameters
    ----------
    study, cohort, build, key, device, group
        As of `run_training`.
    state
        What it resumes from, where it is there.
    """

    def __init__(
        self,
        study: Study,
        cohort: PreparedCohort,
        build: Build,
        state: Path,
        key: str,
        device: torch.device,
        group: Group,
    ) -> None:
        self._options = options = study.training
        self._cohort, self._device, self._group = cohort, device, group
        threads = group.threads(options.threads, device)
        if threads:
            torch.set_num_threads(threads)
        self._pairs = training_pairs(study, cohort)

        torch.manual_seed(options.seed)
        self.trainable = build(study, cohort.shape, device)
        self.module = self.trainable.module
        self.optimizer = self.trainable.make_optimizer()
        self.average = make_average(self.module, options.averaging)
        resumed = load_state(state, self.module, self.average, self.optimizer, key)
        self.progress = resumed or Progress(step=0, minutes=0.0, scale=study_scale(study, cohort))
        done = self.progress.step
        warm_up = min(options.warm_up, options.steps // 10)
        self.schedule = make_schedule(self.optimizer, options.steps, done=done, warm_up=warm_up)
        self.loss = declared_loss(study, cohort, self.progress.scale)

    def each_drawn(self) -> Iterable[Drawn]:
        """Return what each step that is left trains on."""
        steps = range(self.progress.step, self._options.steps)
        # on a processor, a second thread that draws would take the cores from the one that trains
        is_on_processor = self._device.type == "cpu"
        return map(self._draw, steps) if is_on_processor else prefetch(self._draw, steps)

    def _draw(self, step: int) -> Drawn:
        """Draw the settings λ of a step, and the pairs that are registered at them; keep those of this process."""
        options = self._options
        generator = np.random.default_rng([options.seed, step])
        settings = self.trainable.draw_settings(generator)
        chosen = draw_pairs(self._pairs, options.batch, generator)
        needs_labels = [find_hyperparameter(name).needs_labels for name in settings[0]]
        with_labels = any(needs_labels)
        own = self._group.pairs(len(chosen), len(settings))
        batch = make_batch(self._cohort, chosen, options, generator, with_labels, own)
        return self._group.part(settings), batch.to(self._device)

    def take_step(self, drawn: Drawn) -> tuple[float, Terms]:
        """Move the weights and the learning rate; return the loss at the first setting, and its terms."""
        settings, batch = drawn
        model, optimizer, loss, group = self.trainable.model, self.optimizer, self.loss, self._group
        norm = self._options.gradient_norm
        # λ is used twice there: for the weights that register the batch, and to weigh the loss
        if group.count == 1:
            found = take_step(model, optimizer, loss, batch, settings, norm)
        else:
            pairs = self._options.batch
            found = take_step_together(model, optimizer, loss, batch, settings, group, pairs, norm)
        self.schedule.step()
        return found


class _Clock:
    """Minutes of a training, those before it was resumed included."""

    def __init__(self, minutes: float) -> None:
        self._started = time.monotonic() - 60 * minutes

    @property
    def minutes(self) -> float:
        """Minutes until now."""
        seconds = time.monotonic() - self._started
        return seconds / 60


def _row(
    progress: Progress, rate: float, value: float, terms: Terms, setting: Setting
) -> dict[str, float]:
    """Return a row of the log: what a step did at the first of its settings."""
    row: dict[str, float] = {
        "step": progress.step,
        "learning_rate": rate,
        "loss": value,
        "similarity": float(terms.dissimilarity),
    }
    for record in weighted_terms(terms.weighted):
        row[record.term_column] = float(terms.weighted[record.name])
    for name, value_of_setting in numbers_of(setting).items():
        row[f"setting_{name}"] = value_of_setting
    return row


def _header(
    study: Study,
    cohort: PreparedCohort,
    key: str,
    progress: Progress,
    loss: Loss,
    device: str,
) -> dict[str, Any]:
    """Return what a model's file tells about its training."""
    return {
        "training_key": key,
        "cohort": cohort.identity,
        "labels": list(cohort.labels),
        "loss": {**study.loss.model_dump(), **loss.scales()},
        "training": study.training.model_dump(),
        "preprocessing": study.preprocessing.model_dump(),
        "spacing_mm": cohort.spacing_mm,
        "reference": cohort.reference.to_record(),
        "steps": progress.step,
        "device": device,
    }


def _json_number(value: float) -> float | None:
    """Return a number as JSON can hold it, which has no NaN."""
    return value if math.isfinite(value) else None


@torch.inference_mode()
def tune_dice(
    network: RegistrationNetwork, cohort: PreparedCohort, pairs: Sequence[Pair], batch: int
) -> float:
    """Compute the mean Dice over labels, then over pairs.

    Parameters
    ----------
    network
        Registers the pairs.
    cohort
        Holds their images.
    pairs
        Of subjects to tune on.
    batch
        Pairs registered at once.

    Returns
    -------
    float
        In [0, 1]; NaN where no pair has a label in both images.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hmopt.declaration import NetworkOptions
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> network = RegistrationNetwork(options, (16, 16))
    >>> image, label_map = np.zeros((16, 16), np.float32), np.ones((16, 16), np.uint8)
    >>> items = {"image": lambda name: image, "label_map": lambda name: label_map}
    >>> cohort = SimpleNamespace(**items, labels=("all",), spacing_mm=None)  # a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> tune_dice(network, cohort, [pair], batch=1)
    1.0
    """
    device = next(network.parameters()).device

    def register(moving: Tensor, fixed: Tensor) -> Tensor:
        return network.displacement(network(moving, fixed))

    return _mean_dice(register, cohort, pairs, batch, device)


@torch.inference_mode()
def unregistered_dice(
    cohort: PreparedCohort, pairs: Sequence[Pair], batch: int, device: torch.device
) -> float:
    """Compute the same before registration; parameters as of `tune_dice`."""

    def stay(moving: Tensor, fixed: Tensor) -> Tensor:
        count, _, *shape = fixed.shape
        return fixed.new_zeros(count, len(shape), *shape)

    return _mean_dice(stay, cohort, pairs, batch, device)


def check_dice(step: int, dice: float, before: float) -> None:
    """Refuse to go on with a training that has diverged.

    Parameters
    ----------
    step
        Steps done.
    dice, before
        Tune Dice now and before registration; NaN where there is none, which is never refused.

    Raises
    ------
    DivergedError
        If Dice is below half of that before registration.

    Examples
    --------
    >>> check_dice(500, dice=0.45, before=0.51)
    """
    if dice < DIVERGED * before:
        raise DivergedError(
            "training",
            expected=f"a Dice on pairs to tune on above {before:.2f}, that before registration",
            got=f"{dice:.3f} at step {step}",
            advice="It diverged: lower training.learning_rate.",
        )


def _mean_dice(
    register: Callable[[Tensor, Tensor], Tensor],
    cohort: PreparedCohort,
    pairs: Sequence[Pair],
    batch: int,
    device: torch.device,
) -> float:
    """Compute the mean Dice of pairs with displacements from `register(moving, fixed)`."""
    means: list[float] = []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        originals = _originals(cohort, some, device)
        displacement = register(originals.moving, originals.fixed)

        measured = measure(["dice"], originals, displacement)
        dice = measured["dice"]
        has_label = np.isfinite(dice).any(axis=1)
        means_of_pairs = np.nanmean(dice[has_label], axis=1)
        means.extend(means_of_pairs)
    if not means:
        return float("nan")
    return float(np.mean(means))


def _originals(cohort: PreparedCohort, pairs: Sequence[Pair], device: torch.device) -> Originals:
    moving = [pair.moving for pair in pairs]
    fixed = [pair.fixed for pair in pairs]
    return Originals(
        moving=load_images(cohort, moving).to(device),
        fixed=load_images(cohort, fixed).to(device),
        moving_labels=load_labels(cohort, moving).to(device),
        fixed_labels=load_labels(cohort, fixed).to(device),
        label_count=len(cohort.labels),
        spacing_mm=cohort.spacing_mm,
    )
