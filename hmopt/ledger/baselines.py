"""What a model was compared with: the record that `compare.json` holds."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, PositiveInt

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.schemas import Count, Name, Record
from hmopt.space import Index, Space

Role = Literal["separate", "hypermorph"]
"""Networks that were trained for one setting each, or one hypermorph for all settings."""


@dataclass(frozen=True, kw_only=True)
class AtRate:
    """The settings at which the networks of a baseline were trained with one learning rate.

    Parameters
    ----------
    learning_rate
        Adam's initial one.
    identity
        Of the oracle at this rate.
    settings
        Where it has this rate, sorted.

    Examples
    --------
    >>> AtRate(learning_rate=0.004, identity="0f", settings=((40,), (100,))).learning_rate
    0.004
    """

    learning_rate: float
    identity: str
    settings: tuple[Index, ...]


@dataclass(frozen=True, kw_only=True)
class RateTrial:
    """A training of the first seed, one of those that the learning rate of a setting was chosen among.

    Parameters
    ----------
    steps
        Of the declared training.
    setting
        Where.
    learning_rate
        Adam's initial one.
    tune_dice
        Dice on pairs to tune on at the last checkpoint; None where training diverged, or where it
        is not known.
    diverged
        Whether training diverged.
    steps_done, minutes
        What it took, until it ended or diverged.
    chosen
        Whether all networks of the setting were trained at this rate.

    Examples
    --------
    >>> trial = RateTrial(
    ...     steps=3000,
    ...     setting=(190,),
    ...     learning_rate=0.004,
    ...     tune_dice=None,
    ...     diverged=True,
    ...     steps_done=500,
    ...     minutes=0.4,
    ...     chosen=False,
    ... )
    >>> trial.diverged, trial.steps_done < trial.steps
    (True, True)
    """

    steps: int
    setting: Index
    learning_rate: float
    tune_dice: float | None
    diverged: bool
    steps_done: int
    minutes: float
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One oracle of a comparison.

    Parameters
    ----------
    role
        What was trained.
    steps
        Optimizer steps of each training.
    seeds
        Of initial weights and batches; with several, the velocities of as many networks are
        averaged.
    identity
        The oracle's.
    networks
        How many were trained.
    minutes
        Training time of all of them, without those of other learning rates that were tried.
    learning_rate
        Adam's initial one; None where it was not recorded, or differs between settings.
    at_rates
        Where the learning rate was chosen at each setting: by rate, the oracle that was measured and
        where; empty where one rate was declared.

    Examples
    --------
    >>> Baseline(role="separate", steps=3000, seeds=(0, 1), identity="0f", networks=18, minutes=60.0).name
    'separate-3000-steps-seeds-0-1'
    """

    role: Role
    steps: int
    seeds: tuple[int, ...]
    identity: str
    networks: int
    minutes: float
    learning_rate: float | None = None
    at_rates: tuple[AtRate, ...] = ()

    @property
    def identities(self) -> tuple[str, ...]:
        """Identities under which the ledger holds its measurements."""
        if not self.at_rates:
            return (self.identity,)
        return tuple(part.identity for part in self.at_rates)

    @property
    def name(self) -> str:
        """A name that no other one of the comparison has."""
        seeds = [str(seed) for seed in self.seeds]
        word = "seed" if len(seeds) == 1 else "seeds"
        numbers = "-".join(seeds)
        return f"{self.role}-{self.steps}-steps-{word}-{numbers}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a model was compared with.

    Parameters
    ----------
    model
        Identity of the model that was searched.
    steps
        Of a separate network, and of the hypermorphs at an equal budget.
    hypermorph_steps
        The hypermorphs' larger budget, at most twice that.
    grid
        Settings of the separate networks, sorted.
    optimum, default
        The best setting of the cohort by the model that was searched, and the default one: at both,
        separate networks of more seeds were trained.
    baselines
        All that were measured.
    pair_operations, setting_operations
        Floating-point operations of the registration network for a pair, and of the hypernetwork
        for a setting, both without gradients; None where they were not counted.
    rate_trials
        What learning rates of separate networks were chosen among; empty where one was declared.
    """

    model: str
    steps: int
    hypermorph_steps: int
    grid: tuple[Index, ...]
    optimum: Index
    default: Index
    baselines: tuple[Baseline, ...]
    pair_operations: int | None = None
    setting_operations: int | None = None
    rate_trials: tuple[RateTrial, ...] = ()

    @property
    def full_steps(self) -> int | None:
        """Steps of separate networks with a larger budget at the best setting.

        None where there are none.
        """
        separate = [one for one in self.baselines if one.role == "separate"]
        steps = [one.steps for one in separate]
        longest = max(steps, default=self.steps)
        return longest if longest > self.steps else None

    def singles(self, role: Role, steps: int) -> tuple[Baseline, ...]:
        """Return those of one seed each, by seed."""
        found = self._of(role, steps)
        singles = [one for one in found if len(one.seeds) == 1]
        singles.sort(key=lambda one: one.seeds)
        return tuple(singles)

    def ensembles(self, role: Role, steps: int) -> tuple[Baseline, ...]:
        """Return those of several seeds, the fewest first."""
        found = self._of(role, steps)
        ensembles = [one for one in found if len(one.seeds) > 1]
        ensembles.sort(key=lambda one: len(one.seeds))
        return tuple(ensembles)

    def _of(self, role: Role, steps: int) -> list[Baseline]:
        of_role = [one for one in self.baselines if one.role == role]
        return [one for one in of_role if one.steps == steps]


def write_comparison(path: Path, comparison: Comparison, space: Space) -> None:
    """Write `compare.json`, its settings as values.

    Parameters
    ----------
    path
        The file.
    comparison
        Its content.
    space
        The searched hyperparameters.
    """
    content = asdict(comparison)
    content["baselines"] = [_entry(baseline, space) for baseline in comparison.baselines]
    content["rate_trials"] = [
        {**asdict(trial), "setting": space.setting(trial.setting)}
        for trial in comparison.rate_trials
    ]
    if not comparison.rate_trials:
        del content["rate_trials"]
    content["grid"] = [space.setting(index) for index in comparison.grid]
    content["optimum"] = space.setting(comparison.optimum)
    content["default"] = space.setting(comparison.default)
    write_json(path, content)


def _entry(baseline: Baseline, space: Space) -> dict[str, Any]:
    """Return what `compare.json` holds of a baseline: rates of settings only where they were chosen."""
    entry = asdict(baseline)
    entry["at_rates"] = [
        {**asdict(part), "settings": [space.setting(index) for index in part.settings]}
        for part in baseline.at_rates
    ]
    if not baseline.at_rates:
        del entry["at_rates"]
    return entry


Rate = Annotated[float, Field(gt=0)]


class _AtRateEntry(Record):
    """Settings of one learning rate, as `compare.json` holds them."""

    model_config = ConfigDict(extra="ignore")

    learning_rate: Rate
    identity: Name
    settings: Annotated[list[dict[str, float]], Field(min_length=1)]


class _TrialEntry(Record):
    """A training to choose a learning rate by, as `compare.json` holds it."""

    model_config = ConfigDict(extra="ignore")

    steps: PositiveInt
    setting: dict[str, float]
    learning_rate: Rate
    tune_dice: Annotated[float, Field(ge=0)] | None
    diverged: bool
    steps_done: Count
    minutes: Annotated[float, Field(ge=0)]
    chosen: bool


class _BaselineEntry(Record):
    """One oracle, as `compare.json` holds it."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    steps: PositiveInt
    seeds: Annotated[list[Count], Field(min_length=1)]
    identity: Name
    networks: PositiveInt
    minutes: Annotated[float, Field(ge=0)]
    learning_rate: Rate | None = None
    at_rates: list[_AtRateEntry] = []


