"""`hmopt.register`: two images from anywhere, with a trained model."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from hmopt.analysis.cross_validation import recommend
from hmopt.analysis.uncertainty import ConfidenceSet
from hmopt.catalogue import find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.data.cohort import list_images
from hmopt.data.formats import with_targets
from hmopt.data.manifest import read_manifest
from hmopt.declaration import RefineOptions
from hmopt.declaration.model import MOST_REFINEMENTS
from hmopt.errors import DataError, DeclarationError, HmoptError, SearchError
from hmopt.files import check_outputs
from hmopt.interop.bids_derivatives import Derivatives, check_derivatives
from hmopt.interop.composite import check_transform_name, save_transform
from hmopt.interop.displacement import check_name, save_image
from hmopt.interop.registration import Placement, RegisteredFiles, Registrar, Residual
from hmopt.networks import read_header
from hmopt.oracle import open_registrar, open_registrar_of_file
from hmopt.oracle.open import published_refinement
from hmopt.search.scopes import (
    COHORT,
    EVERY,
    Criteria,
    Scope,
    find_scope,
    joined_criteria,
    list_scopes,
    with_arrow,
)
from hmopt.search.studies import limit_constraints, study_of_scope
from hmopt.space import Setting, Space, Value, value_text
from hmopt.study_folder import StudyFolder
from hmopt.workflow.composed import registrar_per_structure
from hmopt.workflow.machine import check_number, find_device
from hmopt.workflow.setting_file import OPTION, values_of
from hmopt.workflow.uncertainty import OPTION as UNCERTAINTY
from hmopt.workflow.uncertainty import (
    START_OPTION,
    check_count,
    confidence_set,
    open_compared,
    published_set,
)

if TYPE_CHECKING:
    from hmopt.report.origin import ModelOptima, ScopeOptimum

PLACEMENTS: tuple[Placement, ...] = ("header", "centre", "affine")
TRANSFORMS = ("--displacement", "--inverse")
"""Options of files that hold a transformation."""
WITHIN_LIMITS = "--within-limits"
_MOST_NAMED = 8
"""Scopes that an error names."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered pair of images.

    Parameters
    ----------
    setting
        The setting that it was registered with.
    moved_image
        The moving image on the grid of the fixed image.
    displacement_image
        The whole transformation from the fixed to the moving image, as ITK reads it.
    moved, displacement
        Files that they were written to; None where they were not.
    inverse_moved_image, inverse_image
        The fixed image on the grid of the moving image, and the transformation from the moving to the fixed image;
        None where no inverse was asked for.
    inverse_moved, inverse
        Files that they were written to; None where they were not.
    residual
        How far the inverse misses; None where there is none.
    remarks
        What to know of the two images and how they were placed, a sentence each.
    advice
        What to know of the setting, as that it folds more than the declared limit; None: nothing.
    structures
        The setting of each structure, where they have their own; `setting` is then that of everything else.
    uncertainty_image
        The spread of the displacement over the confidence set of the best setting, in mm, on the grid of the fixed
        image; None where it was not asked for.
    uncertainty
        The file that it was written to; None where there is none.
    uncertainty_settings
        The settings that the displacements were compared at.
    """

    setting: Setting
    moved_image: nibabel.Nifti1Image
    displacement_image: nibabel.Nifti1Image
    moved: Path | None
    displacement: Path | None
    inverse_moved_image: nibabel.Nifti1Image | None = None
    inverse_image: nibabel.Nifti1Image | None = None
    inverse_moved: Path | None = None
    inverse: Path | None = None
    residual: Residual | None = None
    remarks: tuple[str, ...] = ()
    advice: str | None = None
    structures: Mapping[str, Setting] = field(default_factory=dict)
    uncertainty_image: nibabel.Nifti1Image | None = None
    uncertainty: Path | None = None
    uncertainty_settings: tuple[Setting, ...] = ()

    def __str__(self) -> str:
        """Return a few lines for a person."""
        lines = [f"Setting: {setting_text(self.setting) or 'the only one'}"]
        lines += [
            f"Setting of {name}: {setting_text(one)}" for name, one in self.structures.items()
        ]
        if self.advice is not None:
            lines.append(self.advice)
        if self.moved is not None:
            lines.append(f"Moved image: {self.moved}")
        if self.displacement is not None:
            lines.append(f"Displacement: {self.displacement}")
        if self.inverse_moved is not None:
            lines.append(f"Warped fixed image: {self.inverse_moved}")
        if self.inverse is not None:
            lines.append(f"Inverse: {self.inverse}")
        if self.residual is not None:
            lines.append(f"Residual of the inverse: {self.residual}")
        if self.uncertainty is not None:
            lines.append(f"Uncertainty: {self.uncertainty} ({self._spread_text()})")
        return "\n".join(lines)

    def _spread_text(self) -> str:
        """Return over what the displacement was compared, and how much it differs."""
        assert self.uncertainty_image is not None
        spread = np.asarray(self.uncertainty_image.dataobj)
        settings = f"over {len(self.uncertainty_settings)} settings of the confidence set"
        high = np.quantile(spread, 0.95)
        return f"{settings}: mean {spread.mean():.2g} mm, 95 % of voxels within {high:.2g} mm"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The setting that a search recommends for a scope.

    Parameters
    ----------
    best
        The recommended setting.
    within_limit
        The best one of those that obey all limits; None where none does.
    folding
        Mean share of folded voxels at the best setting; None where it was not measured.
    folding_limit
        As declared; None where a published model does not tell it.
    limited
        By further metric that has a limit: its mean at the best setting; left out where it was not measured.
    limits
        Limits of these metrics.
    """

    best: Setting
    within_limit: Setting | None
    folding: float | None
    folding_limit: float | None
    limited: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    def chosen(self, *, within_limits: bool) -> Setting:
        """Return the setting to register with.

        Raises
        ------
        SearchError
            If one within the limits is asked for, and there is none.
        """
        if not within_limits:
            return self.best
        if self.folding_limit is None:
            raise SearchError(
                WITHIN_LIMITS,
                expected="a model whose optima.json contains folding",
                got="one that was published by an earlier version of hmopt",
                advice="Leave the option out, or publish the model again.",
            )
        if self.within_limit is None:
            further = [limit_text(name, limit) for name, limit in self.limits.items()]
            folds = f"a setting that folds at most {self.folding_limit:.3%} of the voxels"
            raise SearchError(
                WITHIN_LIMITS,
                expected=", with ".join([folds, *further]),
                got="no measured setting",
                advice="Leave the option out, or change search.folding_limit or search.limits and run "
                "`hmopt search` again.",
            )
        return self.within_limit

    def advice(self) -> str | None:
        """Return what to say where the best setting exceeds a limit, and which option to add then."""
        exceeded = self._exceeded()
        if self.within_limit == self.best or not exceeded:
            return None
        exceeds = f"This setting {', and '.join(exceeded)}"
        if self.within_limit is None:
            return f"{exceeds}; no measured setting satisfies all limits."
        other = setting_text(self.within_limit)
        return f"{exceeds}. The best setting within the limits is {other}; use it with {WITHIN_LIMITS}."

    def _exceeded(self) -> list[str]:
        """Return a clause for each limit that the best setting exceeds."""
        found = []
        limit = self.folding_limit
        if self.folding is not None and limit is not None and self.folding > limit:
            found.append(
                f"folds {self.folding:.3%} of the voxels on average, more than the limit of {limit:.3%}"
            )
        constraints = limit_constraints(self.limited, self.limits)
        for name, constraint in constraints.items():
            if constraint > 0:
                mean = f"{self.limited[name]:.4g}"
                found.append(
                    f"has a mean {find_metric(name).title} of {mean}, beyond the limit of {self.limits[name]:g}"
                )
        return found


