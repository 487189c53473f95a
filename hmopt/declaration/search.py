"""`[search]` and `[compare]`: the sweep over settings, the scopes, the evaluation, and the baselines."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hmopt.catalogue import METRICS
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration.options import OneOf, Options, Seed
from hmopt.space import Hyperparameter, Index, Space, Value

Kind = Annotated[str, Field(min_length=1)]
Kinds = Annotated[list[Kind], Field(max_length=20)]
Rate = Annotated[float, Field(gt=0, le=1)]
EVEN_VALUES = 9
"""Values of a hyperparameter at which separate networks are trained, where none are declared."""


class SearchOptions(Options):
    """`[search]`: sweep over settings, and the Optuna studies of its measurements."""

    table: ClassVar[str] = "search"

    metric: Annotated[str, OneOf(METRICS)] = "dice"
    """Metric to optimize."""
    reported: Annotated[list[str], OneOf(METRICS)] = [
        "dice_nearest",
        "folding",
        "log_jacobian_sd",
        "similarity",
    ]
    """Further metrics to measure."""
    coarse: int = Field(default=10, ge=3, le=10_001)
    """Values per hyperparameter of the initial sweep: evenly spaced, except one near the upper end.
    With three hyperparameters, the sweep has coarse² space-filling settings, as many as with
    two."""
    refinements: int = Field(default=5, ge=0, le=10_000)
    """Maximum number of further settings, added adaptively where the expected gain over all scopes
    is largest."""
    sampler: Annotated[str, Field(min_length=1)] = "plan"
    """`plan` (the sampler of hmopt), an Optuna sampler by name, such as `TPESampler`, `CurveSampler`
    (for smooth response curves), `AutoSampler` (of OptunaHub), or any other by dotted path."""
    sampler_options: dict[str, bool | int | float | str | list[Any] | dict[str, Any]] = {}
    """Arguments of the sampler."""
    trials: int = Field(default=30, ge=0, le=100_000)
    """Trials per scope, with a sampler other than `plan`; 0: the default setting only."""
    spending: Literal["all", "wilcoxon", "halving"] = "all"
    """Early stopping of trials: measure all pairs (`all`), or measure pairs one by one until a
    Wilcoxon test finds the trial worse than the best one (`wilcoxon`), or until it is not in the
    better third of the trials measured on as many pairs (`halving`). Useful for engines that take
    seconds per pair."""
    spending_options: dict[str, bool | int | float] = {}
    """Arguments of Optuna's `WilcoxonPruner` or `SuccessiveHalvingPruner`."""
    jobs: int = Field(default=1, ge=0, le=1024)
    """Parallel processes of an engine; 0: run in the main process, for debugging."""
    folding_limit: float = Field(default=0.001, ge=0, le=1)
    """Largest mean share of folded voxels for λ* under the limits; the same as `limits.folding`."""
    limits: dict[str, float] = {}
    """Further limits for λ* under the limits, such as `hd95_mm = 2.0`: an upper limit of the mean
    for metrics to minimize, a lower limit for metrics to maximize."""
    fronts: list[Annotated[list[str], Field(min_length=2)]] = []
    """Metrics whose trade-off is reported, such as `["dice", "hd95_mm"]`, or `dice:thalamus` for
    one structure; empty: the optimized metric against folding."""
    scopes: Annotated[list[Kinds], Field(min_length=1, max_length=1000)] = [
        ["cohort"],
        ["task"],
        ["label"],
        ["subject"],
    ]
    """Scopes for which settings are chosen: `cohort`, `task`, `label`, `subject`, a column of the
    manifest, or a product of these. A pair whose images differ in a column belongs to the pair of
    groups `A→B`."""
    bins: dict[Kind, Annotated[list[float], Field(max_length=1000)]] = {}
    """Increasing bin edges that divide a numeric column into groups."""
    storage: Annotated[str, Field(min_length=1)] | None = None
    """Optuna storage URL of the studies; by default SQLite in the study folder. A relative path, as in
    `sqlite:///all.db`, is relative to the study folder. `${NAME}` is replaced by an environment
    variable, which keeps passwords out of the file."""
    min_paired_subjects: int = Field(default=10, ge=1, le=10**6)
    """Minimum number of other subjects that a subject must be paired with for a separate λ."""
    splits: int = Field(default=500, ge=1, le=100_000)
    """Number of random half splits of the subjects for cross-validated scores; all half splits if
    there are no more than this."""
    margin: float | None = Field(default=None, gt=0, le=1e6)
    """Equivalence margin of the metric; by default 0.002 for Dice and other shares, 0.02 mm for
    distances."""
    seed: Seed = 0
    """Seed of splits, resampling and samplers."""

    @model_validator(mode="before")
    @classmethod
    def _read_limit_of_folding(cls, values: Any) -> Any:
        """Read `limits.folding` as what it is the same as, `folding_limit`."""
        if not isinstance(values, Mapping):
            return values
        limits = values.get("limits")
        if not isinstance(limits, Mapping) or FOLDING not in limits:
            return values
        of_folding = limits[FOLDING]
        if values.get("folding_limit", of_folding) != of_folding:
            raise ValueError("expected either folding_limit or limits.folding, not both")
        others = {name: limit for name, limit in limits.items() if name != FOLDING}
        return {**values, "folding_limit": of_folding, "limits": others}

    @field_validator("limits")
    @classmethod
    def _possible_limits(cls, limits: dict[str, float]) -> dict[str, float]:
        for name, limit in limits.items():
            OneOf(METRICS).check(name)
            low, high = METRICS[name].range
            if not low <= limit <= high:
                raise ValueError(f"expected a limit of {name} in [{low:g}, {high:g}]")
        return limits

    @field_validator("fronts")
    @classmethod
    def _different_axes(cls, fronts: list[list[str]]) -> list[list[str]]:
        for axes in fronts:
            for axis in axes:
                OneOf(METRICS).check(metric_of_axis(axis))
            if len(set(axes)) < len(axes):
                raise ValueError(f"expected each metric once in a front, not {axes}")
        return fronts

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, name: str) -> str:
        is_path = "." in name or ":" in name
        if name == "plan" or is_path:
            return name
        known = _sampler_names()
        OneOf(known).check(name)
        return name

    @field_validator("scopes")
    @classmethod
    def _different_kinds(cls, scopes: list[list[str]]) -> list[list[str]]:
        for kinds in scopes:
            distinct = set(kinds)
            if len(distinct) < len(kinds):
                raise ValueError(f"expected each kind once in a scope, not {kinds}")
        return scopes

    @field_validator("bins")
    @classmethod
    def _rising_edges(cls, bins: dict[str, list[float]]) -> dict[str, list[float]]:
        for name, edges in bins.items():
            distinct = set(edges)
            rising = sorted(distinct)
            if not edges or edges != rising:
                raise ValueError(f"expected rising edges for {name}")
        return bins

    @property
    def all_limits(self) -> dict[str, float]:
        """The limit of every metric that has one: of folding first.

        Examples
        --------
        >>> SearchOptions(limits={"hd95_mm": 2.0}).all_limits
        {'folding': 0.001, 'hd95_mm': 2.0}
        >>> SearchOptions(limits={"folding": 0.005}).folding_limit
        0.005
        """
        return {FOLDING: self.folding_limit, **self.limits}

    @property
    def all_fronts(self) -> list[list[str]]:
        """The declared fronts; where none is, the optimized metric against folding."""
        if self.fronts or self.metric == FOLDING:
            return self.fronts
        return [[self.metric, FOLDING]]

    @property
    def deciding(self) -> tuple[str, ...]:
        """Metrics that decide which setting is best: the optimized one, and those that have a limit."""
        metrics = [self.metric, *self.all_limits]
        return tuple(dict.fromkeys(metrics))

    @property
    def measured(self) -> tuple[str, ...]:
        """Every metric that a sweep measures: those that decide, the reported ones, and those of fronts."""
        of_fronts = [metric_of_axis(axis) for axes in self.fronts for axis in axes]
        metrics = [*self.deciding, *self.reported, *of_fronts]
        return tuple(dict.fromkeys(metrics))


