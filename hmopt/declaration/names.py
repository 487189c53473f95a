"""Names of hyperparameters and their choices that every table, file, placeholder and option can hold."""

import re
from collections.abc import Iterator, Sequence

from hmopt.errors import DeclarationError
from hmopt.space import Hyperparameter, Space, choice_text

OF_MEASUREMENTS = (
    "metric",
    "pair",
    "label",
    "value",
    "moving",
    "fixed",
    "moving_subject",
    "fixed_subject",
    "task",
    "failure",
)
"""Columns of the ledger and of tables of pairs."""
OF_SCOPES = ("scope", "cohort", "subject")
"""Kinds of scopes, beside `label` and `task`."""
OF_COMMANDS = ("folder", "output", "python", "threads")
"""Placeholders of the command of an engine, beside `moving` and `fixed`."""
OF_OPTIMA = (
    "loss_ratio",
    "loss_scale",
    "score",
    "score_low",
    "score_high",
    "score_held_out",
    "score_held_out_low",
    "score_held_out_high",
    "gain_over_common",
    "gain_over_common_low",
    "gain_over_common_high",
    "gain_over_default",
    "gain_over_default_low",
    "gain_over_default_high",
    "gain_over_common_unpooled",
    "gain_over_default_unpooled",
    "score_at_recommended",
    "score_at_common",
    "score_at_default",
    "score_unregularized",
    "score_constrained",
    "score_half",
    "folding",
    "pairs",
    "subjects",
    "trials",
    "flags",
)
"""Columns of the table of best settings that are of no hyperparameter."""
OF_GAPS = ("gap", "seed_sd")
"""Keys beside the values of a setting in summaries."""
RESERVED = frozenset({*OF_MEASUREMENTS, *OF_SCOPES, *OF_COMMANDS, *OF_OPTIMA, *OF_GAPS})
"""Names that no hyperparameter can have."""
ENDINGS = (
    "_low",
    "_high",
    "_equal_low",
    "_equal_high",
    "_among",
    "_equal",
    "_recommended",
    "_constrained",
    "_half",
)
"""Of the further columns that the table of best settings has for each hyperparameter."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LONGEST = 64
_CHOICES_BETWEEN = ";"
"""What separates choices in one cell of a table."""


def columns_of(name: str, metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns that the table of best settings has for a hyperparameter.

    Parameters
    ----------
    name
        Of the hyperparameter.
    metrics
        That are measured: `NAME_by_METRIC` is the best value by another one.

    Examples
    --------
    >>> columns_of("sigma", ["dice"])[:3], columns_of("sigma", ["dice"])[-1]
    (('sigma', 'sigma_low', 'sigma_high'), 'sigma_by_dice')
    """
    own = [f"{name}{ending}" for ending in ENDINGS]
    by_metric = [f"{name}_by_{metric}" for metric in metrics]
    return (name, *own, *by_metric)


def check_names(space: Space, metrics: Sequence[str] = ()) -> None:
    """Refuse names of hyperparameters, and choices, that would be mistaken for something else.

    A name is a column of tables, a placeholder of commands, an option value and part of file names. So it consists of
    letters, digits and underscores, and it is no column that tables have anyway: neither itself nor with an ending as
    `_low`, which the columns of the interval have.

    Parameters
    ----------
    space
        The hyperparameters.
    metrics
        Names of metrics that are measured.

    Raises
    ------
    DeclarationError
        If there is one.

    Examples
    --------
    >>> check_names(Space(hyperparameters=(Hyperparameter(name="score"),)))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.score: expected a name that tables do not use themselves, got ...
    """
    taken: dict[str, str] = {}
    for one in space.hyperparameters:
        _check_name(one.name)
        for column in columns_of(one.name, metrics):
            if column in taken:
                raise _refused(
                    one.name,
                    f"a name whose columns differ from those of {taken[column]!r}",
                    f"{column!r} of both",
                )
            taken[column] = one.name
        _check_same_letters(one, space)
        for choice in _texts(one):
            _check_choice(one.name, choice)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None or len(name) > _LONGEST:
        raise _refused(
            name,
            f"a name of ASCII letters, digits and underscores that begins with a letter, at most {_LONGEST}",
            repr(name),
        )
    clashing = [column for column in columns_of(name) if column in RESERVED]
    if clashing:
        got = repr(name)
        if clashing[0] != name:
            got += f" (its column {clashing[0]!r})"
        raise _refused(name, "a name that tables do not use themselves", got)


def _check_same_letters(one: Hyperparameter, space: Space) -> None:
    """Refuse two names that differ by capitals only: they would share a figure where file names do not tell them."""
    for other in space.names:
        if other != one.name and other.lower() == one.name.lower():
            raise _refused(
                one.name,
                f"a name that differs from {other!r} by more than capitals",
                repr(one.name),
            )


def _texts(one: Hyperparameter) -> Iterator[str]:
    for choice in one.choices:
        if isinstance(choice, str):
            yield choice_text(choice)


def _check_choice(name: str, choice: str) -> None:
    is_plain = choice.isprintable() and choice == choice.strip()
    if is_plain and _CHOICES_BETWEEN not in choice:
        return
    raise DeclarationError(
        f"hyperparameters.{name}.choices",
        expected="choices of printable characters without semicolons, without spaces at the ends",
        got=repr(choice),
        advice="Rename the choices.",
    )


def _refused(name: str, expected: str, got: str) -> DeclarationError:
    return DeclarationError(
        f"hyperparameters.{name}", expected=expected, got=got, advice="Choose another name."
    )
