"""Pairs of images: which are possible, which are drawn, and which a CSV lists."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.csv_tables import restored
from hmopt.data.formats import image_name
from hmopt.data.manifest import known_values
from hmopt.data.prepared import PreparedCohort
from hmopt.data.split import SIDES
from hmopt.data.spreadsheets import read_table, rename_columns
from hmopt.declaration import PairsOptions
from hmopt.errors import DataError, DeclarationError
from hmopt.records import Pair

TRAIN, SEARCH = "train", "search"
MOST_PAIRS = 1 << 22
"""Possible pairs of one kind that are told apart: all those of 2,048 images."""

Positions = NDArray[np.int32]
"""Rows of `PreparedCohort.images`."""

NO_IMAGES: Positions = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairList(Sequence[Pair]):
    """Very many pairs among n images, held as two integers each; a `Pair` is made on access.

    Parameters
    ----------
    names, subjects
        Of the images, n each.
    moving, fixed
        Positions of the images of each pair, shape (pairs,).

    Examples
    --------
    >>> moving, fixed = np.array([0, 1]), np.array([1, 0])
    >>> pairs = PairList(names=["a1", "b1"], subjects=["a", "b"], moving=moving, fixed=fixed)
    >>> [pair.id for pair in pairs]
    ['a1->b1', 'b1->a1']
    """

    names: Sequence[str]
    subjects: Sequence[str]
    moving: NDArray[np.integer]
    fixed: NDArray[np.integer]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.moving)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> "PairList": ...
    def __getitem__(self, place: int | slice) -> "Pair | PairList":
        """Return the pair at a place, or the pairs of a slice."""
        if isinstance(place, slice):
            return replace(self, moving=self.moving[place], fixed=self.fixed[place])
        moving = self.moving[place]
        fixed = self.fixed[place]
        return Pair(
            moving=self.names[moving],
            fixed=self.names[fixed],
            moving_subject=self.subjects[moving],
            fixed_subject=self.subjects[fixed],
        )

    def joined(self, other: "PairList") -> "PairList":
        """Return these pairs, then those pairs of the same images that are not among them."""
        moving = np.append(self.moving, other.moving)
        fixed = np.append(self.fixed, other.fixed)
        number = moving.astype(np.int64) * len(self.names) + fixed
        _, first = np.unique(number, return_index=True)
        first.sort()
        return replace(self, moving=moving[first], fixed=fixed[first])


def possible_pairs(cohort: PreparedCohort, options: PairsOptions, split: str) -> list[Pair]:
    """Return all ordered pairs of the declared kinds among the subjects of a set.

    Slices pair with the same slice. Of more than `MOST_PAIRS` pairs of one kind, each image keeps
    as many random partners as lead to that number.

    Parameters
    ----------
    cohort
        The prepared cohort.
    options
        The declared pairs.
    split
        `train`, `tune` or `search`. Except in training, only the slices to search on are paired.

    Raises
    ------
    DeclarationError
        If `same` names no column, or `atlas` is not an image of the cohort.
    """
    first, *others = options.tasks
    pairs = _pairs_of(first, cohort, options, split)
    for kind in others:
        pairs = pairs.joined(_pairs_of(kind, cohort, options, split))
    return list(pairs)


def draw_pairs(cohort: PreparedCohort, options: PairsOptions, split: str) -> list[Pair]:
    """Return the declared number of pairs of each kind, or the pairs of the declared CSV.

    The CSV is for the search alone. Pairs are drawn balanced over subjects (see `draw_evenly`);
    where there are no more than asked for, all are taken.

    Parameters
    ----------
    cohort, options, split
        As of `possible_pairs`.

    Raises
    ------
    DataError
        If no pair is possible, or the CSV names an image that is not to be searched.
    DeclarationError
        As `possible_pairs`.
    """
    if options.csv is not None and split == SEARCH:
        return list_pairs(options.csv, _images_of(cohort, split))
    count = options.search if split == SEARCH else options.tune
    drawn: list[Pair] = []
    for kind in options.tasks:
        rng = _generator(options, split, kind)
        pairs = _pairs_of(kind, cohort, options, split)
        subjects, _ = pd.factorize(np.asarray(pairs.subjects))
        places = draw_evenly(subjects[pairs.moving], subjects[pairs.fixed], count, rng)
        drawn.extend(pairs[place] for place in places)
    if not drawn:
        raise DataError(
            "pairs",
            expected=f"pairs of kind {' or '.join(options.tasks)} among the {split} subjects",
            got="none",
            advice=f"Give split.{split} more subjects, or declare other tasks.",
        )
    return list(dict.fromkeys(drawn))


def draw_evenly(
    moving: NDArray[np.integer],
    fixed: NDArray[np.integer],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw pairs without replacement, so that subjects move, and are fixed, about equally often.

    Pairs are drawn one by one. With m(s) and f(s) the numbers of drawn pairs in which subject s
    was moving or fixed, each draw takes the pair (a, b) of the smallest load

        load(a, b) = m(a)² + f(b)²,

    among equals the first of a random permutation. With squares, two subjects drawn twice come
    before one drawn three times with one drawn once: 4 + 4 < 9 + 1. When m(a) becomes m(a) + 1,
    the load of the pairs of `a` rises by 2 m(a) + 1, so that loads are updated and never computed
    anew.

    Parameters
    ----------
    moving, fixed
        Subjects of the possible pairs, as integers from 0, shape (n,) each.
    count
        How many pairs to draw; all where n is smaller.
    rng
        Decides between equals.

    Returns
    -------
    NDArray
        (count,): positions of the drawn pairs.

    Examples
    --------
    >>> moving, fixed = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 0, 2, 0, 1])
    >>> drawn = draw_evenly(moving, fixed, 3, np.random.default_rng(1))
    >>> sorted(moving[drawn].tolist()), sorted(fixed[drawn].tolist())
    ([0, 1, 2], [0, 1, 2])
    """
    if len(moving) <= count:
        return np.arange(len(moving))
    order = rng.permutation(len(moving))
    moving = moving[order]
    fixed = fixed[order]
    times_moving = np.zeros(moving.max() + 1)
    times_fixed = np.zeros(fixed.max() + 1)
    load = np.zeros(len(order))
    drawn = []
    for _ in range(count):
        pick = int(load.argmin())
        drawn.append(order[pick])
        load[pick] = np.inf
        for subjects, times in ((moving, times_moving), (fixed, times_fixed)):
            subject = subjects[pick]
            load[subjects == subject] += 2 * times[subject] + 1
            times[subject] += 1
    return np.array(drawn)


