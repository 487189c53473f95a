"""Writing files whole or not at all, reading JSON that is checked for damage, and hashes of contents."""

import hashlib
import json
import os
import re
import reprlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from hmopt.errors import Fault, HmoptError, first_fault

HASH_KEY = "sha256"
"""Key under which a JSON file holds the hash of everything else in it."""

M = TypeVar("M", bound=BaseModel)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to.

    It is renamed to `path` when the block ends without an error.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "note.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> (folder / "note.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def real_place(path: Path) -> Path:
    """Return the absolute path of a file or folder.

    Links are followed, except if the file itself is one.

    A file of git-annex is a link to a file of another name in another folder; its own name and
    folder are kept.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()).resolve()
    >>> (folder / "cohort.csv").symlink_to(".git/annex/objects/MD5E-s9--4b.csv")
    >>> real_place(folder / "cohort.csv").name
    'cohort.csv'
    """
    if path.is_symlink() and not path.is_dir():
        return path.parent.resolve() / path.name
    return path.resolve()


def content_hash(*parts: Any) -> str:
    """Return a hash of JSON-like values, 16 hexadecimal digits.

    The order of keys makes no difference.

    Examples
    --------
    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode())
    return digest.hexdigest()[:16]


def slug(name: str) -> str:
    """Return a file name for a name: other characters than letters and digits become a hyphen, and a hash is added.

    Examples
    --------
    >>> slug("thalamus")
    'thalamus'
    >>> slug("T1→T2"), slug("T1-T2")
    ('t1-t2-5f98f8', 't1-t2-fa22b6')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower())
    plain = plain.strip("-")[:80]
    if plain == name:
        return plain
    digits = content_hash(name)[:6]
    return f"{plain}-{digits}".lstrip("-")


def file_hash(path: Path) -> str:
    """Return a hash of the content of a file, 16 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return digest.hexdigest()[:16]


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line.

    Examples
    --------
    >>> one_line(ValueError("two   words"))
    'two words'
    """
    words = str(error).split()
    return " ".join(words) or type(error).__name__


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all, with a hash of its content by which `read_json` sees damage.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "facts.json"
    >>> write_json(path, {"name": "brains"})
    >>> list(read_json(path, error=HmoptError, what="facts", advice="Write them again."))
    ['name', 'sha256']
    """
    kept = _without_hash(content)
    # hashed as it will be read back: tuples are lists then
    as_read = json.loads(json.dumps(kept))
    kept[HASH_KEY] = content_hash(as_read)
    text = json.dumps(kept, indent=2, ensure_ascii=False)
    with replacing(path) as beside:
        beside.write_text(f"{text}\n", encoding="utf-8")


def _without_hash(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(content)
    kept.pop(HASH_KEY, None)
    return kept


def read_json(path: Path, *, error: type[HmoptError], what: str, advice: str) -> dict[str, Any]:
    """Read a JSON object, and refuse one that was damaged.

    A file of an earlier version has no hash, and is read unchecked.

    Parameters
    ----------
    path
        The file.
    error
        Class of the error.
    what
        What stands after `expected` in its message.
    advice
        Its advice: one sentence that says what to do.

    Raises
    ------
    HmoptError
        If the file is no JSON object, or its hash is not that of its content. A missing file is a
        FileNotFoundError.
    """

    def refuse(got: str) -> HmoptError:
        return error(str(path), expected=what, got=got, advice=advice)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise
    except RecursionError as caught:
        raise refuse("a file nested too deeply") from caught
    except (OSError, ValueError) as caught:
        raise refuse(f"a damaged file ({one_line(caught)})") from caught
    if not isinstance(content, dict):
        raise refuse(f"a JSON {type(content).__name__}")
    if HASH_KEY in content and content[HASH_KEY] != content_hash(_without_hash(content)):
        raise refuse("a file that was changed or damaged after it was written")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def checked(
    content: object, schema: type[M], *, field: str, error: type[HmoptError], what: str, advice: str
) -> M:
    """Check values that were read from a file against a schema, and return them as its record.

    Parameters
    ----------
    content
        As JSON holds it.
    schema
        Keys and rules.
    field
        What an error names: the file.
    error, what, advice
        As for `read_json`.

    Raises
    ------
    HmoptError
        If a key is missing or a value breaks its rule; the first one is named.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as caught:
        fault = first_fault(caught)
        got = _broken_rule(fault)
        raise error(field, expected=what, got=got, advice=advice) from caught
    except HmoptError as caught:  # a value that checks itself when it is made
        raise error(field, expected=what, got=one_line(caught), advice=advice) from caught


