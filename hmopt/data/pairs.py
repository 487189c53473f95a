"""Pairs of images: which are possible, and which are registered."""

import itertools

import numpy as np
import pandas as pd

from hmopt.data.drawing import draw_evenly
from hmopt.data.listing import list_pairs
from hmopt.data.pair_table import pair_table
from hmopt.data.prepared import PreparedCohort
from hmopt.data.split import SIDES
from hmopt.declaration import PairsSection
from hmopt.errors import DataError, DeclarationError
from hmopt.records import Pair

__all__ = ["draw_pairs", "pair_table", "possible_pairs"]

TRAIN, SEARCH = "train", "search"


def possible_pairs(cohort: PreparedCohort, section: PairsSection, split: str) -> list[Pair]:
    """Give all ordered pairs of the declared kinds among the subjects of a side; slices pair with the same slice.

    Parameters
    ----------
    cohort
        The prepared cohort.
    section
        The declared pairs.
    split
        `train`, `tune` or `search`. Except in training, only the slices to search on are paired.

    Raises
    ------
    DeclarationError
        If `same` names no column, or `atlas` is not an image of the cohort.
    """
    pairs = itertools.chain.from_iterable(_pairs_of(kind, cohort, section, split) for kind in section.kinds)
    return list(dict.fromkeys(pairs))


def draw_pairs(cohort: PreparedCohort, section: PairsSection, split: str) -> list[Pair]:
    """Give the declared number of pairs of each kind, or those listed in a CSV where one is declared for the search.

    Pairs are drawn so that subjects serve about equally often, as moving and as fixed; all are taken where there are
    no more than asked for.

    Parameters
    ----------
    cohort, section, split
        As `possible_pairs` takes them.

    Raises
    ------
    DataError
        If no pair is possible, or the CSV names an image that is not to be searched.
    DeclarationError
        As `possible_pairs`.
    """
    if section.csv is not None and split == SEARCH:
        return list_pairs(section.csv, _items(cohort, split))
    count = section.search if split == SEARCH else section.tune
    drawn: list[Pair] = []
    for kind in section.kinds:
        rng = np.random.default_rng([section.seed, SIDES.index(split), *kind.encode()])
        drawn += draw_evenly(_pairs_of(kind, cohort, section, split), count, rng)
    if not drawn:
        raise DataError(
            "pairs",
            expected=f"pairs of kind {' or '.join(section.kinds)} among the {split} subjects",
            got="none",
            advice=f"Give split.{split} more subjects, or declare other kinds.",
        )
    return list(dict.fromkeys(drawn))


def _pairs_of(kind: str, cohort: PreparedCohort, section: PairsSection, split: str) -> list[Pair]:
    items = _items(cohort, split)
    fixed = _atlas_items(cohort, section) if kind == "atlas" else items
    columns = ["slice", *_same_columns(cohort, section)]
    partners = _grouped(fixed, columns)
    candidates = (
        Pair(moving=moving, fixed=fixed, moving_subject=moving_subject, fixed_subject=fixed_subject)
        for key, group in _grouped(items, columns).items()
        for moving, moving_subject in group
        for fixed, fixed_subject in partners.get(key, [])
        if moving != fixed
    )
    return [pair for pair in candidates if kind in ("atlas", pair.task)]


def _items(cohort: PreparedCohort, split: str) -> pd.DataFrame:
    items = cohort.images[cohort.images["split"] == split]
    searched = split != TRAIN and bool(cohort.search_slices)
    return items[items["slice"].isin(cohort.search_slices)] if searched else items


def _grouped(items: pd.DataFrame, columns: list[str]) -> dict[tuple[str, ...], list[tuple[str, str]]]:
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    values = items[columns].astype(str).itertuples(index=False, name=None)
    for name, subject, key in zip(items.index, items["subject"], values, strict=True):
        groups.setdefault(key, []).append((name, subject))
    return groups


def _atlas_items(cohort: PreparedCohort, section: PairsSection) -> pd.DataFrame:
    named = cohort.images[cohort.images["scan"] == section.atlas]
    if named.empty:
        raise DeclarationError(
            "pairs.atlas", expected="the name of an image of the cohort", got=repr(section.atlas), advice="Correct it."
        )
    return named


def _same_columns(cohort: PreparedCohort, section: PairsSection) -> list[str]:
    unknown = [name for name in section.same if name not in cohort.images]
    if unknown:
        raise DeclarationError(
            "pairs.same", expected="columns of the manifest", got=", ".join(unknown), advice="Correct the names."
        )
    return section.same
