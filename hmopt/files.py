"""Files that are there whole or not at all, that say when they were damaged, and names made from contents."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from hmopt.errors import HmoptError

HASH_KEY = "sha256"
"""Key under which a JSON file holds the hash of everything else in it."""

M = TypeVar("M", bound=BaseModel)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the name `path` when the block ends without an error.

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
    """Return the absolute path of a file or folder, links followed, but for that of the file itself.

    A file of git-annex is a link to another file that lies in a folder of its own under another name: its own name
    and folder are the ones that count.

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
    """Give 16 hexadecimal digits that stand for JSON-like values.

    Examples
    --------
    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(name: str) -> str:
    """Give a file name that stands for a name: what cannot stand in one makes way for a hyphen and a hash.

    Examples
    --------
    >>> slug("thalamus")
    'thalamus'
    >>> slug("T1→T2"), slug("T1-T2")
    ('t1-t2-5f98f8', 't1-t2-fa22b6')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
    return plain if plain == name else f"{plain}-{content_hash(name)[:6]}".lstrip("-")


def file_hash(path: Path) -> str:
    """Give 16 hexadecimal digits that stand for a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def one_line(error: BaseException) -> str:
    """Return what an error says, its lines joined.

    Examples
    --------
    >>> one_line(ValueError("two   words"))
    'two words'
    """
    return " ".join(str(error).split()) or type(error).__name__


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object whole, with a hash of its content, so that damage to it is seen when it is read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "facts.json"
    >>> write_json(path, {"name": "brains"})
    >>> list(read_json(path, error=HmoptError, what="facts", advice="Write them again."))
    ['name', 'sha256']
    """
    kept = {key: value for key, value in content.items() if key != HASH_KEY}
    # hashed as it will be read back: tuples are lists then
    kept[HASH_KEY] = content_hash(json.loads(json.dumps(kept)))
    text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def read_json(path: Path, *, error: type[HmoptError], what: str, advice: str) -> dict[str, Any]:
    """Read a JSON object, and refuse it where it is damaged.

    A file without a hash, as an earlier version wrote it, is read as it is.

    Parameters
    ----------
    path
        The file.
    error
        What to raise where it cannot be used.
    what
        What the file should be, as it stands after `expected`.
    advice
        One sentence that says what to do where it is not.

    Raises
    ------
    HmoptError
        If the file is no JSON object, or its hash is not that of its content. A file that is not there is the
        FileNotFoundError that Python raises.
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
    if HASH_KEY in content:
        kept = {key: value for key, value in content.items() if key != HASH_KEY}
        if content[HASH_KEY] != content_hash(kept):
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
        As JSON gives it.
    schema
        What it must hold.
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
        first = caught.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        got = f"{key}: {first['msg']}" if key else first["msg"]
        raise error(field, expected=what, got=one_line(ValueError(got)), advice=advice) from caught
    except HmoptError as caught:  # a value that checks itself when it is made
        raise error(field, expected=what, got=one_line(caught), advice=advice) from caught


def read_record(
    path: Path, schema: type[M], *, error: type[HmoptError], what: str, advice: str
) -> M:
    """Read a JSON object and check it against a schema.

    Parameters
    ----------
    path, error, what, advice
        As for `read_json`.
    schema
        What it must hold.

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
    """Tell whether two paths lead to one file: through links, relative parts, or letters in another case.

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
    """Refuse outputs that would overwrite an input or each other, or that cannot be written, before any work.

    Parameters
    ----------
    outputs
        Files that are going to be written, by the name of their option.
    inputs
        Files that are going to be read, by the name of their argument.

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
    advice = "Choose another name."
    earlier: dict[str, Path] = {}
    for name, path in outputs.items():
        for read, source in inputs.items():
            if is_same_file(path, source):
                raise HmoptError(
                    name, expected=f"another file than {read}", got=path, advice=advice
                )
        for written, other in earlier.items():
            # where letters' case does not count, two names that differ in it are one file
            if (
                is_same_file(path, other)
                or os.path.realpath(path).lower() == os.path.realpath(other).lower()
            ):
                raise HmoptError(
                    name, expected=f"another file than {written}", got=path, advice=advice
                )
        if path.is_dir():
            raise HmoptError(
                name, expected="the name of a file", got=f"the folder {path}", advice=advice
            )
        _check_folder(name, path.parent)
        earlier[name] = path


def _check_folder(name: str, folder: Path) -> None:
    """Refuse a folder that no file can be made in; one that is not there yet can be made in the nearest that is."""
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise HmoptError(
            name,
            expected="a folder that can be written to",
            got=f"{there} ({reason})",
            advice="Choose another folder.",
        ) from error
