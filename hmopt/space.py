"""The hyperparameters that a model is conditioned on, and the lattice that settings live on."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeGuard, cast

from hmopt.errors import DeclarationError

Index = tuple[int, ...]
"""A setting as lattice indices, one for each hyperparameter, so that equal settings are equal keys."""

Value = float | int | str
"""A value of a hyperparameter; true and false are among them, as Python's `bool` is an `int`."""

Setting = Mapping[str, Value]
"""A setting as values by name; hyperparameters that are inactive at it are left out."""

Type = Literal["float", "integer", "categorical"]

Condition = tuple[str, tuple[Value, ...]]
"""Another hyperparameter, and those of its values with which this one is active."""

INACTIVE = 0
"""Lattice index of every hyperparameter that is inactive, so that equal settings are equal keys."""

_STEP = 0.005
_MOST_POINTS = 10**6
"""Values of an integer hyperparameter at most."""
_MOST_SETTINGS = 2**62
"""Points of a lattice at most: a setting is also stored as one number."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One named value that the model is conditioned on.

    Parameters
    ----------
    name
        `regularization` (λ), `label_weight` (γ), or another that the loss or the engine knows.
    low, high
        The range, end points included; of an integer whole numbers. A categorical hyperparameter
        has none.
    step
        Distance of neighbouring lattice points. Of a float as a share of the range, or of its
        logarithm where `prior` is log-uniform; its inverse must be whole. Of an integer in whole
        numbers; left out: 1.
    prior
        How values are drawn in training, and along which scale they are spread: `log-uniform` needs
        a range above 0, and of an integer a step of 1.
    end_point_rate
        Share of draws in training that fall on `low`, and the same share on `high`.
    default
        The baseline value. Of a categorical hyperparameter one of its choices; left out: the first.
    type
        `float`, `integer` or `categorical`.
    choices
        The values of a categorical hyperparameter: text, numbers, or true and false, all different.
    only_if
        Other hyperparameters by name, each with the values (one, or several) with which this one is
        active. Where one of them has another value, or is inactive itself, this one is inactive.

    Raises
    ------
    DeclarationError
        If the range is empty, the step does not divide it, the default is no value of it, or a
        parameter does not go with the type.

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
    >>> spacing = Hyperparameter(name="grid_spacing", type="integer", low=2, high=8, step=2, default=4)
    >>> [spacing.value(index) for index in range(spacing.points)]
    [2, 4, 6, 8]
    >>> similarity = Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI"))
    >>> similarity.default, similarity.index("MI")
    ('CC', 1)
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    step: float = _STEP
    prior: Literal["uniform", "log-uniform"] = "uniform"
    end_point_rate: float = 0.1
    default: Value = 0.5
    type: Type = "float"
    choices: tuple[Value, ...] = ()
    only_if: Mapping[str, Value | Sequence[Value]] | tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a hyperparameter."""
        self._set("choices", tuple(self.choices))
        self._set("only_if", _conditions(self.only_if))
        if self.type == "categorical":
            self._check_choices()
            return
        self._check(not self.choices, "no choices unless its type is categorical", self.choices)
        if self.type == "integer":
            self._make_whole()
        else:
            self._check(self._divides_range(), "a step whose inverse is whole", self.step)
        self._check_range()

    def _check_range(self) -> None:
        low, high = self.low, self.high
        rate = self.end_point_rate
        has_logarithm = self.prior == "uniform" or low > 0
        self._check(low < high, "low < high", f"{low} and {high}")
        self._check(has_logarithm, "low > 0 with a log-uniform prior", low)
        self._check(0 <= rate <= 0.5, "an end_point_rate in [0, 0.5]", rate)
        is_number = _is_number(self.default)
        is_inside = is_number and low <= float(self.default) <= high
        self._check(is_inside, f"a default in [{low}, {high}]", self.default)

    def _make_whole(self) -> None:
        """Bring the numbers of an integer hyperparameter to whole numbers, or refuse them."""
        if self.step == _STEP:  # as it is where none is given
            self._set("step", 1)
        for field in ("low", "high", "step", "default"):
            given = getattr(self, field)
            is_whole = _is_number(given) and float(given).is_integer()
            meaning = ", the distance of neighbouring values," if field == "step" else ""
            self._check(is_whole, f"a whole number as {field}{meaning} of an integer", given)
            self._set(field, int(given))
        low, high, step = int(self.low), int(self.high), int(self.step)
        self._check(step >= 1, "a step of at least 1 for an integer", step)
        is_even = self.prior == "uniform" or step == 1
        self._check(is_even, "a step of 1 for an integer with a log-uniform prior", step)
        width = high - low
        self._check(width % step == 0, f"a step that divides {low} to {high}", step)
        self._check(
            width // step < _MOST_POINTS, f"at most {_MOST_POINTS} values", width // step + 1
        )
        from_low = int(self.default) - low
        is_reached = from_low % step == 0
        self._check(is_reached, f"a default that is reached in steps of {step}", self.default)

    def _check_choices(self) -> None:
        choices = self.choices
        distinct = set(choices)  # in which 1, 1.0 and true are one
        texts = {choice_text(choice) for choice in choices}
        are_different = len(distinct) == len(choices) and len(texts) == len(choices)
        self._check(len(choices) >= 2, "at least two choices of a categorical", list(choices))
        self._check(are_different, "different choices", list(choices))
        self._check("" not in texts, "choices that are not empty", list(choices))
        if self.default == 0.5 and 0.5 not in choices:  # as it is where none is given
            self._set("default", choices[0])
        is_choice = any(_is_same(self.default, choice) for choice in choices)
        known = ", ".join(choice_text(choice) for choice in choices)
        self._check(is_choice, f"a default among its choices ({known})", self.default)
        self._set("low", 0)
        self._set("high", len(choices) - 1)
        self._set("step", 1)
        self._check(self.prior == "uniform", "no prior of a categorical", self.prior)

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

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
    def conditions(self) -> tuple[Condition, ...]:
        """The content of `only_if`: other hyperparameters, each with its values."""
        return cast(tuple[Condition, ...], self.only_if)

    @property
    def is_ordered(self) -> bool:
        """Whether its values are numbers of a range, so that some lie between others."""
        return self.type != "categorical"

    @property
    def is_even(self) -> bool:
        """Whether lattice points lie evenly along the range: not those of an integer on a logarithm."""
        return self.type != "integer" or self.prior == "uniform"

    @property
    def points(self) -> int:
        """Number of lattice points."""
        if self.type == "categorical":
            return len(self.choices)
        if self.type == "integer":
            return int(self.high - self.low) // int(self.step) + 1
        return round(1 / self.step) + 1

    def value(self, index: int) -> Value:
        """Return the value at a lattice index in [0, points - 1]."""
        if self.type == "categorical":
            return self.choices[index]
        if self.type == "integer":
            return int(self.low) + index * int(self.step)
        last = self.points - 1
        return self.from_unit_interval(index / last)

    def from_unit_interval(self, place: float) -> Value:
        """Return the value at a place in [0, 1] along the range, along its logarithm if the prior is log-uniform.

        Of an integer the nearest one on the lattice, of a categorical hyperparameter the nearest choice.

        Examples
        --------
        >>> Hyperparameter(name="label_weight", low=0.01, prior="log-uniform").from_unit_interval(0.5)
        0.1
        """
        if self.type == "categorical":
            return self.choices[round(place * (len(self.choices) - 1))]
        if self.prior == "log-uniform":
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + place * (self.high - self.low)
        if self.type == "integer":
            steps = round((value - self.low) / self.step)
            return self.value(steps)
        # 0.35, not 0.35000000000000003
        return float(f"{value:.12g}")

    def to_unit_interval(self, value: Value) -> float:
        """Return the place of a value along the range, in [0, 1]: the input of the hypernetwork.

        Of a categorical hyperparameter it is the place of the choice.

        Raises
        ------
        DeclarationError
            If the value lies outside the range, or is none of the choices.
        """
        if self.type == "categorical":
            return self._choice_place(value) / (len(self.choices) - 1)
        number = self._number(value)
        if self.prior == "log-uniform":
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def index(self, value: Value) -> int:
        """Return the index of the lattice point nearest to a value.

        Raises
        ------
        DeclarationError
            If the value lies outside the range, is no whole number, or none of the choices.
        """
        if self.type == "categorical":
            return self._choice_place(value)
        if self.type == "integer":
            number = self._number(value)
            return round((number - self.low) / self.step)
        last = self.points - 1
        return round(self.to_unit_interval(value) * last)

    def coordinate(self, index: int) -> float:
        """Return the value at a lattice index as a number: of a choice its place, 0 the first."""
        if self.type == "categorical":
            return float(index)
        return float(self.value(index))

    def parse(self, text: str) -> Value:
        """Return the value that a text stands for, as a person types it.

        Raises
        ------
        DeclarationError
            If it is no number, or none of the choices.

        Examples
        --------
        >>> Hyperparameter(name="use_mask", type="categorical", choices=(False, True)).parse("true")
        True
        """
        if self.type == "categorical":
            for choice in self.choices:
                if choice_text(choice) == text:
                    return choice
            raise self._wrong(text)
        try:
            number = float(text)
        except ValueError as error:
            raise self._wrong(text) from error
        if self.type == "integer" and number.is_integer():
            return int(number)
        return number

    def record(self) -> dict[str, Any]:
        """Return the parameters as JSON holds them; those that a float hyperparameter lacks only for others.

        Examples
        --------
        >>> Hyperparameter(name="use_mask", type="categorical", choices=(False, True)).record()
        {'name': 'use_mask', 'default': False, 'type': 'categorical', 'choices': [False, True]}
        """
        record: dict[str, Any] = {"name": self.name}
        if self.type != "categorical":
            record |= {"low": self.low, "high": self.high, "step": self.step, "prior": self.prior}
            record["end_point_rate"] = self.end_point_rate
        record["default"] = self.default
        if self.type != "float":
            record["type"] = self.type
        if self.choices:
            record["choices"] = list(self.choices)
        if self.only_if:
            record["only_if"] = {name: list(values) for name, values in self.conditions}
        return record

    @property
    def meaning(self) -> str:
        """Return its values and when it is active, as one text; drawing and default are no part of it."""
        record = self.record()
        for name in ("name", "default", "end_point_rate"):
            record.pop(name, None)
        return json.dumps(record, sort_keys=True)

    @property
    def range_text(self) -> str:
        """Return its values as a line shows them.

        Examples
        --------
        >>> Hyperparameter(name="regularization").range_text
        'in [0, 1]'
        >>> Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI")).range_text
        'CC or MI'
        """
        if self.type == "categorical":
            return " or ".join(choice_text(choice) for choice in self.choices)
        whole = "a whole number " if self.type == "integer" else ""
        return f"{whole}in [{self.low:g}, {self.high:g}]"

    def _number(self, value: Value) -> float:
        low, high = self.low, self.high
        is_wrong = not _is_number(value) or not low <= float(value) <= high
        if is_wrong or (self.type == "integer" and not float(value).is_integer()):
            raise self._wrong(value)
        return float(value)

    def _choice_place(self, value: Value) -> int:
        for place, choice in enumerate(self.choices):
            if _is_same(choice, value):
                return place
        raise self._wrong(value)

    def _wrong(self, value: Value) -> DeclarationError:
        if self.type == "categorical":
            known = ", ".join(choice_text(choice) for choice in self.choices)
            expected, advice = f"one of {known}", "Choose one of them."
        else:
            kind = "whole number" if self.type == "integer" else "number"
            expected = f"a {kind} in [{self.low}, {self.high}]"
            advice = "Choose a value in the range."
        return DeclarationError(self.name, expected=expected, got=value, advice=advice)


