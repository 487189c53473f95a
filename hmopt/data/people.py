"""Subjects, sessions and modalities, as far as the names of files tell them."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hmopt.data.formats import image_name

_SUBJECT = re.compile(r"(?:^|[_\-. /])(sub-[^_/]+?)(?=$|[_/]|-ses-)", re.I)
_SESSION = re.compile(r"(?:^|[_\-. /])(ses-[^_/]+)", re.I)
_SUFFIX = re.compile(r"_([A-Za-z0-9]+)$")
_BIDS_MODALITIES = {
    "T1w",
    "T2w",
    "FLAIR",
    "PDw",
    "T2starw",
    "PDT2",
    "inplaneT1",
    "inplaneT2",
    "T1map",
    "T2map",
    "UNIT1",
    "angio",
    "ct",
    "pet",
    "dwi",
    "bold",
}
_MODALITIES = r"t1w?|t1ce|t1gd|t1c|t2w?|t2f|flair|pdw?|ct|mri|pet|dwi|adc|swi"
_VISITS = (
    r"(?:ses|sess|session|visit|vis|tp|timepoint|time|scan|mr|run|rep|exam|wave|frame|phase"
    r"|week|month|year|day)[-_]?\d+"
    r"|[vmyd]\d+|ses[-_][a-z0-9]+|baseline|bl|follow-?up\d*|fu\d*|test|retest"
    r"|(?:pre|post|intra)(?:-?op(?:erative)?)?|before|after|t0|t\d\d"
    r"|ed|es|(?:insp|exp)(?:iration|iratory)?|(?:in|ex)h(?:ale)?|arterial|venous|portal|delayed"
    r"|left|right|lh|rh|l|r"
    r"|(?:19|20)\d\d(?P<dash>-?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01])"
)
"""Words of visits, of states of breathing or of contrast, of sides, and dates."""
_TOKEN = re.compile(rf"(?<=[^_\-. ])[_\-. ]((?:{_VISITS})|(?:{_MODALITIES}))(?=$|[_\-. ])", re.I)
_NUMBERED = re.compile(
    r"^(.*\d.*?)(?:[_\-. ]+(?:\(\d+\)|\d+|[a-z]|[a-z]{1,4}\d{1,4})|(?<=\d)[a-z]{1,4}\d{1,2})$",
    re.I,
)
"""A name with a number, and a number or a letter at its end: `001_1`, `001_T2`, `001 (2)`, `S01V2`."""

FEWEST_GROUPS = 3
MOST_SCANS = 6
"""Names are taken apart into persons and scans where there are at least `FEWEST_GROUPS` persons
with at most `MOST_SCANS` scans each."""


@dataclass(frozen=True, kw_only=True)
class People:
    """Subjects, sessions and modalities of images.

    Parameters
    ----------
    subjects
        One an image.
    columns
        What else the names tell: `session` and `modality`, one value an image, where they differ.
    doubt
        What a user should look at; None where the names leave no doubt.
    """

    subjects: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    doubt: str | None


def find_people(names: Sequence[str]) -> People:
    """Return the subjects of images, from their names.

    The entity `sub-` of BIDS names a subject. Otherwise what a name says of a visit, a side or a
    modality (`OAS1_0001_MR1`, `patient001_ED`, `case01_baseline`) is taken off, where this leaves
    subjects of a few scans each.

    Examples
    --------
    >>> find_people(["sub-1_ses-a_T1w", "sub-1_ses-b_T1w"]).subjects
    ('sub-1', 'sub-1')
    >>> find_people(["hippocampus_001", "hippocampus_003"]).subjects
    ('hippocampus_001', 'hippocampus_003')
    """
    entities = [subject_entity(name) for name in names]
    subjects = [entity for entity in entities if entity]
    if len(subjects) == len(names):
        sessions = [session_entity(name) or "" for name in names]
        columns = {"session": sessions, "modality": _bids_modalities(names)}
        return People(subjects=tuple(subjects), columns=_varying(columns), doubt=None)

    parts = _with_times([_without_tokens(name) for name in names])
    persons = [part.person for part in parts]
    repeated = _repeated_example(persons, names)
    if repeated is None or not _looks_like_persons(persons):
        return People(subjects=tuple(names), columns={}, doubt=_doubt(names, repeated))
    columns = {
        "session": [part.visit for part in parts],
        "modality": [part.modality for part in parts],
    }
    return People(
        subjects=tuple(persons),
        columns=_varying(columns),
        doubt=f"{repeated} are taken for scans of one person, by their names: "
        "if they are not, give a manifest with a column subject.",
    )


def subject_entity(name: str) -> str | None:
    """Return the entity `sub-` of a name as BIDS writes it; None where it has none.

    Examples
    --------
    >>> subject_entity("sub-01_ses-2_T1w"), subject_entity("case_01")
    ('sub-01', None)
    """
    found = _SUBJECT.search(name)
    if found is None:
        return None
    return found[1]


def session_entity(name: str) -> str | None:
    """Return the entity `ses-` of a name as BIDS writes it; None where it has none."""
    found = _SESSION.search(name)
    if found is None:
        return None
    return found[1]


def find_doubts(subjects: Sequence[str], images: Sequence[Path]) -> list[str]:
    """Return why given subjects may not be as many persons as they seem, one sentence each.

    Parameters
    ----------
    subjects
        One an image, as a manifest gives them.
    images
        Their files, as many.
    """
    doubts = []
    alike = _spelled_alike(subjects)
    if alike:
        spellings = " and ".join(map(repr, alike))
        doubts.append(
            f"subjects {spellings} count as different persons: write them alike if they are one."
        )
    split = _split_person(subjects, images)
    if split:
        names = ", ".join(map(repr, split[:3]))
        doubts.append(
            f"subjects {names} look like scans of one person: give them one name in the column "
            "subject, or the person may be trained on and searched."
        )
    return doubts


def _spelled_alike(subjects: Sequence[str]) -> list[str]:
    """Return the spellings of the first subject that has several: `A1` and `a1`, `1` and `01`."""
    spellings: dict[str, set[str]] = {}
    for subject in subjects:
        key = subject.casefold()
        if key.isdecimal():
            key = str(int(key))
        spellings.setdefault(key, set()).add(subject)
    return _first_of_several(spellings)


def _split_person(subjects: Sequence[str], images: Sequence[Path]) -> list[str]:
    """Return subjects that are one person by the names of their files, or by their own names."""
    by_entity: dict[tuple[str, ...], set[str]] = {}
    for subject, image in zip(subjects, images, strict=True):
        entity = subject_entity(image_name(image))
        if entity is None:
            continue
        place = _place(image, entity)
        by_entity.setdefault(place, set()).add(subject)
    split = _first_of_several(by_entity)
    if split:
        return split
    by_person: dict[str, list[str]] = {}
    persons = []
    for subject in sorted(set(subjects)):
        person = subject_entity(subject) or _without_tokens(subject).person
        by_person.setdefault(person, []).append(subject)
        persons.append(person)
    return _first_of_several(by_person) if _looks_like_persons(persons) else []


def _first_of_several(groups: Mapping[Any, Collection[str]]) -> list[str]:
    """Return the first group of more than one name, sorted; empty where there is none."""
    for names in groups.values():
        if len(names) > 1:
            return sorted(names)
    return []


def _place(image: Path, entity: str) -> tuple[str, ...]:
    """Return what tells a person of one BIDS tree from one of the same number in another."""
    folders = image.parent.parts
    if entity in folders:
        folders = folders[: folders.index(entity)]
    return (*folders, entity)


class _Parts(NamedTuple):
    """A name without its tokens, and the tokens; empty where it has none."""

    person: str
    visit: str
    modality: str


def _without_tokens(name: str) -> _Parts:
    """Return the parts of a name: `case01_baseline_T1` is `case01`, `baseline` and `T1`."""
    visits = []
    modalities = []
    for match in _TOKEN.finditer(name):
        token = match[1]
        is_modality = re.fullmatch(_MODALITIES, token, re.I)
        if is_modality:
            modalities.append(token)
        else:
            visits.append(token)
    person = _TOKEN.sub("", name)
    return _Parts(person, "_".join(visits), "_".join(modalities))


def _with_times(parts: Sequence[_Parts]) -> list[_Parts]:
    """Return the parts of names, in which `T1` beside a `T0` is a visit and no modality."""
    if not any(part.visit.lower() == "t0" for part in parts):
        return list(parts)
    timed = []
    for part in parts:
        words = [word for word in (part.visit, part.modality) if word]
        timed.append(_Parts(part.person, "_".join(words), ""))
    return timed


def _looks_like_persons(persons: Sequence[str]) -> bool:
    scans = Counter(persons)
    most = max(scans.values())
    enough_persons = len(scans) >= FEWEST_GROUPS
    few_scans_each = 1 < most <= MOST_SCANS
    return enough_persons and few_scans_each


def _repeated_example(persons: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the names of two scans of one person, as `a and b`; None: all persons differ."""
    scans: dict[str, list[str]] = {}
    for person, name in zip(persons, names, strict=True):
        scans.setdefault(person, []).append(name)
    for same in scans.values():
        if len(same) > 1:
            first, second, *_ = same
            return f"{first} and {second}"
    return None


