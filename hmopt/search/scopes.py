"""What a study chooses the setting for: the cohort, groups of pairs, subjects, labels, and products of those."""

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger.measurements import PAIR_COLUMNS

SIDES = ("moving_subject", "fixed_subject")
EVERY = "*"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A selection of pairs, and of a label.

    Parameters
    ----------
    criteria
        Kinds with the values they must have: `label`, `task`, `subject` (in either role) or a column of the pairs.
        None of them: the cohort.

    Examples
    --------
    >>> scope = Scope(criteria=(("label", "thalamus"), ("task", "within")))
    >>> scope.name, scope.label
    ('label=thalamus, task=within', 'thalamus')
    >>> Scope(criteria=()).name
    'cohort'
    """

    criteria: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """What tells a person what is selected."""
        return ", ".join(f"{kind}={value}" for kind, value in self.criteria) or "cohort"

    @property
    def label(self) -> str | None:
        """The label that is looked at; None for the mean over labels."""
        return dict(self.criteria).get("label")

    def mask(self, pairs: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which rows of a table of pairs are selected, shape (P,)."""
        mask = np.zeros(len(pairs), dtype=bool)
        mask[Groups(pairs).positions(self)] = True
        return mask


class Groups:
    """A table of pairs, grouped once for all scopes: a scope's pairs are looked up, not searched for.

    Parameters
    ----------
    pairs
        Columns as of `Measurements.pairs`.
    """

    def __init__(self, pairs: pd.DataFrame) -> None:
        self._pairs = pairs
        self._subjects = [pairs[side].to_numpy() for side in SIDES]
        self._of_kind = cache(self._find_of_kind)

    def positions(self, scope: Scope) -> NDArray[np.intp]:
        """Give the positions of a scope's pairs in the table, rising."""
        nothing = np.empty(0, dtype=np.intp)
        chosen = [
            self._of_kind(kind).get(value, nothing)
            for kind, value in scope.criteria
            if kind != "label"
        ]
        if not chosen:
            return np.arange(len(self._pairs))
        return reduce(partial(np.intersect1d, assume_unique=True), sorted(chosen, key=len))

    def partners(self, subject: str, positions: NDArray[np.intp]) -> set[str]:
        """Give the other subjects in the pairs at these positions."""
        return {partner for side in self._subjects for partner in side[positions]} - {subject}

    def _find_of_kind(self, kind: str) -> dict[str, NDArray[np.intp]]:
        if kind != "subject":
            return _positions_by_value(self._pairs[kind])
        moving, fixed = (_positions_by_value(self._pairs[side]) for side in SIDES)
        nothing = np.empty(0, dtype=np.intp)
        return {
            subject: np.union1d(moving.get(subject, nothing), fixed.get(subject, nothing))
            for subject in moving | fixed
        }


def _positions_by_value(column: pd.Series) -> dict[str, NDArray[np.intp]]:
    return {
        str(value): np.asarray(places) for value, places in column.groupby(column).indices.items()
    }


def list_scopes(section: SearchOptions, pairs: pd.DataFrame, labels: Sequence[str]) -> list[Scope]:
    """Give every declared scope that has pairs, each once.

    A subject, alone or in a product, is left out where it has fewer partners than `minimum_partners`.

    Parameters
    ----------
    section
        `scopes` and `min_paired_subjects`.
    pairs
        Columns as of `Measurements.pairs`.
    labels
        Names of the labels.

    Raises
    ------
    SearchError
        If a declared scope is neither `cohort`, `task`, `label`, `subject` nor a column of the pairs.

    Examples
    --------
    >>> rows = [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")]
    >>> pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    >>> section = SearchOptions(scopes=[["cohort"], ["label"], ["task", "label"]])
    >>> [scope.name for scope in list_scopes(section, pairs, ["thalamus"])]
    ['cohort', 'label=thalamus', 'task=cross, label=thalamus']
    """
    values = {
        kind: _values(kind, pairs, labels)
        for kinds in section.scopes
        for kind in kinds
        if kind != "cohort"
    }
    products = [
        {kind: values[kind] for kind in kinds if kind != "cohort"} for kinds in section.scopes
    ]
    return _large_enough(products, Groups(pairs), section.min_paired_subjects)


