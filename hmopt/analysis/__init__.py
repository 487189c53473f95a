"""What measurements say: best settings, how sure they are, and what choosing them gains on other subjects."""

from hmopt.analysis import simulation
from hmopt.analysis.agreement import find_agreement
from hmopt.analysis.baselines import negligible_gap
from hmopt.analysis.beside import Beside, Entry, Source, make_entries, set_beside
from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import LEVEL, Evidence, holm
from hmopt.analysis.held_out import (
    HALF_FROM,
    MOST_GROUPS,
    Chosen,
    HeldOut,
    choose,
    evaluate,
    split_subjects,
    sums_between,
)
from hmopt.analysis.jackknife import jackknife
from hmopt.analysis.optimum import ModelAnalysis, find_optimum, interpolation
from hmopt.analysis.regional import RegionalGain, judge_regions
from hmopt.analysis.resampling import (
    COVERAGE,
    FEWEST_SUBJECTS,
    Estimate,
    Samples,
    draw,
    draw_weights,
    weighted_means,
)
from hmopt.analysis.scope_result import analyse_scopes, optima_table
from hmopt.analysis.subject_prediction import judge_subject_prediction, predict_subjects
from hmopt.analysis.warnings import OptimumWarning, find_warnings

__all__ = [
    "COVERAGE",
    "FEWEST_SUBJECTS",
    "HALF_FROM",
    "LEVEL",
    "MOST_GROUPS",
    "Beside",
    "Chosen",
    "Entry",
    "Estimate",
    "Evidence",
    "HeldOut",
    "ModelAnalysis",
    "OptimumWarning",
    "RegionalGain",
    "Samples",
    "Source",
    "analyse_scopes",
    "by_kinds",
    "choose",
    "draw",
    "draw_weights",
    "evaluate",
    "find_agreement",
    "find_optimum",
    "find_warnings",
    "holm",
    "interpolation",
    "jackknife",
    "judge_regions",
    "judge_subject_prediction",
    "make_entries",
    "negligible_gap",
    "optima_table",
    "predict_subjects",
    "set_beside",
    "simulation",
    "split_subjects",
    "sums_between",
    "weighted_means",
]
