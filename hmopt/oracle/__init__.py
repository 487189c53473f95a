"""Oracles that register images: amortized, retrained, an ensemble, or moving nothing; the sweep into a ledger."""

from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.baselines import BaselineOracles
from hmopt.oracle.ensemble import EnsembleOracle
from hmopt.oracle.examples import write_examples
from hmopt.oracle.open import load_checkpoints, load_oracle, open_oracle
from hmopt.oracle.registered import fitting_batch
from hmopt.oracle.retrained import RetrainedOracle
from hmopt.oracle.sweep import sweep
from hmopt.oracle.unregistered import UnregisteredOracle

__all__ = [
    "AmortizedOracle",
    "BaselineOracles",
    "EnsembleOracle",
    "RetrainedOracle",
    "UnregisteredOracle",
    "fitting_batch",
    "load_checkpoints",
    "load_oracle",
    "open_oracle",
    "sweep",
    "write_examples",
]
