"""Which settings a sweep measures: a coarse lattice, then those that promise most over all scopes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import find_curves
from hmopt.search.lattice import coarse_lattice
from hmopt.search.scopes import list_scopes
from hmopt.search.spline import predict
from hmopt.space import Index, Space

NEGLIGIBLE_SHARE = 1 / 8
"""What scopes may still have to gain on average when a sweep ends, as a share of the metric's tolerance."""


def coarse_settings(space: Space, section: SearchOptions) -> list[Index]:
    """Give the settings that are measured for all scopes at once: the coarse lattice, and the default.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", default=0.3),))
    >>> coarse_settings(space, SearchOptions(coarse=4))
    [(0,), (60,), (100,), (175,), (200,)]
    """
    return sorted({*coarse_lattice(space, section.coarse), space.index(space.default)})


def dense_settings(space: Space) -> list[Index]:
    """Give every setting of a space with one hyperparameter: what a plan is judged by.

    Raises
    ------
    SearchError
        If there are several hyperparameters: their lattice has too many points.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> dense_settings(Space(hyperparameters=(Hyperparameter(name="regularization", step=0.5),)))
    [(0,), (1,), (2,)]
    """
    if len(space.hyperparameters) != 1:
        raise SearchError(
            "hyperparameters",
            expected="one, to measure every value of it",
            got=", ".join(space.names),
            advice="Search without --dense, or declare a larger search.coarse.",
        )
    return space.coarse(space.hyperparameters[0].points)


def confirming_settings(measurements: Measurements, section: SearchOptions) -> list[Index]:
    """Give what to measure next, one setting at most, so that the declared scopes come near their best.

    Curves through the scores of every scope say how much each setting may gain on the best that was measured. Next is
    the setting that leaves least to gain, by the sum of squares over scopes. Only the coarse settings and what was
    chosen here before are looked at, so that whatever else was measured changes nothing.

    Parameters
    ----------
    measurements
        With all coarse settings, and what was chosen before.
    section
        `scopes`, `metric`, `coarse` and `refinements`.

    Returns
    -------
    list of Index
        Empty when scopes have little to gain on average (`NEGLIGIBLE_SHARE`), or `refinements` settings were chosen.

    Examples
    --------
    While it gives settings, they are measured::

        while settings := confirming_settings(ledger.measurements(...), section):
            sweep(oracle, settings, pairs, metrics)
    """
    chosen = coarse_settings(measurements.space, section)
    place_of = {setting: place for place, setting in enumerate(measurements.settings)}
    gains = _gains(measurements, section)
    negligible = NEGLIGIBLE_SHARE * find_metric(section.metric).tolerance
    if not gains.size or not place_of.keys() >= set(chosen):
        return []
    for _ in range(section.refinements):
        scores = gains[[place_of[setting] for setting in chosen]]
        promising = _most_promising(measurements.space, chosen, scores, negligible)
        if promising is None:
            return []
        if promising not in place_of:
            return [promising]
        chosen = sorted([*chosen, promising])
    return []


def _gains(measurements: Measurements, section: SearchOptions) -> NDArray[np.float64]:
    """Give the scores of every scope that was measured at all settings, shape (settings, scopes); more is better."""
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    curves = find_curves(measurements, scopes, section.metric)
    whole = [curve.signed_means for curve in curves if curve.settings == measurements.settings]
    return np.array(whole).reshape(len(whole), len(measurements.settings)).T


def _most_promising(
    space: Space, settings: Sequence[Index], scores: NDArray[np.float64], negligible: float
) -> Index | None:
    candidates, predicted = predict(space, settings, scores)
    gains = np.maximum(predicted - scores.max(axis=0), 0.0)
    taken = set(settings)
    gains[[setting in taken for setting in candidates]] = 0.0
    attainable = gains.max(axis=0)
    left = np.square(attainable - gains).sum(axis=1)
    return candidates[int(left.argmin())] if attainable.mean() > negligible else None
