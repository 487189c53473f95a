"""Scopes, what a setting is chosen for: cohort, groups of pairs, subjects, labels, products."""

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.pair_table import ARROW
from hmopt.declaration import SearchOptions
from hmopt.errors import DeclarationError, SearchError
from hmopt.ledger.measurements import PAIR_COLUMNS

T = TypeVar("T")

SIDES = ("moving_subject", "fixed_subject")
EVERY = "*"
COHORT = "cohort"
"""Kind and name of the scope of all pairs."""
TYPED_ARROW = "->"
"""What may be typed in place of the arrow in the name of a pair of groups, as `A->B`."""

Criteria = Mapping[str, str]
"""Values by kind, as `{"label": "thalamus", "task": "within"}`; none: the cohort."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A selection of pairs, and of a label.

    Parameters
    ----------
    criteria
        Kinds with the values they must have: `label`, `task`, `subject` (in either role) or a
        column of the pairs, whose values are those of both images, or `A→B` where the moving image
        has A and the fixed one B. None of them: the cohort.

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
        if not self.criteria:
            return COHORT
        parts = [f"{kind}={value}" for kind, value in self.criteria]
        return ", ".join(parts)

    @property
    def label(self) -> str | None:
        """The label that is looked at; None for the mean over labels."""
        return dict(self.criteria).get("label")

    def mask(self, pairs: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which rows of a table of pairs are selected, shape (P,)."""
        mask = np.zeros(len(pairs), dtype=bool)
        positions = Groups(pairs).positions(self)
        mask[positions] = True
        return mask


WHOLE_COHORT = Scope(criteria=())
"""The scope of all pairs, with the mean over labels."""


class Groups:
    """A table of pairs, grouped once for all scopes.

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
        """Return the positions of a scope's pairs in the table, rising."""
        chosen = []
        for kind, value in scope.criteria:
            if kind != "label":
                groups = self._of_kind(kind)
                chosen.append(groups.get(value, _NO_POSITIONS))
        if not chosen:
            return np.arange(len(self._pairs))
        chosen.sort(key=len)
        return reduce(partial(np.intersect1d, assume_unique=True), chosen)

    def partners(self, subject: str, positions: NDArray[np.intp]) -> set[str]:
        """Return the other subjects in the pairs at these positions."""
        found: set[str] = set()
        for side in self._subjects:
            found.update(side[positions])
        return found - {subject}

    def _find_of_kind(self, kind: str) -> dict[str, NDArray[np.intp]]:
        if kind != "subject":
            return _positions_by_value(self._pairs[kind])
        moving, fixed = (_positions_by_value(self._pairs[side]) for side in SIDES)
        found = {}
        for subject in moving | fixed:
            as_moving = moving.get(subject, _NO_POSITIONS)
            as_fixed = fixed.get(subject, _NO_POSITIONS)
            found[subject] = np.union1d(as_moving, as_fixed)
        return found


_NO_POSITIONS = np.empty(0, dtype=np.intp)


def _positions_by_value(column: pd.Series) -> dict[str, NDArray[np.intp]]:
    indices = column.groupby(column).indices
    return {str(value): np.asarray(positions) for value, positions in indices.items()}


def list_scopes(options: SearchOptions, pairs: pd.DataFrame, labels: Sequence[str]) -> list[Scope]:
    """Return every declared scope that has pairs, each once.

    A subject, alone or in a product, is left out where it has fewer partners than
    `min_paired_subjects`.

    Parameters
    ----------
    options
        `scopes` and `min_paired_subjects`.
    pairs
        Columns as of `Measurements.pairs`.
    labels
        Names of the labels.

    Raises
    ------
    SearchError
        If a declared scope is neither `cohort`, `task`, `label`, `subject` nor a column of the
        pairs.

    Examples
    --------
    >>> rows = [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")]
    >>> pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    >>> options = SearchOptions(scopes=[["cohort"], ["label"], ["task", "label"]])
    >>> [scope.name for scope in list_scopes(options, pairs, ["thalamus"])]
    ['cohort', 'label=thalamus', 'task=cross, label=thalamus']
    """
    products = []
    for kinds in options.scopes:
        narrowing = [kind for kind in kinds if kind != COHORT]
        products.append({kind: _values(kind, pairs, labels) for kind in narrowing})
    return _large_enough(products, Groups(pairs), options.min_paired_subjects)


