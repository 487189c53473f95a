"""Identity of a training: what decides its result, and whether a file holds that result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmopt.catalogue import Named, find_hyperparameter, find_regularizer, find_similarity
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.declaration.renamed import first_names
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
        Optimizer steps of the training. Where there are fewer than four, several checkpoints fall
        on one step: half and full training then are kept, and the others only at steps of their
        own.

    Examples
    --------
    >>> {step: path.name for step, path in kept_models(Path("study"), 2).items()}
    {1: 'model-half.safetensors', 2: 'model.safetensors'}
    """
    # a later one takes a shared step
    order: tuple[Checkpoint, ...] = ("quarter", "three-quarters", "half", "full")
    files = StudyFolder(folder)
    kept = {}
    for checkpoint in order:
        step = steps_at(checkpoint, steps)
        if step > 0:
            kept[step] = files.model_file(checkpoint)
    return kept


def is_trained(study: Study, cohort: PreparedCohort, folder: Path) -> bool:
    """Return whether a folder's model is the declared one, trained to its end.

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
        If there is a model of another declaration or cohort, a file that is no model, or one that
        was damaged.

    Examples
    --------
    >>> is_trained(study=None, cohort=None, folder=Path("nowhere"))
    False
    """
    path = StudyFolder(folder).model_file()
    if not path.exists():
        return False
    key = training_key(study, cohort)
    if not is_kept(path, HYPERMORPH_FORMAT, key, study):
        return False
    check_steps(path, read_header(path), study.training.steps)
    return True


