"""HDF5 files in Keras' layout, made by code, and an evaluation of their networks in NumPy alone.

Written after the public code of VoxelMorph and neurite, and independent of hmopt: slow, in double
precision, one step after the other. It imports nothing but NumPy, SciPy and h5py, so that
`tests/recorded/record_tensorflow.py` can use it beside TensorFlow.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[Any]
Tensors = dict[str, Floats]
"""By `layer/tensor`, as `hyper_vxm_dense_flow/kernel`."""

DEFAULT_FEATURES = [[16, 32, 32, 32], [32, 32, 32, 32, 32, 16, 16]]


def drawn(name: str, shape: Sequence[int], deviation: float) -> Floats:
    """Return a tensor that depends on its name alone."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (deviation * random.standard_normal(tuple(shape))).astype(np.float32)


def images(shape: Sequence[int]) -> tuple[Floats, Floats]:
    """Return a moving and a fixed image, smooth and in [0, 1]."""
    pair = []
    for seed in (1, 2):
        noise = np.random.default_rng(seed).standard_normal(tuple(shape))
        smooth = ndimage.gaussian_filter(noise, 1.5)
        in_unit_range = (smooth - smooth.min()) / (smooth.max() - smooth.min())
        pair.append(in_unit_range.astype(np.float32))
    return pair[0], pair[1]


# ------------------------------------------------------------------------------------------ HyperVxmDense


