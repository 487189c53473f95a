"""The hyperparameters that a loss knows: each weighs one of its terms, or is an argument of some."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hmopt.catalogue.record import Named, Record, add, find

REGULARIZATION = "regularization"
"""The hyperparameter whose term is the regularizer."""

_OF_REGION = re.compile(rf"{REGULARIZATION}_([a-z][a-z0-9_]*)")

Effect = Literal[
    "share of the loss",
    "share of the loss in a region",
    "share of the regularizer",
    "share of the data term",
    "share of the similarity",
    "added",
]
"""What a hyperparameter w with a term T does to the loss L, its data term D or its regularizer R.

- `share of the loss`: L becomes (1 - w) L + w T.
- `share of the loss in a region`: see `hmopt.losses.regional`.
- `share of the regularizer`: R, the term of `regularization`, becomes (1 - w) R + w T.
- `share of the data term`: D, which begins as scale · dissimilarity, becomes (1 - w) D + w T.
- `share of the similarity`: the same, before terms of the other kind take their share of D.
- `added`: L becomes L + w T.
"""


@dataclass(frozen=True, kw_only=True)
class LossHyperparameter(Named):
    """A hyperparameter that a model can be conditioned on, since the loss knows it.

    There are two kinds: a `WeightedTerm` weighs a term of the loss, a `TermParameter` is an argument
    of the functions that compute terms.

    Parameters
    ----------
    name, title, version
        As in `Named`.
    symbol
        What text and plots call the hyperparameter.
    type
        Of its values.
    low, high, default
        Range and baseline value, where `[hyperparameters.NAME]` does not declare others.
    least, most
        Smallest and largest value that can be declared.
    step
        Of an integer: values are `least` and multiples of this more, as odd numbers are 3 and
        multiples of 2 more.
    needs_labels
        Whether label maps are needed, which are then loaded in training.
    """

    symbol: str
    type: Literal["float", "integer"] = "float"
    low: float = 0.0
    high: float = 1.0
    default: float = 0.5
    least: float = 0.0
    most: float = 1.0
    step: int = 1
    needs_labels: bool = False

    @property
    def meaning(self) -> str:
        """What it is in the loss, as a sentence."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class WeightedTerm(LossHyperparameter, Record):
    """A hyperparameter, and the term of the loss that it weighs.

    Its `function` takes attributes of `hmopt.losses.RegisteredBatch`, as `velocity`,
    `displacement`, `moved`, `fixed` or `spacing`, and values of hyperparameters by their names, and
    returns a number.

    Parameters
    ----------
    name, title, function, version
        As in `Record`; the title is that of the term.
    symbol, type, low, high, default, least, most, step, needs_labels
        As in `LossHyperparameter`.
    effect
        What it does to the loss.
    column
        Of the term in `training.csv`; empty: `NAME_term`.

    Examples
    --------
    >>> WeightedTerm(
    ...     name="bending_weight", symbol="β", title="bending energy", effect="added",
    ...     high=10.0, default=1.0, most=100.0,
    ...     function="hmopt.losses.regularization:bending_energy",
    ... ).term_column
    'bending_weight_term'
    """

    effect: Effect
    column: str = ""

    @property
    def term_column(self) -> str:
        """Name of the term's column in `training.csv`."""
        return self.column or f"{self.name}_term"

    @property
    def meaning(self) -> str:
        """What it is in the loss, as a sentence."""
        if self.effect == "added":
            return f"{self.symbol} · {self.title} is added."
        return f"{self.symbol} is the {self.effect} that is {self.title}."


@dataclass(frozen=True, kw_only=True)
class RegionalWeight(WeightedTerm):
    """The regularization weight of a region of the fixed image, which `[loss] regions` declares.

    Parameters
    ----------
    region
        Name of the region.
    name, title, function, version, symbol, type, low, high, default, least, most, step
        As in `WeightedTerm`.
    needs_labels, effect, column
        As in `WeightedTerm`.
    """

    region: str

    @property
    def meaning(self) -> str:
        """What it is in the loss, as a sentence."""
        return f"{self.symbol} is λ in the region {self.region}."


def region_of(name: str) -> str | None:
    """Return the region whose regularization weight a hyperparameter is; None where it is none.

    Examples
    --------
    >>> region_of("regularization_cortex"), region_of("regularization")
    ('cortex', None)
    """
    found = _OF_REGION.fullmatch(name)
    return None if found is None else found.group(1)


def regional_name(region: str) -> str:
    """Return the name of the hyperparameter of a region.

    Examples
    --------
    >>> regional_name("cortex")
    'regularization_cortex'
    """
    return f"{REGULARIZATION}_{region}"


