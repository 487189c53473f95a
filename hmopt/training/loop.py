"""The loop that trains whatever learns: draws, steps, averages, and keeps what is due."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmopt.catalogue import find_hyperparameter
from hmopt.data.ahead import ahead
from hmopt.data.pairs import draw_pairs as draw_tuning_pairs
from hmopt.data.pairs import possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import DataError, DeclarationError
from hmopt.progress import Track
from hmopt.records import Pair
from hmopt.space import Setting
from hmopt.training.batches import Batch, draw_pairs, make_batch
from hmopt.training.learner import Learner
from hmopt.training.log import Log
from hmopt.training.scale import loss_scale
from hmopt.training.state import Progress, load_state, save_state
from hmopt.training.step import Loss, average_weights, learning_rate, take_step
from hmopt.training.tuning import tune_dice

STEPS_BETWEEN_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a training writes.

    Parameters
    ----------
    models
        By the number of steps done: where the averaged weights of then are kept; the declared steps are among them.
    state
        What an interrupted training continues from; gone when it has ended.
    log
        What it did, step by step.
    """

    models: Mapping[int, Path]
    state: Path
    log: Path


class Training:
    """A training in progress.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    make_learner
        Makes what is trained; called once torch is seeded.
    files
        Where it writes.
    key
        Stands for everything that decides what is made.
    device
        Where it computes.

    Raises
    ------
    CheckpointError
        If there is a state of another training.
    DataError
        If there is no pair to train on.
    DeclarationError
        If the overlap loss is to see labels that the cohort lacks.
    """

    def __init__(
        self,
        study: Study,
        cohort: PreparedCohort,
        make_learner: Callable[[], Learner],
        files: Files,
        key: str,
        device: torch.device,
    ) -> None:
        self.study, self.cohort, self.files, self.key, self.device = (
            study,
            cohort,
            files,
            key,
            device,
        )
        self.section = study.training
        if self.section.threads:
            torch.set_num_threads(self.section.threads)
        self.pairs = training_pairs(study, cohort)
        self.tuning = draw_tuning_pairs(cohort, study.pairs, "tune")
        torch.manual_seed(self.section.seed)
        self.learner = make_learner()
        self.optimizer = self.learner.optimizer()
        self.averages = [tensor.clone() for tensor in self.learner.module.state_dict().values()]
        restored = load_state(files.state, self.learner.module, self.averages, self.optimizer, key)
        self.progress = restored or Progress(step=0, minutes=0.0, scale=study_scale(study, cohort))
        self.loss = _loss(study, cohort, self.progress.scale)
        self.log = Log(files.log, study.space, self.progress.step)

    def run(self, track: Track) -> None:
        """Take the steps that are still to do, and keep what is made."""
        first, last = self.progress.step, self.section.steps
        started = time.monotonic() - 60 * self.progress.minutes
        steps = range(first, last)
        # on a processor, a second thread that draws would take the cores from the one that trains
        drawn = map(self._draw, steps) if self.device.type == "cpu" else ahead(self._draw, steps)
        for step, (setting, batch) in track(
            zip(steps, drawn, strict=True), "Training", last, first
        ):
            row = self._step(step, setting, batch)
            minutes = (time.monotonic() - started) / 60
            self.progress = Progress(step=step + 1, minutes=minutes, scale=self.progress.scale)
            self._keep(row)
        self.files.state.unlink(missing_ok=True)

    def _draw(self, step: int) -> tuple[Setting, Batch]:
        """Draw what a step trains on: a function of the seed and the step alone."""
        generator = np.random.default_rng([self.section.seed, step])
        setting = self.learner.draw(generator)
        pairs = draw_pairs(self.pairs, self.section.batch, generator)
        batch = make_batch(
            self.cohort, pairs, self.section, generator, with_labels=_needs_labels(setting)
        )
        return setting, batch.to(self.device)

    def _step(self, step: int, setting: Setting, batch: Batch) -> dict[str, float]:
        rate = learning_rate(self.section, step)
        total, terms = take_step(
            self.learner.model, self.optimizer, self.loss, batch, setting, rate
        )
        average_weights(self.averages, self.learner.module, self.section.averaging, step)
        return {
            "learning_rate": rate,
            "loss": total,
            "similarity": float(terms.dissimilarity),
            **{
                find_hyperparameter(name).term_column: float(term)
                for name, term in terms.weighted.items()
            },
            **{f"setting_{name}": value for name, value in setting.items()},
        }

    def _keep(self, row: dict[str, float]) -> None:
        """Write what is due after a step: a row, the averaged weights, a state to continue from."""
        step, last = self.progress.step, self.section.steps
        row = {"step": step, "minutes": self.progress.minutes, **row}
        at_checkpoint = step % self.section.checkpoint_every == 0 or step == last
        if at_checkpoint:
            network = self.learner.network(self._averaged())
            row["tune_dice"] = tune_dice(network, self.cohort, self.tuning, self.section.batch)
        if at_checkpoint or step % STEPS_BETWEEN_ROWS == 0:
            self.log.write(row)
        if path := self.files.models.get(step):
            averages = {name: tensor.detach().cpu() for name, tensor in self._averaged().items()}
            self.learner.save(path, averages, self._header())
        if at_checkpoint and step < last:
            save_state(
                self.files.state,
                self.progress,
                self.learner.module,
                self.averages,
                self.optimizer,
                self.key,
            )

    def _averaged(self) -> dict[str, Tensor]:
        return dict(zip(self.learner.module.state_dict(), self.averages, strict=True))

    def _header(self) -> dict[str, Any]:
        return {
            "training_key": self.key,
            "cohort": self.cohort.identity,
            "labels": list(self.cohort.labels),
            "loss": {**self.study.loss.model_dump(), "scale": self.progress.scale},
            "training": self.section.model_dump(),
            "preprocessing": self.study.preprocessing.model_dump(),
            "spacing_mm": self.cohort.spacing_mm,
            "reference": self.cohort.reference.to_record(),
            "steps": self.progress.step,
            "minutes": round(self.progress.minutes, 2),
            "device": str(self.device),
        }