def is_kept(path: Path, form: str, key: str, study: Study | None = None) -> bool:
    """Return whether the result of a training is in its file already.

    Parameters
    ----------
    path
        The file.
    form
        Its format.
    key
        The training's `training_key`, or `network_key` with its setting.
    study
        The declaration, for a message.

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
    check_key(path, header, key, study)
    return True


def check_steps(path: Path, header: Mapping[str, Any], steps: int) -> None:
    """Check that a model was trained for so many steps: that of half the training is not the full.

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
        If it was trained for another number.

    Examples
    --------
    >>> check_steps(Path("model.safetensors"), {"steps": 3000}, steps=6000)
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: model.safetensors: expected a model after 6000 steps, ...
    """
    found = header.get("steps", steps)
    if found != steps:
        raise CheckpointError(
            str(path),
            expected=f"a model after {steps} steps",
            got=f"one after {found}",
            advice="Restore the file, or move it away and train again.",
        )


def check_key(path: Path, header: Mapping[str, Any], key: str, study: Study | None = None) -> None:
    """Check that a model is of this declaration and cohort.

    A model of another split, above all, was trained on subjects to search on.

    Parameters
    ----------
    path
        The model's file.
    header
        Its header.
    key
        The key that it must have.
    study
        The declaration, so that a message names what differs.

    Raises
    ------
    CheckpointError
        If it has another one.
    """
    if header.get("training_key") == key:
        return
    advice = "Restore what it was trained under, or move the file away and train again."
    trained_as = header.get("training")
    if trained_as is not None and "settings_per_step" not in trained_as:
        advice = (
            "It was trained by an earlier version: declare `settings_per_step = 1` and `warm_up = 0` under [training]. "
            f"If that is not all: {advice[0].lower()}{advice[1:]}"
        )
    raise CheckpointError(
        str(path),
        expected="a model of this declaration and these images",
        got=_of_others(header, study),
        advice=advice,
    )


_MOST_NAMED = 3
"""Keys that a message names at most."""


def _of_others(header: Mapping[str, Any], study: Study | None) -> str:
    """Return what differs between the training of a model and a declaration, for a message."""
    if study is None:
        return "one of others"
    architecture_of = header.get("architecture", {})
    tables = {
        "training": (header.get("training", {}), study.training),
        "loss": (header.get("loss", {}), study.loss),
        "network": (architecture_of.get("network", {}), study.network),
        "hypernetwork": (architecture_of.get("hypernetwork", {}), study.hypernetwork),
    }
    not_deciding = {"threads", "checkpoint_every", "scale", "second_scale"}
    found = []
    for table, (before, options) in tables.items():
        for key, now in options.model_dump(mode="json", exclude=not_deciding).items():
            if key in before and before[key] != now:
                found.append(f"{table}.{key} was {before[key]}, is {now}")
    if not found:
        return "one of others: [hyperparameters], the images, their preparation, [split] or [pairs] differ"
    more = len(found) - _MOST_NAMED
    end = f"; {more} more" if more > 0 else ""
    return f"one of others: {'; '.join(found[:_MOST_NAMED])}{end}"


def training_key(study: Study, cohort: PreparedCohort) -> str:
    """Return a hash of everything that decides a hypermorph's weights, except for the machine.

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
    >>> values = {"cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> values["split"] = {"train": 1, "tune": 1, "search": 1}
    >>> one = parse_study({**values, "name": "one"})
    >>> renamed = parse_study({**values, "name": "renamed"})
    >>> cohort = SimpleNamespace(shape=(16, 16), identity="a hash")  # stands for a prepared cohort
    >>> training_key(one, cohort) == training_key(renamed, cohort)
    True
    """
    hypermorph = architecture(study, cohort.shape)
    trained = first_names(trained_part(hypermorph))
    declared = _declared(study)
    settings = study.training.settings_per_step
    # as below: a step of one setting is that of earlier versions
    several = [] if settings == 1 else [{"settings_per_step": settings}]
    return content_hash(trained, [*declared, *several], cohort.identity)


def network_key(study: Study, cohort: PreparedCohort) -> str:
    """Return a hash of everything that decides the weights of a separate network, but its setting.

    The hypernetwork is no part of it, nor are the ranges of hyperparameters: where a hypermorph is
    declared anew and trained again, separate networks are reused.

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
    >>> values = {"cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> values["split"] = {"train": 1, "tune": 1, "search": 1}
    >>> one = parse_study({"name": "x", **values, "hypernetwork": {"widths": [4]}})
    >>> other = parse_study({"name": "x", **values, "hypernetwork": {"widths": [8]}})
    >>> cohort = SimpleNamespace(shape=(16, 16), identity="a hash")  # stands for a prepared cohort
    >>> network_key(one, cohort) == network_key(other, cohort)
    True
    >>> training_key(one, cohort) == training_key(other, cohort)
    False
    """
    shape = list(cohort.shape)
    hyperparameters = list(study.hyperparameters)
    network = [shape, study.network.model_dump(), hyperparameters]
    declared = _declared(study)
    return content_hash("separate", network, declared, cohort.identity)


def _declared(study: Study) -> list[dict[str, Any]]:
    """Return what decides a training besides the networks: loss, optimization, split and pairs."""
    # a separate network has one setting
    not_deciding = {"threads", "checkpoint_every", "settings_per_step"}
    # without them a training is that of earlier versions, whose models stay theirs
    if not study.training.warm_up:
        not_deciding.add("warm_up")
    if study.training.gradient_norm is None:
        not_deciding.add("gradient_norm")
    of_training = {"tasks", "atlas", "same"}
    tables = {
        "loss": study.loss.model_dump(mode="json"),
        "training": study.training.model_dump(mode="json", exclude=not_deciding),
        "split": study.split.model_dump(mode="json"),
        "pairs": study.pairs.model_dump(mode="json", include=of_training),
    }
    declared = list(first_names(tables).values())
    raised = _raised_versions(study)
    return [*declared, raised] if raised else declared


def _raised_versions(study: Study) -> dict[str, int]:
    """Return the versions of what the loss is made of, where they are not the first."""
    similarity = find_similarity(study.loss.similarity)
    regularizer = find_regularizer(study.loss.regularizer)
    records: list[Named] = [similarity, regularizer]
    if study.loss.second_similarity is not None:
        second = find_similarity(study.loss.second_similarity)
        records.append(second)
    for name in study.hyperparameters:
        hyperparameter = find_hyperparameter(name)
        records.append(hyperparameter)

    raised = {}
    for record in records:
        if record.version != 1:
            raised[record.name] = record.version
    return raised
