"""SynthMorph's deformable network (`HyperVxmJoint` of VoxelMorph), read without TensorFlow.

FreeSurfer 8 comes with its weights, `synthmorph.deform.3.h5`: 3.5 GB, of which a setting's network
is 106 MB. The file holds weights alone; the architecture is that of `HyperVxmJoint` with
`skip_affine`, and the numbers of channels follow from the tensors. From images m and f, with every
second voxel of each, m' and f':

    v = (U(m', f') - U(f', m')) / 2,    φ = exp(v),    moved(x) = m(2 φ(x / 2))

U is VoxelMorph's U-Net; dense layers predict all its convolutions from the regularization weight.
A setting's network is predicted a row of the file at a time, so that memory holds it alone.

References
----------
Hoffmann et al., Imaging Neuroscience 2, 2024, section 3.3; `mri_synthmorph` of FreeSurfer, which
brings images to 1 mm in LIA orientation, 256 voxels a side, from 0 to 1, affinely aligned.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hmopt.declaration import PreprocessingOptions
from hmopt.files import content_hash
from hmopt.interop.keras_file import (
    LayerTensor,
    check_numbers,
    check_shape,
    is_hdf5,
    list_tensors,
    opened,
    read_tensor,
    refusal,
)
from hmopt.interop.model import FileModel, Image, check_shapes, hyperparameter_names
from hmopt.interop.voxelmorph_unet import (
    KERNEL,
    UNetPlan,
    VoxelMorphUNet,
    by_level,
    integrate_precisely,
    kernel_size,
    kernel_tensor,
)
from hmopt.space import Hyperparameter, Setting, Space, numbers_of
from hmopt.spatial import image_tensor

STEPS = 7
"""Scaling-and-squaring steps, `mri_synthmorph`'s default."""
SIDE = 256
"""Voxels of its grid along each axis, `mri_synthmorph`'s default."""
LOWEST, HIGHEST = 0.01, 0.99
"""It was trained in the open interval (0, 1)."""

_WHAT = "SynthMorph's deformable network (HyperVxmJoint)"
_PREDICTED = re.compile(r"hyper_conv(?:[23]d)?_from_dense(?:_(\d+))?")
_DENSE = re.compile(r"dense(?:_(\d+))?")
_OF_AFFINE = re.compile(r"conv[23]d(?:_\d+)?")
_IN_PREDICTED = {"hyperkernel_kernel", "hyperkernel_bias", "hyperbias_kernel", "hyperbias_bias"}
_IN_DENSE = {"kernel", "bias"}


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer's tensors by name."""

    name: str
    tensors: dict[str, LayerTensor]

    def __getitem__(self, name: str) -> LayerTensor:
        return self.tensors[name]


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """What is where in a file: the dense layers, the predicted convolutions, and what they make up."""

    dense: tuple[_Layer, ...]
    convolutions: tuple[_Layer, ...]
    plan: UNetPlan

    @property
    def hyperparameters(self) -> int:
        return self.dense[0]["kernel"].shape[0]


