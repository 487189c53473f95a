"""The declared lattice: as Optuna's distributions, and a few of its points spread over it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hmopt.errors import DeclarationError
from hmopt.space import Hyperparameter, Index, Space, Type, even_indices, place_indices

SPREAD_FROM = 3
"""Hyperparameters from which on the coarse lattice is no whole product."""

MOST_SPREAD = 20_000
"""Settings of the product, about, that those of such a lattice are chosen among at most."""


def distribution(hyperparameter: Hyperparameter) -> BaseDistribution:
    """Return the values of a hyperparameter as Optuna is to suggest them.

    Optuna has no steps on a logarithm, and takes only steps that divide the range in decimals;
    elsewhere the range of a float is continuous, and what is suggested is brought to the nearest
    lattice point before it is measured.

    Examples
    --------
    >>> distribution(Hyperparameter(name="regularization"))
    FloatDistribution(high=1.0, log=False, low=0.0, step=0.005)
    >>> distribution(Hyperparameter(name="iterations", type="integer", low=5, high=50, step=5, default=20))
    IntDistribution(high=50, log=False, low=5, step=5)
    >>> distribution(Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI")))
    CategoricalDistribution(choices=('CC', 'MI'))
    """
    return _DISTRIBUTIONS[hyperparameter.type](hyperparameter)


def _of_choices(hyperparameter: Hyperparameter) -> CategoricalDistribution:
    return CategoricalDistribution(hyperparameter.choices)


def _of_integers(hyperparameter: Hyperparameter) -> IntDistribution:
    low = int(hyperparameter.low)
    high = int(hyperparameter.high)
    is_log = hyperparameter.prior == "log-uniform"
    return IntDistribution(low, high, log=is_log, step=int(hyperparameter.step))


def _of_floats(hyperparameter: Hyperparameter) -> FloatDistribution:
    low = float(hyperparameter.low)
    high = float(hyperparameter.high)
    if hyperparameter.prior == "log-uniform":
        return FloatDistribution(low, high, log=True)
    step = float(f"{hyperparameter.step * (high - low):.12g}")
    width = Decimal(str(high)) - Decimal(str(low))
    divides = width % Decimal(str(step)) == 0
    if divides:
        return FloatDistribution(low, high, step=step)
    return FloatDistribution(low, high)


_DISTRIBUTIONS: dict[Type, Callable[[Hyperparameter], BaseDistribution]] = {
    "float": _of_floats,
    "integer": _of_integers,
    "categorical": _of_choices,
}


def distributions(space: Space, index: Index | None = None) -> dict[str, BaseDistribution]:
    """Return the distributions of hyperparameters by name: all, or those that are active at a setting."""
    chosen = space.hyperparameters if index is None else space.active(index)
    return {hyperparameter.name: distribution(hyperparameter) for hyperparameter in chosen}


def lattice_index(space: Space, params: Mapping[str, Any]) -> Index | None:
    """Return the lattice point nearest to a trial's parameters; None off the space.

    Parameters that are not of the space do not count.
    """
    known = {name: value for name, value in params.items() if name in space.names}
    try:
        return space.index(known)
    except DeclarationError:
        return None


def coarse_lattice(space: Space, points: int) -> list[Index]:
    """Return a product of `points` settings per hyperparameter, one of them near the upper end.

    As λ nears 1, λ / (1 - λ), by which regularization outweighs the rest, rises ever faster, and
    scores bend with it: in the last interval a place is added at a quarter of its length from the
    end. A categorical hyperparameter has all its choices.

    Of three hyperparameters and more it is no whole product: of its settings about as many as two
    hyperparameters have, `coarse_count`, are taken one after the other, each the farthest from those
    before it (see `spread_out`).

    Examples
    --------
    >>> coarse_lattice(Space(hyperparameters=(Hyperparameter(name="regularization"),)), 6)
    [(0,), (50,), (100,), (150,), (188,), (200,)]
    >>> three = Space(hyperparameters=tuple(Hyperparameter(name=name) for name in "abc"))
    >>> len(coarse_lattice(three, 6))
    36
    """
    dimensions = len(space.hyperparameters)
    if dimensions < SPREAD_FROM:
        axes = [_coarse_indices(hyperparameter, points) for hyperparameter in space.hyperparameters]
        return space.product(axes)
    most_per_axis = int(MOST_SPREAD ** (1 / dimensions))
    per_axis = max(3, min(points, most_per_axis))
    axes = [_coarse_indices(hyperparameter, per_axis) for hyperparameter in space.hyperparameters]
    product = space.product(axes)
    return sorted(spread_out(product, coarse_count(dimensions, points)))


def settings_of_one_regularization(space: Space, points: int) -> list[Index]:
    """Return settings at which all regions have the same regularization; none where there are no regions.

    They lie along the range of `regularization` as the coarse lattice of one hyperparameter, twice as
    close. All else is at its default.

    Examples
    --------
    >>> names = ("regularization", "regularization_deep")
    >>> space = Space(hyperparameters=tuple(Hyperparameter(name=name) for name in names))
    >>> settings_of_one_regularization(space, 4)
    [(0, 0), (50, 50), (100, 100), (150, 150), (188, 188), (200, 200)]
    """
    weights = space.regularization_names
    if len(weights) < 2:
        return []
    default = space.index(space.default)
    common = space.hyperparameters[space.names.index(weights[0])]
    settings = []
    for place in _coarse_indices(common, 2 * points - 2):
        setting = [
            place if name in weights else other
            for name, other in zip(space.names, default, strict=True)
        ]
        settings.append(tuple(setting))
    return settings


def coarse_count(dimensions: int, points: int) -> int:
    """Return how many settings the coarse lattice has at most.

    That is `points` to the power of one or two hyperparameters. For d = 3 and more it is `points`²,
    but at least twice the (d + 1)(d + 2) / 2 that determine a polynomial of degree 2.

    Examples
    --------
    >>> [coarse_count(dimensions, points=10) for dimensions in (1, 2, 3, 4)]
    [10, 100, 100, 100]
    >>> coarse_count(3, points=4)
    20
    """
    product = int(points**dimensions)
    if dimensions < SPREAD_FROM:
        return product
    fewest = (dimensions + 1) * (dimensions + 2)
    return min(product, max(points**2, fewest))


def spread_out(settings: Sequence[Index], count: int | None = None) -> list[Index]:
    """Return settings in an order in which each is the farthest from those before it.

    Of the places 0, 50, 100, 150, 200: first 0, then 200 (the farthest), 100 (50 and 150 are nearer
    to an end), 50, 150.

    Parameters
    ----------
    settings
        Lattice indices.
    count
        How many to return at most; None: all.

    Examples
    --------
    >>> spread_out([(0,), (50,), (100,), (150,), (200,)], count=3)
    [(0,), (200,), (100,)]
    """
    points = np.array(settings, dtype=float)
    points /= np.maximum(points.max(axis=0), 1)
    distance = np.full(len(points), np.inf)  # of each to the nearest that was taken
    order: list[int] = []
    for _ in settings[:count]:
        farthest = int(distance.argmax())
        order.append(farthest)
        to_farthest = np.linalg.norm(points - points[farthest], axis=1)
        distance = np.minimum(distance, to_farthest)
        distance[order] = -1
    return [settings[place] for place in order]


def _coarse_indices(hyperparameter: Hyperparameter, points: int) -> list[int]:
    if not hyperparameter.is_ordered:
        return even_indices(hyperparameter, points)
    if not hyperparameter.is_even:
        share = 1 / (points - 2)
        places = [number * share for number in range(points - 1)]
        return place_indices(hyperparameter, [*places, 1 - share / 4])
    last = hyperparameter.points - 1
    interval = last / (points - 2)
    even = [round(number * interval) for number in range(points - 1)]
    near_the_end = round(last - interval / 4)
    return sorted({*even, near_the_end})


def even_lattice(space: Space, points: int) -> list[Index]:
    """Return `points` settings per hyperparameter in a product, even places from end to end, and all choices.

    Examples
    --------
    >>> even_lattice(Space(hyperparameters=(Hyperparameter(name="regularization"),)), 3)
    [(0,), (100,), (200,)]
    """
    axes = []
    for hyperparameter in space.hyperparameters:
        if not (hyperparameter.is_ordered and hyperparameter.is_even):
            axes.append(even_indices(hyperparameter, points))
            continue
        last = hyperparameter.points - 1
        places = np.linspace(0, last, points).round().astype(int)
        axes.append(sorted(set(places.tolist())))
    return space.product(axes)


def unit_places(space: Space, settings: Sequence[Index]) -> NDArray[np.float64]:
    """Return settings as places along each range, in [0, 1], shape (settings, hyperparameters).

    So distances along all hyperparameters are alike.
    """
    places = np.array(settings, dtype=float)
    for column, hyperparameter in enumerate(space.hyperparameters):
        if hyperparameter.is_even:
            places[:, column] /= hyperparameter.points - 1
            continue
        values = [hyperparameter.value(index[column]) for index in settings]
        places[:, column] = [hyperparameter.to_unit_interval(value) for value in values]
    return places


def bears_surface(places: NDArray[np.float64]) -> bool:
    """Return whether a polynomial of degree 2 is determined by its values at some places, (S, d).

    It is not where a hyperparameter was measured at two values only.

    Examples
    --------
    >>> line = np.linspace(0, 1, 12)
    >>> bears_surface(np.stack([line, line.round()], axis=1))
    False
    """
    dimensions = places.shape[1]
    columns = [np.ones(len(places))]
    for degree in (1, 2):
        products = itertools.combinations_with_replacement(range(dimensions), degree)
        columns += [places[:, factors].prod(axis=1) for factors in products]
    terms = np.stack(columns, axis=1)
    rank = int(np.linalg.matrix_rank(terms))
    return rank == len(columns)
