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
        Distance of neighbouring lattice points as a share of the range, or of its logarithm where
        `prior` is log-uniform; its inverse must be whole.
    prior
        How values are drawn in training.
    end_point_rate
        Share of draws in training that fall on `low`, and the same share on `high`.
    default
        The baseline value.

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
        low, high = self.low, self.high
        rate = self.end_point_rate
        has_logarithm = self.prior == "uniform" or low > 0
        is_inside = low <= self.default <= high
        self._check(low < high, "low < high", f"{low} and {high}")
        self._check(has_logarithm, "low > 0 with a log-uniform prior", low)
        self._check(self._divides_range(), "a step whose inverse is whole", self.step)
        self._check(0 <= rate <= 0.5, "an end_point_rate in [0, 0.5]", rate)
        self._check(is_inside, f"a default in [{low}, {high}]", self.default)

    def _divides_range(self) -> bool:
        if not 0 < self.step <= 1:
            return False
        steps = 1 / self.step
        return math.isclose(steps, round(steps), rel_tol=1e-9)

    def _check(self, holds: bool, expected: str, got: object) -> None:
        if not holds:
            field = f"hyperparameters.{self.name}"
            advice = "Correct the declaration."
            raise DeclarationError(field, expected=expected, got=got, advice=advice)

    @property
    def points(self) -> int:
        """Number of lattice points."""
        return round(1 / self.step) + 1

    def value(self, index: int) -> float:
        """Return the value at a lattice index in [0, points - 1]."""
        last = self.points - 1
        return self.from_unit_interval(index / last)

    def from_unit_interval(self, place: float) -> float:
        """Return the value at a place in [0, 1] along the range, along its logarithm if the prior is log-uniform.

        Examples
        --------
        >>> Hyperparameter(name="label_weight", low=0.01, prior="log-uniform").from_unit_interval(0.5)
        0.1
        """
        if self.prior == "log-uniform":
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + place * (self.high - self.low)
        # 0.35, not 0.35000000000000003
        return float(f"{value:.12g}")

    def to_unit_interval(self, value: float) -> float:
        """Return the place of a value along the range, in [0, 1]: the input of the hypernetwork.

        Raises
        ------
        DeclarationError
            If the value lies outside the range.
        """
        low, high = self.low, self.high
        if not low <= value <= high:
            expected = f"a number in [{low}, {high}]"
            raise DeclarationError(
                self.name, expected=expected, got=value, advice="Choose a value in the range."
            )
        if self.prior == "log-uniform":
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def index(self, value: float) -> int:
        """Return the index of the lattice point nearest to a value."""
        last = self.points - 1
        return round(self.to_unit_interval(value) * last)


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
        names = [hyperparameter.name for hyperparameter in self.hyperparameters]
        return tuple(names)

    @property
    def default(self) -> Setting:
        """The baseline setting."""
        return {
            hyperparameter.name: hyperparameter.default for hyperparameter in self.hyperparameters
        }

    def setting(self, index: Index) -> Setting:
        """Return the values at lattice indices."""
        places = zip(self.hyperparameters, index, strict=True)
        return {
            hyperparameter.name: hyperparameter.value(place) for hyperparameter, place in places
        }

    def index(self, setting: Mapping[str, float]) -> Index:
        """Return the lattice indices nearest to a setting.

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing or unknown, or a value lies outside its range.
        """
        self._check_names(setting)
        return tuple(
            hyperparameter.index(setting[hyperparameter.name])
            for hyperparameter in self.hyperparameters
        )

    def to_unit_interval(self, setting: Mapping[str, float]) -> list[float]:
        """Return the places of a setting's values along their ranges, each in [0, 1].

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing or unknown, or a value lies outside its range.
        """
        self._check_names(setting)
        return [
            hyperparameter.to_unit_interval(setting[hyperparameter.name])
            for hyperparameter in self.hyperparameters
        ]

    def _check_names(self, setting: Mapping[str, float]) -> None:
        if set(setting) == set(self.names):
            return
        raise DeclarationError(
            "setting",
            expected=f"values for {', '.join(self.names)}",
            got=f"values for {', '.join(setting) or 'nothing'}",
            advice="Set each hyperparameter once.",
        )

    def coarse(self, points: int) -> list[Index]:
        """Return a coarse lattice, end points included, of `points` per hyperparameter.

        Examples
        --------
        >>> Space(hyperparameters=(Hyperparameter(name="regularization"),)).coarse(3)
        [(0,), (100,), (200,)]
        """
        axes = []
        for hyperparameter in self.hyperparameters:
            indices = _even_indices(hyperparameter.points, points)
            axes.append(indices)
        return list(itertools.product(*axes))


def _even_indices(available: int, points: int) -> list[int]:
    last = available - 1
    steps = points - 1
    indices = {round(place * last / steps) for place in range(points)}
    return sorted(indices)
