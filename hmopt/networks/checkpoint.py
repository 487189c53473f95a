"""Files of networks: safetensors with a JSON header that says what was trained, on what and how."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import hmopt
from hmopt.declaration import HypernetworkOptions, NetworkOptions, Study
from hmopt.declaration.renamed import current_names
from hmopt.declaration.study import check_ranges
from hmopt.errors import CheckpointError, HmoptError
from hmopt.files import one_line, replacing
from hmopt.model_file import (
    check_header,
    check_weights,
    in_trained_order,
    read_tensors,
    sealed,
    sort_metadata,
)
from hmopt.networks.custom import located, make_registration, untrusted
from hmopt.networks.hypermorph import Hypermorph
from hmopt.space import Hyperparameter, Space

FORMAT = "hmopt-hypermorph-1"
NOT_TRAINED = ("step", "default")
"""Keys of a hyperparameter that say how it is searched; a model covers any value of them. The step of
an integer is none of them: training draws its values."""


def architecture(study: Study, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what decides which tensors a hypermorph has and what its settings mean.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.

    Returns
    -------
    dict
        Values that JSON can hold: `shape`, and the tables `network`, `hypernetwork` and
        `hyperparameters` with every key.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}}
    >>> values["split"] = {"train": 1, "tune": 1, "search": 1}
    >>> values["preprocessing"] = {"shape": [16, 16]}
    >>> list(architecture(parse_study(values), (16, 16)))
    ['shape', 'network', 'hypernetwork', 'hyperparameters']
    """
    hyperparameters = {
        name: options.model_dump() for name, options in study.hyperparameters.items()
    }
    return {
        "shape": list(shape),
        "network": study.network.model_dump(),
        "hypernetwork": study.hypernetwork.model_dump(),
        "hyperparameters": hyperparameters,
    }


def trained_part(declared: dict[str, Any]) -> dict[str, Any]:
    """Return an `architecture` without the keys that can change after training.

    Examples
    --------
    >>> range_and_step = {"low": 0.0, "step": 0.005, "default": 0.5}
    >>> trained_part({"hyperparameters": {"regularization": range_and_step}})
    {'hyperparameters': {'regularization': {'low': 0.0}}}
    >>> trained_part({"hyperparameters": {"window": {"type": "integer", "step": 2, "default": 9}}})
    {'hyperparameters': {'window': {'type': 'integer', 'step': 2}}}
    """
    every = declared.get("hyperparameters", {})
    hyperparameters = {}
    for name, values in every.items():
        is_integer = values.get("type") == "integer"
        left_out = ("default",) if is_integer else NOT_TRAINED
        trained = {key: value for key, value in values.items() if key not in left_out}
        hyperparameters[name] = trained
    return {**declared, "hyperparameters": hyperparameters}


def build_hypermorph(declared: dict[str, Any], network: NetworkOptions | None = None) -> Hypermorph:
    """Build a hypermorph of an `architecture`, its weights drawn by torch's global generator.

    Parameters
    ----------
    declared
        What `architecture` returns, or the header of a file holds under that name.
    network
        Its registration network, with the folder of a network of one's own; None: as `declared`.

    Raises
    ------
    DeclarationError
        If no such network can be built.

    Examples
    --------
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"shape": [16, 16], "network": network, "hypernetwork": {"widths": [8]}}
    >>> declared["hyperparameters"] = {"regularization": {}}
    >>> build_hypermorph(declared).space.names
    ('regularization',)
    """
    hyperparameters = []
    for name, values in declared["hyperparameters"].items():
        hyperparameter = Hyperparameter(name=name, **values)
        hyperparameters.append(hyperparameter)
    space = Space(hyperparameters=tuple(hyperparameters))

    shape = tuple(declared["shape"])
    options = network or NetworkOptions(**declared["network"])
    registration = make_registration(options, shape)

    hypernetwork = HypernetworkOptions(**declared["hypernetwork"])
    return Hypermorph(registration, space, hypernetwork.widths)


