"""Registration networks at one setting, written for programs that know nothing of hmopt.

A hypermorph that is baked at a setting is an ordinary network. With it goes everything that its
user must know: how images are prepared, the setting, and how that was found.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import hmopt
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, HmoptError
from hmopt.files import one_line, replacing
from hmopt.networks import NETWORK_FORMAT, RegistrationNetwork, save_network
from hmopt.space import Setting

HEADER_FILE = "hmopt.json"
"""Name under which a program (.pt2) holds the header: an extra file of `torch.export.load`."""
INPUTS = ("moving", "fixed")
OUTPUTS = ("displacement", "moved")
OPSET = 20
"""Of ONNX: the first whose GridSample takes volumes."""
TOLERANCE_VOXELS = 1e-3
"""By which a written program may differ from the network that it was made of."""
AXES = ("x", "y", "z")


@dataclass(frozen=True, kw_only=True)
class Baked:
    """A registration network at one setting, and what must be known to use it.

    Parameters
    ----------
    network
        Takes moving and fixed images, (batch, 1, *shape), and returns a velocity; its method
        `displacement` makes of this the displacement in voxels, (batch, d, *shape).
    shape
        Voxels of the grid that it was trained on.
    stride
        It also takes grids whose axes are multiples of this; None: only its own grid.
    preprocessing
        How images are prepared for it.
    header
        Values that JSON can hold: the header of the model that it comes from, without what only a
        hypermorph has, and the `setting`.
    """

    network: nn.Module
    shape: tuple[int, ...]
    stride: int | None
    preprocessing: PreprocessingOptions
    header: Mapping[str, Any]

    @property
    def setting(self) -> Setting:
        """Value by hyperparameter."""
        return dict(self.header["setting"])

    @property
    def spacing_mm(self) -> list[float] | None:
        """Distance of prepared voxels along each axis; None: each image's own."""
        known = self.header.get("spacing_mm") or self.preprocessing.spacing_mm
        return None if known is None else [float(step) for step in known]

    def with_facts(self, facts: Mapping[str, Any]) -> "Baked":
        """Return the same with facts in its header, under `baked`."""
        header = {**self.header, "baked": dict(facts)}
        return Baked(
            network=self.network,
            shape=self.shape,
            stride=self.stride,
            preprocessing=self.preprocessing,
            header=header,
        )

    def full_header(self) -> dict[str, Any]:
        """Return the header with format and version of hmopt, as a file holds it."""
        return {"format": NETWORK_FORMAT, "version": hmopt.__version__, **self.header}


@runtime_checkable
class Bakeable(Protocol):
    """A model that can be fixed at a setting. Give a `FileModel` this method to let it be baked."""

    def bake(self, setting: Setting) -> Baked:
        """Return the ordinary network at a setting."""
        ...


class Program(nn.Module):
    """What is exported: from two prepared images to the displacement and the moved image.

    Parameters
    ----------
    network
        As of `Baked`.

    Examples
    --------
    >>> from hmopt.declaration import NetworkOptions
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> program = Program(RegistrationNetwork(options, (16, 16)))
    >>> displacement, moved = program(torch.ones(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
    >>> displacement.shape, moved.shape
    (torch.Size([1, 2, 16, 16]), torch.Size([1, 1, 16, 16]))
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Register a batch of pairs of prepared images.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).

        Returns
        -------
        Tensor
            The displacement, (batch, d, *shape), in voxels.
        Tensor
            The moved images, `moving(x + displacement(x))`: (batch, 1, *shape).
        """
        from hmopt.spatial import warp

        velocity = self.network(moving, fixed)
        displacement: Tensor = self.network.displacement(velocity)  # type: ignore[operator]
        moved = warp(moving, displacement)
        return displacement, moved


