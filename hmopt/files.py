"""Replacing files whole or not at all, reading JSON that is checked for damage, and hashes of contents.

A file or folder is written under the name that it will have, in a folder of its own beside its
place, and then moved there:

    study/.hmopt-4711-0f3a9c21-k2v_8q1x/search.json     being written
    study/search.json                                   complete, or as it was before

The name of that folder tells which process made it, on which machine, and ends in random letters;
nobody else can write to it. After a kill it stays, and the next command that writes beside it
removes it, once the process is certainly gone.
"""

import errno
import hashlib
import json
import os
import platform
import re
import reprlib
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from hmopt.errors import Fault, HmoptError, first_fault

HASH_KEY = "sha256"
"""Key under which a JSON file holds the hash of everything else in it."""
HASH_DIGITS = 16
"""Hexadecimal digits of a hash of content, 64 bits."""

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems say that have no locks."""

LONGEST_NAME = 255
"""Bytes of a name of a file that the usual file systems allow."""

ABANDONED_S = 24 * 3600.0
"""Age from which what another machine has begun counts as abandoned."""

M = TypeVar("M", bound=BaseModel)

_PRIVATE = re.compile(r"\.hmopt-(\d+)-([0-9a-f]{8})-[a-z0-9_]+")
"""Name of the folder that a file is written in: process id, machine, random letters."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES)
"""What file systems say that do not write folders to disk on demand."""
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""Of a full or broken disk."""
_OTHER_WORDS = ("inline_container", "disk I/O error", "database or disk is full")
"""How torch and SQLite say that something cannot be written."""
_FULL_BYTES = 1 << 16
"""A disk with less than this left is full."""


# --- replacing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write a file to, which takes the place of `path` when the block ends without an error.

    The file is on the disk before it gets its name, and its name before the block is left: after a
    power failure, too, `path` is the old file or the whole new one.

    Parameters
    ----------
    path
        The file. Its folder is made where it is not there.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; `path` is named.
    HmoptError
        If the study folder that it belongs to was removed since the command began.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "note.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> (folder / "note.txt").read_text()
    'whole'
    """
    with naming(path), private_folder(path.parent, path) as private:
        beside = private / path.name
        yield beside
        put(beside, path)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `path` when the block ends without an error.

    Parameters
    ----------
    path
        The folder; it is not there yet, or is empty.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with appearing(folder / "model") as beside:
    ...     _ = (beside / "README.md").write_text("a card")
    >>> [path.name for path in folder.glob("*/*")]
    ['README.md']
    """
    with naming(path), private_folder(path.parent, path) as private:
        beside = private / path.name
        beside.mkdir()
        yield beside
        put(beside, path)


@contextmanager
def private_folder(folder: Path, wanted_for: Path | None = None) -> Iterator[Path]:
    """Yield a new folder in `folder` that nobody else can write to, and remove it at the end.

    What is left of others there, which were killed, is removed first.

    Parameters
    ----------
    folder
        Where; it is made where it is not there.
    wanted_for
        What an error names; left out: the folder.
    """
    make_folder(folder, wanted_for)
    _sweep_once(folder)
    prefix = f".hmopt-{os.getpid()}-{this_machine()}-"
    # absolute: nibabel and pandas take ~ at the beginning for the home folder
    private = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.absolute()))
    try:
        yield private
    finally:
        shutil.rmtree(private, ignore_errors=True)


def put(written: Path, path: Path) -> None:
    """Move a complete file or folder to its place, so that it is there after a power failure, too.

    Parameters
    ----------
    written
        In a `private_folder` beside `path`.
    path
        Its place. A file there is replaced.
    """
    if _is_private(path):  # a part of a folder, which is synced as a whole
        written.replace(path)
        return
    _sync_all(written)
    _check_stays(path)
    written.replace(path)
    sync(path.parent)


def put_new(written: Path, path: Path) -> None:
    """Move a complete file to its place, unless another process has put one there meanwhile.

    Parameters
    ----------
    written
        In a `private_folder` beside `path`.
    path
        Its place.
    """
    sync(written)
    _check_stays(path)
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            written.replace(path)
    sync(path.parent)


def append(path: Path, text: str) -> None:
    """Add whole lines at the end of a file, all or none; a last line that was cut short is dropped.

    Several processes may do so at a time: each waits for the others, where the file system has locks.

    Parameters
    ----------
    path
        The file; it is made where it is not there.
    text
        One or more lines, each with its end.

    Raises
    ------
    OSError
        If they cannot be written; `path` is named.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.csv"
    >>> append(path, f"step,loss{chr(10)}")
    >>> append(path, f"10,0.5{chr(10)}")
    >>> path.read_text().splitlines()
    ['step,loss', '10,0.5']
    """
    content = text.encode("utf-8")
    with naming(path), path.open("ab+", buffering=0) as file:
        _wait_for_lock(file.fileno())
        _check_stays(path)
        length = file.seek(0, os.SEEK_END)
        whole = _end_of_lines(file.fileno(), length)
        if whole < length:
            file.truncate(whole)
        written = file.write(content)
        if written != len(content):
            file.truncate(whole)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _wait_for_lock(descriptor: int) -> None:
    """Lock an open file until it is closed: what another process is writing is no line that was cut short."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise


