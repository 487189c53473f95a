"""Cohorts in BIDS datasets: images, label maps of a derivative dataset, and participants.

bids2table reads the names of files. The result is a manifest as a user would write it, so that all
that follows knows nothing of BIDS.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hmopt.data.manifest import OPTIONAL, REQUIRED, RESERVED, shown_names
from hmopt.data.names import IGNORE, read_label_table
from hmopt.data.spreadsheets import read_table
from hmopt.errors import DataError, DeclarationError
from hmopt.files import leads_nowhere

_OWN_COLUMNS = {*REQUIRED, *OPTIONAL, *RESERVED, "session", "modality", "run"}
LABEL_SUFFIX = "dseg"
_LABEL_SUFFIXES = ("dseg", "probseg", "mask")
_IMAGE_ENDINGS = (".nii.gz", ".nii")
_NOT_OF_THE_SCAN = (
    "space",
    "res",
    "den",
    "desc",
    "seg",
    "atlas",
    "label",
    "scale",
    "hemi",
    "suffix",
    "datatype",
)
"""Entities that a label map has of its own; all others name the scan that it was made from."""
_NATIVE_SPACES = ("orig", "individual", "native", "scanner")
"""What derivatives call the space of the scan itself, beside its suffix."""
_MOST_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class BidsQuery:
    """Which files of a BIDS dataset are meant.

    Parameters
    ----------
    dataset
        Its folder, with `sub-*` in it.
    derivative
        The dataset of the label maps: a folder, or the name of one below `derivatives`; None: the
        only one that has label maps.
    suffixes
        Of images, as `T1w`; empty: the only one of the anatomical images.
    space
        The entity `space` of images and label maps; None: images as they were acquired.
    entities
        Further entities of images, as `{"acq": "mprage"}`; an empty value: images without it.
    label_entities
        The same of label maps, as `{"desc": "aparcaseg"}`; `suffix` may stand here, too.
    """

    dataset: Path
    derivative: Path | None = None
    suffixes: tuple[str, ...] = ()
    space: str | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    label_entities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BidsCohort:
    """What a BIDS dataset holds for a study.

    Parameters
    ----------
    images
        A row an image: `image` and `label` (paths), `subject`, then `session`, `modality` and `run`
        where they differ or are given, then what `participants.tsv` and `sessions.tsv` say.
    label_names
        Names of labels by code, from the dataset's own tables; None where there is none.
    notes
        What a user should know, one sentence each.
    """

    images: pd.DataFrame
    label_names: dict[int, str] | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file of a dataset, and what its name says; `suffix` and `datatype` count as entities."""

    path: Path
    entities: Mapping[str, str]

    def get(self, entity: str) -> str:
        return self.entities.get(entity, "")

    @property
    def scan(self) -> tuple[str, str]:
        """Subject and session."""
        return self.get("sub"), self.get("ses")


def read_bids(query: BidsQuery) -> BidsCohort:
    """Return the images of a BIDS dataset, each with its label map.

    Scans of one session that differ in `run` alone are taken as so many images of it. Images
    without a label map are left out, and noted.

    Parameters
    ----------
    query
        Which files are meant.

    Raises
    ------
    DataError
        If there is no such dataset, no image or no label map, or several fit; what tells them
        apart is named, and the option that does.
    DeclarationError
        If bids2table is not installed.
    """
    dataset = _folder(query.dataset)
    files = _index(dataset)
    if not files:
        has_subjects = any(dataset.glob("sub-*"))
        raise DataError(
            str(dataset),
            expected="a BIDS dataset with images",
            got="no image of its subjects" if has_subjects else "no folder sub-…",
            advice="Name the folder that holds those of the subjects.",
        )
    labels, derivative = _label_files(query, dataset, files)
    images = _image_files(query, files, labels)
    pairs, missing = _paired(images, _label_maps(query, labels, derivative))
    if not pairs:
        raise DataError(
            str(derivative),
            expected=f"label maps of the {len(images)} images",
            got=f"none with the subject and session of {images[0].path.name}",
            advice="Use another --derivative, or --space if the label maps are in another space.",
        )
    notes = []
    lost = [
        path.name
        for path in sorted(dataset.glob("sub-*"))
        if leads_nowhere(path) or (path.is_dir() and not any(path.iterdir()))
    ]
    if lost:
        names = shown_names(lost, _MOST_SHOWN)
        notes.append(f"{dataset}: {names}: links to nowhere or empty folders. Fetch them.")
    if missing:
        names = shown_names([image.path.name for image in missing], _MOST_SHOWN)
        notes.append(
            f"{dataset}: {len(missing)} images have no label map in {derivative} and are left "
            f"out: {names}."
        )
    table = _table(pairs)
    described, said = _participants(table, dataset)
    names_of_labels = _label_names([label for _, label in pairs], (derivative, dataset))
    return BidsCohort(images=described, label_names=names_of_labels, notes=(*notes, *said))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        got = "a file" if path.is_file() else "no folder"
        raise DataError(str(path), expected="a BIDS dataset", got=got, advice="Correct the path.")
    return path


