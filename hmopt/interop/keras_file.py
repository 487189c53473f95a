"""Weights and configuration in HDF5 files of Keras, read without Keras: nothing in them is executed."""

import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hmopt.errors import CheckpointError
from hmopt.files import one_line
from hmopt.model_file import LARGEST_WEIGHT

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every HDF5 file."""

_LONGEST = 300
"""Letters of what an error tells of a file."""
_ADVICE = "Give the file as its program wrote it."
_LARGEST_RATIO = 10
"""Of a file's tensors to its size: weights are nearly random, and no compression makes them smaller."""
_COUNTED = re.compile(r":\d+$")
_READ_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, EOFError)
"""What h5py raises where a file is damaged."""


@dataclass(frozen=True, kw_only=True)
class LayerTensor:
    """A tensor of a layer, not read yet.

    Parameters
    ----------
    group
        The outermost group that it is in: the layer, or a model that holds the layer.
    layer
        The innermost group that it is in. Keras may count it, as `flow_1`, where `group` is `flow`.
    name
        Its own name, as `kernel` or `bias`.
    path
        Place in the file.
    shape
        Its shape.
    """

    group: str
    layer: str
    name: str
    path: str
    shape: tuple[int, ...]


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins as an HDF5 file does, be it damaged or not."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def refusal(path: Path, expected: str, got: object, advice: str = _ADVICE) -> CheckpointError:
    """Return the error that refuses a file, in one line whatever names the file has."""
    words = " ".join(str(got).split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    told = textwrap.shorten(printable, _LONGEST, placeholder=" ...")
    return CheckpointError(str(path), expected=expected, got=told, advice=advice)


@contextmanager
def opened(path: Path, what: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path
        The file.
    what
        What it should be, as it stands after `expected`.

    Raises
    ------
    CheckpointError
        If it cannot be opened, or something in it cannot be read.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except CheckpointError:
        raise
    except _READ_FAULTS as error:
        got = f"a damaged file ({one_line(error)})"
        raise refusal(path, what, got, "Copy the file again.") from error


def read_configuration(path: Path, file: h5py.File, what: str) -> tuple[str, dict[str, Any]]:
    """Read the class of a model that Keras saved whole, and the configuration that it saved with it.

    Returns
    -------
    str
        Name of the class.
    dict
        Its configuration.

    Raises
    ------
    CheckpointError
        If the file has none, it is not JSON, or there is a layer in it that holds program code.
    """
    if "model_config" not in file.attrs:
        got = "no model_config, as in a file of weights alone"
        advice = "Save the whole model, with `model.save(path)` in place of `save_weights`."
        raise refusal(path, what, got, advice)
    text = file.attrs["model_config"]
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if not isinstance(text, str):
        raise refusal(path, what, f"a model_config of type {type(text).__name__}")
    try:
        content = _plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise refusal(path, what, f"a model_config that is no JSON ({one_line(error)})") from error
    _refuse_code(path, content, what)
    is_configuration = isinstance(content, dict) and isinstance(content.get("config"), dict)
    if not is_configuration:
        raise refusal(path, what, "a model_config without a configuration")
    name = content.get("class_name")
    configuration: dict[str, Any] = content["config"]
    return str(name), configuration


def _refuse_code(path: Path, content: object, what: str) -> None:
    """Refuse a configuration with a layer that holds program code: Keras stores it marshalled."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        if not isinstance(part, dict):
            continue
        waiting.extend(part.values())
        kind = part.get("class_name")
        if kind in ("Lambda", "__lambda__", "function"):
            got = f"a layer of class {kind}, which holds program code"
            raise refusal(path, what, got, "hmopt executes no code of a file; use another model.")


def _plain(value: Any) -> Any:
    """Return a value of JSON with Keras' tuples and shapes as lists."""
    if isinstance(value, dict):
        if set(value) == {"class_name", "items"}:
            return _plain(value["items"])
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def list_tensors(path: Path, file: h5py.File, what: str) -> list[LayerTensor]:
    """List the tensors of all layers, without reading them.

    Keras writes a tensor at `[model_weights/] layer / layer / kernel:0`; a layer of a nested model
    stands at `[model_weights/] model / layer / kernel:0`. Links that lead out of the file are not
    followed.

    Raises
    ------
    CheckpointError
        If a tensor's data lie outside the file or are larger than it, or it is not of numbers in
        floating point.
    """
    root = file.get("model_weights", file)
    found: list[LayerTensor] = []
    total = 0

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer_weights/"):
            return
        _check_dataset(path, item, what)
        total += item.nbytes
        *groups, last = name.split("/")
        found.append(
            LayerTensor(
                group=groups[0] if groups else "",
                layer=groups[-1] if groups else "",
                name=_COUNTED.sub("", last),
                path=str(item.name),
                shape=item.shape,
            )
        )

    root.visititems(note)
    if total > _LARGEST_RATIO * path.stat().st_size:
        raise refusal(path, what, "tensors that are larger than the file")
    return found


def _check_dataset(path: Path, item: h5py.Dataset, what: str) -> None:
    if item.external or item.is_virtual:
        raise refusal(path, what, f"{item.name} in another file")
    if item.dtype.kind != "f" or item.shape is None:
        raise refusal(path, what, f"{item.name} of type {item.dtype}")


def check_shape(path: Path, tensor: LayerTensor, expected: tuple[int, ...], what: str) -> None:
    """Refuse a tensor of another shape than its layer has."""
    if tensor.shape != expected:
        got = f"{tensor.name} of {tensor.layer} with shape {tensor.shape} in place of {expected}"
        raise refusal(path, what, got)


def check_numbers(path: Path, tensor: LayerTensor, values: NDArray[np.float32], what: str) -> None:
    """Refuse numbers that no training leaves: not finite, or far too large."""
    if values.size == 0:
        return
    # in one pass, and without a copy of large arrays: a comparison with NaN is false
    largest = max(float(values.max()), -float(values.min()))
    if not largest <= LARGEST_WEIGHT:
        got = f"a weight of {largest:g} in {tensor.name} of {tensor.layer}"
        raise refusal(path, what, got)


def read_tensor(path: Path, file: h5py.File, tensor: LayerTensor, what: str) -> NDArray[np.float32]:
    """Read a tensor whole, in single precision.

    Raises
    ------
    CheckpointError
        If it cannot be read, or has numbers that no training leaves.
    """
    values: NDArray[np.float32] = file[tensor.path].astype(np.float32)[()]
    check_numbers(path, tensor, values, what)
    return values
