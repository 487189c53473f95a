"""Oracles that register images: amortized, retrained, ensemble, refined, composed, engine, or unregistered pairs."""

from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.baselines import BaselineOracles, RetrainedOracle
from hmopt.oracle.composed import ComposedOracle
from hmopt.oracle.engine import EngineOracle
from hmopt.oracle.ensemble import EnsembleOracle
from hmopt.oracle.examples import RegisteredPairs, write_examples
from hmopt.oracle.open import (
    load_checkpoints,
    load_oracle,
    open_oracle,
    open_registrar,
    open_registrar_of_file,
    source_of,
)
from hmopt.oracle.optimized import OptimizedOracle
from hmopt.oracle.refined import RefinedOracle, refine
from hmopt.oracle.registered import (
    RegisteringOracle,
    TrainingFacts,
    UnregisteredOracle,
    VelocityOracle,
    fitting_batch,
)

__all__ = [
    "AmortizedOracle",
    "BaselineOracles",
    "ComposedOracle",
    "EngineOracle",
    "EnsembleOracle",
    "OptimizedOracle",
    "RefinedOracle",
    "RegisteredPairs",
    "RegisteringOracle",
    "RetrainedOracle",
    "TrainingFacts",
    "UnregisteredOracle",
    "VelocityOracle",
    "fitting_batch",
    "load_checkpoints",
    "load_oracle",
    "open_oracle",
    "open_registrar",
    "open_registrar_of_file",
    "refine",
    "source_of",
    "write_examples",
]
