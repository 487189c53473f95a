"""A study that was trained and searched, a model in closed form, and pages that a browser can open."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import hmopt
from hmopt.space import Hyperparameter, Setting, Space

if TYPE_CHECKING:
    from hmopt.tuner.pairs import ShownPair
    from hmopt.tuner.session import Tuner

MOST = 4
"""Voxels along the first axis by which `Shift` moves at λ = 1."""


class Shift:
    """A model that moves everything by λ · `MOST` voxels along the first axis."""

    def __init__(self, *hyperparameters: Hyperparameter) -> None:
        others = hyperparameters or (Hyperparameter(name="regularization", step=0.05),)
        self.space = Space(hyperparameters=others)
        self.calls = 0

    def displacement(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Setting
    ) -> NDArray[np.float32]:
        self.calls += 1
        displacement = np.zeros((moving.ndim, *moving.shape), np.float32)
        displacement[0] = MOST * float(setting["regularization"])
        return displacement


@pytest.fixture(scope="package")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was trained and searched."""
    folder = tmp_path_factory.mktemp("tuner") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder)
    return folder


@pytest.fixture
def tuner(searched: Path, tmp_path: Path) -> Iterator["Tuner"]:
    """Return what stands behind the page of that study; a chosen setting goes to the test's own folder."""
    from hmopt.tuner import make_tuner

    made = make_tuner(searched, setting=tmp_path / "setting.toml", device="cpu")
    yield made
    made.close()


MakeTuner = Callable[..., "Tuner"]


@pytest.fixture
def tuner_of_shift(tmp_path: Path) -> Iterator[MakeTuner]:
    """Return what makes the tuner of a `Shift` and some pairs."""
    from hmopt.data.reference import Reference
    from hmopt.declaration import PreprocessingOptions
    from hmopt.interop.preparation import Preparation
    from hmopt.interop.registration import Registrar
    from hmopt.tuner.curves import SearchFindings
    from hmopt.tuner.pairs import FilesOfPair, view_names
    from hmopt.tuner.session import Tuner

    made = []

    def make(
        *pairs: "ShownPair", model: Shift | None = None, findings: SearchFindings | None = None
    ) -> Tuner:
        shape = pairs[0].shape
        preparation = Preparation(
            preprocessing=PreprocessingOptions(shape=list(shape)),
            spacing_mm=None,
            reference=Reference(),
            template=None,
        )
        tuner = Tuner(
            Registrar(model or Shift(), preparation),
            FilesOfPair(pairs, view_names(len(shape), None)),
            findings or SearchFindings(),
            folder=tmp_path,
            setting_file=tmp_path / "setting.toml",
            name="shifted",
        )
        made.append(tuner)
        return tuner

    yield make
    for tuner in made:
        tuner.close()


@pytest.fixture
def serve() -> Iterator[Callable[["Tuner"], str]]:
    """Return what serves a page on this machine, and returns its address."""
    import uvicorn

    from hmopt.tuner.server import make_app, new_token

    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(tuner: "Tuner") -> str:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        port, token = listening.getsockname()[1], new_token()
        config = uvicorn.Config(make_app(tuner, token, port), log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server has ended"
            time.sleep(0.01)
        running.append((server, thread, listening))
        return f"http://127.0.0.1:{port}/{token}/"

    yield start
    for server, thread, listening in running:
        server.should_exit = True
        thread.join()
        listening.close()
