"""Registration networks of one's own: what a Python function returns, trained as the U-Net is."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmopt.declaration import NetworkOptions
from hmopt.declaration.model import network_file
from hmopt.errors import CheckpointError, DataError, DeclarationError, HmoptError, sides_text
from hmopt.files import file_hash, one_line
from hmopt.networks.hypernetize import check_module, deep_copy, predictable
from hmopt.networks.registration import RegistrationNetwork, check_architecture

_FIELD = "network.callable"
_LEVELS_ABOVE = 3
"""A study folder is at most so many folders above a model in it, as `compare/separate-…/`."""


class CustomNetwork(RegistrationNetwork):
    """A registration network that a function of the user made.

    `forward` predicts what the module returns, a velocity or, with `integration_steps = 0`, a
    displacement.

    Parameters
    ----------
    options
        Declares the function; read from a study folder, so that its file is known.
    shape
        Voxels of the images along each of d axes.

    Raises
    ------
    DeclarationError
        If the function cannot be imported, fails, or returns what cannot be trained.

    Examples
    --------
    >>> CustomNetwork(NetworkOptions(callable="torch.nn.functional:relu6"), (16, 16))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: network.callable: expected a function that makes a network for 16 x 16, got ...
    """

    takes_weights_of_several_settings = False

    def __init__(self, options: NetworkOptions, shape: tuple[int, ...]) -> None:
        nn.Module.__init__(self)
        self.options = options
        self.shape = tuple(shape)
        self.module = _made(options, shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CustomNetwork":
        """Return a copy, also where the module keeps outputs of an earlier call."""
        return deep_copy(self, memo)

    @property
    def velocity_stride(self) -> int:
        """Image voxels to a voxel of the velocity along each axis."""
        return self.options.stride

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the velocity of a batch of image pairs.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), in voxels of its own grid.

        Raises
        ------
        DeclarationError
            If the module returns something else.
        DataError
            If it fails on images of another shape than the one that it was made for.
        """
        batch, _, *shape = moving.shape
        try:
            velocity = self.module(moving, fixed)
        except Exception as error:  # whatever somebody else's program raises
            if tuple(shape) == self.shape:
                raise
            expected = f"{sides_text(self.shape)}, for which the network was made"
            got = f"{sides_text(tuple(shape))} ({one_line(error)})"
            advice = "Prepare them to the network's grid."
            raise DataError("images", expected=expected, got=got, advice=advice) from error
        d = len(shape)
        sides = [side // self.velocity_stride for side in shape]
        wanted = (batch, d, *sides)
        found = tuple(velocity.shape) if isinstance(velocity, Tensor) else type(velocity).__name__
        if found != wanted:
            raise DeclarationError(
                _FIELD,
                expected=f"a network that returns a tensor of shape {wanted} "
                f"with network.stride = {self.velocity_stride}",
                got=found,
                advice="Correct the network, or declare its stride.",
            )
        contiguous: Tensor = velocity.contiguous()
        return contiguous


def make_registration(options: NetworkOptions, shape: tuple[int, ...]) -> RegistrationNetwork:
    """Return the registration network that options declare: the U-Net, or one of the user.

    Raises
    ------
    DeclarationError
        If it cannot be built for images of the shape.

    Examples
    --------
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> make_registration(options, (16, 16)).velocity_stride
    2
    """
    kind = RegistrationNetwork if options.callable is None else CustomNetwork
    return kind(options, shape)


def check_network(options: NetworkOptions, shape: tuple[int, ...]) -> None:
    """Check that a declared network can be built for images of a shape, and be trained.

    One of the user is made and run on random images, forth and back.

    Raises
    ------
    DeclarationError
        If it cannot.

    Examples
    --------
    >>> check_network(NetworkOptions(callable="math:network"), (16, 16))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: network.callable: expected a function that can be imported from 'math:network', ...
    """
    if options.callable is None:
        check_architecture(options, shape)
        return
    with torch.random.fork_rng(devices=[]):
        network = CustomNetwork(options, shape)
        before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        images = torch.rand(2, 1, 1, *shape)
        try:
            velocity = network.train()(images[0], images[1])
            velocity.square().sum().backward()
        except HmoptError:
            raise
        except (Exception, SystemExit) as error:  # whatever somebody else's program raises
            raise _failed(f"a network that takes images of {sides_text(shape)}", error) from error
    if not torch.isfinite(velocity).all():
        raise _refused("a finite velocity", "others", "Correct the network.")
    for name, buffer in network.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise _refused(
                "layers that keep no statistics, which would be those of no setting",
                f"{name}, which a call changes",
                "Use InstanceNorm or GroupNorm in place of BatchNorm.",
            )
    for name, parameter in network.named_parameters():
        if parameter.grad is None:
            raise _refused(
                "parameters that all take part in the output",
                f"{name}, which does not",
                "Remove it.",
            )


def constants(network: RegistrationNetwork) -> dict[str, Tensor]:
    """Return what a network has besides its parameters: the buffers that belong to its state.

    Examples
    --------
    >>> constants(RegistrationNetwork(NetworkOptions(), (32, 32)))
    {}
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name not in parameters}


def located(options: NetworkOptions, path: Path) -> NetworkOptions:
    """Return the options in a model's header with the folder in which the network's file lies.

    It is looked for beside the model and in the folders above. A file that only a header names is
    imported only where it lies there, and is the one that the model was trained with.

    Parameters
    ----------
    options
        Of the header.
    path
        The model's file.

    Raises
    ------
    CheckpointError
        If there is no such file, or it was changed.
    """
    if options.callable is None:
        return options
    place = network_file(options.callable)
    expected = f"{place or options.callable}, in which its network is, as it was in training"
    advice = "Put the file that the model was trained with beside the model, or train again."
    if place is None:
        content = _content(_spec(options.callable))
        if content is None or content != options.content:
            got = "another version of the module, or none"
            raise CheckpointError(str(path), expected=expected, got=got, advice=advice)
        return options
    folders = list(path.resolve().parents)[:_LEVELS_ABOVE]
    found = [folder for folder in folders if (folder / place).is_file()]
    if not found:
        raise CheckpointError(
            str(path), expected=expected, got="no such file beside it", advice=advice
        )
    for folder in found:
        if file_hash(folder / place) == options.content:
            return options.model_copy(update={"folder": folder})
    raise CheckpointError(str(path), expected=expected, got="a changed file", advice=advice)


def untrusted(options: NetworkOptions, path: Path) -> CheckpointError:
    """Return the refusal of a model whose network is made by code that nobody vouched for.

    Parameters
    ----------
    options
        Of the header.
    path
        The model's file.
    """
    declared = str(options.callable)
    place = network_file(declared)
    maker = declared.rsplit(":", 1)[0] if place is None else str(path.parent / place)
    return CheckpointError(
        str(path),
        expected="a model that needs no code of its own",
        got=f"one whose network is made by {maker}",
        advice="Read that file; if you trust it, give --trust-code, trust_code=True in Python, or "
        "trust_code = true in [model].",
    )


def _made(options: NetworkOptions, shape: tuple[int, ...]) -> nn.Module:
    """Call the function, and refuse what cannot be trained."""
    function = _function(options)
    try:
        module: nn.Module = function(tuple(shape), **options.options)
    except (Exception, SystemExit) as error:  # whatever somebody else's program raises
        raise _failed(f"a function that makes a network for {sides_text(shape)}", error) from error
    try:
        check_module(module)
    except HmoptError as error:
        raise DeclarationError(
            _FIELD,
            expected="a function that returns a torch.nn.Module",
            got=f"one of which {one_line(error)}",
            advice="Correct the function.",
        ) from error
    learned = set(predictable(module))
    for name, parameter in module.named_parameters():
        if name not in learned or parameter.dtype != torch.float32:
            got = f"{name} of type {parameter.dtype}, requires_grad = {parameter.requires_grad}"
            advice = "Keep what is not trained in buffers."
            raise _refused("float32 parameters that are trained", got, advice)
    if not learned:
        raise _refused("a network with parameters", "none", "Correct the function.")
    return module


def _function(options: NetworkOptions) -> Callable[..., Any]:
    declared = options.callable
    assert declared is not None
    place = network_file(declared)
    name = declared.rsplit(":", 1)[1]
    try:
        if place is None:
            module = importlib.import_module(declared.rsplit(":", 1)[0])
        else:
            module = _imported((options.folder or Path()) / place)
        found = getattr(module, name)
        first = next(iter(inspect.signature(found).parameters), None)
    except (Exception, SystemExit) as error:  # importing runs somebody else's program
        raise _failed(f"a function that can be imported from {declared!r}", error) from error
    if first is None:
        got = f"{declared!r}, which takes nothing"
        raise _refused("a function of the shape", got, "Let it take the shape of the images.")
    if place is None and getattr(found, "__module__", None) != module.__name__:
        got = f"{declared!r}, which is defined elsewhere"
        raise _refused("a function of the module", got, "Name the module that defines it.")
    return found  # type: ignore[no-any-return]


def _imported(path: Path) -> Any:
    """Import a file, once for each content of it, with the modules beside it in reach."""
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    digest = hashlib.sha256(f"{path} {file_hash(path)}".encode()).hexdigest()[:12]
    name = f"hmopt_network_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what it defines can be pickled
    beside = str(path.parent)
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(beside)
    return module


def _spec(declared: str) -> ModuleSpec | None:
    package = declared.rsplit(":", 1)[0]
    if package.split(".")[0] in sys.stdlib_module_names:
        return None
    try:
        return importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None


def _content(spec: ModuleSpec | None) -> str | None:
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return file_hash(Path(spec.origin))


def _failed(expected: str, error: BaseException) -> DeclarationError:
    got = f"{type(error).__name__}: {one_line(error)}"
    return _refused(expected, got, "Correct the function or its file.")


def _refused(expected: str, got: str, advice: str) -> DeclarationError:
    return DeclarationError(_FIELD, expected=expected, got=got, advice=advice)