def metric_of_axis(axis: str) -> str:
    """Return the metric of an axis of a front, which may name a label after it.

    Examples
    --------
    >>> metric_of_axis("dice:thalamus"), metric_of_axis("folding")
    ('dice', 'folding')
    """
    metric, _, _ = axis.partition(":")
    return metric


def _sampler_names() -> list[str]:
    """Return the names of samplers: those of Optuna and hmopt, and AutoSampler of OptunaHub."""
    from optuna import samplers

    left_out = {"BaseSampler", "BaseGASampler", "PartialFixedSampler"}
    named = {name for name in samplers.__all__ if name.endswith("Sampler")}
    return ["plan", *sorted(named - left_out), "CurveSampler", "AutoSampler"]


class CompareOptions(Options):
    """`[compare]`: baselines to train: separate networks, and hypermorphs with other seeds."""

    table: ClassVar[str] = "compare"

    values: dict[Kind, Annotated[list[bool | int | float | str], Field(max_length=1000)]] = {}
    """Values at which separate networks are trained, in all combinations; empty: nine evenly spaced
    values of the first hyperparameter."""
    seeds: int = Field(default=3, gt=0, le=1000)
    """Number of seeds of these networks, and of hypermorphs trained for as many steps as one of
    them."""
    optimum_seeds: int = Field(default=5, gt=0, le=1000)
    """Number of seeds of separate networks at the best setting of the whole cohort and at the
    default."""
    hypermorph_seeds: int = Field(default=5, gt=0, le=1000)
    """Number of seeds of hypermorphs trained for twice the steps of a separate network."""
    steps: int | None = Field(default=None, ge=2, le=10**9)
    """Optimizer steps of a separate network; by default half of those of the model."""
    learning_rate: Rate | Annotated[list[Rate], Field(min_length=1, max_length=100)] | None = None
    """Initial learning rate of Adam for separate networks; by default that of the model. With a
    list, all rates are tried with the first seed, and each setting uses the rate with the best Dice
    on the tuning pairs."""
    half_budget_seeds: int = Field(default=0, ge=0, le=1000)
    """Number of seeds of separate networks at the best setting of the whole cohort, trained for
    half the steps of the model."""

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _usable_rates(cls, declared: object) -> object:
        """Refuse rates out of range here: the message of a union of types would name its parts."""
        rates = declared if isinstance(declared, list) else [declared]
        numbers = [rate for rate in rates if isinstance(rate, int | float)]
        in_range = [0 < rate <= 1 for rate in numbers]
        if not rates or not all(in_range):
            raise ValueError("expected a number above 0, at most 1, or a list of such numbers")
        if len(set(numbers)) < len(numbers):
            raise ValueError("expected a list that names each rate once")
        return declared

    @property
    def learning_rates(self) -> tuple[float | None, ...]:
        """The rates at which separate networks are trained, rising; None stands for the model's.

        Examples
        --------
        >>> CompareOptions(learning_rate=[0.004, 0.002]).learning_rates
        (0.002, 0.004)
        >>> CompareOptions(learning_rate=0.002).learning_rates, CompareOptions().learning_rates
        ((0.002,), (None,))
        """
        if isinstance(self.learning_rate, list):
            rising = sorted(self.learning_rate)
            return tuple(rising)
        return (self.learning_rate,)

    def budgets(self, model_steps: int) -> tuple[int, int]:
        """Return the steps of a separate network, and the larger budget of a hypermorph: at most twice as many.

        Parameters
        ----------
        model_steps
            Optimizer steps of the model.

        Examples
        --------
        >>> CompareOptions().budgets(6000), CompareOptions(steps=2000).budgets(6000)
        ((3000, 6000), (2000, 4000))
        """
        if self.steps is None:
            half = (model_steps + 1) // 2
            return half, model_steps
        double = 2 * self.steps
        return self.steps, double

    def grid(self, space: Space) -> list[Index]:
        """Return the settings of separate networks, sorted.

        A hyperparameter without values stays at its default. Where no values are declared at all,
        the first hyperparameter has nine even ones.

        Examples
        --------
        >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
        >>> CompareOptions(values={"regularization": [0.0, 0.35]}).grid(space), len(CompareOptions().grid(space))
        ([(0,), (70,)], 9)
        """
        values: Mapping[str, Sequence[Value]] = self.values
        if not values:
            values = _even_values(space.hyperparameters[0])
        places = []
        for hyperparameter in space.hyperparameters:
            only_default = [hyperparameter.default]
            declared = values.get(hyperparameter.name, only_default)
            indices = [hyperparameter.index(value) for value in declared]
            places.append(indices)
        return space.product(places)


def _even_values(hyperparameter: Hyperparameter) -> dict[str, list[Value]]:
    alone = Space(hyperparameters=(hyperparameter,))
    settings = alone.coarse(EVEN_VALUES)
    values = [hyperparameter.value(index) for (index,) in settings]
    return {hyperparameter.name: values}
