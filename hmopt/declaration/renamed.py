"""Keys of `study.toml` that earlier versions named otherwise: both names are read."""

from collections.abc import Mapping
from typing import Any

from hmopt.errors import DeclarationError

RENAMED = {
    "pairs.kinds": "pairs.tasks",
    "hypernetwork.units": "hypernetwork.widths",
    "loss.regularization": "loss.regularizer",
    "search.confirmations": "search.refinements",
    "search.minimum_partners": "search.min_paired_subjects",
    "compare.full_seeds": "compare.half_budget_seeds",
}
"""The key of earlier versions, and the one of today: same values, same meaning."""

REMOVED = {
    "search.folds": "search.splits",
    "search.repeats": "search.splits",
}
"""A key of earlier versions that has no effect now, and the key that took its place."""

_ALIGN, _PLACEMENT = "preprocessing.align", "preprocessing.placement"


def current_names(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables of a declaration with today's names of keys; removed keys are left out.

    Parameters
    ----------
    tables
        By the name of the table, as `study.toml`, `search.json` or the header of a model holds
        them.

    Raises
    ------
    DeclarationError
        If a key is there under both of its names.

    Examples
    --------
    >>> current_names({"name": "brains", "search": {"confirmations": 5, "repeats": 20, "seed": 0}})
    {'name': 'brains', 'search': {'refinements': 5, 'seed': 0}}
    """
    found: dict[str, Any] = {}
    for name, content in tables.items():
        is_table = isinstance(content, Mapping)
        found[name] = _renamed(name, content) if is_table else content
    return found


def _renamed(table: str, content: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {}
    for key, value in content.items():
        dotted = f"{table}.{key}"
        if dotted in REMOVED:
            continue
        name = RENAMED.get(dotted, dotted).removeprefix(f"{table}.")
        if name != key and name in content:
            raise DeclarationError(
                f"{table}.{name}",
                expected=f"{name} or its older name {key}",
                got="both",
                advice=f"Remove {key}.",
            )
        renamed[name] = value
    return renamed


def first_names(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables of a declaration with the names that keys had at first.

    Hashes are made of these, so that the hash of a declaration, by which its model is recognized,
    outlasts new names.

    Examples
    --------
    >>> first_names({"loss": {"similarity": "mse", "regularizer": "gradient"}})
    {'loss': {'similarity': 'mse', 'regularization': 'gradient'}}
    """
    found = dict(tables)
    for older, newer in RENAMED.items():
        table, name = newer.split(".")
        content = tables.get(table)
        if not isinstance(content, Mapping) or name not in content:
            continue
        _, first_name = older.split(".")
        renamed = dict(found[table])
        value = renamed.pop(name)
        renamed[first_name] = value
        found[table] = renamed
    return found


def older_names(tables: Mapping[str, Any]) -> str | None:
    """Return one line on the keys that stand in a declaration under older names; None: there are none.

    Examples
    --------
    >>> older_names({"search": {"confirmations": 5}, "loss": {"regularization": "bending"}})
    'search.confirmations is now search.refinements, loss.regularization is now loss.regularizer; hmopt reads both.'
    """
    renamed = []
    removed = []
    for table, content in tables.items():
        keys = content if isinstance(content, Mapping) else ()
        for key in keys:
            dotted = f"{table}.{key}"
            if dotted in RENAMED:
                renamed.append(f"{dotted} is now {RENAMED[dotted]}")
            elif dotted == _ALIGN:
                renamed.append(f"{_ALIGN} is now {_PLACEMENT}")
            elif dotted in REMOVED:
                removed.append(f"{dotted} has no effect: {REMOVED[dotted]} replaces it. Remove it.")
    if renamed:
        names = ", ".join(renamed)
        removed.insert(0, f"{names}; hmopt reads both.")
    return " ".join(removed) or None
