"""What is searched, for whom, and how the answer is judged."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from hmopt.catalogue import METRICS
from hmopt.declaration.options import Options, Seed, known_name

Kind = Annotated[str, Field(min_length=1)]
Kinds = list[Kind]

REPLACED = ("folds", "repeats")
"""Keys of earlier versions that are read and have no effect: `splits` divides subjects now."""


class SearchOptions(Options):
    """`[search]`: the sweep over settings and the studies over its measurements."""

    metric: str = "dice"
    """What a study optimizes."""
    reported: list[str] = ["dice_nearest", "folding", "log_jacobian_sd", "similarity"]
    """What is measured beside it."""
    coarse: int = Field(default=10, ge=3, le=10_001)
    """Settings per hyperparameter that are measured for all scopes at once: even ones, and one near the upper end."""
    confirmations: int = Field(default=5, ge=0, le=10_000)
    """At most so many further settings, one after the other where all scopes together have most to gain."""
    folding_limit: float = Field(default=0.001, ge=0, le=1)
    """Largest mean share of folded voxels that the constrained λ* may have."""
    scopes: Annotated[list[Kinds], Field(min_length=1)] = [
        ["cohort"],
        ["task"],
        ["label"],
        ["subject"],
    ]
    """What to choose settings for: `cohort`, `task`, `label`, `subject`, a column, or a product of them."""
    bins: dict[str, list[float]] = {}
    """Edges by which a numeric column is cut into groups."""
    storage: Annotated[str, Field(min_length=1)] | None = None
    """Optuna storage URL for the studies of cohort, groups and labels; left out: SQLite in the study folder."""
    minimum_partners: int = Field(default=10, ge=1, le=10**6)
    """Partners that a subject must have, in either role, for a λ of its own."""
    splits: int = Field(default=500, ge=1, le=100_000)
    """Random halves of the subjects for held-out scores; all halves where these are no more."""
    margin: float | None = Field(default=None, gt=0)
    """Difference that counts as negligible; left out: 0.002 of Dice or another share, 0.02 mm."""
    seed: Seed = 0
    """Decides splits, resampling and the studies' samplers."""

    @model_validator(mode="before")
    @classmethod
    def _without_old_keys(cls, values: Any) -> Any:
        """Leave out the keys of earlier versions, whose place `splits` has taken."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key not in REPLACED}

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        return known_name(name, METRICS)

    @field_validator("reported")
    @classmethod
    def _known_metrics(cls, names: list[str]) -> list[str]:
        return [known_name(name, METRICS) for name in names]

    @field_validator("scopes")
    @classmethod
    def _different_kinds(cls, scopes: list[list[str]]) -> list[list[str]]:
        for kinds in scopes:
            if len(set(kinds)) < len(kinds):
                raise ValueError(f"expected each kind once in a scope, not {kinds}")
        return scopes

    @field_validator("bins")
    @classmethod
    def _rising_edges(cls, bins: dict[str, list[float]]) -> dict[str, list[float]]:
        for name, edges in bins.items():
            if not edges or edges != sorted(set(edges)):
                raise ValueError(f"expected rising edges for {name}")
        return bins

    @property
    def deciding(self) -> tuple[str, ...]:
        """The metrics that decide which setting is best: the optimized one, and folding for its limit."""
        return tuple(dict.fromkeys((self.metric, "folding")))

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that a sweep measures: those that decide, and the reported ones."""
        return tuple(dict.fromkeys((*self.deciding, *self.reported)))
