"""Hypermorphs on disk: safetensors with a JSON header that says what was trained, on what and how."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

import hmopt
from hmopt.declaration import HypernetworkOptions, NetworkOptions, Study
from hmopt.errors import CheckpointError, HmoptError
from hmopt.files import one_line, replacing
from hmopt.model_file import check_header, check_weights, in_trained_order, read_tensors, sealed
from hmopt.networks.hypermorph import Hypermorph
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Hyperparameter, Space

FORMAT = "hmopt-hypermorph-1"
NOT_TRAINED = ("step", "default")
"""Keys of a hyperparameter that say how it is searched; a trained model stands for any value of them."""


def architecture(study: Study, shape: tuple[int, ...]) -> dict[str, Any]:
    """Give what decides which tensors a hypermorph has and what its settings mean, as values that JSON can hold.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.

    Returns
    -------
    dict
        `shape`, and the sections `network`, `hypernetwork` and `hyperparameters` with every key.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> needed = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "split": {"train": 1, "tune": 1, "search": 1}}
    >>> list(architecture(parse_study({**needed, "preprocessing": {"shape": [16, 16]}}), (16, 16)))
    ['shape', 'network', 'hypernetwork', 'hyperparameters']
    """
    return {
        "shape": list(shape),
        "network": study.network.model_dump(),
        "hypernetwork": study.hypernetwork.model_dump(),
        "hyperparameters": {
            name: section.model_dump() for name, section in study.hyperparameters.items()
        },
    }


def trained_part(built_as: dict[str, Any]) -> dict[str, Any]:
    """Give an `architecture` without the keys that can change after training.

    Examples
    --------
    >>> trained_part({"hyperparameters": {"regularization": {"low": 0.0, "step": 0.005, "default": 0.5}}})
    {'hyperparameters': {'regularization': {'low': 0.0}}}
    """
    declared = built_as.get("hyperparameters", {})
    kept = {
        name: {key: value for key, value in values.items() if key not in NOT_TRAINED}
        for name, values in declared.items()
    }
    return {**built_as, "hyperparameters": kept}


def build_hypermorph(built_as: dict[str, Any]) -> Hypermorph:
    """Make a hypermorph of an `architecture`, its weights drawn by torch's global generator.

    Parameters
    ----------
    built_as
        What `architecture` gives, or the header of a file holds under that name.

    Raises
    ------
    DeclarationError
        If no such network can be built.

    Examples
    --------
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"network": network, "hypernetwork": {"units": [8]}, "hyperparameters": {"regularization": {}}}
    >>> build_hypermorph({"shape": [16, 16], **declared}).space.names
    ('regularization',)
    """
    declared = built_as["hyperparameters"]
    space = Space(
        hyperparameters=tuple(
            Hyperparameter(name=name, **values) for name, values in declared.items()
        )
    )
    registration = RegistrationNetwork(
        NetworkOptions(**built_as["network"]), tuple(built_as["shape"])
    )
    return Hypermorph(registration, space, HypernetworkOptions(**built_as["hypernetwork"]).units)


def save_hypermorph(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write a hypermorph's tensors, with a header that says what they are.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    tensors
        The hypernetwork's `state_dict()`, or averages of it.
    header
        Values that JSON can hold, among them the `architecture`. Format and version of hmopt are added.

    Examples
    --------
    >>> import tempfile
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"network": network, "hypernetwork": {"units": [8]}, "hyperparameters": {"regularization": {}}}
    >>> built_as = {"shape": [16, 16], **declared}
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_hypermorph(path, build_hypermorph(built_as).hypernetwork.state_dict(), {"architecture": built_as})
    >>> hypermorph, header = load_hypermorph(path)
    >>> header["architecture"] == built_as
    True
    """
    save_tensors(path, FORMAT, tensors, header)