def expand_scope(
    criteria: Mapping[str, str], pairs: pd.DataFrame, labels: Sequence[str], minimum_partners: int
) -> list[Scope]:
    """Give the scopes of criteria, declared or not, in which `*` stands for every value.

    Parameters
    ----------
    criteria
        Values by kind, as `{"label": "thalamus", "subject": "*"}`; none: the cohort.
    pairs, labels, minimum_partners
        As for `find_scope`.

    Raises
    ------
    SearchError
        As `find_scope`, or if no scope has pairs and, where it is about a subject, partners enough.

    Examples
    --------
    >>> rows = [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")]
    >>> pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    >>> found = expand_scope({"label": "thalamus", "subject": "*"}, pairs, ["thalamus"], minimum_partners=1)
    >>> [scope.name for scope in found]
    ['label=thalamus, subject=a', 'label=thalamus, subject=b']
    """
    if EVERY not in criteria.values():
        return [find_scope(criteria, pairs, labels, minimum_partners)]
    known = {kind: _known_values(kind, value, pairs, labels) for kind, value in criteria.items()}
    found = _large_enough([known], Groups(pairs), minimum_partners)
    if not found:
        asked = ", ".join(f"{kind}={value}" for kind, value in criteria.items())
        raise SearchError(
            "scope",
            expected="a scope with pairs enough",
            got=asked,
            advice="Ask for fewer criteria.",
        )
    return found


def find_scope(
    criteria: Mapping[str, str], pairs: pd.DataFrame, labels: Sequence[str], minimum_partners: int
) -> Scope:
    """Give the scope of criteria, declared or not.

    Parameters
    ----------
    criteria
        Values by kind, as `{"label": "thalamus", "task": "within"}`.
    pairs, labels
        As for `list_scopes`.
    minimum_partners
        How many partners a subject must have.

    Raises
    ------
    SearchError
        If a kind or a value is unknown (near ones are named), no pair has all the values, or a subject has too few
        partners.
    """
    for kind, value in criteria.items():
        _known_values(kind, value, pairs, labels)
    scope = Scope(criteria=tuple(criteria.items()))
    groups = Groups(pairs)
    if not len(groups.positions(scope)):
        raise SearchError(
            "scope", expected="pairs in it", got=scope.name, advice="Ask for fewer criteria."
        )
    if not _is_large_enough(scope, groups, minimum_partners):
        raise SearchError(
            "scope",
            expected=f"a subject with at least {minimum_partners} partners",
            got=scope.name,
            advice="Lower search.min_paired_subjects, or search more pairs.",
        )
    return scope


def _values(kind: str, pairs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    if kind == "label":
        return list(labels)
    if kind == "subject":
        return sorted({value for side in SIDES for value in pairs[side]})
    columns = [column for column in pairs.columns if column not in PAIR_COLUMNS]
    if kind != "task" and kind not in columns:
        known = ["cohort", "task", "label", "subject", *columns]
        raise SearchError(
            "scopes", expected="a kind of scope", got=repr(kind), advice=_near(kind, known)
        )
    return sorted({value for value in pairs[kind] if value})


def _known_values(kind: str, value: str, pairs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    known = _values(kind, pairs, labels)
    if value not in (EVERY, *known):
        raise SearchError(
            kind, expected="a value that was searched", got=repr(value), advice=_near(value, known)
        )
    return known if value == EVERY else [value]


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=5, cutoff=0.4) or list(known[:20])
    return f"Choose one of: {', '.join(near)}{'' if len(near) == len(known) else ', …'}."


def _large_enough(
    products: Sequence[Mapping[str, Sequence[str]]], groups: Groups, minimum_partners: int
) -> list[Scope]:
    criteria = (
        zip(values, one, strict=True)
        for values in products
        for one in itertools.product(*values.values())
    )
    scopes = dict.fromkeys(Scope(criteria=tuple(pairs)) for pairs in criteria)
    return [scope for scope in scopes if _is_large_enough(scope, groups, minimum_partners)]


def _is_large_enough(scope: Scope, groups: Groups, minimum_partners: int) -> bool:
    positions = groups.positions(scope)
    subject = dict(scope.criteria).get("subject")
    if subject is None:
        return len(positions) > 0
    return len(groups.partners(subject, positions)) >= minimum_partners