def choice_text(value: Value) -> str:
    """Return a value as a person types it.

    Examples
    --------
    >>> choice_text("CC"), choice_text(True), choice_text(0.5)
    ('CC', 'true', '0.5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def value_text(value: Value) -> str:
    """Return a value as a command takes it; numbers with six digits.

    Examples
    --------
    >>> value_text(0.30000000000000004), value_text(12), value_text("CC")
    ('0.3', '12', 'CC')
    """
    if isinstance(value, bool | str | int):
        return choice_text(value)
    return f"{value:g}"


def as_number(value: Value | None) -> float:
    """Return a value as a number; NaN of a text or none.

    Examples
    --------
    >>> as_number(3), as_number("CC")
    (3.0, nan)
    """
    return float(value) if isinstance(value, int | float) else math.nan


def numbers_of(setting: Mapping[str, Value]) -> dict[str, float]:
    """Return a setting of numbers, as a loss takes it.

    Raises
    ------
    DeclarationError
        If a value is none.

    Examples
    --------
    >>> numbers_of({"regularization": 0.3})
    {'regularization': 0.3}
    """
    numbers = {}
    for name, value in setting.items():
        if not _is_number(value):
            raise DeclarationError(
                name, expected="a number", got=value, advice="Give the weight of a term."
            )
        numbers[name] = float(value)
    return numbers


def _is_number(value: object) -> TypeGuard[float]:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(float(value))  # type: ignore[arg-type]


def _is_same(one: Value, other: Value) -> bool:
    """Tell whether two values are equal and of one kind: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _conditions(given: object) -> tuple[Condition, ...]:
    """Return conditions in the form that a `Hyperparameter` keeps; one value may stand without a list."""
    pairs = given.items() if isinstance(given, Mapping) else given
    conditions = []
    for name, values in pairs:  # type: ignore[attr-defined]
        several = tuple(values) if isinstance(values, list | tuple) else (values,)
        conditions.append((str(name), several))
    return tuple(conditions)


