import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hmopt
from hmopt.errors import CheckpointError
from hmopt.networks import (
    HYPERMORPH_FORMAT,
    Hypermorph,
    build_hypermorph,
    load_hypermorph,
    save_hypermorph,
)
from hmopt.networks.separate import load_network, save_network

BUILT_AS: dict[str, Any] = {
    "shape": [16, 16],
    "network": {"encoder": [4, 4], "decoder": [4], "final": []},
    "hypernetwork": {"widths": [8]},
    "hyperparameters": {"regularization": {"low": 0.0, "high": 0.5}},
}


@pytest.fixture
def hypermorph() -> Hypermorph:
    torch.manual_seed(0)
    return build_hypermorph(BUILT_AS)


@pytest.fixture
def path(tmp_path: Path, hypermorph: Hypermorph) -> Path:
    path = tmp_path / "model.safetensors"
    save_hypermorph(
        path,
        hypermorph.hypernetwork.state_dict(),
        {"architecture": BUILT_AS, "labels": ["thalamus"]},
    )
    return path


def refusal(path: Path, expected: dict[str, Any] | None = None) -> str:
    """Return the message with which a file is refused, which is one line."""
    with pytest.raises(CheckpointError) as caught:
        load_hypermorph(path, expected)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def test_what_was_saved_is_loaded_bit_for_bit(path: Path, hypermorph: Hypermorph) -> None:
    loaded, header = load_hypermorph(path, BUILT_AS)
    assert header["architecture"] == BUILT_AS
    assert header["labels"] == ["thalamus"]
    assert loaded.space == hypermorph.space
    images, setting = torch.rand(2, 1, 1, 16, 16), {"regularization": 0.2}
    assert torch.equal(loaded(*images, setting), hypermorph(*images, setting))


def test_a_file_of_another_version_is_loaded_and_keeps_its_version(
    path: Path, hypermorph: Hypermorph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmopt.__version__", "99.0")
    tensors = hypermorph.hypernetwork.state_dict()
    save_hypermorph(path, tensors, {"architecture": BUILT_AS})
    monkeypatch.undo()
    assert hmopt.__version__ != "99.0"
    loaded, header = load_hypermorph(path, BUILT_AS)
    assert header["version"] == "99.0"
    assert torch.equal(loaded.hypernetwork.base, hypermorph.hypernetwork.base)


def test_nothing_is_left_beside_the_file(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "expected a trained model, got no file" in refusal(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("part", "value", "difference"),
    [
        ("shape", [16, 32], "shape: expected [16, 32], got [16, 16]"),
        (
            "network",
            {**BUILT_AS["network"], "encoder": [8, 8]},
            "network.encoder: expected [8, 8], got [4, 4]",
        ),
        (
            "hyperparameters",
            {"regularization": {"low": 0.0, "high": 1.0}},
            "hyperparameters.regularization.high: expected 1.0, got 0.5",
        ),
        (
            "hyperparameters",
            {},
            "hyperparameters.regularization: expected None, got {'low': 0.0, 'high': 0.5}",
        ),
    ],
)
def test_other_architecture_is_refused(
    path: Path, part: str, value: object, difference: str
) -> None:
    assert refusal(path, {**BUILT_AS, part: value}).startswith(f"{path}: {difference}")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_file_cut_short_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "expected a safetensors file" in refusal(path)


def test_file_of_another_kind_is_refused(path: Path) -> None:
    path.write_text("not tensors\n" * 100, encoding="utf-8")
    assert "expected a safetensors file" in refusal(path)


@pytest.mark.parametrize(
    "metadata", [None, {"hmopt": "{}"}, {"hmopt": "[]"}, {"hmopt": '{"format": "other-1"}'}]
)
def test_tensors_of_another_program_are_refused(
    path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"weight": torch.zeros(3)}, path, metadata)
    assert "expected hmopt-hypermorph-1" in refusal(path)


def test_header_that_is_no_json_is_refused(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"hmopt": "{"})
    assert "expected a safetensors file" in refusal(path)


def write(path: Path, tensors: dict[str, torch.Tensor], built_as: object) -> None:
    save_file(
        tensors,
        path,
        {"hmopt": json.dumps({"format": "hmopt-hypermorph-1", "architecture": built_as})},
    )


def test_weights_that_do_not_fit_their_architecture_are_refused(path: Path) -> None:
    tensors = load_file(path)
    wider = copy.deepcopy(BUILT_AS)
    wider["network"]["encoder"] = [4, 8]
    for others, built_as in [
        (tensors, wider),
        ({name: tensor for name, tensor in tensors.items() if name != "base"}, BUILT_AS),
        ({**tensors, "surplus": torch.zeros(2)}, BUILT_AS),
    ]:
        write(path, others, built_as)
        assert "expected weights of its own architecture" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [15, 16]},
        {"network": {"depth": 3}},
        {"hyperparameters": {"regularization": {"max": 1}}},
        {"hyperparameters": {"regularization": {"low": -1.0}}},
        {"hyperparameters": {"regularization": {"low": True}}},
    ],
)
def test_architecture_that_cannot_be_built_is_refused(path: Path, change: dict[str, Any]) -> None:
    write(path, load_file(path), {**BUILT_AS, **change})
    assert "expected weights of its own architecture" in refusal(path)


