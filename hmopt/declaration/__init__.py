"""`study.toml`: what a study declares, section by section."""

from hmopt.declaration.cohort import (
    CohortSection,
    PairsSection,
    PreprocessingSection,
    SliceSection,
    SplitSection,
)
from hmopt.declaration.compare import CompareSection
from hmopt.declaration.model import (
    AugmentationSection,
    HypernetworkSection,
    HyperparameterSection,
    LossSection,
    NetworkSection,
    TrainingSection,
)
from hmopt.declaration.search import SearchSection
from hmopt.declaration.study import FILE_NAME, Study, parse_study, read_study

__all__ = [
    "FILE_NAME",
    "AugmentationSection",
    "CohortSection",
    "CompareSection",
    "HypernetworkSection",
    "HyperparameterSection",
    "LossSection",
    "NetworkSection",
    "PairsSection",
    "PreprocessingSection",
    "SearchSection",
    "SliceSection",
    "SplitSection",
    "Study",
    "TrainingSection",
    "parse_study",
    "read_study",
]
