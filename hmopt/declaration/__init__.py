"""`study.toml`: what a study declares, section by section."""

from hmopt.declaration.cohort import (
    CohortOptions,
    PairsOptions,
    PreprocessingOptions,
    SliceOptions,
    SplitOptions,
)
from hmopt.declaration.model import (
    AugmentationOptions,
    HypernetworkOptions,
    HyperparameterOptions,
    LossOptions,
    ModelOptions,
    NetworkOptions,
    RefineOptions,
    TrainingOptions,
)
from hmopt.declaration.report import BesideOptions, Choice, ReportOptions
from hmopt.declaration.search import CompareOptions, SearchOptions
from hmopt.declaration.study import FILE_NAME, Study, parse_study, read_study

__all__ = [
    "FILE_NAME",
    "AugmentationOptions",
    "BesideOptions",
    "Choice",
    "CohortOptions",
    "CompareOptions",
    "HypernetworkOptions",
    "HyperparameterOptions",
    "LossOptions",
    "ModelOptions",
    "NetworkOptions",
    "PairsOptions",
    "PreprocessingOptions",
    "RefineOptions",
    "ReportOptions",
    "SearchOptions",
    "SliceOptions",
    "SplitOptions",
    "Study",
    "TrainingOptions",
    "parse_study",
    "read_study",
]
