"""What tables of `study.toml` must agree on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hmopt.catalogue import HYPERPARAMETERS, METRICS, SIMILARITIES
from hmopt.declaration.cohort import CohortOptions, PreprocessingOptions
from hmopt.declaration.compare import CompareOptions
from hmopt.declaration.model import HyperparameterOptions, LossOptions, TrainingOptions
from hmopt.declaration.search import SearchOptions
from hmopt.errors import DeclarationError
from hmopt.space import Hyperparameter, Space


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A key whose value does not go with other tables."""

    field: str
    expected: str
    got: object

    def error(self) -> DeclarationError:
        """Return the error that says so."""
        return DeclarationError(
            self.field, expected=self.expected, got=self.got, advice="Correct the declaration."
        )


def check_agreement(
    hyperparameters: Mapping[str, HyperparameterOptions],
    preprocessing: PreprocessingOptions,
    loss: LossOptions,
    training: TrainingOptions,
) -> None:
    """Refuse tables that are each right but contradict each other.

    Raises
    ------
    DeclarationError
        If the loss does not know a hyperparameter or its range is too wide, images lack the axis to
        flip, or intensities that must lie in [0, 1] do not.

    Examples
    --------
    >>> flat = PreprocessingOptions(shape=[16, 16])
    >>> check_agreement({"warmth": HyperparameterOptions()}, flat, LossOptions(), TrainingOptions())
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.warmth: expected regularization or label_weight, got 'warmth'. ...
    """
    contradictions = [
        *_of_hyperparameters(hyperparameters),
        *_of_axes(preprocessing, training),
        *_of_intensities(preprocessing, loss, training),
    ]
    for found in contradictions:
        raise found.error()


def check_search(search: SearchOptions, cohort: CohortOptions) -> None:
    """Refuse metrics that can never be measured on a cohort.

    Raises
    ------
    DeclarationError
        If metrics in mm are asked for where spacings are not known.

    Examples
    --------
    >>> cohort = CohortOptions.model_validate({"manifest": "cohort.csv", "spacing_known": False})
    >>> check_search(SearchOptions(metric="hd95_mm"), cohort)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: search: expected metrics without mm where cohort.spacing_known is false, got ...
    """
    if not cohort.spacing_known:
        check_units(search, "where cohort.spacing_known is false")


def check_units(search: SearchOptions, where: str) -> None:
    """Refuse metrics in mm, for a cohort whose spacing is not known.

    Raises
    ------
    DeclarationError
        If there is one.
    """
    in_mm = [name for name in search.measured if METRICS[name].unit == "mm"]
    if in_mm:
        raise DeclarationError(
            "search",
            expected=f"metrics without mm {where}",
            got=", ".join(in_mm),
            advice="Choose others.",
        )


def check_values(compare: CompareOptions, space: Space) -> None:
    """Refuse values to compare at that are no lattice points: no measurement can be stored under them.

    Raises
    ------
    DeclarationError
        If a hyperparameter is not declared, or its values are none, or not all different lattice
        points.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
    >>> check_values(CompareOptions(values={"regularization": [0.1, 0.25]}), space)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: compare.values.regularization: expected points of its lattice ..., got 0.25. ...
    """
    for found in _of_values(compare, space):
        raise found.error()


def _of_values(compare: CompareOptions, space: Space) -> Iterator[Contradiction]:
    declared = {known.name: known for known in space.hyperparameters}
    for name, values in compare.values.items():
        field = f"compare.values.{name}"
        if name not in declared:
            expected = f"a declared hyperparameter ({', '.join(declared)})"
            yield Contradiction(field=field, expected=expected, got=repr(name))
            continue
        hyperparameter = declared[name]
        for value in values:
            if not _is_on_lattice(hyperparameter, value):
                points = _first_points(hyperparameter)
                expected = f"points of its lattice ({points})"
                yield Contradiction(field=field, expected=expected, got=value)
        if not values or len(set(values)) < len(values):
            expected = "different values, at least one"
            yield Contradiction(field=field, expected=expected, got=values)


def _is_on_lattice(hyperparameter: Hyperparameter, value: float) -> bool:
    if not hyperparameter.low <= value <= hyperparameter.high:
        return False
    place = hyperparameter.index(value)
    nearest = hyperparameter.value(place)
    return math.isclose(nearest, value, rel_tol=1e-9, abs_tol=1e-12)


def _first_points(hyperparameter: Hyperparameter) -> str:
    first = hyperparameter.value(0)
    second = hyperparameter.value(1)
    return f"{first:g}, {second:g}, … {hyperparameter.high:g}"


def _of_hyperparameters(
    hyperparameters: Mapping[str, HyperparameterOptions],
) -> Iterator[Contradiction]:
    for name, options in hyperparameters.items():
        field = f"hyperparameters.{name}"
        if name not in HYPERPARAMETERS:
            expected = " or ".join(HYPERPARAMETERS)
            yield Contradiction(field=field, expected=expected, got=repr(name))
            continue
        known = HYPERPARAMETERS[name]
        if options.low < known.least or options.high > known.most:
            expected = f"a range inside [{known.least:g}, {known.most:g}]"
            got = f"{options.low} to {options.high}"
            yield Contradiction(field=field, expected=expected, got=got)


def _of_axes(
    preprocessing: PreprocessingOptions, training: TrainingOptions
) -> Iterator[Contradiction]:
    axes = len(preprocessing.shape)
    flipped = training.augmentation.flip_axis
    if flipped is not None and flipped >= axes:
        field = "training.augmentation.flip_axis"
        yield Contradiction(field=field, expected=f"an axis below {axes}", got=flipped)


def _of_intensities(
    preprocessing: PreprocessingOptions, loss: LossOptions, training: TrainingOptions
) -> Iterator[Contradiction]:
    if preprocessing.normalization != "zscore":
        return
    needs_unit_range = {
        f"loss.similarity {loss.similarity}": SIMILARITIES[loss.similarity].needs_unit_range,
        "training.augmentation.intensity": training.augmentation.intensity > 0,
    }
    for name, needed in needs_unit_range.items():
        if needed:
            yield Contradiction(
                field="preprocessing.normalization",
                expected=f"percentile or minmax with {name}",
                got="zscore",
            )
