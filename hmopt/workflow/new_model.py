"""A new study of a model that was trained elsewhere: its cohort is prepared to the model, and nothing is trained."""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hmopt.data.alignment import choose_template
from hmopt.data.facts import FACTS, CohortFacts, training_facts
from hmopt.data.inspection import Inspection
from hmopt.data.prepared import TEMPLATE
from hmopt.data.preprocessing import image_hash, prepare
from hmopt.data.reference import Reference, planes_of
from hmopt.declaration import (
    CohortOptions,
    HyperparameterOptions,
    PreprocessingOptions,
    Study,
    parse_study,
)
from hmopt.declaration.study import model_path, read_of_others, with_absolute_paths
from hmopt.errors import CheckpointError, DataError, DeclarationError, HmoptError, sides_text
from hmopt.files import checked, replacing
from hmopt.interop import own_model
from hmopt.interop.load import load_model
from hmopt.interop.model import FileModel, in_ras
from hmopt.interop.own_model import HypermorphModel
from hmopt.interop.preparation import Preparation, Spacing, trained_preparation
from hmopt.progress import Track
from hmopt.study_folder import StudyFolder
from hmopt.workflow.checks import WITHOUT_MODEL
from hmopt.workflow.doubts import find_doubts, look_at
from hmopt.workflow.infer import (
    FEWEST_SUBJECTS_OF_PAIRS,
    AskedSlices,
    Inferred,
    NewModel,
    Remarks,
    Values,
    infer_pairs,
    infer_search,
    slices_across,
    subject_count,
    written_model_path,
)
from hmopt.workflow.normalization import NormalizationGains, measure_normalizations

