"""Hypermorphs on disk: safetensors with a JSON header that says what was trained, on what and how."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import hmopt
from hmopt.declaration import HypernetworkSection, NetworkSection, Study
from hmopt.errors import CheckpointError
from hmopt.files import replacing
from hmopt.networks.hypermorph import Hypermorph
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Hyperparameter, Space

FORMAT = "hmopt-hypermorph-1"


def architecture(study: Study, shape: tuple[int, ...]) -> dict[str, Any]:
    """Give what decides which tensors a hypermorph has, as values that JSON can hold."""
    return {
        "shape": list(shape),
        "network": study.network.model_dump(),
        "hypernetwork": study.hypernetwork.model_dump(),
        "hyperparameters": {name: section.model_dump() for name, section in study.hyperparameters.items()},
    }


def build_hypermorph(built_as: dict[str, Any]) -> Hypermorph:
    """Make a hypermorph of an `architecture`, its weights drawn by torch's global generator."""
    declared = built_as["hyperparameters"]
    space = Space(hyperparameters=tuple(Hyperparameter(name=name, **values) for name, values in declared.items()))
    registration = RegistrationNetwork(NetworkSection(**built_as["network"]), tuple(built_as["shape"]))
    return Hypermorph(registration, space, HypernetworkSection(**built_as["hypernetwork"]).units)


def save_hypermorph(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a header whose `architecture` says what they are of."""
    metadata = {"hmopt": json.dumps({"format": FORMAT, "version": hmopt.__version__, **header}, sort_keys=True)}
    with replacing(path) as beside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata)


def read_header(path: Path) -> dict[str, Any]:
    """Give the header of a file that `save_hypermorph` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is none of ours.
    """
    if not path.is_file():
        raise CheckpointError(str(path), expected="a trained model", got="no file", advice="Run `hmopt train` first.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hmopt", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            str(path), expected="a safetensors file", got=str(error), advice="Train again, or restore the file."
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            str(path), expected=FORMAT, got=header.get("format", "no header"), advice="Use a model that hmopt wrote."
        )
    return dict(header)


def load_hypermorph(path: Path, expected: dict[str, Any] | None = None) -> tuple[Hypermorph, dict[str, Any]]:
    """Give the hypermorph in a file, and its header.

    Parameters
    ----------
    path
        The file.
    expected
        The `architecture` that it must have; None takes whatever it has.

    Raises
    ------
    CheckpointError
        If the file cannot be used or is of another architecture.
    """
    header = read_header(path)
    built_as = header["architecture"]
    for part, value in (expected or {}).items():
        if built_as.get(part) != value:
            raise CheckpointError(
                f"{path}: {part}",
                expected=value,
                got=built_as.get(part),
                advice="Restore the declaration that it was trained under, or move the file away and train again.",
            )
    try:
        hypermorph = build_hypermorph(built_as)
        with safe_open(path, framework="pt") as file:
            hypermorph.hypernetwork.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (RuntimeError, ValidationError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            str(path), expected="weights of its own architecture", got=str(error), advice="Train again."
        ) from error
    return hypermorph.eval(), header