class SynthMorphModel(FileModel):
    """SynthMorph's deformable network; its file is read anew for each setting.

    Parameters
    ----------
    path
        The file, which must stay as it is.
    contents
        What is where in it.
    identity
        Hash of its weights and architecture.
    device
        Where it runs.
    """

    def __init__(
        self, path: Path, contents: _Contents, identity: str, device: torch.device | str = "cpu"
    ) -> None:
        self.path = path
        self._contents = contents
        self._identity = identity
        self._device = torch.device(device)
        self._state = _state_of(path)
        self._last: tuple[Setting, VoxelMorphUNet] | None = None

    @property
    def title(self) -> str:
        """What the model is, and the loss that its λ weighs."""
        d = self._contents.plan.d
        return f"SynthMorph deformable, {d}-D; loss (1 - λ) overlap loss + λ regularizer"

    @property
    def identity(self) -> str:
        """Hash of weights and architecture."""
        return self._identity

    @property
    def space(self) -> Space:
        """`regularization` inside (0, 1), and `hyperparameter_2` … where there are more."""
        names = hyperparameter_names(self._contents.hyperparameters)
        hyperparameters = [Hyperparameter(name=name, low=LOWEST, high=HIGHEST) for name in names]
        return Space(hyperparameters=tuple(hyperparameters))

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """Isotropic voxels of 1 mm, affinely aligned, intensities from 0 to 1."""
        d = self._contents.plan.d
        return PreprocessingOptions(
            shape=[SIDE] * d, spacing_mm=[1.0] * d, normalization="minmax", placement="affine"
        )

    @property
    def stride(self) -> int:
        """It takes every grid whose axes are multiples of this."""
        levels = len(self._contents.plan.encoder)
        return int(2 * 2**levels)

    @property
    def orientation(self) -> str | None:
        """Its axes lead to the left, to below and to the front."""
        return "LIA" if self._contents.plan.d == 3 else None

    @property
    def is_slow_to_set(self) -> bool:
        """A new setting takes a pass over the whole file."""
        return True

    @torch.inference_mode()
    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels."""
        check_shapes(moving, fixed, (SIDE,) * self._contents.plan.d, self.stride)
        network = self._network(setting)
        every_second = (slice(None, None, 2),) * moving.ndim
        coarse = [image_tensor([image[every_second]]) for image in (moving, fixed)]
        there, back = (images.to(self._device) for images in coarse)
        velocity = network(torch.cat([there, back], dim=1))
        velocity = velocity - network(torch.cat([back, there], dim=1))
        deformation = integrate_precisely(0.5 * velocity, STEPS)
        displacement = _on_images(deformation)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array

    def _network(self, setting: Setting) -> VoxelMorphUNet:
        """Return the U-Net of a setting, that of the last call where it is the same."""
        if self._last is not None and self._last[0] == setting:
            return self._last[1]
        self.space.to_unit_interval(setting)  # refuses what is no setting
        numbers = numbers_of(setting)  # as they are, between points of the lattice too
        values = [numbers[name] for name in self.space.names]
        self._last = None  # one network at a time
        if _state_of(self.path) != self._state:
            got = "another content than when it was opened"
            raise refusal(self.path, _WHAT, got, "Start again.")
        with opened(self.path, _WHAT) as file:
            network = self._predicted(file, values)
        self._last = (dict(setting), network)
        return network

    def _predicted(self, file: h5py.File, hyperparameters: Sequence[float]) -> VoxelMorphUNet:
        """Predict the U-Net's weights, reading a row of each dense layer at a time."""
        contents = self._contents
        hidden = np.array(hyperparameters, dtype=np.float32)
        for layer in contents.dense:
            hidden = np.maximum(_dense(file, layer["kernel"], layer["bias"], hidden), 0)

        plan = contents.plan
        weights: list[tuple[Tensor, Tensor]] = []
        for layer, shape in zip(contents.convolutions, plan.convolutions(), strict=True):
            kernel = _dense(file, layer["hyperkernel_kernel"], layer["hyperkernel_bias"], hidden)
            bias = _dense(file, layer["hyperbias_kernel"], layer["hyperbias_bias"], hidden)
            weight = kernel_tensor(torch.from_numpy(kernel), shape, plan.d)
            weights.append((weight.to(self._device), torch.from_numpy(bias).to(self._device)))
        return VoxelMorphUNet(plan, weights)


def _on_images(deformation: Tensor) -> Tensor:
    """Return the displacement on the images' grid of a deformation u on every second voxel.

    HyperVxmJoint composes shifts. With φ(h) = h + u(h) on coarse voxels h,

        displacement(x) = s(x / 2) - x / 2,     s(h) = 2 φ(h) - h = h + 2 u(h)

    where s is interpolated between coarse voxels and held beyond the last one. That is 2 u(x / 2),
    except at the last voxel x = 2n - 1 of an axis of n coarse voxels: there s is that of h = n - 1,
    not n - 1/2, and the displacement along the axis is half a voxel shorter.

    Parameters
    ----------
    deformation
        (n, d, *shape / 2), in voxels of its own grid.

    Returns
    -------
    Tensor
        (n, d, *shape), in voxels of the images.
    """
    sides = deformation.shape[2:]
    d = len(sides)
    # one more coarse voxel, a copy of the last, and all the places halfway between
    extended = functional.pad(deformation, (0, 1) * d, mode="replicate")
    mode = "bilinear" if d == 2 else "trilinear"
    between = [2 * side + 1 for side in sides]
    refined = functional.interpolate(extended, size=between, mode=mode, align_corners=True)
    for axis, side in enumerate(sides):
        refined = refined.narrow(axis + 2, 0, 2 * side)
    displacement = 2 * refined
    for axis in range(d):
        displacement[:, axis].select(axis + 1, -1).sub_(0.5)
    return displacement


