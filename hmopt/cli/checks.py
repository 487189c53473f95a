"""What a declaration asks of its cohort, checked by the first command that has both, before any training."""

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from hmopt.data.prepared import PreparedCohort
    from hmopt.declaration import Study
    from hmopt.records import Pair


def check_declared(study: "Study") -> None:
    """Refuse what needs no data to be seen to be wrong, before images are prepared.

    Raises
    ------
    DeclarationError
        If the network cannot be built, or the grid does not fit it.
    DataError
        If the CSV of pairs cannot be read.
    """
    from hmopt.data.pairs import read_pair_names
    from hmopt.networks import check_architecture

    check_architecture(study.network, tuple(study.preprocessing.shape))
    if study.pairs.csv is not None:
        read_pair_names(study.pairs.csv)


def check_cohort(study: "Study", cohort: "PreparedCohort") -> "tuple[list[Pair], pd.DataFrame]":
    """Refuse a declaration that a later command could not follow on its cohort, and return the pairs to search.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.

    Returns
    -------
    pairs
        The pairs to search on.
    table
        A row for each, with the groups that it belongs to.

    Raises
    ------
    DataError
        If there are no pairs to tune or to search on, or the CSV of pairs names images that are not to be searched.
    DeclarationError
        If a bin, a column or a label is not of the cohort, or distances in mm are asked for and the spacing is unknown.
    SearchError
        If a scope is of no kind that the cohort has.

    Warns
    -----
    UserWarning
        If a declared scope will be empty, since no subject has partners enough.
    """
    from hmopt.data.pair_table import pair_table
    from hmopt.data.pairs import draw_pairs
    from hmopt.declaration.agreement import check_units
    from hmopt.search.scopes import list_scopes

    section = study.search
    if cohort.spacing_mm is None:
        check_units(section, "where the spacing of the images is not known")
    _check_labels(study, cohort)
    draw_pairs(cohort, study.pairs, "tune")
    pairs = draw_pairs(cohort, study.pairs, "search")
    table = pair_table(pairs, cohort, section.bins)
    scopes = list_scopes(section, table, cohort.labels)
    found = {frozenset(kind for kind, _ in scope.criteria) for scope in scopes}
    for kinds in section.scopes:
        if "subject" in kinds and frozenset(kinds) - {"cohort"} not in found:
            least = section.min_paired_subjects
            warnings.warn(
                f"search.scopes: no subject has {least} partners (search.min_paired_subjects) for {kinds}: left out.",
                stacklevel=2,
            )
    return pairs, table


def _check_labels(study: "Study", cohort: "PreparedCohort") -> None:
    from hmopt.errors import DeclarationError

    unknown = [name for name in study.loss.overlap_labels if name not in cohort.labels]
    if unknown:
        known = ", ".join(cohort.labels)
        raise DeclarationError(
            "loss.overlap_labels",
            expected=f"labels of the cohort ({known})",
            got=", ".join(unknown),
            advice="Correct it.",
        )
