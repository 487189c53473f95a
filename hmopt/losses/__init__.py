"""Terms of the loss that trains a registration network, and how hyperparameters weigh them."""

from hmopt.losses.objective import (
    RegisteredBatch,
    Terms,
    balanced_loss,
    loss_terms,
    weighted_loss,
)
from hmopt.losses.overlap import dice_loss, one_hot, overlap_loss
from hmopt.losses.regional import regional_loss, regional_terms
from hmopt.losses.regularization import bending_energy, regularize, squared_gradient
from hmopt.losses.similarity import (
    ImageLoss,
    find_similarity,
    local_cross_correlation,
    mean_squared_error,
    mutual_information,
    of_second_similarity,
    second_dissimilarity,
)

__all__ = [
    "ImageLoss",
    "RegisteredBatch",
    "Terms",
    "balanced_loss",
    "bending_energy",
    "dice_loss",
    "find_similarity",
    "local_cross_correlation",
    "loss_terms",
    "mean_squared_error",
    "mutual_information",
    "of_second_similarity",
    "one_hot",
    "overlap_loss",
    "regional_loss",
    "regional_terms",
    "regularize",
    "second_dissimilarity",
    "squared_gradient",
    "weighted_loss",
]
