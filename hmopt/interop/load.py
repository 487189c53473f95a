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
    has_code
        Whether such a file can need a Python file to be run. Then `read` has a keyword `trust_code`,
        and refuses such a file where it is false.
    """

    title: str
    module: str
    has_code: bool = False

    def recognizes(self, path: Path) -> bool:
        """Tell whether a file is of this kind."""
        module: Any = importlib.import_module(self.module)
        return bool(module.recognizes(path))

    def read(self, path: Path, device: torch.device | str, trust_code: bool = False) -> FileModel:
        """Return the model in a file of this kind."""
        module: Any = importlib.import_module(self.module)
        options = {"trust_code": trust_code} if self.has_code else {}
        model: FileModel = module.read(path, device, **options)
        return model


FORMATS: list[ModelFormat] = [
    ModelFormat(
        title="a registration network of hmopt (.safetensors)",
        module="hmopt.interop.baked_model",
        has_code=True,
    ),
    ModelFormat(
        title="a hypermorph of hmopt (.safetensors)",
        module="hmopt.interop.own_model",
        has_code=True,
    ),
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


def load_model(
    path: Path | str, device: torch.device | str = "cpu", *, trust_code: bool = False
) -> FileModel:
    """Return the model in a file, whoever trained it.

    Nothing is executed, and no other program is needed to read it. A hypermorph of a network of
    one's own (`[network] callable`) needs the Python file that makes the network: it is refused
    unless `trust_code` is true.

    Parameters
    ----------
    path
        A file of one of `hmopt.interop.load.FORMATS`, or a folder with a `model.safetensors`.
    device
        Where it runs.
    trust_code
        Import the Python file beside a hypermorph of a network of one's own, if it is the one that
        the model was trained with. Read that file before: it can do anything that you can.

    Returns
    -------
    FileModel
        With `space`, `preprocessing` and `displacement(moving, fixed, setting)`.

    Raises
    ------
    CheckpointError
        If there is no such file, it is of no known format, it is damaged, or it needs code that is
        not trusted.

    Examples
    --------
    >>> import hmopt
    >>> model = hmopt.load_model("studies/mine/model.safetensors")  # doctest: +SKIP
    >>> model.displacement(moving, fixed, {"regularization": 0.3}).shape  # doctest: +SKIP
    (3, 48, 64, 48)
    """
    place, model_format = find_format(path)
    return model_format.read(place, device, trust_code)


def find_format(path: Path | str) -> tuple[Path, ModelFormat]:
    """Return the file that is meant, and its format; the model in it is not read.

    Raises
    ------
    CheckpointError
        If there is no such file, it is empty, or of no known format.
    """
    place = Path(path)
    if place.is_dir():
        place = place / "model.safetensors"
        if not place.is_file():
            raise CheckpointError(
                str(path),
                expected="a model file, or a folder with a model.safetensors",
                got="a folder without one",
                advice="Correct the path.",
            )
    if not place.is_file():
        got = "something else than a file" if place.exists() else "no file"
        raise CheckpointError(
            str(path), expected="a model file", got=got, advice="Correct the path."
        )
    if place.stat().st_size == 0:
        raise CheckpointError(
            str(path),
            expected="a model file",
            got="an empty file",
            advice="Copy it again; a download may have failed.",
        )
    return place, format_of(place, FORMATS)


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
