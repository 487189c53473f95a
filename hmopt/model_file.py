"""Files of tensors: written with a hash of what is in them, read without torch, and refused where they are damaged."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PositiveFloat
from safetensors import SafetensorError, safe_open

from hmopt.catalogue import HYPERPARAMETERS
from hmopt.declaration import NetworkOptions
from hmopt.declaration.renamed import current_names
from hmopt.declaration.study import check_sections
from hmopt.errors import CheckpointError, HmoptError
from hmopt.files import HASH_KEY, check_ordinary, checked, content_hash, one_line
from hmopt.schemas import Record, ReferenceEntry
from hmopt.space import Hyperparameter

Arrays = dict[str, NDArray[Any]]

LARGEST_WEIGHT = 1e6
"""No trained network comes near it; a file that was damaged does."""

KEYS = frozenset({"hmopt", "key", "progress", HASH_KEY})
"""Metadata that files of models and states have."""

_ADVICE = "Restore the file, or move it away and train again."


def sealed(metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Return metadata of a safetensors file with a hash of it and of the tensors.

    Examples
    --------
    >>> sorted(sealed({"key": "0f"}, {"weight": np.zeros(2, np.float32)}))
    ['key', 'sha256']
    """
    kept = dict(metadata)
    kept.pop(HASH_KEY, None)
    entries = repr(sorted(kept.items()))
    digest = hashlib.sha256(entries.encode())
    for name, array in sorted(tensors.items()):
        description = f"{name} {array.dtype.str} {array.shape}"
        content = np.ascontiguousarray(array)
        digest.update(description.encode())
        digest.update(content.tobytes())
    return {**kept, HASH_KEY: digest.hexdigest()}


def sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in the order of its keys: the library writes them in any order.

    The file begins with the length of its header, 8 bytes, and the header as JSON, filled up with spaces.

    Parameters
    ----------
    path
        A file that nobody reads yet.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_file({"weight": np.zeros(2, np.float32)}, path, {"b": "1", "a": "2"})
    >>> sort_metadata(path)
    >>> path.read_bytes()[8:43]
    b'{"__metadata__":{"a":"2","b":"1"},"'
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        entries = header["__metadata__"].items()
        header["__metadata__"] = dict(sorted(entries))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        content = text.encode().ljust(size)
        if len(content) == size:
            file.seek(8)
            file.write(content)


