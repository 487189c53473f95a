"""Mutations of valid content, by kind: each yields a name and what the content becomes."""

import copy
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load, save

Mutant = tuple[str, bytes]
LARGE = 2**63
NUMBERS: tuple[object, ...] = (True, -1, LARGE, 10**30, math.nan, math.inf, -math.inf)
OTHERS: tuple[object, ...] = (None, "x", "", [], {}, [[]], ["x", 1], {"x": {}})
MISSING = object()


def truncations(content: bytes, rng: np.random.Generator, count: int) -> Iterator[Mutant]:
    """Cut a file at random places, and at those where readers stumble."""
    size = len(content)
    edges = [0, 1, 4, 8, size // 2, size - 9, size - 8, size - 4, size - 1]
    drawn = rng.integers(0, size, max(count - len(edges), 0)).tolist()
    for length in dict.fromkeys([*edges[:count], *drawn]):
        if 0 <= length < size:
            yield f"cut to {length} of {size}", content[:length]


def flipped_bits(content: bytes, rng: np.random.Generator, count: int) -> Iterator[Mutant]:
    """Change one bit."""
    for place in rng.integers(0, 8 * len(content), count).tolist():
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield f"bit {place} of {8 * len(content)}", bytes(changed)


def replaced(content: bytes, rng: np.random.Generator, count: int) -> Iterator[Mutant]:
    """Change, insert or repeat some bytes, or replace the whole file."""
    yield "text", b"this is another file\n"
    yield "nothing but zeros", bytes(len(content))
    yield "noise", rng.bytes(len(content))
    yield "bytes at the end", content + b"\0" * 16
    yield "twice", content + content
    for place in rng.integers(0, len(content), count).tolist():
        changed = bytearray(content)
        changed[place : place + 8] = rng.bytes(8)
        yield f"8 bytes at {place}", bytes(changed)


def damaged(
    content: bytes, rng: np.random.Generator, cuts: int, flips: int, blocks: int
) -> Iterator[Mutant]:
    """Damage a file without a thought of its format."""
    yield from truncations(content, rng, cuts)
    yield from flipped_bits(content, rng, flips)
    yield from replaced(content, rng, blocks)


def json_paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value of JSON; of lists only the first entry."""
    if path:
        yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from json_paths(value, (*path, key))
    elif isinstance(content, list) and content:
        yield from json_paths(content[0], (*path, 0))


def json_with(content: Any, path: tuple[Any, ...], value: object) -> Any:
    """Return JSON with another value at a place, or none."""
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def json_values(
    content: Any, rng: np.random.Generator, most: int = 60
) -> Iterator[tuple[str, tuple[Any, ...], object, Any]]:
    """Yield values of JSON replaced by wrong ones: a name, its place, the wrong value, the whole.

    Parameters
    ----------
    content
        The valid one.
    rng
        Draws places and wrong values.
    most
        How many are drawn.
    """
    every = (*NUMBERS, *OTHERS, MISSING)
    paths = list(json_paths(content))
    count = min(most, len(paths) * len(every))
    drawn = rng.choice(len(paths) * len(every), count, replace=False)
    for number in sorted(drawn.tolist()):
        path, value = paths[number // len(every)], every[number % len(every)]
        dotted = ".".join(map(str, path))
        shown = "missing" if value is MISSING else repr(value)
        yield f"{dotted} = {shown}", path, value, json_with(content, path, value)


def as_json(content: Any) -> bytes:
    """Return JSON as bytes; NaN and infinity as Python writes them."""
    return json.dumps(content).encode()


def csv_tables(content: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Damage a CSV in ways that a header or a number of cells tells."""
    header, *rows = content.decode().splitlines()
    names = header.split(",")

    def text(*lines: str) -> bytes:
        return ("\n".join(lines) + "\n").encode()

    yield "empty", b""
    yield "binary", rng.bytes(200)
    yield "NUL", text(header, "\0", *rows)
    yield "UTF-16", content.decode().encode("utf-16")
    yield "open quote", text(header, '"' + rows[0], *rows[1:])
    yield "a cell more", text(header, rows[0] + ",x", *rows[1:])
    yield "a cell less", text(header, rows[0].rpartition(",")[0], *rows[1:])
    yield "a column twice", text(*(f"{line},{line.split(',')[0]}" for line in [header, *rows]))
    for place, name in enumerate(names):
        without = [_without(line, place) for line in [header, *rows]]
        yield f"no column {name}", text(*without)


def _without(line: str, place: int) -> str:
    cells = line.split(",")
    del cells[place]
    return ",".join(cells)


CELLS = (
    "",
    "x",
    "-1",
    "nan",
    "inf",
    "1e400",
    "\0",
    "=1+1",
    "nowhere/none.nii.gz",
    "../..",
    "x" * 5000,
)


def csv_cells(content: bytes, rows: Sequence[int] = (0,)) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield each cell of some rows replaced: a name, the column, the cell, the whole."""
    header, *lines = content.decode().splitlines()
    for row in rows:
        for place, name in enumerate(header.split(",")):
            for cell in CELLS:
                cells = lines[row].split(",")
                cells[place] = cell
                changed = [*lines[:row], ",".join(cells), *lines[row + 1 :]]
                text = "\n".join([header, *changed]) + "\n"
                yield f"{name} of row {row} = {cell[:20]!r}", name, cell, text.encode()


NIFTI: dict[str, Sequence[Any]] = {
    "sizeof_hdr": (0, -1, 347, 540, 2**31 - 1),
    "dim": (
        (0, *[1] * 7),
        (32767, *[1] * 7),
        (-1, *[1] * 7),
        (8, *[2] * 7),
        (3, 0, 24, 1, 1, 1, 1, 1),
        (3, -24, 24, 1, 1, 1, 1, 1),
        (3, 23, 24, 1, 1, 1, 1, 1),
        (3, 12, 24, 1, 1, 1, 1, 1),
        (3, 24, 48, 1, 1, 1, 1, 1),
        (3, 25, 24, 1, 1, 1, 1, 1),
        (3, 2000, 2000, 2000, 1, 1, 1, 1),
        (3, 32767, 32767, 32767, 1, 1, 1, 1),
        (7, *[32767] * 7),
        (4, 24, 12, 1, 2, 1, 1, 1),
        (5, 24, 1, 1, 1, 24, 1, 1),
    ),
    "datatype": (0, 1, 32, 128, 1792, 2304, 255, -1, 4096, 32767),
    "bitpix": (0, 1, -8, 7, 32767),
    "vox_offset": (0, 1, -1, 100, 351, 353, 360, 1e9, 3e38, math.nan, math.inf, -math.inf),
    "scl_slope": (3e38,),
    "scl_inter": (3.4e38,),
    "magic": (b"", b"n+9", b"xxx"),
    "srow_x": ((0, 0, 0, 0), (3e38, 3e38, 3e38, 0), (math.nan, 0, 0, 0), (math.inf, 0, 0, 0)),
    "srow_y": ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1e-30, 0, 0), (0, 1, 0, 1e30)),
}
"""Fields of a NIfTI header with values that no image can have."""


def nifti_headers(content: bytes) -> Iterator[Mutant]:
    """Put impossible values into the header of an uncompressed single NIfTI file, as gzip."""
    for name, values in NIFTI.items():
        for value in values:
            header = nibabel.Nifti1Header(content[:348], check=False)
            header["sform_code"] = 1
            header[name] = value
            yield f"{name} = {value}", compressed(header.binaryblock + content[348:])
    # every type of another size contradicts the length of the file
    own = nibabel.Nifti1Header(content[:348], check=False)
    for code in (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280):
        header = own.copy()
        dtype: Any = nibabel.nifti1.data_type_codes.dtype[code]
        bits = 8 * dtype.itemsize
        if bits == int(own["bitpix"]):
            continue
        header["datatype"] = code
        yield f"datatype = {code} beside other bits", compressed(header.binaryblock + content[348:])
        header["bitpix"] = bits
        yield f"datatype = {code} of other size", compressed(header.binaryblock + content[348:])


def nifti_extensions(content: bytes) -> Iterator[Mutant]:
    """Claim extensions of a header that are none."""
    for length in (0, -16, 7, 10**6, -(2**31)):
        header = nibabel.Nifti1Header(content[:348], check=False)
        header["vox_offset"] = 384
        claimed = length.to_bytes(4, "little", signed=True)
        extension = b"\1\0\0\0" + claimed + bytes(28)
        whole = header.binaryblock + extension + content[352:]
        yield f"an extension of {length} bytes", compressed(whole)


def compressed(content: bytes) -> bytes:
    """Return bytes as gzip, always in the same way."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content) + packer.flush()


def nifti_values(content: bytes, is_label: bool) -> Iterator[Mutant]:
    """Replace the voxels by those that no image, or no label map, can have."""
    image = nibabel.Nifti1Image.from_bytes(content)
    shape = image.shape
    own = np.asarray(image.dataobj).astype(np.float32)
    arrays = {
        "NaN": np.where(own == own.max(), np.nan, own),
        "infinity": np.where(own == own.max(), np.inf, own),
        "complex": own.astype(np.complex64),
    }
    if is_label:
        arrays["-1"] = -np.ones(shape, np.float32)
        arrays["0.5"] = np.full(shape, 0.5, np.float32)
        arrays["1e30"] = np.full(shape, 1e30, np.float32)
        arrays["code without name"] = np.full(shape, 999, np.float32)
        del arrays["NaN"]  # counts as background
    else:
        arrays["all zero"] = np.zeros(shape, np.float32)
        arrays["constant 7"] = np.full(shape, 7, np.float32)
    for name, array in arrays.items():
        changed = nibabel.Nifti1Image(array, image.affine, dtype=array.dtype)
        yield f"voxels: {name}", compressed(changed.to_bytes())


def parquet_tables(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Change columns, types and rows of a table, keeping its metadata but for a hash that is then wrong."""
    table = pq.read_table(io.BytesIO(content))
    metadata = table.schema.metadata
    rows = table.num_rows
    changes: list[tuple[str, pa.Table]] = [
        ("rows twice", pa.concat_tables([table, table])),
        ("a row less", table.slice(1)),
        ("no row", table.slice(0, 0)),
        ("another column", table.append_column("zzz", pa.array([0] * rows))),
        ("rows in another order", table.take(list(range(rows))[::-1])),
    ]
    for place, name in enumerate(table.column_names):
        wrong: dict[str, pa.Array] = {
            "text": pa.array(["x"] * rows),
            "null": pa.nulls(rows),
            "whole numbers": pa.array([10**9] * rows),
            "infinity": pa.array([math.inf] * rows, pa.float32()),
            "5": pa.array([5.0] * rows, pa.float32()),
            "lists": pa.array([[1]] * rows),
        }
        changes.append((f"no column {name}", table.drop_columns([name])))
        for kind, column in wrong.items():
            changes.append((f"{name} of {kind}", table.set_column(place, name, column)))
    for kind, changed in changes:
        yield kind, _parquet(changed.replace_schema_metadata(metadata))
    yield "metadata of another program", _parquet(table.replace_schema_metadata({b"pandas": b"{}"}))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def tensors_with(content: bytes, change: Callable[[dict[str, NDArray[Any]]], None]) -> bytes:
    """Return a safetensors file with other tensors, its metadata kept."""
    tensors = load(content)
    change(tensors)
    return save(tensors, metadata_of(content))


def metadata_of(content: bytes) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Return a safetensors file with other metadata."""
    return save(load(content), metadata)


def tensor_changes(content: bytes) -> Iterator[Mutant]:
    """Give the first and the last tensor of a file, by name, another type, shape or number."""
    names = sorted(load(content))
    for name in (names[0], names[-1]):
        changes: dict[str, Callable[[NDArray[Any]], NDArray[Any] | None]] = {
            "missing": lambda array: None,
            "float64": lambda array: array.astype(np.float64),
            "int32": lambda array: array.astype(np.int32),
            "float16": lambda array: array.astype(np.float16),
            "one axis more": lambda array: array[None],
            "flat": lambda array: array.ravel()[: max(array.size - 1, 0)],
            "NaN": lambda array: np.full_like(array, np.nan),
            "infinity": lambda array: np.full_like(array, np.inf),
            "1e30": lambda array: np.full_like(array, 1e30),
        }
        for kind, change in changes.items():
            tensors = load(content)
            changed = change(tensors.pop(name))
            if changed is not None:
                tensors[name] = np.ascontiguousarray(changed)
            yield f"{name} {kind}", save(tensors, metadata_of(content))
    tensors = load(content)
    tensors["zzz"] = np.zeros(2, np.float32)
    yield "another tensor", save(tensors, metadata_of(content))


def safetensors_headers(content: bytes) -> Iterator[Mutant]:
    """Damage the length and the JSON at the beginning of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    for claimed in (0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1):
        yield f"header of {claimed} bytes", claimed.to_bytes(8, "little") + header + data
    parsed = json.loads(header)
    names = [name for name in parsed if name != "__metadata__"]
    first = parsed[names[0]]
    wrong: list[tuple[str, Any]] = [
        ("header []", []),
        ("header null", None),
        ("no metadata", {name: parsed[name] for name in names}),
        ("metadata of numbers", {**parsed, "__metadata__": {"hmopt": 3}}),
        ("metadata null", {**parsed, "__metadata__": None}),
    ]
    for key, values in {
        "dtype": ("F64", "I8", "x", 3, None),
        "shape": ([], [-1], [10**18], "x", [2**63, 2**63]),
        "data_offsets": ([0, 10**15], [4, 0], [-4, 0], [0], "x"),
    }.items():
        wrong += [(f"{key} = {one}", {**parsed, names[0]: {**first, key: one}}) for one in values]
    for kind, changed in wrong:
        text = json.dumps(changed).encode()
        yield kind, len(text).to_bytes(8, "little") + text + data


def npz_changes(content: bytes) -> Iterator[Mutant]:
    """Change the arrays of an npz file, one at a time."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, array in arrays.items():
        changes: dict[str, NDArray[Any] | None] = {
            "missing": None,
            "objects": np.array([{}], dtype=object),
            "text": np.array(["x", "y"]),
            "one axis more": array[None],
            "empty": np.zeros((0, 0), array.dtype),
            "complex": np.zeros(array.shape, np.complex64),
        }
        if array.dtype.kind == "f":
            changes["NaN"] = np.full_like(array, np.nan)
            changes["infinity"] = np.full_like(array, np.inf)
            changes["1e30"] = np.full_like(array, 1e30)
        for kind, changed in changes.items():
            others = {other: values for other, values in arrays.items() if other != name}
            if changed is not None:
                others[name] = changed
            yield f"{name} {kind}", npz(others)
    yield "no array", npz({})
    yield "another array", npz({**arrays, "zzz": np.zeros(2)})


def npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return arrays as an npz file."""
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)  # type: ignore[arg-type]
    return sink.getvalue()


def npy_headers(content: bytes) -> Iterator[Mutant]:
    """Damage the header of an npy file."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    data = array.tobytes()
    shape = array.shape
    others: dict[str, dict[str, Any]] = {
        "another item": {"shape": (shape[0] + 1, *shape[1:])},
        "an item less": {"shape": (shape[0] - 1, *shape[1:])},
        "one axis": {"shape": (array.size,)},
        "negative": {"shape": (-1, *shape[1:])},
        "large": {"shape": (10**12, *shape[1:])},
        "no axis": {"shape": ()},
        "objects": {"descr": "|O"},
        "text": {"descr": "<U4"},
        "float64": {"descr": "<f8"},
        "complex": {"descr": "<c16"},
        "big-endian": {"descr": ">f8"},
        "unknown type": {"descr": "<z9"},
        "Fortran order": {"fortran_order": True},
    }
    descr = array.dtype.str
    for kind, changes in others.items():
        header = {"descr": descr, "fortran_order": False, "shape": shape, **changes}
        yield kind, _npy(repr(header), data)
    yield "header of a call", _npy("__import__('os').getcwd()", data)
    yield "header open", _npy("{'descr': ", data)
    yield "header deep", _npy("(" * 5000, data)


def _npy(header: str, data: bytes) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + min(len(text), 65535).to_bytes(2, "little") + text + data


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; that of a compressed image unpacked."""
    content = path.read_bytes()
    return zlib.decompress(content, wbits=31) if path.suffix == ".gz" else content
