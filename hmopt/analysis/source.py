"""One model's measurements, seen scope by scope."""

from dataclasses import dataclass
from functools import cache, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.optimum import Optimum, band, find_optimum
from hmopt.analysis.resampling import draw_weights
from hmopt.analysis.response import Response, find_response
from hmopt.declaration.search import SearchSection
from hmopt.ledger.measurements import Measurements
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
    folding
        Mean share of folded voxels at each setting, shape (s,); NaN where it was not measured.
    optimum
        The best setting.
    """

    response: Response
    band: NDArray[np.float64]
    folding: NDArray[np.float64]
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

    def __init__(self, measurements: Measurements, section: SearchSection) -> None:
        self.measurements = measurements
        self.metric = section.metric
        self.folding_limit = section.folding_limit
        self.moving = measurements.pairs["moving_subject"].to_numpy(dtype=object)
        self.fixed = measurements.pairs["fixed_subject"].to_numpy(dtype=object)
        self.seed = section.seed
        self._scores = cache(partial(measurements.score, self.metric))
        self._weights = lru_cache(maxsize=32)(self._draw)

    def _draw(self, pairs: tuple[int, ...], always: str | None) -> NDArray[np.float64]:
        return draw_weights(self.moving[list(pairs)], self.fixed[list(pairs)], DRAWS, self.seed, always)

    def weights(self, scope: Scope, response: Response) -> NDArray[np.float64]:
        """Give what a response's pairs weigh in samples of the subjects, shape (draws, n)."""
        return self._weights(tuple(response.pairs.tolist()), subject_of(scope))

    def response(self, label: str | None, mask: NDArray[np.bool_]) -> Response | None:
        """Give the scores of the pairs under a mask."""
        return find_response(self.measurements, self._scores(label), mask, self.metric)

    def folding(self, response: Response) -> NDArray[np.float64]:
        """Give the mean share of folded voxels over a response's pairs at each of its settings."""
        if "folding" not in self.measurements.values:
            return np.full(len(response.settings), np.nan)
        places = {index: place for place, index in enumerate(self.measurements.settings)}
        rows = np.array([places[index] for index in response.settings])
        return np.asarray(self.measurements.values["folding"][np.ix_(rows, response.pairs)].mean(axis=1))

    def view(self, scope: Scope) -> View | None:
        """Give what these measurements say about a scope, or None where nothing was measured for it."""
        response = self.response(scope.label, np.asarray(scope.mask(self.measurements.pairs)))
        if response is None:
            return None
        weights = self.weights(scope, response)
        folding = self.folding(response)
        optimum = find_optimum(response, weights, folding, self.folding_limit)
        return View(response=response, band=band(response, weights), folding=folding, optimum=optimum)

    def sides(self, scope: Scope) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Give who must be held out of each pair: both subjects, or for one subject's scope its partner twice."""
        subject = subject_of(scope)
        if subject is None:
            return self.moving, self.fixed
        partner = np.where(self.moving == subject, self.fixed, self.moving)
        return partner, partner


def subject_of(scope: Scope) -> str | None:
    """Give the subject that a scope is about, if it is about one."""
    return dict(scope.criteria).get("subject")
