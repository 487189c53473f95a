"""HyperMorph models of VoxelMorph's TensorFlow code (`HyperVxmDense`), read without TensorFlow.

The file is what `model.save(path)` of voxelmorph 0.2 and its development versions writes: an HDF5
file of Keras with the arguments that the network was made with, and its weights by layer. The
network is

    moving, fixed → U-Net → velocity → [resize] → integrate → [resize] → displacement

and a hypernetwork of dense layers predicts all convolutions of the U-Net from the hyperparameters;
the last convolution, `flow`, has weights of its own.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
)
from torch import Tensor
from torch.nn import functional

from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, DataError, first_fault, sides_text
from hmopt.files import content_hash
from hmopt.interop.keras_file import (
    LayerTensor,
    check_shape,
    is_hdf5,
    list_tensors,
    opened,
    read_configuration,
    read_tensor,
    refusal,
)
from hmopt.interop.model import FileModel, Image, check_shapes, hyperparameter_names
from hmopt.interop.voxelmorph_unet import (
    ConvolutionShape,
    Levels,
    UNetPlan,
    VoxelMorphUNet,
    by_level,
    integrate_precisely,
    kernel_size,
    kernel_tensor,
    rescale_field,
    rescaled_side,
)
from hmopt.space import Hyperparameter, Setting, Space
from hmopt.spatial import image_tensor

CLASS = "HyperVxmDense"
_WHAT = f"a HyperMorph of VoxelMorph ({CLASS})"
_ADVICE = "Use a model without this option."

Features = Annotated[StrictInt, Field(ge=1, le=4096)]
Resolution = Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)]
FeatureList = Annotated[list[Features], Field(max_length=64)]


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


class _Options(BaseModel):
    """Arguments of `HyperVxmDense` and of the `VxmDense` in it; where one is left out, their default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inshape: Annotated[
        list[Annotated[StrictInt, Field(ge=1, le=4096)]], Field(min_length=1, max_length=3)
    ]
    nb_hyp_params: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    nb_hyp_layers: Annotated[StrictInt, Field(ge=0, le=64)] = 6
    nb_hyp_units: Annotated[StrictInt, Field(ge=1, le=16384)] = 128
    name: str = "hyper_vxm_dense"
    nb_unet_features: (
        Annotated[list[FeatureList], Field(min_length=2, max_length=2)] | Features | None
    ) = None
    enc_nf: FeatureList | None = None
    dec_nf: FeatureList | None = None
    nb_unet_levels: Annotated[StrictInt, Field(ge=1, le=16)] | None = None
    unet_feat_mult: Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)] = 1.0
    nb_unet_conv_per_level: Annotated[StrictInt, Field(ge=1, le=16)] = 1
    int_steps: Annotated[StrictInt, Field(ge=0, le=32)] = 7
    svf_resolution: Resolution = 1.0
    int_resolution: Resolution = 2.0
    int_downsize: Resolution | None = None
    unet_half_res: StrictBool = False
    bidir: StrictBool = False
    use_probs: StrictBool = False
    src_feats: StrictInt = 1
    trg_feats: StrictInt = 1
    input_model: Any = None
    hyp_model: Any = None
    fill_value: float | None = None
    reg_field: Annotated[
        Literal["svf", "preintegrated", "postintegrated", "warp"], BeforeValidator(_lower)
    ] = "preintegrated"
    metadata: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class _Resizing:
    """By how much a field is resized on its way from the U-Net to the images; None: not at all."""

    to_velocity: float | None
    to_integration: float | None
    to_images: float | None


