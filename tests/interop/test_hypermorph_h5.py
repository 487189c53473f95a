"""Official HyperMorph files: the same displacements as VoxelMorph, and one line for all that cannot be read."""

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import hmopt
from hmopt.errors import CheckpointError, DataError, DeclarationError
from hmopt.interop.hypermorph_h5 import HyperVxmModel, read
from hmopt.interop.load import load_model
from hmopt.oracle import open_oracle, open_registrar
from hmopt.spatial import warp
from tests.interop.keras_models import (
    Tensors,
    hyper_vxm_dense_displacement,
    hyper_vxm_dense_tensors,
    images,
    write_layers,
    write_model,
)
from tests.recorded.tensorflow_cases import CASES, HYPERPARAMETERS, OUTPUTS

CONFIG: dict[str, Any] = {
    "inshape": [16, 24],
    "nb_hyp_layers": 2,
    "nb_hyp_units": 8,
    "nb_unet_features": [[4, 6], [6, 6, 4]],
}


def written(path: Path, **changes: Any) -> Path:
    """Write the model of `CONFIG`, with other options in its configuration but the tensors as they are."""
    return write_model(path, CONFIG | changes, hyper_vxm_dense_tensors(CONFIG))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "model.h5")


@pytest.mark.parametrize("name", CASES)
def test_the_displacement_is_voxelmorphs_with_every_option(name: str, tmp_path: Path) -> None:
    config = CASES[name]
    tensors = hyper_vxm_dense_tensors(config)
    model = load_model(write_model(tmp_path / "model.h5", config, tensors))
    moving, fixed = images(config["inshape"])
    setting = dict(zip(model.space.names, HYPERPARAMETERS, strict=False))

    displacement = model.displacement(moving, fixed, setting)

    with np.load(OUTPUTS) as recorded:
        expected = recorded[name]
    assert np.abs(expected).max() > 0.2
    assert displacement.dtype == np.float32
    np.testing.assert_allclose(displacement, expected, atol=1e-5)
    by_numpy = hyper_vxm_dense_displacement(config, tensors, moving, fixed, list(setting.values()))
    np.testing.assert_allclose(displacement, by_numpy, atol=1e-5)


def test_the_official_file_gives_what_tensorflow_gave(shared_data: Path) -> None:
    folder = shared_data / "voxelmorph_tf"
    model = read(folder / "vxm_tf_hypermorph_2d.h5")
    with np.load(folder / "vxm_tf_hypermorph_2d_reference.npz") as reference:
        moving, fixed = reference["moving"][..., 0], reference["fixed"][..., 0]
        hyper, warps = reference["hyper"][:, 0], reference["warp"]
        all_moved, velocities = reference["moved"][..., 0], reference["svf_or_flow"]
    assert np.abs(warps).max() > 5
    for place, value in enumerate(hyper):
        setting = {"regularization": float(value)}
        for pair in range(len(moving)):
            displacement = model.displacement(moving[pair], fixed[pair], setting)
            expected = np.moveaxis(warps[place, pair], -1, 0)
            np.testing.assert_allclose(displacement, expected, atol=2e-5)

            image = torch.from_numpy(moving[pair])[None, None]
            moved = warp(image, torch.from_numpy(displacement)[None])[0, 0].numpy()
            np.testing.assert_allclose(moved, all_moved[place, pair], atol=2e-5)

            velocity = model.velocity(moving[pair], fixed[pair], setting)
            expected = np.moveaxis(velocities[place, pair], -1, 0)
            np.testing.assert_allclose(velocity, expected, atol=1e-5)


def test_pairs_together_give_what_each_gives_alone(file: Path) -> None:
    model = read(file)
    moving, fixed = images(CONFIG["inshape"])
    setting = {"regularization": 0.4}
    together = model.displacements(np.stack([moving, fixed]), np.stack([fixed, moving]), setting)
    alone = model.displacement(fixed, moving, setting)
    np.testing.assert_allclose(together[1], alone, atol=1e-6)


