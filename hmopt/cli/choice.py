"""Which setting a registration is made with: given, or the best one of a scope that was searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmopt.errors import DeclarationError, SearchError
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
            raise DeclarationError(
                option, expected="NAME=VALUE", got=repr(text), advice="Write it so."
            )
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
                name,
                expected=f"a hyperparameter of the model ({known})",
                got=name,
                advice="Drop it.",
            )
        try:
            setting[name] = float(text)
        except ValueError as error:
            raise DeclarationError(
                name, expected="a number", got=repr(text), advice="Correct it."
            ) from error
    space.index(setting)
    return setting


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found for a scope.

    Parameters
    ----------
    best
        The recommended setting.
    within_limit
        The best one of those that obey the folding limit; None where none does.
    folding
        Mean share of folded voxels at the best setting; None where it was not measured.
    folding_limit
        As declared.
    """

    best: Setting
    within_limit: Setting | None
    folding: float | None
    folding_limit: float

    def chosen(self, *, within_folding_limit: bool) -> Setting:
        """Return the setting to register with.

        Raises
        ------
        SearchError
            If one within the folding limit is asked for, and there is none.
        """
        if not within_folding_limit:
            return self.best
        if self.within_limit is None:
            raise SearchError(
                "--within-folding-limit",
                expected=f"a setting that folds at most {self.folding_limit:.3%} of the voxels",
                got="none that was measured",
                advice="Leave the option out, or raise search.folding_limit and run `hmopt search` again.",
            )
        return self.within_limit

    def advice(self) -> str | None:
        """Return what to say where the best setting exceeds the folding limit, and what to type then."""
        if self.within_limit == self.best or self.folding is None:
            return None
        exceeds = f"folds {self.folding:.3%} of the voxels on average, more than the limit of {self.folding_limit:.3%}"
        if self.within_limit is None:
            return f"This setting {exceeds}, as every setting does that was measured."
        other = ", ".join(f"{name} {value:g}" for name, value in self.within_limit.items())
        return f"This setting {exceeds}. The best one within it is {other}: add --within-folding-limit to take it."


def searched_setting(folder: Path, criteria: dict[str, str]) -> Found:
    """Return what a search found for a scope: the cohort where there are no criteria.

    The best setting of a scope is that of its curve pooled with those of its family, as the report recommends it.

    Parameters
    ----------
    folder
        A study folder that was searched.
    criteria
        Values by kind, as `{"label": "thalamus", "task": "within"}`.

    Raises
    ------
    LedgerError
        If nothing was searched, or another model than the one in the folder.
    DeclarationError
        If `study.toml` declares something else than what was searched.
    SearchError
        If there is no such scope, or nothing was measured for it.
    """
    from hmopt.analysis.cross_validation import recommend
    from hmopt.search.open_study import study_of_scope
    from hmopt.search.scopes import find_scope, list_scopes
    from hmopt.study_folder import StudyFolder

    files = StudyFolder(folder)
    files.check_together()
    section = files.searched.search
    study = study_of_scope(files, section.metric, criteria)
    measurements = files.measurements()
    scope = find_scope(
        criteria, measurements.pairs, measurements.labels, section.min_paired_subjects
    )
    family = section.model_copy(update={"scopes": [list(criteria) or ["cohort"]]})
    members = list_scopes(family, measurements.pairs, measurements.labels)
    best = recommend(measurements, members, section)[scope]
    folding = next(
        (trial.user_attrs.get("folding") for trial in study.trials if trial.params == best), None
    )
    limit = study.user_attrs["folding_limit"]
    within = study.user_attrs["optimum_constrained"]
    constrained = None if within is None else dict(within)
    obeys = folding is not None and folding <= limit
    return Found(
        best=best,
        within_limit=best if obeys else constrained,
        folding=folding,
        folding_limit=limit,
    )