def features_of(config: Mapping[str, Any]) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Return channels by level of encoder and decoder, and of the last convolutions."""
    per_level = config.get("nb_unet_conv_per_level", 1)
    features = config.get("nb_unet_features") or DEFAULT_FEATURES
    if isinstance(features, int):
        growth = config.get("unet_feat_mult", 1)
        counts = [round(features * growth**level) for level in range(config["nb_unet_levels"])]
        down = [count for count in counts[:-1] for _ in range(per_level)]
        up = [count for count in counts[::-1] for _ in range(per_level)]
        features = [down, up]
    down, up = features
    starts = range(0, len(down), per_level)
    encoder = [list(down[start : start + per_level]) for start in starts]
    decoder = [list(up[start : start + per_level]) for start in starts]
    return encoder, decoder, list(up[len(down) :])


def skipped_upsamplings(config: Mapping[str, Any]) -> int:
    resolution = 2 if config.get("unet_half_res") else config.get("svf_resolution", 1)
    return int(np.floor(np.log(resolution) / np.log(2)))


def hyper_vxm_dense_tensors(config: Mapping[str, Any]) -> Tensors:
    """Return random tensors of a `HyperVxmDense`, which give displacements of a few voxels."""
    name = config.get("name", "hyper_vxm_dense")
    d = len(config["inshape"])
    tensors: Tensors = {}

    def add(layer: str, tensor: str, shape: Sequence[int], deviation: float) -> None:
        key = f"{name}_{layer}/{tensor}"
        tensors[key] = drawn(key, shape, deviation)

    units = config.get("nb_hyp_params", 1)
    for place in range(config.get("nb_hyp_layers", 6)):
        width = config.get("nb_hyp_units", 128)
        add(f"hyp_dense_{place + 1}", "kernel", (units, width), (2 / units) ** 0.5)
        add(f"hyp_dense_{place + 1}", "bias", (width,), 0.2)
        units = width

    def add_convolution(layer: str, channels_in: int, channels_out: int) -> int:
        size = 3**d * channels_in
        deviation = (2 / size) ** 0.5
        whole = size * channels_out
        add(layer, "hyperkernel_kernel", (units, whole), deviation / units**0.5)
        add(layer, "hyperkernel_bias", (whole,), deviation)
        add(layer, "hyperbias_kernel", (units, channels_out), 0.1 / units**0.5)
        add(layer, "hyperbias_bias", (channels_out,), 0.1)
        return channels_out

    encoder, decoder, final = features_of(config)
    channels = 2
    skips = []
    for level, features in enumerate(encoder):
        for place, count in enumerate(features):
            channels = add_convolution(f"unet_enc_conv_{level}_{place}", channels, count)
        skips.append(channels)
    upsamplings = len(decoder) - skipped_upsamplings(config)
    for step, features in enumerate(decoder):
        level = len(decoder) - 1 - step
        for place, count in enumerate(features):
            channels = add_convolution(f"unet_dec_conv_{level}_{place}", channels, count)
        if step < upsamplings:
            channels += skips.pop()
    for place, count in enumerate(final):
        channels = add_convolution(f"unet_dec_final_conv_{place}", channels, count)
    add("flow", "kernel", (3,) * d + (channels, d), 0.7 / (3**d * channels) ** 0.5)
    add("flow", "bias", (d,), 0.3)
    return tensors


def hyper_vxm_dense_displacement(
    config: Mapping[str, Any],
    tensors: Mapping[str, Floats],
    moving: Floats,
    fixed: Floats,
    hyperparameters: Sequence[float],
) -> Floats:
    """Return the displacement (d, *shape) of a `HyperVxmDense`, in double precision."""
    name = config.get("name", "hyper_vxm_dense")
    d = moving.ndim
    shape = moving.shape

    def tensor(layer: str, own: str) -> Floats:
        return tensors[f"{name}_{layer}/{own}"].astype(float)

    hidden = np.array(hyperparameters, dtype=float)
    for place in range(config.get("nb_hyp_layers", 6)):
        layer = f"hyp_dense_{place + 1}"
        hidden = np.maximum(hidden @ tensor(layer, "kernel") + tensor(layer, "bias"), 0)

    def convolved(layer: str, features: Floats) -> Floats:
        bias = hidden @ tensor(layer, "hyperbias_kernel") + tensor(layer, "hyperbias_bias")
        kernel = hidden @ tensor(layer, "hyperkernel_kernel") + tensor(layer, "hyperkernel_bias")
        kernel = kernel.reshape((3,) * d + (features.shape[-1], len(bias)))
        return leaky(convolve(features, kernel, bias))

    encoder, decoder, final = features_of(config)
    features: Floats = np.stack([moving, fixed], axis=-1).astype(float)
    skips = []
    for level, counts in enumerate(encoder):
        for place, _ in enumerate(counts):
            features = convolved(f"unet_enc_conv_{level}_{place}", features)
        skips.append(features)
        features = max_pooled(features)
    upsamplings = len(decoder) - skipped_upsamplings(config)
    for step, counts in enumerate(decoder):
        level = len(decoder) - 1 - step
        for place, _ in enumerate(counts):
            features = convolved(f"unet_dec_conv_{level}_{place}", features)
        if step < upsamplings:
            features = np.concatenate([upsampled(features), skips.pop()], axis=-1)
    for place, _ in enumerate(final):
        features = convolved(f"unet_dec_final_conv_{place}", features)
    velocity = convolve(features, tensor("flow", "kernel"), tensor("flow", "bias"))
    return np.moveaxis(to_displacement(config, velocity, shape), -1, 0)


def to_displacement(config: Mapping[str, Any], velocity: Floats, shape: Sequence[int]) -> Floats:
    """Return the displacement (*shape, d) of what the U-Net gives, (*grid, d)."""
    steps = config.get("int_steps", 7)
    svf_resolution = 2 if config.get("unet_half_res") else config.get("svf_resolution", 1)
    int_resolution = config.get("int_downsize") or config.get("int_resolution", 2)
    svf_sides = [round(side / svf_resolution) for side in shape]
    if list(velocity.shape[:-1]) != svf_sides:
        velocity = zoomed(velocity, svf_sides[0] / velocity.shape[0])
    displacement = velocity
    if steps > 0 and int_resolution > 1:
        int_sides = [round(side / int_resolution) for side in shape]
        if int_sides != svf_sides:
            velocity = zoomed(velocity, int_sides[0] / svf_sides[0])
        displacement = zoomed(integrated(velocity, steps), shape[0] / int_sides[0])
    elif steps > 0:
        displacement = integrated(velocity, steps)
    return displacement


# ------------------------------------------------------------------------------------------ HyperVxmJoint


def hyper_vxm_joint_tensors(
    encoder: Sequence[int],
    decoder: Sequence[int],
    added: Sequence[int],
    d: int = 3,
    units: Sequence[int] = (32, 32, 32, 32),
    hyperparameters: int = 1,
    per_level: int = 1,
) -> Tensors:
    """Return random tensors of the deformable network of a `HyperVxmJoint`, which Keras named."""
    tensors: Tensors = {}

    def add(layer: str, tensor: str, shape: Sequence[int], deviation: float) -> None:
        key = f"{layer}/{tensor}"
        tensors[key] = drawn(key, shape, deviation)

    before = hyperparameters
    for place, width in enumerate(units):
        add(counted("dense", place), "kernel", (before, width), (2 / before) ** 0.5)
        add(counted("dense", place), "bias", (width,), 0.2)
        before = width

    place = 0
    channels = 2

    def add_convolution(channels_out: int, scale: float = 1.0) -> None:
        nonlocal place, channels
        layer = counted("hyper_conv_from_dense", place)
        size = 3**d * channels
        deviation = scale * (2 / size) ** 0.5
        add(layer, "hyperkernel_kernel", (before, size * channels_out), deviation / before**0.5)
        add(layer, "hyperkernel_bias", (size * channels_out,), deviation)
        add(layer, "hyperbias_kernel", (before, channels_out), 0.1 / before**0.5)
        add(layer, "hyperbias_bias", (channels_out,), 0.1)
        channels = channels_out
        place += 1

    skips = []
    for count in encoder:
        for _ in range(per_level):
            add_convolution(count)
        skips.append(count)
    for count in decoder:
        for _ in range(per_level):
            add_convolution(count)
        channels += skips.pop()
    for count in added:
        add_convolution(count)
    add_convolution(d, scale=0.7)
    return tensors


def counted(name: str, place: int) -> str:
    """Return a layer's name as Keras counts them: `dense`, `dense_1`, …"""
    return name if place == 0 else f"{name}_{place}"