def test_it_says_what_it_is_and_needs(file: Path) -> None:
    model = read(file)
    assert "16 x 24 voxels" in model.title
    assert "(1 - λ) similarity / σ² + λ regularizer" in model.title
    assert model.preprocessing.shape == [16, 24]
    assert model.preprocessing.normalization == "minmax"
    assert model.preprocessing.placement == "centre"
    assert model.stride == 4
    [regularization] = model.space.hyperparameters
    assert (regularization.name, regularization.low, regularization.high) == (
        "regularization",
        0,
        1,
    )
    assert regularization.default == 0.5


def test_several_hyperparameters_are_counted(tmp_path: Path) -> None:
    config = CONFIG | {"nb_hyp_params": 3}
    path = write_model(tmp_path / "model.h5", config, hyper_vxm_dense_tensors(config))
    expected = ("regularization", "hyperparameter_2", "hyperparameter_3")
    assert read(path).space.names == expected


def test_other_grids_are_taken_in_multiples_of_the_stride(file: Path) -> None:
    model = read(file)
    setting = {"regularization": 0.4}
    moving, fixed = images((8, 20))
    tensors = hyper_vxm_dense_tensors(CONFIG)
    expected = hyper_vxm_dense_displacement(
        CONFIG | {"inshape": [8, 20]}, tensors, moving, fixed, [0.4]
    )
    displacement = model.displacement(moving, fixed, setting)
    np.testing.assert_allclose(displacement, expected, atol=1e-5)
    moving, fixed = images((8, 18))
    with pytest.raises(DataError, match="multiple of 4"):
        model.displacement(moving, fixed, setting)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_settings_outside_the_range_are_refused(value: float, file: Path) -> None:
    moving, fixed = images(CONFIG["inshape"])
    with pytest.raises(DeclarationError):
        read(file).displacement(moving, fixed, {"regularization": value})


def test_the_identity_is_that_of_what_is_computed(tmp_path: Path) -> None:
    identity = read(written(tmp_path / "one.h5")).identity
    spelt_out = written(
        tmp_path / "other name.h5", int_steps=7, bidir=True, src_feats=1, reg_field="SVF"
    )
    assert read(spelt_out).identity == identity
    assert read(written(tmp_path / "fewer.h5", int_steps=6)).identity != identity
    tensors = hyper_vxm_dense_tensors(CONFIG)
    tensors["hyper_vxm_dense_flow/bias"] = tensors["hyper_vxm_dense_flow/bias"] + 1e-3
    moved = write_model(tmp_path / "moved.h5", CONFIG, tensors)
    assert read(moved).identity != identity


def test_a_model_can_be_sent_to_another_process(file: Path) -> None:
    model = read(file)
    moving, fixed = images(CONFIG["inshape"])
    setting = {"regularization": 0.4}
    expected = model.displacement(moving, fixed, setting)
    sent: HyperVxmModel = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(sent.displacement(moving, fixed, setting), expected)


def study_of(folder: Path, model: Path, shape: tuple[int, int]) -> Path:
    """Make a study of four boxes in slices of a shape, searched with a model's file."""
    image, _ = images(shape)
    for number in range(4):
        labels = np.zeros(shape, dtype=np.uint8)
        labels[4 : 8 + number, 6:14] = 1
        for kind, array in (("imagesTr", image + 0.1 * labels), ("labelsTr", labels)):
            path = folder / kind / f"box_{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.Nifti1Image(array[..., np.newaxis], np.eye(4)).to_filename(path)
    (folder / "dataset.json").write_text('{"labels": {"0": "background", "1": "box"}}')
    (folder / "study.toml").write_text(f"""
name = "boxes"
[cohort]
images = "imagesTr"
labels = "labelsTr"
[model]
source = "file"
path = {json.dumps(str(model))}
[preprocessing]
shape = {list(shape)}
slices = {{ axis = 2, indices = [0] }}
[split]
train = 0
tune = 0
search = 4
""")
    return folder