def limit_text(metric: str, limit: float) -> str:
    """Return a limit of a metric as a line shows it.

    Examples
    --------
    >>> limit_text("hd95_mm", 2.0), limit_text("similarity", 0.5)
    ('a mean 95 % surface distance (mm) of at most 2', 'a mean image similarity of at least 0.5')
    """
    record = find_metric(metric)
    bound = "at most" if record.direction == "minimize" else "at least"
    return f"a mean {record.title} of {bound} {limit:g}"


def register(
    folder: Path | str,
    moving: Path | str,
    fixed: Path | str,
    *,
    moved: Path | str | None = None,
    displacement: Path | str | None = None,
    inverse: Path | str | None = None,
    inverse_moved: Path | str | None = None,
    bids_derivatives: Path | str | None = None,
    uncertainty: Path | str | None = None,
    uncertainty_settings: int | None = None,
    starts: Sequence[Path | str] = (),
    setting: Mapping[str, Value] | Path | str | None = None,
    scope: str | Criteria | None = None,
    within_limits: bool = False,
    within_folding_limit: bool = False,
    per_structure: bool = False,
    fixed_labels: Path | str | None = None,
    moving_labels: Path | str | None = None,
    placement: str | None = None,
    trust_code: bool = False,
    refine: int | None = None,
    device: str | None = None,
    **criteria: str,
) -> Registered:
    """Register a moving to a fixed image with the trained model of a study.

    Without a setting and a scope, the best setting of the whole cohort is taken.

    Parameters
    ----------
    folder
        The study folder, with a trained model, or a folder that `hmopt publish` made. It must have been searched
        unless `setting` is given; of a published folder the scopes are known that were declared.
    moving, fixed
        Anything that nibabel reads.
    moved
        Where the moved image goes, as NIfTI; None: it is only returned.
    displacement
        Where the transformation goes, as a NIfTI field or, by a name that ends in `.h5`, as ITK's composite
        transform; None: a field beside the moved image, or nowhere if that is not written.
    inverse
        Where the inverse goes, from the moving to the fixed image, in the same formats, on the grid of the moving
        image; None: nowhere.
    inverse_moved
        Where the fixed image goes, warped to the moving image, as NIfTI; None: nowhere.
    bids_derivatives
        A BIDS derivative dataset: the moved image, both transformations and their JSON files get names there, as far
        as they are not named above. The moving image has a name of BIDS.
    uncertainty
        Where the uncertainty of the displacement goes, as NIfTI on the grid of the fixed image: its standard deviation
        over settings of the confidence set of the best one of the scope, in mm; None: nowhere.
    uncertainty_settings
        How many settings, at most; None: 9.
    starts
        Models of the same hyperparameters from other random starts, over which the displacement is compared, too: study
        folders, published folders or model files, as those in `compare/`.
    setting
        Values of hyperparameters, or a file of them that `hmopt tune` wrote; others are at their default.
    scope
        The scope whose best setting is taken, as `"label=thalamus, task=within"`, or as a mapping.
    within_limits
        Take the best setting of those that obey `search.folding_limit` and `search.limits`.
    within_folding_limit
        The same, by its earlier name.
    per_structure
        Take the best setting of each structure around it, and that of the whole cohort elsewhere: velocities are
        blended and integrated once. The folder was searched with `per_structure`, too.
    fixed_labels, moving_labels
        With `per_structure`: a label map of the fixed or of the moving image, with the codes of the cohort, that tells
        where structures are. Neither: where training subjects have them.
    placement
        How the images are laid on the model's grid: `header`, `centre` or `affine`; None: as in training.
    trust_code
        Run the Python file that makes the network of a folder without `study.toml`, where it has a network of its own.
    refine
        Iterations that lower the loss of this pair from where the model starts it; None: as many as the study
        declares, 0: none.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.
    **criteria
        The scope as keywords, as `label="thalamus"`.

    Returns
    -------
    Registered
        Both images, where they were written, the setting and remarks.

    Raises
    ------
    DeclarationError
        If setting and scope are both given, a value lies outside its range, or the declaration is not the one that was
        searched.
    CheckpointError
        If there is no trained model.
    LedgerError, SearchError
        If no setting is given, and nothing was searched or there is no such scope.
    HmoptError
        If an output would overwrite an input, or cannot be written.

    Examples
    --------
    With a given λ, and with the best one of a structure:

    >>> import hmopt
    >>> pair = ("studies/mine", "a.nii.gz", "b.nii.gz")
    >>> hmopt.register(*pair, setting={"regularization": 0.3}).moved_image.shape  # doctest: +SKIP
    (80, 96, 80)
    >>> hmopt.register(*pair, moved="moved.nii.gz", label="thalamus").setting  # doctest: +SKIP
    {'regularization': 0.35}
    """
    asked = joined_criteria(scope, criteria)
    within_limits = within_limits or within_folding_limit
    check_choice(setting, asked, within_limits)
    _check_uncertainty(uncertainty, uncertainty_settings, starts, setting, per_structure)
    labels = {"--fixed-labels": fixed_labels, "--moving-labels": moving_labels}
    label_files = {name: Path(path) for name, path in labels.items() if path is not None}
    _check_per_structure(per_structure, bool(setting or asked or within_limits), label_files)
    files = StudyFolder(folder)
    moving, fixed = Path(moving), Path(fixed)
    derivatives = None
    if bids_derivatives is not None:
        derivatives = Derivatives(root=Path(bids_derivatives), moving=moving, fixed=fixed)
        check_derivatives(derivatives.root)
        moved = moved or derivatives.moved
        displacement = displacement or derivatives.forward
        inverse = inverse or derivatives.inverse
    outputs = _outputs(moved, displacement, inverse, inverse_moved, uncertainty)
    for name, path in outputs.items():
        check = check_transform_name if name in TRANSFORMS else check_name
        check(path)
    inputs = {"MOVING": moving, "FIXED": fixed} | label_files | setting_input(setting)
    check_outputs(outputs, with_targets(inputs | _images_of_study(files, outputs)))
    _check_usual_name(None if displacement else outputs.get("--displacement"))

    registrar = open_registrar(
        files,
        find_device(device),
        placement_of(placement),
        trust_code=trust_code,
        iterations=iterations_of(refine),
    )
    compared = open_compared(
        (lambda: _confidence_set(files, asked)) if uncertainty is not None else None,
        registrar,
        uncertainty_settings,
        lambda path: _open_start(path, device, placement, refine, trust_code, files),
        starts,
    )
    advice = None
    chosen: Setting
    structures: Mapping[str, Setting] = {}
    if per_structure:
        registrar, chosen, structures, advice = registrar_per_structure(
            files, registrar, label_files.get("--fixed-labels"), label_files.get("--moving-labels")
        )
    elif setting or not registrar.space.names:
        check_one_setting(registrar.space, asked, within_limits)
        values = values_of(setting or {}, registrar.model)
        chosen = given_setting(registrar.space, values)
    else:
        recommendation = recommended_setting(files, asked)
        chosen = recommendation.chosen(within_limits=within_limits)
        if not within_limits:
            advice = recommendation.advice()
        if advice is None and refine is not None:
            advice = _advice_on_refinement(files, refine)

    if inverse is None and inverse_moved is None:
        found = registrar.register(moving, fixed, chosen)
        backward, residual = None, None
    else:
        both = registrar.register_both_ways(moving, fixed, chosen)
        found, backward, residual = both.forward, both.inverse, both.residual
    spread = compared.spread(moving, fixed, found.moved)
    # nothing is written before everything is there
    _write(found, outputs, "--moved", "--displacement")
    _write(backward, outputs, "--inverse-moved", "--inverse")
    if spread is not None:
        save_image(spread, outputs[UNCERTAINTY])
    if derivatives is not None:
        derivatives.describe(list(outputs.values()), chosen)
    return Registered(
        setting=chosen,
        moved_image=found.moved,
        displacement_image=found.displacement,
        moved=outputs.get("--moved"),
        displacement=outputs.get("--displacement"),
        inverse_moved_image=None if backward is None else backward.moved,
        inverse_image=None if backward is None else backward.displacement,
        inverse_moved=outputs.get("--inverse-moved"),
        inverse=outputs.get("--inverse"),
        residual=residual,
        remarks=found.remarks,
        advice=advice,
        structures=structures,
        uncertainty_image=spread,
        uncertainty=outputs.get(UNCERTAINTY),
        uncertainty_settings=compared.settings,
    )