def _needs_labels(setting: Setting) -> bool:
    return any(find_hyperparameter(name).needs_labels for name in setting)


def study_scale(study: Study, cohort: PreparedCohort) -> float:
    """Give the loss scale of a study: the declared one, or that of its images and its seed."""
    every = [pair for pairs in training_pairs(study, cohort).values() for pair in pairs]
    return loss_scale(cohort, every, study.loss, study.training.seed)


def training_pairs(study: Study, cohort: PreparedCohort) -> dict[str, list[Pair]]:
    """Give the pairs to train on by kind, none of them empty.

    Raises
    ------
    DataError
        If there is none at all.
    """
    kinds: dict[str, list[Pair]] = {
        kind: possible_pairs(cohort, study.pairs.model_copy(update={"kinds": [kind]}), "train")
        for kind in study.pairs.kinds
    }
    pairs = {kind: found for kind, found in kinds.items() if found}
    if not pairs:
        raise DataError(
            "pairs.kinds",
            expected="pairs among the subjects to train on",
            got="none",
            advice="Declare other kinds, or more subjects in split.train.",
        )
    return pairs


def _loss(study: Study, cohort: PreparedCohort, scale: float) -> Loss:
    seen = study.loss.overlap_labels or list(cohort.labels)
    if unknown := set(seen) - set(cohort.labels):
        raise DeclarationError(
            "loss.overlap_labels",
            expected=f"names among {', '.join(cohort.labels)}",
            got=", ".join(sorted(unknown)),
            advice="Correct the names.",
        )
    spacing = cohort.spacing_mm
    anisotropic = spacing is not None and max(spacing) > 1.01 * min(spacing)
    return Loss(
        section=study.loss,
        scale=scale,
        overlap_labels=tuple(cohort.labels.index(name) + 1 for name in seen),
        spacing=spacing if anisotropic else None,
    )
