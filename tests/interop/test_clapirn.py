"""Models of cLapIRN beside an evaluation by NumPy and SciPy alone, and files that are refused."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

import hmopt
from hmopt.errors import CheckpointError, DataError, DeclarationError
from hmopt.interop import clapirn
from hmopt.space import Setting

Array = NDArray[np.floating]
Weights = dict[str, Array]

SHAPES = {2: (16, 24), 3: (16, 8, 24)}


def make_weights(
    d: int, levels: int, start: int = 1, lite: bool = True, blocks: int = 5
) -> Weights:
    """Return random weights in the shapes of the published classes, `start_channel` = start."""
    generator = np.random.default_rng([d, levels, start, lite])
    weights: Weights = {}

    def add(name: str, *shape: int) -> None:
        inputs = np.prod(shape[1:]) if len(shape) > 1 else 4.0
        drawn = generator.normal(0, 1.4 / np.sqrt(inputs), shape)
        weights[name] = drawn.astype(np.float32)

    kernel, halves = (3,) * d, (2,) * d
    prefix = ""
    for level in range(levels, 0, -1):
        encoded = (2 if lite else 4) * start
        halved = 4 * start
        up = 2 * start if lite and level == 3 else 4 * start
        joined = up + encoded
        add(f"{prefix}input_encoder_lvl1.0.weight", encoded, 2 if level == 1 else 2 + d, *kernel)
        add(f"{prefix}input_encoder_lvl1.2.weight", encoded, encoded, *kernel)
        add(f"{prefix}down_conv.weight", halved, encoded, *kernel)
        for block in range(blocks):
            inner = f"{prefix}resblock_group_lvl1.{2 * block}."
            for place in (1, 2):
                add(f"{inner}ai{place}.style.weight", 2 * halved, 6)
                add(f"{inner}ai{place}.style.bias", 2 * halved)
                add(f"{inner}conv{place}.weight", halved, halved, *kernel)
            for place, sides in enumerate([(5, 1), (5, 5), (5, 5), (6, 5)]):
                add(f"{inner}mapping.{2 * place}.weight", *sides)
                add(f"{inner}mapping.{2 * place}.bias", sides[0])
        add(f"{prefix}up.weight", halved, up, *halves)
        add(f"{prefix}output_lvl1.0.weight", joined // 2, joined, *kernel)
        add(f"{prefix}output_lvl1.2.weight", d, joined // 2, *kernel)
        prefix += {3: "model_lvl2.", 2: "model_lvl1.", 1: ""}[level]
    return weights


def save(path: Path, weights: Mapping[str, Any], **options: Any) -> Path:
    tensors = {name: torch.tensor(value) for name, value in weights.items()}
    torch.save(tensors, path, **options)
    return path


def rectified(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def convolved(x: Array, weight: Array, stride: int = 1) -> Array:
    d = x.ndim - 1
    padded = np.pad(x, [(0, 0), *[(1, 1)] * d])
    axes: Any = tuple(range(1, d + 1))
    windows = sliding_window_view(padded, (3,) * d, axis=axes)
    strided = windows[(slice(None), *[slice(None, None, stride)] * d)]
    kernel_axes = list(range(d + 1, 2 * d + 1))
    summed = np.tensordot(weight, strided, axes=([1, *range(2, d + 2)], [0, *kernel_axes]))
    return np.asarray(summed)


def doubled(x: Array, weight: Array) -> Array:
    """Transposed convolution of 2 voxels: each coarse voxel fills its own fine ones."""
    d = x.ndim - 1
    sides = [2 * side for side in x.shape[1:]]
    result = np.zeros((weight.shape[1], *sides))
    for corner in np.ndindex(*[2] * d):
        part = weight[(slice(None), slice(None), *corner)]
        places = tuple(slice(offset, None, 2) for offset in corner)
        result[(slice(None), *places)] = np.tensordot(part, x, axes=(0, 0))
    return result


def halved(x: Array) -> Array:
    d = x.ndim - 1
    ones = np.ones((1, 1, *[3] * d))
    sums = np.concatenate([convolved(channel[None], ones, stride=2) for channel in x])
    counts = convolved(np.ones_like(x[:1]), ones, stride=2)
    return np.asarray(sums / counts)


def upsampled(x: Array) -> Array:
    for axis in range(1, x.ndim):
        side = x.shape[axis]
        places = np.clip((np.arange(2 * side) + 0.5) / 2 - 0.5, 0, side - 1)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, side - 1)
        share = (places - below).reshape([-1 if one == axis else 1 for one in range(x.ndim)])
        x = x.take(below, axis) * (1 - share) + x.take(above, axis) * share
    return x


def in_voxels(unit: Array) -> Array:
    """Components from the last axis first, in halves of the grid, to the first axis first, in voxels."""
    sides = np.array(unit.shape[1:]).reshape(-1, *[1] * (unit.ndim - 1))
    return np.asarray(unit[::-1] * (sides - 1) / 2)


def moved(image: Array, unit: Array) -> Array:
    coordinates = np.indices(image.shape) + in_voxels(unit)
    return np.asarray(ndimage.map_coordinates(image, coordinates, order=1, mode="nearest"))


class Evaluation:
    """The network by NumPy, in float64."""

    def __init__(self, weights: Weights, place: float, range_flow: float = 0.4) -> None:
        self.weights = {name: value.astype(np.float64) for name, value in weights.items()}
        self.place = place
        self.range_flow = range_flow

    def dense(self, name: str, x: Array) -> Array:
        result: Array = self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]
        return result

    def normalized(self, name: str, x: Array, latent: Array) -> Array:
        axes = tuple(range(1, x.ndim))
        deviation = np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        normal = (x - x.mean(axes, keepdims=True)) / deviation
        gamma, beta = self.dense(name, latent).reshape(2, -1, *[1] * (x.ndim - 1))
        return np.asarray((1 + gamma) * normal + beta)

    def level(self, level: int, prefix: str, moving: Array, fixed: Array) -> tuple[Array, Array]:
        start: Array | None = None
        before: Array | float = 0.0
        if level == 1:
            images = halved(halved(np.stack([moving, fixed])))
        else:
            inner = prefix + {3: "model_lvl2.", 2: "model_lvl1."}[level]
            coarse, before = self.level(level - 1, inner, moving, fixed)
            start = upsampled(coarse)
            both = np.stack([moving, fixed])
            both = halved(both) if level == 2 else both
            images = np.concatenate([moved(both[0], start)[None], both[1:], start])
        w = {name.removeprefix(prefix): value for name, value in self.weights.items()}
        encoded = rectified(convolved(images, w["input_encoder_lvl1.0.weight"]))
        encoded = convolved(encoded, w["input_encoder_lvl1.2.weight"])
        x = convolved(encoded, w["down_conv.weight"], stride=2) + before
        block = 0
        while f"resblock_group_lvl1.{block}.conv1.weight" in w:
            name = f"{prefix}resblock_group_lvl1.{block}."
            latent = np.array([self.place])
            for layer in (0, 2, 4, 6):
                latent = rectified(self.dense(f"{name}mapping.{layer}", latent))
            y = rectified(self.normalized(f"{name}ai1.style", x, latent))
            y = convolved(y, self.weights[f"{name}conv1.weight"])
            y = rectified(self.normalized(f"{name}ai2.style", y, latent))
            x = rectified(x + convolved(y, self.weights[f"{name}conv2.weight"]))
            block += 2
        features = doubled(x, w["up.weight"])
        y = rectified(convolved(np.concatenate([features, encoded]), w["output_lvl1.0.weight"]))
        y = convolved(y, w["output_lvl1.2.weight"])
        added = self.range_flow * y / (1 + np.abs(y))
        return (added if start is None else start + added), features

    def displacement(self, levels: int, moving: Array, fixed: Array) -> Array:
        unit, _ = self.level(levels, "", moving, fixed)
        for _ in range(3 - levels):
            unit = upsampled(unit)
        return in_voxels(unit)


def images(d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    noise = np.random.default_rng(d).normal(size=(2, *SHAPES[d]))
    smooth = ndimage.gaussian_filter(noise, (0, *[2] * d))
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return scaled[0].astype(np.float32), scaled[1].astype(np.float32)


@pytest.mark.parametrize(
    ("d", "levels", "start", "lite"),
    [(3, 3, 1, True), (3, 3, 2, False), (3, 2, 1, True), (3, 1, 1, False), (2, 3, 2, False)],
)
@pytest.mark.parametrize("place", [0.0, 0.3717, 1.0])
def test_the_displacement_is_that_of_an_independent_evaluation(
    d: int, levels: int, start: int, lite: bool, place: float, tmp_path: Path
) -> None:
    weights = make_weights(d, levels, start, lite)
    model = hmopt.load_model(save(tmp_path / "weights.pth", weights))
    moving, fixed = images(d)
    found = model.displacement(moving, fixed, {"regularization": place})
    expected = Evaluation(weights, place).displacement(levels, moving, fixed)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert found.dtype == np.float32


def test_a_converted_file_is_the_same_model_and_says_what_the_first_did_not(tmp_path: Path) -> None:
    weights = make_weights(3, 3)
    source = save(tmp_path / "weights.pth", weights)
    destination = clapirn.convert(source, tmp_path / "converted.safetensors")
    first, second = hmopt.load_model(source), hmopt.load_model(destination)
    assert first.identity == second.identity
    assert first.preprocessing == second.preprocessing
    assert first.orientation == second.orientation == "LIA"

    other = clapirn.convert(
        source, tmp_path / "other.safetensors", range_flow=0.8, shape=SHAPES[3], orientation="RAS"
    )
    model = hmopt.load_model(other)
    moving, fixed = images(3)
    found = model.displacement(moving, fixed, {"regularization": 0.2})
    expected = Evaluation(weights, 0.2, range_flow=0.8).displacement(3, moving, fixed)
    np.testing.assert_allclose(found, expected, atol=4e-4)
    assert model.identity != first.identity
    assert tuple(model.preprocessing.shape) == SHAPES[3]


@pytest.mark.parametrize(
    "options",
    [{"range_flow": 0.0}, {"shape": (16, 17, 16)}, {"shape": (16, 16)}, {"orientation": "LLA"}],
)
def test_conventions_that_cannot_be_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    source = save(tmp_path / "weights.pth", make_weights(3, 3))
    with pytest.raises(CheckpointError):
        clapirn.convert(source, tmp_path / "other.safetensors", **options)
    assert not (tmp_path / "other.safetensors").exists()


def test_a_conversion_does_not_overwrite_its_source(tmp_path: Path) -> None:
    source = save(tmp_path / "weights.pth", make_weights(3, 3))
    with pytest.raises(hmopt.HmoptError):
        clapirn.convert(source, source)


def test_files_of_older_torch_of_data_parallel_and_of_other_precision_are_the_same_model(
    tmp_path: Path,
) -> None:
    weights = make_weights(3, 1)
    plain = hmopt.load_model(save(tmp_path / "plain.pth", weights))
    older = save(tmp_path / "older.pth", weights, _use_new_zipfile_serialization=False)
    parallel = save(tmp_path / "p.pth", {f"module.{name}": w for name, w in weights.items()})
    double = save(tmp_path / "d.pth", {name: w.astype(np.float64) for name, w in weights.items()})
    for path in (older, parallel, double):
        assert hmopt.load_model(path).identity == plain.identity


def test_its_hyperparameter_is_lambda_in_the_unit_interval(tmp_path: Path) -> None:
    model = hmopt.load_model(save(tmp_path / "weights.pth", make_weights(3, 1)))
    (hyperparameter,) = model.space.hyperparameters
    assert (hyperparameter.name, hyperparameter.low, hyperparameter.high) == (
        "regularization",
        0,
        1,
    )
    moving, fixed = images(3)
    with pytest.raises(DeclarationError):
        model.displacement(moving, fixed, {"regularization": 1.5})


def test_images_that_it_does_not_take_are_refused(tmp_path: Path) -> None:
    model = hmopt.load_model(save(tmp_path / "weights.pth", make_weights(3, 1)))
    setting: Setting = {"regularization": 0.1}
    image = np.zeros((16, 16, 16), np.float32)
    for wrong in (np.zeros((16, 16)), np.zeros((16, 16, 20)), np.zeros((8, 8, 8)), image + 300):
        with pytest.raises(DataError):
            model.displacement(wrong.astype(np.float32), wrong.astype(np.float32), setting)
    assert model.displacement(image, image, setting).shape == (3, 16, 16, 16)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Return what unpickling would call."""
        return Path.write_text, (self.path, "executed")


