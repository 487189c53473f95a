"""`hmopt.tune`: a page with a slider for each hyperparameter of a trained model."""

import os
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmopt.errors import DataError, DeclarationError, HmoptError
from hmopt.files import one_line
from hmopt.interop.registration import Registrar
from hmopt.oracle import open_registrar
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.tuner.curves import SearchFindings, read_findings
from hmopt.tuner.pairs import PairSource, pairs_of_files, search_pairs
from hmopt.tuner.session import Tuner
from hmopt.workflow.machine import find_device, keep_freed_memory
from hmopt.workflow.register import iterations_of, placement_of

ADDRESS = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What is left of a page that was closed.

    Parameters
    ----------
    setting_file
        The file of the chosen setting; None where none was chosen.
    """

    setting_file: Path | None

    def __str__(self) -> str:
        """Return a line for a person."""
        if self.setting_file is None:
            return "Closed. No setting was kept."
        return f"Closed. Setting: {self.setting_file}"


def tune(
    folder: Path | str,
    moving: Path | str | None = None,
    fixed: Path | str | None = None,
    *,
    moving_labels: Path | str | None = None,
    fixed_labels: Path | str | None = None,
    setting: Path | str | None = None,
    placement: str | None = None,
    trust_code: bool = False,
    refine: int | None = None,
    port: int = 0,
    browser: bool = True,
    device: str | None = None,
    track: Track = silent,
    say: Callable[[str], object] = print,
) -> Tuned:
    """Show a pair registered at any setting on a page, until it is interrupted.

    The page is for this machine alone. It shows moving, fixed and moved image, outlines of labels, deformation and
    folding, a slider for each hyperparameter, the response curves of a search and its best settings; a button keeps a
    setting in a file that `hmopt.register` takes.

    Parameters
    ----------
    folder
        The study folder, with a trained model, or a folder that `hmopt publish` made.
    moving, fixed
        Two images, anything that nibabel reads; None: pairs of the subjects to search on.
    moving_labels, fixed_labels
        Label maps of these two, whose outlines are shown; None: none.
    setting
        Where a chosen setting goes; None: `setting.toml` in the folder.
    placement
        How the two images are laid on the model's grid: `header`, `centre` or `affine`; None: as in training.
    trust_code
        Run the Python file that makes the network of a folder without `study.toml`, where it has a network of its own.
    refine
        Iterations that lower the loss of the pair from where the model starts it; None: as many as the study
        declares, 0: none.
    port
        Of the page; 0: one that is free.
    browser
        Whether the page is opened in the browser.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.
    track
        Shows progress.
    say
        Is told the address.

    Returns
    -------
    Tuned
        Where the chosen setting is.

    Raises
    ------
    CheckpointError
        If there is no trained model.
    DataError
        If an image cannot be used, or no pair is named and the cohort is not there.
    HmoptError
        If FastAPI and uvicorn are not installed, or the setting would overwrite an input.

    Examples
    --------
    >>> import hmopt
    >>> hmopt.tune("studies/mine")  # doctest: +SKIP
    Open http://127.0.0.1:40123/... End with Ctrl-C.
    """
    run = _server_of_page()
    tuner = make_tuner(
        folder,
        moving,
        fixed,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        setting=setting,
        placement=placement,
        trust_code=trust_code,
        refine=refine,
        device=device,
        track=track,
    )
    try:
        with _bound(port) as listening:
            run(tuner, listening, browser, say)
    finally:
        tuner.close()
    return Tuned(setting_file=tuner.kept_file)


def make_tuner(
    folder: Path | str,
    moving: Path | str | None = None,
    fixed: Path | str | None = None,
    *,
    moving_labels: Path | str | None = None,
    fixed_labels: Path | str | None = None,
    setting: Path | str | None = None,
    placement: str | None = None,
    trust_code: bool = False,
    refine: int | None = None,
    device: str | None = None,
    track: Track = silent,
) -> Tuner:
    """Return what stands behind the page; parameters and errors as of `tune`."""
    keep_freed_memory()
    paths = {
        "MOVING": moving,
        "FIXED": fixed,
        "--moving-labels": moving_labels,
        "--fixed-labels": fixed_labels,
    }
    given = {name: Path(path) for name, path in paths.items() if path is not None}
    _check_inputs(given)
    if placement is not None and not given:
        raise DeclarationError(
            "--placement",
            expected="two images with it, as those of the cohort are prepared already",
            got="none",
            advice="Name the images, or leave it out.",
        )
    files = StudyFolder(folder)
    registrar = open_registrar(
        files,
        find_device(device),
        placement_of(placement),
        trust_code=trust_code,
        iterations=iterations_of(refine),
    )
    source = _pairs(files, registrar, given, track)
    own_files = [
        files.declaration_file,
        files.search_file,
        files.pairs_file,
        files.model_file(),
        files.training_file,
    ]
    inputs = given | {path.name: path for path in own_files}
    return Tuner(
        registrar,
        source,
        _findings(files),
        folder=files.path,
        setting_file=files.setting_file if setting is None else Path(setting),
        name=files.path.resolve().name if files.declaration is None else files.declaration.name,
        inputs=inputs,
    )


def _check_inputs(given: dict[str, Path]) -> None:
    """Refuse one image without the other, label maps without images, and files that are not there."""
    images = {"MOVING", "FIXED"} & set(given)
    if given and len(images) < 2:
        raise DeclarationError(
            "MOVING, FIXED",
            expected="both images, or neither",
            got=", ".join(given),
            advice="Name both after the folder, or leave all out to see pairs of the study.",
        )
    for name, path in given.items():
        if not path.is_file():
            raise DataError(name, expected="a file", got=str(path), advice="Correct the path.")


def _pairs(
    files: StudyFolder, registrar: Registrar, given: dict[str, Path], track: Track
) -> PairSource:
    if not given:
        return search_pairs(files, track)
    return pairs_of_files(
        files,
        registrar,
        given["MOVING"],
        given["FIXED"],
        given.get("--moving-labels"),
        given.get("--fixed-labels"),
    )


def _findings(files: StudyFolder) -> SearchFindings:
    """Return what a search found; why nothing is shown where it does not belong to the model."""
    try:
        return read_findings(files)
    except HmoptError as error:
        return SearchFindings(remark=one_line(error))


def _server_of_page() -> Callable[[Tuner, socket.socket, bool, Callable[[str], object]], None]:
    """Return what serves the page, or refuse where its packages are not there."""
    try:
        import fastapi  # noqa: F401, used by the server
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise HmoptError(
            "hmopt tune",
            expected="the packages fastapi and uvicorn",
            got=one_line(error),
            advice="Install them: pip install 'hmopt[tuner]'.",
        ) from error
    return _serve


def _bound(port: int) -> socket.socket:
    """Return a socket that is bound to the port on this machine alone."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.bind((ADDRESS, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise HmoptError(
            "--port",
            expected="a port that is free, 0 for any",
            got=f"{port} ({one_line(error)})",
            advice="Choose another.",
        ) from error
    return listening


def _serve(
    tuner: Tuner, listening: socket.socket, browser: bool, say: Callable[[str], object]
) -> None:
    import uvicorn

    from hmopt.tuner.server import make_app, new_token

    token = new_token()
    port = listening.getsockname()[1]
    url = f"http://{ADDRESS}:{port}/{token}/"
    app = make_app(tuner, token, port)
    config: Any = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    say(f"Open {url} End with Ctrl-C.")
    with tempfile.TemporaryDirectory(prefix="hmopt-tune-") as private:
        if browser and _has_display():
            way = _way_to(url, Path(private))
            # some browsers keep the caller waiting
            threading.Thread(target=webbrowser.open, args=(way,), daemon=True).start()
        # Ctrl-C is how the page is closed
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _way_to(url: str, private: Path) -> str:
    """Return the address of a file that leads on to a URL, and that nobody else can read.

    A program's arguments can be read by all users of a machine, and the URL holds the token.
    """
    page = private / "open.html"
    page.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">', encoding="utf-8"
    )
    return page.as_uri()


def _has_display() -> bool:
    """Tell whether a browser would show a window: one of text would take the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