def _dense(
    file: h5py.File, kernel: LayerTensor, bias: LayerTensor, inputs: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute inputs · kernel + bias, reading one row of the kernel at a time.

    A rectifier leaves about half of the inputs at zero: their rows are not read.
    """
    total: NDArray[np.float32] = file[bias.path].astype(np.float32)[()]
    rows = file[kernel.path]
    row = np.empty(kernel.shape[1], dtype=np.float32)
    for place in np.flatnonzero(inputs):
        rows.read_direct(row, np.s_[place])
        row *= inputs[place]
        total += row
    return total


def recognizes(path: Path) -> bool:
    """Tell whether a file holds convolutions that Keras named as those of `HyperVxmJoint`."""
    if not is_hdf5(path):
        return False
    try:
        with opened(path, _WHAT) as file:
            return file.visit(_is_predicted) is True
    except Exception:  # whatever the library makes of damage
        return False


def _is_predicted(name: str) -> bool | None:
    last = name.split("/")[-1]
    return True if _PREDICTED.fullmatch(last) else None


def read(path: Path, device: torch.device | str = "cpu") -> SynthMorphModel:
    """Return the deformable network of SynthMorph in a file of its weights.

    All weights are read once, in pieces, to see that they are numbers and to hash them: 3.5 GB take
    some seconds more than the disk does. None stays in memory.

    Parameters
    ----------
    path
        The file. Weights of the affine network in it are left aside.
    device
        Where it runs.

    Raises
    ------
    CheckpointError
        If it is damaged, or holds another network.
    """
    with opened(path, _WHAT) as file:
        tensors = list_tensors(path, file, _WHAT)
        contents = _contents(path, tensors)
        digest = hashlib.sha256()
        for layer in (*contents.dense, *contents.convolutions):
            for name, tensor in sorted(layer.tensors.items()):
                digest.update(f"{name} {tensor.shape}".encode())
                _hash_rows(path, file, tensor, digest)
    identity = content_hash("HyperVxmJoint", digest.hexdigest(), STEPS)
    return SynthMorphModel(path, contents, identity, device)


def _hash_rows(path: Path, file: h5py.File, tensor: LayerTensor, digest: "hashlib._Hash") -> None:
    if len(tensor.shape) == 1:
        digest.update(read_tensor(path, file, tensor, _WHAT).tobytes())
        return
    rows = file[tensor.path]
    row = np.empty(tensor.shape[1], dtype=np.float32)
    for place in range(tensor.shape[0]):
        rows.read_direct(row, np.s_[place])
        check_numbers(path, tensor, row, _WHAT)
        digest.update(row.data)


def _contents(path: Path, tensors: Sequence[LayerTensor]) -> _Contents:
    """Return what is where in a file, once it is seen to be the network and nothing else."""
    dense = _numbered(path, tensors, _DENSE, _IN_DENSE)
    convolutions = _numbered(path, tensors, _PREDICTED, _IN_PREDICTED)
    for tensor in tensors:
        known = (_DENSE, _PREDICTED, _OF_AFFINE)
        if not any(pattern.fullmatch(tensor.layer) for pattern in known):
            raise refusal(path, _WHAT, f"a tensor that its network does not have: {tensor.path}")
    if not dense or not convolutions:
        got = f"{len(dense)} dense layers and {len(convolutions)} predicted convolutions"
        raise refusal(path, _WHAT, got)

    units = _check_dense(path, dense)
    plan = _plan(path, convolutions)
    for layer, shape in zip(convolutions, plan.convolutions(), strict=True):
        size = kernel_size(shape, plan.d)
        check_shape(path, layer["hyperkernel_kernel"], (units, size), _WHAT)
        check_shape(path, layer["hyperkernel_bias"], (size,), _WHAT)
        check_shape(path, layer["hyperbias_kernel"], (units, shape.channels_out), _WHAT)
    return _Contents(dense=tuple(dense), convolutions=tuple(convolutions), plan=plan)


def _numbered(
    path: Path, tensors: Sequence[LayerTensor], pattern: re.Pattern[str], needed: set[str]
) -> list[_Layer]:
    """Return the layers that a pattern names, in the order of their numbers, each complete."""
    found: dict[int, dict[str, LayerTensor]] = {}
    for tensor in tensors:
        match = pattern.fullmatch(tensor.layer)
        if match is None:
            continue
        own = found.setdefault(int(match[1] or 0), {})
        if tensor.name in own:
            raise refusal(path, _WHAT, f"two tensors {tensor.name} of a layer {tensor.layer}")
        own[tensor.name] = tensor
    layers = []
    for _, own in sorted(found.items()):
        name = next(iter(own.values())).layer
        lacking = sorted(needed - set(own))
        further = sorted(set(own) - needed)
        if lacking:
            raise refusal(path, _WHAT, f"no {lacking[0]} of {name}")
        if further:
            raise refusal(path, _WHAT, f"a tensor that its network does not have: {further[0]}")
        layers.append(_Layer(name=name, tensors=own))
    return layers


def _check_dense(path: Path, dense: Sequence[_Layer]) -> int:
    """Refuse dense layers that do not follow on each other; return the outputs of the last one."""
    first = dense[0]["kernel"].shape
    units = first[0] if len(first) == 2 else 0
    if not 1 <= units <= 64:
        raise refusal(path, _WHAT, f"kernel of {dense[0].name} with shape {first}")
    for layer in dense:
        width = layer["bias"].shape[0] if layer["bias"].shape else 0
        check_shape(path, layer["kernel"], (units, width), _WHAT)
        check_shape(path, layer["bias"], (width,), _WHAT)
        units = width
    return units


def _plan(path: Path, convolutions: Sequence[_Layer]) -> UNetPlan:
    """Return the architecture that follows from the channels of the convolutions.

    A convolution takes what the one before gives, except where features of the encoder are joined:
    after each level of the decoder. With L levels of p convolutions each, the first such place is
    convolution p (L + 1), and the next one comes p convolutions later.

    Examples
    --------
    Four levels of one convolution, four more and the last: the convolutions 5 to 8 take more than
    those before them give, so p = 1 and L = 4.
    """
    outputs = []
    for layer in convolutions:
        bias = layer["hyperbias_bias"].shape
        if len(bias) != 1:
            raise refusal(path, _WHAT, f"hyperbias_bias of {layer.name} with shape {bias}")
        outputs.append(bias[0])
    d = outputs[-1]
    if d not in (2, 3):
        raise refusal(path, _WHAT, f"a last convolution with {d} channels in place of 2 or 3")

    inputs = [
        _inputs(path, layer, out, d) for layer, out in zip(convolutions, outputs, strict=True)
    ]
    joined = [place for place in range(1, len(inputs)) if inputs[place] != outputs[place - 1]]
    if inputs[0] != 2 or not joined:
        got = f"convolutions of {inputs} to {outputs} channels"
        raise refusal(path, _WHAT, got)
    first = joined[0]
    per_level = joined[1] - first if len(joined) > 1 else max(1, first // 2)
    levels = first // per_level - 1
    convolved = 2 * levels * per_level
    plan = UNetPlan(
        d=d,
        channels=2,
        encoder=by_level(outputs[: levels * per_level], per_level),
        decoder=by_level(outputs[levels * per_level : convolved], per_level),
        final=tuple(outputs[convolved:-1]),
        upsamplings=max(levels, 0),
    )
    fits = levels >= 1 and convolved < len(outputs)
    if not fits or [shape.channels_in for shape in plan.convolutions()] != inputs:
        got = f"convolutions of {inputs} to {outputs} channels"
        raise refusal(path, _WHAT, got)
    return plan


def _inputs(path: Path, layer: _Layer, channels_out: int, d: int) -> int:
    """Return the channels that a convolution takes, from the number of its weights."""
    size = layer["hyperkernel_bias"].shape[0] if layer["hyperkernel_bias"].shape else 0
    for_one = KERNEL**d * channels_out
    if channels_out < 1 or size < 1 or size % for_one:
        got = f"hyperkernel_bias of {layer.name} with {size} weights for {channels_out} channels"
        raise refusal(path, _WHAT, got)
    return int(size // for_one)


def _state_of(path: Path) -> tuple[int, int]:
    """Return size and time of the last change of a file."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns
