"""What all commands do with their arguments first: `~` at the beginning of a path is the home folder."""

import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from hmopt.cli.conversation import conversation
from hmopt.errors import DeclarationError
from hmopt.files import given_path


def with_home(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose paths may begin with `~`, which a shell leaves as it is in `--option=~/file`.

    Parameters
    ----------
    command
        Takes its arguments by name, among them `quiet` and `debug`. A path that no file can have is refused in
        one line before it is called.

    Examples
    --------
    >>> def show(folder: Path, quiet: bool, debug: bool) -> None:
    ...     print(folder.is_absolute())
    >>> with_home(show)(folder=Path("~/scans"), quiet=False, debug=False)
    True
    """
    names = _names(command)

    @functools.wraps(command)
    def with_paths(**arguments: Any) -> None:
        with conversation("the same command", quiet=arguments["quiet"], debug=arguments["debug"]):
            for name, value in arguments.items():
                if isinstance(value, Path):
                    arguments[name] = given_path(value, names[name])
                elif isinstance(value, list):
                    arguments[name] = [_given(one, names[name]) for one in value]
        try:
            command(**arguments)
        except SystemExit as error:
            # code of a user would end the process as if the command had succeeded
            with conversation("", quiet=arguments["quiet"], debug=arguments["debug"]):
                raise _ended(error) from error

    return with_paths


def _ended(error: SystemExit) -> DeclarationError:
    return DeclarationError(
        "study.toml",
        expected="plugins, engines and networks that return",
        got=f"one that calls sys.exit({error.code!r})",
        advice="Remove the call from the Python file.",
    )


def _given(value: object, name: str) -> object:
    return given_path(value, name) if isinstance(value, Path) else value


def _names(command: Callable[..., None]) -> dict[str, str]:
    """Return what an error calls each argument: an option as it is written, others as the help shows them."""
    names = {}
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        names[name] = name
        for fact in getattr(hint, "__metadata__", ()):
            if isinstance(fact, OptionInfo):
                # typer keeps the first name in place of a default
                names[name] = str(fact.default)
            elif isinstance(fact, ArgumentInfo) and fact.metavar:
                names[name] = fact.metavar
    return names