FIRST = "input_encoder_lvl1.0.weight"
BLOCK = "model_lvl1.resblock_group_lvl1.2."
WEIGHTS = make_weights(3, 2)


def replaced(name: str, value: Any) -> dict[str, Any]:
    return {**WEIGHTS, name: value}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in WEIGHTS.items() if name not in key}


def of_two_hyperparameters() -> dict[str, Any]:
    changed: dict[str, Any] = dict(WEIGHTS)
    for name in WEIGHTS:
        if name.endswith("mapping.0.weight"):
            changed[name] = np.zeros((5, 2), np.float32)
    return changed


OTHER_WEIGHTS: dict[str, dict[str, Any]] = {
    "missing": without(f"{BLOCK}conv2.weight"),
    "missing first": {key: value for key, value in WEIGHTS.items() if key != FIRST},
    "extra": replaced("another.weight", np.zeros(3, np.float32)),
    "six blocks in part": replaced(
        "resblock_group_lvl1.10.conv1.weight", np.zeros((4, 4, 3, 3, 3))
    ),
    "shape": replaced(f"{BLOCK}conv1.weight", np.zeros((4, 5, 3, 3, 3), np.float32)),
    "bias of another length": replaced(f"{BLOCK}ai1.style.bias", np.zeros(7, np.float32)),
    "four axes": replaced(FIRST, np.zeros((2, 5, 3, 3, 3, 3), np.float32)),
    "a scalar": replaced(FIRST, np.float32(1)),
    "empty tensor": replaced(FIRST, np.zeros((0, 5, 3, 3, 3), np.float32)),
    "not finite": replaced(FIRST, np.full_like(WEIGHTS[FIRST], np.nan)),
    "absurd weight": replaced(FIRST, np.full_like(WEIGHTS[FIRST], 1e30)),
    "whole numbers": replaced(FIRST, np.zeros((2, 5, 3, 3, 3), np.int64)),
    "unconditioned": without("style"),
    "two hyperparameters": of_two_hyperparameters(),
    "another network": {"conv.weight": WEIGHTS[FIRST]},
    "no tensors": {},
}


