"""Networks that a function of the user makes: built, trained, saved, found again, refused."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hmopt
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import NetworkOptions, read_study
from hmopt.errors import CheckpointError, DataError, DeclarationError, HmoptError
from hmopt.files import file_hash
from hmopt.model_file import model_identity
from hmopt.networks import (
    check_network,
    hypermorph_hash,
    load_hypermorph,
    load_network,
    make_registration,
)
from hmopt.networks.custom import located
from hmopt.space import Setting
from hmopt.training.identity import training_key
from hmopt.training.train import train_network

NETWORK = """
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self, d, channels):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[d]
        self.first = convolution(2, channels, 3, stride=2, padding=1)
        self.middle = convolution(channels, channels, 3, padding=1)
        self.again = convolution(channels, channels, 3, padding=1)
        self.again.weight = self.middle.weight  # tied
        self.last = convolution(channels, d, 3, padding=1)
        self.register_buffer("noise", torch.randn(channels, *[1] * d))
        self.register_buffer("count", torch.tensor(3))
        self.kept = None

    def forward(self, moving, fixed):
        hidden = self.first(torch.cat([moving, fixed], dim=1)).tanh() + 0.01 * self.noise
        hidden = self.again(self.middle(hidden).tanh()).tanh()
        self.kept = self.last(hidden)
        return self.kept


def make_network(shape, channels=4):
    return Plain(len(shape), channels)