def expand_scope(
    criteria: Mapping[str, str],
    pairs: pd.DataFrame,
    labels: Sequence[str],
    min_paired_subjects: int,
) -> list[Scope]:
    """Return the scopes of criteria, declared or not, in which `*` stands for every value.

    Parameters
    ----------
    criteria
        Values by kind, as `{"label": "thalamus", "subject": "*"}`; none: the cohort.
    pairs, labels, min_paired_subjects
        As for `find_scope`.

    Raises
    ------
    SearchError
        As `find_scope`, or if no scope has pairs and, where it is about a subject, partners enough.

    Examples
    --------
    >>> rows = [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")]
    >>> pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    >>> criteria = {"label": "thalamus", "subject": "*"}
    >>> found = expand_scope(criteria, pairs, ["thalamus"], min_paired_subjects=1)
    >>> [scope.name for scope in found]
    ['label=thalamus, subject=a', 'label=thalamus, subject=b']
    """
    if EVERY not in criteria.values():
        return [find_scope(criteria, pairs, labels, min_paired_subjects)]
    known = {kind: _known_values(kind, value, pairs, labels) for kind, value in criteria.items()}
    found = _large_enough([known], Groups(pairs), min_paired_subjects)
    if not found:
        asked = ", ".join(f"{kind}={value}" for kind, value in criteria.items())
        raise SearchError(
            "scope",
            expected="a scope with pairs enough",
            got=asked,
            advice="Use fewer criteria.",
        )
    return found


def find_scope(
    criteria: Mapping[str, str],
    pairs: pd.DataFrame,
    labels: Sequence[str],
    min_paired_subjects: int,
) -> Scope:
    """Return the scope of criteria, declared or not.

    Parameters
    ----------
    criteria
        Values by kind, as `{"label": "thalamus", "task": "within"}`. `A->B` stands for `A→B`.
    pairs, labels
        As for `list_scopes`.
    min_paired_subjects
        How many partners a subject must have.

    Raises
    ------
    SearchError
        If a kind or a value is unknown (near ones are named), no pair has all the values, or a
        subject has too few partners.
    """
    known = {}
    for kind, value in criteria.items():
        values = _known_values(kind, value, pairs, labels)
        known[kind] = EVERY if value == EVERY else values[0]
    scope = Scope(criteria=tuple(known.items()))
    groups = Groups(pairs)
    if not len(groups.positions(scope)):
        raise SearchError(
            "scope", expected="pairs in it", got=scope.name, advice="Use fewer criteria."
        )
    if not _is_large_enough(scope, groups, min_paired_subjects):
        raise SearchError(
            "scope",
            expected=f"a subject with at least {min_paired_subjects} partners",
            got=scope.name,
            advice="Lower search.min_paired_subjects, or search more pairs.",
        )
    return scope