def _check_uncertainty(
    uncertainty: Path | str | None,
    count: int | None,
    starts: Sequence[Path | str],
    setting: Mapping[str, Value] | Path | str | None,
    per_structure: bool,
) -> None:
    """Refuse options of the uncertainty that go with nothing, or contradict others."""
    check_count(count, uncertainty is not None)
    if starts and uncertainty is None:
        raise DeclarationError(
            START_OPTION,
            expected=UNCERTAINTY,
            got="the option alone",
            advice=f"Add {UNCERTAINTY}, or leave it out.",
        )
    if uncertainty is not None and (setting or per_structure):
        given = "--per-structure" if per_structure else "values"
        raise DeclarationError(
            UNCERTAINTY,
            expected="the best setting of a scope, whose confidence set is known",
            got=given,
            advice="Use one of them.",
        )


def _confidence_set(files: StudyFolder, criteria: Criteria) -> ConfidenceSet:
    """Return where the best setting of a scope lies: as it was published with the model, or by the search."""
    published = optima_beside(files)
    if published is not None:
        return published_set(find_published(published, criteria))
    return confidence_set(files, criteria)


def _open_start(
    path: Path,
    device: str | None,
    placement: str | None,
    refine: int | None,
    trust_code: bool,
    files: StudyFolder,
) -> Registrar:
    """Return a model from another random start: of a folder, or in a file; refined as the first model is."""
    on_device, placed = find_device(device), placement_of(placement)
    refinement = refinement_of(files).with_iterations(iterations_of(refine))
    if path.is_dir():
        iterations = refinement.iterations
        return open_registrar(path, on_device, placed, trust_code=trust_code, iterations=iterations)
    return open_registrar_of_file(
        path,
        on_device,
        placed,
        trust_code=trust_code,
        refinement=refinement,
    )


