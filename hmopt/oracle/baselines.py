"""The baselines of a study's model: oracles that are trained, and kept in the study folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, NonNegativeInt

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import CheckpointError, DataError, DivergedError
from hmopt.files import content_hash, one_line, read_record, write_json
from hmopt.ledger.baselines import RateTrial
from hmopt.networks import (
    NETWORK_FORMAT,
    RegistrationNetwork,
    architecture,
    load_hypermorph,
    load_network,
    read_header,
)
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.open import facts_of, load_trained
from hmopt.oracle.registered import NetworkOracle, TrainingFacts
from hmopt.progress import Track, silent
from hmopt.schemas import Record
from hmopt.space import Index, Setting, Space
from hmopt.study_folder import StudyFolder
from hmopt.training.identity import check_key, network_key, training_key
from hmopt.training.loss import with_scales
from hmopt.training.state import logged_progress, minutes_of_model
from hmopt.training.train import (
    files_beside,
    setting_key,
    train_hypermorph,
    train_network,
    with_budget,
)


class Divergence(Record):
    """The record of a training that diverged, kept beside where its network would be.

    Parameters
    ----------
    training_key
        Hash of everything that decides the training.
    reason
        The message of the error that ended it.
    steps, minutes
        How long it lasted, by the last row of its log.
    """

    model_config = ConfigDict(extra="ignore")

    training_key: str
    reason: str
    steps: NonNegativeInt
    minutes: Annotated[float, Field(ge=0)]


class RetrainedOracle(NetworkOracle):
    """Measures settings on pairs of a cohort with networks trained for one setting each.

    Parameters
    ----------
    study
        Declares how the networks are trained: network, loss, steps and seed (see `with_budget`).
    cohort
        Where images are, of the pairs to train on and to measure.
    folder
        Where the networks are kept; what is not there is trained when it is asked for.
    track
        Shows the progress of a training.
    device
        Where to train and compute.
    batch
        Pairs that are measured at a time; values do not depend on it. Left out: as many as fit
        well.
    """

    def __init__(
        self,
        study: Study,
        cohort: PreparedCohort,
        folder: Path,
        track: Track = silent,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._study = study
        self._folder = folder
        self._track = track

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: all but the display of progress."""
        state = super().__getstate__()
        state["_track"] = silent
        return state

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        return self._study.space

    @property
    def identity(self) -> str:
        """Hash of how its networks are trained, known before any of them is."""
        key = network_key(self._study, self.cohort)
        return content_hash("retrained", key)

    @property
    def facts(self) -> TrainingFacts:
        """How its networks are trained."""
        loss = self._study.loss
        steps = self._study.training.steps
        return TrainingFacts(
            loss=loss.model_dump(mode="json"),
            loss_scale=loss.scale,
            steps=steps,
            spacing_mm=self.cohort.spacing_mm,
        )

    def path(self, index: Index) -> Path:
        """Return where the network of a setting is kept."""
        setting = self.space.setting(index)
        return self._folder / f"{setting_name(setting)}.safetensors"

    def missing(self, settings: Sequence[Index]) -> list[Index]:
        """Return the settings whose networks are still to be trained; a training that diverged is not.

        Raises
        ------
        CheckpointError
            If there is a network of another declaration or cohort.
        """
        lacking = []
        for index in settings:
            if self.path(index).exists():
                self._header(index)  # which refuses the network of another declaration
            elif self.divergence(index) is None:
                lacking.append(index)
        return lacking

    def known_tune_dice(self, index: Index) -> float | None:
        """Return the Dice of the network of a setting on pairs to tune on, at its last checkpoint.

        None where its file does not tell it, as those of earlier versions, or where no pair to tune
        on has a label in both images.
        """
        dice: float | None = self._header(index).get("tune_dice")
        return dice

    def tune_dice(self, index: Index) -> float:
        """Return the same, or refuse a network whose tune Dice is not known.

        Raises
        ------
        CheckpointError
            If there is no network, one of another declaration or cohort, or one whose tune Dice is
            not known.
        """
        dice = self.known_tune_dice(index)
        if dice is None:
            raise CheckpointError(
                str(self.path(index)),
                expected="a network whose header tells its Dice on pairs to tune on, to choose among learning rates",
                got="none",
                advice="If an earlier version trained it, move it away and run `hmopt compare` again; if no "
                "tuning pair has labels, declare one number as compare.learning_rate.",
            )
        return dice

    def cost(self, index: Index) -> tuple[int, float]:
        """Return the steps and minutes of the training of a setting; of one that diverged, until then."""
        diverged = self.divergence(index)
        if diverged is not None:
            return diverged.steps, diverged.minutes
        header = self._header(index)
        return header["steps"], minutes_of_model(self.path(index), header)

    def _header(self, index: Index) -> dict[str, Any]:
        path = self.path(index)
        header = read_header(path, NETWORK_FORMAT)
        check_key(path, header, self._key(index), self._study)
        return header

    def _key(self, index: Index) -> str:
        setting = self.space.setting(index)
        return setting_key(self._study, self.cohort, setting)

    def divergence_path(self, index: Index) -> Path:
        """Return where it is recorded that the training of a setting diverged."""
        path = self.path(index)
        name = path.name.removesuffix(".safetensors")
        return path.with_name(f"{name}-diverged.json")

    def divergence(self, index: Index) -> Divergence | None:
        """Return the record of a training that diverged; None where it did not, or another one did.

        Raises
        ------
        CheckpointError
            If the record was damaged.
        """
        path = self.divergence_path(index)
        if not path.is_file() or self.path(index).exists():
            return None
        found = read_record(
            path,
            Divergence,
            error=CheckpointError,
            what="the record of a training that diverged",
            advice="Delete the file to train again.",
        )
        # under another declaration it may not diverge
        return found if found.training_key == self._key(index) else None

    def record_divergence(self, index: Index, error: DivergedError) -> None:
        """Write down that a training diverged, and drop the state that it would be resumed from."""
        files = files_beside(self.path(index), self._study.training.steps)
        steps, minutes = logged_progress(files.log)
        record = Divergence(
            training_key=self._key(index),
            reason=one_line(error),
            steps=steps,
            minutes=round(minutes, 2),
        )
        write_json(self.divergence_path(index), record.model_dump())
        files.state.unlink(missing_ok=True)

    def train(self, index: Index) -> Path:
        """Train the network of a setting if it is not there, and return its file.

        Raises
        ------
        CheckpointError
            If there is a network of another declaration or cohort.
        DataError
            If there is no pair to train on.
        DivergedError
            If the training diverges.
        """
        with torch.inference_mode(False):
            setting = self.space.setting(index)
            return train_network(
                self._study, self.cohort, setting, self.path(index), self._track, self.device
            )

    def make_network(self, index: Index) -> RegistrationNetwork:
        """Return the network of a setting, which may take as long as a training does."""
        path = self.train(index)
        with torch.inference_mode(False):
            network, _ = load_network(path)
            network = network.to(self.device)
            return network.requires_grad_(False)


