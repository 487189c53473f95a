"""The process that an engine runs in: reads pairs from its input, writes displacements to its output.

It is started as `python -m hmopt.interop.engines.worker PIPE` by `EngineProcess`, and ends with its
input. A guard, which is a process beside it, ends it and all that it started when the process that
holds the other end of the pipe is gone: a thread could not do so while an engine computes without
giving threads a turn. What the engine prints goes to standard error.
"""

import contextlib
import os
import subprocess
import sys
from typing import IO

from hmopt.errors import DeclarationError
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.messages import receive, send
from hmopt.interop.engines.source import EngineSource, LoadedEngine

_GUARD = "read -r _; kill -s KILL 0"
"""Wait for the end of the input, then kill the own group of processes."""


def main() -> None:
    """Serve until the input ends."""
    requests, replies = _own_streams()
    guard = _start_guard(int(sys.argv[1]))
    try:
        _run(requests, replies)
    finally:
        guard.kill()
        guard.wait()


def _run(requests: IO[bytes], replies: IO[bytes]) -> None:
    first, _ = receive(requests)
    for place in first["path"]:
        if place not in sys.path:
            sys.path.append(place)
    try:
        engine = EngineSource.from_json(first["source"]).load()
    except DeclarationError as error:
        send(replies, {"refused": str(error)})
        return
    defined_in = engine.defined_in
    send(replies, {"defined_in": None if defined_in is None else str(defined_in)})
    with contextlib.suppress(EOFError):
        _serve(engine, requests, replies)


def _own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return the streams of messages, and keep what the engine reads and prints away from them."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def _start_guard(pipe: int) -> "subprocess.Popen[bytes]":
    """Start the guard, which alone reads from the pipe."""
    nothing = subprocess.DEVNULL
    guard = subprocess.Popen(["/bin/sh", "-c", _GUARD], stdin=pipe, stdout=nothing, stderr=nothing)
    os.close(pipe)
    return guard


def _serve(engine: LoadedEngine, requests: IO[bytes], replies: IO[bytes]) -> None:
    while True:
        header, (moving, fixed) = receive(requests)
        try:
            found = engine.register(moving, fixed, header["setting"])
        except EngineFailure as error:
            failure = error
        except SystemExit as error:  # of an engine that calls `sys.exit`
            failure = EngineFailure(f"SystemExit: {error}")
        else:
            send(replies, {"wall_time_s": found.wall_time_s}, found.displacement)
            continue
        send(replies, {"got": failure.got, "expected": failure.expected})


if __name__ == "__main__":
    main()
