"""What records of the catalogue share: name, title, version, and the function that computes."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from hmopt.catalogue.references import Reference
from hmopt.errors import DeclarationError


@dataclass(frozen=True, kw_only=True)
class Named:
    """Something that can be declared by its name.

    Parameters
    ----------
    name
        What `study.toml` calls it.
    title
        What text and plots call it.
    version
        Raised whenever the same name begins to mean other numbers.
    references
        What a paper cites that used it.
    """

    name: str
    title: str
    version: int = 1
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record(Named):
    """Something that can be declared by its name, and a function that computes it.

    Parameters
    ----------
    name, title, version, references
        As in `Named`.
    function
        What computes it: a function, or its dotted path, as `"hmopt.metrics.overlap:dice"`, which
        is imported when it is first used. Its arguments are taken by name from what is at hand, as
        pytest does with fixtures; the kinds of records say what that is. An argument of another
        name needs a default.
    """

    function: str | Callable[..., Any]

    def load(self) -> Callable[..., Any]:
        """Return the function.

        Raises
        ------
        DeclarationError
            If the dotted path leads to none.

        Examples
        --------
        >>> Record(name="root", title="root", function="math:sqrt").load()(9.0)
        3.0
        """
        return _import_function(self.function) if isinstance(self.function, str) else self.function

    def compute(self, given: object, values: Mapping[str, Any] | None = None) -> Any:
        """Call the function with attributes of an object, those that its arguments are named after.

        Parameters
        ----------
        given
            Has an attribute for each argument without a default.
        values
            Further values by name, for arguments that are named after no attribute.

        Raises
        ------
        DeclarationError
            If an argument without a default is neither.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> area = lambda width, height=2: width * height
        >>> record = Record(name="area", title="area", function=area)
        >>> record.compute(SimpleNamespace(width=3))
        6
        >>> record.compute(SimpleNamespace(width=3, height=5))
        15
        >>> record.compute(SimpleNamespace(width=3), {"height": 4})
        12
        """
        function = self.load()
        further = values or {}
        arguments = {}
        for parameter in _parameters(function):
            # asked of the class, since looking at a property would compute it
            is_known = hasattr(type(given), parameter.name) or parameter.name in vars(given)
            if is_known:
                arguments[parameter.name] = getattr(given, parameter.name)
            elif parameter.name in further:
                arguments[parameter.name] = further[parameter.name]
            elif parameter.default is parameter.empty:
                raise DeclarationError(
                    self.name,
                    expected=f"a function of attributes of {type(given).__name__}",
                    got=f"one with an argument {parameter.name}",
                    advice="Rename the argument, or give it a default.",
                )
        return function(**arguments)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the function's arguments."""
        return tuple(parameter.name for parameter in _parameters(self.load()))


R = TypeVar("R", bound=Named)


def find(records: Mapping[str, R], name: str, kind: str) -> R:
    """Return the record of a name.

    Parameters
    ----------
    records
        Those of one kind, by name.
    name
        The name.
    kind
        What an error calls it.

    Raises
    ------
    DeclarationError
        If there is no record of that name; it lists those there are.
    """
    if name not in records:
        known = ", ".join(records)
        raise DeclarationError(
            kind, expected=f"one of {known}", got=repr(name), advice="Correct the name."
        )
    return records[name]


def add(records: dict[str, R], record: R, kind: str) -> None:
    """Add a record to those of its kind.

    Raises
    ------
    DeclarationError
        If its name is taken.
    """
    if record.name in records:
        raise DeclarationError(
            kind,
            expected="a new name",
            got=f"{record.name!r}, which there is already",
            advice="Choose another name.",
        )
    records[record.name] = record


@lru_cache(maxsize=256)
def _import_function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DeclarationError(
            "function",
            expected="a dotted path as package.module:function",
            got=f"{path!r} ({error})",
            advice="Correct the path.",
        ) from error
    return function


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())
