"""The hyperparameters that a model is conditioned on, and the lattice that settings live on."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hmopt.errors import DeclarationError

Index = tuple[int, ...]
"""A setting as lattice indices, one for each hyperparameter, so that equal settings are equal keys."""

Setting = dict[str, float]
"""A setting as values by name."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One named value that the model is conditioned on.

    Parameters
    ----------
    name
        `regularization` (λ), `label_weight` (γ), or another that the loss knows.
    low, high
        The range, end points included.
    step
        Distance of neighbouring lattice points as a share of the range (of its logarithm where `prior` is
        log-uniform); its inverse must be whole.
    prior
        How values are drawn in training.
    end_point_rate
        Share of draws in training that fall on `low`, and the same share on `high`.
    default
        The value that a user would take who does not search.

    Raises
    ------
    DeclarationError
        If the range is empty, the step does not divide it, or the default lies outside it.

    References
    ----------
    Hoopes et al., MELBA 2022, section 3.2: uniform prior, end points oversampled.

    Examples
    --------
    >>> regularization = Hyperparameter(name="regularization")
    >>> regularization.value(70)
    0.35
    >>> regularization.index(0.35)
    70
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.005
    prior: Literal["uniform", "log-uniform"] = "uniform"
    end_point_rate: float = 0.1
    default: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be a hyperparameter."""
        self._check(self.low < self.high, "low < high", f"{self.low} and {self.high}")
        self._check(
            self.prior == "uniform" or self.low > 0, "low > 0 with a log-uniform prior", self.low
        )
        whole = 0 < self.step <= 1 and math.isclose(
            1 / self.step, round(1 / self.step), rel_tol=1e-9
        )
        self._check(whole, "a step whose inverse is whole", self.step)
        self._check(
            0 <= self.end_point_rate <= 0.5, "an end_point_rate in [0, 0.5]", self.end_point_rate
        )
        self._check(
            self.low <= self.default <= self.high,
            f"a default in [{self.low}, {self.high}]",
            self.default,
        )

    def _check(self, holds: bool, expected: str, got: object) -> None:
        if not holds:
            raise DeclarationError(
                f"hyperparameters.{self.name}",
                expected=expected,
                got=got,
                advice="Correct the declaration.",
            )

    @property
    def points(self) -> int:
        """Number of lattice points."""
        return round(1 / self.step) + 1

    def value(self, index: int) -> float:
        """Give the value at a lattice index in [0, points - 1]."""
        return self.from_unit(index / (self.points - 1))

    def from_unit(self, unit: float) -> float:
        """Give the value at a place in [0, 1] along the range (along its logarithm if the prior is log-uniform)."""
        if self.prior == "log-uniform":
            return float(f"{self.low * (self.high / self.low) ** unit:.12g}")
        return float(f"{self.low + unit * (self.high - self.low):.12g}")

    def unit(self, value: float) -> float:
        """Give the place of a value along the range, in [0, 1]: what the hypernetwork is fed."""
        if not self.low <= value <= self.high:
            raise DeclarationError(
                self.name,
                expected=f"a number in [{self.low}, {self.high}]",
                got=value,
                advice="Choose one inside.",
            )
        if self.prior == "log-uniform":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def index(self, value: float) -> int:
        """Give the index of the lattice point nearest to a value."""
        return round(self.unit(value) * (self.points - 1))


@dataclass(frozen=True, kw_only=True)
class Space:
    """All hyperparameters of a model, in the order in which the hypernetwork takes them.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> space.setting((70,))
    {'regularization': 0.35}
    >>> space.index({"regularization": 0.35})
    (70,)
    """

    hyperparameters: tuple[Hyperparameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters."""
        return tuple(hyperparameter.name for hyperparameter in self.hyperparameters)

    @property
    def default(self) -> Setting:
        """The setting of a user who does not search."""
        return {
            hyperparameter.name: hyperparameter.default for hyperparameter in self.hyperparameters
        }

    def setting(self, index: Index) -> Setting:
        """Give the values at lattice indices."""
        return {h.name: h.value(i) for h, i in zip(self.hyperparameters, index, strict=True)}

    def index(self, setting: Mapping[str, float]) -> Index:
        """Give the lattice indices nearest to a setting.

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing or unknown, or a value lies outside its range.
        """
        self._check_names(setting)
        return tuple(h.index(setting[h.name]) for h in self.hyperparameters)

    def units(self, setting: Mapping[str, float]) -> list[float]:
        """Give the places of a setting's values along their ranges, each in [0, 1].

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing or unknown, or a value lies outside its range.
        """
        self._check_names(setting)
        return [h.unit(setting[h.name]) for h in self.hyperparameters]

    def _check_names(self, setting: Mapping[str, float]) -> None:
        if set(setting) != set(self.names):
            raise DeclarationError(
                "setting",
                expected=f"values for {', '.join(self.names)}",
                got=f"values for {', '.join(setting) or 'nothing'}",
                advice="Give each hyperparameter once.",
            )

    def coarse(self, points: int) -> list[Index]:
        """Give a coarse lattice, end points included, of `points` per hyperparameter.

        Examples
        --------
        >>> Space(hyperparameters=(Hyperparameter(name="regularization"),)).coarse(3)
        [(0,), (100,), (200,)]
        """
        return list(itertools.product(*(_spread(h.points, points) for h in self.hyperparameters)))


def _spread(available: int, points: int) -> list[int]:
    return sorted({round(i * (available - 1) / (points - 1)) for i in range(points)})