def _index(dataset: Path) -> list[_File]:
    """Return the images of a dataset, of its own subjects only."""
    try:
        import bids2table
    except ImportError as error:
        raise DeclarationError(
            "--bids",
            expected="bids2table, which reads BIDS datasets",
            got="no such package",
            advice="Install it: pip install 'hmopt[bids]'.",
        ) from error
    with _without_log("bids2table"):  # what it warns of is told as an error here
        table = bids2table.index_dataset(dataset)
    files = []
    for row in table.to_pylist():
        if row["ext"] not in _IMAGE_ENDINGS:
            continue
        entities = _entities(row)
        files.append(_File(path=Path(row["root"]) / row["path"], entities=entities))
    return sorted(files, key=lambda file: str(file.path))


@contextmanager
def _without_log(name: str) -> Iterator[None]:
    """Show nothing below an error of a package's log in this block."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _entities(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the entities of a row that have a value, as text."""
    entities = {}
    for name, value in row.items():
        if name in ("dataset", "root", "path", "ext", "extra_entities") or value is None:
            continue
        entities[name] = str(value)
    for name, value in row["extra_entities"] or []:
        entities[name] = str(value)
    return entities


def _label_files(
    query: BidsQuery, dataset: Path, files: Sequence[_File]
) -> tuple[list[_File], Path]:
    """Return the files among which label maps are looked for, and their dataset."""
    if query.derivative is not None:
        derivative = query.derivative
        if not derivative.is_dir():
            derivative = dataset / "derivatives" / query.derivative
        return _index(_folder(derivative)), derivative
    suffix = query.label_entities.get("suffix", LABEL_SUFFIX)
    found: dict[Path, list[_File]] = {}
    if any(file.get("suffix") == suffix for file in files):
        found[dataset] = list(files)
    others = sorted(path for path in dataset.glob("derivatives/*") if path.is_dir())
    for folder in others:
        # label maps that hmopt moved are no segmentations
        inside = [file for file in _index(folder) if file.get("desc") != "hmopt"]
        if any(file.get("suffix") == suffix for file in inside):
            found[folder] = inside
    if len(found) == 1:
        ((derivative, inside),) = found.items()
        return inside, derivative
    names = [folder.name for folder in (found or others)]
    raise DataError(
        str(dataset),
        expected=f"label maps (_{suffix}) in one derivative dataset",
        got=f"{'some in each of' if found else 'none in'} {shown_names(names, _MOST_SHOWN) or 'it'}",
        advice="Name it: --derivative.",
    )