def refinement_of(files: StudyFolder) -> RefineOptions:
    """Return how registrations are refined, as a study declares it or as it was published with a model."""
    if files.is_declared:
        return files.study.refine
    path = files.model_file()
    return published_refinement(path, read_header(path))


def setting_input(setting: Mapping[str, Value] | Path | str | None) -> dict[str, Path]:
    """Return the file of a setting by the name of its option, where it is given by a file."""
    return {OPTION: Path(setting)} if isinstance(setting, Path | str) else {}


def _check_per_structure(
    per_structure: bool, has_choice: bool, label_files: Mapping[str, Path]
) -> None:
    """Refuse options that contradict a setting for each structure, or go with nothing else."""
    if per_structure and has_choice:
        raise DeclarationError(
            "--per-structure",
            expected=f"neither values, nor a scope, nor {WITHIN_LIMITS}",
            got="one of them",
            advice="Use one of them.",
        )
    if label_files and not per_structure:
        raise DeclarationError(
            ", ".join(label_files),
            expected="--per-structure",
            got="none",
            advice="Add --per-structure, or leave it out.",
        )
    for name, path in label_files.items():
        if not path.is_file():
            raise DataError(name, expected="a label map", got=str(path), advice="Correct the path.")


def _write(
    found: RegisteredFiles | None, outputs: Mapping[str, Path], image: str, transform: str
) -> None:
    """Write the image and the transformation for which there is a file."""
    if found is None:
        return
    if image in outputs:
        save_image(found.moved, outputs[image])
    if transform in outputs:
        save_transform(found.transform, outputs[transform])