def hyper_vxm_joint_displacement(
    tensors: Mapping[str, Floats],
    levels: int,
    moving: Floats,
    fixed: Floats,
    hyperparameters: Sequence[float],
    steps: int = 7,
    per_level: int = 1,
) -> Floats:
    """Return the displacement (d, *shape) of a `HyperVxmJoint` with `skip_affine`, images as they are."""
    d = moving.ndim
    dense = sum(key.startswith("dense") and key.endswith("kernel") for key in tensors)
    hidden = np.array(hyperparameters, dtype=float)
    for place in range(dense):
        layer = counted("dense", place)
        hidden = np.maximum(hidden @ tensors[f"{layer}/kernel"] + tensors[f"{layer}/bias"], 0)

    count = sum(key.endswith("hyperbias_bias") for key in tensors)

    def convolved(place: int, features: Floats) -> Floats:
        layer = counted("hyper_conv_from_dense", place)
        bias = hidden @ tensors[f"{layer}/hyperbias_kernel"] + tensors[f"{layer}/hyperbias_bias"]
        kernel = hidden @ tensors[f"{layer}/hyperkernel_kernel"]
        kernel = kernel + tensors[f"{layer}/hyperkernel_bias"]
        kernel = kernel.reshape((3,) * d + (features.shape[-1], len(bias)))
        return convolve(features, kernel, bias)

    def velocity_of(first: Floats, second: Floats) -> Floats:
        features = np.stack([first, second], axis=-1).astype(float)
        places = iter(range(count))
        skips = []
        for _ in range(levels):
            for _ in range(per_level):
                features = leaky(convolved(next(places), features))
            skips.append(features)
            features = max_pooled(features)
        for _ in range(levels):
            for _ in range(per_level):
                features = leaky(convolved(next(places), features))
            features = np.concatenate([upsampled(features), skips.pop()], axis=-1)
        for place in places:
            features = convolved(place, features)
            if place < count - 1:
                features = leaky(features)
        return features

    every_second = (slice(None, None, 2),) * d
    half_moving, half_fixed = moving[every_second], fixed[every_second]
    there, back = velocity_of(half_moving, half_fixed), velocity_of(half_fixed, half_moving)
    deformation = integrated((there - back) / 2, steps)

    # from coarse voxels to places in the moving image: 2 (h + deformation(h)) - h, as a shift
    coarse = voxels(half_moving.shape)
    shift = 2 * (coarse + deformation) - coarse
    # followed by x → x / 2, and interpolated there
    fine = voxels(moving.shape)
    total = -0.5 * fine + interpolated(shift, 0.5 * fine)
    return np.moveaxis(total, -1, 0)


# --------------------------------------------------------------------------------------- steps, by NumPy


