"""A baked network gives the same fields as the hypermorph, in whichever program it runs."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hmopt
from hmopt.errors import CheckpointError, HmoptError
from hmopt.interop.bake import Baked, Program, write_onnx, write_safetensors, write_torch
from hmopt.interop.load import load_model
from hmopt.workflow.bake import FORMATS

SETTING = {"regularization": 0.4}
STRIDE = 8
Images = Callable[..., tuple[np.ndarray, np.ndarray]]
Run = Callable[..., subprocess.CompletedProcess[str]]


def expected(baked: Baked, moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return displacement and moved images, as hmopt computes them."""
    program = Program(baked.network)
    with torch.inference_mode():
        displacement, moved = program(torch.from_numpy(moving), torch.from_numpy(fixed))
    return displacement.numpy(), moved.numpy()


def other_shape(baked: Baked) -> tuple[int, ...]:
    return tuple(side + STRIDE * (axis + 1) for axis, side in enumerate(baked.shape))


def test_the_fields_under_test_are_large(baked: Baked, images: Images) -> None:
    displacement, _ = expected(baked, *images(baked.shape, 1))
    assert 1 < np.abs(displacement).max() < 30


def test_a_baked_network_is_the_hypermorph_at_that_setting(
    model_of_axes: Any, images: Images
) -> None:
    model = model_of_axes(3)
    moving, fixed = images(model.shape, 1)
    found, _ = expected(model.bake(SETTING), moving, fixed)
    wanted = model.displacement(moving[0, 0], fixed[0, 0], SETTING)
    np.testing.assert_array_equal(found[0], wanted)
    other, _ = expected(model.bake({"regularization": 0.9}), moving, fixed)
    assert np.abs(other[0] - wanted).max() > 0.01


