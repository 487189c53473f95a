"""All measurements on disk: write, read, compact; oracles that are served from them."""

from hmopt.ledger.baselines import AtRate, Baseline, Comparison, RateTrial, Role
from hmopt.ledger.ledger import Gap, Ledger
from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements, Tabulated, pair_records
from hmopt.ledger.recorded import Recorded
from hmopt.ledger.searched import Searched
from hmopt.ledger.table import read_measurements, write_measurements

__all__ = [
    "PAIR_COLUMNS",
    "AtRate",
    "Baseline",
    "Comparison",
    "Gap",
    "Ledger",
    "Measurements",
    "RateTrial",
    "Recorded",
    "Role",
    "Searched",
    "Tabulated",
    "pair_records",
    "read_measurements",
    "write_measurements",
]
