"""The prior over settings, batches, the optimizer's steps, and the training of a study folder."""

from hmopt.training.train import train
from hmopt.training.trained import is_trained, training_key

__all__ = ["is_trained", "train", "training_key"]
