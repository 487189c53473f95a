import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel
from safetensors.numpy import save_file

from hmopt import files
from hmopt.errors import HmoptError, LedgerError
from hmopt.files import (
    appearing,
    append,
    check_outputs,
    file_hash,
    given_path,
    put_new,
    read_json,
    read_record,
    read_whole,
    replacing,
    staying,
    sweep,
    write_json,
)

ADVICE = "Write it again."


class Facts(BaseModel):
    name: str
    count: int


def read(path: Path) -> dict[str, object]:
    return read_json(path, error=LedgerError, what="facts", advice=ADVICE)


def test_what_was_written_is_read_and_what_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"name": "brains", "values": (1, 2.5, None), "inner": {"λ": 0.1}})
    assert {"name": "brains", "values": [1, 2.5, None]}.items() <= read(path).items()
    whole = path.read_text(encoding="utf-8")
    for change in (("brains", "brainz"), ("2.5", "2.6"), ("0.1", "0.01"), ("null", "3")):
        path.write_text(whole.replace(*change), encoding="utf-8")
        with pytest.raises(LedgerError, match="changed or damaged after it was written"):
            read(path)


def test_each_flipped_bit_is_seen_also_in_the_key_of_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"name": "brains", "count": 3})
    written = path.read_bytes()
    content = read(path)
    unseen = []
    for place in range(8 * len(written)):
        changed = bytearray(written)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = read(path)
        except LedgerError:
            continue
        if found != content:
            unseen.append(bytes(changed))
    assert unseen == []


def test_layout_does_not_matter_nor_does_a_missing_hash(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"b": 1, "a": [0.1, "x"]})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, sort_keys=True).replace(" ", "\r\n "))
    assert read(path) == content
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert read(path) == content


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"a": NaN}', '{"a": Infinity}', "[" * 100_000, "\x00"]
)
def test_what_is_no_json_object_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(LedgerError, match=rf"facts.json: expected facts, got .*{ADVICE}") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b'{"a": "\x80"}')
    with pytest.raises(LedgerError, match="damaged file"):
        read(path)


def test_a_record_names_the_key_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    for content, key in (
        ({"name": "x"}, "count"),
        ({"name": None, "count": 1}, "name"),
        ({"count": 1}, "name"),
    ):
        write_json(path, content)
        with pytest.raises(LedgerError, match=f"got {key}: "):
            read_record(path, Facts, error=LedgerError, what="facts", advice=ADVICE)


# --- replacing


