"""Fields in which every structure has a setting of its own: measured, judged, and used to register."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hmopt.analysis.composed import FEWEST_STRUCTURES, HALVES, FieldGain, judge_fields, plan_fields
from hmopt.analysis.cross_validation import recommend
from hmopt.data.cohort import list_cohort, read_structures
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import CheckpointError, DeclarationError, SearchError
from hmopt.interop.own_model import HypermorphModel
from hmopt.ledger import Measurements
from hmopt.ledger.composed import Assignment, ComposedFields
from hmopt.locks import alone, lock_beside
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
from hmopt.records import MAP_KINDS, MapKind
from hmopt.search.scopes import WHOLE_COHORT, list_scopes
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder
from hmopt.workflow.checks import WITHOUT_MODEL
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
        If it predicts displacements, or registrations are refined.
    """
    study = files.study
    expected = "a hypermorph of hmopt, whose velocities can be blended"
    advice = f"Leave {OPTION} out."
    if study.model.source in WITHOUT_MODEL:
        got = WITHOUT_MODEL[study.model.source]
        raise CheckpointError(OPTION, expected=expected, got=got, advice=advice)
    if study.refine.iterations:
        raise DeclarationError(
            OPTION,
            expected="registrations that are not refined",
            got=f"refine.iterations = {study.refine.iterations}",
            advice=f"Leave {OPTION} or [refine] out.",
        )
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

    Raises
    ------
    SearchError
        If fewer than two structures were measured, or there are too few subjects to choose on.
    DataError
        If there is no training subject to make maps of frequencies from.
    """
    options = study_search.options
    planned = _plan(study_search, files, kinds, width, halves, device=device)
    write_frequencies(files.structure_maps_file, planned.frequencies)
    found = []
    for maps in planned.maps:
        oracles = planned.oracles(maps)
        for composed, assignment in zip(oracles, planned.assignments, strict=True):
            study_search.fill(composed, [assignment.common], options.deciding)
        fields = ComposedFields(
            maps=maps.kind,
            width=maps.width,
            halves=halves,
            assignments=planned.assignments,
            identities=tuple(composed.identity for composed in oracles),
        )
        # other processes that measure the folder write the same, one kind after the other
        with alone(lock_beside(files.search_file), "writes down the fields"):
            files.write_composed(fields)
        measured = files.composed_measurements(fields)
        judged = judge_fields(planned.measurements, fields, measured, options)
        if judged is not None:
            found.append(judged)
    return tuple(found)


def fill_fields(
    study_search: "StudySearch",
    files: StudyFolder,
    kinds: Sequence[MapKind],
    width: float | None,
    halves: int = HALVES,
    *,
    device: str | None,
    share: float,
) -> None:
    """Measure the fields that `measure_fields` measures in another process; nothing but the ledger is written.

    Each field is measured at one setting, on all pairs: little to divide. So processes begin with different
    fields, and one that comes to a field that is known goes on to the next.

    Parameters
    ----------
    study_search, files, kinds, width, halves, device
        As for `measure_fields`.
    share
        Of the fields, how many come last, in [0, 1).
    """
    options = study_search.options
    planned = _plan(study_search, files, kinds, width, halves, device=device)
    for maps in planned.maps:
        works = list(zip(planned.oracles(maps), planned.assignments, strict=True))
        first = int(share * len(works))
        for composed, assignment in works[first:] + works[:first]:
            study_search.fill(composed, [assignment.common], options.deciding)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """The fields to measure.

    Parameters
    ----------
    measurements
        Of the model.
    oracle
        The model.
    frequencies
        Of the structures, by which maps are made.
    maps
        Maps of each kind.
    assignments
        Settings of the structures of each field.
    """

    measurements: Measurements
    oracle: AmortizedOracle
    frequencies: Frequencies
    maps: tuple[StructureMaps, ...]
    assignments: tuple[Assignment, ...]

    def oracles(self, maps: StructureMaps) -> list[ComposedOracle]:
        """Return what measures each field."""
        return [
            ComposedOracle(self.oracle, dict(assignment.structures), maps)
            for assignment in self.assignments
        ]


def _plan(
    study_search: "StudySearch",
    files: StudyFolder,
    kinds: Sequence[MapKind],
    width: float | None,
    halves: int,
    *,
    device: str | None,
) -> _Planned:
    """Choose the fields to measure, as `measure_fields` describes."""
    study, cohort = study_search.study, study_search.cohort
    oracle = load_oracle(files.path, study, cohort, find_device(device))
    assert isinstance(oracle, AmortizedOracle)  # as `check_composable` has seen
    stride = oracle.network(oracle.space.index(oracle.space.default)).velocity_stride
    frequencies = _frequencies(study, cohort, stride)

    measurements = files.measurements()
    plan = plan_fields(measurements, study_search.options, halves)
    if plan is None:
        raise SearchError(
            OPTION,
            expected=f"at least {FEWEST_STRUCTURES} structures with scores on both halves of the subjects",
            got=f"fewer; {len(measurements.labels)} structures on {len(measurements.pairs)} pairs were searched",
            advice=f"Search on more subjects and pairs, or leave {OPTION} out.",
        )
    if not kinds:
        kinds = ("frequency",) if frequencies.subjects else ("moving",)
    smoothing = WIDTH if width is None else width
    return _Planned(
        measurements=measurements,
        oracle=oracle,
        frequencies=frequencies,
        maps=tuple(make_maps(kind, frequencies, smoothing) for kind in kinds),
        assignments=plan.assignments,
    )


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
    cohort = WHOLE_COHORT
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
    if not files.composed:
        check_composable(files)
        raise SearchError(
            OPTION,
            expected=f"a search with {OPTION} of the model in the folder",
            got="none, or one of another model",
            advice=f"Run `hmopt search {files.path} {OPTION}`.",
        )
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
