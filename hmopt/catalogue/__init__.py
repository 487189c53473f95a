"""What can be declared by name: metrics, similarities, regularizers, hyperparameters, programs.

Each has a record, which holds everything that the rest of hmopt needs to know of it, and the dotted
path of the function that computes it. Torch is loaded when that function is.
"""

from hmopt.catalogue.engines import ENGINES, EngineProgram, find_engine_program
from hmopt.catalogue.hyperparameters import (
    HYPERPARAMETERS,
    REGULARIZATION,
    Effect,
    LossHyperparameter,
    RegionalWeight,
    TermParameter,
    WeightedTerm,
    add_hyperparameter,
    find_hyperparameter,
    known_hyperparameter,
    region_of,
    regional_name,
    term_parameters,
    weighted_terms,
)
from hmopt.catalogue.losses import (
    REGULARIZERS,
    SIMILARITIES,
    Regularizer,
    Similarity,
    add_regularizer,
    add_similarity,
    changing_similarity,
    find_regularizer,
    find_similarity,
)
from hmopt.catalogue.metrics import METRICS, Metric, add_metric, find_metric
from hmopt.catalogue.plugins import load_plugins
from hmopt.catalogue.record import Named, Record
from hmopt.catalogue.references import Reference

__all__ = [
    "ENGINES",
    "HYPERPARAMETERS",
    "METRICS",
    "REGULARIZATION",
    "REGULARIZERS",
    "SIMILARITIES",
    "Effect",
    "EngineProgram",
    "LossHyperparameter",
    "Metric",
    "Named",
    "Record",
    "Reference",
    "RegionalWeight",
    "Regularizer",
    "Similarity",
    "TermParameter",
    "WeightedTerm",
    "add_hyperparameter",
    "add_metric",
    "add_regularizer",
    "add_similarity",
    "changing_similarity",
    "find_engine_program",
    "find_hyperparameter",
    "find_metric",
    "find_regularizer",
    "find_similarity",
    "known_hyperparameter",
    "load_plugins",
    "region_of",
    "regional_name",
    "term_parameters",
    "weighted_terms",
]
