"""What measurements say: best settings, how sure they are, and what choosing them gains on other subjects."""

from hmopt.analysis import simulation
from hmopt.analysis.agreement import find_agreement
from hmopt.analysis.baselines import NEGLIGIBLE_GAP
from hmopt.analysis.between import between
from hmopt.analysis.evidence import LEAST, LEVEL, Evidence, holm
from hmopt.analysis.family import families
from hmopt.analysis.finding import find_all
from hmopt.analysis.flag import Flag, find_flags
from hmopt.analysis.held_out import (
    HALF_FROM,
    MOST_GROUPS,
    HeldOut,
    choose,
    divide,
    judge,
    sums_between,
)
from hmopt.analysis.jackknife import jackknife
from hmopt.analysis.optimum import MARGIN, find_optimum
from hmopt.analysis.resampling import COVERAGE, Samples, draw, draw_weights, weighted_means
from hmopt.analysis.source import Source
from hmopt.analysis.table import optima_table

__all__ = [
    "COVERAGE",
    "HALF_FROM",
    "LEAST",
    "LEVEL",
    "MARGIN",
    "MOST_GROUPS",
    "NEGLIGIBLE_GAP",
    "Evidence",
    "Flag",
    "HeldOut",
    "Samples",
    "Source",
    "between",
    "choose",
    "divide",
    "draw",
    "draw_weights",
    "families",
    "find_agreement",
    "find_all",
    "find_flags",
    "find_optimum",
    "holm",
    "jackknife",
    "judge",
    "optima_table",
    "simulation",
    "sums_between",
    "weighted_means",
]