def _broken_rule(fault: Fault) -> str:
    """Return what is wrong, as `steps: -1, which is not greater than 0`."""
    place = f"{fault.key}: " if fault.key else ""
    if fault.kind == "missing":
        return f"{place}no value"
    value = reprlib.repr(fault.value)
    return f"{place}{value}, where {fault.rule} is expected"


def read_record(
    path: Path, schema: type[M], *, error: type[HmoptError], what: str, advice: str
) -> M:
    """Read a JSON object and check it against a schema.

    Parameters
    ----------
    path, error, what, advice
        As for `read_json`.
    schema
        Keys and rules.

    Raises
    ------
    HmoptError
        If the file is damaged, or a value breaks its rule.

    Examples
    --------
    >>> import tempfile
    >>> class Facts(BaseModel):
    ...     count: int
    >>> path = Path(tempfile.mkdtemp()) / "facts.json"
    >>> write_json(path, {"count": 3})
    >>> read_record(path, Facts, error=HmoptError, what="facts", advice="Write them again.").count
    3
    """
    content = read_json(path, error=error, what=what, advice=advice)
    return checked(content, schema, field=str(path), error=error, what=what, advice=advice)


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file: through links, relative parts, or letters in another case.

    Examples
    --------
    >>> is_same_file(Path("a/../b.nii"), Path("./b.nii")), is_same_file(Path("a.nii"), Path("b.nii"))
    (True, False)
    """
    try:
        if one.samefile(other):
            return True
    except OSError:
        pass  # one of them is not there
    return os.path.realpath(one) == os.path.realpath(other)


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Refuse outputs that would overwrite an input or each other, or that cannot be written.

    Call it before any work, so that no work is lost.

    Parameters
    ----------
    outputs
        Files to write, by the name of their option.
    inputs
        Files to read, by the name of their argument.

    Raises
    ------
    HmoptError
        If an output is an input, another output or a folder, or its folder cannot be written to.

    Examples
    --------
    >>> check_outputs({"--moved": Path("scans/../f.nii")}, {"FIXED": Path("f.nii")})
    Traceback (most recent call last):
    hmopt.errors.HmoptError: --moved: expected another file than FIXED, got scans/../f.nii. Choose another name.
    """
    earlier: dict[str, Path] = {}
    for name, path in outputs.items():
        for read, source in inputs.items():
            if is_same_file(path, source):
                raise _other_name(name, f"another file than {read}", str(path))
        for written, other in earlier.items():
            if _would_be_same_file(path, other):
                raise _other_name(name, f"another file than {written}", str(path))
        if path.is_dir():
            raise _other_name(name, "the name of a file", f"the folder {path}")
        _check_folder(name, path.parent)
        earlier[name] = path


def _other_name(field: str, expected: str, got: str) -> HmoptError:
    return HmoptError(field, expected=expected, got=got, advice="Choose another name.")


def _would_be_same_file(one: Path, other: Path) -> bool:
    """Return whether two files would be the same once written, on any file system.

    Where the case of letters does not count, two names that differ only in it are one file.
    """
    if is_same_file(one, other):
        return True
    return os.path.realpath(one).lower() == os.path.realpath(other).lower()


def _check_folder(name: str, folder: Path) -> None:
    """Refuse a folder that no file can be written to.

    Of a folder that does not exist yet, the nearest parent is checked.
    """
    nearest = folder.absolute()
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise HmoptError(
            name,
            expected="a folder that can be written to",
            got=f"{nearest} ({reason})",
            advice="Choose another folder.",
        ) from error