def test_architecture_that_is_missing_is_refused(path: Path) -> None:
    write(path, load_file(path), {})
    assert "expected weights of its own architecture" in refusal(path)


def test_a_network_of_one_setting_without_its_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_network(path, {"weight": torch.zeros(3)}, {"setting": {"regularization": 0.5}})
    with pytest.raises(CheckpointError, match=r"expected the header .*, got no architecture\."):
        load_network(path)


def test_a_format_without_letters_is_shown(path: Path) -> None:
    save_file(load_file(path), path, {"hmopt": '{"format": ""}'})
    assert "expected hmopt-hypermorph-1, got ''. Use a model" in refusal(path)


def test_every_flipped_bit_is_seen(path: Path, hypermorph: Hypermorph) -> None:
    whole = path.read_bytes()
    refused = 0
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 300).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            loaded, _ = load_hypermorph(path)
        except CheckpointError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        else:  # a bit of the name of the hash: the weights are those that were written
            weights = loaded.hypernetwork.state_dict()
            assert all(
                torch.equal(weights[name], one)
                for name, one in hypermorph.hypernetwork.state_dict().items()
            )
    assert refused > 290


def spoiled(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Write a file as an earlier version did, without a hash, with its first tensor changed."""
    tensors = load_file(path)
    name = min(tensors)
    write(path, {**tensors, name: change(tensors[name])}, BUILT_AS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_weights_that_no_training_makes_are_refused(value: float, path: Path) -> None:
    def with_one(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[0] = value
        return changed

    spoiled(path, with_one)
    assert "expected the weights that were trained" in refusal(path)


@pytest.mark.parametrize("kind", [torch.float64, torch.int32, torch.float16])
def test_weights_of_another_type_are_refused(kind: torch.dtype, path: Path) -> None:
    spoiled(path, lambda tensor: tensor.to(kind))
    assert "expected the weights that were trained" in refusal(path)


def test_weights_without_a_hash_are_read(path: Path, hypermorph: Hypermorph) -> None:
    spoiled(path, torch.clone)
    loaded, _ = load_hypermorph(path, BUILT_AS)
    assert torch.equal(
        loaded.hypernetwork.state_dict()["base"], hypermorph.hypernetwork.state_dict()["base"]
    )


@pytest.mark.parametrize("value", [[], -1, "x", None])
@pytest.mark.parametrize(
    "key", ["architecture", "cohort", "labels", "loss", "preprocessing", "steps", "minutes"]
)
def test_a_header_that_training_does_not_write_is_refused(
    key: str, value: object, path: Path
) -> None:
    if (key, value) in (("labels", []), ("cohort", "x")):
        return
    tensors = load_file(path)
    header = {"format": "hmopt-hypermorph-1", "architecture": BUILT_AS, key: value}
    save_file(tensors, path, {"hmopt": json.dumps(header)})
    assert f"expected the header of a trained model, got {key}" in refusal(path)


def test_a_network_for_another_grid_than_that_of_its_preprocessing_is_refused(path: Path) -> None:
    header = {
        "format": "hmopt-hypermorph-1",
        "architecture": BUILT_AS,
        "preprocessing": {"shape": [2048, 2048]},
    }
    save_file(load_file(path), path, {"hmopt": json.dumps(header)})
    assert "preprocessing.shape [2048, 2048] beside a network for [16, 16]" in refusal(path)


def test_hyperparameters_keep_the_order_of_the_inputs(tmp_path: Path) -> None:
    """In alphabetic order, values of λ would be taken for γ once a model is loaded."""
    path = tmp_path / "model.safetensors"
    built_as = {**BUILT_AS, "hyperparameters": {"regularization": {}, "label_weight": {}}}
    trained = build_hypermorph(built_as)
    for weight in trained.hypernetwork.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    save_hypermorph(path, trained.hypernetwork.state_dict(), {"architecture": built_as})
    loaded, _ = load_hypermorph(path)
    assert loaded.space.names == ("regularization", "label_weight")
    image = torch.rand(1, 1, 16, 16)
    setting = {"regularization": 0.1, "label_weight": 0.9}
    assert torch.equal(loaded(image, image.mT, setting), trained(image, image.mT, setting))
    turned = {**built_as, "hyperparameters": {"label_weight": {}, "regularization": {}}}
    assert "order of hyperparameters: expected label_weight, regularization" in refusal(
        path, turned
    )


def test_a_file_whose_header_was_sorted_is_read_in_the_order_of_its_declaration(
    tmp_path: Path,
) -> None:
    """As earlier versions wrote it, λ and γ declared in this order."""
    path = tmp_path / "model.safetensors"
    built_as = {**BUILT_AS, "hyperparameters": {"label_weight": {}, "regularization": {}}}
    tensors = build_hypermorph(built_as).hypernetwork.state_dict()
    header = {"architecture": built_as, "format": HYPERMORPH_FORMAT, "version": "0.1.0"}
    save_file(tensors, path, {"hmopt": json.dumps(header, sort_keys=True)})
    loaded, _ = load_hypermorph(path)
    assert loaded.space.names == ("regularization", "label_weight")
    declared = {**built_as, "hyperparameters": {"regularization": {}, "label_weight": {}}}
    assert load_hypermorph(path, declared)[0].space.names == ("regularization", "label_weight")
