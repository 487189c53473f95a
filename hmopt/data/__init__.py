"""Cohorts: where their images are, how they are prepared, split and paired. Without torch."""

from hmopt.data.grid import NO_SLICE
from hmopt.data.pair_table import pair_table
from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import IMAGES, LABEL_MAPS, PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.data.structures import label_dtype

__all__ = [
    "IMAGES",
    "LABEL_MAPS",
    "NO_SLICE",
    "PreparedCohort",
    "draw_pairs",
    "label_dtype",
    "pair_table",
    "prepare",
]
