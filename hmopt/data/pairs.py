"""Pairs of images: which are possible, which are drawn, and what they are grouped by."""

from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data.layout import NO_SLICE
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import PairsSection
from hmopt.errors import DataError, DeclarationError
from hmopt.records import Pair

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
    return [pair for kind in section.kinds for pair in _pairs_of_kind(cohort, section, split, kind)]


def draw_pairs(cohort: PreparedCohort, section: PairsSection, split: str) -> list[Pair]:
    """Give the declared number of pairs of each kind, or those listed in a CSV where one is declared for the search.

    Pairs are drawn so that subjects serve about equally often, as moving and as fixed; all are taken where there are
    no more than asked for.

    Raises
    ------
    DataError
        If no pair is possible, or the CSV names an image that is not to be searched.
    """
    if section.csv is not None and split == SEARCH:
        return _listed_pairs(cohort, section.csv)
    count = section.search if split == SEARCH else section.tune
    drawn: list[Pair] = []
    for number, kind in enumerate(section.kinds):
        rng = np.random.default_rng([section.seed, number, ("train", "tune", "search").index(split)])
        drawn += _draw_evenly(_pairs_of_kind(cohort, section, split, kind), count, rng)
    if not drawn:
        raise DataError(
            "pairs",
            expected=f"pairs of kind {' or '.join(section.kinds)} among the {split} subjects",
            got="none",
            advice="Give that side more subjects, or declare other kinds.",
        )
    return drawn


def _pairs_of_kind(cohort: PreparedCohort, section: PairsSection, split: str, kind: str) -> list[Pair]:
    items = _items(cohort, split)
    fixed = _atlas_items(cohort, section, split) if kind == "atlas" else items
    key = ["slice", *_columns(cohort, section.same)]
    partners = {value: rows for value, rows in fixed.groupby(key, sort=False, dropna=False)}
    pairs = []
    for value, moving in items.groupby(key, sort=False, dropna=False):
        there = partners.get(value)
        for moving_name, moving_subject in zip(moving.index, moving["subject"], strict=True):
            for fixed_name, fixed_subject in [] if there is None else zip(there.index, there["subject"], strict=True):
                same_subject = moving_subject == fixed_subject
                if moving_name != fixed_name and (kind == "atlas" or same_subject == (kind == "within")):
                    pairs.append(
                        Pair(
                            moving=moving_name,
                            fixed=fixed_name,
                            moving_subject=moving_subject,
                            fixed_subject=fixed_subject,
                        )
                    )
    return pairs


def _items(cohort: PreparedCohort, split: str) -> pd.DataFrame:
    items = cohort.images[cohort.images["split"] == split]
    return _searched(cohort, items) if split != TRAIN else items


def _searched(cohort: PreparedCohort, items: pd.DataFrame) -> pd.DataFrame:
    return items[items["slice"].isin(cohort.search_slices)] if cohort.search_slices else items


def _atlas_items(cohort: PreparedCohort, section: PairsSection, split: str) -> pd.DataFrame:
    named = cohort.images["scan"] == section.atlas
    if not named.any():
        raise DeclarationError(
            "pairs.atlas", expected="the name of an image of the cohort", got=repr(section.atlas), advice="Correct it."
        )
    return cohort.images[named]


def _columns(cohort: PreparedCohort, names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in cohort.images]
    if unknown:
        raise DeclarationError(
            "pairs.same", expected="columns of the manifest", got=", ".join(unknown), advice="Correct the names."
        )
    return names


def _draw_evenly(pairs: list[Pair], count: int, rng: np.random.Generator) -> list[Pair]:
    if len(pairs) <= count:
        return pairs
    shuffled = [pairs[i] for i in rng.permutation(len(pairs)).tolist()]
    subjects = sorted({s for pair in pairs for s in (pair.moving_subject, pair.fixed_subject)})
    number = {subject: i for i, subject in enumerate(subjects)}
    moving = np.array([number[pair.moving_subject] for pair in shuffled])
    fixed = np.array([number[pair.fixed_subject] for pair in shuffled])
    served = np.zeros((2, len(subjects)))
    taken = np.zeros(len(shuffled))
    chosen = []
    for _ in range(count):
        # who served least in that role goes first, and of those the pair whose subjects served least in both
        load = served[0, moving] + served[1, fixed] + 1e-3 * (served[1, moving] + served[0, fixed]) + taken
        pick = int(np.argmin(load))
        chosen.append(pick)
        taken[pick] = np.inf
        served[0, moving[pick]] += 1
        served[1, fixed[pick]] += 1
    return [shuffled[i] for i in sorted(chosen)]


def _listed_pairs(cohort: PreparedCohort, path: Path) -> list[Pair]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)[["moving", "fixed"]]
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise DataError(str(path), expected="a CSV with columns moving and fixed", got=reason, advice="Correct it.") from error
    items = _items(cohort, SEARCH)
    pairs = []
    for line, (moving, fixed) in enumerate(table.itertuples(index=False), start=2):
        pairs += _listed_pair(items, moving, fixed, f"{path}, line {line}")
    return list({pair.id: pair for pair in pairs}.values())


def _listed_pair(items: pd.DataFrame, moving: str, fixed: str, origin: str) -> list[Pair]:
    sides = []
    for name in (moving, fixed):
        found = items[(items.index == name) | (items["scan"] == name)]
        if found.empty:
            raise DataError(
                origin,
                expected="images of subjects to search on",
                got=repr(name),
                advice="Correct the name, or put its subject into split.search.",
            )
        sides.append(found.reset_index().set_index("slice"))
    common = [index for index in sides[0].index if index in sides[1].index]
    if moving == fixed or not common:
        raise DataError(origin, expected="two images of the same slice", got=f"{moving}, {fixed}", advice="Correct it.")
    rows = [(sides[0].loc[index], sides[1].loc[index]) for index in common]
    return [
        Pair(moving=m["name"], fixed=f["name"], moving_subject=m["subject"], fixed_subject=f["subject"])
        for m, f in rows
    ]


__all__ = ["NO_SLICE", "draw_pairs", "possible_pairs"]
