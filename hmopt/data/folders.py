"""The images and label maps that lie in two folders, and which belong together."""

import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hmopt.data.formats import (
    DICOM_ADVICE,
    PAIRED,
    READ,
    advice_about,
    format_of,
    image_name,
    is_dicom,
    other_file,
)
from hmopt.data.manifest import shown_names
from hmopt.data.people import find_people, session_entity, subject_entity
from hmopt.data.spreadsheets import read_text
from hmopt.errors import DataError
from hmopt.files import given_path, leads_nowhere

_CHANNEL = re.compile(r"_(\d{4})$")
_LABEL_WORDS = (
    r"dseg|probseg|segmentations?|seg|labels?|labelmap|lbl|mask|gt|groundtruth"
    r"|aseg|parc|roi|lesion|manual|annotation"
)
_IMAGE_WORDS = (
    r"t1w?|t1ce|t2w?|flair|pdw?|t2starw|bold|dwi|ct|mr|mri|pet|img|image|scan|vol|volume"
    r"|brain|anat|raw|orig"
)
_LABEL_WORD = re.compile(rf"[_\-. ]({_LABEL_WORDS})$", re.I)
_IMAGE_WORD = re.compile(rf"[_\-. ]({_IMAGE_WORDS})$", re.I)
_BIDS_ENTITY = re.compile(r"_(desc|space|res|label|hemi|atlas|seg)-[^_]+", re.I)
_MOST_OPENED = 20
"""Files without a known ending that are opened to see whether they are of DICOM."""

_OTHER_TREES = ("derivatives", "sourcedata", "code", "stimuli")