class _ComparisonFile(Record):
    """What `compare.json` holds."""

    model_config = ConfigDict(extra="ignore")

    model: Name
    steps: PositiveInt
    hypermorph_steps: PositiveInt
    grid: Annotated[list[dict[str, float]], Field(min_length=1)]
    optimum: dict[str, float]
    default: dict[str, float]
    # files of versions up to 0.1 name them contenders
    baselines: list[_BaselineEntry] = Field(
        validation_alias=AliasChoices("baselines", "contenders")
    )
    pair_operations: Count | None = None
    setting_operations: Count | None = None
    rate_trials: list[_TrialEntry] = []


def read_comparison(path: Path, space: Space) -> Comparison:
    """Read `compare.json`.

    Parameters
    ----------
    path
        The file.
    space
        The searched hyperparameters.

    Raises
    ------
    LedgerError
        If the file was damaged.
    """
    what = "what `hmopt compare` wrote"
    advice = "Restore it from a copy, or run `hmopt compare` again."
    content = read_record(path, _ComparisonFile, error=LedgerError, what=what, advice=advice)
    try:
        return Comparison(
            model=content.model,
            steps=content.steps,
            hypermorph_steps=content.hypermorph_steps,
            grid=tuple(space.index(setting) for setting in content.grid),
            optimum=space.index(content.optimum),
            default=space.index(content.default),
            baselines=tuple(_baseline(entry, space) for entry in content.baselines),
            pair_operations=content.pair_operations,
            setting_operations=content.setting_operations,
            rate_trials=tuple(_trial(entry, space) for entry in content.rate_trials),
        )
    except HmoptError as error:
        raise LedgerError(str(path), expected=what, got=one_line(error), advice=advice) from error


def _baseline(entry: _BaselineEntry, space: Space) -> Baseline:
    values = dict(entry)
    values["seeds"] = tuple(entry.seeds)
    parts = []
    for part in entry.at_rates:
        settings = tuple(space.index(setting) for setting in part.settings)
        parts.append(
            AtRate(learning_rate=part.learning_rate, identity=part.identity, settings=settings)
        )
    values["at_rates"] = tuple(parts)
    return Baseline(**values)


def _trial(entry: _TrialEntry, space: Space) -> RateTrial:
    values = dict(entry)
    values["setting"] = space.index(entry.setting)
    return RateTrial(**values)
