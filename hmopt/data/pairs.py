"""Pairs of images: which are possible, and which are registered."""

from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.drawing import draw_evenly
from hmopt.data.listing import list_pairs
from hmopt.data.pair_list import PairList
from hmopt.data.pair_table import pair_table
from hmopt.data.prepared import PreparedCohort
from hmopt.data.split import SIDES
from hmopt.declaration import PairsOptions
from hmopt.errors import DataError, DeclarationError
from hmopt.records import Pair

__all__ = ["draw_pairs", "pair_table", "possible_pairs"]

TRAIN, SEARCH = "train", "search"
MOST_PAIRS = 1 << 22
"""Possible pairs of one kind that are told apart: all those of 2,048 images."""
NO_IMAGES = np.empty(0, dtype=np.int32)


def possible_pairs(cohort: PreparedCohort, section: PairsOptions, split: str) -> list[Pair]:
    """Give all ordered pairs of the declared kinds among the subjects of a side; slices pair with the same slice.

    Of more than `MOST_PAIRS` each image keeps as many partners, drawn at random, as lead to that number.

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
    pairs = reduce(
        PairList.joined, (_pairs_of(kind, cohort, section, split) for kind in section.tasks)
    )
    return list(pairs)


def draw_pairs(cohort: PreparedCohort, section: PairsOptions, split: str) -> list[Pair]:
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
    for kind in section.tasks:
        rng = np.random.default_rng([section.seed, SIDES.index(split), *kind.encode()])
        pairs = _pairs_of(kind, cohort, section, split)
        subjects = pd.factorize(np.asarray(pairs.subjects))[0]
        drawn += [
            pairs[place]
            for place in draw_evenly(subjects[pairs.moving], subjects[pairs.fixed], count, rng)
        ]
    if not drawn:
        raise DataError(
            "pairs",
            expected=f"pairs of kind {' or '.join(section.tasks)} among the {split} subjects",
            got="none",
            advice=f"Give split.{split} more subjects, or declare other tasks.",
        )
    return list(dict.fromkeys(drawn))


def _pairs_of(kind: str, cohort: PreparedCohort, section: PairsOptions, split: str) -> PairList:
    items = _items(cohort, split)
    columns = ["slice", *_same_columns(cohort, section)]
    images = _grouped(cohort, items, columns)
    partners = (
        _grouped(cohort, _atlas_items(cohort, section), columns) if kind == "atlas" else images
    )
    subjects = pd.factorize(cohort.images["subject"])[0]
    rng = np.random.default_rng([section.seed, SIDES.index(split), *f"{kind} partners".encode()])
    most = max(1, MOST_PAIRS // max(1, len(items)))
    moving, fixed = [NO_IMAGES], [NO_IMAGES]
    for key, group in images.items():
        others = partners.get(key, NO_IMAGES)
        for image in group:
            own = subjects[others] == subjects[image]
            fits = others[
                (others != image) & (True if kind == "atlas" else own == (kind == "within"))
            ]
            fixed.append(
                fits if len(fits) <= most else rng.choice(fits, most, replace=False, shuffle=False)
            )
            moving.append(np.full(len(fixed[-1]), image, dtype=np.int32))
    return PairList(
        names=cohort.images.index.tolist(),
        subjects=cohort.images["subject"].tolist(),
        moving=np.concatenate(moving),
        fixed=np.concatenate(fixed),
    )


def _items(cohort: PreparedCohort, split: str) -> pd.DataFrame:
    items = cohort.images[cohort.images["split"] == split]
    searched = split != TRAIN and bool(cohort.search_slices)
    return items[items["slice"].isin(cohort.search_slices)] if searched else items


def _grouped(
    cohort: PreparedCohort, items: pd.DataFrame, columns: list[str]
) -> dict[tuple[str, ...], NDArray[np.int32]]:
    """Give the positions in the cohort of items that agree in some columns."""
    groups: dict[tuple[str, ...], list[int]] = {}
    values = items[columns].astype(str).itertuples(index=False, name=None)
    for place, key in zip(
        cohort.images.index.get_indexer(items.index).tolist(), values, strict=True
    ):
        groups.setdefault(key, []).append(place)
    return {key: np.array(group, dtype=np.int32) for key, group in groups.items()}


def _atlas_items(cohort: PreparedCohort, section: PairsOptions) -> pd.DataFrame:
    named = cohort.images[cohort.images["scan"] == section.atlas]
    if named.empty:
        raise DeclarationError(
            "pairs.atlas",
            expected="the name of an image of the cohort",
            got=repr(section.atlas),
            advice="Correct it.",
        )
    return named


def _same_columns(cohort: PreparedCohort, section: PairsOptions) -> list[str]:
    unknown = [name for name in section.same if name not in cohort.images]
    if unknown:
        raise DeclarationError(
            "pairs.same",
            expected="columns of the manifest",
            got=", ".join(unknown),
            advice="Correct the names.",
        )
    return section.same
