"""Scopes, the plan of a sweep, samplers, and Optuna studies."""

from typing import TYPE_CHECKING

from hmopt import lazy

if TYPE_CHECKING:
    from hmopt.search.curve import Curve, Curves, find_curves
    from hmopt.search.lattice import distributions
    from hmopt.search.objective import optimize_scopes
    from hmopt.search.plan import coarse_settings, confirming_settings, dense_settings
    from hmopt.search.sampler import CurveSampler
    from hmopt.search.scopes import Scope, list_scopes
    from hmopt.search.storage import open_storage, quiet
    from hmopt.search.studies import write_studies

__getattr__ = lazy(
    __name__,
    {
        "hmopt.search": ("quiet",),
        "hmopt.search.curve": (
            "Curve",
            "Curves",
            "find_curves",
        ),
        "hmopt.search.lattice": ("distributions",),
        "hmopt.search.objective": ("optimize_scopes",),
        "hmopt.search.plan": (
            "coarse_settings",
            "confirming_settings",
            "dense_settings",
        ),
        "hmopt.search.sampler": ("CurveSampler",),
        "hmopt.search.scopes": (
            "Scope",
            "list_scopes",
        ),
        "hmopt.search.storage": ("open_storage", "quiet"),
        "hmopt.search.studies": ("write_studies",),
    },
)

__all__ = [
    "Curve",
    "CurveSampler",
    "Curves",
    "Scope",
    "coarse_settings",
    "confirming_settings",
    "dense_settings",
    "distributions",
    "find_curves",
    "list_scopes",
    "open_storage",
    "optimize_scopes",
    "quiet",
    "write_studies",
]