def displacement_path(moved: Path) -> Path:
    """Return the name of the displacement beside a moved image.

    Examples
    --------
    >>> displacement_path(Path("out/moved.nii.gz")).as_posix()
    'out/moved_displacement.nii.gz'
    """
    stem = moved.name.removesuffix(".gz").removesuffix(".nii")
    # a path without a last part, as the working directory, has no other name
    return moved.parent / f"{stem}_displacement.nii.gz"


def _check_usual_name(path: Path | None) -> None:
    """Refuse to overwrite a file that nobody named, unless it is a displacement field, as of an earlier run."""
    if path is not None and os.path.lexists(path) and not _is_field(path):
        raise DeclarationError(
            "--displacement",
            expected="a name, as the usual one is that of another file",
            got=str(path),
            advice="Give --displacement, or move the file away.",
        )


def _is_field(path: Path) -> bool:
    """Return whether a file is an image of vectors."""
    try:
        intent, *_ = nibabel.load(path).header.get_intent()  # type: ignore[attr-defined]
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError):
        return False
    return bool(intent == "vector")


def check_choice(
    setting: Mapping[str, Value] | Path | str | None,
    criteria: Criteria,
    within_limits: bool,
) -> None:
    """Refuse arguments that contradict each other, and all scopes of a kind where one is needed."""
    if EVERY in criteria.values():
        raise DeclarationError(
            "--scope",
            expected="one scope, with a value of each kind",
            got=", ".join(f"{kind}={value}" for kind, value in criteria.items()),
            advice="Name the value: only `hmopt export` and `hmopt tune-by-gradient` take all.",
        )
    if setting and criteria:
        raise DeclarationError(
            "--regularization, --set, --setting",
            expected="either values or a scope (--scope, --label, --subject, --group)",
            got="both",
            advice="Use one of them.",
        )
    if setting and within_limits:
        raise DeclarationError(
            WITHIN_LIMITS,
            expected="a setting that the search recommends",
            got="values",
            advice="Use one of them.",
        )