"""

DECLARATION = """
name = "own"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [24, 24]
[split]
train = 3
tune = 2
search = 3
[pairs]
search = 4
tune = 1
[network]
callable = "network.py:make_network"
options = {channels = 6}
stride = 2
[hypernetwork]
widths = [4]
[training]
steps = 8
batch = 1
checkpoint_every = 4
[search]
coarse = 3
refinements = 0
scopes = [[], ["label"]]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with a trained network of its own."""
    folder = tmp_path_factory.mktemp("own") / "study"
    folder.mkdir()
    make_cohort(folder / "data", subjects=8, shape=(24, 24))
    (folder / "network.py").write_text(NETWORK)
    (folder / "study.toml").write_text(DECLARATION)
    hmopt.train(folder, device="cpu")
    return folder


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    return folder


T = TypeVar("T")
IMAGES = np.random.default_rng(0).uniform(size=(2, 24, 24)).astype(np.float32)
SETTING: Setting = {"regularization": 0.3}


def test_the_file_holds_what_rebuilds_the_network(trained: Path) -> None:
    path = trained / "model.safetensors"
    hypermorph, header = load_hypermorph(path)
    network = header["architecture"]["network"]
    assert network["callable"] == "network.py:make_network"
    assert network["options"] == {"channels": 6}
    assert len(network["content"]) >= 16
    assert "encoder" not in network
    assert "folder" not in network
    again, _ = load_hypermorph(path)
    torch.manual_seed(99)
    third, _ = load_hypermorph(path)  # whatever the seed: buffers are in the file
    state = hypermorph.registration.state_dict()
    assert torch.equal(third.registration.state_dict()["module.noise"], state["module.noise"])
    images = torch.from_numpy(IMAGES)[:, None, None]
    expected = hypermorph(images[0], images[1], SETTING)
    for other in (again, third):
        assert torch.equal(other(images[0], images[1], SETTING), expected)
    baked = hypermorph.bake(SETTING)
    assert torch.equal(baked(images[0], images[1]), expected)
    assert hypermorph_hash(hypermorph) in {hypermorph_hash(third)}
    assert model_identity(path)


def test_the_searched_the_loaded_and_the_registered_model_are_one(study: Path) -> None:
    hmopt.search(study)
    hmopt.report(study)
    model = hmopt.load_model(study, trust_code=True)
    assert model.stride is None
    assert model.displacement(IMAGES[0], IMAGES[1], SETTING).shape == (2, 24, 24)
    moving, fixed = sorted((study / "data" / "images").glob("*"))[:2]
    hmopt.register(study, moving, fixed, moved=study / "moved.nii.gz", device="cpu")
    assert (study / "moved.nii.gz").is_file()
    oracle, pairs = hmopt.open_oracle(study)
    assert len(list(oracle.measure([(0,)], pairs, ["dice"]))) > 0


def test_separate_networks_of_it_are_trained_and_loaded(study: Path) -> None:
    declared = read_study(study)
    cohort = prepare(declared, study)
    path = train_network(declared, cohort, SETTING, study / "compare" / "one" / "n.safetensors")
    network, header = load_network(path)
    assert header["architecture"]["network"]["options"] == {"channels": 6}
    module: Any = network.get_submodule("module")
    assert module.again.weight is module.middle.weight
    assert int(module.count) == 3


def test_an_interrupted_training_ends_in_the_same_bytes(study: Path) -> None:
    expected = (study / "model.safetensors").read_bytes()
    for path in study.glob("model*.safetensors"):
        path.unlink()

    def stop(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for index, item in enumerate(items):
            if description == "Training" and index == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        hmopt.train(study, device="cpu", track=stop)
    hmopt.train(study, device="cpu")
    loaded, _ = load_hypermorph(study / "model.safetensors")
    (study / "first.safetensors").write_bytes(expected)
    first, _ = load_hypermorph(study / "first.safetensors")
    assert hypermorph_hash(loaded) == hypermorph_hash(first)


def test_a_changed_network_is_another_model(study: Path) -> None:
    before = read_study(study)
    cohort = prepare(before, study)
    (study / "network.py").write_text(NETWORK + "\n# changed\n")
    after = read_study(study)
    assert training_key(before, cohort) != training_key(after, cohort)
    with pytest.raises(CheckpointError, match=r"network\.py.* got a changed file"):
        hmopt.train(study, device="cpu")
    with pytest.raises(CheckpointError, match="a changed file"):
        hmopt.load_model(study, trust_code=True)


def test_a_model_without_its_file_says_which_it_needs(study: Path, tmp_path: Path) -> None:
    alone = tmp_path / "a" / "b" / "c" / "d" / "model.safetensors"
    alone.parent.mkdir(parents=True)
    shutil.copy(study / "model.safetensors", alone)
    with pytest.raises(CheckpointError, match=r"network\.py.* no such file beside it"):
        hmopt.load_model(alone, trust_code=True)
    shutil.copy(study / "network.py", alone.parent)
    displacement = hmopt.load_model(alone, trust_code=True).displacement(
        IMAGES[0], IMAGES[1], SETTING
    )
    expected = hmopt.load_model(study, trust_code=True).displacement(IMAGES[0], IMAGES[1], SETTING)
    np.testing.assert_array_equal(displacement, expected)


def test_code_beside_a_model_is_run_on_trust_alone(study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("model.safetensors", "network.py"):
        shutil.copy(study / name, other)
    code = other / "network.py"
    code.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    for place in (other, other / "model.safetensors"):
        with pytest.raises(CheckpointError, match=r"made by .*other/network\.py.*--trust-code"):
            hmopt.load_model(place)
        with pytest.raises(CheckpointError, match="needs no code of its own"):
            hmopt.new(tmp_path / "new", manifest=study / "cohort.csv", model=place)
        with pytest.raises(CheckpointError, match="needs no code of its own"):
            hmopt.bake(place, format="torch", output=tmp_path / "b.pt", setting=SETTING)
    images = sorted((study / "data" / "images").glob("*"))[:2]
    with pytest.raises(CheckpointError, match="needs no code of its own"):
        hmopt.register(other, *images, moved=tmp_path / "moved.nii.gz", setting=SETTING)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "new").exists()


def test_the_file_of_the_network_is_published_with_the_model(study: Path, tmp_path: Path) -> None:
    made = hmopt.publish(study, tmp_path / "published", data_license="cc0-1.0")
    assert (made.folder / "network.py").read_bytes() == (study / "network.py").read_bytes()
    (trusted,) = [remark for remark in made.remarks if "network.py" in remark]
    assert "--trust-code" in trusted
    with pytest.raises(CheckpointError, match=r"network\.py"):
        hmopt.load_model(made.folder)
    ours = hmopt.load_model(study / "model.safetensors", trust_code=True)
    theirs = hmopt.load_model(made.folder, trust_code=True)
    assert theirs.identity == ours.identity
    images = sorted((study / "data" / "images").glob("*"))[:2]
    with pytest.raises(CheckpointError, match="needs no code of its own"):
        hmopt.register(made.folder, *images, setting=SETTING)
    with pytest.raises(CheckpointError, match="needs no code of its own"):
        hmopt.bake(made.folder, format="torch", output=tmp_path / "b.pt", setting=SETTING)
    moved = hmopt.register(made.folder, *images, setting=SETTING, trust_code=True)
    expected = hmopt.register(study, *images, setting=SETTING)
    np.testing.assert_array_equal(moved.moved_image.get_fdata(), expected.moved_image.get_fdata())


def test_a_study_says_whether_code_of_its_model_is_trusted(study: Path, tmp_path: Path) -> None:
    declaration = (study / "study.toml").read_text()
    other = tmp_path / "other"
    shutil.copytree(study / "data", other / "data")
    trusting = f"{declaration}\n[model]\nsource = 'study'\npath = {str(study)!r}\n"
    (other / "study.toml").write_text(trusting + "trust_code = true\n")
    hmopt.open_oracle(other)
    (other / "study.toml").write_text(trusting)
    with pytest.raises(CheckpointError, match="trust_code = true"):
        hmopt.open_oracle(other)
    (other / "study.toml").write_text(f"{declaration}\n[model]\ntrust_code = true\n")
    with pytest.raises(DeclarationError, match="expected no trust_code"):
        read_study(other)


def options_of(folder: Path, text: str, **values: Any) -> NetworkOptions:
    (folder / "mine.py").write_text("import torch\nfrom torch import nn\n" + text)
    options = NetworkOptions(callable="mine.py:make", **values)
    return options.model_copy(update={"folder": folder})


MODULE = """
class Net(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.extra = {extra}
    def forward(self, moving, fixed):
        field = self.conv(torch.cat([moving, fixed], 1))
        return {returned}
def make(shape):
    return Net(len(shape))
"""

WRONG = {
    "no file": None,
    "SyntaxError": "def make(shape:",
    "AttributeError": "def other(shape): pass",
    "TypeError": "def make(shape, channels): pass",
    "NoneType": "def make(shape): pass",
    "ValueError": "def make(shape): raise ValueError('many\\nlines')",
    "SystemExit": "raise SystemExit",
    "SystemExit: 0": "def make(shape): raise SystemExit(0)",
    "not a callable": "make = 3",
    "takes nothing": "def make(): return nn.Conv2d(2, 2, 3)",
    "BatchNorm": MODULE.format(extra="nn.BatchNorm2d(2)", returned="self.extra(field)"),
    "extra.weight, which does not": MODULE.format(extra="nn.Linear(2, 2)", returned="field"),
    "float64": MODULE.format(extra="nn.Linear(2, 2).double()", returned="field"),
    "requires_grad = False": MODULE.format(
        extra="nn.Linear(2, 2).requires_grad_(False)", returned="field"
    ),
    "shape": MODULE.format(extra="None", returned="field[:, :1]"),
    "tuple": MODULE.format(extra="None", returned="(field, field)"),
    "stride": MODULE.format(extra="None", returned="field[..., ::2, ::2]"),
    "RuntimeError": MODULE.format(extra="None", returned="field @ torch.zeros(5, 5)"),
    "finite": MODULE.format(extra="None", returned="field / 0"),
    "run": MODULE.format(extra="nn.LazyLinear(2)", returned="field"),
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_be_trained_is_refused_before_any_work(word: str, tmp_path: Path) -> None:
    text = WRONG[word]
    options = options_of(tmp_path, text or "")
    if text is None:
        (tmp_path / "mine.py").unlink()
    with pytest.raises(DeclarationError) as caught:
        check_network(options, (16, 16))
    line = str(caught.value)
    assert "network.callable" in line
    assert "\n" not in line
    assert word in line


def test_a_network_that_can_be_trained_passes(tmp_path: Path) -> None:
    text = MODULE.format(extra="None", returned="field")
    before = torch.random.get_rng_state()
    check_network(options_of(tmp_path, text), (16, 16))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_made_for_one_grid_says_so_on_another(tmp_path: Path) -> None:
    text = """
class Net(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.field = nn.Parameter(torch.zeros(2, *shape))
    def forward(self, moving, fixed):
        return self.field * (moving + fixed)
def make(shape):
    return Net(shape)
"""
    network = make_registration(options_of(tmp_path, text), (16, 16))
    image = torch.zeros(1, 1, 16, 16)
    assert network(image, image).shape == (1, 2, 16, 16)
    other = torch.zeros(1, 1, 24, 16)
    with pytest.raises(DataError, match="16 x 16, for which"):
        network(other, other)


def test_a_package_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MODULE.format(extra="None", returned="field")
    (tmp_path / "my_networks.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.nn import Linear as Borrowed\n" + text
    )
    monkeypatch.syspath_prepend(tmp_path)
    check_network(NetworkOptions(callable="my_networks:make"), (16, 16))
    with pytest.raises(DeclarationError, match="defined elsewhere"):
        check_network(NetworkOptions(callable="my_networks:Borrowed"), (16, 16))


@pytest.mark.parametrize(
    "values",
    [
        {"callable": "network.py"},
        {"callable": "../network.py:make"},
        {"callable": "/tmp/network.py:make"},
        {"callable": "network.py:make", "encoder": [4, 4]},
        {"options": {"channels": 3}},
        {"callable": "network.py:make", "options": {"channels": None}},
    ],
)
def test_declarations_that_contradict_themselves_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises((HmoptError, ValueError)):
        NetworkOptions(**values)


def test_the_declaration_of_a_unet_is_hashed_as_before() -> None:
    assert list(NetworkOptions().model_dump()) == [
        "encoder",
        "decoder",
        "final",
        "stride",
        "integration_steps",
    ]


def test_the_header_cannot_name_a_function_of_pythons_library(tmp_path: Path) -> None:
    content = file_hash(Path(json.__file__))
    for declared in (None, content):
        options = NetworkOptions(callable="json:loads", content=declared)
        with pytest.raises(CheckpointError):
            located(options, tmp_path / "model.safetensors")


def test_voxelmorphs_network_is_trained(tmp_path: Path) -> None:
    """VxmPairwise keeps its last velocity, which torch would not copy."""
    models = pytest.importorskip("voxelmorph.nn.models")

    class Velocity(nn.Module):
        """VoxelMorph's network, asked for its velocity."""

        def __init__(self) -> None:
            super().__init__()
            self.network = models.VxmPairwise(
                ndim=2, source_channels=1, target_channels=1, nb_features=[4, 4]
            )

        def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
            """Return the velocity."""
            velocity: Tensor = self.network(moving, fixed, return_field_type="velocity")
            return velocity

    conditioned = hmopt.hypernetize(Velocity(), ["regularization"])
    images = torch.from_numpy(IMAGES)[:, None, None]
    velocity = conditioned(images[0], images[1], SETTING)
    velocity.square().sum().backward()
    baked = conditioned.bake(SETTING)
    torch.testing.assert_close(baked(images[0], images[1]), velocity)


@pytest.mark.parametrize(("function", "stride"), [("make_network", 2), ("make_voxelmorph", 1)])
def test_the_networks_of_the_guide_are_trained_and_searched(
    function: str, stride: int, tmp_path: Path
) -> None:
    pytest.importorskip("voxelmorph.nn.models")
    page = Path(__file__).parents[2] / "docs" / "how-to" / "own-network.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    make_cohort(tmp_path / "data", subjects=8, shape=(24, 24))
    (tmp_path / "network.py").write_text(blocks[0] + blocks[1])
    text = DECLARATION.replace("options = {channels = 6}\nstride = 2", f"stride = {stride}")
    (tmp_path / "study.toml").write_text(text.replace(":make_network", f":{function}"))
    hmopt.train(tmp_path, device="cpu")
    hmopt.search(tmp_path, device="cpu")
    measured = hmopt.read_folder(tmp_path)
    assert len(measured.pairs) == 4
    assert np.isfinite(measured.array("dice")).any()
