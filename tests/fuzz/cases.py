"""Every malformed input: a valid file of a small study folder with one mutation, and whether it must be refused."""

import copy
import gzip
import io
import json
import math
import sqlite3
import tomllib
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import tomlkit
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from safetensors.numpy import load

from hmopt.declaration import Study
from hmopt.declaration.options import Options
from tests.fuzz import mutations
from tests.fuzz.mutations import MISSING, Mutant

SEED = 20
Same = Callable[[bytes, bytes], bool]
"""Whether two contents of a file say the same."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One malformed input.

    Parameters
    ----------
    part
        Name of the folder of `make_originals`.
    kind
        Of the file and the mutation, as counts are kept.
    mutation
        What was changed.
    file
        The file, relative to the folder.
    content
        Its content.
    must_refuse
        Whether a hash, a schema or a range can see it. Otherwise it must only end cleanly.
    """

    part: str
    kind: str
    mutation: str
    file: str
    content: bytes
    must_refuse: bool = True


@dataclass(frozen=True, kw_only=True)
class _File:
    """A valid file of a part."""

    part: str
    name: str
    content: bytes
    same: Same

    def cases(self, kind: str, mutants: Iterator[Mutant]) -> Iterator[Case]:
        """Yield mutants; those that say the same as the original need not be refused."""
        for mutation, content in mutants:
            yield Case(
                part=self.part,
                kind=kind,
                mutation=mutation,
                file=self.name,
                content=content,
                must_refuse=not self.same(self.content, content),
            )


def list_cases(folders: Mapping[str, Path]) -> Iterator[Case]:
    """Yield every case, always the same ones for the same folders.

    Parameters
    ----------
    folders
        As of `make_originals`.
    """
    rng = np.random.default_rng(SEED)
    yield from _of_declaration(folders["declaration"], rng)
    yield from _of_tables(folders, rng)
    yield from _of_images(folders["images"], rng)
    yield from _of_prepared(folders["prepared"], rng)
    yield from _of_models(folders["models"], rng)
    yield from _of_parquet(folders, rng)
    yield from _of_records(folders, rng)
    yield from _of_pictures(folders["pictures"], rng)
    yield from _of_studies(folders["studies"], rng)


def _file(folder: Path, name: str, same: Same) -> _File:
    path = folder / name
    return _File(
        part=folder.name,
        name=path.relative_to(folder).as_posix(),
        content=path.read_bytes(),
        same=same,
    )


def _only(folder: Path, pattern: str) -> str:
    """Return the first file of a pattern, relative to a folder."""
    return min(folder.glob(pattern)).relative_to(folder).as_posix()


# --- when two contents say the same


def _parsed_alike(parse: Callable[[bytes], Any]) -> Same:
    def same(one: bytes, other: bytes) -> bool:
        try:
            return bool(parse(one) == parse(other))
        except Exception:
            return False

    return same


def _npz_content(content: bytes) -> Any:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: _array_content(file[name]) for name in file.files}


def _array_content(array: Any) -> Any:
    return array.dtype.str, array.shape, array.tobytes()


def _npy_content(content: bytes) -> Any:
    return _array_content(np.load(io.BytesIO(content), allow_pickle=False))


def _tensors(content: bytes) -> Any:
    arrays = {name: _array_content(array) for name, array in load(content).items()}
    return arrays, mutations.metadata_of(content)


def _without_wal(content: bytes) -> bytes:
    """Return a database that does not ask for write-ahead logging, which memory cannot have."""
    return content[:18] + b"\1\1" + content[20:]


def _rows(content: bytes) -> Any:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(_without_wal(content))
        tables = ("trial_values", "trial_params", "trials", "studies", "study_directions")
        return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables]


same_bytes: Same = bytes.__eq__
same_json = _parsed_alike(json.loads)
same_unpacked = _parsed_alike(gzip.decompress)
same_npz = _parsed_alike(_npz_content)
same_npy = _parsed_alike(_npy_content)
same_tensors = _parsed_alike(_tensors)
same_rows = _parsed_alike(_rows)
same_text = _parsed_alike(lambda content: content.decode().split())


# --- study.toml