def _outputs(
    moved: Path | str | None,
    displacement: Path | str | None,
    inverse: Path | str | None,
    inverse_moved: Path | str | None,
    uncertainty: Path | str | None,
) -> dict[str, Path]:
    """Return the files to write, by the name of their option."""
    outputs = {}
    if moved is not None:
        outputs["--moved"] = Path(moved)
        outputs["--displacement"] = displacement_path(Path(moved))
    if displacement is not None:
        outputs["--displacement"] = Path(displacement)
    if inverse is not None:
        outputs["--inverse"] = Path(inverse)
    if inverse_moved is not None:
        outputs["--inverse-moved"] = Path(inverse_moved)
    if uncertainty is not None:
        outputs[UNCERTAINTY] = Path(uncertainty)
    return outputs


def placement_of(given: str | None) -> Placement | None:
    """Return how images are placed, by the value of `--placement`; None: as in training.

    Raises
    ------
    DeclarationError
        If there is no such placement.

    Examples
    --------
    >>> placement_of("centre")
    'centre'
    """
    if given is None:
        return None
    for placement in PLACEMENTS:
        if given == placement:
            return placement
    raise DeclarationError(
        "--placement", expected="header, centre or affine", got=repr(given), advice="Choose one."
    )


def iterations_of(given: int | None) -> int | None:
    """Return the value of `--refine`, or refuse it: None, or a whole number in the range of `[refine]`."""
    check_number("--refine", given, least=0, most=MOST_REFINEMENTS)
    return given


def _advice_on_refinement(files: StudyFolder, iterations: int) -> str | None:
    """Return what to say where the search refined registrations by another number of iterations."""
    if not files.is_declared or files.study.refine.iterations == iterations:
        return None
    searched = files.study.refine.iterations
    how = (
        f"registrations refined by {searched} iterations" if searched else "unrefined registrations"
    )
    now = f"with {iterations} iterations" if iterations else "without refinement"
    return f"The setting was searched with {how}; {now}, another setting may be best."