BYTES_PER_VOXEL = 200
"""Memory that registering a pair takes, for each voxel of the grid."""
_INSTEAD_OF_MODEL = {
    "engine": "Declare the engine itself.",
    "optimize": "Use --no-training instead of --model.",
}
"""What to do with a study that has no model, by `model.source`."""
_AS_GOOD = 0.05
"""Overlap by which the model's placement may be worse than another one and still be kept."""
_FULL_ENOUGH = 0.5
"""Share of the model's own grid that images must fill; for smaller ones it takes a smaller grid."""
_FEWEST_SLICES = 4
"""Voxels along every axis that a volume must have for 3-D registration."""
_AXIS_NAMES = ("x (sagittal)", "y (coronal)", "z (axial)")
"""Of the axis that slices lie across, after reorientation to RAS+."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model of elsewhere, and what is known of its training.

    Parameters
    ----------
    source, place
        What `[model]` declares: the study folder that has the model, or its file.
    model
        The model itself.
    preparation
        How images are brought to its grid.
    declaration
        The declaration of its study folder, paths absolute; None where there is none.
    """

    source: Literal["study", "file"]
    place: Path
    model: FileModel
    preparation: Preparation
    declaration: Study | None

    @property
    def options(self) -> PreprocessingOptions:
        """How the images were prepared that it was trained on."""
        return self.preparation.preprocessing

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of its own grid."""
        return tuple(self.options.shape)

    @property
    def spacing_mm(self) -> Spacing:
        """The spacing that it was trained at."""
        return self.preparation.spacing_mm

    @property
    def reference(self) -> Reference:
        """Axes and plane of its cohort."""
        return self.preparation.reference

    @cached_property
    def facts(self) -> CohortFacts | None:
        """Facts of its training images: from the header, or of its prepared cohort where that is there."""
        model = self.model
        if not isinstance(model, HypermorphModel):
            return None
        if FACTS in model.header:
            return checked(
                model.header[FACTS],
                CohortFacts,
                field=str(model.path),
                error=CheckpointError,
                what="the header of a trained model",
                advice="Restore the file, or move it away and train again.",
            )
        return _facts_of_folder(model, self.declaration)


def read_trained(path: Path, trust_code: bool = False) -> Trained:
    """Return the model of another study folder, of a published folder, or in a file.

    Parameters
    ----------
    path
        The folder or the file.
    trust_code
        Whether the Python file that makes the network may be run, where a model has one of its own.

    Raises
    ------
    CheckpointError
        If there is no model, it cannot be used, or it needs code that is not trusted.
    DeclarationError
        If the folder's own model is an engine, or its declaration breaks a rule.
    """
    if path.is_dir():
        return _of_folder(StudyFolder(path), trust_code)
    # shape and spacing in the order of prepared images
    model = in_ras(_loaded(path, trust_code))
    if not model.space.names:
        raise CheckpointError(
            str(path),
            expected="a model with hyperparameters to search",
            got=f"a {model.title}",
            advice="Register with it, or use the model from which it was baked.",
        )
    return _of_model("file", path, model, declaration=None)


def _loaded(path: Path, trust_code: bool) -> FileModel:
    return load_model(path, trust_code=True) if trust_code else load_model(path)


def _of_folder(files: StudyFolder, trust_code: bool) -> Trained:
    declaration = read_of_others(files.path)
    if declaration is None:
        if not files.model_file().is_file():
            raise CheckpointError(
                str(files.path),
                expected="a study folder, or a folder with a model.safetensors",
                got="neither",
                advice="Correct --model.",
            )
        model = _loaded(files.model_file(), trust_code)
        return _of_model("study", files.path, model, None)
    options = declaration.model
    if options.source in WITHOUT_MODEL:
        raise DeclarationError(
            "--model",
            expected="a model",
            got=f"the study {files.path} of {WITHOUT_MODEL[options.source]}",
            advice=_INSTEAD_OF_MODEL[options.source],
        )
    if options.source != "trained":
        # its model comes from elsewhere, too: the new study takes it from there
        origin = model_path(declaration, files.path)
        assert origin is not None  # as the declaration has checked
        return read_trained(origin, trust_code)
    declared_order = list(declaration.hyperparameters)
    model = own_model.read(files.model_file(), declared_order=declared_order, trust_code=trust_code)
    return _of_model("study", files.path, model, declaration)


def _of_model(
    source: Literal["study", "file"], place: Path, model: FileModel, declaration: Study | None
) -> Trained:
    if isinstance(model, HypermorphModel):
        preparation = trained_preparation(model.path, model.header)
    else:
        options = model.preprocessing
        spacing = None if options.spacing_mm is None else tuple(options.spacing_mm)
        preparation = Preparation(
            preprocessing=options, spacing_mm=spacing, reference=Reference(), template=None
        )
    return Trained(
        source=source,
        place=place,
        model=model,
        preparation=preparation,
        declaration=declaration,
    )


def _facts_of_folder(model: HypermorphModel, declaration: Study | None) -> CohortFacts | None:
    """Return the facts of training images from the prepared cohort beside a model; None where it is not there.

    Models of earlier versions do not tell them.
    """
    files = StudyFolder(model.path.parent)
    identity = model.header.get("cohort")
    if declaration is None or not isinstance(identity, str):
        return None
    if not (files.prepared_folder / identity).is_dir():
        return None
    try:
        study = with_absolute_paths(declaration, files.path)
        cohort = prepare(study, files.path)
    except (HmoptError, OSError):  # its data are elsewhere by now
        return None
    if cohort.identity != identity:
        return None
    return training_facts(study, cohort)


class OtherModel(NewModel):
    """A model that was trained elsewhere.

    Parameters
    ----------
    path
        Another study folder, a published folder, or a model file.
    trust_code
        Whether the Python file that makes the network may be run, where it has one of its own.
    """

    def __init__(self, path: Path, trust_code: bool = False) -> None:
        self._path = path
        self._trust_code = trust_code
        self._trained = read_trained(path, trust_code)

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The model's file."""
        trained = self._trained
        file = trained.place
        if trained.source == "study":
            file = StudyFolder(file).model_file()
        return {"--model": file}

    def infer(
        self,
        name: str,
        cohort: CohortOptions,
        found: Inspection,
        folder: Path,
        track: Track,
        slices: AskedSlices | None = None,
    ) -> Inferred:
        """Return the declaration of a study that prepares its cohort to the model and searches all subjects."""
        trained = self._trained
        remarks: Remarks = {"name": "The folder's name."}
        warnings: list[str] = []
        if trained.spacing_mm == "unknown":
            cohort = cohort.model_copy(update={"spacing_known": False})
            remarks["cohort.spacing_known"] = (
                "The spacing of the training images is unknown, so grids are compared in voxels."
            )
        declared = trained.declaration
        if declared is not None and declared.cohort.minimum_voxels:
            least = declared.cohort.minimum_voxels
            cohort = cohort.model_copy(update={"minimum_voxels": least})
            remarks["cohort.minimum_voxels"] = "As in the study of the model."
        fitting = Fitting(trained, found, slices, remarks, warnings)
        preprocessing = fitting.preprocessing(folder, track)
        split = _split(trained, found, remarks, warnings)
        pairs = _pairs(trained, found, remarks, warnings)
        images = found.cohort.images
        searched = subject_count(split["search"])
        search = infer_search(images, searched, pairs["tasks"], remarks)
        values: Values = {
            "name": name,
            "cohort": cohort.model_dump(mode="json", exclude_none=True),
            "preprocessing": preprocessing,
            "split": split,
            "pairs": pairs,
            "model": {
                "source": trained.source,
                "path": written_model_path(trained.place, folder).as_posix(),
                "trust_code": self._trust_code,
            },
            "hyperparameters": _hyperparameters(trained),
            "search": {**search, **_search_of(declared, remarks)},
        }
        study = parse_study(values)
        remarks["model.source"] = f"{trained.model.title}; nothing is trained here."
        if not trained.model.knows_normalization:
            study = self._with_normalization(study, found, folder, track, remarks, warnings)
        warnings += self._look(study, found, folder, track)
        if warnings:
            options = study.model.model_copy(update={"warnings": warnings})
            study = study.model_copy(update={"model": options})
        return Inferred(
            study=study,
            remarks=remarks,
            warnings=tuple(warnings),
        )

    def _with_normalization(
        self,
        study: Study,
        found: Inspection,
        folder: Path,
        track: Track,
        remarks: Remarks,
        warnings: list[str],
    ) -> Study:
        """Return the study with the normalization that suits the model best, measured on some pairs."""
        proposed = study.preprocessing.normalization
        absolute = with_absolute_paths(study, folder)
        images = found.cohort.images
        searched = study.split.search
        if isinstance(searched, list):
            images = images[images["subject"].isin(searched)]
        measured = measure_normalizations(self._trained.model, absolute, images, folder, track)
        if not isinstance(measured, NormalizationGains):
            reason = (
                "there is no pair of two subjects"
                if measured is None
                else f"a registration takes {measured.seconds:.0f} s"
            )
            remarks["preprocessing.normalization"] = (
                f"Not stored in the file, and not measured because {reason}."
            )
            warnings.append(
                f"Normalization: the file does not contain the normalization used in training; {proposed} is "
                f"assumed, and was not tested because {reason}."
            )
            return study
        remarks["preprocessing.normalization"] = measured.remark
        warnings += measured.warnings
        chosen = {"normalization": measured.best}
        preprocessing = study.preprocessing.model_copy(update=chosen)
        return study.model_copy(update={"preprocessing": preprocessing})

    def _look(self, study: Study, found: Inspection, folder: Path, track: Track) -> list[str]:
        """Return what is doubtful about the images by those that the model was trained on."""
        facts = self._trained.facts
        if facts is None:
            return [
                "The model contains no statistics of its training images, so contrast, structure sizes and "
                "overlap were not compared."
            ]
        absolute = with_absolute_paths(study, folder)
        return find_doubts(facts, look_at(absolute, found.cohort, facts, folder, track))


