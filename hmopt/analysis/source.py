"""One model's measurements, seen scope by scope."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.optimum import Optimum, band, find_optimum
from hmopt.analysis.resampling import Samples, draw
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, Curves
from hmopt.search.scopes import Scope

DRAWS = 1000
"""Samples of the subjects behind every interval."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one model's measurements say about one scope.

    Parameters
    ----------
    response
        Scores of its pairs.
    band
        95 % interval of the mean at each setting, shape (2, s).
    optimum
        The best setting.
    """

    response: Curve
    band: NDArray[np.float64]
    optimum: Optimum


class Source:
    """Measurements of one model, with what scopes share computed once.

    Parameters
    ----------
    measurements
        All that was measured.
    section
        The metric, the folding limit and the seed.
    """

    def __init__(self, measurements: Measurements, section: SearchOptions) -> None:
        self.measurements = measurements
        self.folding_limit = section.folding_limit
        self.margin = section.margin
        self.moving = measurements.pairs["moving_subject"].to_numpy(dtype=object)
        self.fixed = measurements.pairs["fixed_subject"].to_numpy(dtype=object)
        self.seed = section.seed
        self.curves = Curves(measurements, section.metric)
        self._samples = lru_cache(maxsize=32)(self._draw)

    def _draw(self, pairs: tuple[int, ...], always: str | None) -> Samples:
        return draw(self.moving[list(pairs)], self.fixed[list(pairs)], DRAWS, self.seed, always)

    def samples(self, scope: Scope, response: Curve) -> Samples:
        """Give random samples of the subjects of a response's pairs."""
        return self._samples(tuple(response.pairs.tolist()), subject_of(scope))

    def view(self, scope: Scope) -> View | None:
        """Give what these measurements say about a scope, or None where nothing was measured for it."""
        response = self.curves.of(scope)
        if response is None:
            return None
        samples = self.samples(scope, response)
        optimum = find_optimum(response, samples, self.folding_limit, self.margin)
        return View(response=response, band=band(response, samples), optimum=optimum)

    def sides(self, scope: Scope) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Give who must be held out of each pair, as `held_out_sides`."""
        return held_out_sides(scope, self.moving, self.fixed)


def subject_of(scope: Scope) -> str | None:
    """Give the subject that a scope is about, if it is about one."""
    return dict(scope.criteria).get("subject")


def held_out_sides(
    scope: Scope, moving: NDArray[np.object_], fixed: NDArray[np.object_]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Give who must be held out of each pair: both its subjects, or for one subject's scope the partner twice.

    Parameters
    ----------
    scope
        Whose pairs.
    moving, fixed
        The subjects of each pair, shape (n,).
    """
    subject = subject_of(scope)
    if subject is None:
        return moving, fixed
    partner = np.where(moving == subject, fixed, moving)
    return partner, partner
