"""The structures of a cohort: which codes of the label maps each of them is made of."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.names import BACKGROUND
from hmopt.errors import DataError

Structures = dict[str, tuple[int, ...]]
"""Codes in the files, by the name of the structure that they are merged to."""

WHOLE_IMAGE = "whole image"
"""The one structure of images without label maps."""
WHOLE_IMAGE_CODE = 1


def choose_structures(
    declared: Mapping[str, Sequence[str]], names: Mapping[int, str]
) -> Structures:
    """Return the codes of every structure.

    Parameters
    ----------
    declared
        By name of the structure: the labels that it merges, by name or by code; empty: every label
        by itself.
    names
        Names of the labels by code; codes of one name belong together.

    Raises
    ------
    DataError
        If a label is unknown, or is in two structures.

    Examples
    --------
    >>> names = {10: "Left-Thalamus", 49: "Right-Thalamus", 4: "Left-Ventricle"}
    >>> choose_structures({"thalamus": ["Left-Thalamus", "49"]}, names)
    {'thalamus': (10, 49)}
    """
    codes_by_label = _codes_by_name(names)
    if not declared:
        return codes_by_label
    structures: Structures = {}
    for structure, labels in declared.items():
        merged: set[int] = set()
        for label in labels:
            merged.update(_codes_of(label, codes_by_label, structure))
        structures[structure] = tuple(sorted(merged))
    _check_disjoint(structures, names)
    return structures


def merge_labels(codes: NDArray[np.int64], structures: Structures) -> NDArray[Any]:
    """Return a label map in which 0 is the background and k + 1 the k-th structure.

    Codes are looked up by a binary search among the sorted codes of all structures, as they may be
    any integers up to 2^63 - 1.

    Returns
    -------
    NDArray
        Of the same shape; uint8, or uint16 where there are more than 255 structures.

    Examples
    --------
    >>> merge_labels(np.array([0, 10, 49, 4]), {"ventricle": (4,), "thalamus": (10, 49)})
    array([0, 2, 2, 1], dtype=uint8)
    """
    dtype = label_dtype(len(structures))
    label_of = {}
    for number, merged in enumerate(structures.values(), start=1):
        label_of.update(dict.fromkeys(merged, number))
    known = np.array(sorted(label_of), dtype=np.int64)
    labels = np.array([label_of[code] for code in known.tolist()], dtype=dtype)
    nearest = np.searchsorted(known, codes)
    nearest = np.minimum(nearest, len(known) - 1)
    is_known = known[nearest] == codes
    background = dtype(0)
    return np.where(is_known, labels[nearest], background)


def label_dtype(structures: int) -> type[np.unsignedinteger[Any]]:
    """Return the type that holds a label map of so many structures."""
    largest = np.iinfo(np.uint8).max
    if structures <= largest:
        return np.uint8
    return np.uint16


def _codes_by_name(names: Mapping[int, str]) -> Structures:
    codes: Structures = {}
    for code in sorted(names):
        name = names[code]
        codes[name] = (*codes.get(name, ()), code)
    return codes


def _codes_of(label: str, codes_by_label: Structures, structure: str) -> tuple[int, ...]:
    """Return the codes of a label that is given by its name or by one of its codes."""
    if label in codes_by_label:
        return codes_by_label[label]
    if label.isdecimal():
        code = int(label)
        if any(code in codes for codes in codes_by_label.values()):
            return (code,)
    near = difflib.get_close_matches(label, codes_by_label, n=1)
    advice = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(codes_by_label)}."
    raise DataError(
        f"cohort.structures.{structure}",
        expected="names or codes of labels",
        got=repr(label),
        advice=advice,
    )


def _check_disjoint(structures: Structures, names: Mapping[int, str]) -> None:
    seen: dict[int, str] = {BACKGROUND: "the background"}
    for structure, codes in structures.items():
        if not codes:
            raise DataError(
                f"cohort.structures.{structure}",
                expected="at least one label",
                got="none",
                advice="Name its labels.",
            )
        for code in codes:
            if code in seen:
                raise DataError(
                    f"cohort.structures.{structure}",
                    expected="labels that no other structure has",
                    got=f"{names.get(code, code)!r}, which {seen[code]} has",
                    advice="Leave it in one of them.",
                )
            seen[code] = structure
