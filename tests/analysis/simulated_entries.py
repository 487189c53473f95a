"""Methods of simulated cohorts, to be set beside each other."""

from dataclasses import replace

import numpy as np

from hmopt.analysis import simulation
from hmopt.analysis.beside import Entry, Source, make_entries
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.resampling import Floats
from hmopt.declaration.report import Choice
from hmopt.ledger.measurements import Measurements


def simulated(curves: Floats, seed: int, subjects: int) -> Measurements:
    """All ordered pairs of a simulated cohort, always in one order, at eleven settings."""
    count = subjects * (subjects - 1)
    drawn = simulation.simulate(curves, subjects=subjects, pairs=count, seed=seed)
    order = np.argsort(drawn.pairs["pair"].to_numpy())
    coarse = drawn.at(drawn.space.coarse(11))
    return replace(
        coarse,
        pairs=coarse.pairs.iloc[order].reset_index(drop=True),
        values={name: values[:, order] for name, values in coarse.values.items()},
    )


def entries(
    title: str, measurements: Measurements, *choices: Choice, splits: int = 50
) -> list[Entry]:
    pairs = measurements.pairs
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    source = Source(title=title, measurements=measurements, choices=choices)
    divided = split_subjects(subjects, splits, seed=0)
    return make_entries(source, "dice", measurements.labels, divided)