def test_a_study_is_searched_with_it(file: Path, tmp_path: Path) -> None:
    oracle, pairs = open_oracle(study_of(tmp_path / "study", file, (16, 24)))
    assert oracle.space.names == ("regularization",)
    blocks = list(oracle.measure([(0,), (200,)], pairs[:3], ["dice"]))
    assert {block.index for block in blocks} == {(0,), (200,)}
    dice = np.concatenate([block.values["dice"] for block in blocks])
    assert ((dice > 0.2) & (dice < 1)).all()


def test_steps_and_default_are_those_of_the_study(file: Path, tmp_path: Path) -> None:
    study = study_of(tmp_path / "study", file, (16, 24))
    with (study / "study.toml").open("a") as declaration:
        declaration.write("[hyperparameters.regularization]\nstep = 0.1\ndefault = 0.3\n")
        declaration.write('[search]\ncoarse = 3\nrefinements = 0\nreported = ["folding"]\n')
        declaration.write("min_paired_subjects = 3\n")
    hmopt.search(study, device="cpu")
    measured = hmopt.StudyFolder(study).measurements()
    values = [measured.space.setting(index)["regularization"] for index in measured.settings]
    assert 0.3 in values
    assert 0.5 not in values  # the default of the file, which nobody asked for
    hmopt.report(study)
    images = sorted((study / "imagesTr").glob("*"))[:2]
    assert open_registrar(study).space.default == {"regularization": 0.3}
    assert hmopt.register(study, *images, moved=tmp_path / "moved.nii.gz").setting in [
        {"regularization": value} for value in values
    ]


def test_a_study_of_several_hyperparameters_declares_them_all(tmp_path: Path) -> None:
    config = CONFIG | {"nb_hyp_params": 2}
    path = write_model(tmp_path / "model.h5", config, hyper_vxm_dense_tensors(config))
    study = study_of(tmp_path / "study", path, (16, 24))
    with pytest.raises(CheckpointError, match=r"expected regularization .*; hyperparameter_2"):
        open_oracle(study)
    with (study / "study.toml").open("a") as declaration:
        declaration.write("[hyperparameters.regularization]\n[hyperparameters.hyperparameter_2]\n")
    oracle, pairs = open_oracle(study)
    [block] = oracle.measure([(0, 200)], pairs[:1], ["dice"])
    assert block.index == (0, 200)


def test_a_study_on_another_grid_is_refused_before_any_work(file: Path, tmp_path: Path) -> None:
    study = study_of(tmp_path / "study", file, (16, 18))
    with pytest.raises(CheckpointError, match=r"16 x 24 voxels or multiples of 4.*got 16 x 18"):
        open_oracle(study)


# ---------------------------------------------------------------------------------- other ways to write it


def test_names_that_keras_counted_are_read(file: Path, tmp_path: Path) -> None:
    counted = tmp_path / "counted.h5"
    tensors = hyper_vxm_dense_tensors(CONFIG)
    write_model(counted, CONFIG, {})
    with h5py.File(counted, "a") as changed:
        for key, values in tensors.items():
            layer, name = key.split("/")
            changed[f"model_weights/{layer}/{layer}_1/{name}:0"] = values
    assert read(counted).identity == read(file).identity


def test_names_without_a_count_are_read(file: Path, tmp_path: Path) -> None:
    bare = write_model(tmp_path / "bare.h5", CONFIG, {})
    with h5py.File(bare, "a") as changed:
        for key, values in hyper_vxm_dense_tensors(CONFIG).items():
            layer, name = key.split("/")
            changed[f"model_weights/{layer}/{layer}/{name}"] = values
    assert read(bare).identity == read(file).identity


def test_tuples_and_older_arguments_are_read(file: Path, tmp_path: Path) -> None:
    shape = {"class_name": "__tuple__", "items": [16, 24]}
    older: dict[str, Any] = {
        "enc_nf": [4, 6],
        "dec_nf": [6, 6, 4],
        "nb_unet_features": None,
        "int_downsize": 2,
    }
    changed = written(tmp_path / "older.h5", inshape=shape, **older)
    assert read(changed).identity == read(file).identity