def list_pairs(path: Path, images: pd.DataFrame) -> list[Pair]:
    """Read the pairs of a CSV with columns `moving` and `fixed`.

    Parameters
    ----------
    path
        The CSV. Names are those of images, or of their slices; two images stand for all slices
        that both have.
    images
        Rows of `PreparedCohort.images` that may be paired.

    Raises
    ------
    DataError
        If the file cannot be read, or a row names an image that is not among `images`, or the
        same twice.
    """
    table = read_pair_names(path)
    slices = _slices_by_name(images)
    pairs: list[Pair] = []
    for line, moving, fixed in table.itertuples(name=None):
        pairs += _listed_pairs(moving, fixed, slices, f"{path}, line {line}")
    return list(dict.fromkeys(pairs))


def read_pair_names(path: Path) -> pd.DataFrame:
    """Read columns `moving` and `fixed` of a CSV; the index holds the lines of the file.

    Raises
    ------
    DataError
        If the file cannot be read, or lists nothing.
    """
    columns = ["moving", "fixed"]
    kind = "a CSV with columns moving and fixed"
    table = rename_columns(read_table(path, kind), columns)
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            str(path),
            expected=kind,
            got=f"no {', '.join(missing)}",
            advice="Correct the file.",
        )
    if table.empty:
        raise DataError(
            str(path),
            expected="pairs",
            got="no rows",
            advice="List them, or leave out pairs.csv.",
        )
    return table[columns].map(restored)


def _pairs_of(kind: str, cohort: PreparedCohort, options: PairsOptions, split: str) -> PairList:
    """Return the possible pairs of one kind.

    Images of the same slice that agree in the columns of `same` form a block; one whose value there
    is unknown is in none. Every image moves
    to those images of its block that the kind allows:

    - `cross`: images of other subjects,
    - `within`: other images of its subject,
    - `atlas`: the atlas, whosever image it is.

    Of images a1, a2 of subject a and b1 of subject b, all in one block, `cross` makes a1->b1,
    a2->b1, b1->a1 and b1->a2; `within` makes a1->a2 and a2->a1; `atlas`, with b1 as the atlas,
    makes a1->b1 and a2->b1.
    """
    columns = ["slice", *_agreeing_columns(cohort, options)]
    images = _images_of(cohort, split)
    blocks = _blocks(cohort, images, columns)
    fixed_blocks = blocks
    if kind == "atlas":
        fixed_blocks = _blocks(cohort, _atlas_images(cohort, options), columns)
    subjects, _ = pd.factorize(cohort.images["subject"])
    rng = _generator(options, split, f"{kind} partners")
    most_partners = MOST_PAIRS // max(1, len(images))
    most_partners = max(1, most_partners)

    moving = [NO_IMAGES]
    fixed = [NO_IMAGES]
    for block, movable in blocks.items():
        candidates = fixed_blocks.get(block, NO_IMAGES)
        for image in movable:
            allowed = candidates != image
            same_subject = subjects[candidates] == subjects[image]
            if kind == "within":
                allowed &= same_subject
            if kind == "cross":
                allowed &= ~same_subject
            partners = candidates[allowed]
            if len(partners) > most_partners:
                partners = rng.choice(partners, most_partners, replace=False, shuffle=False)
            moving.append(np.full(len(partners), image, dtype=np.int32))
            fixed.append(partners)
    return PairList(
        names=cohort.images.index.tolist(),
        subjects=cohort.images["subject"].tolist(),
        moving=np.concatenate(moving),
        fixed=np.concatenate(fixed),
    )


