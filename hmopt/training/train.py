"""Training of the hypermorph of a study folder."""

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmopt.data.ahead import ahead
from hmopt.data.pairs import draw_pairs as draw_tuning_pairs
from hmopt.data.pairs import possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import DataError, DeclarationError
from hmopt.networks import Hypermorph, architecture, build_hypermorph, save_hypermorph
from hmopt.progress import Track, silent
from hmopt.records import Pair
from hmopt.space import Setting
from hmopt.training.batches import Batch, draw_pairs, make_batch
from hmopt.training.log import Log
from hmopt.training.prior import draw_setting
from hmopt.training.scale import loss_scale
from hmopt.training.state import Progress, load_state, save_state
from hmopt.training.step import Loss, average_weights, learning_rate, make_optimizer, take_step
from hmopt.training.trained import HALF_MODEL, MODEL, is_trained, training_key
from hmopt.training.tuning import tune_dice

STATE, LOG = "training-state.safetensors", "training.csv"
STEPS_BETWEEN_ROWS = 10


def train(
    study: Study, cohort: PreparedCohort, folder: Path, track: Track = silent, device: str | torch.device = "cpu"
) -> Path:
    """Train the declared hypermorph, or continue where an interrupted training stopped.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    folder
        Where `model.safetensors`, `model-half.safetensors` (after half the steps) and `training.csv` go.
    track
        Shows progress.
    device
        Where the network lives.

    Returns
    -------
    Path
        The model's file.

    Raises
    ------
    CheckpointError
        If the folder holds a model, or a state of training, of another declaration or cohort.
    DataError
        If there is no pair to train on, or the loss ceases to be a finite number.
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
    >>> manifest = make_cohort(folder / "data", subjects=5, shape=(24, 24))
    >>> values = {"name": "tiny", "cohort": {"manifest": manifest, "label_names": folder / "data" / "dseg.tsv"}}
    >>> values |= {"preprocessing": {"shape": [24, 24]}, "split": {"train": 2, "tune": 2, "search": 1}}
    >>> values |= {"network": {"encoder": [4, 4], "decoder": [4], "final": []}, "hypernetwork": {"units": [4]}}
    >>> study = parse_study({**values, "pairs": {"tune": 1}, "training": {"steps": 2, "batch": 1}})
    >>> cohort = prepare(study, folder)
    >>> path = train(study, cohort, folder)
    >>> path.name, is_trained(study, cohort, folder)
    ('model.safetensors', True)
    """
    path = folder / MODEL
    if is_trained(study, cohort, folder):
        return path
    training = _Training(study, cohort, folder, torch.device(device))
    training.run(track)
    return path


