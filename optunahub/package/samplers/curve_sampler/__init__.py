"""A sampler that reads the response curve of one hyperparameter."""

from ._sampler import CurveSampler

__all__ = ["CurveSampler"]
