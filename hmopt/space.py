"""The hyperparameters that a model is conditioned on, and the lattice that settings live on."""

import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, Literal, TypeGuard, cast, get_args

from hmopt.catalogue import REGULARIZATION, region_of
from hmopt.errors import DeclarationError

Index = tuple[int, ...]
"""A setting as lattice indices, one for each hyperparameter, so that equal settings are equal keys."""

Value = float | int | str
"""A value of a hyperparameter; true and false are among them, as Python's `bool` is an `int`."""

Setting = Mapping[str, Value]
"""A setting as values by name; hyperparameters that are inactive at it are left out."""

Type = Literal["float", "integer", "categorical"]
Prior = Literal["uniform", "log-uniform"]

Condition = tuple[str, tuple[Value, ...]]
"""Another hyperparameter, and those of its values with which this one is active."""

INACTIVE = 0
"""Lattice index of every hyperparameter that is inactive, so that equal settings are equal keys."""

_STEP = 0.005
_DEFAULT = 0.5
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
        Of a float: share of draws in training that fall on `low`, and the same share on `high`.
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
        If a parameter is of another type, the range is empty, the step does not divide it, the
        default is no value of it, or a parameter does not go with the type.

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
    prior: Prior = "uniform"
    end_point_rate: float = 0.1
    default: Value = _DEFAULT
    type: Type = "float"
    choices: tuple[Value, ...] = ()
    only_if: Mapping[str, Value | Sequence[Value]] | tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a hyperparameter; set what its type lets be left out."""
        _check_types(self)
        self._set("choices", tuple(self.choices))
        self._set("only_if", _conditions(self.only_if))
        for field in ("low", "high", "step", "default"):
            self._set(field, getattr(self._values, field))

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    @cached_property
    def _values(self) -> "_FloatRange | _Choices":
        """The values that it can have."""
        return _KINDS[self.type](self)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The content of `only_if`: other hyperparameters, each with its values."""
        return cast(tuple[Condition, ...], self.only_if)

    @property
    def is_ordered(self) -> bool:
        """Whether its values are numbers of a range, so that some lie between others."""
        return self._values.is_ordered

    def has_values_of(self, other: "Hyperparameter") -> bool:
        """Return whether it has the values of another one, and always has one.

        Examples
        --------
        >>> fine = Hyperparameter(name="fine", step=0.01)
        >>> fine.has_values_of(Hyperparameter(name="coarse", step=0.1))
        False
        """
        keys = ("type", "low", "high", "step", "prior", "choices")
        are_equal = [getattr(self, key) == getattr(other, key) for key in keys]
        return all(are_equal) and not self.only_if

    @property
    def is_continuous(self) -> bool:
        """Whether all numbers of a range are its values, and not only those of the lattice."""
        return self._values.is_continuous

    @property
    def is_even(self) -> bool:
        """Whether lattice points lie evenly along the range: not those of an integer on a logarithm."""
        return self._values.is_even

    @property
    def points(self) -> int:
        """Number of lattice points."""
        return self._values.points

    def value(self, index: int) -> Value:
        """Return the value at a lattice index in [0, points - 1]."""
        return self._values.value(index)

    def from_unit_interval(self, place: float) -> Value:
        """Return the value at a place in [0, 1] along the range, along its logarithm if the prior is log-uniform.

        Of an integer the nearest one on the lattice, of a categorical hyperparameter the nearest choice.

        Examples
        --------
        >>> Hyperparameter(name="label_weight", low=0.01, prior="log-uniform").from_unit_interval(0.5)
        0.1
        """
        return self._values.from_unit_interval(place)

    def draw(self, share: float, place: float) -> Value:
        """Return the value that two uniform random numbers in [0, 1) stand for, as training draws it.

        With r the `end_point_rate`, a float is `low` with probability r, `high` with probability r,
        and elsewhere at a uniform place along its range, or along its logarithm if the prior is
        log-uniform; it is not bound to the lattice. Each whole number and each choice is as probable
        as the others. With a log-uniform prior a whole number v has a probability proportional to
        log(v + 1/2) - log(v - 1/2).

        Parameters
        ----------
        share
            Decides whether a float falls on an end point.
        place
            Decides the value otherwise.

        Examples
        --------
        >>> regularization = Hyperparameter(name="regularization")
        >>> [regularization.draw(share, 0.25) for share in (0.05, 0.5, 0.95)]
        [0.0, 0.25, 1.0]
        >>> window = Hyperparameter(name="window", type="integer", low=3, high=9, step=2, default=9)
        >>> [window.draw(0.0, place) for place in (0.0, 0.24, 0.25, 0.5, 0.99)]
        [3, 3, 5, 7, 9]
        """
        return self._values.draw(share, place)

    def to_unit_interval(self, value: Value) -> float:
        """Return the place of a value along the range, in [0, 1]: the input of the hypernetwork.

        Of a categorical hyperparameter it is the place of the choice.

        Raises
        ------
        DeclarationError
            If the value lies outside the range, is not reached by steps of an integer, or is none
            of the choices.
        """
        return self._values.to_unit_interval(value)

    def index(self, value: Value) -> int:
        """Return the index of the lattice point nearest to a value.

        Raises
        ------
        DeclarationError
            If the value lies outside the range, is no whole number, or none of the choices.
        """
        return self._values.index(value)

    def typed(self, value: Value) -> Value:
        """Return a value in Python's type of its values, where it can be brought to it: 12.0 of an integer as 12."""
        return self._values.typed(value)

    def coordinate(self, index: int) -> float:
        """Return the value at a lattice index as a number: of a choice its place, 0 the first."""
        return self._values.coordinate(index)

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
        return self._values.parse(text)

    def record(self) -> dict[str, Any]:
        """Return the parameters as JSON holds them; those that a float hyperparameter lacks only for others.

        Examples
        --------
        >>> Hyperparameter(name="use_mask", type="categorical", choices=(False, True)).record()
        {'name': 'use_mask', 'default': False, 'type': 'categorical', 'choices': [False, True]}
        """
        record: dict[str, Any] = {"name": self.name}
        for field in self._values.recorded:
            value = getattr(self, field)
            record[field] = list(value) if field == "choices" else value
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
        return self._values.range_text


