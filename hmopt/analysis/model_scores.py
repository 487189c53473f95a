"""Scores of several models on the pairs and settings that they share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hmopt.analysis.arrays import Floats, Names
from hmopt.analysis.held_out import Sides
from hmopt.analysis.optimum import held_out_sides
from hmopt.catalogue import Metric
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.scopes import Scope
from hmopt.space import Index, Space

ModelsByName = Mapping[str, Measurements]
"""Measurements of models by their names, such as seeds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelScores:
    """Scores of m models on the same n pairs at s settings.

    Parameters
    ----------
    scope, space, metric, settings
        As of a curve.
    moving, fixed
        Subjects of each pair, shape (n,).
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """

    scope: Scope
    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    moving: Names
    fixed: Names
    scores: Floats

    @property
    def mean(self) -> Curve:
        """The mean curve; at each setting, over the models that were measured there."""
        pairs = np.arange(len(self.moving))
        return Curve(
            scope=self.scope,
            space=self.space,
            metric=self.metric,
            settings=self.settings,
            pairs=pairs,
            ids=tuple(map(str, pairs)),
            scores=mean(self.scores, axis=0),
            folding=np.full(len(self.settings), np.nan),
        )

    @property
    def signed(self) -> Floats:
        """Scores such that more is better, shape (m, s, n)."""
        nothing = np.zeros(1)
        return gain(self.metric, self.scores, nothing)

    @property
    def shared(self) -> tuple[Index, ...]:
        """The settings at which all models were measured."""
        measured = np.isfinite(self.scores)
        whole = measured.all(axis=(0, 2))
        places = np.flatnonzero(whole)
        return tuple(self.settings[place] for place in places)

    @property
    def sides(self) -> Sides:
        """Subjects that must be held out of each pair, as `held_out_sides`."""
        return held_out_sides(self.scope, self.moving, self.fixed)

    def at(self, settings: Iterable[Index]) -> "ModelScores":
        """Return the same at some of the settings only, sorted."""
        common = set(settings) & set(self.settings)
        kept = sorted(common)
        places = [self.settings.index(setting) for setting in kept]
        scores = self.scores[:, places]
        return replace(self, settings=tuple(kept), scores=scores)


def complete_models(scores: Floats) -> Floats:
    """Return the scores of the models that were measured at all settings, shape (k, s, n).

    Where no model was, the mean over models counts as a single one.

    Parameters
    ----------
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """
    whole = np.isfinite(scores).all(axis=(1, 2))
    if whole.any():
        return scores[whole]
    of_all = mean(scores, axis=0)
    return of_all[None]


def shared_scores(
    groups: Iterable[ModelsByName], scope: Scope, metric: str
) -> list[ModelScores] | None:
    """Return the scores of groups of models on the pairs that all models measured.

    The settings of a group are all that one of its models was measured at. None where the models
    share no pair.

    Parameters
    ----------
    groups
        Such as hypermorphs and separate networks; all of the same hyperparameters.
    scope
        Of the pairs.
    metric
        Name of a metric that all of them measured.

    Raises
    ------
    LedgerError
        If the hyperparameters differ, or a group has no models.
    """
    models = [list(group.values()) for group in groups]
    _check(models)
    curves = []
    for group in models:
        of_group = [Curves(measurements, metric).of(scope) for measurements in group]
        measured = [curve for curve in of_group if curve is not None]
        if len(measured) < len(of_group):
            return None
        curves.append(measured)

    common = set(curves[0][0].ids)
    for measured in curves:
        for curve in measured:
            common &= set(curve.ids)
    if not common:
        return None
    first_model = models[0][0]
    pairs = first_model.pairs.set_index("pair").loc[sorted(common)]
    return [_of_group(of_group, pairs) for of_group in curves]


def _check(models: list[list[Measurements]]) -> None:
    if not all(models):
        raise LedgerError(
            "models", expected="at least one in each group", got="none", advice="Train some."
        )
    spaces = {measurements.space for group in models for measurements in group}
    if len(spaces) > 1:
        raise LedgerError(
            "space",
            expected="one space for all models",
            got=spaces,
            advice="Compare models of the same hyperparameters.",
        )


def _of_group(curves: list[Curve], pairs: pd.DataFrame) -> ModelScores:
    """Stack the curves of a group's models over pairs, whose ids are the index of the table."""
    settings = sorted(set().union(*(curve.settings for curve in curves)))
    scores = np.full((len(curves), len(settings), len(pairs)), np.nan)
    for model, curve in enumerate(curves):
        rows = [settings.index(setting) for setting in curve.settings]
        columns = pd.Index(curve.ids).get_indexer(pairs.index)
        scores[model, rows] = curve.scores[:, columns]
    first = curves[0]
    return ModelScores(
        scope=first.scope,
        space=first.space,
        metric=first.metric,
        settings=tuple(settings),
        moving=pairs["moving_subject"].to_numpy(dtype=object),
        fixed=pairs["fixed_subject"].to_numpy(dtype=object),
        scores=scores,
    )