class Fitting:
    """How a new cohort is prepared to a model.

    Parameters
    ----------
    trained
        The model.
    found
        The facts of the new cohort.
    asked
        Slices that the user asks for.
    remarks, warnings
        Are told what a value was inferred from, and what is doubtful.
    """

    def __init__(
        self,
        trained: Trained,
        found: Inspection,
        asked: AskedSlices | None,
        remarks: Remarks,
        warnings: list[str],
    ) -> None:
        self._trained = trained
        self._found = found
        self._asked = asked
        # why slices are taken across their axis
        self._reason: str | None = None
        self._remarks = remarks
        self._warnings = warnings

    def preprocessing(self, folder: Path, track: Track) -> Values:
        """Return `[preprocessing]`.

        Raises
        ------
        DataError
            If the images cannot be prepared to the model; both numbers are told.
        """
        options = self._trained.options
        placement = self._placement()
        across = self._axis_across(placement)
        kept = [axis for axis in range(3) if axis != across]
        values: Values = {
            "shape": self._shape(kept, placement),
            "normalization": options.normalization,
            "placement": placement,
        }
        self._remarks["preprocessing.normalization"] = "That of the model."
        if options.background is not None:
            values["background"] = options.background
            self._remarks["preprocessing.background"] = "That of the model."
        spacing = self._trained.spacing_mm
        if isinstance(spacing, tuple):
            values["spacing_mm"] = [float(step) for step in spacing]
            self._remarks["preprocessing.spacing_mm"] = "That of the model."
        elif spacing is None:
            self._warnings.append(
                "Spacing: the spacing of the training images is unknown; the images keep their own spacing."
            )
        if placement == "affine":
            values["template"] = self._template(folder, track)
        if across is not None:
            reason = self._reason or "The model registers slices perpendicular to this axis."
            found, asked = self._found, self._asked
            values.update(slices_across(found, across, placement, asked, self._remarks, reason))
        return values

    def _axis_across(self, placement: str) -> int | None:
        """Return the axis that 2-D images lie across; None for volumes."""
        trained, found = self._trained, self._found
        shapes = found.shapes
        own = sides_text(trained.shape)
        if len(trained.shape) == 3:
            if self._asked is not None:
                raise DataError(
                    "--slices",
                    expected=f"none with a model that registers volumes of {own} voxels",
                    got=f"slices across axis {self._asked.axis}",
                    advice="Leave it out, or use a model of 2-D images.",
                )
            is_flat = int(shapes.min()) == 1
            if is_flat or int(np.median(shapes, axis=0).min()) < _FEWEST_SLICES:
                raise _cannot(
                    f"volumes, as the model registers {own} voxels",
                    f"{'2-D images' if is_flat else 'few slices'} ({sides_text(shapes[0])} voxels)",
                    "Use a model of 2-D images, or volumes.",
                )
            return None
        across = trained.options.slices.axis if trained.options.slices else trained.reference.plane
        are_planes = all(planes_of(scan.lattice, found.axes) for scan in found.scans)
        if are_planes:
            plane = found.slice_axis
            if across is not None and plane != across:
                self._warnings.append(
                    f"Plane: the images are perpendicular to axis {plane}, the training images to axis {across} (0 "
                    "sagittal, 1 coronal, 2 axial)."
                )
            return plane
        return self._axis_of_volumes(across, placement)

    def _axis_of_volumes(self, across: int | None, placement: str) -> int:
        """Return the axis that slices of volumes are taken across; `across` is that of the training, where known."""
        trained, found = self._trained, self._found
        shapes = found.shapes
        own = sides_text(trained.shape)
        if self._asked is not None:
            if across is not None and self._asked.axis != across:
                self._warnings.append(
                    f"Plane: --slices selects slices perpendicular to axis {self._asked.axis}, but the model was "
                    f"trained on slices perpendicular to axis {across} (0 sagittal, 1 coronal, 2 axial)."
                )
            return self._asked.axis
        if across is not None:
            if trained.options.slices is None and found.slice_axis != across:
                raise _cannot(
                    f"2-D images, as the model registers {own} voxels",
                    f"volumes ({sides_text(shapes[0])} voxels)",
                    f"Add --slices {across} for slices in the plane of its training images, or use a model of "
                    "volumes.",
                )
            return across
        if found.slice_axis is not None:
            self._reason = "The images have few or thick slices along this axis, and the model registers 2-D images."
            return found.slice_axis
        return self._fitting_plane(placement)

    def _fitting_plane(self, placement: str) -> int:
        """Return the axis across which slices of volumes fit the grid of a model best, which does not tell its plane.

        Raises
        ------
        DataError
            If structures reach beyond the only grid of the model in all planes.
        """
        own = self._trained.shape
        voxels = math.prod(own)
        sizes: dict[int, list[int]] = {}
        # (whether the images are held, how full the grid is) of each axis that is possible
        fit: dict[int, tuple[bool, float]] = {}
        for axis in range(3):
            kept = [other for other in range(3) if other != axis]
            needed = self._needed(kept, placement)
            sizes[axis] = needed
            is_held = all(count <= side for count, side in zip(needed, own, strict=True))
            overhang = max(count / side for count, side in zip(needed, own, strict=True))
            takes_more = self._trained.model.stride is not None
            if is_held:
                fit[axis] = (True, math.prod(needed) / voxels)
            elif takes_more or self._holds(self._structures_across(kept), own):
                fit[axis] = (False, -overhang)
        told = "; ".join(
            f"{sides_text(size)} across {_AXIS_NAMES[axis]}" for axis, size in sizes.items()
        )
        if not fit:
            raise _cannot(
                f"2-D images of {sides_text(own)} voxels, the model's only grid",
                f"volumes whose slices are {told}, with structures that reach beyond it in each plane",
                "Crop the images around their structures, or use a model that supports other grids.",
            )
        best = max(fit, key=lambda axis: fit[axis])
        name = _AXIS_NAMES[best]
        self._reason = (
            f"The model registers 2-D images of {sides_text(own)} voxels and does not contain their plane. Slices "
            f"have {told} voxels; those perpendicular to {name} fit best."
        )
        self._warnings.append(
            f"Plane: the model does not contain the plane of its training slices; slices perpendicular to {name} "
            "are used because they fit its grid best. Use `hmopt new --slices` to choose others."
        )
        return best

    def _placement(self) -> str:
        """Return the model's placement, or a better one of the new images where it is much worse."""
        own = self._trained.options.placement
        found = self._found
        overlaps = found.overlaps
        measured = ", ".join(f"{overlap:.2f} by {name}" for name, overlap in overlaps.items())
        remark = f"That of the model. Mean overlap of labels before registration: {measured or 'unknown'}."
        self._remarks["preprocessing.placement"] = remark
        if own == "affine":
            return own
        others = {name: overlap for name, overlap in overlaps.items() if name != "affine"}
        if self._trained.spacing_mm == "unknown":
            others.pop("header", None)
        if own not in others:
            return own
        best = max(others, key=lambda name: others[name])
        if others[best] <= others[own] + _AS_GOOD:
            return own
        self._remarks["preprocessing.placement"] = (
            f"The model uses {own}, with which these images overlap less: {measured}."
        )
        return best

    def _shape(self, kept: Sequence[int], placement: str) -> list[int]:
        """Return the grid: the model's own, or the smallest other one that holds the images."""
        trained = self._trained
        needed = self._needed(kept, placement)
        own = trained.shape
        covered = f"Images cover at most {sides_text(needed)} voxels"
        is_held = all(count <= side for count, side in zip(needed, own, strict=True))
        stride = trained.model.stride
        if stride is None:
            self._remarks["preprocessing.shape"] = f"The only grid of the model. {covered}."
            if not is_held:
                self._check_structures_inside(kept, own)
            return list(own)
        smallest = [stride * math.ceil(count / stride) for count in needed]
        if is_held and math.prod(smallest) >= _FULL_ENOUGH * math.prod(own):
            self._remarks["preprocessing.shape"] = f"The grid of the model. {covered}."
            return list(own)
        self._remarks["preprocessing.shape"] = (
            f"{covered}; the model requires multiples of {stride} (its own grid: {sides_text(own)})."
        )
        _check_memory(smallest)
        return smallest

    def _needed(self, kept: Sequence[int], placement: str) -> list[int]:
        """Return how many voxels images cover at most along some axes, at the model's spacing."""
        spacing = self._trained.spacing_mm
        if not isinstance(spacing, tuple):
            largest: list[int] = self._found.shapes.max(axis=0)[list(kept)].tolist()
            return largest
        extents = self._extents_mm(placement)[list(kept)]
        return [
            math.ceil(round(extent / step, 2))
            for extent, step in zip(extents.tolist(), spacing, strict=True)
        ]

    def _extents_mm(self, placement: str) -> Any:
        found = self._found
        if placement == "header" and found.best_placement == "header":
            return found.extents_mm
        of_images = found.shapes * found.spacings_mm
        return of_images.max(axis=0)

    def _check_structures_inside(self, kept: Sequence[int], shape: Sequence[int]) -> None:
        """Refuse images whose structures reach beyond the only grid that a model takes.

        The grid has the centre of the image.
        """
        needed = self._structures_across(kept)
        if not self._holds(needed, shape):
            raise _cannot(
                f"structures within {sides_text(shape)} voxels, the model's only grid",
                f"structures that need {sides_text(needed)}",
                "Crop the images around their structures, or use a model that supports other grids.",
            )
        self._warnings.append(
            f"Field of view: the images are larger than the only grid of the model ({sides_text(shape)} voxels); "
            "their margins are cut off."
        )

    @staticmethod
    def _holds(needed: Sequence[int], shape: Sequence[int]) -> bool:
        return all(count <= side for count, side in zip(needed, shape, strict=True))

    def _structures_across(self, kept: Sequence[int]) -> list[int]:
        """Return how many voxels a grid in the middle of the images must have to hold all structures.

        A structure between voxels a and b of n reaches max(|a - c|, |b - c|) + 1/2 voxels from
        c = (n - 1) / 2.
        """
        spacing = self._trained.spacing_mm
        reach = np.zeros(len(kept))
        for scan in self._found.scans:
            for row, axis in enumerate(kept):
                shown = np.flatnonzero(scan.structures_per_slice[axis])
                if not len(shown):
                    continue
                middle = (scan.shape[axis] - 1) / 2
                voxels = np.abs(shown - middle).max() + 0.5
                step = spacing[row] if isinstance(spacing, tuple) else scan.spacing_mm[axis]
                reach[row] = max(reach[row], voxels * scan.spacing_mm[axis] / step)
        return [math.ceil(2 * side) for side in reach]

    def _template(self, folder: Path, track: Track) -> str:
        """Return the template to align to: a copy of the model's, or the best image of the new cohort."""
        template = self._trained.preparation.template
        if template is not None and template.is_file():
            destination = folder / TEMPLATE
            destination.parent.mkdir(parents=True, exist_ok=True)
            with replacing(destination) as beside:
                shutil.copyfile(template, beside)
            self._remarks["preprocessing.template"] = (
                "Copy of the image to which the training cohort was aligned."
            )
            return TEMPLATE
        images = self._found.cohort.images
        preparation = self._trained.preparation
        chosen = choose_template(
            images,
            preparation.preprocessing.background,
            preparation.reference.axes,
            track=track,
        )
        rows = [Path(path) == chosen for path in images["image"]]
        name = str(images.index[rows.index(True)])
        self._warnings.append(
            "Alignment: the image to which the training cohort was aligned is not stored with the model; images "
            f"are aligned to {name} of this cohort instead."
        )
        return name


