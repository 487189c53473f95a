"""`hmopt.new`: from labelled images to a declared study."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.catalogue import find_engine_program
from hmopt.csv_tables import table_quoting
from hmopt.data.bids import BidsQuery, read_bids
from hmopt.data.cohort import check_images, list_cohort, notes_on_copies, read_structures
from hmopt.data.inspection import Inspection, infer_split, inspect_cohort
from hmopt.data.split import split_subjects
from hmopt.declaration import CohortOptions, Study, parse_study
from hmopt.declaration.document import write_document
from hmopt.errors import DataError, DeclarationError
from hmopt.files import check_outputs, real_place, replacing
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS
from hmopt.search.lattice import coarse_count
from hmopt.study_folder import StudyFolder
from hmopt.workflow.infer import (
    AskedSlices,
    Inferred,
    NewModel,
    Remarks,
    Values,
    infer_pairs,
    infer_preprocessing,
    infer_search,
    subject_count,
    written_path,
)
from hmopt.workflow.new_engine import EngineStudy
from hmopt.workflow.new_optimized import WithoutTraining

GRADIENT_NORM = 1.0
"""Of volumes: the length of a gradient is between 0.4 and 3 in nine of ten steps."""
RATE_2D, RATE_3D = 2e-3, 1e-3
"""Learning rates that are stable for slices and for volumes; a model learns fastest just below the largest such."""
TRAINING_S_PER_VOXEL = 1.0e-6
"""One image voxel of one pair of one step on one core; measured with the default network on a 2-core machine."""
STEP_S = 0.01
"""What a step takes besides, however small the images are, the same."""
MEASURING_S_PER_VOXEL = 4.0e-7
"""One image voxel of one pair at one setting on one core, the same."""
ITERATION_S_PER_VOXEL = 3.0e-7
"""One image voxel of one iteration that refines a pair on one core, the same."""
FULL_RESOLUTION_COST = 5
"""How many of these one at full resolution costs, the same."""
BYTES_PER_VOXEL = 5
"""A float32 intensity and a uint8 label."""
MODEL_BYTES = 200e6
"""A hypermorph of the default size at each checkpoint, and the state to continue from."""
ROW_BYTES = 2
"""One measured value, compressed."""
SPENT_SHARE = {"all": 1.0, "wilcoxon": 0.25, "halving": 0.25}
"""Share of the pairs that a trial is measured on, by `search.spending`; roughly, see benchmarks/spending.md."""


_MOST_DIGITS = 9
"""Of the index of a slice."""

AXES = {"0": 0, "1": 1, "2": 2, "x": 0, "y": 1, "z": 2}
"""What an axis may be called."""


def parse_slices(text: str) -> AskedSlices:
    """Return the slices that `AXIS:INDEX[,INDEX…]` names; AXIS alone leaves the indices to be chosen.

    Raises
    ------
    DeclarationError
        If the text has another form, or names a slice twice.

    Examples
    --------
    >>> parse_slices("z:15,17")
    AskedSlices(axis=2, indices=(15, 17))
    """
    name, colon, rest = text.partition(":")
    axis = AXES.get(name.strip().lower())
    parts = [part.strip() for part in rest.split(",")] if colon else []
    are_whole = all(
        part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS for part in parts
    )
    if axis is None or not are_whole or len(set(parts)) < len(parts):
        raise DeclarationError(
            "--slices",
            expected="AXIS:INDEX,INDEX…, the axis 0, 1, 2, x, y or z, each slice once",
            got=text,
            advice="Write as z:15,17; z alone takes the slices that show structures.",
        )
    return AskedSlices(axis=axis, indices=tuple(int(part) for part in parts))


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A way to say where the files of a cohort are: options of `hmopt new` that go together.

    Parameters
    ----------
    options
        Their names, which are keys of `[cohort]` too, but for `bids`: of a BIDS dataset a manifest is made.
    """

    options: tuple[str, ...]

    def __str__(self) -> str:
        """Return the options as they are typed."""
        return " and ".join(option_name(option) for option in self.options)


