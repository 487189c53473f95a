"""A study folder's oracle, as a script or a command wants it."""

from pathlib import Path

import torch

from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import Study, read_study
from hmopt.ledger import Recorded
from hmopt.networks import architecture, load_hypermorph
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint, Pair, steps_at
from hmopt.study_folder import StudyFolder
from hmopt.training.identity import check_key, check_steps, training_key


def open_oracle(
    folder: Path | str,
    model: Checkpoint = "full",
    device: torch.device | str = "cpu",
    track: Track = silent,
) -> tuple[Recorded, list[Pair]]:
    """Give a study's oracle, which measures what its ledger does not hold yet, and the pairs that are searched.

    Parameters
    ----------
    folder
        The study folder, with a trained model in it.
    model
        The model at the end of training, or as it was at an earlier checkpoint.
    device
        Where to compute.
    track
        Shows how far the preparation of images is, where it is still to do.

    Returns
    -------
    Recorded
        The oracle.
    list of Pair
        The declared pairs of the subjects to search on.

    Raises
    ------
    HmoptError
        If the declaration, the data or the model cannot be used.
    """
    folder = Path(folder)
    study = read_study(folder)
    cohort = prepare(study, folder, track)
    loaded = load_oracle(folder, study, cohort, model, device)
    oracle = Recorded(loaded, StudyFolder(folder).ledger)
    return oracle, draw_pairs(cohort, study.pairs, "search")


def load_oracle(
    folder: Path,
    study: Study,
    cohort: PreparedCohort,
    model: Checkpoint = "full",
    device: torch.device | str = "cpu",
) -> AmortizedOracle:
    """Give the oracle of the model in a study folder.

    Raises
    ------
    CheckpointError
        If there is no such model, or it was trained under another declaration or on other images.
    """
    path = StudyFolder(folder).model_file(model)
    hypermorph, header = load_hypermorph(path, architecture(study, cohort.shape))
    check_key(path, header, training_key(study, cohort))
    check_steps(path, header, steps_at(model, study.training.steps))
    hypermorph.space = study.space
    return AmortizedOracle(hypermorph, cohort, device)


def load_checkpoints(
    folder: Path, study: Study, cohort: PreparedCohort, device: torch.device | str = "cpu"
) -> dict[Checkpoint, AmortizedOracle]:
    """Return the oracles of the model as it was during its training, the earliest first; the end is not among them.

    The model at half training is always one of them. Those at a quarter and three quarters are left out where the
    training kept none: it was very short, or of a version that did not keep them.

    Raises
    ------
    CheckpointError
        If there is no model of half training, or one that was trained under another declaration or on other images.
    """
    files = StudyFolder(folder)
    during = [checkpoint for checkpoint in CHECKPOINTS if checkpoint != "full"]
    kept = [
        checkpoint
        for checkpoint in during
        if checkpoint == "half" or files.model_file(checkpoint).exists()
    ]
    return {
        checkpoint: load_oracle(folder, study, cohort, checkpoint, device) for checkpoint in kept
    }