def _doubt(names: Sequence[str], repeated: str | None) -> str | None:
    if repeated is None:
        repeated = _numbered_example(names)
    if repeated is None:
        return None
    return (
        f"{repeated} count as two persons: if they are scans of one, give a manifest with a "
        "column subject, or the person may be trained on and searched."
    )


def _numbered_example(names: Sequence[str]) -> str | None:
    """Return two names such as `001_1` and `001_2`, where at least half of the names come so."""
    stems = []
    for name in names:
        found = _NUMBERED.match(name)
        stems.append(found[1] if found else name)
    if not _looks_like_persons(stems):
        return None
    scans = Counter(stems)
    with_several = sum(count > 1 for count in scans.values())
    if 2 * with_several < len(scans):
        return None
    return _repeated_example(stems, names)


def _bids_modalities(names: Sequence[str]) -> list[str]:
    """Return the last word of every name, where all of these are modalities of BIDS."""
    suffixes = []
    for name in names:
        found = _SUFFIX.search(name)
        suffixes.append(found[1] if found else "")
    if _BIDS_MODALITIES.issuperset(suffixes):
        return suffixes
    return [""] * len(names)


def _varying(columns: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """Return the columns whose values are not all the same."""
    varying = {}
    for name, values in columns.items():
        if len(set(values)) > 1:
            varying[name] = tuple(values)
    return varying
