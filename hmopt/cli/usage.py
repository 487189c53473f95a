"""Command lines that cannot be parsed: an error of one line, as all other errors of hmopt."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from hmopt.cli.conversation import INPUT_ERROR
from hmopt.errors import DeclarationError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of all errors of parsing; typer exports only this subclass of it."""

_RULE = re.compile(r"Input should be (?P<rule>.+?)(, unable to .*)?$")
"""Of the messages in which typer passes on what pydantic found."""
_WITHOUT_VALUE = re.compile(r"^Option '(?P<option>\S+)' requires an argument")
_WITH_VALUE = re.compile(r"^Option '(?P<option>\S+)' does not take a value")
_UNEXPECTED = re.compile(r"^Got unexpected extra arguments?(\(s\))? \((?P<value>.+)\)$")
_NO_COMMAND = re.compile(r"^No such command (?P<value>'.*')")


class Commands(TyperGroup):
    """The commands of hmopt; what is wrong with a command line is told in one line, with exit code 2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the name of the command."""
        if not args:  # prints the help
            return super().parse_args(ctx, args)
        with _in_one_line(ctx.command_path, {}):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command by its name."""
        with _in_one_line(ctx.command_path, {}):
            return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command that refuses empty values, and options that are given twice.

    An empty path would be the working directory, and an empty name the default, where
    `--moved "$OUT"` was meant and the variable is not set. Of an option that is given twice the last
    value would be used without a word.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments and options.

        Parameters
        ----------
        ctx
            Of the command line.
        args
            What stands after the name of the command.
        """
        given: dict[str, Any] = {}
        with _in_one_line(ctx.command_path, given):
            raw, _, in_order = self.make_parser(ctx).parse_args(args=list(args))
            given.update(raw)
            for parameter in self.get_params(ctx):
                _check_not_empty(parameter, given)
                _check_once(parameter, in_order)
            return super().parse_args(ctx, args)


def _check_not_empty(parameter: Any, given: dict[str, Any]) -> None:
    value = given.get(parameter.name)
    values = value if isinstance(value, list | tuple) else [value]
    for text in values:
        if isinstance(text, str) and not text.strip():
            error = DeclarationError(
                _name(parameter),
                expected="a value",
                got=repr(text),
                advice="Give a value; a variable of the shell may be unset.",
            )
            _refuse(str(error))


def _check_once(parameter: Any, in_order: Sequence[Any]) -> None:
    if parameter.param_type_name == "argument" or parameter.multiple or parameter.is_flag:
        return
    times = sum(one is parameter for one in in_order)
    if times > 1:
        error = DeclarationError(
            _name(parameter), expected="one value", got=times, advice="Give the option once."
        )
        _refuse(str(error))


@contextmanager
def _in_one_line(command: str, given: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        _refuse(_line(error, command, given))


def _refuse(line: str) -> None:
    typer.echo(" ".join(line.splitlines()), err=True)
    raise typer.Exit(INPUT_ERROR) from None


def _line(error: Any, command: str, given: dict[str, Any]) -> str:
    """Return an error of parsing in one line of the form `field: expected rule, got value. Advice`.

    Of the classes of such errors typer exports one only; which one it is, its attributes and its
    message tell.

    Parameters
    ----------
    error
        Of the class `UsageError`.
    command
        Whose arguments were parsed.
    given
        Values as they were written, by name of the parameter.
    """
    see_help = f"Run {command} --help."
    message = str(error.message)
    parameter = getattr(error, "param", None)
    if parameter is not None:
        return _line_of_value(parameter, message, command, given.get(parameter.name))

    option = getattr(error, "option_name", None)
    if option is not None and message.startswith("No such option"):
        alike = getattr(error, "possibilities", None) or []
        advice = f"Did you mean {' or '.join(sorted(alike))}?" if alike else see_help
        return f"{command}: expected options of this command, got {option}. {advice}"
    without_value = _WITHOUT_VALUE.match(message)
    if without_value is not None:
        return f"{without_value['option']}: expected a value, got none. {see_help}"
    with_value = _WITH_VALUE.match(message)
    if with_value is not None:
        return f"{with_value['option']}: expected no value, got one. {see_help}"
    unexpected = _UNEXPECTED.match(message)
    if unexpected is not None:
        return f"{command}: expected no further argument, got {unexpected['value']}. {see_help}"
    no_command = _NO_COMMAND.match(message)
    if no_command is not None:
        return f"{command}: expected one of its commands, got {no_command['value']}. {see_help}"
    return f"{command}: expected valid use, got {message.rstrip('.')!r}. {see_help}"


def _line_of_value(parameter: Any, message: str, command: str, value: object) -> str:
    """Return the error of an option or an argument that lacks a value, or has an invalid one."""
    see_help = f"Run {command} --help."
    name = _name(parameter)
    if not message:
        return f"{command}: expected the {parameter.param_type_name} {name}, got none. {see_help}"
    found = _RULE.search(message)
    if found is None:
        return f"{name}: expected a valid value, got {value!r} ({message.rstrip('.')}). {see_help}"
    rule = found["rule"]
    if rule.startswith(("greater", "less")):
        rule = f"a number {rule}"
    return str(DeclarationError(name, expected=rule, got=repr(value), advice=see_help))


def _name(parameter: Any) -> str:
    """Return how a person writes an option, or how the help names an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(parameter.opts[0])