def test_a_configuration_in_bytes_is_read(file: Path, tmp_path: Path) -> None:
    changed = written(tmp_path / "bytes.h5")
    with h5py.File(changed, "a") as content:
        text = content.attrs["model_config"]
        content.attrs["model_config"] = np.bytes_(text.encode())
    assert read(changed).identity == read(file).identity


# ------------------------------------------------------------------------------------------------ refusals

UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "use_probs": ({"use_probs": True}, "use_probs = True"),
    "several channels of the moving image": ({"src_feats": 2}, "src_feats = 2"),
    "several channels of the fixed image": ({"trg_feats": 3}, "trg_feats = 3"),
    "another input": ({"input_model": {"class_name": "Functional"}}, "input_model"),
    "another hypernetwork": ({"hyp_model": {"class_name": "Functional"}}, "hyp_model"),
    "one axis": ({"inshape": [32]}, "one axis"),
    "four axes": ({"inshape": [8, 8, 8, 8]}, "inshape"),
    "finer velocity": ({"svf_resolution": 0.5}, "svf_resolution = 0.5"),
    "coarse displacement": ({"svf_resolution": 2, "int_steps": 0}, "int_steps = 0"),
    "coarse integration alone": ({"svf_resolution": 2, "int_resolution": 1}, "int_resolution = 1"),
    "unknown option": ({"attention": True}, "attention"),
    "odd shape": ({"inshape": [17, 24]}, r"inshape = \[17, 24\]"),
    "levels beside lists": ({"nb_unet_levels": 3}, "nb_unet_levels beside lists"),
    "a number without levels": ({"nb_unet_features": 4}, "without nb_unet_levels"),
    "too short a decoder": ({"nb_unet_features": [[4, 6], [6]]}, "2 and 1 convolutions"),
}