def _image_files(query: BidsQuery, files: Sequence[_File], labels: Sequence[_File]) -> list[_File]:
    """Return the images that are meant: one for each scan, or one for each run of it."""
    by_path = {file.path: file for file in files}
    if query.space is not None:
        # images in a space are results themselves, and may lie beside the label maps
        by_path.update({file.path: file for file in labels})
    available = list(by_path.values())
    images = [file for file in available if file.get("suffix") not in _LABEL_SUFFIXES]
    if query.space is None and any(not file.get("space") for file in images):
        images = [file for file in images if not file.get("space")]
    elif query.space is not None:
        images = [file for file in images if file.get("space") == query.space]
        if not images:
            raise DataError(
                str(query.dataset),
                expected=f"images with space {query.space}, there or beside the label maps",
                got=f"spaces {_counted(available, 'space')}",
                advice="Correct --space, or leave it out for images in native space.",
            )
    suffixes = query.suffixes or _only_suffix(query, images)
    images = [file for file in images if file.get("suffix") in suffixes]
    images = _selected(images, query.entities)
    if not images:
        wanted = [f"suffix {' or '.join(suffixes)}"]
        wanted += [] if query.space is None else [f"space {query.space}"]
        wanted += [f"{name} {value or 'absent'}" for name, value in query.entities.items()]
        raise DataError(
            str(query.dataset),
            expected=f"images with {', '.join(wanted)}",
            got=f"suffixes {_counted(files, 'suffix')}; spaces {_counted(available, 'space')}",
            advice="Correct --suffix, --space or --select.",
        )
    groups: dict[tuple[str, ...], list[_File]] = defaultdict(list)
    for image in images:
        groups[(*image.scan, image.get("suffix"))].append(image)
    for group in groups.values():
        apart = _telling_apart(group)
        if set(apart) - {"run"}:
            raise _several(group, apart, "images", "--select")
    return images


def _only_suffix(query: BidsQuery, images: Sequence[_File]) -> tuple[str, ...]:
    anatomical = [file for file in images if file.get("datatype") == "anat"] or list(images)
    suffixes = {file.get("suffix") for file in anatomical}
    if len(suffixes) == 1:
        return tuple(suffixes)
    raise DataError(
        str(query.dataset),
        expected="images of one suffix",
        got=_counted(anatomical, "suffix"),
        advice="Choose one: --suffix T1w, or give --suffix several times.",
    )


def _label_maps(query: BidsQuery, files: Sequence[_File], derivative: Path) -> list[_File]:
    """Return the label maps that are meant."""
    wanted = {"suffix": LABEL_SUFFIX, **query.label_entities}
    if query.space is not None:
        wanted.setdefault("space", query.space)
    found = _selected(files, wanted)
    if found:
        return found
    described = ", ".join(f"{name}={value}" for name, value in wanted.items())
    raise DataError(
        str(derivative),
        expected=f"label maps with {described}",
        got=f"suffixes {_counted(files, 'suffix')}; desc {_counted(files, 'desc')}; "
        f"spaces {_counted(files, 'space')}",
        advice="Correct --derivative, --space or --select-labels.",
    )


def _selected(files: Iterable[_File], wanted: Mapping[str, str]) -> list[_File]:
    """Return the files whose entities have these values."""
    return [file for file in files if _has(file, wanted)]


def _has(file: _File, wanted: Mapping[str, str]) -> bool:
    """Tell whether all these entities of a file have these values."""
    return all(_plain(file.get(name)) == _plain(value) for name, value in wanted.items())


def _plain(value: str) -> str:
    """Return a value without leading zeros of a number: run-01 is run 1."""
    return value.lstrip("0") or "0" if value.isdecimal() else value


def _paired(
    images: Sequence[_File], labels: Sequence[_File]
) -> tuple[list[tuple[_File, _File]], list[_File]]:
    """Return each image with its label map, and the images that have none."""
    by_scan: dict[tuple[str, str], list[_File]] = defaultdict(list)
    for label in labels:
        by_scan[label.scan].append(label)
    pairs: list[tuple[_File, _File]] = []
    missing: list[_File] = []
    owner: dict[Path, _File] = {}
    for image in images:
        found = _label_of(image, by_scan[image.scan])
        if found is None:
            missing.append(image)
            continue
        other = owner.setdefault(found.path, image)
        if other is not image and other.get("suffix") == image.get("suffix"):
            raise _several([other, image], _telling_apart([other, image]), "images", "--select")
        pairs.append((image, found))
    return pairs, missing


