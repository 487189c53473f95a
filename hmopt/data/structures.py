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


def choose_structures(
    declared: Mapping[str, Sequence[str]], names: Mapping[int, str]
) -> Structures:
    """Give the codes of every structure.

    Parameters
    ----------
    declared
        By name of the structure: the labels that it merges, by name or by code; empty: every label by itself.
    names
        Names of the labels by code; codes of one name belong together.

    Raises
    ------
    DataError
        If a label is unknown, or serves in two structures.

    Examples
    --------
    >>> names = {10: "Left-Thalamus", 49: "Right-Thalamus", 4: "Left-Ventricle"}
    >>> choose_structures({"thalamus": ["Left-Thalamus", "49"]}, names)
    {'thalamus': (10, 49)}
    """
    if not declared:
        return _grouped(names)
    codes = _grouped(names)
    structures: Structures = {}
    for name, labels in declared.items():
        merged = {code for label in labels for code in _codes(label, codes, name)}
        structures[name] = tuple(sorted(merged))
    _check_disjoint(structures, names)
    return structures


def merge_labels(codes: NDArray[np.int64], structures: Structures) -> NDArray[Any]:
    """Give a label map in which 0 is the background and k + 1 the k-th structure.

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
    pairs = sorted((code, k + 1) for k, merged in enumerate(structures.values()) for code in merged)
    known = np.array([code for code, _ in pairs], dtype=np.int64)
    numbers = np.array([number for _, number in pairs], dtype=dtype)
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, numbers[place], dtype(0))


def label_dtype(structures: int) -> type[np.unsignedinteger[Any]]:
    """Give the type that holds a label map of so many structures."""
    return np.uint8 if structures <= np.iinfo(np.uint8).max else np.uint16


def _grouped(names: Mapping[int, str]) -> Structures:
    codes: dict[str, list[int]] = {}
    for code in sorted(names):
        codes.setdefault(names[code], []).append(code)
    return {name: tuple(same) for name, same in codes.items()}


def _codes(label: str, codes: Structures, structure: str) -> tuple[int, ...]:
    if label in codes:
        return codes[label]
    known = {code for same in codes.values() for code in same}
    if label.isdecimal() and int(label) in known:
        return (int(label),)
    near = difflib.get_close_matches(label, codes, n=1)
    raise DataError(
        f"cohort.structures.{structure}",
        expected="names or codes of labels",
        got=repr(label),
        advice=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(codes)}.",
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