def in_trained_order(
    header: Mapping[str, Any], declared_order: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return the `hyperparameters` of a header's architecture in the order of the hypernetwork's inputs.

    Earlier versions sorted all keys of a header. Their files are told by that.

    Parameters
    ----------
    header
        Of a model.
    declared_order
        In which hyperparameters of such a file were declared; left out: that of the catalogue.

    Examples
    --------
    >>> declared = {"label_weight": {}, "regularization": {}}
    >>> list(in_trained_order({"architecture": {"hyperparameters": declared}, "format": "hypermorph"}))
    ['regularization', 'label_weight']
    >>> list(in_trained_order({"format": "hypermorph", "architecture": {"hyperparameters": declared}}))
    ['label_weight', 'regularization']
    """
    declared: dict[str, Any] = header["architecture"]["hyperparameters"]
    if list(header) != sorted(header):
        return declared
    order = HYPERPARAMETERS if declared_order is None else declared_order
    known = [name for name in order if name in declared]
    others = [name for name in declared if name not in known]
    return {name: declared[name] for name in [*known, *others]}


def read_tensors(
    path: Path, what: str, advice: str = _ADVICE, keys: frozenset[str] | None = KEYS
) -> tuple[dict[str, str], Arrays]:
    """Read the metadata and all tensors of a safetensors file.

    Parameters
    ----------
    path
        The file. One without a hash, as an earlier version wrote it, is checked for numbers that are not finite.
    what
        What it should be, as it stands after `expected`.
    advice
        One sentence that says what to do where it is not.
    keys
        Metadata that it can have; None: any, as of another program.

    Raises
    ------
    CheckpointError
        If it is no such file, or not what was written.
    """
    try:
        check_ordinary(path)
        with safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            tensors: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            str(path), expected=what, got=one_line(error), advice=advice
        ) from error
    strange = [] if keys is None else sorted(set(metadata) - keys)
    if strange:  # a damaged name of the hash would make a file of an earlier version
        got = f"metadata {strange[0]!r}"
        raise CheckpointError(str(path), expected=what, got=got, advice=advice)
    if HASH_KEY in metadata and sealed(metadata, tensors) != metadata:
        got = "a file that was changed or damaged after it was written"
        raise CheckpointError(str(path), expected=what, got=got, advice=advice)
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            got = f"numbers that are not finite in {name}"
            raise CheckpointError(str(path), expected=what, got=got, advice=advice)
    return metadata, tensors


def check_weights(path: Path, tensors: Mapping[str, NDArray[Any]], what: str) -> None:
    """Refuse weights of another type than single precision, or larger than any that are trained.

    Raises
    ------
    CheckpointError
        If there are such.
    """
    for name, array in tensors.items():
        if array.dtype != np.float32:
            raise CheckpointError(
                str(path), expected=what, got=f"{name} as {array.dtype}", advice=_ADVICE
            )
        largest = float(np.abs(array).max(initial=0.0))
        if largest > LARGEST_WEIGHT:
            raise CheckpointError(
                str(path), expected=what, got=f"a weight of {largest:g} in {name}", advice=_ADVICE
            )


class _Loss(Record):
    model_config = ConfigDict(extra="allow")

    scale: Annotated[float, Field(gt=0)]


class _Header(Record):
    """What the header of a model or a network can tell; training writes all of it."""

    model_config = ConfigDict(extra="allow")

    architecture: dict[str, Any] = {}
    training_key: Annotated[str, Field(min_length=1)] = "unknown"
    cohort: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]+$")] = "unknown"
    labels: list[str] = []
    loss: _Loss = _Loss(scale=1.0)
    training: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    spacing_mm: Annotated[list[PositiveFloat], Field(min_length=2, max_length=3)] | None = None
    reference: ReferenceEntry | None = None
    cohort_facts: dict[str, Any] = {}
    steps: Annotated[int, Field(ge=1, strict=True)] = 1
    minutes: Annotated[float, Field(ge=0)] = 0.0
    tune_dice: Annotated[float, Field(ge=0)] | None = None
    device: str = "cpu"


def check_header(path: Path, header: Mapping[str, Any], needed: Sequence[str] = ()) -> None:
    """Refuse the header of a model that lacks a key, or has a value that training does not write.

    Parameters
    ----------
    path
        The model's file.
    header
        Its header.
    needed
        Keys that it must have.

    Raises
    ------
    CheckpointError
        If a key is missing or a value breaks its rule.

    Examples
    --------
    >>> check_header(Path("model.safetensors"), {"architecture": {}}, needed=["cohort"])
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: model.safetensors: expected the header of a trained model, got no cohort. Restore ...
    """
    what = "the header of a trained model"
    lacking = [key for key in needed if key not in header]
    if lacking:
        raise CheckpointError(
            str(path), expected=what, got=f"no {', '.join(lacking)}", advice=_ADVICE
        )
    found = checked(
        dict(header), _Header, field=str(path), error=CheckpointError, what=what, advice=_ADVICE
    )
    try:
        check_sections(
            {
                "preprocessing": found.preprocessing,
                "training": current_names({"training": found.training})["training"],
                "loss": current_names({"loss": header.get("loss", {})})["loss"],
            }
        )
    except ValueError as error:
        got = one_line(error)
        raise CheckpointError(str(path), expected=what, got=got, advice=_ADVICE) from error
    prepared, built = found.preprocessing.get("shape"), found.architecture.get("shape")
    if prepared is not None and built is not None and prepared != built:
        got = f"preprocessing.shape {prepared} beside a network for {built}"
        raise CheckpointError(str(path), expected=what, got=got, advice=_ADVICE)


def weights_hash(
    tensors: Mapping[str, NDArray[Any]], network: NetworkOptions, hyperparameters: list[Any]
) -> str:
    """Return 16 hexadecimal digits that stand for a model's weights, architecture and hyperparameters.

    Parameters
    ----------
    tensors
        Of the hypernetwork, by name.
    network
        The registration network.
    hyperparameters
        Name, low, high and prior of each.
    """
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return content_hash(digest.hexdigest(), network.model_dump(), hyperparameters)


def model_identity(path: Path, declared_order: Iterable[str] | None = None) -> str:
    """Return the identity under which a model is measured: a hash of its weights, architecture and prepared cohort.

    Parameters
    ----------
    path
        The file of a trained hypermorph.
    declared_order
        As for `in_trained_order`.

    Raises
    ------
    CheckpointError
        If it is none, or was damaged.
    """
    what = "a trained model"
    metadata, tensors = read_tensors(path, what)
    try:
        header = json.loads(metadata["hmopt"])
        declared = in_trained_order(header, declared_order)
        hyperparameters = [Hyperparameter(name=name, **values) for name, values in declared.items()]
        network = NetworkOptions(**header["architecture"]["network"])
        cohort = header["cohort"]
    except (KeyError, TypeError, AttributeError, ValueError, HmoptError) as error:
        raise CheckpointError(
            str(path), expected=what, got=one_line(error), advice=_ADVICE
        ) from error
    ranges = [(h.name, h.low, h.high, h.prior) for h in hyperparameters]
    return content_hash(weights_hash(tensors, network, ranges), cohort)
