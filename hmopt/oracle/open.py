"""A study folder's oracle, as a script or a command wants it."""

from pathlib import Path
from typing import Literal

import torch

from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import Study, read_study
from hmopt.ledger import Ledger, Recorded
from hmopt.ledger.folder import LEDGER_FOLDER
from hmopt.networks import architecture, load_hypermorph
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.progress import Track, silent
from hmopt.records import Pair
from hmopt.training.trained import HALF_MODEL, MODEL, check_key, check_steps, training_key

Trained = Literal["full", "half"]
"""The model at the end of training, or as it was half-way."""

MODEL_FILES: dict[Trained, str] = {"full": MODEL, "half": HALF_MODEL}


def open_oracle(
    folder: Path | str,
    model: Trained = "full",
    device: torch.device | str = "cpu",
    track: Track = silent,
) -> tuple[Recorded, list[Pair]]:
    """Give a study's oracle, which measures what its ledger does not hold yet, and the pairs that are searched.

    Parameters
    ----------
    folder
        The study folder, with a trained model in it.
    model
        The model at the end of training, or as it was half-way.
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
    oracle = Recorded(load_oracle(folder, study, cohort, model, device), Ledger(folder / LEDGER_FOLDER))
    return oracle, draw_pairs(cohort, study.pairs, "search")


def load_oracle(
    folder: Path,
    study: Study,
    cohort: PreparedCohort,
    model: Trained = "full",
    device: torch.device | str = "cpu",
) -> AmortizedOracle:
    """Give the oracle of the model in a study folder.

    Raises
    ------
    CheckpointError
        If there is no such model, or it was trained under another declaration or on other images.
    """
    path = folder / MODEL_FILES[model]
    hypermorph, header = load_hypermorph(path, architecture(study, cohort.shape))
    check_key(path, header, training_key(study, cohort))
    steps = study.training.steps
    check_steps(path, header, steps if model == "full" else steps // 2)
    hypermorph.space = study.space
    return AmortizedOracle(hypermorph, cohort, device)
