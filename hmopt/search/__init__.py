"""From measurements to the best setting of every scope: scopes, the plan of a sweep, the sampler, Optuna studies."""
