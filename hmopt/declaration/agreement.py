"""What sections of `study.toml` must agree on."""

import math
from collections.abc import Iterator, Mapping

from hmopt.catalogue import HYPERPARAMETERS, METRICS, SIMILARITIES
from hmopt.declaration.cohort import CohortOptions, PreprocessingOptions
from hmopt.declaration.compare import CompareOptions
from hmopt.declaration.model import HyperparameterOptions, LossOptions, TrainingOptions
from hmopt.declaration.search import SearchOptions
from hmopt.errors import DeclarationError
from hmopt.space import Space


def check_agreement(
    hyperparameters: Mapping[str, HyperparameterOptions],
    preprocessing: PreprocessingOptions,
    loss: LossOptions,
    training: TrainingOptions,
) -> None:
    """Refuse sections that are each right but contradict each other.

    Raises
    ------
    DeclarationError
        If a hyperparameter means nothing to the loss or leaves its range, images lack the axis to be mirrored along,
        or what needs intensities in [0, 1] is declared for others.

    Examples
    --------
    >>> flat = PreprocessingOptions(shape=[16, 16])
    >>> check_agreement({"warmth": HyperparameterOptions()}, flat, LossOptions(), TrainingOptions())
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.warmth: expected regularization or label_weight, got 'warmth'. ...
    """
    contradictions = [
        *_hyperparameters(hyperparameters),
        *_axes(preprocessing, training),
        *_intensities(preprocessing, loss, training),
    ]
    for field, expected, got in contradictions:
        raise DeclarationError(field, expected=expected, got=got, advice="Correct the declaration.")


def check_search(search: SearchOptions, cohort: CohortOptions) -> None:
    """Refuse metrics that can never be measured on a cohort.

    Raises
    ------
    DeclarationError
        If distances in mm are asked for where spacings are not known.

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
    """Refuse values to compare at that no measurement could be kept under.

    Raises
    ------
    DeclarationError
        If they are of no declared hyperparameter, or are none or not all different points of the lattice.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
    >>> check_values(CompareOptions(values={"regularization": [0.1, 0.25]}), space)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: compare.values.regularization: expected points of its lattice ..., got 0.25. ...
    """
    for field, expected, got in _compared(compare, space):
        raise DeclarationError(field, expected=expected, got=got, advice="Correct the declaration.")


def _compared(compare: CompareOptions, space: Space) -> Iterator[tuple[str, str, object]]:
    declared = {h.name: h for h in space.hyperparameters}
    for name, values in compare.values.items():
        field = f"compare.values.{name}"
        if name not in declared:
            yield field, f"a declared hyperparameter ({', '.join(declared)})", repr(name)
            continue
        known = declared[name]
        for value in values:
            inside = known.low <= value <= known.high
            if not inside or not math.isclose(
                known.value(known.index(value)), value, rel_tol=1e-9, abs_tol=1e-12
            ):
                points = ", ".join(f"{known.value(place):g}" for place in (0, 1))
                yield field, f"points of its lattice ({points}, … {known.high:g})", value
        if len(set(values)) < max(1, len(values)):
            yield field, "different values, at least one", values


def _hyperparameters(
    sections: Mapping[str, HyperparameterOptions],
) -> Iterator[tuple[str, str, str]]:
    for name, section in sections.items():
        field = f"hyperparameters.{name}"
        if name not in HYPERPARAMETERS:
            yield field, " or ".join(HYPERPARAMETERS), repr(name)
            continue
        known = HYPERPARAMETERS[name]
        if section.low < known.least or section.high > known.most:
            expected = f"a range inside [{known.least:g}, {known.most:g}]"
            yield field, expected, f"{section.low} to {section.high}"


def _axes(
    preprocessing: PreprocessingOptions, training: TrainingOptions
) -> Iterator[tuple[str, str, str]]:
    axes, flipped = len(preprocessing.shape), training.augmentation.flip_axis
    if flipped is not None and flipped >= axes:
        yield "training.augmentation.flip_axis", f"an axis below {axes}", str(flipped)


def _intensities(
    preprocessing: PreprocessingOptions, loss: LossOptions, training: TrainingOptions
) -> Iterator[tuple[str, str, str]]:
    needing = {
        f"loss.similarity {loss.similarity}": SIMILARITIES[loss.similarity].needs_unit_range,
        "training.augmentation.intensity": training.augmentation.intensity > 0,
    }
    for name in (
        name
        for name, needed in needing.items()
        if needed and preprocessing.normalization == "zscore"
    ):
        yield "preprocessing.normalization", f"percentile or minmax with {name}", "zscore"