def test_safetensors_come_back_as_a_model_of_one_setting(
    baked: Baked, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "baked.safetensors"
    write_safetensors(baked.with_facts({"scope": "label=thalamus"}), path)
    model = load_model(path)
    moving, fixed = images(baked.shape, 1)
    displacement, _ = expected(baked, moving, fixed)
    np.testing.assert_array_equal(
        model.displacement(moving[0, 0], fixed[0, 0], {}), displacement[0]
    )
    assert model.space.names == ()
    assert model.stride == STRIDE
    assert model.preprocessing == baked.preprocessing
    assert "regularization 0.4" in model.title
    assert model.header["baked"] == {"scope": "label=thalamus"}  # type: ignore[attr-defined]
    with pytest.raises(HmoptError, match="setting: expected values for"):
        model.displacement(moving[0, 0], fixed[0, 0], SETTING)


def test_a_damaged_network_is_refused_in_a_line(baked: Baked, tmp_path: Path) -> None:
    path = tmp_path / "baked.safetensors"
    write_safetensors(baked, path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="changed or damaged"):
        load_model(path)
    path.write_bytes(bytes(content[:-100]))
    with pytest.raises(CheckpointError):
        load_model(path)


RUN_PROGRAM = """
import json, sys
import numpy as np
import torch
try:
    import hmopt
except ImportError:
    pass
else:
    sys.exit("hmopt is here")
text = {"hmopt.json": ""}
program = torch.export.load("baked.pt2", extra_files=text).module()
assert json.loads(text["hmopt.json"])["setting"] == {"regularization": 0.4}
with np.load("images.npz") as images, torch.no_grad():
    moving = torch.from_numpy(images["moving"])
    fixed = torch.from_numpy(images["fixed"])
    displacement, moved = program(moving, fixed)
np.savez("found.npz", displacement=displacement.numpy(), moved=moved.numpy())
"""


def test_torch_runs_the_program_without_hmopt(
    baked: Baked, images: Images, without_hmopt: Run, tmp_path: Path
) -> None:
    write_torch(baked, tmp_path / "baked.pt2")
    moving, fixed = images(other_shape(baked), 3)
    np.savez(tmp_path / "images.npz", moving=moving, fixed=fixed)
    done = without_hmopt("-W", "ignore", "-c", RUN_PROGRAM, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    displacement, moved = expected(baked, moving, fixed)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["displacement"], displacement, atol=1e-4)
        np.testing.assert_allclose(found["moved"], moved, atol=1e-4)


def test_weights_are_read_without_unpickling(baked: Baked, tmp_path: Path) -> None:
    write_torch(baked, tmp_path / "baked.pt")
    content = torch.load(tmp_path / "baked.pt", weights_only=True)
    assert content["hmopt"]["setting"] == SETTING
    wanted = baked.network.state_dict()
    assert set(content["state_dict"]) == set(wanted)
    for name, tensor in content["state_dict"].items():
        assert torch.equal(tensor, wanted[name])


def test_onnx_runtime_gives_the_same_field(baked: Baked, images: Images, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "baked.onnx"
    write_onnx(baked.with_facts({"scope": "cohort"}), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    for shape, batch in ((baked.shape, 1), (other_shape(baked), 3)):
        moving, fixed = images(shape, batch)
        found = session.run(["displacement", "moved"], {"moving": moving, "fixed": fixed})
        displacement, moved = expected(baked, moving, fixed)
        np.testing.assert_allclose(found[0], displacement, atol=1e-4)
        np.testing.assert_allclose(found[1], moved, atol=1e-4)

    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["setting"]) == SETTING
    assert facts["regularization"] == "0.4"
    assert facts["normalization"] == "percentile"
    assert facts["hmopt_version"] == hmopt.__version__
    assert facts["scope"] == "cohort"
    assert json.loads(facts["hmopt"])["loss"] == {"scale": 2.0}
    axes = [one.shape for one in session.get_inputs()]
    assert axes == [["batch", 1, *"xyz"[: len(baked.shape)]]] * 2


class OfAUser(nn.Module):
    """A network that is no U-Net of hmopt, and takes only its own grid."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        velocity: Tensor = self.layer(torch.cat([moving, fixed], 1))
        return velocity

    def displacement(self, velocity: Tensor) -> Tensor:
        return 3 * velocity.tanh()


class OnValues(OfAUser):
    """What it does depends on the intensities."""

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        if moving.sum() > 0:
            return super().forward(moving, fixed)
        return torch.cat([moving, fixed], 1)


@pytest.fixture
def of_a_user(baked: Baked) -> Baked:
    if len(baked.shape) != 2:
        pytest.skip("one is enough")
    torch.manual_seed(0)
    return replace(baked, network=OfAUser(), stride=None)


def test_a_network_of_a_user_becomes_a_program(
    of_a_user: Baked, images: Images, tmp_path: Path
) -> None:
    write_torch(of_a_user, tmp_path / "user.pt2")
    program: Any = torch.export.load(tmp_path / "user.pt2").module()
    moving, fixed = images(of_a_user.shape, 2)
    displacement, _ = expected(of_a_user, moving, fixed)
    with torch.no_grad():
        found = program(torch.from_numpy(moving), torch.from_numpy(fixed))[0]
    np.testing.assert_allclose(found.numpy(), displacement, atol=1e-4)


def test_a_network_that_cannot_be_recorded_is_refused(of_a_user: Baked, tmp_path: Path) -> None:
    on_values = replace(of_a_user, network=OnValues())
    path = tmp_path / "user.pt2"
    with pytest.raises(CheckpointError, match=r"torch\.export can record") as caught:
        write_torch(on_values, path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="the U-Net of hmopt"):
        write_safetensors(on_values, tmp_path / "user.safetensors")


def test_a_program_that_computes_another_field_is_not_left_behind(
    of_a_user: Baked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmopt.interop.bake.TOLERANCE_VOXELS", -1.0)
    with pytest.raises(CheckpointError, match="one that differs by"):
        write_torch(of_a_user, tmp_path / "baked.pt2")
    assert list(tmp_path.iterdir()) == []


def test_every_format_says_how_its_names_end() -> None:
    assert FORMATS["onnx"].endings == (".onnx",)
    for name, ending in (("onnx", "a.pt"), ("torch", "a.onnx"), ("safetensors", "a")):
        with pytest.raises(HmoptError, match="--output: expected a name that ends in"):
            FORMATS[name].check_name(Path(ending))