DATA_SOURCES: tuple[DataSource, ...] = (
    DataSource(options=("images", "labels")),
    DataSource(options=("manifest",)),
    DataSource(options=("bids",)),
)
"""All ways to name the data, of which a study uses one."""


def option_name(name: str) -> str:
    """Return an argument of `new` as the option of the command.

    Examples
    --------
    >>> option_name("label_names")
    '--label-names'
    """
    return f"--{name.replace('_', '-')}"


class ToTrain(NewModel):
    """A model that is trained in the study folder."""

    def infer(
        self,
        name: str,
        cohort: CohortOptions,
        found: Inspection,
        folder: Path,
        track: Track,
        slices: AskedSlices | None = None,
    ) -> Inferred:
        """Return the declaration of a study that trains its model on six tenths of the subjects."""
        study, remarks = infer_study(name, cohort, found, slices)
        return Inferred(study=study, remarks=remarks)


def choose_model(
    model: Path | str | None,
    engine: str | None = None,
    trust_code: bool = False,
    training: bool = True,
) -> NewModel:
    """Return where the model of a new study comes from.

    Parameters
    ----------
    model
        Another study folder, a published folder, or a model file; None: it is trained.
    engine
        The name of a program with an adaptor; None: no engine.
    trust_code
        Whether the Python file that makes the network of a model may be run.
    training
        Whether a model is trained where none is named.

    Raises
    ------
    DeclarationError
        If both are given, there is no such adaptor, or code is trusted of no model.
    """
    if trust_code and model is None:
        raise DeclarationError(
            "--trust-code", expected="--model", got="none", advice="Leave it out."
        )
    if engine is not None and model is not None:
        raise DeclarationError(
            "hmopt new", expected="--model or --engine", got="both", advice="Use one of them."
        )
    if not training and (engine is not None or model is not None):
        raise DeclarationError(
            "--no-training",
            expected="neither --model nor --engine",
            got="one",
            advice="Use only one of these options; nothing is trained with --model or --engine either.",
        )
    if not training:
        return WithoutTraining()
    if engine is not None:
        return EngineStudy(engine)
    if model is None:
        return ToTrain()
    from hmopt.workflow.new_model import OtherModel

    return OtherModel(Path(model), trust_code)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Rough cost of a study.

    Parameters
    ----------
    training_s, search_s
        Time on this machine's cores; None where it is not known, as of an engine without an adaptor.
    disk_bytes
        Prepared images, models and ledger.
    """

    training_s: float
    search_s: float | None
    disk_bytes: float


@dataclass(frozen=True, kw_only=True)
class NewStudy:
    """A study that was declared.

    Parameters
    ----------
    declaration
        The file `study.toml`.
    study
        Its content, paths as they stand there.
    remarks
        What a value was inferred from, by the dotted key.
    found
        The facts of the data.
    subjects
        Numbers of subjects to train, tune and search on.
    estimate
        Roughly the time and disk that the study takes on this machine.
    warnings
        What is doubtful about these data, or about a model of elsewhere on them, one sentence each.
    notes
        What a BIDS dataset lacks, one sentence each.
    """

    declaration: Path
    study: Study
    remarks: Mapping[str, str]
    found: Inspection
    subjects: Mapping[str, int]
    estimate: Estimate
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for a person."""
        folder = self.declaration.parent
        return f"Created: {self.declaration}. Check it, then run: hmopt run {folder}"


