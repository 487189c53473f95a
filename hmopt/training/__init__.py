"""Training: of a study's hypermorph, and of the models that it is compared with."""

from hmopt.training.batches import Batch
from hmopt.training.identity import is_trained, network_key, training_key
from hmopt.training.loss import Loss, study_scale
from hmopt.training.optimization import make_average, make_optimizer, take_step
from hmopt.training.refinement import PairLoss, Refinement
from hmopt.training.train import train, train_hypermorph, train_network, with_budget

__all__ = [
    "Batch",
    "Loss",
    "PairLoss",
    "Refinement",
    "is_trained",
    "make_average",
    "make_optimizer",
    "network_key",
    "study_scale",
    "take_step",
    "train",
    "train_hypermorph",
    "train_network",
    "training_key",
    "with_budget",
]