@dataclass(frozen=True, kw_only=True)
class Space:
    """All hyperparameters of a model, in the order in which the hypernetwork takes them.

    Parameters
    ----------
    hyperparameters
        Those that others are conditional on come before them.

    Raises
    ------
    DeclarationError
        If a name is there twice, or a condition names no categorical or integer hyperparameter
        before it, or a value that it cannot have.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> space.setting((70,))
    {'regularization': 0.35}
    >>> space.index({"regularization": 0.35})
    (70,)

    The window of a similarity that only one of the choices has:

    >>> similarity = Hyperparameter(name="similarity", type="categorical", choices=("MI", "CC"))
    >>> window = Hyperparameter(
    ...     name="window", type="integer", low=1, high=4, default=2, only_if={"similarity": "CC"}
    ... )
    >>> space = Space(hyperparameters=(similarity, window))
    >>> space.setting((1, 2)), space.setting((0, 2))
    ({'similarity': 'CC', 'window': 3}, {'similarity': 'MI'})
    >>> space.index({"similarity": "MI"})
    (0, 0)
    """

    hyperparameters: tuple[Hyperparameter, ...]

    def __post_init__(self) -> None:
        """Refuse names that are there twice, and conditions that can never be looked up."""
        known: dict[str, Hyperparameter] = {}
        settings = 1
        for one in self.hyperparameters:
            if one.name in known:
                raise _refused(one, "different names of hyperparameters", f"{one.name} twice")
            for name, values in one.conditions:
                _check_condition(one, known.get(name), name, values)
            known[one.name] = one
            settings *= one.points
        if settings > _MOST_SETTINGS:
            raise _refused(
                self.hyperparameters[-1],
                f"at most {_MOST_SETTINGS:.0e} points of the lattice of all hyperparameters",
                f"{settings:.0e}",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters."""
        names = [hyperparameter.name for hyperparameter in self.hyperparameters]
        return tuple(names)

    @property
    def is_ordered(self) -> bool:
        """Whether all hyperparameters are numbers and always active, so that settings have neighbours."""
        return not self.has_conditions and all(one.is_ordered for one in self.hyperparameters)

    @property
    def is_continuous(self) -> bool:
        """Whether all hyperparameters are floats and always active, as a hypermorph takes them."""
        are_floats = [one.type == "float" for one in self.hyperparameters]
        return not self.has_conditions and all(are_floats)

    @property
    def has_conditions(self) -> bool:
        """Whether a hyperparameter is inactive at some settings."""
        return any(one.only_if for one in self.hyperparameters)

    @property
    def default(self) -> dict[str, Value]:
        """The baseline setting."""
        indices = [one.index(one.default) for one in self.hyperparameters]
        setting = {}
        for hyperparameter in self.active(tuple(indices)):
            setting[hyperparameter.name] = hyperparameter.default
        return setting

    def active(self, index: Index) -> list[Hyperparameter]:
        """Return the hyperparameters that are active at lattice indices."""
        if not self.has_conditions:
            return list(self.hyperparameters)
        found: dict[str, Value] = {}
        active = []
        for hyperparameter, place in zip(self.hyperparameters, index, strict=True):
            if _is_active(hyperparameter, found):
                active.append(hyperparameter)
                found[hyperparameter.name] = hyperparameter.value(place)
        return active

    def canonical(self, index: Index) -> Index:
        """Return the one index of the same setting: inactive hyperparameters at `INACTIVE`."""
        if not self.has_conditions:
            return index
        active = {hyperparameter.name for hyperparameter in self.active(index)}
        return tuple(
            place if name in active else INACTIVE
            for name, place in zip(self.names, index, strict=True)
        )

    def setting(self, index: Index) -> dict[str, Value]:
        """Return the values at lattice indices, of the hyperparameters that are active there."""
        places = dict(zip(self.names, index, strict=True))
        return {
            hyperparameter.name: hyperparameter.value(places[hyperparameter.name])
            for hyperparameter in self.active(index)
        }

    def complete(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the setting of some values, all others at their default where they are active.

        Raises
        ------
        DeclarationError
            If a hyperparameter is unknown, or inactive with these values, or a value lies outside
            its range.
        """
        setting: dict[str, Value] = {}
        for hyperparameter in self.hyperparameters:
            name = hyperparameter.name
            if _is_active(hyperparameter, setting):
                value = values.get(name, hyperparameter.default)
                is_whole = hyperparameter.type == "integer" and as_number(value).is_integer()
                setting[name] = int(value) if is_whole else value
            elif name in values:
                others = " and ".join(_condition_text(one) for one in hyperparameter.conditions)
                raise DeclarationError(
                    name,
                    expected=f"a value only where {others}",
                    got=value_text(values[name]),
                    advice="Leave it out.",
                )
        unknown = [name for name in values if name not in self.names]
        if unknown:
            raise self._wrong_names(values, self.names)
        self.index(setting)
        return setting

    def index(self, setting: Mapping[str, Value]) -> Index:
        """Return the lattice indices nearest to a setting.

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing, unknown or inactive, or a value lies outside its range.
        """
        expected = []
        found: dict[str, Value] = {}
        indices = []
        for hyperparameter in self.hyperparameters:
            name = hyperparameter.name
            place = INACTIVE
            if _is_active(hyperparameter, found):
                expected.append(name)
                if name not in setting:
                    break
                place = hyperparameter.index(setting[name])
                found[name] = hyperparameter.value(place)
            indices.append(place)
        if set(setting) != set(expected) or len(indices) < len(self.hyperparameters):
            raise self._wrong_names(setting, expected)
        return tuple(indices)

    def to_unit_interval(self, setting: Mapping[str, Value]) -> list[float]:
        """Return the places of a setting's values along their ranges, each in [0, 1].

        Raises
        ------
        DeclarationError
            If a hyperparameter is missing or unknown, or a value lies outside its range.
        """
        if set(setting) != set(self.names):
            raise self._wrong_names(setting, self.names)
        return [
            hyperparameter.to_unit_interval(setting[hyperparameter.name])
            for hyperparameter in self.hyperparameters
        ]

    def coordinates(self, index: Index) -> list[float]:
        """Return the values at lattice indices as numbers, of a choice its place; NaN where inactive."""
        active = {hyperparameter.name for hyperparameter in self.active(index)}
        numbers = []
        for hyperparameter, place in zip(self.hyperparameters, index, strict=True):
            is_active = hyperparameter.name in active
            numbers.append(hyperparameter.coordinate(place) if is_active else math.nan)
        return numbers

    def numbers(self, setting: Mapping[str, Value] | None) -> list[float]:
        """Return a setting's values as numbers, of a choice its place; NaN where inactive or unknown."""
        if setting is None:
            return [math.nan] * len(self.hyperparameters)
        return self.coordinates(self.index(setting))

    def _wrong_names(
        self, setting: Mapping[str, Value], expected: Sequence[str]
    ) -> DeclarationError:
        where = " where the others are as given" if self.has_conditions else ""
        return DeclarationError(
            "setting",
            expected=f"values for {', '.join(expected)}{where}",
            got=f"values for {', '.join(setting) or 'nothing'}",
            advice="Set each hyperparameter once.",
        )

    def product(self, axes: Sequence[Sequence[int]]) -> list[Index]:
        """Return the different settings of a product of lattice indices, sorted.

        Parameters
        ----------
        axes
            Indices of each hyperparameter.
        """
        if not self.has_conditions:
            return sorted(itertools.product(*axes))
        return sorted(set(self._products(axes)))

    def _products(self, axes: Sequence[Sequence[int]]) -> Iterator[Index]:
        for index in itertools.product(*axes):
            yield self.canonical(index)

    def count(self, points: int) -> int:
        """Return how many settings `coarse` has, without listing them.

        Parameters
        ----------
        points
            Values per hyperparameter.
        """
        axes = {one.name: even_indices(one, points) for one in self.hyperparameters}
        asked_for = {name for one in self.hyperparameters for name, _ in one.conditions}
        # only hyperparameters that others depend on are listed; the others multiply their number
        listed = [axes[name] if name in asked_for else [INACTIVE] for name in self.names]
        total = 0
        for index in self.product(listed):
            free = [one for one in self.active(index) if one.name not in asked_for]
            total += math.prod(len(axes[one.name]) for one in free)
        return total

    def coarse(self, points: int) -> list[Index]:
        """Return a coarse lattice, end points included, of `points` per hyperparameter, and of every choice.

        Examples
        --------
        >>> Space(hyperparameters=(Hyperparameter(name="regularization"),)).coarse(3)
        [(0,), (100,), (200,)]
        """
        axes = [even_indices(hyperparameter, points) for hyperparameter in self.hyperparameters]
        return self.product(axes)


def _is_active(hyperparameter: Hyperparameter, found: Mapping[str, Value]) -> bool:
    """Tell whether the active ones before a hyperparameter have the values that it asks for."""
    for name, values in hyperparameter.conditions:
        if name not in found:
            return False
        if not any(_is_same(found[name], value) for value in values):
            return False
    return True


def _check_condition(
    one: Hyperparameter, other: Hyperparameter | None, name: str, values: tuple[Value, ...]
) -> None:
    if other is None:
        raise _refused(one, "only_if with hyperparameters that are declared before it", name)
    if other.type == "float":
        expected = "only_if with categorical or integer hyperparameters"
        raise _refused(one, expected, f"{name}, a float")
    if not values:
        raise _refused(one, f"only_if with a value of {name}", "none")
    for value in values:
        try:
            is_reached = _is_same(other.value(other.index(value)), value)
        except DeclarationError:
            is_reached = False
        if not is_reached:
            raise _refused(one, f"only_if with values of {name} ({other.range_text})", value)


def _condition_text(condition: Condition) -> str:
    name, values = condition
    allowed = " or ".join(value_text(value) for value in values)
    return f"{name} is {allowed}"


def _refused(one: Hyperparameter, expected: str, got: object) -> DeclarationError:
    return DeclarationError(
        f"hyperparameters.{one.name}",
        expected=expected,
        got=got,
        advice="Correct the declaration.",
    )


def even_indices(hyperparameter: Hyperparameter, points: int) -> list[int]:
    """Return lattice indices of `points` values, even from end to end along the range; of all choices.

    Examples
    --------
    >>> iterations = Hyperparameter(
    ...     name="iterations", type="integer", low=1, high=1000, prior="log-uniform", default=10
    ... )
    >>> [iterations.value(index) for index in even_indices(iterations, 4)]
    [1, 10, 100, 1000]
    """
    last = hyperparameter.points - 1
    if hyperparameter.type == "categorical":
        return list(range(last + 1))
    steps = points - 1
    if hyperparameter.is_even:
        indices = {round(place * last / steps) for place in range(points)}
        return sorted(indices)
    return place_indices(hyperparameter, [place / steps for place in range(points)])


def place_indices(hyperparameter: Hyperparameter, places: Sequence[float]) -> list[int]:
    """Return the lattice indices nearest to places in [0, 1] along the range, each once, rising.

    Examples
    --------
    >>> place_indices(Hyperparameter(name="regularization"), [0.0, 0.3, 0.301])
    [0, 60]
    """
    last = hyperparameter.points - 1
    if hyperparameter.is_even:
        indices = {round(place * last) for place in places}
    else:
        values = [hyperparameter.from_unit_interval(place) for place in places]
        indices = {hyperparameter.index(value) for value in values}
    return sorted(indices)