def new(
    folder: Path | str,
    *,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    manifest: Path | str | None = None,
    label_names: Path | str | None = None,
    bids: Path | str | None = None,
    derivative: Path | str | None = None,
    suffix: str | Sequence[str] = (),
    space: str | None = None,
    select: Mapping[str, str] | None = None,
    select_labels: Mapping[str, str] | None = None,
    slices: str | None = None,
    model: Path | str | None = None,
    trust_code: bool = False,
    engine: str | None = None,
    training: bool = True,
    track: Track = silent,
) -> NewStudy:
    """Inspect labelled images and write `study.toml`, a remark at each key that was inferred.

    With `model`, the study searches a model that was trained elsewhere: the images are prepared as
    that model asks, all subjects are searched, and nothing is trained.

    Parameters
    ----------
    folder
        The study folder, which is made where it is not there.
    images, labels
        Folders of images and of label maps with the same names. Either these two, `manifest` or `bids`.
    manifest
        A CSV with columns image, label, subject and any others.
    label_names
        `dseg.tsv`, `dataset.json`, or a colour table of FreeSurfer, 3D Slicer or ITK-SNAP; None: those of a BIDS
        dataset, else labels are numbered.
    bids
        A BIDS dataset. The images that are found are written as a manifest, `cohort.csv`, into the study folder, with
        the columns of `participants.tsv`; names of labels as `dseg.tsv`.
    derivative
        With `bids`: the derivative dataset of the label maps, a folder or a name below `derivatives`; None: the only
        one that has some.
    suffix
        With `bids`: one or several suffixes of images, as `T1w`; left out: the only one of the anatomical images.
    space
        With `bids`: the entity `space` of images and label maps; None: images as acquired.
    select, select_labels
        With `bids`: further entities of images and of label maps, as `{"acq": "mprage"}` and `{"desc": "aseg"}`; an
        empty value: those without it.
    slices
        Slices of volumes for 2-D work, as `"z:15,17"`: the axis after reorientation to RAS+ (0, 1, 2 or x, y, z), and
        indices from its lower end; without indices those that show structures in most images. None: slices where
        images have few or thick ones, or where `model` registers 2-D images.
    model
        Another study folder, a folder that `hmopt publish` wrote, or a model file that `hmopt.load_model` reads.
        None: the model is trained in the new folder.
    trust_code
        Run the Python file that makes the network of `model`, where it has a network of its own.
    engine
        A registration program to search instead of a model: `ants`, `elastix` or `convexadam`.
    training
        Whether a model is trained; False: each pair is registered by minimizing its loss, and λ is searched on all
        subjects.
    track
        Shows progress.

    Returns
    -------
    NewStudy
        The declaration, and the facts that it was inferred from.

    Raises
    ------
    DeclarationError
        If the folder has a `study.toml` already, or the data are named in both ways or in none.
    DataError
        If an image or label map cannot be used, there are too few subjects, or the images cannot be prepared to the
        model.
    CheckpointError
        If `model` is none that can be read.

    Examples
    --------
    >>> import tempfile
    >>> import hmopt
    >>> from hmopt.data.synthetic import make_cohort
    >>> folder = Path(tempfile.mkdtemp())
    >>> manifest = make_cohort(folder / "data", subjects=6, shape=(24, 24))
    >>> made = hmopt.new(folder / "study", manifest=manifest, label_names=folder / "data" / "dseg.tsv")
    >>> made.study.preprocessing.shape, made.subjects
    ([32, 32], {'train': 2, 'tune': 2, 'search': 2})
    """
    files = StudyFolder(folder)
    destination = files.declaration_file
    if destination.exists():
        raise DeclarationError(
            str(destination),
            expected="a folder without a study",
            got="one",
            advice="Edit it, or choose another folder.",
        )
    given = {
        "images": images,
        "labels": labels,
        "manifest": manifest,
        "bids": bids,
        "label_names": label_names,
    }
    paths = {name: Path(path) for name, path in given.items() if path is not None}
    check_sources(paths)
    query = _bids_query(paths, derivative, suffix, space, select, select_labels)
    asked = None if slices is None else parse_slices(slices)
    chosen = choose_model(model, engine, trust_code, training)
    read = {option_name(name): path for name, path in paths.items()}
    check_outputs({"FOLDER": destination}, {**read, **chosen.inputs})
    if query is None:
        return _declared(files, paths, chosen, asked, track)
    with bids_manifest(query, files.path, "label_names" not in paths) as made_of_bids:
        named = {name: path for name, path in paths.items() if name != "bids"}
        made = _declared(files, {**made_of_bids.paths, **named}, chosen, asked, track)
        return replace(made, notes=made_of_bids.notes)


