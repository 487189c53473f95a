"""Whom images are of, as far as the names of files tell."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmopt.data.formats import image_name

_SUBJECT = re.compile(r"(?:^|[_\-. /])(sub-[^_/]+?)(?=$|[_/]|-ses-)", re.I)
_SESSION = re.compile(r"(?:^|[_\-. /])(ses-[^_/]+)", re.I)
_SUFFIX = re.compile(r"_([A-Za-z0-9]+)$")
_BIDS_MODALITIES = {
    "T1w", "T2w", "FLAIR", "PDw", "T2starw", "PDT2", "inplaneT1", "inplaneT2", "T1map", "T2map", "UNIT1", "angio", "ct",
    "pet", "dwi", "bold",
}  # fmt: skip
_MODALITIES = r"t1w?|t1ce|t1gd|t1c|t2w?|t2f|flair|pdw?|ct|mri|pet|dwi|adc|swi"
_VISITS = (
    r"(?:ses|sess|session|visit|vis|tp|timepoint|time|scan|mr|run|rep|exam|wave|frame|phase|week|month|year|day)[-_]?\d+"
    r"|[vmyd]\d+|ses[-_][a-z0-9]+|baseline|bl|follow-?up\d*|fu\d*|pre|post|test|retest"
    r"|ed|es|insp|exp|left|right|lh|rh|l|r"
)
_TOKEN = re.compile(rf"(?<=[^_\-. ])[_\-. ]((?:{_VISITS})|(?:{_MODALITIES}))(?=$|[_\-. ])", re.I)
_NUMBERED = re.compile(r"^(.*\d.*)[_\-. ](\d{1,2}|[a-z])$", re.I)

FEWEST_GROUPS = 3
MOST_SCANS = 6
"""Names fall into persons and scans where there are at least so many persons with at most so many scans each."""


@dataclass(frozen=True, kw_only=True)
class People:
    """Whom images are of.

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
    """Return whom images are of, from their names.

    The entity `sub-` of BIDS names a person. Otherwise what a name says of a visit, a side or a modality
    (`OAS1_0001_MR1`, `patient001_ED`, `case01_baseline`) is taken off, where this leaves persons of a few scans each.

    Examples
    --------
    >>> find_people(["sub-1_ses-a_T1w", "sub-1_ses-b_T1w"]).subjects
    ('sub-1', 'sub-1')
    >>> find_people(["hippocampus_001", "hippocampus_003"]).subjects
    ('hippocampus_001', 'hippocampus_003')
    """
    tagged = [subject_entity(name) for name in names]
    if all(tagged):
        return People(
            subjects=tuple(str(subject) for subject in tagged),
            columns=_different({"session": _sessions(names), "modality": _suffixes(names)}),
            doubt=None,
        )
    parts = [_without_tokens(name) for name in names]
    persons = [person for person, _, _ in parts]
    repeated = _repeated_example(persons, names)
    if repeated is not None and _looks_like_persons(persons):
        visits, modalities = ([part[place] for part in parts] for place in (1, 2))
        return People(
            subjects=tuple(persons),
            columns=_different({"session": visits, "modality": modalities}),
            doubt=f"{repeated} are taken for scans of one person, by their names: if they are not, give a manifest "
            "with a column subject.",
        )
    return People(subjects=tuple(names), columns={}, doubt=_doubt(names, repeated))


def subject_entity(name: str) -> str | None:
    """Return the entity `sub-` of a name as BIDS writes it; None where it has none.

    Examples
    --------
    >>> subject_entity("sub-01_ses-2_T1w"), subject_entity("case_01")
    ('sub-01', None)
    """
    found = _SUBJECT.search(name)
    return found.group(1) if found else None


def session_entity(name: str) -> str | None:
    """Return the entity `ses-` of a name as BIDS writes it; None where it has none."""
    found = _SESSION.search(name)
    return found.group(1) if found else None


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
    spellings: dict[str, set[str]] = {}
    for subject in subjects:
        spellings.setdefault(_plain(subject), set()).add(subject)
    alike = next((sorted(same) for same in spellings.values() if len(same) > 1), None)
    if alike:
        doubts.append(
            f"subjects {' and '.join(map(repr, alike))} count as different persons: write them alike if they are one."
        )
    persons: dict[tuple[str, ...], set[str]] = {}
    for subject, image in zip(subjects, images, strict=True):
        entity = subject_entity(image_name(image))
        if entity is not None:
            persons.setdefault(_place(image, entity), set()).add(subject)
    split = next((sorted(same) for same in persons.values() if len(same) > 1), None)
    if split is None:
        distinct = sorted(set(subjects))
        stripped = [subject_entity(subject) or _without_tokens(subject)[0] for subject in distinct]
        if _looks_like_persons(stripped):
            split = [
                name
                for name, person in zip(distinct, stripped, strict=True)
                if stripped.count(person) > 1
            ]
            split = [name for name in split if _person(name) == _person(split[0])]
    if split:
        doubts.append(
            f"subjects {', '.join(map(repr, split[:3]))} look like scans of one person: "
            "give them one name in the column subject, or the person may be trained on and searched."
        )
    return doubts


def _place(image: Path, entity: str) -> tuple[str, ...]:
    """Return what tells a person of one BIDS tree from one of the same number in another."""
    folders = image.parent.parts
    above = folders[: folders.index(entity)] if entity in folders else folders
    return (*above, entity)


def _person(name: str) -> str:
    return subject_entity(name) or _without_tokens(name)[0]


def _plain(subject: str) -> str:
    text = subject.casefold()
    return str(int(text)) if text.isdecimal() else text


def _without_tokens(name: str) -> tuple[str, str, str]:
    """Return a name without what it says of visit and modality, then these two; empty where it says nothing."""
    found = [match.group(1) for match in _TOKEN.finditer(name)]
    modalities = [token for token in found if re.fullmatch(_MODALITIES, token, re.I)]
    visits = [token for token in found if token not in modalities]
    return _TOKEN.sub("", name), "_".join(visits), "_".join(modalities)


def _looks_like_persons(persons: Sequence[str]) -> bool:
    scans = Counter(persons)
    return (
        max(scans.values()) > 1
        and len(scans) >= FEWEST_GROUPS
        and max(scans.values()) <= MOST_SCANS
    )


def _repeated_example(persons: Sequence[str], names: Sequence[str]) -> str | None:
    first = next((person for person, scans in Counter(persons).items() if scans > 1), None)
    if first is None:
        return None
    same = [name for name, person in zip(names, persons, strict=True) if person == first]
    return f"{same[0]} and {same[1]}"


def _doubt(names: Sequence[str], repeated: str | None) -> str | None:
    found = [_NUMBERED.match(name) for name in names]
    stems = [match.group(1) if match else name for match, name in zip(found, names, strict=True)]
    if repeated is None and _looks_like_persons(stems):
        several = sum(scans > 1 for scans in Counter(stems).values())
        repeated = _repeated_example(stems, names) if 2 * several >= len(set(stems)) else None
    if repeated is None:
        return None
    return (
        f"{repeated} count as two persons: if they are scans of one, give a manifest with a column subject, "
        "or the person may be trained on and searched."
    )


def _sessions(names: Sequence[str]) -> list[str]:
    return [session_entity(name) or "" for name in names]


def _suffixes(names: Sequence[str]) -> list[str]:
    found = [_SUFFIX.search(name) for name in names]
    suffixes = [match.group(1) if match else "" for match in found]
    return suffixes if set(suffixes) <= _BIDS_MODALITIES else ["" for _ in names]


def _different(columns: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in columns.items() if len(set(values)) > 1}
