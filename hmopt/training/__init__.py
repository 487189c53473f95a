"""Training: of a study's hypermorph, and of the models that it is compared with."""

from hmopt.training.batches import (
    Batch,
    draw_settings,
    load_images,
    load_labels,
    make_batch,
    training_pairs,
)
from hmopt.training.batches import draw_pairs as draw_training_pairs
from hmopt.training.identity import is_trained, network_key, training_key
from hmopt.training.loss import Loss, RegionalLoss, declared_loss, study_scale
from hmopt.training.optimization import make_average, make_optimizer, make_schedule, take_step
from hmopt.training.refinement import PairLoss, Refinement
from hmopt.training.train import train, train_hypermorph, train_network, with_budget

__all__ = [
    "Batch",
    "Loss",
    "PairLoss",
    "Refinement",
    "RegionalLoss",
    "declared_loss",
    "draw_settings",
    "draw_training_pairs",
    "is_trained",
    "load_images",
    "load_labels",
    "make_average",
    "make_batch",
    "make_optimizer",
    "make_schedule",
    "network_key",
    "study_scale",
    "take_step",
    "train",
    "train_hypermorph",
    "train_network",
    "training_key",
    "training_pairs",
    "with_budget",
]
