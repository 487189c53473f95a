"""What a trained model was trained under, and whether that is what is declared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmopt.catalogue import Record, find_hyperparameter, find_regularizer, find_similarity
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import CheckpointError
from hmopt.files import content_hash
from hmopt.networks import (
    HYPERMORPH_FORMAT,
    architecture,
    load_hypermorph,
    load_network,
    read_header,
    trained_part,
)
from hmopt.records import Checkpoint, steps_at
from hmopt.study_folder import StudyFolder


def kept_models(folder: Path, steps: int) -> dict[int, Path]:
    """Return which steps of a training leave a model, and in which file.

    Parameters
    ----------
    folder
        The study folder.
    steps
        Optimizer steps of the training. Fewer than four have no place for every checkpoint: then half and full
        training are kept, and a quarter or three quarters only where they are steps of their own.

    Examples
    --------
    >>> {step: path.name for step, path in kept_models(Path("study"), 2).items()}
    {1: 'model-half.safetensors', 2: 'model.safetensors'}
    """
    order: tuple[Checkpoint, ...] = (
        "quarter",
        "three-quarters",
        "half",
        "full",
    )  # a later one takes a shared step
    files = StudyFolder(folder)
    kept = {steps_at(checkpoint, steps): files.model_file(checkpoint) for checkpoint in order}
    return {step: path for step, path in kept.items() if step > 0}


def is_trained(study: Study, cohort: PreparedCohort, folder: Path) -> bool:
    """Tell whether a folder's model is the declared one, trained to its end.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    folder
        The study folder.

    Raises
    ------
    CheckpointError
        If there is a model of another declaration or cohort, a file that is no model, or one that was damaged.

    Examples
    --------
    >>> is_trained(study=None, cohort=None, folder=Path("nowhere"))
    False
    """
    path = StudyFolder(folder).model_file()
    if not path.exists() or not is_kept(path, HYPERMORPH_FORMAT, training_key(study, cohort)):
        return False
    check_steps(path, read_header(path), study.training.steps)
    return True


def is_kept(path: Path, form: str, key: str) -> bool:
    """Tell whether what a training makes is in its file already.

    Parameters
    ----------
    path
        The file.
    form
        Its format.
    key
        Stands for the declaration and its prepared images.

    Raises
    ------
    CheckpointError
        If the file is of another training or another format, or was damaged.

    Examples
    --------
    >>> is_kept(Path("nowhere/model.safetensors"), HYPERMORPH_FORMAT, key="0f")
    False
    """
    if not path.exists():
        return False
    load = load_hypermorph if form == HYPERMORPH_FORMAT else load_network
    _, header = load(path)  # which refuses weights that were damaged
    check_key(path, header, key)
    return True


def check_steps(path: Path, header: Mapping[str, Any], steps: int) -> None:
    """Refuse a model that was trained for another number of steps, as that of half the training in place of the full.

    Parameters
    ----------
    path
        The model's file.
    header
        Its header.
    steps
        How many it must have been trained for.

    Raises
    ------
    CheckpointError
        If it was trained for others.

    Examples
    --------
    >>> check_steps(Path("model.safetensors"), {"steps": 3000}, steps=6000)
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: model.safetensors: expected a model after 6000 steps, got one after 3000. Restore ...
    """
    found = header.get("steps", steps)
    if found != steps:
        raise CheckpointError(
            str(path),
            expected=f"a model after {steps} steps",
            got=f"one after {found}",
            advice="Restore the file, or move it away and train again.",
        )


def check_key(path: Path, header: Mapping[str, Any], key: str) -> None:
    """Refuse a model of another declaration or cohort: of another split, above all, which would mix its subjects.

    Parameters
    ----------
    path
        The model's file.
    header
        Its header.
    key
        Stands for the declaration and its prepared images.

    Raises
    ------
    CheckpointError
        If it was trained under others.
    """
    if header.get("training_key") != key:
        raise CheckpointError(
            str(path),
            expected="a model of this declaration and these images",
            got="one of others",
            advice="Restore what it was trained under, or move the file away and train again.",
        )


def training_key(study: Study, cohort: PreparedCohort) -> str:
    """Give a hash of everything that decides what training makes, but for the machine.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> values |= {"split": {"train": 1, "tune": 1, "search": 1}}
    >>> one, renamed = (parse_study({**values, "name": name}) for name in ("one", "renamed"))
    >>> cohort = SimpleNamespace(shape=(16, 16), identity="a hash")  # stands for a prepared cohort
    >>> training_key(one, cohort) == training_key(renamed, cohort)
    True
    """
    return content_hash(
        trained_part(architecture(study, cohort.shape)), _sections(study), cohort.identity
    )


def network_key(study: Study, cohort: PreparedCohort) -> str:
    """Give a hash of everything that decides what training one network for one setting makes, but for the setting.

    The hypernetwork is no part of it, nor are the ranges of hyperparameters: a hypermorph can be declared anew and
    trained again, and separate networks stay what they are.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> values |= {"split": {"train": 1, "tune": 1, "search": 1}}
    >>> one, other = (parse_study({**values, "hypernetwork": {"units": [units]}}) for units in (4, 8))
    >>> cohort = SimpleNamespace(shape=(16, 16), identity="a hash")  # stands for a prepared cohort
    >>> network_key(one, cohort) == network_key(other, cohort), training_key(one, cohort) == training_key(other, cohort)
    (True, False)
    """
    network = [list(cohort.shape), study.network.model_dump(), list(study.hyperparameters)]
    return content_hash("separate", network, _sections(study), cohort.identity)


def _sections(study: Study) -> list[dict[str, Any]]:
    training = study.training.model_dump(mode="json", exclude={"threads", "checkpoint_every"})
    pairs = study.pairs.model_dump(mode="json", include={"kinds", "atlas", "same"})
    declared = [
        study.loss.model_dump(mode="json"),
        training,
        study.split.model_dump(mode="json"),
        pairs,
    ]
    raised = _raised_versions(study)
    return [*declared, raised] if raised else declared


def _raised_versions(study: Study) -> dict[str, int]:
    """Return the versions of what the loss is made of, where they are not the first."""
    records: list[Record] = [
        find_similarity(study.loss.similarity),
        find_regularizer(study.loss.regularization),
        *(find_hyperparameter(name) for name in study.hyperparameters),
    ]
    return {record.name: record.version for record in records if record.version != 1}