def _values(kind: str, pairs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    if kind == "label":
        return list(labels)
    if kind == "subject":
        moving, fixed = (pairs[side] for side in SIDES)
        return sorted({*moving, *fixed})
    _check_kind(kind, [column for column in pairs.columns if column not in PAIR_COLUMNS])
    values = {value for value in pairs[kind] if value}
    return sorted(values)


def check_kinds(options: SearchOptions, columns: Sequence[str]) -> None:
    """Refuse declared scopes of no kind that a cohort has.

    Parameters
    ----------
    options
        `scopes`.
    columns
        Of the manifest.

    Raises
    ------
    SearchError
        If a declared scope is neither `cohort`, `task`, `label`, `subject` nor one of the columns.
    """
    for kinds in options.scopes:
        for kind in kinds:
            _check_kind(kind, columns)


def _check_kind(kind: str, columns: Sequence[str]) -> None:
    known = [COHORT, "task", "label", "subject", *columns]
    if kind not in known:
        raise SearchError(
            "scopes", expected="a kind of scope", got=repr(kind), advice=_near(kind, known)
        )


def _known_values(kind: str, value: str, pairs: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    known = _values(kind, pairs, labels)
    if value == EVERY:
        return known
    for spelled in (value, with_arrow(value)):
        if spelled in known:
            return [spelled]
    advice = _near(with_arrow(value), known)
    raise SearchError(kind, expected="a value that was searched", got=repr(value), advice=advice)


def _near(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=5, cutoff=0.4)
    shown = near or list(known[:20])
    names = ", ".join(shown)
    rest = "" if len(shown) == len(known) else ", …"
    return f"Choose one of: {names}{rest}."


def _large_enough(
    products: Sequence[Mapping[str, Sequence[str]]], groups: Groups, min_paired_subjects: int
) -> list[Scope]:
    """Return the scopes of products of values, each once, if they have pairs and partners."""
    scopes: dict[Scope, None] = {}
    for values in products:
        for one in itertools.product(*values.values()):
            criteria = tuple(zip(values, one, strict=True))
            scopes[Scope(criteria=criteria)] = None
    return [scope for scope in scopes if _is_large_enough(scope, groups, min_paired_subjects)]


def _is_large_enough(scope: Scope, groups: Groups, min_paired_subjects: int) -> bool:
    """Tell whether a scope has pairs, and where it is about a subject, partners enough."""
    criteria = dict(scope.criteria)
    positions = groups.positions(scope)
    subject = criteria.get("subject")
    if subject is None:
        return len(positions) > 0
    partners = groups.partners(subject, positions)
    return len(partners) >= min_paired_subjects


def with_arrow(value: str) -> str:
    """Return the name of a pair of groups with the arrow that it has in tables of pairs.

    Examples
    --------
    >>> with_arrow("wild type->treated"), with_arrow("wild type")
    ('wild type→treated', 'wild type')
    """
    return value.replace(TYPED_ARROW, ARROW)


def parse_pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Return the content of `NAME=VALUE` arguments.

    Raises
    ------
    DeclarationError
        If one has another form, or a name is given twice.

    Examples
    --------
    >>> parse_pairs("--group", ["task=within"])
    {'task': 'within'}
    """
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value.strip("=")):
            raise DeclarationError(
                option, expected="NAME=VALUE", got=repr(text), advice="Use this form."
            )
        add_once(pairs, name, value, option)
    return pairs


def add_once(pairs: dict[str, T], name: str, value: T, option: str) -> None:
    """Add the value of a name, which may be given by one option only.

    Raises
    ------
    DeclarationError
        If the name has a value already.

    Examples
    --------
    >>> pairs = {"label": "cortex"}
    >>> add_once(pairs, "subject", "sub-1", "--subject")
    >>> add_once(pairs, "label", "thalamus", "--label")
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: --label: expected one value of label, got 'cortex' and 'thalamus'. Use one of them.
    """
    if name in pairs:
        raise DeclarationError(
            option,
            expected=f"one value of {name}",
            got=f"{pairs[name]!r} and {value!r}",
            advice="Use one of them.",
        )
    pairs[name] = value


def parse_scope(scope: str | Criteria) -> dict[str, str]:
    """Return the criteria of a scope; none of them: the cohort.

    Parameters
    ----------
    scope
        `"cohort"`, or values by kind as in `"label=thalamus, subject=*"`; criteria are returned.

    Raises
    ------
    DeclarationError
        If it has another form, or two values of one kind.

    Examples
    --------
    >>> parse_scope("label=thalamus, subject=*")
    {'label': 'thalamus', 'subject': '*'}
    >>> parse_scope("cohort")
    {}
    """
    if not isinstance(scope, str):
        return dict(scope)
    if scope.strip() == COHORT:
        return {}
    if scope.strip().startswith(f"{COHORT}="):
        raise DeclarationError(
            "--scope",
            expected=f"{COHORT} without a value",
            got=repr(scope),
            advice=f"Use --scope {COHORT}.",
        )
    parts = [part.strip() for part in scope.split(",")]
    if "=" in parts[0] and not all("=" in part for part in parts):
        raise DeclarationError(
            "--scope",
            expected="KIND=VALUE,…, values without a comma",
            got=repr(scope),
            advice="Give a value with a comma by --label, --subject or --group.",
        )
    return parse_pairs("--scope", parts)


def joined_criteria(scope: str | Criteria | None, criteria: Criteria) -> dict[str, str]:
    """Return the criteria of a scope that is given as one argument, as values by kind, or as both.

    Raises
    ------
    DeclarationError
        If the scope has another form, or a kind two values.

    Examples
    --------
    >>> joined_criteria("label=thalamus", {"subject": "sub-1"})
    {'label': 'thalamus', 'subject': 'sub-1'}
    """
    joined = {} if scope is None else parse_scope(scope)
    for kind, value in criteria.items():
        add_once(joined, kind, value, "scope")
    return joined