ABSURD: dict[str, dict[str, Any]] = {
    "features": {"nb_unet_features": [[10**9, 6], [6, 6, 4]]},
    "negative features": {"nb_unet_features": [[-4, 6], [6, 6, 4]]},
    "features as text": {"nb_unet_features": "many"},
    "no features": {"nb_unet_features": [[], []]},
    "levels": {"nb_unet_features": 4, "nb_unet_levels": 10**9},
    "growth": {"nb_unet_features": 4, "nb_unet_levels": 8, "unet_feat_mult": 60.0},
    "convolutions": {"nb_unet_conv_per_level": 10**12},
    "shape": {"inshape": [10**9, 10**9]},
    "negative shape": {"inshape": [-16, 24]},
    "no shape": {"inshape": []},
    "shape of text": {"inshape": "16 24"},
    "steps": {"int_steps": 10**9},
    "negative steps": {"int_steps": -1},
    "dense layers": {"nb_hyp_layers": 10**9},
    "units": {"nb_hyp_units": 2**40},
    "hyperparameters": {"nb_hyp_params": 0},
    "resolution": {"int_resolution": 1e300},
    "resolution of zero": {"int_downsize": 0},
    "nothing for a number": {"nb_hyp_units": None},
    "a name that is a list": {"name": ["hyper_vxm_dense"]},
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_options_that_are_not_supported_are_refused_by_name(what: str, tmp_path: Path) -> None:
    changes, named = UNSUPPORTED[what]
    with pytest.raises(CheckpointError, match=named) as caught:
        load_model(written(tmp_path / "model.h5", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_options_are_refused_at_once(what: str, tmp_path: Path) -> None:
    changes = ABSURD[what]
    with pytest.raises(CheckpointError) as caught:
        load_model(written(tmp_path / "model.h5", **changes))
    message = str(caught.value)
    assert any(option in message for option in changes)
    assert len(message) < 500
    assert "\n" not in message


def changed_tensors(**changes: Any) -> Tensors:
    tensors = hyper_vxm_dense_tensors(CONFIG)
    for name, values in changes.items():
        key = f"hyper_vxm_dense_{name.replace('__', '/')}"
        if values is None:
            del tensors[key]
        else:
            tensors[key] = values
    return tensors


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"flow__kernel": None}, "no tensor flow/kernel"),
    "missing dense layer": ({"hyp_dense_2__bias": None}, "no tensor hyp_dense_2/bias"),
    "extra": ({"log_sigma__kernel": np.zeros((3, 3, 4, 2), "f4")}, "does not have"),
    "extra level": (
        {"unet_enc_conv_2_0__hyperbias_bias": np.zeros(4, "f4")},
        "unet_enc_conv_2_0",
    ),
    "shape": ({"flow__kernel": np.zeros((3, 3, 5, 2), "f4")}, r"shape \(3, 3, 5, 2\)"),
    "axes": ({"flow__bias": np.zeros((2, 1), "f4")}, r"shape \(2, 1\)"),
    "not a number": ({"flow__bias": np.array([np.nan, 0], "f4")}, "nan"),
    "infinite": ({"flow__bias": np.array([0, -np.inf], "f4")}, "inf"),
    "too large": ({"flow__bias": np.array([0, -1e20], "f4")}, r"1e\+20"),
    "integers": ({"flow__bias": np.array([0, 1], "i4")}, "int32"),
    "text": ({"flow__bias": np.array([b"a", b"b"])}, r"of type \|S1"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_tensors_of_another_network_are_refused(what: str, tmp_path: Path) -> None:
    changes, named = DAMAGED[what]
    path = write_model(tmp_path / "model.h5", CONFIG, changed_tensors(**changes))
    with pytest.raises(CheckpointError, match=named):
        load_model(path)


def test_weights_alone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        write_layers(file, hyper_vxm_dense_tensors(CONFIG))
    with pytest.raises(CheckpointError, match=r"weights alone.*model\.save"):
        load_model(path)


@pytest.mark.parametrize("name", ["VxmDense", "Functional", "Sequential", "HyperVxmDense2"])
def test_another_class_is_refused_by_name(name: str, tmp_path: Path) -> None:
    tensors = hyper_vxm_dense_tensors(CONFIG)
    path = write_model(tmp_path / "model.h5", CONFIG, tensors, name)
    with pytest.raises(CheckpointError, match=f"got a {name}"):
        load_model(path)


def test_code_in_a_configuration_is_not_run(tmp_path: Path) -> None:
    layer = {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}}
    tensors = hyper_vxm_dense_tensors(CONFIG)
    for config in ({"layers": [layer]}, CONFIG | {"input_model": {"config": {"layers": [layer]}}}):
        path = write_model(tmp_path / "model.h5", config, tensors)
        with pytest.raises(CheckpointError, match=r"class Lambda, which holds program code"):
            load_model(path)


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_in_the_place_of_a_configuration_is_not_read(file: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    with h5py.File(file, "a") as content:
        content.attrs["model_config"] = np.void(pickle.dumps(Trap(trap)))
    with pytest.raises(CheckpointError):
        load_model(file)
    assert not trap.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"HyperVxmDense"', '{"class_name": "HyperVxmDense"}', "[" * 10**5]
)
def test_a_configuration_that_is_none_is_refused(text: str, file: Path) -> None:
    with h5py.File(file, "a") as content:
        content.attrs["model_config"] = text
    with pytest.raises(CheckpointError, match="model_config"):
        load_model(file)


def test_names_in_a_file_do_not_break_the_line(tmp_path: Path) -> None:
    tensors = hyper_vxm_dense_tensors(CONFIG)
    names = {"a\nb\x1b[31m": 1, "long " * 200: 2}
    for key, value in names.items():
        path = write_model(tmp_path / "option.h5", CONFIG | {key: value}, tensors)
        with pytest.raises(CheckpointError) as caught:
            load_model(path)
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 800
    path = write_model(tmp_path / "class.h5", CONFIG, tensors, "Vxm\nDense")
    with pytest.raises(CheckpointError, match="got a Vxm Dense"):
        load_model(path)


@pytest.mark.parametrize("depth", [300, 700, 100_000])
def test_deep_configurations_are_refused_or_read(depth: int, file: Path) -> None:
    with h5py.File(file, "a") as content:
        nested = "[" * depth + "]" * depth
        text = str(content.attrs["model_config"])
        content.attrs["model_config"] = text.replace("{}", f'{{"deep": {nested}}}')
    moving, fixed = images(CONFIG["inshape"])
    found = outcome(file, moving, fixed)
    assert found is None or np.isfinite(found).all()


def test_hdf5_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "anything.h5"
    with h5py.File(path, "w") as file:
        file["TransformGroup/0/TransformParameters"] = np.zeros(12)
    with pytest.raises(CheckpointError, match="expected one of"):
        load_model(path)


def test_tensors_in_other_files_are_not_read(file: Path, tmp_path: Path) -> None:
    place = "model_weights/hyper_vxm_dense_flow/hyper_vxm_dense_flow/bias:0"
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(8))
    with h5py.File(file, "a") as content:
        del content[place]
        content.create_dataset(place, shape=(2,), dtype="f4", external=str(outside))
    with pytest.raises(CheckpointError, match="in another file"):
        load_model(file)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["bias"] = np.zeros(2, "f4")
    with h5py.File(file, "a") as content:
        del content[place]
        content[place] = h5py.ExternalLink(str(tmp_path / "other.h5"), "bias")
    with pytest.raises(CheckpointError, match="no tensor flow/bias"):
        load_model(file)