def _end_of_lines(descriptor: int, length: int) -> int:
    """Return where the last whole line of a file ends."""
    block = 4096
    end = length
    while end > 0:
        start = max(0, end - block)
        os.lseek(descriptor, start, os.SEEK_SET)
        last = os.read(descriptor, end - start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0


def make_folder(folder: Path, wanted_for: Path | None = None) -> None:
    """Make a folder, and those above it, where they are not there.

    Parameters
    ----------
    folder
        The folder.
    wanted_for
        What an error names; left out: the folder.

    Raises
    ------
    HmoptError
        If it belongs to a study folder that was removed since the command began.
    """
    if folder.is_dir():
        _check_stays(wanted_for or folder)
        return
    _check_stays(wanted_for or folder)
    missing = [folder]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync(made.parent)


# --- on the disk


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk.

    Raises
    ------
    OSError
        If it cannot.
    """
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # it cannot be opened there
        return
    access = os.O_RDWR if os.name == "nt" else os.O_RDONLY
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def _sync_all(path: Path) -> None:
    """Sync a file, or a folder with everything in it."""
    if not path.is_dir():
        sync(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            sync(Path(folder) / name)
        sync(Path(folder))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of writing in this block name a path, as that of a full disk, and no other.

    Parameters
    ----------
    path
        The file or folder that is being written.

    Raises
    ------
    OSError
        In place of what the library that writes has raised.

    Examples
    --------
    >>> with naming(Path("model.safetensors")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'model.safetensors'
    """
    try:
        yield
    except Exception as error:
        number = _write_error(error, path)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _write_error(error: Exception, path: Path) -> int | None:
    """Return the number of an error of writing `path`; None where the error is of another kind.

    Libraries tell that a disk is full in ways of their own: some as an OSError without a name, some
    only in words.
    """
    if isinstance(error, HmoptError):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None:
            return error.errno if error.errno in _CANNOT_WRITE else None
        return error.errno if _is_private(Path(os.fsdecode(error.filename))) else None
    in_words = re.search(r"\(os error (\d+)\)", str(error))
    if in_words:
        return int(in_words.group(1))
    if any(words in str(error) for words in _OTHER_WORDS):
        return errno.ENOSPC if _is_full(path) else errno.EIO
    return errno.ENOSPC if _is_full(path) else None


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BYTES
    except OSError:
        return False


def give_usual_permissions(path: Path) -> None:
    """Give a file the permissions that new files in its folder get; some libraries let nobody else read theirs."""
    with private_folder(path.parent) as private:
        new = private / "new"
        new.touch()
        usual = new.stat().st_mode
    path.chmod(usual & 0o777)


# --- what others left behind


def sweep(folder: Path) -> None:
    """Remove what killed processes had begun to write in a folder, but nothing that may still be written.

    A process of this machine is gone if its id is no longer in use. Of another machine, or another
    container, it counts as gone a day after it last wrote.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            found = _PRIVATE.fullmatch(entry.name)
            if found is None or not entry.is_dir(follow_symlinks=False):
                continue
            path = Path(entry.path)
            if _is_abandoned(path, int(found.group(1)), found.group(2)):
                shutil.rmtree(path, ignore_errors=True)


_swept: set[str] = set()
"""Folders that this process has swept."""


def _sweep_once(folder: Path) -> None:
    place = os.path.abspath(folder)  # noqa: PTH100, links are not followed
    if place not in _swept:
        _swept.add(place)
        sweep(folder)


def _is_abandoned(path: Path, process: int, machine: str) -> bool:
    if machine == this_machine() and os.name == "posix":
        return not is_running(process)
    try:
        latest = path.stat().st_mtime
        for inner in path.rglob("*"):
            latest = max(latest, inner.lstat().st_mtime)
    except OSError:  # it is being worked on
        return False
    return time.time() - latest > ABANDONED_S


def is_running(process: int) -> bool:
    """Return whether a process of this machine with this id runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@cache
def this_machine() -> str:
    """Return 8 digits for this machine since it was started, and for the container that ids of processes count in."""
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115, no path
    return content_hash(facts)[:8]


def _is_private(path: Path) -> bool:
    return any(_PRIVATE.fullmatch(part) for part in path.parts)


# --- a folder that must stay


_staying: dict[str, tuple[int, int]] = {}
"""Device and inode of folders that commands work on, by their absolute path."""


@contextmanager
def staying(folder: Path) -> Iterator[None]:
    """Refuse in this block to write below a folder that was removed or replaced since the block began.

    Without it the folder would be made again, and hold only what was written last.

    Parameters
    ----------
    folder
        One that is not there yet is not watched.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with staying(folder):
    ...     folder.rmdir()
    ...     write_json(folder / "search.json", {})
    Traceback (most recent call last):
    hmopt.errors.HmoptError: ...search.json: expected the folder ... as it was when the command began, got none. ...
    """
    place = os.path.abspath(folder)  # noqa: PTH100, links are not followed
    is_new = place not in _staying
    if is_new and Path(place).is_dir():
        _staying[place] = _inode(place)
    try:
        yield
    finally:
        if is_new:
            _staying.pop(place, None)


def _inode(place: str) -> tuple[int, int]:
    status = Path(place).stat()
    return status.st_dev, status.st_ino


def _check_stays(path: Path) -> None:
    if not _staying:
        return
    wanted = Path(os.path.abspath(path))  # noqa: PTH100, links are not followed
    for place, known in list(_staying.items()):
        if not wanted.is_relative_to(place):
            continue
        there = Path(place).is_dir()
        if there and _inode(place) == known:
            continue
        raise HmoptError(
            str(path),
            expected=f"the folder {place} as it was when the command began",
            got="another one" if there else "none",
            advice="It was moved or removed meanwhile: put it back and run the command again.",
        )


# --- names and hashes


def given_path(
    given: Path | str, field: str, error: type[HmoptError] = HmoptError, folder: Path = Path()
) -> Path:
    """Return a path that a person gave, with `~` replaced by the home folder.

    Parameters
    ----------
    given
        As it was written.
    field
        What an error names: the option, the key, or the file and line that it stands in.
    error
        Class of the error.
    folder
        What a relative path is relative to.

    Raises
    ------
    HmoptError
        If no file can have the name, the name is no text in UTF-8, which ITK and others need, or it
        begins with the home folder of a user that is not there.

    Examples
    --------
    >>> given_path("t1.nii", "--moved", folder=Path("scans")).as_posix()
    'scans/t1.nii'
    >>> given_path(f"a{chr(0)}b", "--moved")
    Traceback (most recent call last):
    hmopt.errors.HmoptError: --moved: expected a path without NUL characters, got 'a...b'. Correct the path.
    """
    text = os.fspath(given)

    def refuse(expected: str, advice: str) -> HmoptError:
        return error(field, expected=expected, got=repr(text), advice=advice)

    if "\0" in text:
        raise refuse("a path without NUL characters", "Correct the path.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise refuse("a path whose name is in UTF-8", "Rename the file or folder.") from None
    expanded = os.path.expanduser(text)  # noqa: PTH111, pathlib stops at a user that is not there
    if expanded.startswith("~"):
        raise refuse("the home folder of a user of this machine", "Write the path without ~.")
    path = folder / expanded
    # a folder of this name: nibabel and pandas would take it for the home folder
    return path.absolute() if path.parts[:1] and path.parts[0].startswith("~") else path


def read_whole(path: Path) -> bytes:
    """Return the content of a file; a pipe or a device, which may never end, is not read.

    Parameters
    ----------
    path
        The file, or a link to it.

    Raises
    ------
    OSError
        If it cannot be read, or is no ordinary file.

    Examples
    --------
    >>> read_whole(Path("/dev/zero"))
    Traceback (most recent call last):
    OSError: [Errno 22] not an ordinary file: '/dev/zero'
    """
    check_ordinary(path)
    return path.read_bytes()


def check_ordinary(path: Path) -> None:
    """Refuse what is no ordinary file.

    Raises
    ------
    OSError
        If it is not there, or is a folder, a pipe or a device.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))


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
    return digest.hexdigest()[:HASH_DIGITS]


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
    check_ordinary(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return digest.hexdigest()[:HASH_DIGITS]


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
        If the file is no JSON object, its hash is not that of its content, or the key of its hash
        was damaged. A missing file is a FileNotFoundError.
    """

    def refuse(got: str) -> HmoptError:
        return error(str(path), expected=what, got=got, advice=advice)

    try:
        text = read_whole(path).decode("utf-8")
        content = json.loads(text, parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise
    except RecursionError as caught:
        raise refuse("a file nested too deeply") from caught
    except (OSError, ValueError) as caught:
        raise refuse(f"a damaged file ({one_line(caught)})") from caught
    if not isinstance(content, dict):
        raise refuse(f"a JSON {type(content).__name__}")
    if HASH_KEY in content:
        is_as_written = content[HASH_KEY] == content_hash(_without_hash(content))
    else:  # either of an earlier version, or its key was damaged
        is_as_written = _key_of_hash(content) is None
    if not is_as_written:
        raise refuse("a file that was changed or damaged after it was written")
    return content


def _key_of_hash(content: Mapping[str, Any]) -> str | None:
    """Return the key whose value is the hash of everything else; None: there is none.

    Examples
    --------
    >>> digits = content_hash({"name": "brains"})
    >>> _key_of_hash({"name": "brains", "sha257": digits})
    'sha257'
    """
    for key, value in content.items():
        if not isinstance(value, str) or len(value) != HASH_DIGITS:
            continue
        others = {name: other for name, other in content.items() if name != key}
        if value == content_hash(others):
            return key
    return None


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
    if fault.kind == "extra_forbidden":
        return f"the unknown key {fault.key}"
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


def leads_nowhere(path: Path) -> bool:
    """Return whether a path is a link to a file or folder that is not there.

    Examples
    --------
    >>> import tempfile
    >>> link = Path(tempfile.mkdtemp()) / "c0.nii.gz"
    >>> link.symlink_to("not-fetched.nii.gz")
    >>> leads_nowhere(link), leads_nowhere(link.parent)
    (True, False)
    """
    return path.is_symlink() and not path.exists()


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
        If an output is an input, another output or a folder, its name is too long or no text in UTF-8, or its folder
        cannot be written to.

    Examples
    --------
    >>> check_outputs({"--moved": Path("scans/../f.nii")}, {"FIXED": Path("f.nii")})
    Traceback (most recent call last):
    hmopt.errors.HmoptError: --moved: expected another file than FIXED, got scans/../f.nii. Choose another name.
    """
    for name, path in [*outputs.items(), *inputs.items()]:
        given_path(path.absolute(), name)
    earlier: dict[str, Path] = {}
    for name, path in outputs.items():
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise _other_name(name, f"a name of at most {LONGEST_NAME} bytes", path.name)
        for read, source in inputs.items():
            if is_same_file(path, source):
                raise _other_name(name, f"another file than {read}", str(path))
        for written, other in earlier.items():
            if _would_be_same_file(path, other):
                raise _other_name(name, f"another file than {written}", str(path))
        if path.is_dir():
            raise _other_name(name, "the name of a file", f"the folder {path}")
        check_folder(name, path.parent)
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


def check_folder(name: str, folder: Path) -> None:
    """Refuse a folder that no file can be written to.

    Of a folder that does not exist yet, the nearest parent is checked.

    Parameters
    ----------
    name
        What the folder was given as.
    folder
        The folder.

    Raises
    ------
    HmoptError
        If no file can be made there.
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