def _label_of(image: _File, labels: Sequence[_File]) -> _File | None:
    """Return the label map of an image; None where there is none."""
    fitting = [label for label in labels if _is_of_scan(label, image)]
    if not fitting:
        return None
    shared = {label.path: _shared_entities(label, image) for label in fitting}
    most = max(shared.values())
    nearest = [label for label in fitting if shared[label.path] == most]
    if len(nearest) > 1:
        apart = _telling_apart(nearest)
        raise _several(nearest, apart, f"label maps of {image.path.name}", "--select-labels")
    return nearest[0]


def _is_of_scan(label: _File, image: _File) -> bool:
    """Tell whether a label map was made from an image, by what their names say."""
    own_space = image.get("space")
    space = label.get("space")
    native = ("", image.get("suffix"), *_NATIVE_SPACES)
    if space != own_space and not (own_space == "" and space in native):
        return False
    for name, value in label.entities.items():
        if name not in _NOT_OF_THE_SCAN and _plain(value) != _plain(image.get(name)):
            return False
    return True


def _shared_entities(label: _File, image: _File) -> int:
    return sum(1 for name, value in label.entities.items() if image.get(name) == value)


def _telling_apart(files: Sequence[_File]) -> dict[str, list[str]]:
    """Return the entities in which files differ, with their values."""
    names = sorted({name for file in files for name in file.entities})
    apart = {}
    for name in names:
        values = sorted({file.get(name) for file in files})
        if len(values) > 1 and name != "datatype":
            apart[name] = values
    return apart


def _several(
    files: Sequence[_File], apart: Mapping[str, Sequence[str]], what: str, option: str
) -> DataError:
    """Return the refusal of several files where one is meant."""
    name, values = next(iter(apart.items()), ("desc", [""]))
    choices = " or ".join(f"{option} {name}={value}" for value in values[:_MOST_SHOWN])
    empty = f" ({name}= is the one without it)" if "" in values else ""
    found = shown_names([file.path.name for file in files], _MOST_SHOWN)
    return DataError(
        str(files[0].path.parent),
        expected=f"one of the {what}",
        got=f"{len(files)}: {found}",
        advice=f"Choose by {choices}{empty}.",
    )


def _table(pairs: Sequence[tuple[_File, _File]]) -> pd.DataFrame:
    rows = []
    for image, label in pairs:
        session = image.get("ses")
        rows.append(
            {
                "image": image.path,
                "label": label.path,
                "subject": f"sub-{image.get('sub')}",
                "session": f"ses-{session}" if session else "",
                "modality": image.get("suffix"),
                "run": image.get("run"),
            }
        )
    table = pd.DataFrame(rows)
    told = [name for name in ("session", "run") if (table[name] != "").any()]
    if table["modality"].nunique() > 1:
        told.append("modality")
    return table[["image", "label", "subject", *told]]