@dataclass(frozen=True, kw_only=True)
class HyperVxmDense:
    """The architecture of a `HyperVxmDense`.

    Parameters
    ----------
    name
        What the names of its layers begin with.
    shape
        Voxels of its images.
    hyperparameters
        Their number.
    widths
        Units of each dense layer of the hypernetwork.
    plan
        Its U-Net.
    steps
        Scaling-and-squaring steps; 0: the velocity is the displacement.
    svf_resolution, int_resolution
        Image voxels to a voxel of the velocity, and of the grid that it is integrated on.
    """

    name: str
    shape: tuple[int, ...]
    hyperparameters: int
    widths: tuple[int, ...]
    plan: UNetPlan
    steps: int
    svf_resolution: float
    int_resolution: float

    def resizing(self, shape: Sequence[int]) -> _Resizing | None:
        """Return how fields are resized for images of a shape; None where they do not fit.

        The rules are VoxelMorph's: each resize is asked for by the rounded sides of all axes, and
        its factor is that of the first one.
        """
        found = [self.plan.field_side(side) for side in shape]
        sides = [side for side in found if side is not None]
        if len(sides) < len(shape):
            return None
        wanted = [round(side / self.svf_resolution) for side in shape]
        to_velocity = to_integration = to_images = None
        if sides != wanted:
            to_velocity = wanted[0] / sides[0]
            sides = [rescaled_side(side, to_velocity) for side in sides]
        if self.steps > 0 and self.int_resolution > 1:
            integrated = [round(side / self.int_resolution) for side in shape]
            if min(integrated) < 1 or wanted[0] < 1:
                return None
            if wanted != integrated:
                to_integration = integrated[0] / wanted[0]
                sides = [rescaled_side(side, to_integration) for side in sides]
            to_images = shape[0] / integrated[0]
            sides = [rescaled_side(side, to_images) for side in sides]
        if sides != list(shape):
            return None
        return _Resizing(
            to_velocity=to_velocity, to_integration=to_integration, to_images=to_images
        )

    @property
    def stride(self) -> int | None:
        """It can be computed on every grid whose axes are multiples of this; None: on its own alone."""
        resolutions = (self.svf_resolution, self.int_resolution)
        if any(resolution != round(resolution) for resolution in resolutions):
            return None
        levels = 2 ** len(self.plan.encoder)
        stride = math.lcm(levels, *[round(resolution) for resolution in resolutions])
        fits = all(side % stride == 0 for side in self.shape)
        return stride if fits else None


