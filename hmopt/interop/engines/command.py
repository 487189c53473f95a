"""Engines that are programs: a command that reads two NIfTI files and writes a transform."""

import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.errors import DataError, DeclarationError
from hmopt.files import file_hash, one_line
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.outputs import read_displacement

FIELD = "model.command"
OUTPUT = "displacement.nii.gz"
"""Name of the file that `{output}` stands for."""
PLACES = ("moving", "fixed", "folder", "output", "python", "threads")
"""Placeholders of a command beside the hyperparameters."""
_TAIL = 4000
"""Bytes of what a program prints that are kept, for a message."""


def check_command(command: str, outputs: Sequence[str], values: Mapping[str, Any]) -> None:
    """Refuse a command that cannot be run, before anything is measured.

    Parameters
    ----------
    command
        The template.
    outputs
        Patterns of the files that it writes.
    values
        A value for every hyperparameter and option, to try the format specifications on.

    Raises
    ------
    DeclarationError
        If quotes or braces do not match, a placeholder is unknown, or both images are not named.

    Examples
    --------
    >>> check_command("demons {moving} {fixed} -o {output} -s {sigma}", [], {"smoothing": 1.0})
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: model.command: expected placeholders among moving, fixed, ...
    """
    known = [*PLACES, *values]
    used: set[str] = set()
    for field, template in [(FIELD, command), *(("model.outputs", text) for text in outputs)]:
        names = _placeholders(field, template)
        unknown = [name for name in names if name not in known]
        if unknown:
            expected = f"placeholders among {', '.join(known)}"
            got = ", ".join(f"{{{name}}}" for name in unknown)
            advice = "Correct the name; a brace itself is written twice."
            raise DeclarationError(field, expected=expected, got=got, advice=advice)
        used.update(names)
    missing = [name for name in ("moving", "fixed") if name not in used]
    if missing:
        raise DeclarationError(
            FIELD,
            expected="the placeholders {moving} and {fixed}",
            got=f"none for {' and '.join(missing)}",
            advice="Name both images.",
        )
    if not outputs and "output" not in used and "folder" not in used:
        raise DeclarationError(
            FIELD,
            expected="the placeholder {output} or {folder}",
            got="neither",
            advice="Tell the program where to write.",
        )
    places = {name: name for name in PLACES} | {"threads": 1}
    filled(split(command), {**values, **places})


def _placeholders(field: str, template: str) -> list[str]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DeclarationError(
            field, expected="matching braces", got=one_line(error), advice="Correct the template."
        ) from error
    return [name for _text, name, _spec, _conversion in parsed if name is not None]


def split(command: str) -> list[str]:
    """Return the arguments of a command, as a shell splits it.

    Raises
    ------
    DeclarationError
        If a quotation does not end, or there are no arguments.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise DeclarationError(
            FIELD, expected="matching quotes", got=one_line(error), advice="Correct the command."
        ) from error
    if not arguments:
        raise DeclarationError(FIELD, expected="a program", got="nothing", advice="Name one.")
    return arguments


def filled(templates: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return templates with values for their placeholders.

    Raises
    ------
    DeclarationError
        If a value cannot be written as its placeholder asks.

    Examples
    --------
    >>> filled(["--step", "{step:.2f}", "{bins:d}"], {"step": 0.25, "bins": 32})
    ['--step', '0.25', '32']
    """
    texts = []
    for template in templates:
        try:
            texts.append(template.format_map(values))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise DeclarationError(
                FIELD,
                expected="format specifications that fit the values",
                got=f"{template!r} ({one_line(error)})",
                advice="Correct the template.",
            ) from error
    return texts


def check_program(command: str, folder: Path) -> None:
    """Refuse a command whose program is not there.

    Raises
    ------
    DeclarationError
        If it is neither on the path nor a file that can be run.
    """
    program = split(command)[0]
    if program == "{python}":
        return
    is_path = os.sep in program
    found = shutil.which(str(folder / program)) if is_path else shutil.which(program)
    if found is None:
        raise DeclarationError(
            FIELD,
            expected="a program that is installed",
            got=repr(program),
            advice="Install it, or give its path.",
        )


