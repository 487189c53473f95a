"""Oracles that register images: amortized by a hypermorph, or moving nothing; the sweep that fills a ledger."""

from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.examples import write_examples
from hmopt.oracle.open import load_oracle, open_oracle
from hmopt.oracle.sweep import sweep
from hmopt.oracle.unregistered import UnregisteredOracle

__all__ = [
    "AmortizedOracle",
    "UnregisteredOracle",
    "load_oracle",
    "open_oracle",
    "sweep",
    "write_examples",
]