def _split(trained: Trained, found: Inspection, remarks: Remarks, warnings: list[str]) -> Values:
    """Return the split: all subjects are searched, but for those that the model was trained on."""
    subjects = list(found.subjects)
    known = _trained_on(trained, found)
    rest = [subject for subject in subjects if subject not in known]
    if len(rest) < FEWEST_SUBJECTS_OF_PAIRS:
        raise DataError(
            "cohort",
            expected=f"at least {FEWEST_SUBJECTS_OF_PAIRS} subjects on which the model was not trained",
            got=f"{len(rest)} of {len(subjects)}",
            advice="Add subjects, or search in the study folder of the model.",
        )
    remarks["split.train"] = "Nothing is trained here."
    remarks["split.search"] = "All subjects."
    if known:
        remarks["split.search"] = "All subjects on which the model was not trained."
        warnings.append(
            f"Subjects: the model was trained on images of {len(known)} of {len(subjects)} subjects; they are "
            "excluded from the search, because scores on them would be optimistic."
        )
    return {"train": 0, "tune": 0, "search": rest if known else len(subjects)}


def _trained_on(trained: Trained, found: Inspection) -> set[str]:
    """Return the subjects that have an image which the model was trained on."""
    facts = trained.facts
    if facts is None or not facts.files:
        return set()
    of_training = set(facts.files)
    images = found.cohort.images
    files = images[["image", "subject"]].itertuples(index=False, name=None)
    return {subject for path, subject in files if image_hash(path) in of_training}


