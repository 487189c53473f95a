"""Whether subjects' best settings go with their age, their site, or whatever else is known of them."""

from collections.abc import Sequence

import pandas as pd

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.sensitivity import Sensitivity, find_sensitivities, subject_optima
from hmopt.data.pair_table import subject_columns
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import listed, number, signed, spread, symbol
from hmopt.search.scopes import Groups, Scope


def sensitivity_section(material: Material) -> Section | None:
    """Give what subjects' best settings go with; None where nothing that differs is known of them."""
    pairs, search = material.measurements.pairs, material.searched.search
    columns = subject_columns(pairs)
    columns = columns.loc[:, [column for column in columns if columns[column].nunique() > 1]]
    optima = subject_optima(
        material.measurements, search.metric, _subjects(pairs, list(columns.index))
    )
    found = _without_mirrors(find_sensitivities(optima, columns, search.seed), columns)
    if not found:
        return None
    return Section(
        anchor="sensitivity",
        title=f"Does {listed([symbol(name) for name in optima.columns])} go with what is known of subjects?",
        found=_found(found),
        table=pd.DataFrame([_row(one) for one in found]),
        notes=(_explained(found),),
        numbers={"sensitivity": {_key(one): _numbers(one) for one in found}},
    )


def _subjects(pairs: pd.DataFrame, subjects: Sequence[str]) -> list[str]:
    """Give those with as many partners as a test needs subjects."""
    groups = Groups(pairs)
    places = {
        subject: groups.positions(Scope(criteria=(("subject", subject),))) for subject in subjects
    }
    return [
        subject
        for subject, own in places.items()
        if len(groups.partners(subject, own)) >= FEWEST_SUBJECTS
    ]


def _without_mirrors(found: Sequence[Sensitivity], columns: pd.DataFrame) -> list[Sensitivity]:
    """Leave out the second of two categories, whose difference is the first one's turned around."""
    second = {
        column: max(columns[column].dropna())
        for column in columns
        if columns[column].nunique() == 2
    }
    return [one for one in found if one.value is None or one.value != second.get(one.column)]


def _found(found: Sequence[Sensitivity]) -> str:
    names = listed([symbol(name) for name in dict.fromkeys(one.hyperparameter for one in found)])
    start = f"subjects' best {names}"
    by_evidence = {kind: [one for one in found if one.evidence is kind] for kind in Evidence}
    clauses = [
        (f"There is evidence that {start} goes with", "and", by_evidence[Evidence.FOUND]),
        (f"There is no evidence that {start} goes with", "or", by_evidence[Evidence.NONE]),
        (
            f"There are too few subjects to say whether {start} goes with",
            "or",
            by_evidence[Evidence.TOO_FEW],
        ),
    ]
    return " ".join(
        f"{said} {listed(list(dict.fromkeys(_named(one) for one in them)), last)}."
        for said, last, them in clauses
        if them
    )


def _named(one: Sensitivity) -> str:
    if one.evidence is not Evidence.FOUND:
        return one.column
    what = "rank correlation" if one.value is None else f"{one.value} against others"
    return f"{one.column} ({what} {signed(one.effect.value, 2)})"


def _row(one: Sensitivity) -> dict[str, str]:
    return {
        "": one.column if one.value is None else f"{one.column}: {one.value} against others",
        "of": symbol(one.hyperparameter),
        "measured as": "rank correlation" if one.value is None else "difference of the mean",
        "effect, 95 % interval": _effect(one),
        "subjects": str(one.subjects),
        "evidence?": one.evidence.answer,
    }


def _effect(one: Sensitivity) -> str:
    value, low, high = one.effect
    return f"{signed(value, 2)} ({spread(low, high, 2)})" if number(value) != "–" else "–"


def _key(one: Sensitivity) -> str:
    return f"{one.hyperparameter}, {one.column}{'' if one.value is None else f'={one.value}'}"


def _numbers(one: Sensitivity) -> dict[str, object]:
    return {
        "effect": one.effect.value,
        "interval": [one.effect.low, one.effect.high],
        "subjects": one.subjects,
        "evidence": one.evidence.value,
    }


def _explained(found: Sequence[Sensitivity]) -> str:
    asked = (
        f"{len(found)} questions were asked without correction: one of twenty says yes by chance. "
    )
    return (
        f"Each subject's best value over its pairs with at least {FEWEST_SUBJECTS} partners, who are nearly the same "
        f"for all; intervals from drawing the subjects anew. {asked if len(found) > 1 else ''}"
        "What goes together need not be the cause."
    )
