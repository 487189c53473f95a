"""Which setting a registration is made with: given, or the best one of a scope that was searched."""

from collections.abc import Sequence
from pathlib import Path

from hmopt.errors import DeclarationError
from hmopt.space import Setting, Space


def parse_pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Give what `NAME=VALUE` arguments say.

    Raises
    ------
    DeclarationError
        If one has another form.

    Examples
    --------
    >>> parse_pairs("--group", ["task=within"])
    {'task': 'within'}
    """
    for text in given:
        if "=" not in text.strip("="):
            raise DeclarationError(option, expected="NAME=VALUE", got=repr(text), advice="Write it so.")
    return dict(text.split("=", 1) for text in given)


def given_setting(space: Space, given: dict[str, str]) -> Setting:
    """Give the default setting with some values replaced.

    Raises
    ------
    DeclarationError
        If a name is not of the space, or a value is no number or lies outside its range.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> given_setting(Space(hyperparameters=(Hyperparameter(name="regularization"),)), {"regularization": "0.3"})
    {'regularization': 0.3}
    """
    setting = space.default
    for name, text in given.items():
        if name not in setting:
            known = ", ".join(space.names)
            raise DeclarationError(
                name, expected=f"a hyperparameter of the model ({known})", got=name, advice="Drop it."
            )
        try:
            setting[name] = float(text)
        except ValueError as error:
            raise DeclarationError(name, expected="a number", got=repr(text), advice="Correct it.") from error
    space.index(setting)
    return setting


def searched_setting(folder: Path, criteria: dict[str, str]) -> Setting:
    """Give the best setting of a scope: of the cohort where there are no criteria.

    Parameters
    ----------
    folder
        A study folder that was searched.
    criteria
        Values by kind, as `{"label": "thalamus", "task": "within"}`.

    Raises
    ------
    LedgerError
        If nothing was searched.
    SearchError
        If there is no such scope, or nothing was measured for it.
    """
    from hmopt.ledger import read_searched
    from hmopt.search.open_study import open_study

    study = open_study(folder, read_searched(folder).search.metric, **criteria)
    return dict(study.user_attrs["optimum"])
