"""Training: of a study's hypermorph, and of the models that it is compared with."""

from hmopt.training.identity import is_trained, network_key, training_key
from hmopt.training.train import train

__all__ = ["is_trained", "network_key", "train", "training_key"]