def list_folders(images: Path | None, labels: Path | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the images of a folder, each with its label map of another.

    A label map has its image's name, in any format that is read; or the name without nnU-Net's
    number of the channel, or with another last word, as `case_seg` for `case` and `sub-1_dseg`
    for `sub-1_T1w`. Folders may have folders inside, as BIDS has. Hidden files, and files of
    other kinds, are left out.

    Returns
    -------
    images : DataFrame
        Columns `image`, `label` (paths), `subject`, and what else names of files tell.
    notes : tuple of str
        What a user should know about them, one sentence each.

    Raises
    ------
    DataError
        If a folder is not there, has no images, or an image has no label map or several.
    """
    images = _existing(images)
    labels = _existing(labels)
    same = images.resolve() == labels.resolve()
    image_files, image_notes = _images_in(images, without=None if same else labels)
    label_files, _ = _images_in(labels, without=None if same else images, what="label maps")
    if same:
        image_files = _without_label_maps(image_files)
    if not image_files:
        raise _none_of("images", images, [])
    cases = _cases(image_files, label_files)
    image_files, channel_note = _one_channel(image_files, cases)
    label_maps = _LabelMaps(labels, label_files, image_files)
    people = find_people(_told_apart(images, image_files, cases))
    table = pd.DataFrame(
        {
            "image": image_files,
            "label": [label_maps.of(image, cases[image]) for image in image_files],
            "subject": list(people.subjects),
        }
    )
    _check_shared_label_maps(table)
    for name, values in people.columns.items():
        table[name] = list(values)
    unused = sorted(set(label_files) - set(table["label"]) - set(image_files))
    unused_note = _unused_note(labels, unused) if unused and not same else None
    notes = (*image_notes, unused_note, channel_note, people.doubt, _same_name_note(table))
    return table, tuple(note for note in notes if note)


def _existing(folder: Path | None) -> Path:
    if folder is None or not folder.is_dir():
        raise DataError(
            str(folder),
            expected="a folder of images",
            got="none",
            advice="Correct the path.",
        )
    return folder


def _told_apart(root: Path, images: Sequence[Path], cases: Mapping[Path, str]) -> list[str]:
    """Return the names of cases; where some are equal, those of all with the fewest folders that tell them apart.

    `001/t1.nii.gz` and `002/t1.nii.gz` become `001_t1` and `002_t1`.
    """
    folders = [image.parent.relative_to(root).parts for image in images]
    deepest = max(len(parts) for parts in folders)
    names = [cases[image] for image in images]
    for depth in range(1, deepest + 1):
        if len(set(names)) == len(names):
            break
        above = [parts[-depth:] for parts in folders]
        names = [
            "_".join([*parts, cases[image]]) for parts, image in zip(above, images, strict=True)
        ]
    return names


def _check_shared_label_maps(table: pd.DataFrame) -> None:
    """Refuse that two images of one name, which lie in two folders, get one label map."""
    first: dict[tuple[str, Path], Path] = {}
    for image, label in zip(table["image"], table["label"], strict=True):
        other = first.setdefault((_plain(image_name(image)), label), image)
        if other.parent != image.parent:
            raise DataError(
                str(image),
                expected="a label map of its own",
                got=f"{label}, that of {other}",
                advice="Add it in a folder of the same name, or give a manifest.",
            )


def _same_name_note(table: pd.DataFrame) -> str | None:
    """Return which two images of one name and one subject lie in different folders, as a sentence."""
    first: dict[tuple[str, str], Path] = {}
    for image, subject in zip(table["image"], table["subject"], strict=True):
        other = first.setdefault((_plain(image_name(image)), subject), image)
        is_visit = session_entity(image.parent.as_posix()) is not None
        if other is not image and not is_visit:
            return (
                f"{other} and {image} are taken for scans of one person, {subject}: "
                "if they are not, give a manifest with a column subject."
            )
    return None


def _unused_note(labels: Path, unused: Sequence[Path]) -> str:
    count = len(unused)
    names = ", ".join(path.name for path in unused[:3])
    more = ", …" if count > 3 else ""
    return f"{labels}: {count} label maps have no image ({names}{more})."


class _LabelMaps:
    """Finds the label map of an image, by exact name first and then by what names have in common.

    Label maps are looked up in four tables, in this order: by the whole file name, by the name
    without its ending, by that without a word such as `_seg`, and by subject and session.
    """

    def __init__(self, folder: Path, labels: Sequence[Path], images: Sequence[Path]) -> None:
        self._folder = folder
        self._by_name: dict[str, _Candidates] = defaultdict(_Candidates)
        self._by_stem: dict[str, _Candidates] = defaultdict(_Candidates)
        self._by_case: dict[str, _Candidates] = defaultdict(_Candidates)
        self._by_scan: dict[str, _Candidates] = defaultdict(_Candidates)
        taken = set(images)
        for label in labels:
            if label in taken and len(taken) < len(labels):
                continue
            folders = set(label.relative_to(folder).parent.parts)
            name = _plain(label.name)
            self._by_name[name].add(label, folders)
            stem = image_name(label)
            self._by_stem[_plain(stem)].add(label, folders)
            case = _LABEL_WORD.sub("", stem)
            self._by_case[_plain(case)].add(label, folders)
            scan = _scan_key(stem, _LABEL_WORD)
            self._by_scan[scan].add(label, folders)

    def of(self, image: Path, case: str) -> Path:
        """Return the label map of an image of a case; where there is none, one of its name."""
        ways = [
            (self._by_name, _plain(image.name)),
            (self._by_stem, _plain(case)),
            (self._by_case, _plain(case)),
            (self._by_scan, _scan_key(case, _IMAGE_WORD)),
        ]
        for table, key in ways:
            found = table[key].nearest(image) if key in table else []
            if len(found) > 1:
                names = [str(path.relative_to(self._folder)) for path in found[:4]]
                raise DataError(
                    str(image),
                    expected="one label map",
                    got=", ".join(names),
                    advice="Leave one, or give a manifest.",
                )
            if found:
                return found[0]
        return self._folder / image.name


class _Candidates:
    """Label maps of one name."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._by_folder: dict[str, list[Path]] = defaultdict(list)

    def add(self, path: Path, folders: set[str]) -> None:
        """Add one, with the names of the folders that it lies in."""
        self._paths.append(path)
        for name in folders:
            self._by_folder[name].append(path)

    def nearest(self, image: Path) -> list[Path]:
        """Return those that lie in most folders of the same names as an image."""
        shared: Counter[Path] = Counter()
        for name in set(image.parent.parts):
            inside = self._by_folder.get(name, [])
            if len(inside) < len(self._paths):  # a folder that all lie in tells none apart
                shared.update(inside)
        if not shared:
            return self._paths
        most = max(shared.values())
        return sorted(path for path, count in shared.items() if count == most)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _scan_key(stem: str, word: re.Pattern[str]) -> str:
    """Return what image and label map of one scan share: subject and session, or all but a word."""
    if subject_entity(stem) is None:
        key = word.sub("", stem)
    else:
        entities = _BIDS_ENTITY.sub("", stem)
        key = re.sub(r"_[^_-]+$", "", entities)
    return _plain(key)


def _images_in(
    folder: Path, without: Path | None, what: str = "images"
) -> tuple[list[Path], list[str]]:
    """Return the images of a folder, and notes about what is left out."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = sorted(path for path in visible if not path.is_dir())
    notes = []
    if not any(format_of(path) in READ for path in files):
        inner = _inner_folders(folder, without)
        inside = {path: _inside(path) for path in inner}
        files += [path for found in inside.values() for path in found]
        notes += _empty_folders_note(folder, inside)
    # lost images are refused by name; what has no ending may have been a folder of some
    lost = [path for path in files if leads_nowhere(path) and not path.suffix]
    if lost:
        verb = "leads" if len(lost) == 1 else "lead"
        notes.append(
            f"{folder}: {_shown(lost, folder)} {verb} "
            "to folders or files that are not there: fetch them if they hold images."
        )
    images = [path for path in files if format_of(path) in READ and not _is_second_file(path)]
    anatomical = [path for path in images if "anat" in path.parts]
    if any(subject_entity(image_name(path)) for path in anatomical):
        images = anatomical
    for path in images:
        given_path(path.absolute(), str(folder), DataError)
    if not images:
        raise _none_of(what, folder, files)
    stems = {image_name(path) for path in images}
    not_read = [path for path in files if advice_about(path) and path.stem not in stems]
    if not_read:
        advice = advice_about(not_read[0])
        notes.append(f"{folder}: {_counted(not_read)} are not read and left out. {advice}")
    return images, notes


def _inner_folders(folder: Path, without: Path | None) -> list[Path]:
    """Return the folders of a folder, hidden ones and other trees of BIDS left out."""
    inner = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith(".") or path.name in _OTHER_TREES:
            continue
        if without is None or path.resolve() != without.resolve():
            inner.append(path)
    return inner


def _inside(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it, also behind links; hidden ones are left out."""
    found = []
    entered = set()
    for place, names, files in os.walk(folder, followlinks=True):
        own = os.path.realpath(place)
        if own in entered:
            # through a link that leads upwards
            names.clear()
            continue
        entered.add(own)
        names[:] = [name for name in names if not name.startswith(".")]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _empty_folders_note(folder: Path, inside: Mapping[Path, Sequence[Path]]) -> list[str]:
    """Return which folders hold no image where others do, as a sentence."""
    empty = [
        path for path, files in inside.items() if not any(format_of(file) in READ for file in files)
    ]
    if not empty or len(empty) == len(inside):
        return []
    verb = "holds" if len(empty) == 1 else "hold"
    return [f"{folder}: {_shown(empty, folder)} {verb} no image that hmopt reads."]


def _shown(paths: Sequence[Path], folder: Path) -> str:
    return shown_names([str(path.relative_to(folder)) for path in paths], 3)


def _is_second_file(path: Path) -> bool:
    """Return whether a file is the header of an image whose voxels lie beside it."""
    is_header = format_of(path) in PAIRED.values()
    return is_header and other_file(path) is not None


def _none_of(what: str, folder: Path, files: Sequence[Path]) -> DataError:
    """Return that a folder has no images or label maps, and what it has."""
    not_read = [path for path in files if advice_about(path)]
    advice = "Give the folder that holds them."
    if not_read:
        got = f"{_counted(not_read)}, which hmopt does not read"
        advice = advice_about(not_read[0]) or ""
    elif any(is_dicom(path) for path in files[:_MOST_OPENED]):
        got = f"{len(files)} files of DICOM, which hmopt does not read"
        advice = DICOM_ADVICE
    else:
        got = f"none among {len(files)} files" if files else "none"
    return DataError(str(folder), expected=what, got=got, advice=advice)


def _counted(files: Sequence[Path]) -> str:
    counts = Counter(format_of(path) for path in files)
    phrases = []
    for ending, count in sorted(counts.items()):
        phrases.append(f"{count} {ending} files")
    return ", ".join(phrases)


def is_label_name(path: Path) -> bool:
    """Tell whether the name of an image ends as those of label maps do.

    Examples
    --------
    >>> is_label_name(Path("sub-1_dseg139.nii.gz")), is_label_name(Path("sub-1_T1w.nii.gz"))
    (True, False)
    """
    without_number = image_name(path).rstrip("0123456789")
    return _LABEL_WORD.search(without_number) is not None


def _without_label_maps(files: Sequence[Path]) -> list[Path]:
    images = [path for path in files if not is_label_name(path)]
    if len(images) == len(files):
        raise DataError(
            str(files[0].parent),
            expected="label maps beside the images, as case_seg.nii.gz beside case.nii.gz",
            got="images only",
            advice="Give the folder of the label maps.",
        )
    return images


def _cases(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, str]:
    """Return the name of every image's case, by its file.

    It is the name of the file; without the number of the channel, as in `case_0000`, where all
    images have one and label maps are called so.
    """
    stems = {}
    cases = {}
    for path in images:
        stem = image_name(path)
        stems[path] = stem
        cases[path] = _CHANNEL.sub("", stem)
    all_numbered = all(_CHANNEL.search(stem) for stem in stems.values())
    label_stems = {image_name(path) for path in labels}
    all_labelled = label_stems.issuperset(cases.values())
    if all_numbered and all_labelled:
        return cases
    return stems


def _one_channel(images: list[Path], cases: dict[Path, str]) -> tuple[list[Path], str | None]:
    """Return the first channel of every case of an nnU-Net folder, with a note about the others."""
    first: dict[str, Path] = {}
    for path in images:
        first.setdefault(cases[path], path)
    unnumbered = all(cases[path] == image_name(path) for path in images)
    if unnumbered or len(first) == len(images):
        return images, None
    kept = list(first.values())
    channels = {image_name(path)[-4:] for path in images}
    used = {image_name(path)[-4:] for path in kept}
    folder = images[0].parent
    names = _channel_names(folder.parent / "dataset.json")
    note = (
        f"{folder}: cases have several channels: {_named(used, names)} is used, "
        f"{_named(channels - used, names)} left out. "
        "A manifest can name the files of another channel."
    )
    return kept, note


def _channel_names(path: Path) -> dict[int, str]:
    """Return what nnU-Net calls the channels; empty where it does not say."""
    try:
        content = json.loads(read_text(path))
        names = content["channel_names"]
        return {int(number): str(name) for number, name in names.items()}
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _named(channels: set[str], names: dict[int, str]) -> str:
    described = []
    for channel in sorted(channels):
        name = names.get(int(channel))
        if name is None:
            described.append(channel)
        else:
            described.append(f"{channel} ({name})")
    return ", ".join(described)