def _declared(
    files: StudyFolder,
    paths: Mapping[str, Path],
    chosen: NewModel,
    slices: AskedSlices | None,
    track: Track,
) -> NewStudy:
    """Inspect the files of `[cohort]`, and write the declaration."""
    destination = files.declaration_file
    absolute = CohortOptions(**{name: real_place(path) for name, path in paths.items()})
    listing = list_cohort(absolute)
    if not listing.has_labels:
        raise DataError(
            str(absolute.manifest),
            expected="a column label, which hmopt new needs to choose the placement of images",
            got="none",
            advice="Add it, or write study.toml by hand, as docs/how-to/landmarks.md shows.",
        )
    check_images(listing.images, track)
    cohort = read_structures(listing, absolute, track)
    found = inspect_cohort(cohort, track)
    if slices is not None:
        _check_are_volumes(found)
    written = {name: written_path(path, files.path) for name, path in paths.items()}
    name = files.path.resolve().name
    inferred = chosen.infer(name, CohortOptions(**written), found, files.path, track, slices)
    study = inferred.study
    sides = split_subjects(list(found.subjects), study.split)
    made = NewStudy(
        declaration=destination,
        study=study,
        remarks=inferred.remarks,
        found=found,
        subjects={side: len(names) for side, names in sides.items()},
        estimate=_estimate(study, found),
        warnings=(*inferred.warnings, *found.doubts, *notes_on_copies(listing.images)),
    )
    text = write_document(study, inferred.remarks)
    with replacing(destination) as beside:
        beside.write_text(text, encoding="utf-8")
    return made


def _check_are_volumes(found: Inspection) -> None:
    """Refuse images of one slice, of which none can be taken."""
    thinnest = found.shapes.min(axis=1)
    if (thinnest > 1).all():
        return
    first = int(np.flatnonzero(thinnest == 1)[0])
    raise DataError(
        "--slices",
        expected="volumes",
        got=f"an image of {' x '.join(str(side) for side in found.shapes[first])} voxels",
        advice="Leave --slices out; 2-D images are used as they are.",
    )


def _bids_query(
    paths: Mapping[str, Path],
    derivative: Path | str | None,
    suffix: str | Sequence[str],
    space: str | None,
    select: Mapping[str, str] | None,
    select_labels: Mapping[str, str] | None,
) -> BidsQuery | None:
    """Return which files of a BIDS dataset are meant; None where the data are no such dataset."""
    if "bids" not in paths:
        options = {
            "--derivative": derivative,
            "--suffix": suffix,
            "--space": space,
            "--select": select,
            "--select-labels": select_labels,
        }
        for name, value in options.items():
            if value:
                raise DeclarationError(
                    name,
                    expected="--bids",
                    got="none",
                    advice="Add --bids, or leave the option out.",
                )
        return None
    return BidsQuery(
        dataset=paths["bids"],
        derivative=None if derivative is None else Path(derivative),
        suffixes=(suffix,) if isinstance(suffix, str) else tuple(suffix),
        space=space,
        entities=select or {},
        label_entities=select_labels or {},
    )


@dataclass(frozen=True, kw_only=True)
class MadeOfBids:
    """Files of `[cohort]` that were made of a BIDS dataset.

    Parameters
    ----------
    paths
        By key: the manifest, and the names of labels where the dataset tells them.
    notes
        What the dataset lacks, one sentence each.
    """

    paths: Mapping[str, Path]
    notes: tuple[str, ...]


@contextmanager
def bids_manifest(query: BidsQuery, folder: Path, with_names: bool) -> Iterator[MadeOfBids]:
    """Write a BIDS dataset as a manifest into a study folder, and take it away again after an error.

    Parameters
    ----------
    query
        Which files are meant.
    folder
        The study folder.
    with_names
        Whether names of labels are written, too.

    Raises
    ------
    HmoptError
        If a file is there already, or the dataset cannot be used.
    """
    paths = {"manifest": folder / "cohort.csv"}
    cohort = read_bids(query)
    if with_names and cohort.label_names is not None:
        paths["label_names"] = folder / "dseg.tsv"
    for path in paths.values():
        if path.exists():
            raise DeclarationError(
                str(path),
                expected="no such file",
                got="one",
                advice="Remove it, or choose another folder.",
            )
    images = cohort.images.copy()
    for column in ("image", "label"):
        images[column] = [written_path(path, folder).as_posix() for path in images[column]]
    try:
        with replacing(paths["manifest"]) as beside:
            images.to_csv(beside, index=False, quoting=table_quoting(images))
        if "label_names" in paths:
            assert cohort.label_names is not None
            rows = sorted(cohort.label_names.items())
            with replacing(paths["label_names"]) as beside:
                table = pd.DataFrame(rows, columns=["index", "name"])
                table.to_csv(beside, sep="\t", index=False)
        yield MadeOfBids(paths=paths, notes=cohort.notes)
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise


