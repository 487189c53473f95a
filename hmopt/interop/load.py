"""The one door to models in files: told apart by what is in them, not by their names."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hmopt.errors import CheckpointError
from hmopt.interop.model import FileModel


@dataclass(frozen=True, kw_only=True)
class ModelFormat:
    """A kind of model file.

    Parameters
    ----------
    title
        What messages call it.
    module
        Dotted path of the module that reads it. It has two functions: `recognizes(path) -> bool`,
        which looks at the content, loads nothing and never raises; and `read(path, device) ->
        FileModel`, which raises a `CheckpointError` where the file cannot be used.
    """

    title: str
    module: str

    def recognizes(self, path: Path) -> bool:
        """Tell whether a file is of this kind."""
        module: Any = importlib.import_module(self.module)
        return bool(module.recognizes(path))

    def read(self, path: Path, device: torch.device | str) -> FileModel:
        """Return the model in a file of this kind."""
        module: Any = importlib.import_module(self.module)
        model: FileModel = module.read(path, device)
        return model


FORMATS: list[ModelFormat] = [
    ModelFormat(
        title="a registration network of hmopt (.safetensors)",
        module="hmopt.interop.baked_model",
    ),
    ModelFormat(title="a hypermorph of hmopt (.safetensors)", module="hmopt.interop.own_model"),
    ModelFormat(
        title="a model of cLapIRN (.pth, or .safetensors made of it)",
        module="hmopt.interop.clapirn",
    ),
    ModelFormat(
        title="SynthMorph's deformable network (.h5)", module="hmopt.interop.synthmorph_h5"
    ),
    ModelFormat(title="a HyperMorph of VoxelMorph (.h5)", module="hmopt.interop.hypermorph_h5"),
]
"""All formats, in the order in which they are tried."""


def load_model(path: Path | str, device: torch.device | str = "cpu") -> FileModel:
    """Return the model in a file, whoever trained it.

    Nothing in the file is executed, and no other program is needed to read it. Where it is a
    hypermorph of a network of one's own (`[network] callable`), the Python file beside it that
    makes the network is imported, if it is the one that the model was trained with: load such a
    model of somebody else only if you trust that file.

    Parameters
    ----------
    path
        A file of one of `hmopt.interop.load.FORMATS`, or a folder with a `model.safetensors`.
    device
        Where it runs.

    Returns
    -------
    FileModel
        With `space`, `preprocessing` and `displacement(moving, fixed, setting)`.

    Raises
    ------
    CheckpointError
        If there is no such file, it is of no known format, or it is damaged.

    Examples
    --------
    >>> import hmopt
    >>> model = hmopt.load_model("studies/mine/model.safetensors")  # doctest: +SKIP
    >>> model.displacement(moving, fixed, {"regularization": 0.3}).shape  # doctest: +SKIP
    (3, 48, 64, 48)
    """
    place = Path(path)
    if place.is_dir():
        place = place / "model.safetensors"
    if not place.is_file():
        raise CheckpointError(
            str(path), expected="a model file", got="no file", advice="Correct the path."
        )
    return format_of(place, FORMATS).read(place, device)


def format_of(path: Path, formats: Sequence[ModelFormat]) -> ModelFormat:
    """Return the format that a file is of.

    Raises
    ------
    CheckpointError
        If it is of none.
    """
    for model_format in formats:
        if model_format.recognizes(path):
            return model_format
    titles = "; ".join(model_format.title for model_format in formats)
    raise CheckpointError(
        str(path),
        expected=f"one of: {titles}",
        got="a file of another kind, or a damaged one",
        advice="Give the file as its program wrote it.",
    )
