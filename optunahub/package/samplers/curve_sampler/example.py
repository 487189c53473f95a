"""Finds the best of 201 values of one hyperparameter from 25 trials.

Run it where `package/` is, as in the registry.
"""

from __future__ import annotations

import math

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    """Return a score that has a lower hump beside the higher one."""
    x = trial.suggest_float("x", 0, 1, step=0.005)
    lower = 0.6 * math.exp(-(((x - 0.2) / 0.15) ** 2))
    higher = 0.65 * math.exp(-(((x - 0.775) / 0.06) ** 2))
    return lower + higher


module = optunahub.load_local_module("samplers/curve_sampler", registry_root="./package")
study = optuna.create_study(direction="maximize", sampler=module.CurveSampler())
study.optimize(objective, n_trials=25)
print(study.best_params, study.best_value)
