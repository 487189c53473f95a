"""The images and label maps that lie in two folders, and which belong together."""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hmopt.data.formats import PAIRED, READ, advice_about, format_of, image_name, other_file
from hmopt.data.people import find_people, subject_entity
from hmopt.data.spreadsheets import read_text
from hmopt.errors import DataError

_CHANNEL = re.compile(r"_(\d{4})$")
_LABEL_WORDS = (
    r"dseg|probseg|segmentations?|seg|labels?|labelmap|lbl|mask|gt|groundtruth"
    r"|aseg|parc|roi|lesion|manual|annotation"
)
_IMAGE_WORDS = r"t1w?|t1ce|t2w?|flair|pdw?|t2starw|bold|dwi|ct|mr|mri|pet|img|image|scan|vol|volume|brain|anat|raw|orig"
_LABEL_WORD = re.compile(rf"[_\-. ]({_LABEL_WORDS})$", re.I)
_IMAGE_WORD = re.compile(rf"[_\-. ]({_IMAGE_WORDS})$", re.I)
_BIDS_ENTITY = re.compile(r"_(desc|space|res|label|hemi|atlas|seg)-[^_]+", re.I)
_OTHER_TREES = ("derivatives", "sourcedata", "code", "stimuli")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Images with their label maps.

    Parameters
    ----------
    images
        Columns `image`, `label` (paths), `subject`, and what else names of files tell.
    notes
        What a user should know about them, one sentence each.
    """

    images: pd.DataFrame
    notes: tuple[str, ...] = ()


def list_folders(images: Path | None, labels: Path | None) -> Listing:
    """Return the images of a folder, each with its label map of another.

    A label map has its image's name, in any format that is read; or the name without nnU-Net's number of the channel,
    or with another last word, as `case_seg` for `case` and `sub-1_dseg` for `sub-1_T1w`. Folders may have folders
    inside, as BIDS has. Hidden files, and files of other kinds, are left out.

    Raises
    ------
    DataError
        If a folder is not there, has no images, or an image has no label map or several.
    """
    for folder in (images, labels):
        if folder is None or not folder.is_dir():
            raise DataError(
                str(folder), expected="a folder of images", got="none", advice="Correct the path."
            )
    assert images is not None
    assert labels is not None
    same = images.resolve() == labels.resolve()
    image_files, notes = _images_in(images, without=None if same else labels)
    label_files, _ = _images_in(labels, without=None if same else images, required=False)
    if same:
        image_files = _without_label_maps(image_files)
    cases = _cases(image_files, label_files)
    image_files, channel_note = _one_channel(image_files, cases)
    found = _LabelMaps(labels, label_files, image_files)
    people = find_people([cases[image] for image in image_files])
    table = pd.DataFrame(
        {
            "image": image_files,
            "label": [found.of(image, cases[image]) for image in image_files],
            "subject": list(people.subjects),
            **{name: list(values) for name, values in people.columns.items()},
        }
    )
    unused = sorted(set(label_files) - set(table["label"]) - set(image_files))
    if unused and not same:
        names = ", ".join(path.name for path in unused[:3])
        notes = (
            *notes,
            f"{labels}: {len(unused)} label maps have no image ({names}{', …' if len(unused) > 3 else ''}).",
        )
    remarks = (*notes, channel_note, people.doubt)
    return Listing(images=table, notes=tuple(note for note in remarks if note))


class _LabelMaps:
    """Finds the label map of an image, by exact name first and then by what names have in common."""

    def __init__(self, folder: Path, labels: Sequence[Path], images: Sequence[Path]) -> None:
        taken = set(images)
        self._folder = folder
        self._by: dict[str, dict[str, list[Path]]] = {
            way: defaultdict(list) for way in ("name", "stem", "key", "scan")
        }
        for label in labels:
            if label in taken and len(taken) < len(labels):
                continue
            stem = image_name(label)
            self._by["name"][_plain(label.name)].append(label)
            self._by["stem"][_plain(stem)].append(label)
            self._by["key"][_plain(_LABEL_WORD.sub("", stem))].append(label)
            self._by["scan"][_scan_key(stem, _LABEL_WORD)].append(label)

    def of(self, image: Path, case: str) -> Path:
        """Return the label map of an image of a case; one with its name that is not there, where there is none."""
        ways = [
            ("name", _plain(image.name)),
            ("stem", _plain(case)),
            ("key", _plain(case)),
            ("scan", _scan_key(case, _IMAGE_WORD)),
        ]
        for way, key in ways:
            found = self._by[way].get(key, [])
            found = _nearest(found, image, self._folder) if len(found) > 1 else found
            if len(found) > 1:
                names = ", ".join(str(path.relative_to(self._folder)) for path in found[:4])
                advice = "Leave one, or give a manifest."
                raise DataError(str(image), expected="one label map", got=names, advice=advice)
            if found:
                return found[0]
        return self._folder / image.name


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _scan_key(stem: str, word: re.Pattern[str]) -> str:
    """Return what image and label map of one scan have in common: subject and session, or all but the last word."""
    subject = subject_entity(stem)
    if subject is not None:
        entities = _BIDS_ENTITY.sub("", stem)
        return _plain(re.sub(r"_[^_-]+$", "", entities) if "_" in entities else entities)
    return _plain(word.sub("", stem))


def _nearest(found: Sequence[Path], image: Path, folder: Path) -> list[Path]:
    """Return those of several label maps that lie in folders of the same names as the image does."""
    parts = set(image.parent.parts)
    shared = [len(parts & set(path.relative_to(folder).parent.parts)) for path in found]
    return [path for path, count in zip(found, shared, strict=True) if count == max(shared)]


def _images_in(
    folder: Path, without: Path | None, required: bool = True
) -> tuple[list[Path], tuple[str, ...]]:
    files = sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir()
    )
    if not any(format_of(path) in READ for path in files):
        files = files + list(_inside(folder, without))
    voxels = [path for path in files if format_of(path) in READ and not _is_second_file(path)]
    anatomical = [path for path in voxels if "anat" in path.parts]
    voxels = (
        anatomical
        if anatomical and any(subject_entity(image_name(path)) for path in anatomical)
        else voxels
    )
    stems = {image_name(path) for path in voxels}
    strange = [path for path in files if advice_about(path) and path.stem not in stems]
    if not voxels and required:
        raise _no_images(folder, files, strange)
    if not strange:
        return voxels, ()
    return voxels, (
        f"{folder}: {_counted(strange)} are not read and left out. {advice_about(strange[0])}",
    )


def _inside(folder: Path, without: Path | None) -> Iterator[Path]:
    for inner in sorted(folder.iterdir()):
        if not inner.is_dir() or inner.name.startswith(".") or inner.name in _OTHER_TREES:
            continue
        if without is not None and inner.resolve() == without.resolve():
            continue
        for path in sorted(inner.rglob("*")):
            below = path.relative_to(folder).parts
            hidden = any(part.startswith(".") for part in below)
            if not hidden and not path.is_dir():
                yield path


def _is_second_file(path: Path) -> bool:
    """Tell whether a file is the header of an image whose voxels lie beside it, which then stand for the image."""
    return format_of(path) in PAIRED.values() and other_file(path) is not None


def _no_images(folder: Path, files: Sequence[Path], strange: Sequence[Path]) -> DataError:
    if strange:
        got = f"{_counted(strange)}, which hmopt does not read"
        advice = advice_about(strange[0]) or ""
    else:
        got = f"none among {len(files)} files" if files else "none"
        advice = "Give the folder that holds them."
    return DataError(str(folder), expected="images", got=got, advice=advice)


def _counted(files: Sequence[Path]) -> str:
    counts = Counter(format_of(path) for path in files)
    return ", ".join(f"{count} {ending} files" for ending, count in sorted(counts.items()))


def _without_label_maps(files: Sequence[Path]) -> list[Path]:
    images = [path for path in files if not _LABEL_WORD.search(image_name(path))]
    if len(images) == len(files):
        raise DataError(
            str(files[0].parent),
            expected="label maps beside the images, as case_seg.nii.gz beside case.nii.gz",
            got="images only",
            advice="Give the folder of the label maps.",
        )
    return images


def _cases(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, str]:
    """Return the name of every image's case: without the number of the channel where label maps have none either."""
    stems = {path: image_name(path) for path in images}
    cases = {path: _CHANNEL.sub("", stem) for path, stem in stems.items()}
    numbered = all(_CHANNEL.search(stem) for stem in stems.values())
    known = {image_name(path) for path in labels}
    return cases if numbered and set(cases.values()) <= known else stems


def _one_channel(images: list[Path], cases: dict[Path, str]) -> tuple[list[Path], str | None]:
    """Return the first channel of every case of a nnU-Net folder, with a note where there are others."""
    first: dict[str, Path] = {}
    for path in images:
        first.setdefault(cases[path], path)
    if len(first) == len(images) or all(cases[path] == image_name(path) for path in images):
        return images, None
    kept = list(first.values())
    channels = [image_name(path)[-4:] for path in images]
    used = sorted({image_name(path)[-4:] for path in kept})
    others = sorted(set(channels) - set(used))
    names = _channel_names(images[0].parent.parent / "dataset.json")
    note = (
        f"{images[0].parent}: cases have several channels: {_named(used, names)} is used, {_named(others, names)} "
        "left out. A manifest can name the files of another channel."
    )
    return kept, note


def _channel_names(path: Path) -> dict[int, str]:
    """Return what nnU-Net calls the channels; empty where it does not say."""
    try:
        content = json.loads(read_text(path))
        return {int(number): str(name) for number, name in content["channel_names"].items()}
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _named(channels: Sequence[str], names: dict[int, str]) -> str:
    return ", ".join(
        f"{channel} ({names[int(channel)]})" if int(channel) in names else channel
        for channel in channels
    )