def _generator(options: PairsOptions, split: str, purpose: str) -> np.random.Generator:
    """Return the random numbers for one purpose, which do not depend on those for another."""
    side = SIDES.index(split)
    seed = [options.seed, side, *purpose.encode()]
    return np.random.default_rng(seed)


def _images_of(cohort: PreparedCohort, split: str) -> pd.DataFrame:
    """Return the images of a set; except in training, of the slices to search on."""
    images = cohort.images[cohort.images["split"] == split]
    if split == TRAIN or not cohort.search_slices:
        return images
    return images[images["slice"].isin(cohort.search_slices)]


def _blocks(
    cohort: PreparedCohort, images: pd.DataFrame, columns: list[str]
) -> dict[tuple[str, ...], Positions]:
    """Return the positions of images that agree in all columns, by their values there.

    An image with an unknown value agrees with no other.
    """
    values = known_values(images[columns])
    keys = [values[column].to_numpy() for column in columns]
    positions = cohort.images.index.get_indexer(images.index).astype(np.int32)
    grouped = pd.Series(positions).groupby(keys, sort=False, dropna=True)
    return {key: block.to_numpy() for key, block in grouped}  # type: ignore[misc]


def _atlas_images(cohort: PreparedCohort, options: PairsOptions) -> pd.DataFrame:
    atlas = cohort.images[cohort.images["scan"] == options.atlas]
    if atlas.empty:
        raise DeclarationError(
            "pairs.atlas",
            expected="the name of an image of the cohort",
            got=repr(options.atlas),
            advice="Correct it.",
        )
    return atlas


def _agreeing_columns(cohort: PreparedCohort, options: PairsOptions) -> list[str]:
    check_columns(options, [str(name) for name in cohort.images])
    return list(dict.fromkeys(options.same))


def check_columns(options: PairsOptions, columns: Sequence[str]) -> None:
    """Refuse `pairs.same` where it names what is no column.

    Raises
    ------
    DeclarationError
        If it does.
    """
    unknown = [name for name in options.same if name not in columns]
    if unknown:
        raise DeclarationError(
            "pairs.same",
            expected="columns of the manifest",
            got=", ".join(unknown),
            advice="Correct the names.",
        )


def _listed_pairs(
    moving: str, fixed: str, slices: Mapping[str, dict[int, tuple[str, str]]], origin: str
) -> list[Pair]:
    """Return the pairs that one row of a CSV stands for: one, or one a slice."""
    moving_slices = _slices_of(moving, slices, origin)
    fixed_slices = _slices_of(fixed, slices, origin)
    pairs = []
    for index, (moving_name, moving_subject) in moving_slices.items():
        if index not in fixed_slices:
            continue
        fixed_name, fixed_subject = fixed_slices[index]
        if fixed_name == moving_name:
            continue
        pair = Pair(
            moving=moving_name,
            fixed=fixed_name,
            moving_subject=moving_subject,
            fixed_subject=fixed_subject,
        )
        pairs.append(pair)
    if not pairs:
        raise DataError(
            origin,
            expected="two images, or the same slice of two",
            got=f"{moving} and {fixed}",
            advice="Correct the names.",
        )
    return pairs


def _slices_of(
    name: str, slices: Mapping[str, dict[int, tuple[str, str]]], origin: str
) -> dict[int, tuple[str, str]]:
    """Return name and subject of the slices that a name stands for, by the index of the slice."""
    # a file's own name is taken too, as spreadsheets list files
    found = {**slices.get(name, {}), **slices.get(image_name(Path(name)), {})}
    if not found:
        raise DataError(
            origin,
            expected="an image of a subject to search on",
            got=repr(name),
            advice="Correct the name, or put its subject into split.search.",
        )
    return found


def _slices_by_name(images: pd.DataFrame) -> dict[str, dict[int, tuple[str, str]]]:
    """Return name and subject of slices by their index, by the name of the slice and by that of its image."""
    slices: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    rows = zip(images.index, images["scan"], images["slice"], images["subject"], strict=True)
    for name, scan, index, subject in rows:
        slices[name][index] = (name, subject)
        slices[scan][index] = (name, subject)
    return slices