def _images_of_study(files: StudyFolder, outputs: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that the study was made from, where an output is there already and could be one of them."""
    if not any(path.exists() for path in outputs.values()):
        return {}
    paths = list(files.prepared_folder.glob("*/template.nii.gz"))
    try:
        cohort = files.study.cohort
        for folder in (cohort.images, cohort.labels):
            if folder is not None:
                # also what no pair is made of
                paths += [path for path in folder.rglob("*") if path.is_file()]
        listed = list_images(cohort) if cohort.manifest is None else read_manifest(cohort.manifest)
        for kind in ("image", "label", "points"):
            if kind in listed:
                paths += listed[kind].dropna().tolist()
    except HmoptError:
        pass  # a model is enough to register with: the cohort may be elsewhere
    return {f"{path} of the study": path for path in paths}


def given_setting(space: Space, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the default setting with some values replaced.

    Parameters
    ----------
    space
        The hyperparameters of a model.
    values
        Values, or their text, by name; others are at their default, where they are active.

    Raises
    ------
    DeclarationError
        If a name is not of the space or inactive with the other values, or a value is no number,
        lies outside its range, or is none of the choices.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> given_setting(Space(hyperparameters=(Hyperparameter(name="regularization"),)), {"regularization": "0.3"})
    {'regularization': 0.3}
    """
    known_names = {one.name: one for one in space.hyperparameters}
    if values and not known_names:
        name, value = next(iter(values.items()))
        raise DeclarationError(
            name,
            expected="no value, as the network has one setting",
            got=value,
            advice="Leave it out, or name the study that was searched.",
        )
    given: dict[str, Value] = {}
    for name, value in values.items():
        if name not in known_names:
            known = ", ".join(space.names)
            raise DeclarationError(
                name,
                expected=f"a hyperparameter of the model ({known})",
                got=name,
                advice="Remove it.",
            )
        if isinstance(value, str):
            value = known_names[name].parse(value)
        given[name] = value
    return space.complete(given)


def check_one_setting(space: Space, asked: Criteria, within_limits: bool) -> None:
    """Refuse to choose a setting of a network that has one, as a baked network has.

    Raises
    ------
    DeclarationError
        If it is to be the best of a scope, or the best within limits.
    """
    if space.names:
        return
    options = [f"--{kind}" for kind in asked]
    if within_limits:
        options.append("--within-limits")
    if options:
        raise DeclarationError(
            options[0],
            expected="no choice of a setting, as the network has one",
            got=", ".join(asked.values()) or options[0],
            advice="Leave it out, or name the study that was searched.",
        )


def setting_text(setting: Setting) -> str:
    """Return a setting as a line shows it.

    Examples
    --------
    >>> setting_text({"regularization": 0.25})
    'regularization 0.25'
    """
    parts = [f"{name} {value_text(value)}" for name, value in setting.items()]
    return ", ".join(parts)


def recommended_setting(files: StudyFolder, criteria: Criteria) -> Recommendation:
    """Return the best setting λ* of a scope.

    It is that of the scope's curve pooled with those of its family, whatever the verdict is: where no improvement over
    the default is shown, the report recommends to keep the default. A published folder tells the settings of the scopes
    that were declared, in `optima.json`.

    Parameters
    ----------
    files
        A study folder that was searched, or a published one.
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
    DataError
        If the best settings of a published model are damaged, or of another model.

    Examples
    --------
    >>> demo = StudyFolder("studies/synthetic/demo")
    >>> recommended_setting(demo, {"label": "thalamus"}).best
    {'regularization': 0.85}
    """
    published = optima_beside(files)
    if published is not None:
        return _published_setting(published, criteria)
    files.check_together()
    options = files.searched.search
    study = study_of_scope(files, options.metric, criteria)
    measurements = files.measurements()
    pairs, labels = measurements.pairs, measurements.labels
    scope = find_scope(criteria, pairs, labels, options.min_paired_subjects)

    kinds = list(criteria) or [COHORT]
    family = list_scopes(options.model_copy(update={"scopes": [kinds]}), pairs, labels)
    best = recommend(measurements, family, options)[scope]

    found: dict[str, float] = {}
    for trial in study.trials:
        if trial.params == best:
            found = {
                name: trial.user_attrs[name]
                for name in options.all_limits
                if name in trial.user_attrs
            }
            break
    within = study.user_attrs["optimum_constrained"]
    within_limit: Setting | None = None if within is None else dict(within)
    constraints = limit_constraints(found, options.all_limits)
    if len(constraints) == len(options.all_limits) and max(constraints.values()) <= 0:
        within_limit = best
    return Recommendation(
        best=best,
        within_limit=within_limit,
        folding=found.pop(FOLDING, None),
        folding_limit=options.folding_limit,
        limited=found,
        limits=options.limits,
    )


def optima_beside(files: StudyFolder) -> "ModelOptima | None":
    """Return the best settings that were published with a model; None of a folder that holds a search itself.

    Parameters
    ----------
    files
        A study folder, or a published one.
    """
    if files.readable_search_file.is_file():
        return None
    from hmopt.report.origin import published_optima  # which imports all that draws a report

    return published_optima(files.path)


def find_published(optima: "ModelOptima", criteria: Criteria) -> "ScopeOptimum":
    """Return the optimum of a scope that was published.

    Raises
    ------
    SearchError
        If it was not; those that were are named.
    """
    asked = Scope(criteria=tuple(criteria.items()))
    spelled = {kind: with_arrow(value) for kind, value in criteria.items()}
    found = optima.of(asked) or optima.of(Scope(criteria=tuple(spelled.items())))
    if found is not None:
        return found
    known = [one.scope.name for one in optima.scopes]
    similar = difflib.get_close_matches(asked.name, known, n=3)
    named = similar if similar else known[:_MOST_NAMED]
    more = " …" if len(known) > len(named) else ""
    raise SearchError(
        "scope",
        expected=f"one that was published with the model ({', '.join(named)}{more})",
        got=asked.name,
        advice="Choose one of them, or set values with --regularization or --set.",
    )


def _published_setting(optima: "ModelOptima", criteria: Criteria) -> Recommendation:
    found = find_published(optima, criteria)
    within = found.within_limit
    return Recommendation(
        best=dict(found.recommended),
        within_limit=None if within is None else dict(within),
        folding=found.folding,
        folding_limit=optima.folding_limit,
        limited=found.limited,
        limits=optima.limits,
    )
