"""The errors that hmopt raises for things a user can mend."""

import copyreg
import errno
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def sides_text(numbers: Iterable[float]) -> str:
    """Return the sides of a grid, or of a voxel, as messages tell them.

    Examples
    --------
    >>> sides_text([48, 64]), sides_text((1.0, 1.0, 2.5))
    ('48 x 64', '1 x 1 x 2.5')
    """
    return " x ".join(f"{number:g}" for number in numbers)


MOST_SHOWN = 400
"""Characters of a value that a message shows."""


def _shortened(text: str) -> str:
    """Return a text whose middle is left out where it is too long for a message.

    Examples
    --------
    >>> len(_shortened("x" * 1000)), _shortened("[1, 2]")
    (401, '[1, 2]')
    """
    if len(text) <= MOST_SHOWN:
        return text
    half = MOST_SHOWN // 2
    return f"{text[:half]}…{text[-half:]}"


_PASSWORD = re.compile(r"(\w[\w+.-]*://[^\s:/@]*:)\S+@")


def without_passwords(text: str) -> str:
    """Return a text in which the password of any URL is replaced by asterisks.

    Examples
    --------
    >>> without_passwords("postgresql://me:s3cr:et@host/db is not there")
    'postgresql://me:***@host/db is not there'
    >>> without_passwords("see https://host:80/page")
    'see https://host:80/page'
    """
    return _PASSWORD.sub(r"\1***@", text)


class HmoptError(Exception):
    """An error of one line: `field: expected rule, got value. What to do.`, without the password of a URL.

    Parameters
    ----------
    field
        What was looked at: a key of `study.toml`, a file, an argument.
    expected
        The rule that it breaks.
    got
        What was found instead.
    advice
        One sentence that says what to do.

    Examples
    --------
    >>> print(HmoptError("loss.window", expected="an odd number", got=4, advice="Correct the value."))
    loss.window: expected an odd number, got 4. Correct the value.
    """

    def __init__(self, field: str, *, expected: str, got: object, advice: str) -> None:
        text = str(got)
        if not text.strip():  # an empty text would not be seen
            text = repr(text)
        # before it is shortened: what is left of a URL could no longer be told from other text
        shown = _shortened(without_passwords(text))
        line = f"{field}: expected {expected}, got {shown}. {advice}"
        super().__init__(without_passwords(line))

    def __reduce__(self) -> tuple[object, ...]:
        """Allow pickling, as between processes: the error is made again from its text, all that it holds."""
        return copyreg.__newobj__, (type(self), str(self))  # type: ignore[attr-defined]


_OF_FILES = {
    errno.ENAMETOOLONG: ("a shorter name", "Choose another name."),
    errno.ENOENT: ("a file or folder that exists", "Check the path."),
    errno.EISDIR: ("a file", "Move the folder away, or name a file."),
    errno.ENOTDIR: ("a path whose parents are folders", "Check the path."),
    errno.EEXIST: ("a name that is free, or a folder", "Move the file or link away."),
    errno.ELOOP: ("a path without a loop of links", "Correct the links."),
    errno.EACCES: ("permission to read and write", "Change the permissions, or the path."),
    errno.EPERM: ("permission to read and write", "Change the permissions, or the path."),
    errno.EROFS: ("a disk that can be written to", "Choose another folder."),
    errno.ENOSPC: ("space on the disk", "Make space, and rerun the command."),
    errno.EDQUOT: ("space within the quota", "Make space, and rerun the command."),
    errno.EFBIG: ("files that may be so large", "Raise the limit of the size of files."),
}
"""What was expected, and what to do, by the number of an error of the operating system."""


def of_system(error: OSError) -> HmoptError:
    """Return an error of the operating system as one of hmopt: which file, what was expected, and what to do.

    Examples
    --------
    >>> print(of_system(IsADirectoryError(errno.EISDIR, "Is a directory", "brains/pairs.csv")))
    brains/pairs.csv: expected a file, got Is a directory. Move the folder away, or name a file.
    """
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    expected, advice = _OF_FILES.get(
        error.errno or 0, ("a file or folder that can be read and written", "Check the path.")
    )
    if error.filename is None:
        return HmoptError(
            "operating system", expected=expected, got=reason, advice="Rerun with --debug."
        )
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return HmoptError(
        _shortened(path or str(error.filename)), expected=expected, got=reason, advice=advice
    )


class DeclarationError(HmoptError):
    """`study.toml`, or an argument that stands for a part of it, cannot be used."""


class DataError(HmoptError):
    """An image, a label map, a manifest or a name table cannot be used."""


class DivergedError(DataError):
    """A training diverged: its loss is no longer a finite number, or its tune Dice fell far below where it began."""


class CheckpointError(HmoptError):
    """A weights file does not fit what it is loaded into."""


class LedgerError(HmoptError):
    """A ledger or a table of measurements cannot be used, or lacks what was asked of it."""


class SearchError(HmoptError):
    """A scope, study or setting that was asked for does not exist."""


class FailedPairsError(SearchError):
    """Pairs could not be registered at a setting: their measurements are missing."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The first rule that values break which pydantic checked, as it stands in an error of hmopt.

    Parameters
    ----------
    kind
        Pydantic's name of the rule, as `missing` or `extra_forbidden`.
    key
        Dotted place of the value; empty where all values together break the rule.
    rule
        What stands after `expected`.
    value
        What was found there.
    """

    kind: str
    key: str
    rule: str
    value: object


_OPENING = re.compile(r"^(Value error, )?(expected |Input should be |\w+ should have )?")
_WHAT_WAS_FOUND = re.compile(r"( after validation, not \d+|, unable to .*)$")


def first_fault(error: "ValidationError") -> Fault:
    """Return the first broken rule.

    Unknown keys come first: a key that is reported as missing may be one of them, misspelt.

    Examples
    --------
    >>> from pydantic import TypeAdapter, ValidationError
    >>> try:
    ...     TypeAdapter(dict[str, int]).validate_python({"steps": "many"})
    ... except ValidationError as error:
    ...     fault = first_fault(error)
    >>> fault.key, fault.rule, fault.value
    ('steps', 'a valid integer', 'many')
    """
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    message = _WHAT_WAS_FOUND.sub("", first["msg"])
    return Fault(
        kind=first["type"],
        key=".".join(str(part) for part in first["loc"]),
        rule=_OPENING.sub("", message),
        value=first["input"],
    )
