"""The process that an engine runs in: reads pairs from its input, writes displacements to its output.

It is started as `python -m hmopt.interop.engines.worker` by `EngineProcess`, and ends with its
input, or when the process that started it is gone. What the engine prints goes to standard error.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import IO

from hmopt.errors import DeclarationError
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.messages import receive, send
from hmopt.interop.engines.source import EngineSource, LoadedEngine

_LOOK_EVERY_S = 1.0


def main() -> None:
    """Serve until the input ends."""
    requests, replies = _own_streams()
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
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


def _end_with(parent: int) -> None:
    """End this process and all that it started when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _serve(engine: LoadedEngine, requests: IO[bytes], replies: IO[bytes]) -> None:
    while True:
        header, (moving, fixed) = receive(requests)
        try:
            found = engine.register(moving, fixed, header["setting"])
        except EngineFailure as failure:
            send(replies, {"got": failure.got, "expected": failure.expected})
            continue
        send(replies, {"wall_time_s": found.wall_time_s}, found.displacement)


if __name__ == "__main__":
    main()
