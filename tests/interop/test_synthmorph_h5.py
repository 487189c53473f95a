"""SynthMorph's deformable network: the displacements of its steps in NumPy, in little memory."""

import json
import os
import pickle
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from hmopt.data.preprocessing import prepare
from hmopt.declaration import read_study
from hmopt.errors import CheckpointError, DataError, DeclarationError
from hmopt.interop.load import load_model
from hmopt.interop.model import in_ras
from hmopt.interop.synthmorph_h5 import SynthMorphModel, read
from hmopt.oracle import open_oracle
from hmopt.oracle.open import load_oracle
from tests.interop.keras_models import (
    Tensors,
    drawn,
    hyper_vxm_joint_displacement,
    hyper_vxm_joint_tensors,
    images,
    write_joint,
)

UNITS = (8, 8, 8, 8)
SETTING = {"regularization": 0.3}
LEVELS = 2
SHAPE = (16, 8, 24)


def small_tensors() -> Tensors:
    return hyper_vxm_joint_tensors([4, 5], [5, 4], [4, 4], units=UNITS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_joint(tmp_path / "synthmorph.deform.h5", small_tensors())


def test_the_displacement_is_that_of_its_steps_in_numpy(file: Path) -> None:
    model = load_model(file)
    moving, fixed = images(SHAPE)
    for value in (0.01, 0.3, 0.99):
        displacement = model.displacement(moving, fixed, {"regularization": value})
        expected = hyper_vxm_joint_displacement(small_tensors(), LEVELS, moving, fixed, [value])
        assert np.abs(expected).max() > 0.5
        np.testing.assert_allclose(displacement, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "decoder", "added", "shape", "per_level"),
    [
        ([4], [4], [3], (12, 8), 1),
        ([4], [5], [], (8, 8), 2),
        ([4, 5, 6], [6, 5, 4], [4, 4, 4], (16, 32), 1),
        ([4, 5], [5, 4], [3], (16, 8), 3),
        ([2, 3, 4, 5], [5, 4, 3, 2], [4, 4, 4, 4], (32, 32, 32), 1),
    ],
)
def test_the_architecture_follows_from_the_tensors(
    encoder: Sequence[int],
    decoder: Sequence[int],
    added: Sequence[int],
    shape: tuple[int, ...],
    per_level: int,
    tmp_path: Path,
) -> None:
    tensors = hyper_vxm_joint_tensors(
        encoder, decoder, added, d=len(shape), units=UNITS, per_level=per_level
    )
    model = read(write_joint(tmp_path / "model.h5", tensors))
    moving, fixed = images(shape)
    displacement = model.displacement(moving, fixed, SETTING)
    expected = hyper_vxm_joint_displacement(
        tensors, len(encoder), moving, fixed, [0.3], per_level=per_level
    )
    np.testing.assert_allclose(displacement, expected, atol=1e-5)
    assert model.stride == 2 ** (len(encoder) + 1)


def test_the_velocity_is_antisymmetric(file: Path) -> None:
    # what a deformation adds there, its inverse takes back: small fields are nearly opposite
    tensors = small_tensors()
    last = "hyper_conv_from_dense_6"
    for name in ("hyperkernel_kernel", "hyperkernel_bias", "hyperbias_kernel", "hyperbias_bias"):
        tensors[f"{last}/{name}"] = 0.01 * tensors[f"{last}/{name}"]
    model = read(write_joint(file, tensors))
    moving, fixed = images(SHAPE)
    there = model.displacement(moving, fixed, SETTING)
    back = model.displacement(fixed, moving, SETTING)
    interior = (slice(None), slice(0, -1), slice(0, -1), slice(0, -1))
    assert np.abs(there[interior]).max() > 1e-3
    np.testing.assert_allclose(there[interior], -back[interior], atol=1e-4)


def test_it_says_what_it_is_and_needs(file: Path) -> None:
    model = read(file)
    assert "SynthMorph deformable, 3-D" in model.title
    preprocessing = model.preprocessing
    assert preprocessing.shape == [256, 256, 256]
    assert preprocessing.spacing_mm == [1, 1, 1]
    assert preprocessing.normalization == "minmax"
    assert (model.stride, model.orientation, model.is_slow_to_set) == (8, "LIA", True)


def test_its_settings_lie_inside_the_open_interval(file: Path) -> None:
    model = read(file)
    [regularization] = model.space.hyperparameters
    values = [float(regularization.value(place)) for place in range(regularization.points)]
    assert min(values) > 0
    assert max(values) < 1
    assert 0.5 in values
    moving, fixed = images(SHAPE)
    for value in (0.0, 1.0):
        with pytest.raises(DeclarationError, match="regularization"):
            model.displacement(moving, fixed, {"regularization": value})


@pytest.mark.parametrize("shape", [(16, 8, 20), (16, 8), (0, 8, 8)])
def test_grids_that_cannot_be_halved_are_refused(shape: tuple[int, ...], file: Path) -> None:
    image = np.zeros(shape, dtype=np.float32)
    with pytest.raises(DataError, match="multiple of 8"):
        read(file).displacement(image, image, SETTING)