def export_program(baked: Baked) -> ExportedProgram:
    """Record the operations of a baked network as a program that needs torch alone.

    Batches may be of any size. Where the network has a stride, so may grids whose axes are multiples
    of it, from two strides on.

    Raises
    ------
    CheckpointError
        If `torch.export` cannot record the network, as one whose operations depend on values.
    """
    program = Program(baked.network).eval().cpu()
    batch = Dim("batch", min=1, max=2**16)
    sizes: dict[int, Any] = {0: batch}
    shape = baked.shape
    if baked.stride is not None:
        # small grids of different sides: the program is the same for all
        shape = tuple(baked.stride * (2 + axis) for axis in range(len(shape)))
        for axis, name in zip(range(len(shape)), AXES, strict=False):
            strides = Dim(name, min=2, max=2**12)
            sizes[axis + 2] = baked.stride * strides
    # zeros are as good as images: operations are recorded, not values
    example = torch.zeros(2, 1, *shape)
    try:
        with torch.no_grad(), _quiet_torch():
            return torch.export.export(
                program, (example, example.clone()), dynamic_shapes=(sizes, sizes)
            )
    except HmoptError:
        raise
    except Exception as error:  # whatever the network of a user makes of it
        raise CheckpointError(
            "--format",
            expected="a network whose operations torch.export can record",
            got=one_line(error)[:300],
            advice="Use --format safetensors, or change the network.",
        ) from error


def write_safetensors(baked: Baked, path: Path) -> None:
    """Write weights and header, which `hmopt.load_model` reads.

    Raises
    ------
    CheckpointError
        If the network is not hmopt's own, so that a header cannot say how to build it.
    """
    options = getattr(baked.network, "options", None)
    is_of_the_user = getattr(options, "callable", None) is not None
    if is_of_the_user or not isinstance(baked.network, RegistrationNetwork):
        raise CheckpointError(
            "--format",
            expected="the U-Net of hmopt, which a header can describe",
            got=f"safetensors of a {type(baked.network).__name__}",
            advice="Use --format torch or onnx, which hold the network as a program.",
        )
    save_network(path, baked.network.state_dict(), baked.header)


def write_torch(baked: Baked, path: Path) -> None:
    """Write a program that torch runs (.pt2), or weights and header that it reads (.pt, .pth).

    `torch.export.load(path).module()` is a function of moving and fixed images that returns
    displacement and moved images. `torch.load(path, weights_only=True)` is a dictionary with
    `state_dict` and `hmopt`, the header.
    """
    header = baked.full_header()
    if path.suffix != ".pt2":
        content = {"state_dict": _weights(baked), "hmopt": _plain(header)}
        with replacing(path) as beside:
            torch.save(content, beside)
        return
    program = export_program(baked)
    with replacing(path) as beside, _quiet_torch():
        torch.export.save(program, beside, extra_files={HEADER_FILE: _text(header)})
        loaded = torch.export.load(beside).module()
        _check_program(baked, lambda moving, fixed: loaded(moving, fixed)[0].numpy())


def write_onnx(baked: Baked, path: Path) -> None:
    """Write an ONNX graph: moving, fixed → displacement, moved.

    It is run once by ONNX Runtime, and compared with torch, before it gets its name.

    Raises
    ------
    CheckpointError
        If the optional packages are missing, an operation has no counterpart in ONNX, or ONNX
        Runtime computes another field.
    """
    onnx, onnxruntime = _onnx_packages()
    program = export_program(baked)
    with _quiet_torch():
        try:
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                verbose=False,
            )
            assert exported is not None
            graph = exported.model_proto
        except torch.onnx.errors.OnnxExporterError as error:
            raise CheckpointError(
                "--format",
                expected="a network whose operations ONNX has",
                got=one_line(error)[:300],
                advice="Use --format torch.",
            ) from error
    _name_axes(graph, baked)
    for key, value in onnx_metadata(baked).items():
        entry = graph.metadata_props.add()
        entry.key = key
        entry.value = value
    graph.producer_name = "hmopt"
    graph.producer_version = hmopt.__version__
    onnx.checker.check_model(graph)
    with replacing(path) as beside:
        onnx.save_model(graph, beside)
        session = onnxruntime.InferenceSession(beside, providers=["CPUExecutionProvider"])

        def run(moving: Tensor, fixed: Tensor) -> NDArray[np.float32]:
            images = {"moving": moving.numpy(), "fixed": fixed.numpy()}
            found: NDArray[np.float32] = session.run(["displacement"], images)[0]
            return found

        _check_program(baked, run)