def test_a_file_is_on_the_disk_before_its_name_and_its_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace

    def sync(path: Path) -> None:
        done.append(f"sync {path.name}")

    def rename(source: Path, target: Path) -> Path:
        done.append(f"rename {source.name}")
        return replace(source, target)

    monkeypatch.setattr(files, "sync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    with replacing(tmp_path / "note.txt") as beside:
        beside.write_text("whole")
    assert done == ["sync note.txt", "rename note.txt", f"sync {tmp_path.name}"]

    done.clear()
    with appearing(tmp_path / "model") as folder, replacing(folder / "card.md") as beside:
        # what is written in a folder that has no name yet is synced with it, once
        beside.write_text("card")
    assert done == [
        "rename card.md",
        "sync card.md",
        "sync model",
        "rename model",
        f"sync {tmp_path.name}",
    ]


def test_the_system_is_asked_to_write_file_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    write_json(tmp_path / "facts.json", {"a": 1})
    assert synced == [(tmp_path / "facts.json").stat().st_ino, tmp_path.stat().st_ino]


def test_no_link_that_lies_there_is_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("stays")
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "note.txt"
    path.symlink_to(other)
    for name in (f".{os.getpid()}-note.txt", f".hmopt-{os.getpid()}-note.txt"):
        (folder / name).symlink_to(other)
    places = set()
    for _ in range(2):
        with replacing(path) as beside:
            assert beside.parent.stat().st_mode & 0o777 == 0o700
            assert beside.name == path.name
            places.add(beside.parent.name)
            beside.write_text("new")
    assert other.read_text() == "stays"
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert len(places) == 2


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_result_has_the_permissions_of_every_new_file(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_json(tmp_path / "facts.json", {})
        with appearing(tmp_path / "folder") as beside:
            (beside / "file").touch()
            (beside / "narrow").touch(0o600)
            files.give_usual_permissions(beside / "narrow")
    finally:
        os.umask(before)
    expected = 0o666 & ~mask
    for name in ("facts.json", "folder/file", "folder/narrow"):
        assert (tmp_path / name).stat().st_mode & 0o777 == expected
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask


def test_after_an_error_nothing_is_left_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("new")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [one.name for one in tmp_path.iterdir()] == ["note.txt"]
    assert path.read_text() == "old"


def test_what_another_process_has_put_there_stays(tmp_path: Path) -> None:
    written, path = tmp_path / "written", tmp_path / "path"
    written.write_text("mine")
    put_new(written, path)
    written.write_text("another")
    (tmp_path / "more").write_text("later")
    put_new(tmp_path / "more", path)
    assert path.read_text() == "another"


# --- a full disk


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size: to a library that is as a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NUMBERS = np.random.default_rng(0).random(50_000)
WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * 100_000),
    "safetensors": lambda path: save_file({"numbers": NUMBERS}, path),
    "parquet": lambda path: pq.write_table(pa.table({"numbers": NUMBERS}), path),
    "NumPy": lambda path: np.savez(path.with_name("note.npz"), NUMBERS),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_told_in_one_line_that_names_the_file(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "note.npz"
    path.write_text("old")
    write = WRITERS[writer]
    full = largest_file(20_000)
    with pytest.raises(OSError, match="too large") as caught, full, replacing(path) as beside:
        write(beside)
    assert str(caught.value) == f"[Errno 27] File too large: '{path}'"
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["note.npz"]


def test_an_error_of_reading_keeps_the_name_of_what_was_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"source\.txt"), replacing(tmp_path / "copy.txt"):
        (tmp_path / "source.txt").read_text()


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    append(path, "step,loss\n")
    append(path, "1,0.5\n2,0.4\n")
    with path.open("a") as file:
        file.write("3,0.")  # cut short
    append(path, "4,0.3\n")
    assert path.read_text() == "step,loss\n1,0.5\n2,0.4\n4,0.3\n"
    with pytest.raises(OSError, match=r"log\.csv"), largest_file(path.stat().st_size + 3):
        append(path, "5,0.2\n")
    assert path.read_text().endswith("\n4,0.3\n")


@pytest.mark.skipif(sys.platform == "win32", reason="without these locks")
def test_a_line_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """Another process has written half a line: it is no line that was cut short."""
    import fcntl

    path = tmp_path / "log.csv"
    append(path, "step,loss\n")
    with ThreadPoolExecutor(1) as pool, path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"1,0.")
        added = pool.submit(append, path, "2,0.4\n")
        with pytest.raises(FutureTimeoutError):
            added.result(timeout=0.2)
        file.write(b"5\n")
        fcntl.flock(file, fcntl.LOCK_UN)
        added.result(timeout=10)
    assert path.read_text() == "step,loss\n1,0.5\n2,0.4\n"


# --- what killed processes left


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def unfinished(folder: Path, process: int, machine: str, age_s: float = 0.0) -> Path:
    """Return a folder as a process leaves it that was killed while it wrote."""
    left = folder / f".hmopt-{process}-{machine}-k2v_8q1x"
    left.mkdir(parents=True)
    inner = left / "note.txt"
    inner.write_text("half")
    for path in (inner, left):
        status = path.stat()
        os.utime(path, (status.st_atime - age_s, status.st_mtime - age_s))
    return left


def test_only_what_is_certainly_abandoned_is_removed(tmp_path: Path) -> None:
    here = files.this_machine()
    elsewhere = "0" * 8
    dead = unfinished(tmp_path / "a", ended_process(), here)
    alive = unfinished(tmp_path / "b", os.getppid(), here, age_s=1e6)
    own = unfinished(tmp_path / "c", os.getpid(), here, age_s=1e6)
    young = unfinished(tmp_path / "d", ended_process(), elsewhere, age_s=80_000)
    old = unfinished(tmp_path / "e", ended_process(), elsewhere, age_s=90_000)
    written_since = unfinished(tmp_path / "f", ended_process(), elsewhere, age_s=90_000)
    (written_since / "more").touch()
    for folder in sorted(tmp_path.iterdir()):
        sweep(folder)
    assert not dead.exists()
    assert not old.exists()
    assert all(path.exists() for path in (alive, own, young, written_since))


