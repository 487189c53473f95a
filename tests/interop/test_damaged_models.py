"""Files that are no models get one line: nothing is loaded, executed or written."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort
from hmopt.errors import CheckpointError

Make = Callable[[Path], object]
HYPERMORPH = {
    "shape": [16, 16],
    "network": {"encoder": [4, 4], "decoder": [4], "final": []},
    "hypernetwork": {"widths": [4]},
    "hyperparameters": {"regularization": {}},
}


class Hostile:
    """Would make a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def claiming(path: Path, **changes: Any) -> None:
    """Write a safetensors file whose header claims an architecture."""
    header = {"format": "hmopt-hypermorph-1", "architecture": {**HYPERMORPH, **changes}}
    save_file({"base": np.zeros(3, np.float32)}, path, {"hmopt": json.dumps(header)})


def other_keras_model(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})


def picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.txt", "hello")


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(100_000_000))


WIDE = {"encoder": [4096] * 6, "decoder": [4096] * 5, "final": []}
FILES: dict[str, Make] = {
    "empty.h5": lambda path: path.write_bytes(b""),
    "empty.safetensors": lambda path: path.write_bytes(b""),
    "text.h5": lambda path: path.write_text("no model\n" * 100),
    "picture.pth": picture,
    "archive.pth": other_archive,
    "random.bin": random_bytes,
    "folder": lambda path: path.mkdir(),
    "broken-link.h5": lambda path: path.symlink_to(path.parent / "nowhere"),
    "circular-link.h5": lambda path: path.symlink_to(path),
    "pipe": lambda path: os.mkfifo(path),
    "pickle.pth": lambda path: path.write_bytes(pickle.dumps(Hostile())),
    "archived-pickle.pth": lambda path: torch.save({"weight": Hostile()}, path),
    "other-network.pth": lambda path: torch.save({"weight": torch.zeros(3)}, path),
    "other-keras-model.h5": other_keras_model,
    "plain.safetensors": lambda path: save_file({"a": np.zeros(3)}, path),
    "long-header.safetensors": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{"),
    "missing-tensors.safetensors": claiming,
    "wide.safetensors": lambda path: claiming(path, shape=[1024, 1024], network=WIDE),
    "deep.safetensors": lambda path: claiming(path, hypernetwork={"widths": [8192] * 20}),
    "code.safetensors": lambda path: claiming(path, network={"callable": "os:getcwd"}),
    "no-shape.safetensors": lambda path: claiming(path, shape="wide"),
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort"), subjects=3, shape=(24, 24))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_model_is_refused_in_one_line_everywhere(
    name: str, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    FILES[name](path)
    with pytest.raises(CheckpointError, match=name) as refused:
        hmopt.load_model(path)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 500
    done = CliRunner().invoke(
        app, ["new", "study", "--manifest", str(cohort), "--model", str(path), "--quiet"]
    )
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output
    assert not (tmp_path / "study").exists()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["text.h5", "pickle.pth", "wide.safetensors", "broken-link.h5"])
def test_a_study_that_declares_such_a_file_is_refused_in_one_line(
    name: str, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FILES[name](tmp_path / name)
    declaration = f"""
    name = "of a file"
    [cohort]
    manifest = "{cohort}"
    label_names = "{cohort.parent}/dseg.tsv"
    [preprocessing]
    shape = [24, 24]
    [split]
    train = 0
    tune = 0
    search = 3
    [search]
    scopes = [["cohort"]]
    [model]
    source = "file"
    path = "../{name}"
    """
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.toml").write_text(declaration)
    done = CliRunner().invoke(app, ["search", "study", "--quiet"])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    assert not (tmp_path / "executed").exists()
    assert not (study / "ledger").exists()
    if name in ("text.h5", "broken-link.h5"):  # of no known format: images are not even prepared
        assert not (study / "prepared").exists()


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"weight": torch.rand(10_000)}, whole)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["weight"] = np.zeros(100_000)
    contents = {"cut.pth": whole.getvalue(), "cut.h5": (tmp_path / "whole.h5").read_bytes()}
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(CheckpointError, match=name):
            hmopt.load_model(path)
