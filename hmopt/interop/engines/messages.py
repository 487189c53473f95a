"""Messages between the process of a search and those of its engines: JSON and arrays, nothing else.

A message is the length of its header in 4 bytes, the header as JSON, and the values of arrays in
single precision, whose shapes the header tells. Nothing that comes from an engine's process is
executed.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_LENGTH = struct.Struct(">I")


def send(stream: IO[bytes], header: Mapping[str, Any], *arrays: Array) -> None:
    """Write a message.

    Examples
    --------
    >>> import io
    >>> stream = io.BytesIO()
    >>> send(stream, {"step": 1}, np.ones((1, 2), np.float32))
    >>> _ = stream.seek(0)
    >>> receive(stream)
    ({'step': 1}, [array([[1., 1.]], dtype=float32)])
    """
    shapes = [array.shape for array in arrays]
    text = json.dumps({"header": dict(header), "shapes": shapes}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for array in arrays:
        stream.write(array.astype(np.float32).tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[Array]]:
    """Read a message.

    Raises
    ------
    EOFError
        If the stream ends before the message does.
    """
    (size,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    message = json.loads(_read(stream, size))
    arrays = []
    for shape in message["shapes"]:
        content = _read(stream, 4 * math.prod(shape))
        array = np.frombuffer(content, np.float32).reshape(shape)
        arrays.append(array)
    return message["header"], arrays


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