def convolve(features: Floats, kernel: Floats, bias: Floats) -> Floats:
    """Convolve (*grid, in) with (3, …, in, out), zeros outside the grid."""
    d = features.ndim - 1
    padded = np.pad(features, [(1, 1)] * d + [(0, 0)])
    grid = features.shape[:-1]
    total = np.zeros((*grid, len(bias))) + bias
    for offset in product(range(3), repeat=d):
        window = tuple(slice(start, start + side) for start, side in zip(offset, grid, strict=True))
        total += padded[window] @ kernel[offset]
    return total


def leaky(features: Floats) -> Floats:
    return np.where(features > 0, features, 0.2 * features)


def max_pooled(features: Floats) -> Floats:
    d = features.ndim - 1
    corners = []
    for offset in product(range(2), repeat=d):
        sides = [side // 2 for side in features.shape[:-1]]
        window = tuple(slice(start, 2 * side, 2) for start, side in zip(offset, sides, strict=True))
        corners.append(features[window])
    return np.asarray(np.max(corners, axis=0))


def upsampled(features: Floats) -> Floats:
    for axis in range(features.ndim - 1):
        features = np.repeat(features, 2, axis=axis)
    return features


def interpolated(field: Floats, places: Floats) -> Floats:
    """Interpolate (*grid, c) at places (*shape, d); outside the grid, the nearest voxel inside."""
    coordinates = np.moveaxis(places, -1, 0)
    channels: list[Floats] = [
        ndimage.map_coordinates(field[..., channel], coordinates, order=1, mode="nearest")
        for channel in range(field.shape[-1])
    ]
    return np.stack(channels, axis=-1)


def voxels(shape: Sequence[int]) -> Floats:
    """Return the coordinates of all voxels, (*shape, d)."""
    indices: Floats = np.indices(tuple(shape))
    return np.moveaxis(indices, 0, -1).astype(float)


def integrated(velocity: Floats, steps: int) -> Floats:
    """Integrate a velocity (*grid, d) by scaling and squaring."""
    identity = voxels(velocity.shape[:-1])
    displacement: Floats = velocity / 2**steps
    for _ in range(steps):
        displacement = displacement + interpolated(displacement, identity + displacement)
    return displacement


def zoomed(field: Floats, factor: float) -> Floats:
    """Resize a field (*grid, d), ends to ends, and scale its vectors."""
    axes = [np.linspace(0, side - 1, int(side * factor)) for side in field.shape[:-1]]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return factor * interpolated(field, places)


# -------------------------------------------------------------------------------------------------- files


def write_model(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Floats],
    name: str = "HyperVxmDense",
) -> Path:
    """Write what `model.save` writes: configuration, and weights under `model_weights`."""
    content = {"class_name": name, "config": {**config, "metadata": {}}}
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(content)
        weights = file.create_group("model_weights")
        weights.attrs["backend"] = "tensorflow"
        weights.attrs["keras_version"] = "2.15.0"
        write_layers(weights, tensors)
        weights.create_group("top_level_model_weights")
        moments = file.create_group("optimizer_weights/training/Adam")
        moments["iter:0"] = np.int64(3)
    return path


def write_layers(group: h5py.Group, tensors: Mapping[str, Floats]) -> None:
    """Write layers as Keras does, each tensor under its layer's name twice."""
    layers = dict.fromkeys(key.split("/")[0] for key in tensors)
    _write_names(group, "layer_names", layers)
    for layer in layers:
        own = {key: value for key, value in tensors.items() if key.split("/")[0] == layer}
        part = group.create_group(layer)
        _write_names(part, "weight_names", [f"{key}:0" for key in own])
        for key, value in own.items():
            part[f"{key}:0"] = value


def write_joint(path: Path, tensors: Mapping[str, Floats], model: str = "model_3") -> Path:
    """Write what `save_weights` writes of a network within another: all its tensors in one group."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = "2.15.0"
        _write_names(file, "layer_names", ["input_1", model])
        file.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        part = file.create_group(model)
        _write_names(part, "weight_names", [f"{key}:0" for key in tensors])
        for key, value in tensors.items():
            part[f"{key}:0"] = value
        file.create_group("top_level_model_weights")
    return path


def _write_names(group: h5py.Group, attribute: str, names: Iterable[str]) -> None:
    group.attrs[attribute] = np.array([name.encode() for name in names])