def _pairs(trained: Trained, found: Inspection, remarks: Remarks, warnings: list[str]) -> Values:
    """Return the pairs: of the tasks that the model was trained on, where the cohort has them."""
    values = infer_pairs(found.cohort.images, remarks)
    known: list[str] = []
    if trained.facts is not None:
        known = trained.facts.tasks
    elif trained.declaration is not None:
        known = [str(task) for task in trained.declaration.pairs.tasks]
    shared = [task for task in values["tasks"] if task in known]
    if shared:
        values["tasks"] = shared
        remarks["pairs.tasks"] = (
            "Tasks on which the model was trained, if the cohort has such pairs."
        )
    elif known and "atlas" not in known:
        warnings.append(
            f"Pairs: the model was trained on {', '.join(known)} pairs, but the cohort only has "
            f"{', '.join(values['tasks'])} pairs."
        )
    return values


def _hyperparameters(trained: Trained) -> Values:
    """Return the model's hyperparameters; lattice and default as its study declares them."""
    tables = {}
    keys = set(HyperparameterOptions.model_fields)
    declared = {} if trained.declaration is None else trained.declaration.hyperparameters
    for hyperparameter in trained.model.space.hyperparameters:
        name = hyperparameter.name
        known = asdict(hyperparameter)
        values = {key: value for key, value in known.items() if key in keys and value != ()}
        if name in declared:
            values.update(declared[name].model_dump())
        tables[name] = values
    return tables


def _search_of(declared: Study | None, remarks: Remarks) -> Values:
    """Return what the model's study searches by, so that both optima can stand side by side."""
    if declared is None:
        return {}
    kept = {"metric", "reported", "folding_limit", "limits", "margin"}
    remarks["search.metric"] = "As in the study of the model, so that the optima can be compared."
    return declared.search.model_dump(mode="json", include=kept, exclude_none=True)


def _check_memory(shape: Sequence[int]) -> None:
    """Refuse a grid that does not fit into the memory of this machine."""
    needed = math.prod(shape) * BYTES_PER_VOXEL
    available = memory_bytes()
    if needed <= available:
        return
    raise _cannot(
        f"a grid that {available / 1e9:.0f} GB of memory can hold",
        f"{sides_text(shape)} voxels at the model's spacing, about {needed / 1e9:.0f} GB",
        "Crop the images, or correct the spacing in their headers.",
    )


def memory_bytes() -> int:
    """Return the memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cannot(expected: str, got: str, advice: str) -> DataError:
    return DataError("--model", expected=expected, got=got, advice=advice)
