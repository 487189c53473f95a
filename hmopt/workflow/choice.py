"""Which scope was asked for, and which setting a registration is made with."""

from collections.abc import Mapping
from dataclasses import dataclass

from hmopt.analysis.cross_validation import recommend
from hmopt.errors import DeclarationError, SearchError
from hmopt.search.scopes import COHORT, Criteria, find_scope, list_scopes
from hmopt.search.studies import study_of_scope
from hmopt.space import Setting, Space
from hmopt.study_folder import StudyFolder


def given_setting(space: Space, values: Mapping[str, float | str]) -> Setting:
    """Return the default setting with some values replaced.

    Parameters
    ----------
    space
        The hyperparameters of a model.
    values
        Numbers, or their text, by name.

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
    for name, value in values.items():
        if name not in setting:
            known = ", ".join(space.names)
            raise DeclarationError(
                name,
                expected=f"a hyperparameter of the model ({known})",
                got=name,
                advice="Drop it.",
            )
        try:
            setting[name] = float(value)
        except ValueError as error:
            raise DeclarationError(
                name, expected="a number", got=repr(value), advice="Correct it."
            ) from error
    space.index(setting)
    return setting


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The setting that a search recommends for a scope.

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
        """Return what to say where the best setting exceeds the folding limit, and which option to add then."""
        if self.within_limit == self.best or self.folding is None:
            return None
        exceeds = f"folds {self.folding:.3%} of the voxels on average, more than the limit of {self.folding_limit:.3%}"
        if self.within_limit is None:
            return f"This setting {exceeds}, as every setting does that was measured."
        other = setting_text(self.within_limit)
        return f"This setting {exceeds}. The best one within it is {other}: add --within-folding-limit to take it."


def setting_text(setting: Setting) -> str:
    """Return a setting as a line shows it.

    Examples
    --------
    >>> setting_text({"regularization": 0.25})
    'regularization 0.25'
    """
    parts = [f"{name} {value:g}" for name, value in setting.items()]
    return ", ".join(parts)


def recommended_setting(files: StudyFolder, criteria: Criteria) -> Recommendation:
    """Return what a search recommends for a scope.

    The best setting of a scope is that of its curve pooled with those of its family, as the report recommends it.

    Parameters
    ----------
    files
        A study folder that was searched.
    criteria
        Values by kind, as `{"label": "thalamus", "task": "within"}`; none: the cohort.

    Raises
    ------
    LedgerError
        If nothing was searched, or another model than the one in the folder.
    DeclarationError
        If `study.toml` declares something else than what was searched.
    SearchError
        If there is no such scope, or nothing was measured for it.
    """
    files.check_together()
    options = files.searched.search
    study = study_of_scope(files, options.metric, criteria)
    measurements = files.measurements()
    pairs, labels = measurements.pairs, measurements.labels
    scope = find_scope(criteria, pairs, labels, options.min_paired_subjects)

    kinds = list(criteria) or [COHORT]
    family = list_scopes(options.model_copy(update={"scopes": [kinds]}), pairs, labels)
    best = recommend(measurements, family, options)[scope]

    folding = None
    for trial in study.trials:
        if trial.params == best:
            folding = trial.user_attrs.get("folding")
            break
    limit = study.user_attrs["folding_limit"]
    within = study.user_attrs["optimum_constrained"]
    within_limit = None if within is None else dict(within)
    if folding is not None and folding <= limit:
        within_limit = best
    return Recommendation(
        best=best, within_limit=within_limit, folding=folding, folding_limit=limit
    )