class _Training:
    """A training in progress."""

    def __init__(self, study: Study, cohort: PreparedCohort, folder: Path, device: torch.device) -> None:
        self.study, self.cohort, self.folder, self.device = study, cohort, folder, device
        self.section = study.training
        if self.section.threads:
            torch.set_num_threads(self.section.threads)
        self.pairs = _pairs_by_kind(study, cohort)
        self.tuning = draw_tuning_pairs(cohort, study.pairs, "tune")
        self.key = training_key(study, cohort)
        torch.manual_seed(self.section.seed)
        self.hypermorph = build_hypermorph(architecture(study, cohort.shape)).to(device)
        self.optimizer = make_optimizer(self.hypermorph, self.section, study.hypernetwork)
        self.averages = [tensor.clone() for tensor in self.hypernetwork.state_dict().values()]
        restored = load_state(folder / STATE, self.hypernetwork, self.averages, self.optimizer, self.key)
        self.progress = restored or Progress(step=0, minutes=0.0, scale=self._scale())
        self.loss = _loss(study, cohort, self.progress.scale)
        self.log = Log(folder / LOG, study.space, self.progress.step)

    @property
    def hypernetwork(self) -> torch.nn.Module:
        return self.hypermorph.hypernetwork

    def _scale(self) -> float:
        every = [pair for pairs in self.pairs.values() for pair in pairs]
        return loss_scale(self.cohort, every, self.study.loss, self.section.seed)

    def run(self, track: Track) -> None:
        """Take the steps that are still to do, and keep the model."""
        first, last = self.progress.step, self.section.steps
        started = time.monotonic() - 60 * self.progress.minutes
        drawn = zip(range(first, last), ahead(self._draw, range(first, last)), strict=True)
        for step, (setting, batch) in track(drawn, "Training", last, first):
            row = self._step(step, setting, batch)
            minutes = (time.monotonic() - started) / 60
            self.progress = Progress(step=step + 1, minutes=minutes, scale=self.progress.scale)
            self._keep(row)
        self._save(MODEL)
        (self.folder / STATE).unlink(missing_ok=True)

    def _draw(self, step: int) -> tuple[Setting, Batch]:
        """Draw what a step trains on: a function of the seed and the step alone."""
        generator = np.random.default_rng([self.section.seed, step])
        setting = draw_setting(self.hypermorph.space, generator)
        pairs = draw_pairs(self.pairs, self.section.batch, generator)
        batch = make_batch(self.cohort, pairs, self.section, generator, with_labels="label_weight" in setting)
        return setting, batch.to(self.device)

    def _step(self, step: int, setting: Setting, batch: Batch) -> dict[str, float]:
        rate = learning_rate(self.section, step)
        total, terms = take_step(self.hypermorph, self.optimizer, self.loss, batch, setting, rate)
        average_weights(self.averages, self.hypernetwork, self.section.averaging, step)
        return {
            "learning_rate": rate,
            "loss": total,
            "similarity": float(terms.similarity.detach()),
            "regularization_term": float(terms.regularization.detach()),
            "overlap": float(terms.overlap.detach()),
            **{f"setting_{name}": value for name, value in setting.items()},
        }

    def _keep(self, row: dict[str, float]) -> None:
        """Write what is due after a step: a row, a state to continue from, the model after half the steps."""
        step, last = self.progress.step, self.section.steps
        row = {"step": step, "minutes": self.progress.minutes, **row}
        at_checkpoint = step % self.section.checkpoint_every == 0 or step == last
        if at_checkpoint:
            row["tune_dice"] = tune_dice(self._averaged(), self.cohort, self.tuning, self.section.batch)
        if at_checkpoint or step % STEPS_BETWEEN_ROWS == 0:
            self.log.write(row)
        if step == last // 2:
            self._save(HALF_MODEL)
        if at_checkpoint and step < last:
            path = self.folder / STATE
            save_state(path, self.progress, self.hypernetwork, self.averages, self.optimizer, self.key)

    def _averaged(self) -> Hypermorph:
        averaged = copy.deepcopy(self.hypermorph)
        averaged.hypernetwork.load_state_dict(self._averaged_tensors())
        return averaged

    def _averaged_tensors(self) -> dict[str, Tensor]:
        return dict(zip(self.hypernetwork.state_dict(), self.averages, strict=True))

    def _save(self, name: str) -> None:
        tensors = {name: tensor.detach().cpu() for name, tensor in self._averaged_tensors().items()}
        save_hypermorph(self.folder / name, tensors, self._header())

    def _header(self) -> dict[str, Any]:
        return {
            "architecture": architecture(self.study, self.cohort.shape),
            "training_key": self.key,
            "cohort": self.cohort.identity,
            "labels": list(self.cohort.labels),
            "loss": {**self.study.loss.model_dump(), "scale": self.progress.scale},
            "training": self.section.model_dump(),
            "preprocessing": self.study.preprocessing.model_dump(),
            "steps": self.progress.step,
            "minutes": round(self.progress.minutes, 2),
            "device": str(self.device),
        }


def _pairs_by_kind(study: Study, cohort: PreparedCohort) -> dict[str, list[Pair]]:
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