class _FloatRange:
    """Numbers from `low` to `high`; the lattice divides the range, or its logarithm, evenly."""

    is_ordered = True
    is_continuous = True
    recorded: tuple[str, ...] = ("low", "high", "step", "prior", "end_point_rate", "default")
    noun = "number"

    def __init__(self, given: Hyperparameter) -> None:
        self.name = given.name
        self.low, self.high, self.step = given.low, given.high, given.step
        self.prior = given.prior
        self.default = given.default
        _check(
            self.name, not given.choices, "no choices unless its type is categorical", given.choices
        )
        self.check_step()
        low, high, default = self.low, self.high, self.default
        self.end_point_rate = rate = given.end_point_rate
        has_logarithm = self.prior == "uniform" or low > 0
        _check(self.name, low < high, "low < high", f"{low} and {high}")
        _check(self.name, has_logarithm, "low > 0 with a log-uniform prior", low)
        _check(self.name, 0 <= rate <= 0.5, "an end_point_rate in [0, 0.5]", rate)
        _check(self.name, self.holds(default), f"a default in [{low}, {high}]", default)

    def check_step(self) -> None:
        steps = 1 / self.step if 0 < self.step <= 1 else math.nan
        is_whole = steps > 0 and math.isclose(steps, round(steps), rel_tol=1e-9)
        _check(self.name, is_whole, "a step whose inverse is whole", self.step)

    def holds(self, value: Value) -> bool:
        """Return whether a value is a number in the range."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def number(self, value: Value) -> float:
        """Return a value in the range as a number, or refuse it."""
        if not self.holds(value):
            raise self.wrong(value)
        return float(value)

    def along(self, place: float) -> float:
        """Return the number at a place in [0, 1] along the range, or along its logarithm."""
        if self.prior == "log-uniform":
            number: float = self.low * (self.high / self.low) ** place
            return number
        return self.low + place * (self.high - self.low)

    @property
    def is_even(self) -> bool:
        return True

    @property
    def points(self) -> int:
        return round(1 / self.step) + 1

    def value(self, index: int) -> float:
        last = self.points - 1
        return self.from_unit_interval(index / last)

    def index(self, value: Value) -> int:
        last = self.points - 1
        return round(self.to_unit_interval(value) * last)

    def from_unit_interval(self, place: float) -> float:
        value = self.along(place)
        # 0.35, not 0.35000000000000003
        rounded = float(f"{value:.12g}")
        # bounds may have more digits
        return min(max(rounded, float(self.low)), float(self.high))

    def draw(self, share: float, place: float) -> Value:
        if share < self.end_point_rate:
            place = 0.0
        elif share >= 1 - self.end_point_rate:
            place = 1.0
        return self.from_unit_interval(place)

    def coordinate(self, index: int) -> float:
        return float(self.value(index))

    def typed(self, value: Value) -> Value:
        return float(value) if _is_number(value) else value

    def to_unit_interval(self, value: Value) -> float:
        number = self.number(value)
        if self.prior == "log-uniform":
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def parse(self, text: str) -> Value:
        try:
            number = float(text)
        except ValueError as error:
            raise self.wrong(text) from error
        return self.typed(number)

    @property
    def range_text(self) -> str:
        return f"in [{self.low:g}, {self.high:g}]"

    @property
    def steps_text(self) -> str:
        return ""

    def wrong(self, value: Value) -> DeclarationError:
        expected = f"a {self.noun} in [{self.low}, {self.high}]{self.steps_text}"
        advice = "Choose a value in the range."
        return DeclarationError(self.name, expected=expected, got=value, advice=advice)


class _IntegerRange(_FloatRange):
    """Whole numbers of a range, `step` from one to the next."""

    is_continuous = False
    recorded = (*_FloatRange.recorded, "type")
    noun = "whole number"

    def check_step(self) -> None:
        if self.step == _STEP:  # as it is where none is given
            self.step = 1
        self.low = low = self._whole("low", self.low)
        self.high = high = self._whole("high", self.high)
        self.step = step = self._whole("step, the distance of neighbouring values,", self.step)
        self.default = default = self._whole("default", self.default)
        _check(self.name, step >= 1, "a step of at least 1 for an integer", step)
        is_even = self.prior == "uniform" or step == 1
        _check(self.name, is_even, "a step of 1 for an integer with a log-uniform prior", step)
        width = high - low
        _check(self.name, width % step == 0, f"a step that divides {low} to {high}", step)
        points = width // step + 1
        _check(self.name, points <= _MOST_POINTS, f"at most {_MOST_POINTS} values", points)
        is_reached = (default - low) % step == 0
        _check(self.name, is_reached, f"a default that is reached in steps of {step}", default)

    def _whole(self, meaning: str, given: Value) -> int:
        is_whole = _is_number(given) and float(given).is_integer()
        _check(self.name, is_whole, f"a whole number as {meaning} of an integer", given)
        return int(given)

    @property
    def is_even(self) -> bool:
        return self.prior == "uniform"

    @property
    def points(self) -> int:
        return int(self.high - self.low) // int(self.step) + 1

    def value(self, index: int) -> int:
        return int(self.low) + index * int(self.step)

    def index(self, value: Value) -> int:
        number = self.number(value)
        return round((number - self.low) / self.step)

    def from_unit_interval(self, place: float) -> int:
        steps = round((self.along(place) - self.low) / self.step)
        return self.value(steps)

    def to_unit_interval(self, value: Value) -> float:
        beyond_low = self.number(value) - self.low
        if beyond_low % self.step:
            raise self.wrong(value)
        return super().to_unit_interval(value)

    def draw(self, share: float, place: float) -> int:
        if self.prior == "uniform":
            return self.value(int(place * self.points))
        # from low - 1/2 to high + 1/2: so the ends have whole cells, as all others
        first, last = self.low - 0.5, self.high + 0.5
        drawn = round(first * (last / first) ** place)
        return int(min(max(drawn, self.low), self.high))

    def typed(self, value: Value) -> Value:
        is_whole = _is_number(value) and float(value).is_integer()
        return int(value) if is_whole else value

    def number(self, value: Value) -> float:
        number = super().number(value)
        if not number.is_integer():
            raise self.wrong(value)
        return number

    @property
    def steps_text(self) -> str:
        return f" in steps of {self.step}" if self.step > 1 else ""

    @property
    def range_text(self) -> str:
        return f"a whole number {super().range_text}"


class _Choices:
    """A few values without an order: text, numbers, or true and false."""

    is_ordered = False
    is_continuous = False
    is_even = True
    recorded: tuple[str, ...] = ("default", "type", "choices")

    def __init__(self, given: Hyperparameter) -> None:
        self.name = given.name
        self.choices = choices = given.choices
        self.low, self.high, self.step = 0, len(choices) - 1, 1
        self.texts = [choice_text(choice) for choice in choices]
        self.default = given.default
        distinct = set(choices)  # in which 1, 1.0 and true are one
        are_different = len(distinct) == len(choices) == len(set(self.texts))
        _check(self.name, len(choices) >= 2, "at least two choices of a categorical", list(choices))
        _check(self.name, are_different, "different choices", list(choices))
        _check(self.name, "" not in self.texts, "choices that are not empty", list(choices))
        if self.default == _DEFAULT and _DEFAULT not in choices:  # as it is where none is given
            self.default = choices[0]
        is_choice = self._place(self.default) is not None
        known = ", ".join(self.texts)
        _check(self.name, is_choice, f"a default among its choices ({known})", self.default)
        _check(self.name, given.prior == "uniform", "no prior of a categorical", given.prior)

    def _place(self, value: Value) -> int | None:
        for place, choice in enumerate(self.choices):
            if _is_same(choice, value):
                return place
        return None

    @property
    def points(self) -> int:
        return len(self.choices)

    def value(self, index: int) -> Value:
        return self.choices[index]

    def index(self, value: Value) -> int:
        place = self._place(value)
        if place is None:
            raise self.wrong(value)
        return place

    def from_unit_interval(self, place: float) -> Value:
        last = self.points - 1
        return self.choices[round(place * last)]

    def draw(self, share: float, place: float) -> Value:
        return self.choices[int(place * self.points)]

    def to_unit_interval(self, value: Value) -> float:
        last = self.points - 1
        return self.index(value) / last

    def parse(self, text: str) -> Value:
        if text not in self.texts:
            raise self.wrong(text)
        return self.choices[self.texts.index(text)]

    def coordinate(self, index: int) -> float:
        return float(index)

    def typed(self, value: Value) -> Value:
        """Return a value as it is: a choice has its own type."""
        return value

    @property
    def range_text(self) -> str:
        return " or ".join(self.texts)

    def wrong(self, value: Value) -> DeclarationError:
        expected = f"one of {', '.join(self.texts)}"
        advice = "Choose one of them."
        return DeclarationError(self.name, expected=expected, got=value, advice=advice)


_KINDS: dict[Type, type[_FloatRange | _Choices]] = {
    "float": _FloatRange,
    "integer": _IntegerRange,
    "categorical": _Choices,
}
"""The class of the values of each type: a new type is a class with the same methods, and a line here."""


def _check_types(given: Hyperparameter) -> None:
    """Refuse parameters of other types, as the record of a damaged file can hold them."""
    name: object = given.name
    if not isinstance(name, str):
        raise DeclarationError(
            "hyperparameters",
            expected="names that are text",
            got=repr(name),
            advice="Correct the declaration.",
        )
    for field, allowed in (("type", get_args(Type)), ("prior", get_args(Prior))):
        value = getattr(given, field)
        _check(given.name, value in allowed, f"{field} {' or '.join(allowed)}", repr(value))
    for field in ("low", "high", "step", "end_point_rate"):
        number = getattr(given, field)
        _check(given.name, _is_number(number), f"a number as {field}", repr(number))
    are_values = isinstance(given.choices, list | tuple) and all(map(_is_value, given.choices))
    _check(given.name, are_values, "choices that are texts, numbers, true or false", given.choices)
    _check(
        given.name, _are_conditions(given.only_if), "names with values as only_if", given.only_if
    )


def _is_value(given: object) -> bool:
    return isinstance(given, str | bool) or _is_number(given)


def _are_conditions(given: object) -> bool:
    """Return whether these are other hyperparameters with the values that are asked of them."""
    if not isinstance(given, Mapping):
        return isinstance(given, tuple)  # as another hyperparameter keeps them
    for values in given.values():
        several = values if isinstance(values, list | tuple) else [values]
        if not all(map(_is_value, several)):
            return False
    return True


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


def assigned_text(setting: Setting) -> str:
    """Return a setting as messages tell it.

    Examples
    --------
    >>> assigned_text({"regularization": 0.3, "similarity": "CC"})
    'regularization = 0.3, similarity = CC'
    """
    return ", ".join(f"{name} = {value_text(value)}" for name, value in setting.items())


def as_number(value: Value | None) -> float:
    """Return a value as a number; NaN of a text or none.

    Examples
    --------
    >>> as_number(3), as_number("CC")
    (3.0, nan)
    """
    return float(value) if isinstance(value, int | float) else math.nan


def numbers_of(setting: Mapping[str, Value]) -> dict[str, float]:
    """Return a setting of numbers, as a loss takes it; whole numbers stay whole.

    Raises
    ------
    DeclarationError
        If a value is none.

    Examples
    --------
    >>> numbers_of({"regularization": 0.3, "window": 9})
    {'regularization': 0.3, 'window': 9}
    """
    numbers = {}
    for name, value in setting.items():
        if not _is_number(value):
            raise DeclarationError(
                name, expected="a number", got=value, advice="Give the weight of a term."
            )
        numbers[name] = value if isinstance(value, int) else float(value)
    return numbers


def _is_number(value: object) -> TypeGuard[float]:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    # compared, not converted: a whole number can be too large for a float
    return is_number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


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
                raise _refused(one.name, "different names of hyperparameters", f"{one.name} twice")
            for name, values in one.conditions:
                _check_condition(one, known.get(name), name, values)
            known[one.name] = one
            settings *= one.points
        if settings > _MOST_SETTINGS:
            raise _refused(
                one.name,
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
        """Whether all hyperparameters are floats and always active."""
        return not self.has_conditions and all(one.is_continuous for one in self.hyperparameters)

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

    @property
    def regularization_names(self) -> tuple[str, ...]:
        """`regularization`, where it is a number, and its like of regions, which have the same values.

        Examples
        --------
        >>> names = ("regularization", "label_weight", "regularization_cortex")
        >>> three = tuple(Hyperparameter(name=name) for name in names)
        >>> Space(hyperparameters=three).regularization_names
        ('regularization', 'regularization_cortex')
        """
        common = [one for one in self.hyperparameters if one.name == REGULARIZATION]
        if not common or not common[0].is_ordered:
            return ()
        of_regions = [
            one.name
            for one in self.hyperparameters
            if region_of(one.name) is not None and one.has_values_of(common[0])
        ]
        return (REGULARIZATION, *of_regions)

    def has_one_regularization(self, index: Index) -> bool:
        """Return whether all regions have the same regularization at lattice indices."""
        places = dict(zip(self.names, index, strict=True))
        different = {places[name] for name in self.regularization_names}
        return len(different) <= 1

    @property
    def unregularized(self) -> dict[str, Value]:
        """The baseline setting with `regularization` at its lowest, where it is a number.

        That of regions is, too.
        """
        setting = self.default
        names = self.regularization_names
        for hyperparameter in self.hyperparameters:
            if hyperparameter.name in names and hyperparameter.name in setting:
                setting[hyperparameter.name] = hyperparameter.value(0)
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
                setting[name] = hyperparameter.typed(value)
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
        raise _refused(one.name, "only_if with hyperparameters that are declared before it", name)
    if other.is_continuous:
        expected = "only_if with categorical or integer hyperparameters"
        raise _refused(one.name, expected, f"{name}, a float")
    if not values:
        raise _refused(one.name, f"only_if with a value of {name}", "none")
    for value in values:
        try:
            is_reached = _is_same(other.value(other.index(value)), value)
        except DeclarationError:
            is_reached = False
        if not is_reached:
            raise _refused(one.name, f"only_if with values of {name} ({other.range_text})", value)


def _condition_text(condition: Condition) -> str:
    name, values = condition
    allowed = " or ".join(value_text(value) for value in values)
    return f"{name} is {allowed}"


def _check(name: str, holds: bool, expected: str, got: object) -> None:
    """Refuse the declaration of a hyperparameter where a rule does not hold."""
    if not holds:
        raise _refused(name, expected, got)


def _refused(name: str, expected: str, got: object) -> DeclarationError:
    return DeclarationError(
        f"hyperparameters.{name}",
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
    if not hyperparameter.is_ordered:
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
