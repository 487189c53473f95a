"""A page with a slider for each hyperparameter of a trained model: `hmopt tune`, and the same as a widget of notebooks.

pairs of images → displacement at a setting (`session`) → planes of it (`picture`) → the page (`server`, `page/`)
"""

from hmopt.tuner.tune import Tuned, make_tuner, tune
from hmopt.tuner.widget import widget

__all__ = [
    "Tuned",
    "make_tuner",
    "tune",
    "widget",
]
