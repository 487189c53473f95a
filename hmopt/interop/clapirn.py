"""Models of cLapIRN: registration conditioned on λ through instance normalization.

Mok and Chung, Conditional Deformable Image Registration with Convolutional Neural Network, MICCAI
2021; weights and code: https://github.com/cwmok/Conditional_LapIRN.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional

from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, DataError, HmoptError, sides_text
from hmopt.files import check_outputs, content_hash, one_line, replacing
from hmopt.interop.model import FileModel, Image, check_shapes
from hmopt.interop.torch_file import looks_saved_by_torch, read_torch_tensors
from hmopt.model_file import LARGEST_WEIGHT, read_tensors, sealed, sort_metadata
from hmopt.space import Hyperparameter, Setting, Space
from hmopt.spatial import image_tensor, warp

Arrays = Mapping[str, NDArray[np.float32]]

RANGE_FLOW = 0.4
"""Largest part of half the grid by which each level can move a voxel, as published."""
SLOPE = 0.2
"""Slope of the leaky rectifier for negative values."""
STRIDE = 8
"""The coarsest level has a quarter of the grid, and halves it once more."""
LEVELS_AT_MOST = 3
BLOCKS_AT_MOST = 50
CHANNELS_AT_MOST = 4096

_KEY = "clapirn"
"""Of the metadata in a converted file."""
_WHAT = "the weights of cLapIRN"
_ADVICE = "Give the file as its program wrote it."
_INNER = {2: "model_lvl1.", 3: "model_lvl2."}
_CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_AVERAGE = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
_UPSAMPLING = {2: "bilinear", 3: "trilinear"}
_PUBLISHED_SHAPE = {2: (160, 192), 3: (160, 192, 224)}
_PUBLISHED_AXES = {2: "LI", 3: "LIA"}


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What a model of cLapIRN was trained with and its file does not tell.

    Parameters
    ----------
    shape
        Voxels of its grid along each axis.
    range_flow
        The training script's `range_flow`.
    spacing_mm
        Size of a voxel.
    orientation
        Where its array axes point, as in `nibabel.aff2axcodes`. The published models were trained
        on OASIS as FreeSurfer stores it: to the left, down, to the front.

    Raises
    ------
    CheckpointError
        If a value cannot be.

    Examples
    --------
    >>> Conventions.published(3).orientation
    'LIA'
    """

    shape: tuple[int, ...]
    range_flow: float = RANGE_FLOW
    spacing_mm: float = 1.0
    orientation: str = "LIA"

    def __post_init__(self) -> None:
        """Refuse what no model was trained with."""
        object.__setattr__(self, "shape", tuple(self.shape))
        are_multiples = all(side > 0 and side % STRIDE == 0 for side in self.shape)
        axes = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
        pointed = [axes.get(letter, -1) for letter in self.orientation]
        are_axes = -1 not in pointed and len(set(pointed)) == len(self.shape) == len(pointed)
        self._check("shape", are_multiples, f"multiples of {STRIDE}", self.shape)
        self._check(
            "range_flow", 0 < self.range_flow <= 10, "0 < range_flow <= 10", self.range_flow
        )
        self._check("spacing_mm", 0 < self.spacing_mm <= 1000, "mm", self.spacing_mm)
        self._check("orientation", are_axes, "a letter for each axis, as LIA", self.orientation)

    @classmethod
    def published(cls, d: int) -> "Conventions":
        """Return those of the published models over d = 2 or 3 axes."""
        return cls(shape=_PUBLISHED_SHAPE[d], orientation=_PUBLISHED_AXES[d])

    def _check(self, name: str, holds: bool, expected: str, got: object) -> None:
        if not holds:
            raise CheckpointError(
                f"cLapIRN {name}", expected=expected, got=got, advice="Correct the value."
            )


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What tells the networks of cLapIRN apart, read from the shapes of their weights.

    Parameters
    ----------
    d
        Spatial axes, 2 or 3.
    levels
        1 to 3. A training leaves a file after each level; that of level 1 has a quarter of the
        resolution, that of level 2 half of it.
    blocks
        Residual blocks of each level, coarsest first.
    """

    d: int
    levels: int
    blocks: tuple[int, ...]


class ClapirnModel(FileModel):
    """A model of cLapIRN, 2-D or 3-D.

    Its hyperparameter `regularization`, in [0, 1], is what it is conditioned on; the smoothness
    term had ten times that weight in its training.

    Parameters
    ----------
    path
        Its file, for messages.
    tensors
        Its weights by name.
    conventions
        What the file does not tell; None: as published.
    device
        Where it runs.

    Raises
    ------
    CheckpointError
        If the tensors are those of another network.
    """

    def __init__(
        self,
        path: Path,
        tensors: Arrays,
        conventions: Conventions | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.path = path
        self.architecture = find_architecture(path, tensors)
        self.conventions = conventions or Conventions.published(self.architecture.d)
        if len(self.conventions.shape) != self.architecture.d:
            expected = f"a grid of {self.architecture.d} axes"
            raise _refused(path, expected, f"{len(self.conventions.shape)}")
        self._device = torch.device(device)
        self._identity = _identity(tensors, self.conventions)
        self._weights = {}
        for name, array in tensors.items():
            self._weights[name] = torch.from_numpy(array).to(self._device)

    @property
    def title(self) -> str:
        """What the model is, in a few words."""
        shape = sides_text(self.conventions.shape)
        level = self.architecture.levels
        partly = "" if level == LEVELS_AT_MOST else f", level {level} of {LEVELS_AT_MOST}"
        return f"cLapIRN, {shape} voxels ({self.conventions.orientation}){partly}"

    @property
    def identity(self) -> str:
        """Hash of weights and conventions."""
        return self._identity

    @property
    def space(self) -> Space:
        """`regularization` in [0, 1]; the default of the published scripts is 0.4."""
        regularization = Hyperparameter(name="regularization", default=0.4)
        return Space(hyperparameters=(regularization,))

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """The grid, 1 mm, minimum and maximum to [0, 1]."""
        conventions = self.conventions
        return PreprocessingOptions(
            shape=list(conventions.shape),
            spacing_mm=[conventions.spacing_mm] * self.architecture.d,
            normalization="minmax",
        )

    @property
    def orientation(self) -> str:
        """Where the axes of its arrays point."""
        return self.conventions.orientation

    @property
    def stride(self) -> int:
        """It takes every grid whose axes are multiples of this."""
        return STRIDE

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights by name."""
        return {name: tensor.cpu().numpy() for name, tensor in self._weights.items()}

    @torch.inference_mode()
    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels.

        Parameters
        ----------
        moving, fixed
            (*shape), in [0, 1], their axes as `orientation` says.
        setting
            `regularization`, in [0, 1].

        Raises
        ------
        DeclarationError
            If the setting is not of the model's space.
        DataError
            If the images have a shape or intensities that the model does not take.
        """
        (place,) = self.space.to_unit_interval(setting)
        check_shapes(moving, fixed, self.conventions.shape, STRIDE)
        _check_room(moving.shape)
        _check_intensities(moving, fixed)
        # the range is [0, 1]: the place along it is λ itself
        code = torch.tensor([[place]], dtype=torch.float32, device=self._device)
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        levels = self.architecture.levels
        network = _Network(self._weights, self.architecture, self.conventions.range_flow, code)
        unit = network.level(levels, moving_tensor, fixed_tensor)[0]
        for _ in range(LEVELS_AT_MOST - levels):
            unit = _upsampled(unit)
        displacement = _in_voxels(unit)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array


class _Network:
    """The Laplacian pyramid: each level registers at twice the resolution of the one before.

    With m and f the images on the grid of a level, u the upsampled displacement of the level
    before it, e that level's features and λ the condition:

        a = conv(σ(conv([m ∘ (id + u), f, u])))         encoder
        b = conv₂(a) + e                                 half the grid
        b = σ(b + conv(σ(N(conv(σ(N(b, λ))), λ))))       residual blocks
        c = up(b)                                        the level's own grid
        v = r · softsign(conv(σ(conv([c, a]))))          r is range_flow
        displacement = u + v

    N normalizes each channel to mean 0 and deviation 1 over the grid, then scales and shifts it by
    dense layers of λ. Displacements are in halves of the grid, the last axis first, as
    `torch.nn.functional.grid_sample` takes them.

    Parameters
    ----------
    weights
        By name.
    architecture
        What they are of.
    range_flow
        r.
    code
        (1, 1), λ.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        architecture: Architecture,
        range_flow: float,
        code: Tensor,
    ) -> None:
        self._weights = weights
        self._architecture = architecture
        self._range_flow = range_flow
        self._code = code
        self._convolve = _CONVOLVE[architecture.d]

    def level(self, level: int, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the displacement of a level, (1, d, *grid), and its features.

        Parameters
        ----------
        level
            1 has a quarter of the resolution of the images, 2 half, 3 all.
        moving, fixed
            (1, 1, *shape), of full resolution.
        """
        prefix = prefix_of(level, self._architecture.levels)
        if level == 1:
            images = _halved(_halved(torch.cat([moving, fixed], dim=1)))
            return self._register(prefix, 1, images, None, None)
        coarse, features = self.level(level - 1, moving, fixed)
        start = _upsampled(coarse)
        if level == 2:
            moving, fixed = _halved(moving), _halved(fixed)
        moved = _moved(moving, start)
        images = torch.cat([moved, fixed, start], dim=1)
        return self._register(prefix, level, images, start, features)

    def _register(
        self, prefix: str, level: int, images: Tensor, start: Tensor | None, before: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        encoded = self._conv(f"{prefix}input_encoder_lvl1.0", images)
        encoded = self._conv(f"{prefix}input_encoder_lvl1.2", _rectified(encoded))
        features = self._conv(f"{prefix}down_conv", encoded, stride=2)
        if before is not None:
            features = features + before
        for block in range(self._architecture.blocks[level - 1]):
            features = self._block(f"{prefix}resblock_group_lvl1.{2 * block}.", features)
            features = _rectified(features)
        transposed = _TRANSPOSED[self._architecture.d]
        features = transposed(features, self._weights[f"{prefix}up.weight"], stride=2)

        both = torch.cat([features, encoded], dim=1)
        del encoded
        hidden = _rectified(self._conv(f"{prefix}output_lvl1.0", both))
        del both
        added = functional.softsign(self._conv(f"{prefix}output_lvl1.2", hidden))
        added = added * self._range_flow
        displacement = added if start is None else start + added
        return displacement, features

    def _block(self, prefix: str, features: Tensor) -> Tensor:
        latent = self._code
        for layer in (0, 2, 4, 6):
            latent = _rectified(self._dense(f"{prefix}mapping.{layer}", latent))
        hidden = self._normalized(f"{prefix}ai1.style", features, latent)
        hidden = self._conv(f"{prefix}conv1", _rectified(hidden))
        hidden = self._normalized(f"{prefix}ai2.style", hidden, latent)
        hidden = self._conv(f"{prefix}conv2", _rectified(hidden))
        return features + hidden

    def _normalized(self, name: str, features: Tensor, latent: Tensor) -> Tensor:
        """Return (1 + γ(λ)) · (features - mean) / deviation + β(λ), for each channel."""
        style = self._dense(name, latent)
        ones = [1] * self._architecture.d
        gamma, beta = style.view(1, -1, *ones).chunk(2, dim=1)
        normal = functional.instance_norm(features)
        return (1.0 + gamma) * normal + beta

    def _dense(self, name: str, inputs: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.linear(inputs, weight, bias)

    def _conv(self, name: str, inputs: Tensor, stride: int = 1) -> Tensor:
        result: Tensor = self._convolve(
            inputs, self._weights[f"{name}.weight"], stride=stride, padding=1
        )
        return result


def prefix_of(level: int, levels: int) -> str:
    """Return what the names of a level's tensors begin with; the finest level holds the others.

    Examples
    --------
    >>> [prefix_of(level, levels=3) for level in (3, 2, 1)]
    ['', 'model_lvl2.', 'model_lvl2.model_lvl1.']
    """
    parts = [_INNER[outer] for outer in range(levels, level, -1)]
    return "".join(parts)


def _rectified(values: Tensor) -> Tensor:
    return functional.leaky_relu(values, negative_slope=SLOPE)


def _halved(images: Tensor) -> Tensor:
    """Return means of 3 × 3 (× 3) voxels on half the grid; voxels outside do not count."""
    average = _AVERAGE[images.dim() - 2]
    return average(images, kernel_size=3, stride=2, padding=1, count_include_pad=False)


def _upsampled(field: Tensor) -> Tensor:
    mode = _UPSAMPLING[field.dim() - 2]
    return functional.interpolate(field, scale_factor=2, mode=mode, align_corners=False)


def _in_voxels(unit: Tensor) -> Tensor:
    """Return a displacement in voxels, first axis first, of one in halves of the grid, last axis first."""
    _, d, *shape = unit.shape
    axes_last = unit.flip(1)
    sides = torch.tensor(shape, dtype=unit.dtype, device=unit.device)
    halves = (sides - 1) / 2
    ones = [1] * d
    return axes_last * halves.view(1, d, *ones)


def _moved(image: Tensor, unit: Tensor) -> Tensor:
    return warp(image, _in_voxels(unit))


def _check_room(shape: tuple[int, ...]) -> None:
    """Refuse a grid of which the coarsest level has one voxel: there is nothing to normalize."""
    if all(side == STRIDE for side in shape):
        raise DataError(
            "images",
            expected=f"more than {STRIDE} voxels along an axis",
            got=sides_text(shape),
            advice="Prepare both images to the same grid of the model.",
        )


def _check_intensities(moving: Image, fixed: Image) -> None:
    for name, image in (("moving", moving), ("fixed", fixed)):
        lowest, highest = float(image.min()), float(image.max())
        if not (lowest >= -0.01 and highest <= 1.01):
            raise DataError(
                f"{name} image",
                expected="intensities in [0, 1]",
                got=f"{lowest:.4g} to {highest:.4g}",
                advice='Declare preprocessing.normalization = "minmax".',
            )


def find_architecture(path: Path, tensors: Arrays) -> Architecture:
    """Return the architecture that tensors are of.

    Widths are free: `start_channel`, and the full and the lite network, differ in nothing else.

    Parameters
    ----------
    path
        The file, for messages.
    tensors
        By name.

    Raises
    ------
    CheckpointError
        If a tensor is missing, there are others, or one has a shape that does not fit.
    """
    _refuse_others(path, tensors)
    levels = _levels(tensors)
    first = tensors.get("input_encoder_lvl1.0.weight")
    if first is None:
        raise _refused(path, _WHAT, "no input_encoder_lvl1.0.weight")
    d = first.ndim - 2
    if d not in _CONVOLVE:
        raise _refused(path, f"{_WHAT}, 2-D or 3-D", f"a first convolution of shape {first.shape}")
    expected: dict[str, tuple[int, ...]] = {}
    blocks = []
    below = None
    for level in range(1, levels + 1):
        prefix = prefix_of(level, levels)
        count = _block_count(tensors, prefix)
        widths = _Widths.read(path, tensors, prefix)
        if below is not None and widths.halved != below:
            got = f"{below} features of level {level - 1} beside {widths.halved} of level {level}"
            raise _refused(path, _WHAT, got)
        expected |= widths.shapes(prefix, d, level, count)
        blocks.append(count)
        below = widths.up
    _check_same_shapes(path, tensors, expected)
    return Architecture(d=d, levels=levels, blocks=tuple(blocks))


def _levels(tensors: Arrays) -> int:
    """Return the level that was trained last: level 3 holds level 2, which holds level 1."""
    if any(name.startswith(_INNER[3]) for name in tensors):
        return 3
    if any(name.startswith(_INNER[2]) for name in tensors):
        return 2
    return 1


def _block_count(tensors: Arrays, prefix: str) -> int:
    """Return how many blocks a level has; a place between two of them is a rectifier's."""
    count = 0
    while f"{prefix}resblock_group_lvl1.{2 * count}.conv1.weight" in tensors:
        count += 1
        if count >= BLOCKS_AT_MOST:
            break
    return max(count, 1)


@dataclass(frozen=True, kw_only=True)
class _Widths:
    """Channels of a level: what its weights may have any number of."""

    encoded: int
    halved: int
    up: int
    hidden: int
    latent: int
    mapped: int

    @classmethod
    def read(cls, path: Path, tensors: Arrays, prefix: str) -> "_Widths":
        """Return those of a level, from the shapes of its tensors."""

        def side(name: str, axis: int) -> int:
            array = tensors.get(f"{prefix}{name}")
            if array is None:
                raise _refused(path, _WHAT, f"no {prefix}{name}")
            if array.ndim <= axis or not 0 < array.shape[axis] <= CHANNELS_AT_MOST:
                raise _refused(path, _WHAT, f"{prefix}{name} of shape {array.shape}")
            return int(array.shape[axis])

        block = "resblock_group_lvl1.0."
        return cls(
            encoded=side("input_encoder_lvl1.0.weight", 0),
            halved=side("down_conv.weight", 0),
            up=side("up.weight", 1),
            hidden=side("output_lvl1.0.weight", 0),
            latent=side(f"{block}ai1.style.weight", 1),
            mapped=side(f"{block}mapping.0.weight", 0),
        )

    def shapes(self, prefix: str, d: int, level: int, blocks: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor of a level, by name."""
        kernel = (3,) * d
        halves = (2,) * d
        images = 2 if level == 1 else 2 + d
        found: dict[str, tuple[int, ...]] = {
            "input_encoder_lvl1.0.weight": (self.encoded, images, *kernel),
            "input_encoder_lvl1.2.weight": (self.encoded, self.encoded, *kernel),
            "down_conv.weight": (self.halved, self.encoded, *kernel),
            "up.weight": (self.halved, self.up, *halves),
            "output_lvl1.0.weight": (self.hidden, self.up + self.encoded, *kernel),
            "output_lvl1.2.weight": (d, self.hidden, *kernel),
        }
        for block in range(blocks):
            name = f"resblock_group_lvl1.{2 * block}"
            for place in (1, 2):
                found[f"{name}.conv{place}.weight"] = (self.halved, self.halved, *kernel)
                found[f"{name}.ai{place}.style.weight"] = (2 * self.halved, self.latent)
                found[f"{name}.ai{place}.style.bias"] = (2 * self.halved,)
            sizes = [1, self.mapped, self.mapped, self.mapped, self.latent]
            for place in range(4):
                layer = f"{name}.mapping.{2 * place}"
                found[f"{layer}.weight"] = (sizes[place + 1], sizes[place])
                found[f"{layer}.bias"] = (sizes[place + 1],)
        return {f"{prefix}{name}": shape for name, shape in found.items()}


def _refuse_others(path: Path, tensors: Arrays) -> None:
    """Refuse networks that are known to be something else, by their names."""
    has_blocks = any("resblock_group_lvl1" in name for name in tensors)
    if has_blocks and not any(".ai1.style." in name for name in tensors):
        got = "LapIRN, which is not conditioned on λ"
        raise _refused(path, _WHAT, got)
    if not has_blocks:
        names = ", ".join(list(tensors)[:3]) or "no tensors"
        raise _refused(path, _WHAT, f"another network ({names})")
    inputs = [tensor for name, tensor in tensors.items() if name.endswith("mapping.0.weight")]
    for tensor in inputs:
        if tensor.ndim == 2 and tensor.shape[1] > 1:
            got = f"one of {tensor.shape[1]} hyperparameters"
            raise _refused(path, f"{_WHAT}, conditioned on one hyperparameter", got)


def _check_same_shapes(
    path: Path, tensors: Arrays, expected: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in expected.items():
        if name not in tensors:
            raise _refused(path, _WHAT, f"no {name}")
        if tensors[name].shape != shape:
            raise _refused(path, f"{name} of shape {shape}", str(tensors[name].shape))
    others = [name for name in tensors if name not in expected]
    if others:
        raise _refused(path, _WHAT, f"{', '.join(others[:3])} beside them")
    for name, array in tensors.items():
        largest = float(np.abs(array).max(initial=0.0))
        if largest > LARGEST_WEIGHT:
            raise _refused(path, _WHAT, f"a weight of {largest:g} in {name}")


def _identity(tensors: Arrays, conventions: Conventions) -> str:
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    digest = sealed({}, arrays)
    return content_hash("clapirn", digest, conventions.range_flow, conventions.orientation)


def recognizes(path: Path) -> bool:
    """Tell whether a file is one of `torch.save`, or the safetensors file that `convert` makes of one."""
    if looks_saved_by_torch(path):
        return True
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            return _KEY in (file.metadata() or {}) or "input_encoder_lvl1.0.weight" in names
    except Exception:  # whatever a file of another format makes of it
        return False


def read(path: Path, device: torch.device | str = "cpu") -> ClapirnModel:
    """Return the model in a file: a `.pth` as its authors wrote it, or a converted one.

    Of a `.pth` the conventions are taken as published: `range_flow` 0.4, 160 × 192 × 224 voxels of
    1 mm, oriented LIA. `convert` writes a file that says otherwise.

    Parameters
    ----------
    path
        The file.
    device
        Where it runs.

    Raises
    ------
    CheckpointError
        If the file cannot be used. Nothing in it is executed.
    """
    if looks_saved_by_torch(path):
        tensors = read_torch_tensors(path, _WHAT)
        return ClapirnModel(path, tensors, device=device)
    metadata, arrays = read_tensors(path, _WHAT, _ADVICE, keys=None)
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise _refused(path, _WHAT, f"{name} as {array.dtype}")
    conventions = None
    if _KEY in metadata:
        conventions = _conventions(path, metadata[_KEY])
    return ClapirnModel(path, arrays, conventions, device)


def _conventions(path: Path, text: str) -> Conventions:
    try:
        values: dict[str, Any] = json.loads(text)
        return Conventions(**values)
    except (HmoptError, TypeError, ValueError, RecursionError) as error:
        raise _refused(path, _WHAT, one_line(error)) from error


def convert(
    source: Path | str,
    destination: Path | str,
    *,
    range_flow: float = RANGE_FLOW,
    shape: Sequence[int] | None = None,
    spacing_mm: float = 1.0,
    orientation: str | None = None,
) -> Path:
    """Write the weights of a `.pth` as safetensors, with what the `.pth` does not tell.

    Parameters
    ----------
    source
        The file that the training of cLapIRN wrote.
    destination
        The safetensors file; `hmopt.load_model` reads it.
    range_flow
        The training script's value.
    shape
        Voxels of the grid that it was trained on; None: as published, 160 × 192 × 224 or, in 2-D,
        160 × 192.
    spacing_mm
        Size of a voxel.
    orientation
        Where the array axes of its training images point, as `nibabel.aff2axcodes` tells; None: as
        of the published models, LIA or, in 2-D, LI.

    Returns
    -------
    Path
        The destination.

    Raises
    ------
    CheckpointError
        If the source cannot be used, or a convention cannot be.

    Examples
    --------
    >>> from hmopt.interop import clapirn
    >>> clapirn.convert("stagelvl3_60000.pth", "clapirn.safetensors")  # doctest: +SKIP
    PosixPath('clapirn.safetensors')
    """
    source, destination = Path(source), Path(destination)
    check_outputs({"destination": destination}, {"source": source})
    model = read(source)
    d = model.architecture.d
    published = Conventions.published(d)
    conventions = Conventions(
        shape=published.shape if shape is None else tuple(shape),
        range_flow=range_flow,
        spacing_mm=spacing_mm,
        orientation=published.orientation if orientation is None else orientation,
    )
    arrays = model.arrays()
    ClapirnModel(source, arrays, conventions)  # refuses a grid of another number of axes
    text = json.dumps(asdict(conventions))
    metadata = sealed({_KEY: text}, arrays)
    with replacing(destination) as beside:
        save_file(arrays, beside, metadata)
        sort_metadata(beside)
    return destination


def _refused(path: Path, expected: str, got: str) -> CheckpointError:
    return CheckpointError(str(path), expected=expected, got=got, advice=_ADVICE)
