"""The similarities and the regularizers that a loss can be made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hmopt.catalogue import references
from hmopt.catalogue.hyperparameters import (
    HYPERPARAMETERS,
    LossHyperparameter,
    TermParameter,
    WeightedTerm,
)
from hmopt.catalogue.record import Record, add, find
from hmopt.errors import DeclarationError


@dataclass(frozen=True, kw_only=True)
class _LossTerm(Record):
    """A term of the loss that can also be computed of each pair of a batch.

    Parameters
    ----------
    name, title, function, version, references
        As in `Record`.
    of_each
        A function with the same arguments, or its dotted path, that returns the value of each pair,
        (batch,), whose mean is that of `function`. None: a batch goes pair by pair where it is needed.
    """

    of_each: str | Callable[..., Any] | None = None

    def load_of_each(self) -> Callable[..., Any]:
        """Return the function of each pair.

        Raises
        ------
        DeclarationError
            If there is none.

        Examples
        --------
        >>> find_similarity("mse").load_of_each().__name__
        'mean_squared_errors'
        """
        return self._load_further(
            self.of_each,
            "loss",
            expected="a term with a function of each pair",
            advice="Give its record `of_each`, or call it pair by pair.",
        )

    def _load_further(
        self, function: str | Callable[..., Any] | None, field: str, *, expected: str, advice: str
    ) -> Callable[..., Any]:
        """Return a function that the record may have beside its own; refuse where it has none."""
        if function is None:
            raise DeclarationError(field, expected=expected, got=repr(self.name), advice=advice)
        return Record(name=self.name, title=self.title, function=function).load()


@dataclass(frozen=True, kw_only=True)
class Similarity(_LossTerm):
    """A measure of how badly a moved image matches a fixed one.

    Its `function` takes `moved` and `fixed`, (batch, 1, *shape), and returns a number that falls as
    images get more alike. It can also take keys of `[loss]` by their names, as `window`.

    Parameters
    ----------
    name, title, function, version, references, of_each
        As in `Record`, and the function of each pair.
    needs_unit_range
        Whether intensities must lie in [0, 1].
    """

    needs_unit_range: bool = False


@dataclass(frozen=True, kw_only=True)
class Regularizer(_LossTerm):
    """A measure of how rough a velocity is.

    Its `function` takes `velocity`, (batch, d, *shape) in voxels, and `spacing`, the sides of a
    voxel or None where all are equal, and returns a number >= 0: 0 for a constant velocity.

    Parameters
    ----------
    name, title, function, version, references, of_each
        As in `Record`, and the function of each pair.
    by_region
        A function, or its dotted path, that divides the value of `function` among regions. It takes
        also `shares`, (batch, regions, *shape), the part of each voxel that lies in each region, and
        returns (regions,), whose sum is that value. None: it cannot be divided.
    """

    by_region: str | Callable[..., Any] | None = None

    def load_by_region(self) -> Callable[..., Any]:
        """Return the function that divides it among regions.

        Raises
        ------
        DeclarationError
            If there is none.

        Examples
        --------
        >>> Regularizer(name="own", title="my own", function="math:sqrt").load_by_region()
        Traceback (most recent call last):
        hmopt.errors.DeclarationError: loss.regularizer: expected one that can be divided among regions, got 'own'. ...
        """
        return self._load_further(
            self.by_region,
            "loss.regularizer",
            expected="one that can be divided among regions",
            advice="Declare another, or no loss.regions.",
        )


SIMILARITIES: dict[str, Similarity] = {
    similarity.name: similarity
    for similarity in (
        Similarity(
            name="mse",
            title="mean squared error",
            function="hmopt.losses.similarity:mean_squared_error",
            of_each="hmopt.losses.similarity:mean_squared_errors",
        ),
        Similarity(
            name="lncc",
            title="local normalized cross-correlation",
            function="hmopt.losses.similarity:local_cross_correlation",
            of_each="hmopt.losses.similarity:local_cross_correlations",
            references=(references.CROSS_CORRELATION,),
        ),
        Similarity(
            name="mutual_information",
            title="mutual information",
            function="hmopt.losses.similarity:mutual_information",
            references=(references.MUTUAL_INFORMATION,),
            needs_unit_range=True,
        ),
    )
}
"""All similarities that can be declared, by name."""

REGULARIZERS: dict[str, Regularizer] = {
    regularizer.name: regularizer
    for regularizer in (
        Regularizer(
            name="gradient",
            title="mean squared gradient",
            function="hmopt.losses.regularization:squared_gradient",
            of_each="hmopt.losses.regularization:squared_gradients",
            by_region="hmopt.losses.regularization:squared_gradient_by_region",
            references=(references.VOXELMORPH,),
        ),
        Regularizer(
            name="bending",
            title="bending energy",
            function="hmopt.losses.regularization:bending_energy",
            of_each="hmopt.losses.regularization:bending_energies",
            by_region="hmopt.losses.regularization:bending_energy_by_region",
            references=(references.BENDING,),
        ),
    )
}
"""All regularizers that can be declared, by name."""


def find_similarity(name: str) -> Similarity:
    """Return the record of a similarity.

    Raises
    ------
    DeclarationError
        If there is no similarity of that name.

    Examples
    --------
    >>> find_similarity("lncc").title
    'local normalized cross-correlation'
    """
    return find(SIMILARITIES, name, "loss.similarity")


def find_regularizer(name: str) -> Regularizer:
    """Return the record of a regularizer.

    Raises
    ------
    DeclarationError
        If there is no regularizer of that name.

    Examples
    --------
    >>> find_regularizer("bending").title
    'bending energy'
    """
    return find(REGULARIZERS, name, "loss.regularizer")


def add_similarity(similarity: Similarity) -> None:
    """Add a similarity of one's own, for `[loss] similarity`.

    Raises
    ------
    DeclarationError
        If its name is taken.

    Examples
    --------
    >>> add_similarity(find_similarity("mse"))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: similarity: expected a new name, got 'mse', ...
    """
    add(SIMILARITIES, similarity, "similarity")


def add_regularizer(regularizer: Regularizer) -> None:
    """Add a regularizer of one's own, for `[loss] regularizer`.

    Raises
    ------
    DeclarationError
        If its name is taken.

    Examples
    --------
    >>> add_regularizer(find_regularizer("bending"))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: regularizer: expected a new name, got 'bending', ...
    """
    add(REGULARIZERS, regularizer, "regularizer")


def changing_similarity(hyperparameters: Sequence[str], similarity: str) -> list[str]:
    """Return those hyperparameters that change the similarity of a loss.

    Parameters
    ----------
    hyperparameters
        Their names.
    similarity
        Name of the similarity.

    Examples
    --------
    >>> changing_similarity(["regularization", "window", "similarity_share"], "lncc")
    ['window', 'similarity_share']
    """
    known = [name for name in hyperparameters if name in HYPERPARAMETERS]
    found = []
    for name in known:
        record = HYPERPARAMETERS[name]
        is_share = isinstance(record, WeightedTerm) and record.effect == "share of the similarity"
        if is_share or _is_taken_by(similarity, record):
            found.append(name)
    return found


def _is_taken_by(similarity: str, hyperparameter: LossHyperparameter) -> bool:
    """Tell whether a hyperparameter is an argument of a similarity, whose function is loaded only if it could be."""
    if not isinstance(hyperparameter, TermParameter) or similarity not in SIMILARITIES:
        return False
    return hyperparameter.name in find_similarity(similarity).parameters
