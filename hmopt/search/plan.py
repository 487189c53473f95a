"""Which settings a sweep measures: a coarse lattice, then a few that serve many scopes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hmopt.declaration import SearchSection
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import find_curves
from hmopt.search.scopes import Scope, list_scopes
from hmopt.search.spline import predict
from hmopt.space import Index, Space


def coarse_settings(space: Space, section: SearchSection) -> list[Index]:
    """Give the settings that are measured for all scopes at once: the coarse lattice, and the default.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", default=0.3),))
    >>> coarse_settings(space, SearchSection(coarse=3))
    [(0,), (60,), (100,), (200,)]
    """
    return sorted({*space.coarse(section.coarse), space.index(space.default)})


def confirming_settings(measurements: Measurements, section: SearchSection) -> list[Index]:
    """Give further settings to measure, so that as many scopes as possible come near their best.

    For every declared scope a curve through its scores on the coarse lattice says how much each other setting would
    gain on the best coarse one. Settings are chosen one after the other; each adds the most to the sum, over scopes, of
    the share of its attainable gain that a scope gets. Only the coarse lattice is looked at, so that the choice stays
    the same when its settings have been measured.

    Parameters
    ----------
    measurements
        With the whole coarse lattice.
    section
        `scopes`, `metric`, `coarse` and `confirmations`.

    Returns
    -------
    list of Index
        At most `confirmations` settings, sorted.
    """
    grid = measurements.space.coarse(section.coarse)
    coarse = measurements.at(grid)
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    gains = _coarse_gains(coarse, scopes, section.metric)
    if len(coarse.settings) < len(grid) or not gains.size:
        return []
    candidates, predicted = predict(grid, gains)
    return sorted(candidates[place] for place in _covering(_shares(predicted, gains), section.confirmations))


def _coarse_gains(coarse: Measurements, scopes: Sequence[Scope], metric: str) -> NDArray[np.float64]:
    curves = find_curves(coarse, scopes, metric)
    whole = [curve.gains for curve in curves if curve.settings == coarse.settings]
    return np.array(whole).reshape(len(whole), len(coarse.settings)).T


def _shares(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the share of each scope's attainable gain that each candidate reaches, shape (candidates, scopes)."""
    gain = np.maximum(predicted - measured.max(axis=0), 0.0)
    attainable = gain.max(axis=0)
    worthwhile = attainable > 1e-9 * np.abs(measured).max(axis=0)
    return np.where(worthwhile, gain / np.where(worthwhile, attainable, 1.0), 0.0)


def _covering(shares: NDArray[np.float64], count: int) -> list[int]:
    """Give the places of at most `count` candidates, each chosen for what it adds to those before."""
    chosen: list[int] = []
    reached = np.zeros(shares.shape[1])
    for _ in range(count):
        added = np.maximum(shares - reached, 0.0).sum(axis=1)
        best = int(added.argmax())
        if added[best] <= 0:
            break
        chosen.append(best)
        reached = np.maximum(reached, shares[best])
    return chosen