class HyperVxmModel(FileModel):
    """A HyperMorph of VoxelMorph's TensorFlow code.

    Parameters
    ----------
    architecture
        What it is.
    weights
        Its tensors by name, in Keras' layouts.
    identity
        Hash of both.
    device
        Where it runs.
    """

    def __init__(
        self,
        architecture: HyperVxmDense,
        weights: Mapping[str, Tensor],
        identity: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.architecture = architecture
        self._device = torch.device(device)
        self._weights = {name: tensor.to(self._device) for name, tensor in weights.items()}
        self._identity = identity
        self._last: tuple[Setting, VoxelMorphUNet] | None = None

    @property
    def title(self) -> str:
        """What the model is, and the loss that its λ weighs."""
        shape = sides_text(self.architecture.shape)
        return (
            f"HyperMorph of VoxelMorph (TensorFlow), {shape} voxels; "
            "loss (1 - λ) similarity / σ² + λ regularizer"
        )

    @property
    def identity(self) -> str:
        """Hash of weights and architecture."""
        return self._identity

    @property
    def space(self) -> Space:
        """`regularization` in [0, 1], and `hyperparameter_2` … where there are more."""
        names = hyperparameter_names(self.architecture.hyperparameters)
        hyperparameters = [Hyperparameter(name=name) for name in names]
        return Space(hyperparameters=tuple(hyperparameters))

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """Its own grid at each image's own spacing; intensities from 0 to 1 are a proposal."""
        shape = list(self.architecture.shape)
        return PreprocessingOptions(shape=shape, normalization="minmax", placement="centre")

    @property
    def knows_normalization(self) -> bool:
        """The file does not tell how intensities were scaled in training."""
        return False

    @property
    def stride(self) -> int | None:
        """It also takes grids whose axes are multiples of this."""
        return self.architecture.stride

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels."""
        one: NDArray[np.float32]
        [one] = self.displacements(moving[np.newaxis], fixed[np.newaxis], setting)
        return one

    @torch.inference_mode()
    def displacements(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Setting
    ) -> NDArray[np.float32]:
        """Return the displacements of n pairs, (n, d, *shape), in voxels."""
        check_shapes(moving[0], fixed[0], self.architecture.shape, self.stride)
        velocity = self._velocity(moving, fixed, setting)
        displacement = integrate_precisely(velocity, self.architecture.steps)
        to_images = self._resizing(moving).to_images
        if to_images is not None:
            displacement = rescale_field(displacement, to_images)
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array

    @torch.inference_mode()
    def velocity(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the velocity that is integrated, (d, *grid), in voxels of its own grid."""
        check_shapes(moving, fixed, self.architecture.shape, self.stride)
        velocity = self._velocity(moving[np.newaxis], fixed[np.newaxis], setting)
        array: NDArray[np.float32] = velocity[0].cpu().numpy()
        return array

    def _velocity(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Setting
    ) -> Tensor:
        resizing = self._resizing(moving)
        images = torch.cat([image_tensor(list(moving)), image_tensor(list(fixed))], dim=1)
        network = self._network(setting)
        velocity: Tensor = network(images.to(self._device))
        for zoom in (resizing.to_velocity, resizing.to_integration):
            if zoom is not None:
                velocity = rescale_field(velocity, zoom)
        return velocity

    def _resizing(self, images: NDArray[np.float32]) -> _Resizing:
        shape = images.shape[1:]
        found = self.architecture.resizing(shape)
        if found is None:
            own = sides_text(self.architecture.shape)
            raise DataError(
                "images",
                expected="a shape on which the model gives a displacement of the same shape",
                got=sides_text(shape),
                advice=f"Prepare them to its own grid, {own}.",
            )
        return found

    def _network(self, setting: Setting) -> VoxelMorphUNet:
        """Return the U-Net of a setting, that of the last call where it is the same."""
        if self._last is not None and self._last[0] == setting:
            return self._last[1]
        places = self.space.to_unit_interval(setting)  # the range is [0, 1]
        network = self._predicted(places)
        self._last = (dict(setting), network)
        return network

    def _predicted(self, hyperparameters: Sequence[float]) -> VoxelMorphUNet:
        """Predict the U-Net's weights: dense layers with rectifiers, and a dense layer for each tensor."""
        weights = self._weights
        hidden = torch.tensor(hyperparameters, dtype=torch.float32, device=self._device)
        for place in range(1, len(self.architecture.widths) + 1):
            layer = f"hyp_dense_{place}"
            hidden = functional.relu(hidden @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"])

        plan = self.architecture.plan
        convolutions = []
        for shape in plan.convolutions():
            part = shape.part
            if part == "flow":
                kernel = weights["flow/kernel"]
                bias = weights["flow/bias"]
            else:
                kernel = hidden @ weights[f"{part}/hyperkernel_kernel"]
                kernel = kernel + weights[f"{part}/hyperkernel_bias"]
                bias = hidden @ weights[f"{part}/hyperbias_kernel"]
                bias = bias + weights[f"{part}/hyperbias_bias"]
            convolutions.append((kernel_tensor(kernel, shape, plan.d), bias))
        return VoxelMorphUNet(plan, convolutions)


def recognizes(path: Path) -> bool:
    """Tell whether a file is one of Keras, or an HDF5 file that is damaged.

    `read` says in words what is wrong with those that hold another model.
    """
    if not is_hdf5(path):
        return False
    try:
        with opened(path, _WHAT) as file:
            return "model_config" in file.attrs or "layer_names" in file.attrs
    except CheckpointError:
        return True
    except Exception:  # whatever the library makes of damage
        return False


def read(path: Path, device: torch.device | str = "cpu") -> HyperVxmModel:
    """Return the HyperMorph in a file of VoxelMorph's TensorFlow code.

    Parameters
    ----------
    path
        The file.
    device
        Where it runs.

    Raises
    ------
    CheckpointError
        If it is damaged, holds another model, or one with an option that is not supported.
    """
    with opened(path, _WHAT) as file:
        name, configuration = read_configuration(path, file, _WHAT)
        if name != CLASS:
            raise refusal(path, _WHAT, f"a {name}", "Give a model that takes hyperparameters.")
        architecture = _architecture(path, configuration)
        tensors = _find_tensors(path, list_tensors(path, file, _WHAT), architecture)
        weights = {}
        digest = hashlib.sha256()
        for place, tensor in tensors.items():
            values = read_tensor(path, file, tensor, _WHAT)
            digest.update(place.encode())
            digest.update(values.tobytes())
            weights[place] = torch.from_numpy(values)
    computed = asdict(replace(architecture, name=""))
    identity = content_hash(CLASS, digest.hexdigest(), computed)
    return HyperVxmModel(architecture, weights, identity, device)


def _architecture(path: Path, configuration: Mapping[str, Any]) -> HyperVxmDense:
    """Return the architecture that a configuration names.

    Raises
    ------
    CheckpointError
        If an option is unknown, has a value that VoxelMorph cannot have written, or is not
        supported.
    """
    try:
        options = _Options.model_validate(configuration)
    except ValidationError as error:
        fault = first_fault(error)
        got = f"{fault.key} = {_short(fault.value)} (expected {fault.rule})"
        raise refusal(path, _WHAT, got) from error
    _refuse_unsupported(path, options)

    shape = tuple(options.inshape)
    encoder, decoder, final = _features(path, options)
    svf_resolution = 2.0 if options.unet_half_res else options.svf_resolution
    int_resolution = options.int_downsize or options.int_resolution
    # in VoxelMorph's floating-point arithmetic
    skipped = int(np.floor(np.log(svf_resolution) / np.log(2)))
    plan = UNetPlan(
        d=len(shape),
        channels=2,
        encoder=encoder,
        decoder=decoder,
        final=final,
        upsamplings=min(max(len(decoder) - skipped, 0), len(decoder)),
    )
    architecture = HyperVxmDense(
        name=options.name,
        shape=shape,
        hyperparameters=options.nb_hyp_params,
        widths=(options.nb_hyp_units,) * options.nb_hyp_layers,
        plan=plan,
        steps=options.int_steps,
        svf_resolution=svf_resolution,
        int_resolution=int_resolution,
    )
    if architecture.resizing(shape) is None:
        got = (
            f"inshape = {list(shape)} with {len(encoder)} levels, svf_resolution = "
            f"{svf_resolution:g}, int_resolution = {int_resolution:g} and int_steps = "
            f"{options.int_steps}, which gives no displacement on the grid of the images"
        )
        raise refusal(path, _WHAT, got, _ADVICE)
    return architecture


def _refuse_unsupported(path: Path, options: _Options) -> None:
    """Refuse what `HyperVxmDense` can be made with, but hmopt cannot compute, by name."""
    unsupported = {
        f"inshape = {options.inshape}: one axis": len(options.inshape) < 2,
        f"src_feats = {options.src_feats}: several channels": options.src_feats != 1,
        f"trg_feats = {options.trg_feats}: several channels": options.trg_feats != 1,
        "use_probs = True: a random velocity": options.use_probs,
        "input_model: another model before it": options.input_model is not None,
        "hyp_model: another hypernetwork": options.hyp_model is not None,
        f"svf_resolution = {options.svf_resolution:g}: finer than the images": (
            options.svf_resolution < 1
        ),
    }
    for option, is_used in unsupported.items():
        if is_used:
            raise refusal(path, f"{_WHAT} of one-channel images in 2-D or 3-D", option, _ADVICE)


def _features(path: Path, options: _Options) -> tuple[Levels, Levels, tuple[int, ...]]:
    """Return the channels of encoder, decoder and further convolutions, by VoxelMorph's rules."""
    per_level = options.nb_unet_conv_per_level
    features = options.nb_unet_features
    if options.enc_nf and options.dec_nf:
        features = [options.enc_nf, options.dec_nf]
    if features is None:
        features = [[16, 32, 32, 32], [32, 32, 32, 32, 32, 16, 16]]
    if isinstance(features, int):
        if options.nb_unet_levels is None:
            raise refusal(path, _WHAT, f"nb_unet_features = {features} without nb_unet_levels")
        growth = options.unet_feat_mult ** np.arange(options.nb_unet_levels)
        channels = [int(count) for count in np.round(features * growth)]
        if not 1 <= min(channels) <= max(channels) <= 4096:
            raise refusal(path, _WHAT, f"nb_unet_features of {channels} channels")
        downwards = [count for count in channels[:-1] for _ in range(per_level)]
        upwards = [count for count in reversed(channels) for _ in range(per_level)]
        features = [downwards, upwards]
    elif options.nb_unet_levels is not None:
        raise refusal(path, _WHAT, "nb_unet_levels beside lists in nb_unet_features")

    encoder, decoder = features
    used = len(encoder)
    levels = used // per_level
    convolved = levels * per_level
    if len(decoder) < convolved or levels < 1:
        got = f"nb_unet_features with {used} and {len(decoder)} convolutions, {per_level} a level"
        raise refusal(path, _WHAT, got)
    return (
        by_level(encoder[:convolved], per_level),
        by_level(decoder[:convolved], per_level),
        tuple(decoder[used:]),
    )


def _find_tensors(
    path: Path, tensors: Sequence[LayerTensor], architecture: HyperVxmDense
) -> dict[str, LayerTensor]:
    """Return the tensors of the network by `part/name`, once all are there in the right shape.

    Raises
    ------
    CheckpointError
        If a tensor is missing, of another shape, there twice or of no use.
    """
    found: dict[str, LayerTensor] = {}
    for tensor in tensors:
        part = tensor.group.removeprefix(f"{architecture.name}_").removeprefix("unet_")
        place = f"{part}/{tensor.name}"
        if place in found:
            raise refusal(path, _WHAT, f"two tensors {tensor.name} of {tensor.group}")
        found[place] = tensor

    shapes = _tensor_shapes(architecture)
    for place, shape in shapes.items():
        if place not in found:
            raise refusal(path, _WHAT, f"no tensor {place} of {architecture.name}")
        check_shape(path, found[place], shape, _WHAT)
    unused = [tensor.path for place, tensor in found.items() if place not in shapes]
    if unused:
        raise refusal(path, _WHAT, f"a tensor that its network does not have: {unused[0]}")
    return {place: found[place] for place in shapes}


def _tensor_shapes(architecture: HyperVxmDense) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors, in Keras' layouts."""
    shapes: dict[str, tuple[int, ...]] = {}
    units = architecture.hyperparameters
    for place, width in enumerate(architecture.widths, start=1):
        shapes[f"hyp_dense_{place}/kernel"] = (units, width)
        shapes[f"hyp_dense_{place}/bias"] = (width,)
        units = width
    plan = architecture.plan
    for shape in plan.convolutions():
        shapes.update(_shapes_of(shape, plan.d, units))
    return shapes


def _shapes_of(shape: ConvolutionShape, d: int, units: int) -> dict[str, tuple[int, ...]]:
    part = shape.part
    if part == "flow":
        kernel = (3,) * d + (shape.channels_in, shape.channels_out)
        return {"flow/kernel": kernel, "flow/bias": (shape.channels_out,)}
    size = kernel_size(shape, d)
    return {
        f"{part}/hyperkernel_kernel": (units, size),
        f"{part}/hyperkernel_bias": (size,),
        f"{part}/hyperbias_kernel": (units, shape.channels_out),
        f"{part}/hyperbias_bias": (shape.channels_out,),
    }


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
