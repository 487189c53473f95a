"""What a regularization weight for each region gains over one weight for all, in the same model.

A model with a weight for each region (`hmopt.losses.regional`) has one field for every vector of
weights λ = (λ_0, λ_1, …). Three ways to use it are compared on the same held-out pairs:

- *common*: one weight for all regions (all λ_k equal), one field,
- *separate*: one weight for all regions, but another one and a field for each structure,
- *one field*: a vector of weights, chosen for all structures together.

In each split of the subjects every choice is made on the selection set, as everywhere in a report.
The gain is score(one field) - score(common), and the share that one field has of what separate
fields gain is a ratio of two means (see `hmopt.analysis.composed`).

One field can lose: it is chosen among more settings, by the same subjects. It can also gain more
than separate fields, since each of these still has one weight for all regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hmopt.analysis.beside import Source, make_entries, set_beside
from hmopt.analysis.composed import (
    COMMON,
    ONE_FIELD,
    SEPARATE,
    OneFieldGain,
    held_out_folding,
    share_in_one_field,
)
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.optimum import margin_of
from hmopt.catalogue import find_metric
from hmopt.declaration.report import Choice
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.space import Index


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionalGain(OneFieldGain):
    """What a weight for each region gains.

    Parameters
    ----------
    beside, share, folding, splits, choosing
        As in `OneFieldGain`.
    weights
        Names of the hyperparameters that are the weights.
    settings
        Measured settings.
    settings_of_one
        Of these, those with one weight for all regions.
    """

    weights: tuple[str, ...]
    settings: int
    settings_of_one: int


def judge_regions(
    measurements: Measurements,
    options: SearchOptions,
    of_one: Sequence[Index] | None = None,
) -> RegionalGain | None:
    """Compare a weight for each region with one weight for all, on held-out pairs.

    Parameters
    ----------
    measurements
        Of a model with a weight for each region.
    options
        Metric, margin, splits and seed of the search.
    of_one
        Settings with one weight for all regions; left out: those whose regularizations are equal.

    Returns
    -------
    RegionalGain or None
        None where nothing was measured with one weight for all regions or with several, or there are
        too few subjects to choose on.
    """
    space = measurements.space
    every = measurements.settings
    if of_one is None:
        of_one = [setting for setting in every if space.has_one_regularization(setting)]
    if not of_one or len(of_one) == len(every):
        return None
    pairs = measurements.pairs
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    splits = split_subjects(subjects, options.splits, options.seed)
    measured_with_one = measurements.at(of_one)
    measured = {
        COMMON: measured_with_one,
        SEPARATE: measured_with_one,
        ONE_FIELD: measurements,
    }
    choices: dict[str, Choice] = {COMMON: "tuned", SEPARATE: "per_structure", ONE_FIELD: "tuned"}
    entries = []
    for way, choice in choices.items():
        source = Source(title=way, measurements=measured[way], choices=(choice,))
        found = make_entries(source, options.metric, measurements.labels, splits)
        if not found:
            return None
        entries.append(replace(found[0], choice=None))
    metric = find_metric(options.metric)
    beside = set_beside(entries, metric.name, margin_of(metric, options.margin))
    folding = {}
    for entry in entries:
        folding[entry.source] = held_out_folding(entry, measured[entry.source])
    return RegionalGain(
        beside=beside,
        share=share_in_one_field(beside),
        folding=folding,
        splits=len(splits.selection),
        choosing=splits.choosing,
        weights=space.regularization_names,
        settings=len(every),
        settings_of_one=len(of_one),
    )