@pytest.mark.parametrize("kind", OTHER_WEIGHTS)
def test_weights_of_another_network_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    check_refused(save(tmp_path / "weights.pth", OTHER_WEIGHTS[kind]))


def check_refused(path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        hmopt.load_model(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(3)],
        {"epoch": 3, "state_dict": {}},
        {FIRST: torch.zeros(1).expand(2**30, 2**10)},
        {FIRST: torch.zeros(2, dtype=torch.complex64)},
        {FIRST: torch.eye(3).to_sparse()},
    ],
    ids=["a list", "nested", "a huge view", "complex", "sparse"],
)
def test_anything_but_real_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    check_refused(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in (b"", b"PK", pickle.dumps({"weights": "none"}), b"\x00" * 300):
        path.write_bytes(content)
        check_refused(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:.*TorchScript")
def test_a_script_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pth"
    script: Any = torch.jit.script(torch.nn.Linear(2, 2))
    script.save(path)
    check_refused(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", WEIGHTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    check_refused(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6])
def test_a_file_in_which_bytes_changed_is_refused(share: float, tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", WEIGHTS)
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    content[place : place + 60] = b"\xff" * 60
    path.write_bytes(content)
    check_refused(path)


def rewrite(path: Path, compression: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", WEIGHTS)
    rewrite(path, zipfile.ZIP_DEFLATED)
    check_refused(path)


def test_an_archive_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "weights.pth", WEIGHTS)
    rewrite(path, zipfile.ZIP_STORED)
    archive = path.read_bytes()
    last_entry = archive.rfind(b"PK\x01\x02")
    sizes = (2**32 - 2).to_bytes(4, "little") * 2
    path.write_bytes(archive[: last_entry + 20] + sizes + archive[last_entry + 28 :])
    check_refused(path)


@pytest.mark.parametrize(
    "form", ["archive", "older archive", "pickle", "pickle of an old protocol"]
)
def test_code_in_a_file_is_never_run(form: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "bomb.pth"
    content = {"input_encoder_lvl1.0.weight": Bomb(trace)}
    if form == "archive":
        torch.save(content, path)
    elif form == "older archive":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        protocol = 0 if form == "pickle of an old protocol" else 4
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError) as caught:
        hmopt.load_model(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    if "archive" in form:
        assert "code" in str(caught.value)


def test_a_changed_conversion_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "weights.pth", make_weights(3, 1))
    path = clapirn.convert(source, tmp_path / "converted.safetensors")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        hmopt.load_model(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError):
        hmopt.load_model(path)