def onnx_metadata(baked: Baked) -> dict[str, str]:
    """Return what stands in the `metadata_props` of a graph: texts by key.

    The key `hmopt` holds the whole header; the others repeat what every user needs.
    """
    header = baked.full_header()
    facts = header.get("baked", {})
    needed = {
        "axes": "batch, channel, " + ", ".join(AXES[: len(baked.shape)]) + " in RAS+ order",
        "displacement": "in voxels: moved(x) = moving(x + displacement(x))",
        "setting": baked.setting,
        "regularization": baked.setting.get("regularization"),
        "scope": facts.get("scope"),
        "spacing_mm": baked.spacing_mm,
        "trained_shape": list(baked.shape),
        "stride": baked.stride,
        "normalization": baked.preprocessing.normalization,
        "placement": baked.preprocessing.placement,
        "hmopt_version": hmopt.__version__,
        "hmopt": header,
    }
    texts = {}
    for key, value in needed.items():
        if value is None:
            continue
        texts[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return texts


def _weights(baked: Baked) -> dict[str, Tensor]:
    weights = {}
    for name, tensor in baked.network.state_dict().items():
        weights[name] = tensor.detach().cpu().contiguous()
    return weights


def _text(header: Mapping[str, Any]) -> str:
    return json.dumps(header, ensure_ascii=False, indent=1)


def _plain(header: Mapping[str, Any]) -> Any:
    """Return a header as JSON gives it back: dictionaries, lists, texts, numbers and None alone."""
    return json.loads(_text(header))


def _onnx_packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401, used by torch.onnx
    except ImportError as error:
        raise CheckpointError(
            "--format onnx",
            expected="the packages onnx, onnxruntime and onnxscript",
            got=one_line(error),
            advice='Install them: pip install "hmopt[onnx]".',
        ) from error
    return onnx, onnxruntime


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Silence what torch says of itself: packages that it does not need, names that it will change."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logger.setLevel(level)


def _name_axes(graph: Any, baked: Baked) -> None:
    """Give the axes of inputs and outputs that may have any size a name that people know."""
    names = ("batch", "channel", *AXES)
    for value in [*graph.graph.input, *graph.graph.output]:
        for name, axis in zip(names, value.type.tensor_type.shape.dim, strict=False):
            if axis.dim_param:
                axis.dim_param = name


def _check_program(baked: Baked, run: Callable[[Tensor, Tensor], NDArray[np.float32]]) -> None:
    """Refuse a program that does not compute the network's displacements.

    Raises
    ------
    CheckpointError
        If they differ.
    """
    generator = torch.Generator().manual_seed(0)
    shape = baked.shape
    if baked.stride is not None:
        shape = tuple(2 * baked.stride for _ in shape)
    moving = torch.rand(1, 1, *shape, generator=generator)
    fixed = torch.rand(1, 1, *shape, generator=generator)
    network = baked.network.eval()
    with torch.inference_mode():
        velocity = network(moving, fixed)
        expected: Tensor = network.displacement(velocity)  # type: ignore[operator]
    with torch.no_grad():
        found = run(moving.clone(), fixed.clone())
    difference = float(np.abs(found - expected.numpy()).max())
    if not difference <= TOLERANCE_VOXELS:
        raise CheckpointError(
            "--format",
            expected=f"a program within {TOLERANCE_VOXELS:g} voxels of the network",
            got=f"one that differs by {difference:.3g} voxels",
            advice="Use another format.",
        )
