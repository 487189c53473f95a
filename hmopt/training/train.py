"""Training of the hypermorph of a study folder."""

from pathlib import Path

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.training.learner import HypermorphLearner
from hmopt.training.loop import Files, Training
from hmopt.training.trained import is_trained, kept_models, training_key


def train(
    study: Study,
    cohort: PreparedCohort,
    folder: Path,
    track: Track = silent,
    device: str | torch.device = "cpu",
) -> Path:
    """Train the declared hypermorph, or continue where an interrupted training stopped.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    folder
        Where `model.safetensors` and `training.csv` go, and the model as it was after a quarter, half and three
        quarters of the steps (`model-quarter.safetensors` and so on).
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
    study_folder = StudyFolder(folder)
    path = study_folder.model_file()
    if is_trained(study, cohort, folder):
        return path
    place = torch.device(device)
    models = kept_models(folder, study.training.steps)
    files = Files(
        models=models, state=study_folder.training_state_file, log=study_folder.training_file
    )
    key = training_key(study, cohort)
    Training(
        study, cohort, lambda: HypermorphLearner(study, cohort.shape, place), files, key, place
    ).run(track)
    return path
