"""The hyperparameters that a loss knows: each weighs one of its terms."""

from dataclasses import dataclass
from typing import Literal

from hmopt.catalogue.record import Record, add, find

Effect = Literal["share of the loss", "share of the data term", "added"]
"""What a hyperparameter w with a term T does to the loss L or its data term D.

- `share of the loss`: L becomes (1 - w) L + w T.
- `share of the data term`: D, which begins as scale · dissimilarity, becomes (1 - w) D + w T.
- `added`: L becomes L + w T.
"""


@dataclass(frozen=True, kw_only=True)
class WeightedTerm(Record):
    """A hyperparameter, and the term of the loss that it weighs.

    Its `function` takes attributes of `hmopt.losses.RegisteredBatch`, as `velocity`,
    `displacement`, `moved`, `fixed` or `spacing`, and returns a number.

    Parameters
    ----------
    name, title, function, version
        As in `Record`; the title is that of the term.
    symbol
        What text and plots call the hyperparameter.
    effect
        What it does to the loss.
    low, high, default
        Range and baseline value, where `[hyperparameters.NAME]` does not declare others.
    least, most
        Smallest and largest value that can be declared.
    needs_labels
        Whether the term takes label maps, which are then loaded in training.
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

    symbol: str
    effect: Effect
    low: float = 0.0
    high: float = 1.0
    default: float = 0.5
    least: float = 0.0
    most: float = 1.0
    needs_labels: bool = False
    column: str = ""

    @property
    def term_column(self) -> str:
        """Name of the term's column in `training.csv`."""
        return self.column or f"{self.name}_term"


HYPERPARAMETERS: dict[str, WeightedTerm] = {
    hyperparameter.name: hyperparameter
    for hyperparameter in (
        WeightedTerm(
            name="regularization",
            symbol="λ",
            title="regularization",
            effect="share of the loss",
            function="hmopt.losses.regularization:regularize",
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
    )
}
"""All hyperparameters that can be declared, by name."""


def find_hyperparameter(name: str) -> WeightedTerm:
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
    return find(HYPERPARAMETERS, name, "hyperparameters")


def add_hyperparameter(hyperparameter: WeightedTerm) -> None:
    """Add a hyperparameter of one's own, for `[hyperparameters.NAME]`.

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