def save_hypermorph(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a hypermorph's tensors, with a header that says what they are.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    tensors
        The hypernetwork's `state_dict()`, or averages of it, and the model's `constants()`.
    header
        Values that JSON can hold, among them the `architecture`. Format and version are added.

    Examples
    --------
    >>> import tempfile
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"shape": [16, 16], "network": network, "hypernetwork": {"widths": [8]}}
    >>> declared["hyperparameters"] = {"regularization": {}}
    >>> hypermorph = build_hypermorph(declared)
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save_hypermorph(path, hypermorph.hypernetwork.state_dict(), {"architecture": declared})
    >>> loaded, header = load_hypermorph(path)
    >>> header["architecture"] == declared
    True
    """
    save_tensors(path, FORMAT, tensors, header)


def save_tensors(
    path: Path, form: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors with a header that also names their format and the version of hmopt."""
    content = {"format": form, "version": hmopt.__version__, **header}
    # in the order given: that of hyperparameters is the order of the hypernetwork's inputs
    text = json.dumps(content)
    kept = {}
    arrays = {}
    for name, tensor in unshared(tensors).items():
        kept[name] = tensor.detach().cpu().contiguous()
        arrays[name] = kept[name].numpy()
    metadata = sealed({"hmopt": text}, arrays)
    with replacing(path) as beside:
        save_file(kept, beside, metadata)
        sort_metadata(beside)


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with a copy in place of each that shares its numbers with another, as tied weights do.

    Examples
    --------
    >>> weight = torch.ones(2)
    >>> found = unshared({"encoder": weight, "decoder": weight})
    >>> found["encoder"] is weight, found["decoder"] is weight
    (True, False)
    """
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        place = tensor.data_ptr()
        found[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return found


def load_hypermorph_weights(path: Path, hypermorph: Hypermorph) -> None:
    """Load a file's tensors into a hypermorph: the hypernetwork's, and buffers of its network.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds what no training makes.
    RuntimeError
        If the hypermorph has other tensors.
    """
    what = "the weights that were trained"
    _, arrays = read_tensors(path, what)
    held = set(hypermorph.constants())
    kept = {name: array for name, array in arrays.items() if name in held}
    learned = {name: array for name, array in arrays.items() if name not in held}
    if len(kept) < len(held):
        raise RuntimeError(f"no {', '.join(sorted(held - set(kept)))}")
    check_weights(path, learned, what)
    tensors = {name: torch.from_numpy(array) for name, array in learned.items()}
    hypermorph.hypernetwork.load_state_dict(tensors)
    hypermorph.load_constants({name: torch.from_numpy(array) for name, array in kept.items()})


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
    buffers = {name for name, _ in module.named_buffers()}
    learned = {name: array for name, array in arrays.items() if name not in buffers}
    check_weights(path, learned, what)
    tensors = {}
    for name, array in arrays.items():
        tensors[name] = torch.from_numpy(array)
    module.load_state_dict(tensors)


def read_header(path: Path, form: str = FORMAT) -> dict[str, Any]:
    """Read the header of a file that hmopt wrote.

    Parameters
    ----------
    path
        The file.
    form
        The format that it must have.

    Raises
    ------
    CheckpointError
        If there is no such file, it is not one of hmopt's, or its header breaks a rule.

    Examples
    --------
    >>> read_header(Path("nowhere/model.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/model.safetensors: expected a trained model, ...
    """
    if not path.is_file():
        raise CheckpointError(
            str(path), expected="a trained model", got="no file", advice="Run `hmopt train` first."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata.get("hmopt", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            str(path),
            expected="a safetensors file",
            got=one_line(error),
            advice="Train again, or restore the file.",
        ) from error
    if not isinstance(header, dict) or header.get("format") != form:
        got = header.get("format", "no header") if isinstance(header, dict) else "another header"
        advice = "Use a model that hmopt wrote."
        raise CheckpointError(str(path), expected=form, got=got, advice=advice)
    check_header(path, header, needed=["architecture"])
    return header


def load_hypermorph(
    path: Path,
    expected: dict[str, Any] | None = None,
    declared_order: Iterable[str] | None = None,
    *,
    trust_code: bool = True,
) -> tuple[Hypermorph, dict[str, Any]]:
    """Load the hypermorph in a file.

    Parameters
    ----------
    path
        The file.
    expected
        The `architecture` that it must have; None takes whatever it has.
    declared_order
        In which the hyperparameters of a file of an earlier version, whose header was sorted, were
        declared; None: as in `expected`, or else as in the catalogue.
    trust_code
        Whether the Python file that makes its network may be run, where that is one of the user;
        false for files of somebody else.

    Returns
    -------
    Hypermorph
        On the CPU.
    dict
        The file's header.

    Raises
    ------
    CheckpointError
        If the file cannot be used or is of another architecture.

    Examples
    --------
    >>> load_hypermorph(Path("nowhere/model.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/model.safetensors: expected a trained model, ...
    """
    header = read_header(path)
    declared = header["architecture"]
    hyperparameters = declared.get("hyperparameters", {})
    if not isinstance(hyperparameters, dict):
        raise _not_of_its_architecture(path, got="another header")
    if declared_order is None and expected is not None:
        declared_order = expected.get("hyperparameters")
    if hyperparameters:
        in_order = in_trained_order(header, declared_order)
        declared = {**declared, "hyperparameters": in_order}
    network = network_of(path, declared, trust_code)
    if expected is not None:
        wanted = _with_order(trained_part(expected))
        found = _with_order(trained_part(current_names(declared)))
        _check_same(path, wanted, found)
    with building_from(path):
        if network is None:
            options = NetworkOptions(**declared["network"])
            widths = HypernetworkOptions(**declared["hypernetwork"]).widths
            check_size(path, options, len(declared["shape"]), widths)
        hypermorph = build_hypermorph(declared, network)
        if network is None:
            check_tensors(path, hypermorph.hypernetwork)
        load_hypermorph_weights(path, hypermorph)
        check_ranges(hypermorph.space)
    return hypermorph.eval(), header


def check_size(
    path: Path, options: NetworkOptions, dimensions: int, widths: Sequence[int] = ()
) -> None:
    """Check that a file is large enough for the architecture in its header, before memory is taken.

    A header can claim any architecture. With c channels of one convolution after the other, the
    U-Net has at least 3^d Σ c_i c_{i+1} weights n; a hypernetwork of widths w predicts them with at
    least Σ w_i w_{i+1} + n w_last more.

    Parameters
    ----------
    path
        The file.
    options
        Of the U-Net.
    dimensions
        d, of its images.
    widths
        Of the hypernetwork; empty: there is none.

    Raises
    ------
    CheckpointError
        If it is too small.
    """
    channels = [2, *options.encoder, *options.decoder, *options.final, dimensions]
    count = 3**dimensions * _chained(channels)
    if widths:
        count += _chained(widths) + count * widths[-1]
    needed = 4 * count
    size = path.stat().st_size
    if size < needed:
        raise _not_of_its_architecture(
            path, got=f"{size:,} bytes for an architecture of at least {needed:,}"
        )


def _chained(widths: Sequence[int]) -> int:
    return sum(before * after for before, after in pairwise(widths))


def check_tensors(path: Path, module: nn.Module) -> None:
    """Check that a file has the tensors of a module.

    Parameters
    ----------
    path
        A safetensors file.
    module
        A network that was built from its header.

    Raises
    ------
    CheckpointError
        If one is missing, too many, or of another shape; the first is named.
    """
    needed = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    with safe_open(path, framework="np") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, no mapping
    for name, shape in needed.items():
        if name not in found:
            raise _not_of_its_architecture(path, got=f"no tensor {name}")
        if found[name] != shape:
            raise _not_of_its_architecture(
                path, got=f"{name} of shape {found[name]} in place of {shape}"
            )
    for name in found:
        if name not in needed:
            raise _not_of_its_architecture(path, got=f"another tensor, {name}")


def network_of(
    path: Path, declared: Mapping[str, Any], trust_code: bool = True
) -> NetworkOptions | None:
    """Return the options of a network of the user in a header, its file found; None: it is the U-Net.

    Raises
    ------
    CheckpointError
        If its code is not trusted, there is no such file, or it was changed since the training.
    """
    values = declared.get("network")
    if not isinstance(values, Mapping) or values.get("callable") is None:
        return None
    with building_from(path):
        options = NetworkOptions(**values)
    if not trust_code:
        raise untrusted(options, path)
    return located(options, path)


def _with_order(declared: dict[str, Any]) -> dict[str, Any]:
    """Return an architecture that also tells the order of its hyperparameters."""
    names = declared.get("hyperparameters", {})
    return {**declared, "order of hyperparameters": ", ".join(names)}


@contextmanager
def building_from(path: Path) -> Iterator[None]:
    """Turn whatever fails while a network is built from a file into a `CheckpointError`."""
    try:
        yield
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
        raise _not_of_its_architecture(path, got=one_line(error)) from error


def _not_of_its_architecture(path: Path, got: str) -> CheckpointError:
    expected = "weights of its own architecture"
    return CheckpointError(str(path), expected=expected, got=got, advice="Train again.")


def _check_same(path: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Check that two architectures are the same; the message names the first key that differs."""
    for key, expected, got in _differences(wanted, found):
        raise CheckpointError(
            f"{path}: {key}",
            expected=str(expected),
            got=got,
            advice="Restore the declaration that it was trained under, or move the file away and "
            "train again.",
        )


def _differences(one: object, other: object, key: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield the dotted keys at which two nested dictionaries differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = one | other
        for name in names:
            nested = f"{key}.{name}" if key else name
            left = one.get(name)
            right = other.get(name)
            yield from _differences(left, right, nested)
    elif one != other:
        yield key, one, other