@dataclass(frozen=True, kw_only=True)
class TermParameter(LossHyperparameter):
    """A hyperparameter that is an argument of functions of the loss.

    Similarities, regularizers and terms with an argument of its name are called with its value. So
    it has no function of its own.

    Parameters
    ----------
    name, title, version
        As in `Named`; the title says what it is.
    symbol, type, low, high, default, least, most, step, needs_labels
        As in `LossHyperparameter`.

    Examples
    --------
    >>> TermParameter(
    ...     name="bins", symbol="bins", title="number of bins of the histograms", type="integer",
    ...     low=8, high=64, default=32, least=2, most=256,
    ... ).meaning
    'bins is the number of bins of the histograms.'
    """

    @property
    def meaning(self) -> str:
        """What it is in the loss, as a sentence."""
        return f"{self.symbol} is the {self.title}."


HYPERPARAMETERS: dict[str, LossHyperparameter] = {
    hyperparameter.name: hyperparameter
    for hyperparameter in (
        WeightedTerm(
            name=REGULARIZATION,
            symbol="λ",
            title="regularization",
            effect="share of the loss",
            function="hmopt.losses.regularization:regularize",
        ),
        WeightedTerm(
            name="bending_share",
            symbol="β",
            title="bending energy",
            effect="share of the regularizer",
            default=0.0,
            function="hmopt.losses.regularization:bending_energy",
        ),
        WeightedTerm(
            name="label_weight",
            symbol="γ",
            title="overlap loss",
            effect="share of the data term",
            needs_labels=True,
            column="overlap",
            function="hmopt.losses.overlap:overlap_loss",
        ),
        WeightedTerm(
            name="similarity_share",
            symbol="s",
            title="the second similarity",
            effect="share of the similarity",
            function="hmopt.losses.similarity:second_dissimilarity",
        ),
        TermParameter(
            name="window",
            symbol="window",
            title="width of the window of local correlation in voxels",
            type="integer",
            low=3,
            high=15,
            default=9,
            least=3,
            most=255,
            step=2,
        ),
    )
}
"""All hyperparameters that can be declared, by name; besides these one for each region."""


def weighted_terms(names: Iterable[str]) -> list[WeightedTerm]:
    """Return the records of those hyperparameters that weigh a term, in their order.

    Raises
    ------
    DeclarationError
        If a name is none of a hyperparameter.

    Examples
    --------
    >>> [record.symbol for record in weighted_terms(["regularization", "window"])]
    ['λ']
    """
    records = [find_hyperparameter(name) for name in names]
    return [record for record in records if isinstance(record, WeightedTerm)]


def term_parameters(names: Iterable[str]) -> list[TermParameter]:
    """Return the records of those hyperparameters that are arguments of terms, in their order.

    Raises
    ------
    DeclarationError
        If a name is none of a hyperparameter.

    Examples
    --------
    >>> [record.name for record in term_parameters(["regularization", "window"])]
    ['window']
    """
    records = [find_hyperparameter(name) for name in names]
    return [record for record in records if isinstance(record, TermParameter)]


def find_hyperparameter(name: str) -> LossHyperparameter:
    """Return the record of a hyperparameter.

    Raises
    ------
    DeclarationError
        If there is no hyperparameter of that name.

    Examples
    --------
    >>> find_hyperparameter("regularization").symbol
    'λ'
    """
    known = known_hyperparameter(name)
    return find(HYPERPARAMETERS, name, "hyperparameters") if known is None else known


def known_hyperparameter(name: str) -> LossHyperparameter | None:
    """Return the record of a hyperparameter; None where the loss knows none of that name.

    Each region has one, `regularization_REGION`, unless a plugin has added another of that name.

    Examples
    --------
    >>> known_hyperparameter("regularization_cortex").symbol, known_hyperparameter("warmth")
    ('λ(cortex)', None)
    """
    if name in HYPERPARAMETERS:
        return HYPERPARAMETERS[name]
    region = region_of(name)
    if region is None:
        return None
    return RegionalWeight(
        name=name,
        region=region,
        symbol=f"λ({region})",
        title=f"regularization of {region}",
        effect="share of the loss in a region",
        needs_labels=True,
        function="hmopt.losses.regional:regularize_regions",
    )


def add_hyperparameter(hyperparameter: LossHyperparameter) -> None:
    """Add a hyperparameter of one's own, for `[hyperparameters.NAME]`.

    Parameters
    ----------
    hyperparameter
        A `WeightedTerm` or a `TermParameter`.

    Raises
    ------
    DeclarationError
        If its name is taken.

    Examples
    --------
    >>> add_hyperparameter(find_hyperparameter("label_weight"))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameter: expected a new name, got 'label_weight', ...
    """
    add(HYPERPARAMETERS, hyperparameter, "hyperparameter")
