"""Curves of several models over the same pairs and settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.resampling import Samples, draw
from hmopt.analysis.source import DRAWS, held_out_sides, subject_of
from hmopt.catalogue import Metric
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import Curve, Curves
from hmopt.search.scopes import Scope
from hmopt.space import Index, Space


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """Scores of m models for the same n pairs at s settings, of which some models may lack some.

    Parameters
    ----------
    scope, space, metric, settings
        As of a curve.
    moving, fixed
        The subjects of each pair, shape (n,).
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """

    scope: Scope
    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    moving: NDArray[np.object_]
    fixed: NDArray[np.object_]
    scores: NDArray[np.float64]

    @property
    def mean(self) -> Curve:
        """The curve of the mean, at each setting, over the models that were measured there."""
        return self.curve(mean(self.scores, axis=0))

    def curve(self, scores: NDArray[np.float64]) -> Curve:
        """Give the curve of other scores of these pairs at these settings, shape (s, n)."""
        pairs = np.arange(scores.shape[1])
        return Curve(
            scope=self.scope,
            space=self.space,
            metric=self.metric,
            settings=self.settings,
            pairs=pairs,
            ids=tuple(map(str, pairs)),
            scores=scores,
            folding=np.full(len(scores), np.nan),
        )

    @property
    def shared(self) -> tuple[Index, ...]:
        """The settings at which all models were measured."""
        whole = np.asarray(np.isfinite(self.scores).all(axis=(0, 2)))
        return tuple(setting for setting, held in zip(self.settings, whole, strict=True) if held)

    @property
    def subjects(self) -> int:
        """How many subjects the pairs are of."""
        return len({*self.moving, *self.fixed})

    @property
    def sides(self) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Who must be held out of each pair, as `held_out_sides`."""
        return held_out_sides(self.scope, self.moving, self.fixed)

    def samples(self, seed: int) -> Samples:
        """Give random samples of the subjects of these pairs."""
        return draw(self.moving, self.fixed, DRAWS, seed, subject_of(self.scope))

    def at(self, settings: Iterable[Index]) -> "Aligned":
        """Give the same at some of the settings only, sorted."""
        kept = sorted(set(settings) & set(self.settings))
        places = [self.settings.index(setting) for setting in kept]
        return Aligned(
            scope=self.scope,
            space=self.space,
            metric=self.metric,
            settings=tuple(kept),
            moving=self.moving,
            fixed=self.fixed,
            scores=self.scores[:, places],
        )


def align(
    families: Iterable[Mapping[str, Measurements]], scope: Scope, metric: str
) -> list[Aligned] | None:
    """Give the curves of families of models over the pairs that all of them measured.

    Its settings are all that some model of a family was measured at. None where no pair is shared.

    Parameters
    ----------
    families
        Each by the names of its models, as seeds; all of the same hyperparameters.
    scope
        Whose pairs.
    metric
        Name of a metric that all of them measured.

    Raises
    ------
    LedgerError
        If the hyperparameters differ, or a family has no models.
    """
    models = [list(family.values()) for family in families]
    if not all(models):
        raise LedgerError(
            "models", expected="at least one in each family", got="none", advice="Train some."
        )
    spaces = {measurements.space for family in models for measurements in family}
    if len(spaces) > 1:
        raise LedgerError(
            "space",
            expected="one space for all models",
            got=spaces,
            advice="Compare like with like.",
        )
    curves = [
        [Curves(measurements, metric).of(scope) for measurements in family] for family in models
    ]
    whole = [[curve for curve in family if curve is not None] for family in curves]
    ids = [set(curve.ids) for family in whole for curve in family]
    shared = sorted(set.intersection(*ids)) if ids else []
    if not shared or [len(family) for family in whole] != [len(family) for family in curves]:
        return None
    pairs = models[0][0].pairs.set_index("pair").loc[shared]
    return [_align(family, pairs) for family in whole]


def complete(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of the models that were measured at all settings, shape (k, s, n).

    Where no model was, the mean over models counts as a single one.

    Parameters
    ----------
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """
    whole = np.isfinite(scores).all(axis=(1, 2))
    return scores[whole] if whole.any() else mean(scores, axis=0)[None]


def _align(curves: list[Curve], pairs: pd.DataFrame) -> Aligned:
    settings = sorted(set().union(*(curve.settings for curve in curves)))
    scores = np.full((len(curves), len(settings), len(pairs)), np.nan)
    for model, curve in enumerate(curves):
        places = [settings.index(setting) for setting in curve.settings]
        scores[model, places] = curve.scores[:, _columns(curve, pairs)]
    first = curves[0]
    moving, fixed = (
        pairs[f"{side}_subject"].to_numpy(dtype=object) for side in ("moving", "fixed")
    )
    return Aligned(
        scope=first.scope,
        space=first.space,
        metric=first.metric,
        settings=tuple(settings),
        moving=moving,
        fixed=fixed,
        scores=scores,
    )


def _columns(curve: Curve, pairs: pd.DataFrame) -> list[int]:
    place = {name: position for position, name in enumerate(curve.ids)}
    return [place[name] for name in pairs.index]