def setting_name(setting: Setting) -> str:
    """Return a file name that stands for a setting.

    Examples
    --------
    >>> setting_name({"regularization": 0.35, "label_weight": 0.5})
    'regularization-0.35-label_weight-0.5'
    """
    parts = [f"{name}-{value:.12g}" for name, value in setting.items()]
    return "-".join(parts)


@dataclass(frozen=True, kw_only=True)
class HypermorphTraining:
    """A hypermorph that is to be trained."""

    steps: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    """A network for one setting that is to be trained; without a learning rate, at the model's."""

    steps: int
    seed: int
    setting: Index
    learning_rate: float | None = None


Training = HypermorphTraining | NetworkTraining


class BaselineOracles:
    """Opens oracles of other steps and seeds of one declaration.

    Parameters
    ----------
    folder
        The study folder, with its trained model; what is trained goes to `compare/` in it.
    study
        The declaration.
    cohort
        Its prepared images.
    track
        Shows the progress of trainings.
    device
        Where to train and compute.
    """

    def __init__(
        self,
        folder: Path,
        study: Study,
        cohort: PreparedCohort,
        track: Track = silent,
        device: torch.device | str = "cpu",
    ) -> None:
        self._files = StudyFolder(folder)
        self._study = study
        self._cohort = cohort
        self._track = track
        self._device = device
        self._scaled = with_scales(study, cohort)
        self._separate: dict[tuple[int, int, float | None], RetrainedOracle] = {}

    def train(self, training: Training) -> None:
        """Train what is not there yet, or continue where it was interrupted.

        That the training of a separate network diverged is recorded, and its learning rate is out of
        the race at that setting.

        Raises
        ------
        CheckpointError
            If there is a model of another declaration or cohort.
        DataError
            If there is no pair to train on, a hypermorph diverges, or no learning rate of separate
            networks is left at the setting.
        """
        if isinstance(training, HypermorphTraining):
            self.hypermorph(training.steps, training.seed)
            return
        oracle = self.separate(training.steps, training.seed, training.learning_rate)
        try:
            oracle.train(training.setting)
        except DivergedError as error:
            oracle.record_divergence(training.setting, error)
            self.rates_left(training.steps, training.setting)

    def separate(
        self, steps: int, seed: int, learning_rate: float | None = None
    ) -> RetrainedOracle:
        """Return the oracle of networks for one setting each, trained when they are asked for.

        Parameters
        ----------
        steps, seed
            Of each training.
        learning_rate
            One of those that `[compare]` declares; None: that of the hypermorph.
        """
        known = (steps, seed, learning_rate)
        if known not in self._separate:
            study = with_budget(self._scaled, self._cohort, steps, seed, learning_rate)
            folder = self._files.separate_folder(steps, seed, learning_rate)
            self._separate[known] = RetrainedOracle(
                study, self._cohort, folder, self._track, self._device
            )
        return self._separate[known]

    # --- the learning rate of separate networks at a setting

    @property
    def _first_seed(self) -> int:
        """The seed whose networks are trained at every learning rate."""
        return self._study.training.seed

    def rates_left(self, steps: int, index: Index) -> list[float | None]:
        """Return the learning rates at which no training of a setting diverged, rising.

        Parameters
        ----------
        steps
            Of each training.
        index
            The setting.

        Raises
        ------
        DataError
            If there is none.
        """
        options = self._study.compare
        left = [
            rate for rate in options.learning_rates if not self._has_diverged(steps, index, rate)
        ]
        if left:
            return left
        tried = [self._rate_text(rate) for rate in options.learning_rates]
        setting = self._study.space.setting(index)
        values = [f"{name} = {value}" for name, value in setting.items()]
        raise DataError(
            "compare.learning_rate",
            expected=f"a rate at which networks for {', '.join(values)} can be trained",
            got=f"{', '.join(tried)}, where training diverged",
            advice="Declare a lower one.",
        )

    def untried_rates(self, steps: int, index: Index) -> list[float | None]:
        """Return the learning rates that the first seed is still to be trained at, to choose one of them.

        There are none where only one is declared.
        """
        if len(self._study.compare.learning_rates) == 1:
            return []
        untried = []
        for rate in self.rates_left(steps, index):
            oracle = self.separate(steps, self._first_seed, rate)
            if oracle.missing([index]):
                untried.append(rate)
        return untried

    def best_rate(self, steps: int, index: Index) -> float | None:
        """Return the learning rate of a setting for all seeds: that of the best tune Dice with the first.

        Of equal ones it is the lowest. A rate at which a further seed diverged counts no more.

        Raises
        ------
        CheckpointError
            If the network of the first seed at one of several rates is not there, or its file does
            not tell its tune Dice.
        DataError
            If training diverged at every rate.
        """
        left = self.rates_left(steps, index)
        if len(left) == 1:
            return left[0]
        scores = []
        for rate in left:
            oracle = self.separate(steps, self._first_seed, rate)
            scores.append(oracle.tune_dice(index))
        best = scores.index(max(scores))
        return left[best]

    def rate_trials(self, steps: int, index: Index) -> list[RateTrial]:
        """Return what was tried to choose the learning rate of a setting; nothing where one is declared."""
        declared = self._study.compare.learning_rates
        if len(declared) == 1:
            return []
        best = self.best_rate(steps, index)
        trials = []
        for rate in declared:
            assert rate is not None
            oracle = self.separate(steps, self._first_seed, rate)
            diverged = oracle.divergence(index) is not None
            steps_done, minutes = oracle.cost(index)
            trial = RateTrial(
                steps=steps,
                setting=index,
                learning_rate=rate,
                tune_dice=None if diverged else oracle.known_tune_dice(index),
                diverged=diverged,
                steps_done=steps_done,
                minutes=minutes,
                chosen=rate == best,
            )
            trials.append(trial)
        return trials

    def _has_diverged(self, steps: int, index: Index, rate: float | None) -> bool:
        """Return whether a training of any declared seed diverged."""
        options = self._study.compare
        seeds = max(options.seeds, options.optimum_seeds, options.half_budget_seeds)
        for seed in range(self._first_seed, self._first_seed + seeds):
            oracle = self.separate(steps, seed, rate)
            if oracle.divergence(index) is not None:
                return True
        return False

    def _rate_text(self, rate: float | None) -> str:
        known = self._study.training.learning_rate if rate is None else rate
        return f"{known:g}"

    # --- hypermorphs

    def hypermorph_path(self, steps: int, seed: int) -> Path:
        """Return the file of a hypermorph; that of the study's own steps and seed is its model."""
        own = self._study.training
        if (steps, seed) == (own.steps, own.seed):
            return self._files.model_file()
        return self._files.hypermorph_file(steps, seed)

    def has_hypermorph(self, steps: int, seed: int) -> bool:
        """Tell whether a hypermorph is trained already.

        Raises
        ------
        CheckpointError
            If there is one of another declaration or cohort.
        """
        path = self.hypermorph_path(steps, seed)
        if not path.exists():
            return False
        is_own = path == self._files.model_file()
        study = self._study if is_own else with_budget(self._scaled, self._cohort, steps, seed)
        check_key(path, read_header(path), training_key(study, self._cohort), study)
        return True

    def hypermorph(self, steps: int, seed: int) -> AmortizedOracle:
        """Return the oracle of a hypermorph, trained first where it is not there.

        Raises
        ------
        CheckpointError
            If there is a model of another declaration or cohort, or the study's own is not there.
        DataError
            If the loss ceases to be a finite number.
        """
        path = self.hypermorph_path(steps, seed)
        if path == self._files.model_file():
            return load_trained(self._files.path, self._study, self._cohort, self._device)
        study = with_budget(self._scaled, self._cohort, steps, seed)
        train_hypermorph(study, self._cohort, path, self._track, self._device)
        built_as = architecture(study, self._cohort.shape)
        model, header = load_hypermorph(path, built_as)
        model.space = study.space
        facts = facts_of(header, study.loss.model_dump(mode="json"), self._cohort.spacing_mm)
        return AmortizedOracle(model, self._cohort, self._device, facts=facts)
