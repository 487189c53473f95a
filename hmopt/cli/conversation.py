"""What all commands share in talking with a person: progress, one line for an error, how to resume."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import typer
from rich.console import Console

from hmopt.cli.progress import tracker
from hmopt.errors import HmoptError, of_system
from hmopt.progress import Track
from hmopt.stopping import Terminated, terminable

INPUT_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143
"""Exit codes; those of a shell for Ctrl-C and SIGTERM."""
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Where a command prints.

    Parameters
    ----------
    track
        Shows the progress of long work.
    quiet
        Whether nothing is printed but errors.
    """

    track: Track
    quiet: bool

    def say(self, message: object) -> None:
        """Print a line, or a record as its lines, on stdout."""
        if not self.quiet:
            typer.echo(str(message))


@contextmanager
def conversation(command: str, *, quiet: bool, debug: bool) -> Iterator[Conversation]:
    """Yield a command's conversation; an error that a user can mend becomes one line on stderr and exit code 2.

    Parameters
    ----------
    command
        What resumes the work after Ctrl-C or SIGTERM.
    quiet
        Print nothing but errors.
    debug
        Raise errors with their traceback.

    Examples
    --------
    >>> with conversation("hmopt train brains", quiet=False, debug=False) as talk:
    ...     talk.say("Trained.")
    Trained.
    """
    try:
        with terminable(), warnings.catch_warnings():
            _show_warnings(debug)
            yield Conversation(track=tracker(Console(stderr=True), quiet=quiet), quiet=quiet)
    except KeyboardInterrupt as stop:
        is_terminated = isinstance(stop, Terminated)
        word = "Terminated" if is_terminated else "Interrupted"
        typer.echo(f"\n{word}. Finished work is kept. Rerun to resume: {command}", err=True)
        raise typer.Exit(TERMINATED if is_terminated else INTERRUPTED) from None
    except (HmoptError, OSError) as error:
        if debug:
            raise
        shown = of_system(error) if isinstance(error, OSError) else error
        typer.echo(" ".join(str(shown).split()), err=True)
        raise typer.Exit(INPUT_ERROR) from None


def _show_warnings(debug: bool) -> None:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if debug:
            typer.echo(f"warning: {filename}:{lineno}: {message}", err=True)
        elif PACKAGE in Path(filename).parents:
            typer.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
