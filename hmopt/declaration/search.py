"""`[search]`: the sweep over settings, the scopes, and the evaluation."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from hmopt.catalogue import METRICS
from hmopt.declaration.options import OneOf, Options, Seed

Kind = Annotated[str, Field(min_length=1)]
Kinds = list[Kind]


class SearchOptions(Options):
    """`[search]`: the sweep over settings and the studies over its measurements."""

    table: ClassVar[str] = "search"

    metric: Annotated[str, OneOf(METRICS)] = "dice"
    """Metric that studies optimize."""
    reported: Annotated[list[str], OneOf(METRICS)] = [
        "dice_nearest",
        "folding",
        "log_jacobian_sd",
        "similarity",
    ]
    """Further metrics to measure."""
    coarse: int = Field(default=10, ge=3, le=10_001)
    """Values of each hyperparameter in the first, even sweep, with one more near the upper end."""
    refinements: int = Field(default=5, ge=0, le=10_000)
    """Further settings at most, added adaptively where the expected gain over all scopes is
    largest."""
    sampler: Annotated[str, Field(min_length=1)] = "plan"
    """`plan`, hmopt's own, or an Optuna sampler by name, as `TPESampler`, or by dotted path."""
    sampler_options: dict[str, bool | int | float | str | list[Any] | dict[str, Any]] = {}
    """Arguments of the sampler."""
    trials: int = Field(default=30, ge=1, le=100_000)
    """Trials in the study of each scope, with another sampler than `plan`."""
    folding_limit: float = Field(default=0.001, ge=0, le=1)
    """Largest mean share of folded voxels for λ* under the folding limit."""
    scopes: Annotated[list[Kinds], Field(min_length=1)] = [
        ["cohort"],
        ["task"],
        ["label"],
        ["subject"],
    ]
    """What settings are chosen for: `cohort`, `task`, `label`, `subject`, a column, or a product
    of these."""
    bins: dict[str, list[float]] = {}
    """Edges that divide a numeric column into groups."""
    storage: Annotated[str, Field(min_length=1)] | None = None
    """Optuna storage URL of the studies; left out: SQLite in the study folder."""
    min_paired_subjects: int = Field(default=10, ge=1, le=10**6)
    """Other subjects that a subject must be paired with to get a λ of its own."""
    splits: int = Field(default=500, ge=1, le=100_000)
    """Random halves of the subjects for cross-validated scores; all halves if there are no more
    than this."""
    margin: float | None = Field(default=None, gt=0)
    """Equivalence margin of the metric; left out: 0.002 for Dice and other shares, 0.02 mm for
    distances."""
    seed: Seed = 0
    """Seed of splits, resampling and samplers."""

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str) -> str:
        if name != "plan" and "." not in name and ":" not in name:
            OneOf(_sampler_names()).check(name)
        return name

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
            rising = sorted(set(edges))
            if not edges or edges != rising:
                raise ValueError(f"expected rising edges for {name}")
        return bins

    @property
    def deciding(self) -> tuple[str, ...]:
        """Metrics that decide which setting is best: the optimized one, and folding for its limit."""
        metrics = [self.metric, "folding"]
        return tuple(dict.fromkeys(metrics))

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that a sweep measures: those that decide, and the reported ones."""
        metrics = [*self.deciding, *self.reported]
        return tuple(dict.fromkeys(metrics))


def _sampler_names() -> list[str]:
    """Return the names of samplers: those of Optuna and hmopt, and AutoSampler of OptunaHub."""
    from optuna import samplers

    left_out = {"BaseSampler", "BaseGASampler", "PartialFixedSampler"}
    named = {name for name in samplers.__all__ if name.endswith("Sampler")}
    return ["plan", *sorted(named - left_out), "CurveSampler", "AutoSampler"]