def test_images_in_ras_are_turned_and_displacements_turned_back(file: Path) -> None:
    model = read(file)
    turned = in_ras(model)
    moving, fixed = images((16, 8, 24))  # axes to the left, to below, to the front

    def to_ras(array: np.ndarray) -> np.ndarray:
        # left becomes right, below becomes above, and the front comes second
        return np.ascontiguousarray(array[::-1, ::-1, :].transpose(0, 2, 1))

    own = model.displacement(moving, fixed, SETTING)
    displacement = turned.displacement(to_ras(moving), to_ras(fixed), SETTING)
    expected = np.stack([-to_ras(own[0]), to_ras(own[2]), -to_ras(own[1])])
    np.testing.assert_allclose(displacement, expected, atol=1e-6)
    assert turned.preprocessing == model.preprocessing
    assert turned.identity == model.identity


def test_the_network_of_the_last_setting_is_kept(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read(file)
    moving, fixed = images(SHAPE)
    predicted = []
    predict = SynthMorphModel._predicted

    def counting(self: SynthMorphModel, content: h5py.File, values: Sequence[float]) -> Any:
        predicted.append(list(values))
        return predict(self, content, values)

    monkeypatch.setattr(SynthMorphModel, "_predicted", counting)
    for value in (0.3, 0.3, 0.6, 0.3):
        model.displacement(moving, fixed, {"regularization": value})
    assert predicted == [[0.3], [0.6], [0.3]]


def test_a_model_can_be_sent_to_another_process(file: Path) -> None:
    model = read(file)
    moving, fixed = images(SHAPE)
    expected = model.displacement(moving, fixed, SETTING)
    sent: SynthMorphModel = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(sent.displacement(moving, fixed, SETTING), expected)


def test_a_file_that_changes_under_the_model_is_refused(file: Path) -> None:
    model = read(file)
    moving, fixed = images(SHAPE)
    later = file.stat().st_mtime + 10
    os.utime(file, (later, later))
    with pytest.raises(CheckpointError, match="another content"):
        model.displacement(moving, fixed, SETTING)


def test_the_identity_is_that_of_the_weights(file: Path, tmp_path: Path) -> None:
    identity = read(file).identity
    renamed = write_joint(tmp_path / "renamed.h5", small_tensors(), model="functional_7")
    assert read(renamed).identity == identity
    tensors = small_tensors()
    kernel = tensors["hyper_conv_from_dense_3/hyperkernel_kernel"]
    kernel[3, 5] += 1e-3
    assert read(write_joint(tmp_path / "other.h5", tensors)).identity != identity


def test_weights_of_the_affine_network_are_left_aside(file: Path, tmp_path: Path) -> None:
    joint = tmp_path / "joint.h5"
    write_joint(joint, small_tensors())
    with h5py.File(joint, "a") as content:
        content["model_1/conv3d/kernel:0"] = np.zeros((3, 3, 3, 1, 4), dtype=np.float32)
        content["model_1/conv3d/bias:0"] = np.zeros(4, dtype=np.float32)
    assert read(joint).identity == read(file).identity


def test_a_study_is_searched_with_it_in_its_own_orientation(file: Path, tmp_path: Path) -> None:
    shape = (16, 24, 8)
    folder = tmp_path / "study"
    for number, image in enumerate(images(shape)):
        labels = np.zeros(shape, dtype=np.uint8)
        labels[4 : 9 + number, 6:14, 2:6] = 1
        for kind, array in (("imagesTr", image), ("labelsTr", labels)):
            path = folder / kind / f"box_{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
    (folder / "dataset.json").write_text('{"labels": {"0": "background", "1": "box"}}')
    declaration = f"""
name = "boxes"
[cohort]
images = "imagesTr"
labels = "labelsTr"
[model]
source = "file"
path = {json.dumps(str(file))}
[preprocessing]
shape = [16, 24, 8]
spacing_mm = [1.0, 1.0, 1.0]
normalization = "minmax"
[split]
train = 0
tune = 0
search = 2
[hyperparameters.regularization]
low = 0.01
high = 0.99
"""
    (folder / "study.toml").write_text(declaration)
    oracle, pairs = open_oracle(folder)
    [block] = oracle.measure([(100,)], pairs[:1], ["dice"])
    assert 0 < block.values["dice"].item() < 1

    [pair] = pairs[:1]
    moving, fixed = images(shape) if pair.moving == "box_0" else images(shape)[::-1]
    study = read_study(folder)
    measuring = load_oracle(folder, study, prepare(study, folder))
    displacement = measuring.displacement((100,), pair).numpy()

    def to_lia(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(0, 2, 1)[::-1, ::-1, :])

    own = hyper_vxm_joint_displacement(
        small_tensors(), LEVELS, to_lia(moving), to_lia(fixed), [0.5]
    )
    to_right, to_front, to_above = (to_lia(component) for component in displacement)
    np.testing.assert_allclose(np.stack([-to_right, -to_above, to_front]), own, atol=1e-4)

    (folder / "study.toml").write_text(
        declaration.replace("spacing_mm = [1.0", "spacing_mm = [2.0")
    )
    with pytest.raises(CheckpointError, match=r"spacing_mm: expected .* 1 x 1 x 1 mm"):
        open_oracle(folder)


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    # one convolution of 3^3 · 64 · 128 weights, each from 64 inputs: 57 MB
    tensors = hyper_vxm_joint_tensors([64], [128], [4], units=(8, 64))
    path = write_joint(tmp_path / "large.h5", tensors)
    largest = max(values.nbytes for values in tensors.values())
    size = path.stat().st_size
    assert size > 60e6
    del tensors
    moving, fixed = images((4, 4, 4))
    tracemalloc.start()
    try:
        model = read(path)
        _, while_reading = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        model.displacement(moving, fixed, SETTING)
        _, while_predicting = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert while_reading < size / 20
    # the network itself, 1/64 of the file, and two rows
    assert while_predicting < size / 10
    assert while_predicting < largest / 4


# ------------------------------------------------------------------------------------------------ refusals


def without(key: str) -> Tensors:
    tensors = small_tensors()
    del tensors[key]
    return tensors


def replaced(key: str, values: np.ndarray) -> Tensors:
    return small_tensors() | {key: values}


def f4(*shape: int) -> np.ndarray:
    return drawn("other", shape, 1.0)


DAMAGED: dict[str, tuple[Tensors, str]] = {
    "missing bias": (without("dense_2/bias"), "no bias of dense_2"),
    "missing kernel": (
        without("hyper_conv_from_dense_4/hyperkernel_kernel"),
        "no hyperkernel_kernel of hyper_conv_from_dense_4",
    ),
    "another layer": (small_tensors() | {"batch_norm/gamma": f4(4)}, "batch_norm/gamma"),
    "another tensor": (small_tensors() | {"dense/gamma": f4(4)}, "gamma"),
    "dense widths": (replaced("dense_1/kernel", f4(9, 8)), r"\(9, 8\) in place of \(8, 8\)"),
    "dense axes": (replaced("dense/kernel", f4(8)), r"kernel of dense with shape \(8,\)"),
    "head": (
        replaced("hyper_conv_from_dense/hyperkernel_kernel", f4(8, 217)),
        r"\(8, 217\) in place of \(8, 216\)",
    ),
    "bias of a head": (
        replaced("hyper_conv_from_dense/hyperbias_kernel", f4(7, 4)),
        r"\(7, 4\) in place of \(8, 4\)",
    ),
    "weights that make no kernel": (
        replaced("hyper_conv_from_dense/hyperkernel_bias", f4(215)),
        "215 weights for 4 channels",
    ),
    "no channels": (replaced("hyper_conv_from_dense_1/hyperbias_bias", f4(0)), "0 channels"),
    "scalar": (replaced("hyper_conv_from_dense_1/hyperbias_bias", f4()), "shape"),
    "four axes": (replaced("hyper_conv_from_dense_6/hyperbias_bias", f4(4)), "4 channels"),
    "not a number": (replaced("hyper_conv_from_dense_6/hyperbias_bias", f4(3) * np.nan), "nan"),
    "infinite": (
        replaced("hyper_conv_from_dense_6/hyperkernel_kernel", f4(8, 324) * np.float32(np.inf)),
        "inf",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_files_of_another_network_are_refused(what: str, tmp_path: Path) -> None:
    tensors, named = DAMAGED[what]
    with pytest.raises(CheckpointError, match=named) as caught:
        load_model(write_joint(tmp_path / "model.h5", tensors))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_network_without_its_last_convolutions_is_refused(count: int, tmp_path: Path) -> None:
    tensors = {
        key: values
        for key, values in small_tensors().items()
        if not key.startswith("hyper") or _number(key) < count
    }
    with pytest.raises(CheckpointError):
        load_model(write_joint(tmp_path / "model.h5", tensors))


def _number(key: str) -> int:
    layer = key.split("/")[0].removeprefix("hyper_conv_from_dense")
    return int(layer.removeprefix("_") or 0)


def test_layers_that_occur_twice_are_refused(file: Path) -> None:
    with h5py.File(file, "a") as content:
        content["model_9/dense/bias:0"] = np.zeros(8, dtype=np.float32)
    with pytest.raises(CheckpointError, match="two tensors bias of a layer dense"):
        load_model(file)


def test_truncated_files_are_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for length in np.linspace(8, len(content) - 1, 40).astype(int):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_model(cut)


def test_damage_in_places_is_refused_or_changes_weights_alone(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    moving, fixed = images(SHAPE)
    random = np.random.default_rng(0)
    for _ in range(60):
        start = random.integers(len(content) - 16)
        damaged = bytearray(content)
        damaged[start : start + 16] = random.bytes(16)
        changed = tmp_path / "changed.h5"
        changed.write_bytes(damaged)
        try:
            model = load_model(changed)
        except CheckpointError:
            continue
        assert model.displacement(moving, fixed, SETTING).shape == (3, *SHAPE)
