"""Terms of the loss that trains a registration network, and how hyperparameters weigh them."""

from hmopt.losses.objective import (
    SMALLEST_SHARE,
    RegisteredBatch,
    Terms,
    balanced_loss,
    loss_terms,
    weighted_loss,
)
from hmopt.losses.overlap import overlap_loss
from hmopt.losses.regional import region_shares, regional_loss, regional_terms
from hmopt.losses.regularization import (
    bending_energy,
    bending_energy_by_region,
    regularize,
    squared_gradient,
    squared_gradient_by_region,
)
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
    "SMALLEST_SHARE",
    "ImageLoss",
    "RegisteredBatch",
    "Terms",
    "balanced_loss",
    "bending_energy",
    "bending_energy_by_region",
    "find_similarity",
    "local_cross_correlation",
    "loss_terms",
    "mean_squared_error",
    "mutual_information",
    "of_second_similarity",
    "overlap_loss",
    "region_shares",
    "regional_loss",
    "regional_terms",
    "regularize",
    "second_dissimilarity",
    "squared_gradient",
    "squared_gradient_by_region",
    "weighted_loss",
]