def save_tensors(
    path: Path, form: str, tensors: dict[str, torch.Tensor], header: dict[str, Any]
) -> None:
    """Write tensors of whatever is trained, with a header that also names their format and the version of hmopt."""
    # in the order given: that of hyperparameters is the order of the hypernetwork's inputs
    header_text = json.dumps({"format": form, "version": hmopt.__version__, **header})
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = sealed(
        {"hmopt": header_text}, {name: tensor.numpy() for name, tensor in kept.items()}
    )
    with replacing(path) as beside:
        save_file(kept, beside, metadata)


def load_weights(path: Path, module: nn.Module) -> None:
    """Load a file's tensors into a module, which must have the same ones.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds what no training makes.
    RuntimeError
        If the module has other tensors.
    """
    what = "the weights that were trained"
    _, arrays = read_tensors(path, what)
    check_weights(path, arrays, what)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def read_header(path: Path, form: str = FORMAT) -> dict[str, Any]:
    """Give the header of a file that hmopt wrote.

    Parameters
    ----------
    path
        The file.
    form
        The format that it must have.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is none of ours.

    Examples
    --------
    >>> read_header(Path("nowhere/model.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/model.safetensors: expected a trained model, got no file. Run ...
    """
    if not path.is_file():
        raise CheckpointError(
            str(path), expected="a trained model", got="no file", advice="Run `hmopt train` first."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hmopt", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            str(path),
            expected="a safetensors file",
            got=one_line(error),
            advice="Train again, or restore the file.",
        ) from error
    if not isinstance(header, dict) or header.get("format") != form:
        got = header.get("format", "no header") if isinstance(header, dict) else "another header"
        raise CheckpointError(
            str(path), expected=form, got=got, advice="Use a model that hmopt wrote."
        )
    check_header(path, header)
    return header


def load_hypermorph(
    path: Path, expected: dict[str, Any] | None = None
) -> tuple[Hypermorph, dict[str, Any]]:
    """Give the hypermorph in a file, and its header.

    Parameters
    ----------
    path
        The file.
    expected
        The `architecture` that it must have; None takes whatever it has.

    Returns
    -------
    Hypermorph
        On the CPU.
    dict
        The header.

    Raises
    ------
    CheckpointError
        If the file cannot be used or is of another architecture.

    Examples
    --------
    >>> load_hypermorph(Path("nowhere/model.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/model.safetensors: expected a trained model, got no file. Run ...
    """
    header = read_header(path)
    built_as = header.get("architecture", {})
    if not isinstance(built_as, dict) or not isinstance(built_as.get("hyperparameters", {}), dict):
        raise CheckpointError(
            str(path),
            expected="weights of its own architecture",
            got="another header",
            advice="Train again.",
        )
    if built_as.get("hyperparameters"):
        declared_order = None if expected is None else expected.get("hyperparameters")
        hyperparameters = in_trained_order(header, declared_order)
        built_as = {**built_as, "hyperparameters": hyperparameters}
    for place, declared, got in (
        _differences(_ordered(trained_part(expected)), _ordered(trained_part(built_as)))
        if expected
        else ()
    ):
        raise CheckpointError(
            f"{path}: {place}",
            expected=str(declared),
            got=got,
            advice="Restore the declaration that it was trained under, or move the file away and train again.",
        )
    try:
        hypermorph = build_hypermorph(built_as)
        load_weights(path, hypermorph.hypernetwork)
    except CheckpointError:
        raise
    except (
        RuntimeError,
        ValidationError,
        HmoptError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            str(path),
            expected="weights of its own architecture",
            got=one_line(error),
            advice="Train again.",
        ) from error
    return hypermorph.eval(), header


def _ordered(built_as: dict[str, Any]) -> dict[str, Any]:
    """Return an architecture that also tells the order of its hyperparameters."""
    names = list(built_as.get("hyperparameters", {}))
    return {**built_as, "order of hyperparameters": ", ".join(names)}


def _differences(
    one: object, other: object, place: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Yield the dotted keys at which two nested dictionaries differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one | other:
            yield from _differences(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    elif one != other:
        yield place, one, other