def test_tensors_that_unpack_to_more_than_the_file_are_not_read(file: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.h5"
    units = 16384
    config = CONFIG | {"nb_hyp_units": units, "nb_unet_features": [[4000, 6], [6, 6, 4]]}
    write_model(bomb, config, {})
    with h5py.File(bomb, "a") as content:
        for name in ("hyperkernel_kernel", "hyperbias_kernel"):
            # 5 GB of zeros that were never written
            shape = (units, 9 * 2 * 4000)
            place = f"model_weights/hyper_vxm_dense_unet_enc_conv_0_0/{name}:0"
            content.create_dataset(place, shape=shape, dtype="f4", chunks=(64, 4096))
    with pytest.raises(CheckpointError, match="larger than the file"):
        load_model(bomb)


# ------------------------------------------------------------------------------------------------- damage


def outcome(path: Path, moving: NDArray[Any], fixed: NDArray[Any]) -> NDArray[Any] | None:
    """Return what a file gives, None where it is refused; any other error fails the test."""
    try:
        model = load_model(path)
    except CheckpointError:
        return None
    return model.displacement(moving, fixed, model.space.default)


def test_truncated_files_are_refused(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    moving, fixed = images(CONFIG["inshape"])
    expected = outcome(file, moving, fixed)
    assert expected is not None
    for length in np.linspace(0, len(content) - 1, 60).astype(int):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(content[:length])
        assert outcome(cut, moving, fixed) is None, f"after {length} of {len(content)} bytes"


def test_flipped_bits_in_the_configuration_are_refused_or_change_nothing_else(
    file: Path, tmp_path: Path
) -> None:
    content = file.read_bytes()
    begin = content.index(b'{"class_name"')
    end = content.index(b'"metadata": {}}}', begin) + 16
    moving, fixed = images(CONFIG["inshape"])
    expected = outcome(file, moving, fixed)
    assert expected is not None
    random = np.random.default_rng(0)
    read_again = 0
    for _ in range(150):
        place, bit = random.integers(begin, end), random.integers(8)
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(bit)
        changed = tmp_path / "changed.h5"
        changed.write_bytes(damaged)
        found = outcome(changed, moving, fixed)
        if found is not None:
            read_again += 1
            assert np.isfinite(found).all()
    assert read_again < 20  # such as a change of `int_steps`' default spelling, or of a name


def test_zeroed_blocks_are_refused_or_change_weights_alone(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    moving, fixed = images(CONFIG["inshape"])
    for start in range(0, len(content), len(content) // 40):
        damaged = bytearray(content)
        damaged[start : start + 256] = bytes(len(damaged[start : start + 256]))
        changed = tmp_path / "changed.h5"
        changed.write_bytes(damaged)
        found = outcome(changed, moving, fixed)
        assert found is None or np.isfinite(found).all()
