"""Whether subjects' best settings are associated with their age, their site or another covariate."""

from collections.abc import Sequence

import pandas as pd

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.sensitivity import Sensitivity, find_sensitivities, subject_optima
from hmopt.data.pair_table import subject_columns
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import gain_text, listed, signed, symbol
from hmopt.search.scopes import Groups, Scope


class CovariatesPart(ReportPart):
    """The association of subjects' best settings with the columns of the manifest."""

    anchor = "covariates"
    place = Place.RESULTS

    def section(self, material: Material) -> Section | None:
        """Return the associations; None where no covariate differs between subjects."""
        found = _find(material)
        if not found:
            return None
        best = listed([f"{symbol(name)}*" for name in _names(found)])
        is_ = "Is" if len(_names(found)) == 1 else "Are"
        return Section(
            title=f"{is_} {best} associated with covariates?",
            found=_found(found),
            table=pd.DataFrame([_row(one) for one in found]),
            notes=(_explained(found),),
            numbers={"sensitivity": {_key(one): _numbers(one) for one in found}},
        )


def _find(material: Material) -> list[Sensitivity]:
    pairs = material.measurements.pairs
    search = material.searched.search
    columns = subject_columns(pairs)
    differing = [column for column in columns if columns[column].nunique() > 1]
    columns = columns.loc[:, differing]
    subjects = _with_enough_partners(pairs, list(columns.index))
    optima = subject_optima(material.measurements, search.metric, subjects)
    return _without_mirrors(find_sensitivities(optima, columns, search.seed), columns)


def _names(found: Sequence[Sensitivity]) -> list[str]:
    return list(dict.fromkeys(one.hyperparameter for one in found))


def _with_enough_partners(pairs: pd.DataFrame, subjects: Sequence[str]) -> list[str]:
    """Return the subjects with as many partners as a test needs subjects."""
    groups = Groups(pairs)
    kept: list[str] = []
    for subject in subjects:
        positions = groups.positions(Scope(criteria=(("subject", subject),)))
        if len(groups.partners(subject, positions)) >= FEWEST_SUBJECTS:
            kept.append(subject)
    return kept


def _without_mirrors(found: Sequence[Sensitivity], columns: pd.DataFrame) -> list[Sensitivity]:
    """Leave out the second of two categories: its difference is that of the first with the other sign."""
    second: dict[str, object] = {}
    for column, values in columns.items():
        if values.nunique() == 2:
            second[str(column)] = max(values.dropna())
    kept: list[Sensitivity] = []
    for one in found:
        is_mirror = one.value is not None and one.value == second.get(one.column)
        if not is_mirror:
            kept.append(one)
    return kept


def _found(found: Sequence[Sensitivity]) -> str:
    names = listed([symbol(name) for name in _names(found)])
    are = "is" if len(_names(found)) == 1 else "are"
    associated = f"subjects' best {names} {are} associated with"
    starts = {
        Evidence.FOUND: (f"There is evidence that {associated}", "and"),
        Evidence.NONE: (f"There is no evidence that {associated}", "or"),
        Evidence.FLAT: (
            f"All subjects have the same best {names}: no test whether {associated}",
            "or",
        ),
        Evidence.TOO_FEW: (f"There are too few subjects to test whether {associated}", "or"),
    }
    sentences: list[str] = []
    for evidence, (start, last) in starts.items():
        covariates = [_named(one) for one in found if one.evidence is evidence]
        if covariates:
            distinct = list(dict.fromkeys(covariates))
            sentences.append(f"{start} {listed(distinct, last)}.")
    return " ".join(sentences)


def _named(one: Sensitivity) -> str:
    if one.evidence is not Evidence.FOUND:
        return one.column
    what = "rank correlation"
    if one.value is not None:
        what = f"{one.value} versus others"
    effect = signed(one.effect.value, 2)
    return f"{one.column} ({what} {effect})"


def _row(one: Sensitivity) -> dict[str, str]:
    is_number = one.value is None
    return {
        "": one.column if is_number else f"{one.column}: {one.value} versus others",
        "best value of": symbol(one.hyperparameter),
        "effect measure": "rank correlation" if is_number else "difference in means",
        "effect (95 % interval)": _effect(one),
        "subjects": str(one.subjects),
        "evidence?": one.evidence.answer,
    }


def _effect(one: Sensitivity) -> str:
    return gain_text(one.effect, 2)


def _key(one: Sensitivity) -> str:
    covariate = one.column
    if one.value is not None:
        covariate += f"={one.value}"
    return f"{one.hyperparameter}, {covariate}"


def _numbers(one: Sensitivity) -> dict[str, object]:
    return {
        "effect": one.effect.value,
        "interval": [one.effect.low, one.effect.high],
        "subjects": one.subjects,
        "evidence": one.evidence.value,
    }


def _explained(found: Sequence[Sensitivity]) -> str:
    sentences = [
        f"The best value of each subject is computed from its pairs with at least {FEWEST_SUBJECTS} other "
        "subjects, nearly the same ones for all. Intervals are from a bootstrap over subjects.",
        "An association does not imply causation.",
    ]
    if len(found) > 1:
        sentences.insert(
            1,
            (
                f"{len(found)} associations were tested without correction for multiple testing; about one in twenty "
                "is expected by chance."
            ),
        )
    return " ".join(sentences)