def check_sources(paths: Mapping[str, Path]) -> None:
    """Refuse data that are named in no way, by half, or in several ways.

    Parameters
    ----------
    paths
        What was given, by name of the argument.

    Raises
    ------
    DeclarationError
        If not all options of exactly one of `DATA_SOURCES` are given.

    Examples
    --------
    >>> check_sources({"images": Path("images")})
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hmopt new: expected either --images and --labels, --manifest, or --bids, got ...
    """
    begun = [source for source in DATA_SOURCES if not paths.keys().isdisjoint(source.options)]
    if len(begun) == 1 and paths.keys() >= set(begun[0].options):
        return
    *first, last = [str(source) for source in DATA_SOURCES]
    given = [name for source in begun for name in source.options if name in paths]
    raise DeclarationError(
        "hmopt new",
        expected=f"either {', '.join(first)}, or {last}",
        got=", ".join(option_name(name) for name in given) or "neither",
        advice=_advice_on_sources(begun, paths),
    )


def _advice_on_sources(begun: Sequence[DataSource], paths: Mapping[str, Path]) -> str:
    if not begun:
        return "Name the images."
    if len(begun) > 1:
        return "Use one of these."
    lacking = [option_name(name) for name in begun[0].options if name not in paths]
    return f"Add {' and '.join(lacking)}."


def infer_study(
    name: str, cohort: CohortOptions, found: Inspection, slices: AskedSlices | None = None
) -> tuple[Study, Remarks]:
    """Return the declaration of a study, and by dotted key what its values were inferred from.

    Parameters
    ----------
    name
        What the study is called.
    cohort
        Where its data are, as `study.toml` is to say it.
    found
        The facts of its data.
    slices
        Those that the user asks for.

    Raises
    ------
    DataError
        If there are fewer subjects than a split needs, or not all images have the slices.
    """
    remarks: Remarks = {"name": "Name of the folder."}
    images = found.cohort.images
    split = _split(found, remarks)
    pairs = infer_pairs(images, remarks)
    searched = subject_count(split["search"])
    preprocessing = infer_preprocessing(found, remarks, slices)
    values = {
        "name": name,
        "cohort": cohort.model_dump(mode="json", exclude_none=True),
        "preprocessing": preprocessing,
        "training": _training(len(preprocessing["shape"]), remarks),
        "split": split,
        "pairs": pairs,
        "search": infer_search(images, searched, pairs["tasks"], remarks),
    }
    return parse_study(values), remarks


def _training(d: int, remarks: Remarks) -> Values:
    """Return the learning rate of images with d axes, and of volumes the longest gradient."""
    if d == 2:
        return {"learning_rate": RATE_2D}
    remarks["training.learning_rate"] = (
        "Half of the 2-D value, because 3-D convolutions sum three times as many terms."
    )
    remarks["training.gradient_norm"] = (
        "About the typical norm; a few gradients are many times larger."
    )
    return {"learning_rate": RATE_3D, "gradient_norm": GRADIENT_NORM}


def _split(found: Inspection, remarks: Remarks) -> Values:
    split = infer_split(found)
    remarks["split.train"] = f"About 60 % of {len(found.subjects)} subjects."
    if isinstance(split.search, list):
        remarks["split.search"] = (
            "Subjects with several images first, because within-subject pairs are searched."
        )
    return split.model_dump()


def _estimate(study: Study, found: Inspection) -> Estimate:
    items = len(found.scans)
    slices = study.preprocessing.slices
    if slices is not None:
        items *= len(slices.indices)
    searched = subject_count(study.split.search)
    share = searched / len(found.subjects)
    possible = {
        "cross": found.pairs["cross"] * share**2,
        "within": found.pairs["within"] * share,
    }
    pairs = 0
    for task in study.pairs.tasks:
        if task in possible:
            most = round(possible[task])
            pairs += min(study.pairs.search, most)
    labels = len(found.cohort.structures)
    studies = count_studies(study, found)
    return estimate_study(study, items, pairs, labels, studies=studies)


