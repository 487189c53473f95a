"""Training: of a study's hypermorph, and of the models that it is compared with."""

from hmopt.training.identity import is_trained, network_key, training_key
from hmopt.training.loss import study_scale
from hmopt.training.train import train, train_hypermorph, train_network, with_budget

__all__ = [
    "is_trained",
    "network_key",
    "study_scale",
    "train",
    "train_hypermorph",
    "train_network",
    "training_key",
    "with_budget",
]
