"""What a declaration asks of its cohort, checked by the first command that has both, before any training."""

import warnings

import pandas as pd

from hmopt.catalogue import find_metric
from hmopt.data.cohort import list_cohort
from hmopt.data.pair_table import check_bins, pair_table
from hmopt.data.pairs import check_columns, draw_pairs, read_pair_names
from hmopt.data.prepared import OWN_COLUMNS, PreparedCohort, manifest_columns
from hmopt.declaration import Study
from hmopt.declaration.study import check_units
from hmopt.errors import DataError, DeclarationError
from hmopt.networks import check_network
from hmopt.records import Pair
from hmopt.search.scopes import check_kinds, list_scopes
from hmopt.search.storage import check_url

WITHOUT_MODEL = {"engine": "an engine", "optimize": "registrations without a model"}
"""What a message calls a study whose registrations no network predicts, by `model.source`."""


def check_declared(study: Study) -> None:
    """Refuse a declaration that cannot be followed whatever the data are, before images are prepared.

    Raises
    ------
    DeclarationError
        If the network cannot be built, or the grid does not fit it.
    SearchError
        If the URL of the storage names no database.
    DataError
        If the CSV of pairs cannot be read.
    """
    check_network(study.network, tuple(study.preprocessing.shape))
    if study.search.storage is not None:
        check_url(study.search.storage)
    if study.pairs.csv is not None:
        read_pair_names(study.pairs.csv)


def check_listed(study: Study, images: pd.DataFrame, *, has_labels: bool) -> None:
    """Refuse a declaration that its manifest contradicts, before an image is opened or prepared.

    Parameters
    ----------
    study
        The declaration.
    images
        As of `Cohort`.
    has_labels
        Whether there are label maps.

    Raises
    ------
    DeclarationError
        If a column, a bin or the atlas is not in the manifest, or metrics of labels or landmarks are asked for and
        there are none.
    SearchError
        If a scope is of no kind that the manifest has.
    """
    check_columns(study.pairs, [*OWN_COLUMNS, *manifest_columns(images)])
    _check_atlas(study, images)
    has_landmarks = "points" in images and bool(images["points"].notna().any())
    _check_measurable(study, has_labels=has_labels, has_landmarks=has_landmarks)
    check_bins(study.search.bins, images)
    check_kinds(study.search, manifest_columns(images))


def check_manifest(study: Study) -> None:
    """Refuse a declaration that its manifest contradicts, as `check_listed`.

    Raises
    ------
    DeclarationError, SearchError
        As `check_listed`.
    DataError
        If the manifest or the table of label names cannot be used, or was not published with the model.
    """
    if study.is_published:
        raise DataError(
            "cohort",
            expected="images and labels",
            got="a published model, whose cohort is not published",
            advice="Use it with `hmopt register`, or search your own images with `hmopt new --model`.",
        )
    listing = list_cohort(study.cohort)
    check_listed(study, listing.images, has_labels=listing.has_labels)


def _check_atlas(study: Study, images: pd.DataFrame) -> None:
    atlas = study.pairs.atlas
    if atlas is not None and atlas not in images.index:
        raise DeclarationError(
            "pairs.atlas",
            expected="the name of an image of the cohort",
            got=repr(atlas),
            advice="Correct it.",
        )


def check_trained_here(study: Study) -> None:
    """Refuse a study whose model comes from elsewhere, for a command that trains what it compares with.

    Raises
    ------
    DeclarationError
        If it does.
    """
    source = study.model.source
    if source != "trained":
        raise DeclarationError(
            "model.source",
            expected='"trained", since baselines are trained in the folder of the model',
            got=repr(source),
            advice="Compare in the study folder that trained the model.",
        )


def check_cohort(study: Study, cohort: PreparedCohort) -> tuple[list[Pair], pd.DataFrame]:
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
        If a bin, a column or a label is not of the cohort, distances in mm are asked for and the spacing is unknown, or
        metrics of labels or landmarks of images that have none.
    SearchError
        If a scope is of no kind that the cohort has.

    Warns
    -----
    UserWarning
        If a declared scope will be empty, since no subject has enough partners.
    """
    options = study.search
    if cohort.spacing_mm is None:
        check_units(options, "where the spacing of the images is not known")
    _check_measurable(study, has_labels=cohort.has_labels, has_landmarks=bool(cohort.landmarks))
    _check_labels(study, cohort)
    if study.model.source == "trained":
        draw_pairs(cohort, study.pairs, "tune")
    pairs = draw_pairs(cohort, study.pairs, "search")
    table = pair_table(pairs, cohort, options.bins)
    _warn_of_empty_scopes(study, table, cohort.labels)
    return pairs, table


def _check_measurable(study: Study, *, has_labels: bool, has_landmarks: bool) -> None:
    """Refuse metrics of labels or landmarks for images without them, and losses of labels."""
    if not has_labels:
        of_labels = [name for name in study.search.measured if find_metric(name).per_label]
        if of_labels:
            raise DeclarationError(
                "search",
                expected="metrics without labels, because the manifest has no column label",
                got=", ".join(of_labels),
                advice="Add label maps, or choose other search.metric and search.reported.",
            )
        if "label_weight" in study.space.names:
            raise DeclarationError(
                "hyperparameters",
                expected="none of labels, because the manifest has no column label",
                got="label_weight",
                advice="Add label maps, or leave it out.",
            )
    if has_landmarks:
        return
    of_landmarks = [name for name in study.search.measured if find_metric(name).is_of_landmarks]
    if of_landmarks:
        raise DeclarationError(
            "search",
            expected="metrics without landmarks, because the manifest has no column points",
            got=", ".join(of_landmarks),
            advice="Add files of landmarks, or choose other search.metric and search.reported.",
        )


def _warn_of_empty_scopes(study: Study, table: pd.DataFrame, labels: tuple[str, ...]) -> None:
    options = study.search
    found = set()
    for scope in list_scopes(options, table, labels):
        kinds_of_scope = frozenset(kind for kind, _ in scope.criteria)
        found.add(kinds_of_scope)
    least = options.min_paired_subjects
    for kinds in options.scopes:
        declared = frozenset(kinds) - {"cohort"}
        if "subject" in kinds and declared not in found:
            warnings.warn(
                f"search.scopes: {kinds} is skipped because no subject is paired with {least} other subjects "
                "(search.min_paired_subjects).",
                stacklevel=3,
            )


def _check_labels(study: Study, cohort: PreparedCohort) -> None:
    unknown = [name for name in study.loss.overlap_labels if name not in cohort.labels]
    if unknown:
        known = ", ".join(cohort.labels)
        raise DeclarationError(
            "loss.overlap_labels",
            expected=f"labels of the cohort ({known})",
            got=", ".join(unknown),
            advice="Correct it.",
        )
