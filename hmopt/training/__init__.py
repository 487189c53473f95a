"""The prior over settings, batches, the optimizer's steps, and the training of a study folder."""

from hmopt.training.batches import Batch
from hmopt.training.step import Loss, make_optimizer, take_step
from hmopt.training.train import train
from hmopt.training.trained import is_trained, training_key

__all__ = [
    "Batch",
    "Loss",
    "is_trained",
    "make_optimizer",
    "take_step",
    "train",
    "training_key",
]
