"""All measurements on disk: write, read, compact; oracles that are served from them."""

from hmopt.ledger.baselines import Baseline, Comparison
from hmopt.ledger.ledger import Gap, Ledger
from hmopt.ledger.measurements import Measurements, Tabulated
from hmopt.ledger.recorded import Recorded
from hmopt.ledger.searched import Searched
from hmopt.ledger.table import read_measurements, write_measurements

__all__ = [
    "Baseline",
    "Comparison",
    "Gap",
    "Ledger",
    "Measurements",
    "Recorded",
    "Searched",
    "Tabulated",
    "read_measurements",
    "write_measurements",
]
