"""Similarity, regularization and overlap losses, and their weighted objective."""

from hmopt.losses.correlation import local_cross_correlation
from hmopt.losses.objective import Terms, balanced_loss, weighted_loss
from hmopt.losses.overlap import dice_loss, one_hot
from hmopt.losses.regularization import bending_energy, regularize, squared_gradient
from hmopt.losses.similarity import find_similarity, mean_squared_error, mutual_information

__all__ = [
    "Terms",
    "balanced_loss",
    "bending_energy",
    "dice_loss",
    "find_similarity",
    "local_cross_correlation",
    "mean_squared_error",
    "mutual_information",
    "one_hot",
    "regularize",
    "squared_gradient",
    "weighted_loss",
]
