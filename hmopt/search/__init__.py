"""Scopes, the plan of a sweep, samplers, and Optuna studies."""