def count_studies(study: Study, found: Inspection) -> int:
    """Return roughly the number of scopes that a sampler has a study of its own for.

    Parameters
    ----------
    study
        Its declaration.
    found
        The facts of its data.
    """
    images = found.cohort.images
    groups = {
        "cohort": 1,
        "label": len(found.cohort.structures),
        "task": len(study.pairs.tasks),
        "subject": subject_count(study.split.search),
    }
    studies = 0
    for kinds in study.search.scopes:
        of_scope = 1
        for kind in kinds:
            if kind in groups:
                of_scope *= groups[kind]
            elif kind in study.search.bins:
                of_scope *= len(study.search.bins[kind]) + 1
            elif kind in images:
                of_scope *= images[kind].nunique()
        studies += of_scope
    return studies


def estimate_study(
    study: Study,
    items: int,
    pairs: int,
    labels: int,
    cores: int | None = None,
    studies: int = 1,
) -> Estimate:
    """Return the estimated cost of a study.

    Parameters
    ----------
    study
        Its declaration.
    items
        Prepared images or slices.
    pairs
        Pairs that are searched.
    labels
        Structures.
    cores
        Of the processor; None: those of this machine.
    studies
        Scopes that a sampler has a study of its own for.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [100, 100]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> study = parse_study({"cohort": {"manifest": "cohort.csv"}, "training": {"steps": 1000}, **values})
    >>> round(estimate_study(study, items=20, pairs=100, labels=10, cores=2).training_s)
    30
    """
    shared = study.training.threads or cores or os.cpu_count() or 1
    voxels = math.prod(study.preprocessing.shape)
    is_trained_here = study.model.source == "trained"
    # a model that is trained here is also measured as it was at each checkpoint of its training
    models = len(CHECKPOINTS) if is_trained_here else 1
    measured = models * _settings(study, studies) * pairs
    steps = study.training.steps if is_trained_here else 0
    step_s = STEP_S + study.training.batch * voxels * TRAINING_S_PER_VOXEL / shared
    model_bytes = MODEL_BYTES if is_trained_here else 0
    images_bytes = items * voxels * BYTES_PER_VOXEL
    ledger_bytes = measured * 2 * labels * ROW_BYTES
    pair_s = _pair_seconds(study, voxels, shared)
    return Estimate(
        training_s=steps * step_s,
        search_s=None if pair_s is None else measured * pair_s,
        disk_bytes=images_bytes + model_bytes + ledger_bytes,
    )


def _settings(study: Study, studies: int) -> float:
    """Return roughly at how many settings every pair is measured."""
    search = study.search
    if search.sampler == "plan":
        coarse = coarse_count(len(study.hyperparameters), search.coarse)
        return float(coarse + search.refinements)
    trials = studies * search.trials * SPENT_SHARE[search.spending]
    # the default and, where pairs are spent, the best setting of each study are measured on all pairs
    completed = 1 if search.spending == "all" else 1 + studies
    return trials + completed


def _pair_seconds(study: Study, voxels: int, cores: int) -> float | None:
    """Return roughly the seconds that a pair takes at a setting; None where nothing is known of the model's speed."""
    model = study.model
    if model.source == "file" and model.path is not None and model.path.suffix != ".safetensors":
        return None  # a network of another program
    refine = study.refine
    iterations = refine.iterations + FULL_RESOLUTION_COST * refine.full_resolution_iterations
    refined = iterations * ITERATION_S_PER_VOXEL
    if model.source == "optimize":
        # rungs are shared by the settings below them: one ladder step a setting, about
        return voxels * refined / cores
    if model.source != "engine":
        return voxels * (MEASURING_S_PER_VOXEL + refined) / cores
    if model.engine is None:
        return None
    program = find_engine_program(model.engine)
    return voxels * program.seconds_per_voxel / max(1, study.search.jobs)
