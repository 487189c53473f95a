"""λ* of the cohort, every label and every subject: one sweep, against loops of searches.

11 subjects, 55 pairs of them, 9 labels: 21 scopes. hmopt's side is what `hmopt search` does: the
coarse settings, and one after the other those that confirm, on every pair into a ledger on disk;
then λ* of every scope from it. The plan may ask for no confirming settings on the curves of an
untrained network; other settings then complete the full number.

The better loop runs one search of 21 points for every subject, over the pairs that it stands in; it
keeps a pair's field at a λ, scores all labels on it, and takes λ* of labels and cohort from the
same scores at no cost. The other loop runs one search of 21 points for every scope, each with
fields of its own. Both evaluate as `benchmarks.oracle` describes, by VoxelMorph's modules. One of
their evaluations is timed, in turn with hmopt's whole search, and multiplied by their exact number:
that omits what the loops would need beside their evaluations, in their favour.
"""

import tempfile
from pathlib import Path

from benchmarks.cohorts import NETWORK, SPACE, make_hypermorph
from benchmarks.oracle import Trials, cohort_of
from benchmarks.rows import Measured, row
from benchmarks.timing import medians
from hmopt.data import PreparedCohort, pair_table
from hmopt.declaration import SearchOptions
from hmopt.ledger import Ledger, Recorded
from hmopt.oracle import AmortizedOracle
from hmopt.records import Pair
from hmopt.search import (
    coarse_settings,
    confirming_settings,
    dense_settings,
    find_curves,
    list_scopes,
)

SUBJECTS, SHAPE = 11, (32, 48, 32)
SECTION = SearchOptions(
    scopes=[["cohort"], ["label"], ["subject"]], reported=[], min_paired_subjects=10
)
POINTS, SAMPLE, REPETITIONS = 21, 8, 2
NAME = "U-Net 16-32-32-32, velocity at half resolution, 32×48×32"


def every_pair(cohort: PreparedCohort) -> list[Pair]:
    """Return one pair of every two subjects."""
    names, subject = list(cohort.images.index), cohort.images["subject"]
    return [
        Pair(moving=a, fixed=b, moving_subject=subject[a], fixed_subject=subject[b])
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    ]


def find_optima(oracle: AmortizedOracle, pairs: list[Pair], folder: Path) -> tuple[int, int]:
    """Search as `hmopt search` does, with an empty ledger; return the numbers of scopes and settings."""
    recorded, ledger = Recorded(oracle, Ledger(folder)), Ledger(folder)
    table = pair_table(pairs, oracle.cohort, SECTION.bins)
    described = (oracle.identity, SPACE, table, SECTION.measured, oracle.labels)
    coarse = coarse_settings(SPACE, SECTION)
    recorded.fill(coarse, pairs, SECTION.measured)
    others = (setting for setting in dense_settings(SPACE) if setting not in coarse)
    for _ in range(SECTION.refinements):
        confirming = confirming_settings(ledger.measurements(*described), SECTION)
        recorded.fill(confirming or [next(others)], pairs, SECTION.measured)
    measurements = ledger.measurements(*described)
    scopes = list_scopes(SECTION, table, oracle.labels)
    optima = {
        curve.scope: curve.settings[curve.best()]
        for curve in find_curves(measurements, scopes, SECTION.metric)
    }
    return len(optima), len(measurements.settings)


def measure(loop_evaluations: str) -> Measured:
    """Compare the search with one of the loops: `per subject` or `per scope`."""
    with cohort_of(SUBJECTS, SHAPE) as cohort, tempfile.TemporaryDirectory() as folder:
        pairs, loop, one_label = (
            every_pair(cohort),
            Trials(NETWORK, cohort),
            Trials(NETWORK, cohort),
        )
        one_label.labels = one_label.labels[:1]
        oracle = AmortizedOracle(make_hypermorph(NETWORK, SHAPE), cohort)
        ledgers = (Path(folder) / str(number) for number in range(REPETITIONS + 1))
        found: list[tuple[int, int]] = []
        sides = {
            "hmopt": lambda: found.append(find_optima(oracle, pairs, next(ledgers))),
            "all": lambda: loop.run(pairs[:SAMPLE]),
            "one": lambda: one_label.run(pairs[:SAMPLE]),
        }
        seconds = medians(sides, REPETITIONS)
    each, of_one_label = seconds["all"] / SAMPLE, seconds["one"] / SAMPLE
    of_subjects = 2 * len(pairs)  # both subjects of a pair search with it
    loops = {
        "per subject": POINTS * of_subjects * each,
        "per scope": POINTS
        * ((len(pairs) + of_subjects) * each + len(pairs) * len(cohort.labels) * of_one_label),
    }
    scopes, settings = found[0]
    note = (
        f"{scopes} scopes, {len(pairs)} pairs at {settings} settings: hmopt {seconds['hmopt']:.3g} s; the loop, "
        f"{loops[loop_evaluations]:.3g} s, from {1000 * each:.3g} ms an evaluation timed on {SAMPLE} pairs"
    )
    return Measured(loops[loop_evaluations] / seconds["hmopt"], note)


@row(
    "optima-against-subjects",
    goal=3,
    better="higher",
    unit="×",
    against="a loop that keeps fields and scores all labels, but runs one search of 21 points per subject",
    network=NAME,
)
def against_one_search_per_subject() -> Measured:
    """λ* of cohort, every label and every subject, against one search per subject."""
    return measure("per subject")


@row(
    "optima-against-scopes",
    goal=10,
    better="higher",
    unit="×",
    against="one search of 21 points per scope, without a ledger",
    network=NAME,
)
def against_one_search_per_scope() -> Measured:
    """λ* of cohort, every label and every subject, against one search per scope."""
    return measure("per scope")
