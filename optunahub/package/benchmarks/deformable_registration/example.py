"""Searches the regularization weight of one structure of one person, with and without a warm start.

Run it where `package/` is, as in the registry.
"""

from __future__ import annotations

import optuna
import optunahub

module = optunahub.load_local_module(
    "benchmarks/deformable_registration", registry_root="./package"
)
Problem = module.Problem
problem = Problem("brains", label="hippocampus", subject="sub-1003")

for warm in (False, True):
    study = optuna.create_study(
        directions=problem.directions, sampler=optuna.samplers.TPESampler(seed=0)
    )
    if warm:
        for scope in problem.related()[:3]:
            study.enqueue_trial(Problem(**scope).best_params)
    study.optimize(problem, n_trials=10)
    print(f"warm start: {warm}, regret {problem.regret(study.best_params):.4f} Dice")