def content_of(command: str, folder: Path) -> dict[str, str]:
    """Return hashes of the files of the study folder that a command names, as its script or `--config=FILE`."""
    program, *arguments = split(command)
    # a program without a folder is looked up on the path
    named = [program] if os.sep in program else []
    for argument in arguments:
        _, _, value = argument.partition("=")
        named += [argument, value]
    hashes = {}
    for name in named:
        path = folder / name
        if name and path.is_file():
            hashes[name] = file_hash(path)
    return hashes


class CommandEngine:
    """Runs a command for each pair, in a folder of its own that is removed afterwards.

    Parameters
    ----------
    command
        The template; it is not given to a shell.
    outputs
        Patterns of the files that it writes, relative to `{folder}`; none: `{output}`.
    folder
        The study folder, which the command runs in.
    grid
        The grid of the two images.
    threads
        What `{threads}` stands for.
    """

    def __init__(
        self, command: str, outputs: Sequence[str], folder: Path, grid: Grid, threads: int
    ) -> None:
        self._arguments = split(command)
        self._outputs = tuple(outputs) or ("{output}",)
        self._folder = folder
        self._grid = grid
        self._threads = threads

    def register(
        self,
        moving: NDArray[np.float32],
        fixed: NDArray[np.float32],
        values: Mapping[str, Any],
    ) -> tuple[NDArray[np.float32], float]:
        """Return the displacement (d, *shape), in voxels, and the seconds that the program ran.

        Raises
        ------
        EngineFailure
            If the program fails, or writes nothing that can be read.
        """
        with tempfile.TemporaryDirectory(prefix="hmopt-engine-") as name:
            folder = Path(name)
            places = {
                "moving": folder / "moving.nii",
                "fixed": folder / "fixed.nii",
                "folder": folder,
                "output": folder / OUTPUT,
                "python": sys.executable,
                "threads": self._threads,
            }
            self._grid.save(moving, folder / "moving.nii")
            self._grid.save(fixed, folder / "fixed.nii")
            given = {**values, **places}
            seconds, said = self._run(filled(self._arguments, given))
            paths = [_output(text, folder, said) for text in filled(self._outputs, given)]
            try:
                return read_displacement(paths, self._grid), seconds
            except DataError as error:
                raise EngineFailure(str(error)) from error

    def _run(self, arguments: Sequence[str]) -> tuple[float, str]:
        """Run the program; return the seconds, and the end of what it printed."""
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                arguments,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise EngineFailure(f"{arguments[0]}: {one_line(error)}") from error
        assert process.stdout is not None
        tail = b""
        with process.stdout as stream:
            while chunk := stream.read(1 << 16):
                tail = (tail + chunk)[-_TAIL:]
        status = process.wait()
        seconds = time.perf_counter() - began
        said = last_line(tail)
        if status:
            raise EngineFailure(f"{told_status(status)}{said}")
        return seconds, said


def _output(text: str, folder: Path, said: str) -> Path:
    """Return the file of a pattern; of several the last one by name."""
    path = folder / text
    found = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
    if not found:
        name = text.removeprefix(f"{folder}/")
        raise EngineFailure(f"none{said}", expected=f"a file {name}")
    return found[-1]


def told_status(status: int) -> str:
    """Return how a process ended, in words.

    Examples
    --------
    >>> told_status(3), told_status(-11), told_status(-9)
    ('exit status 3', 'a crash (SIGSEGV)', 'killed (SIGKILL), as the system does when memory runs out')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return f"killed ({name}), as the system does when memory runs out"
    return f"a crash ({name})"


def last_line(output: bytes) -> str:
    r"""Return the last line that a program printed, as the end of a message.

    Examples
    --------
    >>> last_line(b"reading\nno such option\n"), last_line(b"")
    (': no such option', '')
    """
    lines = output.decode(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""
