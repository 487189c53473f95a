"""All measurements on disk: write, read, compact; oracles that are served from them."""

from hmopt.ledger.baselines import (
    Baseline,
    Comparison,
    read_baseline,
    read_comparison,
    write_comparison,
)
from hmopt.ledger.folder import Searched, read_dense, read_folder, read_searched, write_searched
from hmopt.ledger.ledger import Gap, Ledger
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.recorded import Recorded
from hmopt.ledger.table import read_measurements, write_measurements
from hmopt.ledger.tabulated import Tabulated

__all__ = [
    "Baseline",
    "Comparison",
    "Gap",
    "Ledger",
    "Measurements",
    "Recorded",
    "Searched",
    "Tabulated",
    "read_baseline",
    "read_comparison",
    "read_dense",
    "read_folder",
    "read_measurements",
    "read_searched",
    "write_comparison",
    "write_measurements",
    "write_searched",
]
