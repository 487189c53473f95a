import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.errors import CheckpointError, DataError, DeclarationError, HmoptError
from hmopt.tuner import make_tuner, tune


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the server be ended by Ctrl-C as soon as it runs; return where it listened."""
    hosts: list[str] = []

    def run(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        hosts.extend(one.getsockname()[0] for one in sockets)
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return hosts


def test_it_listens_on_this_machine_alone_and_tells_the_address(
    searched: Path, interrupted: list[str]
) -> None:
    said: list[str] = []
    closed = hmopt.tune(searched, browser=False, say=said.append)
    assert interrupted == ["127.0.0.1"]
    assert closed.setting_file is None
    (line,) = said
    url = line.split()[1]
    token = url.rstrip("/").rsplit("/", 1)[1]
    assert url.startswith("http://127.0.0.1:")
    assert len(token) >= 32


def test_the_command_ends_well_with_ctrl_c(searched: Path, interrupted: list[str]) -> None:
    done = CliRunner().invoke(app, ["tune", str(searched), "--no-browser"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Open http://127.0.0.1:")
    assert "Closed. No setting was kept." in done.output


def test_the_browser_gets_no_token_on_its_command_line(
    searched: Path, interrupted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    said: list[str] = []
    tune(searched, say=said.append)
    token = said[0].split()[1].rstrip("/").rsplit("/", 1)[1]
    assert [address.startswith("file:") for address in opened] == [True]
    assert token not in opened[0]


def test_a_port_that_is_taken_is_refused(searched: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HmoptError, match=f"--port: expected a port that is free.*got {port}"):
            tune(searched, port=port, browser=False)


def test_one_image_alone_is_refused(searched: Path, tiny_study: Any) -> None:
    with pytest.raises(DeclarationError, match="MOVING, FIXED: expected both images"):
        make_tuner(searched, tiny_study.image(1))
    with pytest.raises(DeclarationError, match="MOVING, FIXED: expected both images"):
        make_tuner(searched, fixed_labels=tiny_study.image(1))


def test_a_placement_without_images_is_refused(searched: Path) -> None:
    with pytest.raises(DeclarationError, match="--placement: expected two images with it"):
        make_tuner(searched, placement="centre")


def test_a_file_that_is_not_there_is_refused(searched: Path, tiny_study: Any) -> None:
    with pytest.raises(DataError, match="FIXED: expected a file"):
        make_tuner(searched, tiny_study.image(1), "nowhere.nii.gz")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        make_tuner(tmp_path)


def test_a_search_that_is_of_another_model_hides_its_curves_alone(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(searched, folder)
    declaration = folder / "study.toml"
    text = declaration.read_text(encoding="utf-8")
    declaration.write_text(text.replace("search = 20", "search = 19"), encoding="utf-8")
    tuner = make_tuner(folder)
    tuner.close()
    findings = tuner.facts()["findings"]
    assert findings["curves"] == []
    assert "hmopt search" in findings["remark"]


def test_without_its_packages_it_says_how_to_install_them(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(HmoptError, match=r"pip install 'hmopt\[tuner\]'"):
        tune(searched)
