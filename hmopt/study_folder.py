"""Which files of a study folder belong together: the declaration, the model, and the search of it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hmopt.declaration import FILE_NAME, NetworkOptions, Study
from hmopt.declaration.study import read_declaration
from hmopt.errors import CheckpointError, DeclarationError, HmoptError, LedgerError
from hmopt.files import content_hash, file_hash, one_line
from hmopt.ledger.folder import SEARCH_FILE, Searched, read_searched, search_file
from hmopt.model_file import MODEL_FILE, in_trained_order, read_tensors, weights_hash
from hmopt.space import Hyperparameter

LOG_FILE = "training.csv"
HOW_MUCH_IS_MEASURED = {"coarse", "confirmations", "storage"}
"""Keys of `[search]` that change nothing about what was measured already."""


def model_identity(path: Path) -> str:
    """Return what the measurements of a model go by: a hash of its weights, architecture and prepared cohort.

    Torch is not needed.

    Parameters
    ----------
    path
        The file of a trained hypermorph.

    Raises
    ------
    CheckpointError
        If it is none, or was damaged.
    """
    what = "a trained model"
    metadata, tensors = read_tensors(path, what)
    try:
        header = json.loads(metadata["hmopt"])
        declared = in_trained_order(header)
        hyperparameters = [Hyperparameter(name=name, **values) for name, values in declared.items()]
        network = NetworkOptions(**header["architecture"]["network"])
        cohort = header["cohort"]
    except (KeyError, TypeError, AttributeError, ValueError, HmoptError) as error:
        advice = "Restore the file, or move it away and train again."
        raise CheckpointError(
            str(path), expected=what, got=one_line(error), advice=advice
        ) from error
    ranges = [(h.name, h.low, h.high, h.prior) for h in hyperparameters]
    return content_hash(weights_hash(tensors, network, ranges), cohort)


def check_together(folder: Path) -> None:
    """Refuse a model and a declaration that are not those that were searched; either may be missing.

    Parameters
    ----------
    folder
        A study folder that was searched, or that holds committed results.

    Raises
    ------
    LedgerError
        If nothing was searched, or another model than the one in the folder.
    DeclarationError
        If `study.toml` declares something else than what was searched.
    """
    searched = read_searched(folder)
    _check_model(folder, searched)
    _check_log(folder, searched)
    if (folder / FILE_NAME).is_file():
        _check_declaration(folder, searched)


def _check_model(folder: Path, searched: Searched) -> None:
    path = folder / MODEL_FILE
    if not path.is_file():
        return
    identity = model_identity(path)
    if identity != searched.identity:
        raise LedgerError(
            str(search_file(folder)),
            expected=f"a search of the model in {path} ({identity})",
            got=f"one of another model ({searched.identity})",
            advice=f"Run `hmopt search {folder}`, or restore the model that was searched.",
        )


def _check_log(folder: Path, searched: Searched) -> None:
    """Refuse the log of another training than that of the model that was searched, or one that was damaged."""
    path = folder / LOG_FILE
    was_searched_here = (folder / SEARCH_FILE).is_file()
    if not was_searched_here or searched.log_hash is None or not path.is_file():
        return
    if file_hash(path) != searched.log_hash:
        raise LedgerError(
            str(path),
            expected=f"the log of the training whose model {SEARCH_FILE} is about",
            got="another one, or one that was damaged",
            advice=f"Restore it from a copy, move it away, or run `hmopt search {folder}` again.",
        )


def _check_declaration(folder: Path, searched: Searched) -> None:
    study = read_declaration(folder)
    for key, before, now in _changes(study, searched):
        raise DeclarationError(
            f"{folder / FILE_NAME}: {key}",
            expected=f"{before} as in {search_file(folder)}",
            got=now,
            advice=f"Run `hmopt search {folder}`, or restore what was declared then.",
        )


def _changes(study: Study, searched: Searched) -> Iterator[tuple[str, str, str]]:
    """Yield the dotted keys at which a declaration differs from the one that was searched, with both values."""
    kept = searched.search.model_dump(
        mode="json", include=searched.search.model_fields_set - HOW_MUCH_IS_MEASURED
    )
    yield from _differences("search", kept, study.search.model_dump(mode="json"))
    for known in searched.space.hyperparameters:
        if known.name not in study.hyperparameters:
            yield f"hyperparameters.{known.name}", "declared", "none"
            return
        section = study.hyperparameters[known.name].model_dump(mode="json")
        yield from _differences(f"hyperparameters.{known.name}", vars(known), section)
    for name in study.hyperparameters:
        if name not in searched.space.names:
            yield f"hyperparameters.{name}", "none", "declared"
    yield from _differences("loss", searched.loss, study.loss.model_dump(mode="json"))
    yield from _differences("", searched.declared, declared_sections(study))


def declared_sections(study: Study) -> dict[str, Any]:
    """Return the sections of a declaration that decide what is measured, as JSON holds them; paths are no part of it.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "preprocessing": {"shape": [16, 16]}}
    >>> declared_sections(parse_study({**values, "split": {"train": 1, "tune": 1, "search": 1}}))["split"]["train"]
    1
    """
    left_out = {
        "cohort": {"manifest", "images", "labels", "label_names"},
        "pairs": {"csv"},
        "training": {"threads", "checkpoint_every"},
    }
    names = ("cohort", "preprocessing", "split", "pairs", "network", "hypernetwork", "training")
    return {
        name: getattr(study, name).model_dump(mode="json", exclude=left_out.get(name))
        for name in names
    }


def _differences(
    place: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield where two tables differ in a key that both have."""
    for key, value in before.items():
        if key not in now:
            continue
        inner = f"{place}.{key}".lstrip(".")
        if isinstance(value, Mapping) and isinstance(now[key], Mapping) and place == "":
            yield from _differences(inner, value, now[key])
        elif json.loads(json.dumps(value)) != now[key]:
            yield inner, repr(value), repr(now[key])
