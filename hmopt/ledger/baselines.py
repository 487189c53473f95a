"""What a comparison leaves in a study folder: who was measured, and reading each back."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from hmopt.errors import HmoptError, LedgerError
from hmopt.files import one_line, read_record, write_json
from hmopt.ledger.folder import LEDGER_FOLDER, RESULTS_FOLDER, has_ledger, read_pairs, read_searched
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.table import read_measurements
from hmopt.space import Index, Space

COMPARISON_FILE = "compare.json"
COMPARED_FOLDER = "compare"

Role = Literal["separate", "hypermorph"]
"""Networks that were trained for one setting each, or one hypermorph for all settings."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One oracle of a comparison.

    Parameters
    ----------
    role
        What stands behind it.
    steps
        Optimizer steps of each training.
    seeds
        Of its first weights and batches; of several, their velocities are averaged.
    identity
        What its measurements go by.
    networks
        How many trainings it took.
    minutes
        How long these took, all together.
    learning_rate
        Adam's at the start of each; None where it was not recorded.

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

    @property
    def name(self) -> str:
        """A name that no other one of the comparison has."""
        seeds = "-".join(map(str, self.seeds))
        return f"{self.role}-{self.steps}-steps-seed{'s' * (len(self.seeds) > 1)}-{seeds}"


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
        The best setting of the cohort by the model that was searched, and the one of who does not search: at both,
        separate networks of more seeds were trained.
    baselines
        All that were measured.
    pair_operations, setting_operations
        Floating-point operations counted: of a registration network for a pair, of the hypernetwork for a setting, both
        without gradients. None where they were not counted.
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

    @property
    def full_steps(self) -> int | None:
        """Steps of separate networks with a larger budget at the best setting; None where there are none."""
        return max(
            (
                one.steps
                for one in self.baselines
                if one.role == "separate" and one.steps > self.steps
            ),
            default=None,
        )

    def singles(self, role: Role, steps: int) -> tuple[Baseline, ...]:
        """Give those of one seed each, by seed."""
        found = [
            one
            for one in self.baselines
            if (one.role, one.steps, len(one.seeds)) == (role, steps, 1)
        ]
        return tuple(sorted(found, key=lambda one: one.seeds))

    def ensembles(self, role: Role, steps: int) -> tuple[Baseline, ...]:
        """Give those of several seeds, the fewest first."""
        found = [
            one
            for one in self.baselines
            if (one.role, one.steps) == (role, steps) and len(one.seeds) > 1
        ]
        return tuple(sorted(found, key=lambda one: len(one.seeds)))


def write_comparison(folder: Path, comparison: Comparison, space: Space) -> None:
    """Write `compare.json` into a folder, its settings as values."""
    content = asdict(comparison) | {
        "grid": [space.setting(index) for index in comparison.grid],
        "optimum": space.setting(comparison.optimum),
        "default": space.setting(comparison.default),
    }
    write_json(folder / COMPARISON_FILE, content)


def read_comparison(folder: Path) -> Comparison | None:
    """Read `compare.json` of a study folder, or of its `results` where it was not compared here.

    Parameters
    ----------
    folder
        The study folder.

    Returns
    -------
    Comparison or None
        None where the model that was searched has not been compared.

    Raises
    ------
    LedgerError
        If nothing was searched, or the file was damaged.
    """
    folder = Path(folder)
    path = next((path for path in _places(folder) if path.is_file()), None)
    if path is None:
        return None
    searched = read_searched(folder)
    comparison = _comparison(path, searched.space)
    return comparison if comparison.model == searched.identity else None


def read_baseline(folder: Path, baseline: Baseline) -> Measurements:
    """Read the optimized metric and folding of a baseline, at every setting where all pairs were measured.

    Parameters
    ----------
    folder
        The study folder; its ledger is read, or its committed results where it was not compared here.
    baseline
        One of a comparison's.

    Raises
    ------
    LedgerError
        If it was not measured.
    """
    folder = Path(folder)
    if not (has_ledger(folder) and (folder / COMPARISON_FILE).is_file()):
        return read_measurements(baseline_path(folder, baseline))
    searched = read_searched(folder)
    ledger = Ledger(folder / LEDGER_FOLDER)
    return ledger.measurements(
        baseline.identity,
        searched.space,
        read_pairs(folder),
        searched.search.deciding,
        searched.labels,
    )


def baseline_path(folder: Path, baseline: Baseline) -> Path:
    """Give where the committed measurements of a baseline are."""
    return folder / RESULTS_FOLDER / COMPARED_FOLDER / f"{baseline.name}.parquet"


def _places(folder: Path) -> tuple[Path, Path]:
    return folder / COMPARISON_FILE, folder / RESULTS_FOLDER / COMPARISON_FILE


class _BaselineEntry(BaseModel):
    """One oracle, as `compare.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    role: Role
    steps: PositiveInt
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1)]
    identity: str
    networks: PositiveInt
    minutes: Annotated[float, Field(ge=0)]
    learning_rate: Annotated[float, Field(gt=0)] | None = None


class _ComparisonFile(BaseModel):
    """What `compare.json` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    model: str
    steps: PositiveInt
    hypermorph_steps: PositiveInt
    grid: list[dict[str, float]]
    optimum: dict[str, float]
    default: dict[str, float]
    # files of versions up to 0.1 name them contenders
    baselines: list[_BaselineEntry] = Field(
        validation_alias=AliasChoices("baselines", "contenders")
    )
    pair_operations: int | None = None
    setting_operations: int | None = None


def _comparison(path: Path, space: Space) -> Comparison:
    what, advice = (
        "what `hmopt compare` wrote",
        "Restore it from a copy, or run `hmopt compare` again.",
    )
    content = read_record(path, _ComparisonFile, error=LedgerError, what=what, advice=advice)
    baselines = tuple(
        Baseline(**{**dict(one), "seeds": tuple(one.seeds)}) for one in content.baselines
    )
    try:
        return Comparison(
            model=content.model,
            steps=content.steps,
            hypermorph_steps=content.hypermorph_steps,
            grid=tuple(space.index(setting) for setting in content.grid),
            optimum=space.index(content.optimum),
            default=space.index(content.default),
            baselines=baselines,
            pair_operations=content.pair_operations,
            setting_operations=content.setting_operations,
        )
    except HmoptError as error:
        raise LedgerError(str(path), expected=what, got=one_line(error), advice=advice) from error