def _of_declaration(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Walk the tables of a declaration, and give each key what its type or its range cannot be."""
    file = _file(folder, "study.toml", same_bytes)
    values = tomllib.loads(file.content.decode())
    for path, model, name in _keys(Study, ()):
        changed = copy.deepcopy(values)
        _set(changed, path, PLACE)
        text = tomlkit.dumps(changed)
        every = list(_wrong_values(path, model.model_fields[name]))
        drawn = rng.choice(len(every), min(VALUES_A_KEY, len(every)), replace=False)
        for wrong in [every[place] for place in sorted(drawn.tolist())]:
            yield Case(
                part=file.part,
                kind="toml value",
                mutation=f"{'.'.join(path)} = {wrong[:40]}",
                file=file.name,
                content=text.replace(f'"{PLACE}"', wrong).encode(),
            )
    yield from file.cases("toml file", _toml_files(file.content))


def _keys(
    model: type[Options], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], type[Options], str]]:
    for name, field in model.model_fields.items():
        if name in model.computed:
            continue
        inner = [one for one in _types(field.annotation) if _is_table(one)]
        is_table_of_tables = bool(inner) and typing.get_origin(field.annotation) is dict
        if is_table_of_tables:
            yield (*path, name), model, name
            yield from _keys(inner[0], (*path, name, "regularization"))
        elif inner and get_origin(field.annotation) is not list:
            yield (*path, name), model, name
            yield from _keys(inner[0], (*path, name))
        else:
            yield (*path, name), model, name


def _is_table(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _types(annotation: Any) -> Iterator[Any]:
    """Yield the types inside an annotation; of a Literal its own name."""
    if get_origin(annotation) is Literal:
        yield Literal
    elif get_args(annotation):
        for one in get_args(annotation):
            yield from _types(one)
    else:
        yield annotation


PLACE = "the place of a wrong value"
FREE_NUMBERS = {"preprocessing.background"}
"""Keys that may be negative."""
VALUES_A_KEY = 5
MANY = 20_000
"""Entries of a list that is too long for any key."""


def _wrong_values(path: tuple[str, ...], field: FieldInfo) -> Iterator[str]:
    """Yield values, as TOML writes them, that a key cannot have by its annotation alone."""
    types = set(_types(field.annotation))
    containers = _containers(field.annotation)
    is_table = any(_is_table(one) for one in types)
    is_plain = not containers & {"list", "dict"} and not is_table
    takes_number = is_plain and bool(types & {int, float})
    takes_text = is_plain and bool(types & {str, Path}) and Literal not in types
    yield from ("nan", "inf", "-inf", "9223372036854775807", "9" * 40, "1e300", "[[1]]", "[{}]")
    yield from ("[-1]", "[nan]", "1979-05-27")
    one = '"x"' if types & {str, Path} else "1"
    yield f"[{', '.join([one] * MANY)}]"
    if ".".join(path) not in FREE_NUMBERS:
        yield "-1"
    if bool not in types:
        yield from ("true", "[true]")
    if not takes_number:
        yield "7"
    if not (takes_number and float in types):
        yield "3.5"
    if not takes_text:
        yield '"qqq"'
    if "list" not in containers:
        yield "[]"
    if "dict" not in containers and not is_table:
        yield "{}"
    if types & {Path, Literal}:
        yield '""'


def _containers(annotation: Any) -> set[str]:
    found = set()
    origin = get_origin(annotation)
    if origin is list:
        found.add("list")
    if origin is dict:
        found.add("dict")
    if origin in (typing.Union, type(int | str)):
        for one in get_args(annotation):
            found |= _containers(one)
        found.add("union")
    if origin is typing.Annotated:
        found |= _containers(get_args(annotation)[0])
    return found


def _set(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    inner = values
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value


def _toml_files(content: bytes) -> Iterator[Mutant]:
    text = content.decode()
    yield "empty", b""
    yield "binary", bytes(range(256))
    yield "UTF-16", text.encode("utf-16")
    yield "JSON", b'{"name": "x"}'
    yield "a table twice", content + b"\n[split]\ntrain = 1\n"
    yield "a key twice", b'name = "y"\n' + content
    yield "another table", content + b"\n[zzz]\nx = 1\n"
    yield "another key", b"zzz = 1\n" + content
    yield "deep list", b"zzz = " + b"[" * 100_000 + b"\n" + content
    yield "deep table", content + b"\n[" + b"a." * 100_000 + b"a]\n"
    yield "huge number", b"zzz = " + b"9" * 100_000 + b"\n" + content
    yield "open string", b'zzz = "' + content
    for table in ("cohort", "preprocessing", "split"):
        start = text.index(f"[{table}]")
        end = text.index("\n[", start)
        yield f"no [{table}]", (text[:start] + text[end:]).encode()
    for size in (10, 50, 100, 200):
        yield f"cut to {size}", content[:size]


# --- tables of the cohort


def _of_tables(folders: Mapping[str, Path], rng: np.random.Generator) -> Iterator[Case]:
    folder = folders["images"]
    manifest = _file(folder, "data/cohort.csv", same_text)
    harmless = {"a column twice", "a cell less", "UTF-16"}
    for case in manifest.cases("manifest", mutations.csv_tables(manifest.content, rng)):
        column = case.mutation.removeprefix("no column ")
        is_needed = column in ("image", "label", "subject") or column == case.mutation
        must = is_needed and case.mutation not in harmless
        yield _with_duty(case, must)
    for mutation, column, cell, content in mutations.csv_cells(manifest.content, rows=(0, 1)):
        must = column in ("image", "label") or (column == "subject" and cell in ("", "\0"))
        yield Case(
            part=folder.name,
            kind="manifest cell",
            mutation=mutation,
            file=manifest.name,
            content=content,
            must_refuse=must,
        )
    # a column with the name of a hyperparameter is set apart in tables of measurements
    for name in ("regularization", "label", "subject", "image"):
        text = _with_column(manifest.content, name)
        for case in manifest.cases("manifest", iter([(f"another column {name}", text)])):
            yield _with_duty(case, must_refuse=name != "regularization")
    names = _file(folder, "data/dseg.tsv", same_text)
    listing = names.content.decode()
    tables = [
        ("empty", b""),
        ("binary", rng.bytes(200)),
        ("header alone", listing.splitlines()[0].encode() + b"\n"),
        ("an index of text", listing.replace("\n1\t", "\nx\t", 1).encode()),
        ("an index of 1.5", listing.replace("\n1\t", "\n1.5\t", 1).encode()),
        ("an index of nan", listing.replace("\n1\t", "\nnan\t", 1).encode()),
        ("an index of 1e40", listing.replace("\n1\t", "\n1e40\t", 1).encode()),
        ("an index twice", listing.replace("\n2\t", "\n1\t", 1).encode()),
        ("no name column", listing.replace("name", "zzz", 1).encode()),
        ("no index column", listing.replace("index", "zzz", 1).encode()),
        ("a row less", ("\n".join(listing.splitlines()[:-1]) + "\n").encode()),
    ]
    yield from names.cases("label names", iter(tables))


def _with_column(content: bytes, name: str) -> bytes:
    header, *rows = content.decode().splitlines()
    lines = [f"{header},{name}", *(f"{row},0.5" for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _with_duty(case: Case, must_refuse: bool) -> Case:
    return Case(**{**vars(case), "must_refuse": case.must_refuse and must_refuse})


# --- images


def _of_images(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    for kind in ("images", "labels"):
        name = _only(folder, f"data/{kind}/*.nii.gz")
        file = _file(folder, name, same_unpacked)
        whole = mutations.read_bytes(folder / name)
        short = kind[:-1]
        yield from file.cases(f"{short} bytes", mutations.damaged(file.content, rng, 20, 50, 15))
        yield from file.cases(f"{short} header", mutations.nifti_headers(whole))
        yield from file.cases(f"{short} header", mutations.nifti_extensions(whole))
        yield from file.cases(f"{short} values", mutations.nifti_values(whole, kind == "labels"))
        bombs = [
            ("unpacks to more", mutations.compressed(whole + bytes(2 * 10**6))),
            ("unpacks to 200 MB", mutations.compressed(whole) + _bomb(2 * 10**8)),
            ("header alone", mutations.compressed(whole[:352])),
        ]
        yield from file.cases(f"{short} bytes", iter(bombs))


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(10**6)
    parts = [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])


# --- what hmopt writes


def _of_prepared(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    for array in ("images.npy", "labels.npy", "grids.npy"):
        file = _file(folder, _only(folder, f"prepared/*/{array}"), same_npy)
        yield from file.cases("prepared array", mutations.damaged(file.content, rng, 15, 30, 10))
        yield from file.cases("prepared array", mutations.npy_headers(file.content))
    record = _file(folder, _only(folder, "prepared/*/record.json"), same_json)
    yield from record.cases("prepared record", mutations.damaged(record.content, rng, 15, 30, 10))
    yield from _json_cases(record, "prepared record", rng, required=("scans", "slices", "labels"))


def _of_models(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    places = {
        "model": "model.safetensors",
        "state": "training-state.safetensors",
        "network": _only(folder, "compare/*/*.safetensors"),
    }
    for kind, name in places.items():
        file = _file(folder, name, same_tensors)
        content = file.content
        yield from file.cases(f"{kind} bytes", mutations.damaged(content, rng, 12, 30, 8))
        yield from file.cases(f"{kind} header", mutations.safetensors_headers(content))
        yield from file.cases(f"{kind} tensors", mutations.tensor_changes(content))
        unsealed = mutations.with_metadata(content, _without_hash(content))
        older = _File(part=file.part, name=name, content=unsealed, same=same_tensors)
        yield from older.cases(f"{kind} tensors, no hash", mutations.tensor_changes(unsealed))
        yield from _metadata_cases(older, kind, rng)


def _without_hash(content: bytes) -> dict[str, str]:
    metadata = mutations.metadata_of(content)
    return {key: value for key, value in metadata.items() if key != "sha256"}


NEEDED_OF_MODEL = ("format", "architecture", "cohort", "preprocessing", "training_key", "loss")


def _metadata_cases(file: _File, kind: str, rng: np.random.Generator) -> Iterator[Case]:
    """Change the JSON in the metadata of a safetensors file that has no hash."""
    metadata = _without_hash(file.content)
    for key, text in metadata.items():
        wrong = ["", "x", "[]", "null", "3", "[" * 100_000, '{"a": NaN}']
        if key == "key":
            continue  # any text is a hash of a declaration
        for value in wrong:
            changed = mutations.with_metadata(file.content, {**metadata, key: value})
            yield from file.cases(f"{kind} metadata", iter([(f"{key} = {value[:20]}", changed)]))
        content = json.loads(text)
        for mutation, path, changed_value, whole in mutations.json_values(content, rng, most=120):
            must = _breaks_type(content, path, changed_value, nullable=NULLABLE, required=())
            is_free = path[0] in ("training", "version", "device", "setting", "tune_dice")
            text_of_whole = json.dumps(whole)
            changed = mutations.with_metadata(file.content, {**metadata, key: text_of_whole})
            yield Case(
                part=file.part,
                kind=f"{kind} metadata",
                mutation=mutation,
                file=file.name,
                content=changed,
                must_refuse=must and not is_free,
            )


def _of_parquet(folders: Mapping[str, Path], rng: np.random.Generator) -> Iterator[Case]:
    ledger = folders["ledger"]
    shards = sorted((ledger / "ledger").glob("*.parquet"))
    largest = max(shards, key=lambda path: path.stat().st_size)
    names = {"ledger": f"ledger/{largest.name}", "results": "results/measurements.parquet"}
    for part, name in names.items():
        file = _file(folders[part], name, same_bytes)
        kind = "shard" if part == "ledger" else "committed measurements"
        yield from file.cases(f"{kind} bytes", mutations.damaged(file.content, rng, 15, 40, 10))
        yield from file.cases(f"{kind} table", mutations.parquet_tables(file.content))
    other = min(path for path in shards if path != largest)
    file = _file(ledger, f"ledger/{largest.name}", same_bytes)
    yield from file.cases("shard bytes", iter([("another shard", other.read_bytes())]))


def _of_records(folders: Mapping[str, Path], rng: np.random.Generator) -> Iterator[Case]:
    folder = folders["records"]
    required = {
        "search.json": (
            "name",
            "identity",
            "identity_half",
            "labels",
            "spacing_mm",
            "space",
            "loss",
            "loss_scale",
            "search",
        ),
        "compare.json": (
            "model",
            "steps",
            "hypermorph_steps",
            "grid",
            "optimum",
            "default",
            "baselines",
        ),
        "gap.json": ("model", "pairs", "settings", "metrics", "stages"),
        "composed.json": ("model", "kinds"),
    }
    for name, keys in required.items():
        file = _file(folder, name, same_json)
        yield from file.cases(f"{name} bytes", mutations.damaged(file.content, rng, 12, 20, 8))
        yield from _json_cases(file, name, rng, required=keys)
    manifest = _file(folders["ledger"], "ledger/manifest.json", same_json)
    # a damaged manifest is made again from the shards, as these say what they hold
    for case in manifest.cases(
        "manifest.json", mutations.damaged(manifest.content, rng, 20, 30, 10)
    ):
        yield _with_duty(case, must_refuse=False)
    yield from _of_csv(folder, rng)


def _of_csv(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    for name, same in {"pairs.csv": same_text, "training.csv": same_bytes}.items():
        file = _file(folder, name, same)
        yield from file.cases(f"{name} bytes", mutations.damaged(file.content, rng, 15, 25, 10))
        yield from file.cases(f"{name} table", mutations.csv_tables(file.content, rng))
        for mutation, _, _, content in mutations.csv_cells(file.content):
            yield from file.cases(f"{name} cell", iter([(mutation, content)]))
    commands = _file(folder, "commands.csv", same_text)
    for case in commands.cases("commands.csv table", mutations.csv_tables(commands.content, rng)):
        yield _with_duty(case, case.mutation not in ("a cell less",))
    for case in commands.cases(
        "commands.csv bytes", mutations.damaged(commands.content, rng, 15, 25, 10)
    ):
        yield _with_duty(case, must_refuse=False)
    for mutation, column, cell, content in mutations.csv_cells(commands.content):
        yield Case(
            part=folder.name,
            kind="commands.csv cell",
            mutation=mutation,
            file="commands.csv",
            content=content,
            must_refuse=column == "minutes" or (column == "started" and cell != ""),
        )


NULLABLE = (
    "identity_",
    "spacing_mm",
    "loss_scale",
    "steps",
    "log_hash",
    "pairs_hash",
    "model_hash",
    "spent",
    "learning_rate",
    "tune_dice",
    "pair_operations",
    "setting_operations",
    "reference",
    "plane",
    "lattice",
)
"""Keys, or how they begin, whose value may be null."""


SIGNED = ("axes", "affine", "intensities")
"""Keys whose numbers may be negative: directions, and intensities that were normalized to mean 0."""


def _json_cases(
    file: _File, kind: str, rng: np.random.Generator, required: tuple[str, ...]
) -> Iterator[Case]:
    """Change each value of a JSON file: with the hash as it was, and as an earlier version wrote it, without."""
    content = json.loads(file.content)
    plain = {key: value for key, value in content.items() if key not in ("sha256", "hashes")}
    for mutation, path, value, whole in mutations.json_values(plain, rng, most=120):
        must = _breaks_type(plain, path, value, nullable=NULLABLE, required=required)
        yield Case(
            part=file.part,
            kind=f"{kind}, no hash",
            mutation=mutation,
            file=file.name,
            content=mutations.as_json(whole),
            must_refuse=must,
        )
    for mutation, path, _, whole in mutations.json_values(content, rng, most=20):
        if path[0] != "sha256":
            mutant = mutation, mutations.as_json(whole)
            yield from file.cases(f"{kind}, stale hash", iter([mutant]))


def _breaks_type(
    content: Any,
    path: tuple[Any, ...],
    value: object,
    *,
    nullable: tuple[str, ...],
    required: tuple[str, ...],
) -> bool:
    """Return whether a value cannot stand at a place of JSON, judged by the one that does."""
    name = str(path[-1])
    if value is MISSING:
        return len(path) == 1 and name in required
    original = content
    for key in path:
        original = original[key]
    if original is None or (isinstance(value, float) and not math.isfinite(value)):
        return isinstance(value, float) and not math.isfinite(value)
    if value == [] and "split" in path:  # no subjects by name, as 0 is none by number
        return False
    if value is None:
        inside = [str(key) for key in path]
        is_free = any(key in ("declared", "loss", "search", "training") for key in inside)
        return not is_free and not name.startswith(nullable)
    if isinstance(original, bool):
        return not isinstance(value, bool)
    if isinstance(original, int | float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_signed = any(key in SIGNED for key in path)
        return not is_number or (value < 0 <= original and not is_signed)  # type: ignore[operator]
    return not isinstance(value, type(original))


def _of_pictures(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    for pattern, kind in {"examples/*.npz": "pictures", "structure-maps.npz": "maps"}.items():
        file = _file(folder, _only(folder, pattern), same_npz)
        yield from file.cases(f"{kind} bytes", mutations.damaged(file.content, rng, 12, 40, 10))
        for case in file.cases(f"{kind} arrays", mutations.npz_changes(file.content)):
            # what a picture was made of only says whether it is drawn again; files of earlier versions lack some
            free = ("made_of", "setting", "metric missing", "scope missing")
            is_free = case.mutation.startswith(free) or (
                kind == "pictures" and case.mutation == "no array"
            )
            yield _with_duty(case, must_refuse=not is_free)
    pictures = _file(folder, _only(folder, "examples/*.npz"), same_npz)
    yield from pictures.cases("pictures ranges", _beyond_ranges(pictures.content))


def _beyond_ranges(content: bytes) -> Iterator[Mutant]:
    """Put one number into an array of pictures that is close to its range, but outside."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    sides = arrays["typical_fixed"].shape
    beyond = {
        "score": (-0.01, 1.01, -1e30, np.nan),
        "moved": (-0.01, 1.01),
        "displacement": (-5.0 * max(sides), 5.0 * max(sides), np.inf),
    }
    for role in ("typical", "worst"):
        for name, numbers in beyond.items():
            for number in numbers:
                changed = arrays[f"{role}_{name}"].copy()
                changed.flat[0] = number
                mutant = mutations.npz({**arrays, f"{role}_{name}": changed})
                yield f"{role}_{name} {number:g}", mutant


def _of_studies(folder: Path, rng: np.random.Generator) -> Iterator[Case]:
    file = _file(folder, "studies.db", same_rows)
    yield from file.cases("studies.db bytes", mutations.damaged(file.content, rng, 12, 30, 8))
    statements = {
        "value altered": "UPDATE trial_values SET value = 0.123",
        "value text": "UPDATE trial_values SET value = 'x'",
        "value null": "UPDATE trial_values SET value = NULL",
        "value infinite": "UPDATE trial_values SET value_type = 'INF_POS'",
        "value type": "UPDATE trial_values SET value_type = 'zzz'",
        "no values": "DELETE FROM trial_values",
        "parameter text": "UPDATE trial_params SET param_value = 'x'",
        "parameter outside": "UPDATE trial_params SET param_value = 1e9",
        "distribution": "UPDATE trial_params SET distribution_json = '{'",
        "another distribution": 'UPDATE trial_params SET distribution_json = \'{"name": "x"}\'',
        "state": "UPDATE trials SET state = 'zzz'",
        "no table of trials": "DROP TABLE trials",
        "no table of attributes": "DROP TABLE study_user_attributes",
        "no table of versions": "DROP TABLE version_info",
        "another version": "UPDATE version_info SET schema_version = 999",
        "attributes of text": "UPDATE study_user_attributes SET value_json = '{'",
        "trial attributes of text": "UPDATE trial_user_attributes SET value_json = '{'",
    }
    for mutation, statement in statements.items():
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.deserialize(_without_wal(file.content))
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(statement)
            changed = connection.serialize()
        yield Case(
            part=folder.name,
            kind="studies.db rows",
            mutation=mutation,
            file=file.name,
            content=changed,
            must_refuse=mutation not in ("another version", "no values"),
        )