def _participants(table: pd.DataFrame, dataset: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the table with the columns of `participants.tsv` and of `sessions.tsv`, and notes."""
    notes = []
    described = table
    if (
        not (dataset / "participants.tsv").is_file()
        and dataset.absolute().parent.name == "derivatives"
    ):
        # a derivative dataset leaves its people to the dataset that it was made from
        dataset = dataset.absolute().parents[1]
    whole = dataset / "participants.tsv"
    if whole.is_file():
        people = _without_own_names(read_table(whole, "a table of participants"), "participant_id")
        described, said = _joined(described, people, whole, {"participant_id": "subject"})
        notes += said
    if "session" not in table:
        return described, notes
    found = {}
    for subject in table["subject"].unique():
        path = dataset / subject / f"{subject}_sessions.tsv"
        if path.is_file():
            visits_of_subject = read_table(path, "a table of sessions")
            found[subject] = _without_own_names(visits_of_subject, "session_id")
    visits = [visit.assign(subject=subject) for subject, visit in found.items()]
    if visits:
        keys = {"session_id": "session", "subject": "subject"}
        described, said = _joined(described, pd.concat(visits), dataset, keys)
        notes += said
    return described, notes


def _without_own_names(described: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return a table of BIDS whose columns have no name that hmopt gives to columns of its own."""
    clashing = [
        str(column)
        for column in described
        if column != key and str(column).strip().lower() in _OWN_COLUMNS
    ]
    return described.rename(columns={column: f"participant_{column}" for column in clashing})


def _joined(
    table: pd.DataFrame, more: pd.DataFrame, origin: Path, keys: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return a table with the columns of another one, which is looked up by `keys`."""
    missing = [key for key in keys if key not in more]
    if missing:
        return table, [f"{origin}: it has no column {missing[0]} and is left out."]
    named = more.rename(columns=dict(keys))
    for column in keys.values():
        prefix = "sub-" if column == "subject" else "ses-"
        bare = named[column].str.removeprefix(prefix)
        named[column] = prefix + bare
    named = named.drop_duplicates(list(keys.values()))
    on = list(keys.values())
    told = [str(column) for column in named if column not in on]
    # what a session says of a person replaces what was said of the person in general
    kept = table.drop(columns=[column for column in told if column in table])
    joined = kept.merge(named[[*on, *told]], on=on, how="left")
    for column in told:
        values = joined[column].where(joined[column] != "")
        if column in table:
            in_general = table[column].set_axis(joined.index)
            values = values.fillna(in_general)
        joined[column] = values.fillna("n/a")
    unknown = sorted(set(table["subject"]) - set(named["subject"]))
    if not unknown:
        return joined, []
    return joined, [f"{origin}: it does not list {shown_names(unknown, _MOST_SHOWN)}."]


def _label_names(labels: Sequence[_File], roots: Sequence[Path]) -> dict[int, str] | None:
    """Return the names of labels from the tables that BIDS gives label maps.

    A table `…_dseg.tsv` holds for the label maps whose names have all its entities, in its folder
    and below; of several, the one with most entities.

    Raises
    ------
    DataError
        If two tables give one code different names.
    """
    tables = _tables(roots)
    names: dict[int, str] = {}
    origin: dict[int, Path] = {}
    by_subject: dict[str, dict[Path, Mapping[str, str]]] = defaultdict(dict)
    for path, entities in tables.items():
        by_subject[_plain(entities.get("sub", ""))][path] = entities
    used = set()
    for label in labels:
        of_subject = by_subject[_plain(label.get("sub"))]
        used.add(_table_of(label, {**by_subject[""], **of_subject}))
    for path in sorted(path for path in used if path is not None):
        table = read_label_table(path)
        # with the codes that it ignores: a table of these names is written, and ignores them again
        for code, name in (table.names | dict.fromkeys(table.ignored, IGNORE)).items():
            if names.setdefault(code, name) != name:
                raise DataError(
                    str(path),
                    expected=f"{names[code]!r} for label {code}, as {origin[code]} says",
                    got=repr(name),
                    advice="Choose label maps of one segmentation by --select-labels, "
                    "or give --label-names.",
                )
            origin.setdefault(code, path)
    return names or None


def _tables(roots: Sequence[Path]) -> dict[Path, Mapping[str, str]]:
    """Return all tables of label names, with their entities."""
    import bids2table

    tables: dict[Path, Mapping[str, str]] = {}
    for root in roots:
        for path in sorted(root.glob("*dseg.tsv")) + sorted(root.glob("sub-*/**/*dseg.tsv")):
            entities = bids2table.parse_bids_entities(path.name)
            entities.pop("ext", None)
            tables[path] = {name: str(value) for name, value in entities.items()}
    return tables


def _table_of(label: _File, tables: Mapping[Path, Mapping[str, str]]) -> Path | None:
    best = None
    most = -1
    for path, entities in tables.items():
        is_elsewhere = path.parent not in label.path.parents and "sub" in entities
        if _has(label, entities) and not is_elsewhere and len(entities) > most:
            best = path
            most = len(entities)
    return best


def _counted(files: Iterable[_File], entity: str) -> str:
    """Return the values of an entity with their numbers, as `T1w (12), T2w (4)`."""
    counts = Counter(file.get(entity) or "none" for file in files)
    described = [f"{value} ({count})" for value, count in sorted(counts.items())]
    return ", ".join(described) or "none"
