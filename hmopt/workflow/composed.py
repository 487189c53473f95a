"""Fields in which every structure has a setting of its own: measured, judged, and used to register."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hmopt.analysis.composed import HALVES, FieldGain, judge_fields, plan_fields
from hmopt.analysis.cross_validation import recommend
from hmopt.data.cohort import list_cohort, read_structures
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import CheckpointError, DeclarationError, SearchError
from hmopt.interop.own_model import HypermorphModel
from hmopt.ledger.composed import ComposedFields
from hmopt.oracle import AmortizedOracle, ComposedOracle, load_oracle, source_of
from hmopt.oracle.composed import check_velocity
from hmopt.oracle.composed_registrar import ComposedRegistrar, compose_registrar
from hmopt.oracle.structure_maps import (
    WIDTH,
    FixedMaps,
    Frequencies,
    FrequencyMaps,
    MovingMaps,
    StructureMaps,
    find_frequencies,
    read_frequencies,
    write_frequencies,
)
from hmopt.progress import Track
from hmopt.records import MAP_KINDS, MapKind
from hmopt.search.scopes import Scope, list_scopes
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder
from hmopt.workflow.machine import find_device

if TYPE_CHECKING:
    from hmopt.interop.registration import Registrar
    from hmopt.workflow.search import StudySearch

OPTION = "--per-structure"


def check_composable(files: StudyFolder) -> None:
    """Refuse a study whose model gives no velocities that can be blended, before anything is measured.

    Raises
    ------
    CheckpointError
        If it is an engine, or a model of another program.
    DeclarationError
        If it predicts displacements.
    """
    study = files.study
    expected = "a hypermorph of hmopt, whose velocities can be blended"
    advice = f"Leave {OPTION} out."
    if study.model.source == "engine":
        raise CheckpointError(OPTION, expected=expected, got="an engine", advice=advice)
    model = source_of(files.path, study).load("cpu")
    if not isinstance(model, HypermorphModel):
        raise CheckpointError(OPTION, expected=expected, got=model.title, advice=advice)
    check_velocity(model.registration_network(model.space.default))


def parse_kinds(given: Sequence[str]) -> tuple[MapKind, ...]:
    """Return kinds of maps by their names, each once.

    Raises
    ------
    DeclarationError
        If there is no such kind.

    Examples
    --------
    >>> parse_kinds(["fixed", "fixed", "moving"])
    ('fixed', 'moving')
    """
    kinds: list[MapKind] = []
    for name in dict.fromkeys(given):
        known = [kind for kind in MAP_KINDS if kind == name]
        if not known:
            raise DeclarationError(
                "--maps",
                expected=f"{', '.join(MAP_KINDS[:-1])} or {MAP_KINDS[-1]}",
                got=repr(name),
                advice="Choose one.",
            )
        kinds += known
    return tuple(kinds)


def measure_fields(
    study_search: "StudySearch",
    files: StudyFolder,
    kinds: Sequence[MapKind] = (),
    width: float | None = None,
    halves: int = HALVES,
    *,
    device: str | None,
    track: Track,
) -> tuple[FieldGain, ...]:
    """Measure the fields that the splits of the subjects choose, and judge them on held-out subjects.

    What the ledger holds already is not measured again. `structure-maps.npz` and `composed.json` are written.

    Parameters
    ----------
    study_search
        The pairs of a study that was searched.
    files
        Its folder.
    kinds
        Kinds of maps; none: frequencies of the training subjects, or, where there are none, maps of the moving images.
    width
        Standard deviation of the Gaussian that smooths maps, in voxels of the prepared grid; None: `WIDTH`.
    halves
        Random halves of the subjects to choose on.
    device
        Where to compute.
    track
        Shows progress.

    Raises
    ------
    SearchError
        If fewer than two structures were measured, or there are too few subjects to choose on.
    DataError
        If there is no training subject to make maps of frequencies from.
    """
    study, cohort = study_search.study, study_search.cohort
    options = study_search.options
    oracle = load_oracle(files.path, study, cohort, find_device(device))
    assert isinstance(oracle, AmortizedOracle)  # as `check_composable` has seen
    stride = oracle.network(oracle.space.index(oracle.space.default)).velocity_stride
    frequencies = _frequencies(study, cohort, stride)
    write_frequencies(files.structure_maps_file, frequencies)

    measurements = files.measurements()
    plan = plan_fields(measurements, options, halves)
    if plan is None:
        raise SearchError(
            OPTION,
            expected="scores of two structures or more",
            got=f"{len(measurements.labels)} structures ({', '.join(measurements.labels)})",
            advice=f"Leave {OPTION} out.",
        )
    if not kinds:
        kinds = ("frequency",) if frequencies.subjects else ("moving",)
    found = []
    for kind in kinds:
        maps = make_maps(kind, frequencies, WIDTH if width is None else width)
        identities = []
        for assignment in plan.assignments:
            composed = ComposedOracle(oracle, dict(assignment.structures), maps)
            study_search.fill(composed, [assignment.common], options.deciding)
            identities.append(composed.identity)
        fields = ComposedFields(
            maps=kind,
            width=maps.width,
            halves=halves,
            assignments=plan.assignments,
            identities=tuple(identities),
        )
        files.write_composed(fields)
        judged = judge_fields(measurements, fields, files.composed_measurements(fields), options)
        if judged is not None:
            found.append(judged)
    return tuple(found)


def make_maps(kind: MapKind, frequencies: Frequencies, width: float) -> StructureMaps:
    """Return maps of a kind.

    Raises
    ------
    DataError
        If frequencies are asked for, and there was no training subject.
    """
    if kind == "frequency":
        return FrequencyMaps(frequencies, width)
    if kind == "fixed":
        return FixedMaps(frequencies.labels, width)
    return MovingMaps(frequencies.labels, width)


def _frequencies(study: Study, cohort: PreparedCohort, stride: int) -> Frequencies:
    frequencies = find_frequencies(cohort, stride)
    if frequencies.codes:
        return frequencies
    # prepared by an earlier version, which kept no codes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the cohort was prepared
        structures = read_structures(list_cohort(study.cohort), study.cohort).structures
    codes = {name: structures[name] for name in cohort.labels}
    return Frequencies(
        shares=frequencies.shares,
        slices=frequencies.slices,
        labels=frequencies.labels,
        stride=frequencies.stride,
        subjects=frequencies.subjects,
        codes=codes,
    )


def recommended_settings(files: StudyFolder) -> tuple[Setting, dict[str, Setting]]:
    """Return the best setting of the whole cohort, and that of each structure.

    Raises
    ------
    LedgerError
        If nothing was searched, or another model than the one in the folder.
    DeclarationError
        If `study.toml` declares something else than what was searched.
    SearchError
        If fewer than two structures were measured.
    """
    files.check_together()
    options = files.searched.search
    measurements = files.measurements()
    cohort = Scope(criteria=())
    common = recommend(measurements, [cohort], options)
    by_label = options.model_copy(update={"scopes": [["label"]]})
    family = list_scopes(by_label, measurements.pairs, measurements.labels)
    best = recommend(measurements, family, options)
    if cohort not in common or len(best) < 2:
        raise SearchError(
            OPTION,
            expected="a search of two structures or more",
            got=f"scores of {len(best)}",
            advice="Register with one setting.",
        )
    structures = {dict(scope.criteria)["label"]: setting for scope, setting in best.items()}
    return common[cohort], structures


def registrar_per_structure(
    files: StudyFolder,
    registrar: "Registrar",
    fixed_labels: Path | None,
    moving_labels: Path | None,
) -> tuple[ComposedRegistrar, Setting, dict[str, Setting], str | None]:
    """Return what registers two files with a setting for each structure.

    Parameters
    ----------
    files
        A study folder that was searched with `--per-structure`.
    registrar
        Its model.
    fixed_labels, moving_labels
        A label map of one of the files.

    Returns
    -------
    ComposedRegistrar
        The model with the settings of the structures.
    Setting
        The common setting.
    dict
        The setting of each structure.
    str or None
        What to know of maps of this kind.

    Raises
    ------
    HmoptError
        If both label maps are given, the folder was published or not searched with `--per-structure`, or the model's
        velocities cannot be blended.
    """
    if fixed_labels is not None and moving_labels is not None:
        raise DeclarationError(
            "--moving-labels",
            expected="one label map, of the fixed or of the moving image",
            got="both",
            advice="Use one of them, preferably that of the fixed image.",
        )
    if not files.readable_search_file.is_file():
        raise SearchError(
            OPTION,
            expected=f"a study folder that was searched with `hmopt search {OPTION}`",
            got=f"{files.path}, which holds no search",
            advice="Search it, or register each structure separately with --label.",
        )
    common, structures = recommended_settings(files)
    frequencies = read_frequencies(files.structure_maps_file)
    kind: MapKind = "frequency"
    if fixed_labels is not None:
        kind = "fixed"
    elif moving_labels is not None:
        kind = "moving"
    widths = {fields.maps: fields.width for fields in files.composed}
    advice = None
    if kind not in widths:
        advice = (
            f"Fields with maps of kind {kind} were not evaluated on held-out subjects. Run hmopt search "
            f"{files.path} {OPTION} --maps {kind} to compare them with one setting for all structures."
        )
    composed = compose_registrar(
        registrar,
        structures,
        frequencies,
        widths.get(kind, WIDTH),
        fixed_labels,
        moving_labels,
    )
    return composed, common, structures, advice