def test_files_of_users_and_links_are_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "scan.nii").touch()
    gone = ended_process()
    link = tmp_path / f".hmopt-{gone}-{files.this_machine()}-abcdefgh"
    link.symlink_to(target)
    for name in (".hmopt-notes", f".{gone}-notes.txt", ".git"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert (target / "scan.nii").exists()
    assert len(list(tmp_path.iterdir())) == 5


def test_the_next_writer_removes_what_was_left(tmp_path: Path) -> None:
    left = unfinished(tmp_path, ended_process(), files.this_machine())
    write_json(tmp_path / "facts.json", {})
    assert not left.exists()


# --- a folder that must stay


def test_nothing_is_written_to_a_folder_that_was_removed_or_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    path = folder / "ledger" / "manifest.json"
    write_json(path, {})
    with staying(folder):
        write_json(path, {"a": 1})
        moved = folder.rename(tmp_path / "moved")
        with pytest.raises(HmoptError, match=r"manifest.json: expected the folder .*, got none\."):
            write_json(path, {"a": 2})
        assert not folder.exists()
        folder.mkdir()
        with pytest.raises(HmoptError, match="got another one"):
            write_json(path, {"a": 2})
        folder.rmdir()
        moved.rename(folder)
        write_json(path, {"a": 3})
    (tmp_path / "study").rename(tmp_path / "away")
    write_json(path, {"a": 4})  # no command works on it any more


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    threads = [threading.Thread(target=write_json, args=(path, {"a": n})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(path)["a"] in range(8)
    assert [one.name for one in tmp_path.iterdir()] == ["facts.json"]


def test_a_process_that_is_killed_leaves_the_old_file_and_the_next_one_no_rest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")
    program = f"""
import os
from pathlib import Path
from hmopt.files import replacing
with replacing(Path({str(path)!r})) as beside:
    beside.write_text("new")
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    files._swept.discard(str(tmp_path))
    with replacing(path) as beside:
        beside.write_text("new")
    assert [one.name for one in tmp_path.iterdir()] == ["note.txt"]


def test_a_folder_called_as_the_home_folder_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert given_path("~/a.csv", "--points") == tmp_path / "home/a.csv"
    # pathlib drops the point before the folder, and other libraries would read `~/a.csv`
    assert given_path("./~/a.csv", "--points") == tmp_path / "~/a.csv"
    assert given_path("b/~/a.csv", "--points") == Path("b/~/a.csv")
    with replacing(Path("~/b.csv")) as beside:
        pd.DataFrame({"x": [1]}).to_csv(beside)
    assert (tmp_path / "~/b.csv").is_file()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("a\0.nii", "a path without NUL characters"),
        (os.fsdecode(b"caf\xe9.nii"), "a path whose name is in UTF-8"),
        ("~no such user/a.nii", "the home folder of a user of this machine"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused(given: str, rule: str) -> None:
    with pytest.raises(LedgerError, match=f"manifest, line 2: expected {rule}, got '"):
        given_path(given, "manifest, line 2", LedgerError)


def test_an_output_or_an_input_that_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.nii", tmp_path / os.fsdecode(b"\xff.nii")
    for outputs, inputs in (({"--moved": bad}, {}), ({"--moved": good}, {"--moved": bad})):
        with pytest.raises(HmoptError, match="--moved: expected a path whose name is in UTF-8"):
            check_outputs(outputs, inputs)


def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("whole")
    (tmp_path / "link").symlink_to("a.txt")
    assert read_whole(tmp_path / "link") == b"whole"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(OSError, match="not an ordinary file"):
            read_whole(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "gone")


def test_a_pipe_in_place_of_a_record_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "facts.json")
    with pytest.raises(LedgerError, match=r"facts\.json: expected facts, got a damaged file"):
        read(tmp_path / "facts.json")
    with pytest.raises(OSError, match="not an ordinary file"):
        file_hash(tmp_path / "facts.json")
