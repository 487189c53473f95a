"""The oracle of a study folder: the one place that knows where models come from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from hmopt.data.grid import SAME_SPACING
from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import NetworkOptions, RefineOptions, Study, read_study
from hmopt.declaration.study import read_of_others
from hmopt.errors import CheckpointError, DataError, sides_text
from hmopt.files import checked
from hmopt.interop import baked_model, own_model
from hmopt.interop.baked_model import BakedModel
from hmopt.interop.load import find_format, load_model
from hmopt.interop.model import FileModel, check_shapes, in_ras
from hmopt.interop.optimized_model import OptimizedModel
from hmopt.interop.own_model import HypermorphModel, OwnModel
from hmopt.interop.preparation import cohort_preparation, trained_preparation
from hmopt.interop.refined_model import refined_model
from hmopt.interop.registration import Placement, Registrar
from hmopt.ledger import Recorded
from hmopt.model_file import check_header
from hmopt.networks import architecture, coarsest_stride, load_hypermorph
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.engine import EngineOracle, engine_source, load_engine
from hmopt.oracle.of_model import ModelOracle
from hmopt.oracle.optimized import OptimizedOracle, make_continuation, optimized_scale
from hmopt.oracle.refined import refine
from hmopt.oracle.registered import RegisteringOracle, TrainingFacts
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint, Pair, steps_at
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder
from hmopt.training.identity import check_key, check_steps, training_key

Device = torch.device | str


def open_oracle(
    folder: Path | str,
    model: Checkpoint = "full",
    device: Device = "cpu",
    track: Track = silent,
) -> tuple[Recorded, list[Pair]]:
    """Return a study's oracle, in front of it the ledger, and the pairs that are searched.

    Parameters
    ----------
    folder
        The study folder. Its `[model]` table says where the model comes from.
    model
        The model at the end of training, or as it was at an earlier checkpoint.
    device
        Where to compute.
    track
        Shows how far the preparation of images is, where it is still to do.

    Returns
    -------
    Recorded
        The oracle.
    list of Pair
        The declared pairs of the subjects to search on.

    Raises
    ------
    HmoptError
        If the declaration, the data or the model cannot be used.
    """
    folder = Path(folder)
    study = read_study(folder)
    cohort = prepare(study, folder, track)
    if model == "full":
        measuring = load_oracle(folder, study, cohort, device)
    else:
        trained = load_trained(folder, study, cohort, device, model)
        measuring = refine(trained, study.refine)
    oracle = Recorded(measuring, StudyFolder(folder).ledger)
    return oracle, draw_pairs(cohort, study.pairs, "search")


def open_registrar(
    folder: Path | str | StudyFolder,
    device: Device = "cpu",
    placement: Placement | None = None,
    trust_code: bool = False,
    iterations: int | None = None,
) -> Registrar:
    """Return the model of a study folder, ready for images from outside the cohort.

    Parameters
    ----------
    folder
        The study folder. Of one whose model was trained there, only the model is needed, and the
        template where images are aligned.
    device
        Where to compute.
    placement
        How the two images are laid on the prepared grid; None: as those of the cohort were.
    trust_code
        Whether the Python file that makes the network of a model without a study, or of a
        published one, may be run.
    iterations
        How many refine each registration; None: as many as the study declares.

    Raises
    ------
    HmoptError
        If there is no model, or it cannot be used.
    """
    files = StudyFolder.of(folder)
    if files.path.is_file():
        raise CheckpointError(
            str(files.path),
            expected="a study folder, or one that holds a model",
            got="a file",
            advice="Name the folder first, then the moving and the fixed image.",
        )
    if not files.is_declared:
        path = files.model_file()
        alone: HypermorphModel | BakedModel
        if baked_model.recognizes(path):
            alone = baked_model.read(path, device, trust_code=trust_code)
        else:
            alone = own_model.read(path, device, trust_code=trust_code)
        refinement = published_refinement(path, alone.header).with_iterations(iterations)
        return _registrar_of(alone, placement, refinement)
    study = files.study
    refinement = study.refine.with_iterations(iterations)
    return source_of(files.path, study, trust_code).registrar(device, placement, refinement)


def published_refinement(path: Path, header: Mapping[str, Any]) -> RefineOptions:
    """Return how registrations of a published model were refined when it was searched.

    Parameters
    ----------
    path
        Its file, which an error names.
    header
        What the file says of it.

    Raises
    ------
    CheckpointError
        If the header was damaged.
    """
    return checked(
        header.get("refine", {}),
        RefineOptions,
        field=str(path),
        error=CheckpointError,
        what="the header of a published model",
        advice="Download the model again.",
    )


def open_registrar_of_file(
    path: Path,
    device: Device = "cpu",
    placement: Placement | None = None,
    trust_code: bool = False,
    *,
    refinement: RefineOptions,
) -> Registrar:
    """Return a hypermorph of hmopt in a file, as `hmopt compare` keeps, ready for images from outside the cohort.

    Parameters
    ----------
    path
        The file.
    device, placement, trust_code
        As of `open_registrar`.
    refinement
        How each registration is refined.

    Raises
    ------
    CheckpointError
        If there is no model, or it cannot be used.
    """
    alone = own_model.read(path, device, trust_code=trust_code)
    return _registrar_of(alone, placement, refinement)


def model_of(folder: Path | str | StudyFolder, trust_code: bool = False) -> FileModel:
    """Return the model of a study folder, or of one that holds a model alone, on the processor.

    Parameters
    ----------
    folder
        The folder. Of one whose model was trained there, only the model is needed.
    trust_code
        Whether the Python file that makes the network of a model without a study, or of a
        published one, may be run.

    Raises
    ------
    CheckpointError
        If there is no model, it cannot be used, or it is an engine.
    """
    files = StudyFolder.of(folder)
    if not files.is_declared:
        return load_model(files.model_file(), trust_code=trust_code)
    return source_of(files.path, files.study, trust_code).load("cpu")


def load_oracle(
    folder: Path, study: Study, cohort: PreparedCohort, device: Device = "cpu"
) -> RegisteringOracle:
    """Return the oracle that a study's tables `[model]` and `[refine]` declare.

    Parameters
    ----------
    folder
        The study folder.
    study
        The declaration.
    cohort
        Its prepared images.
    device
        Where to compute.

    Raises
    ------
    CheckpointError
        If there is no such model, or it does not fit the declaration or the cohort.
    DeclarationError
        If there is no such engine, or registrations are to be refined that have no velocity.
    """
    return source_of(folder, study).refined_oracle(cohort, device)


class ModelSource(ABC):
    """Where the model of a study comes from.

    To add a source, derive from this class, name it in `SOURCES`, and allow the name in
    `ModelOptions.source`.

    Parameters
    ----------
    folder
        The study folder.
    study
        Its declaration.
    trust_code
        Whether the Python file of a published folder may be run.
    """

    def __init__(self, folder: Path, study: Study, trust_code: bool = False) -> None:
        self.folder = folder
        self.study = study
        self.trust_code = trust_code

    def check(self) -> None:  # noqa: B027 (most sources need no check before images are prepared)
        """Refuse what cannot work whatever the images are, before they are prepared."""

    def load(self, device: Device) -> FileModel:
        """Return the model itself, where it is a network in a file.

        Raises
        ------
        CheckpointError
            If it is none, as an engine.
        """
        raise CheckpointError(
            "model.source",
            expected="a network in a file",
            got=self.study.model.source,
            advice="Use it through hmopt, or run its program directly.",
        )

    @abstractmethod
    def oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return what measures the model on a cohort that was prepared as the study declares."""

    def refined_oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the same, its registrations refined as the study declares."""
        return refine(self.oracle(cohort, device), self.study.refine)

    @abstractmethod
    def registrar(
        self, device: Device, placement: Placement | None, refinement: RefineOptions
    ) -> Registrar:
        """Return what registers files with the model, each registration refined."""


class TrainedHere(ModelSource):
    """`source = "trained"`: the model that `hmopt train` leaves in the study folder."""

    def load(self, device: Device) -> HypermorphModel:
        """Return the model at the end of its training."""
        path = StudyFolder(self.folder).model_file()
        declared_order = list(self.study.hyperparameters)
        # the network of a study of one's own, which declares it
        is_trusted = self.trust_code or not self.study.is_published
        has_own = self.study.network.callable is not None
        model = own_model.read(path, device, declared_order, trust_code=has_own and is_trusted)
        return _on_declared_lattice(model, self.study)

    def oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the oracle of the model at the end of its training."""
        return load_trained(self.folder, self.study, cohort, device)

    def registrar(
        self, device: Device, placement: Placement | None, refinement: RefineOptions
    ) -> Registrar:
        """Return what registers files with the model."""
        return _registrar_of(self.load(device), placement, refinement)


class OfFile(ModelSource):
    """`source = "file"`: a model in a file, of hmopt or of another program."""

    @property
    def place(self) -> Path:
        """The file or the folder that `model.path` declares."""
        path = self.study.model.path
        assert path is not None  # as the declaration has checked
        return path

    @property
    def file(self) -> Path:
        """The model's file."""
        return self.place

    def check(self) -> None:
        """Refuse a file that is not there, or of no known format."""
        find_format(self.file)

    def load(self, device: Device) -> FileModel:
        """Return the model in the file, for images as hmopt prepares them."""
        trust_code = self.study.model.trust_code
        model = load_model(self.file, device, trust_code=trust_code)
        if isinstance(model, HypermorphModel):
            return _on_declared_lattice(model, self.study)
        if model.space.names:
            check_hyperparameters(self.file, model.space, self.study)
        return in_ras(model)

    def oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the oracle of the model, if the cohort was prepared as the model asks."""
        model = self.load(device)
        if not model.space.names:
            raise CheckpointError(
                str(self.file),
                expected="a model with hyperparameters to search",
                got=f"a {model.title}",
                advice="Register with it, or search the model from which it was baked.",
            )
        if not isinstance(model, HypermorphModel):
            check_prepared(self.file, model, cohort)
            return ModelOracle(model, cohort, device, space=self.study.space)
        header = model.header
        check_header(self.file, header, needed=["preprocessing"])
        check_grid(self.file, header, self.study, cohort)
        facts = facts_of(header, header.get("loss"), cohort.spacing_mm)
        return AmortizedOracle(model.hypermorph, cohort, device, facts=facts)

    def registrar(
        self, device: Device, placement: Placement | None, refinement: RefineOptions
    ) -> Registrar:
        """Return what registers files with the model, on the grid of the study's cohort."""
        model = self.load(device)
        if self._takes_images_as_trained(model):
            return _registrar_of(model, placement, refinement)
        cohort = prepare(self.study, self.folder)
        preparation = cohort_preparation(cohort, self.study.preprocessing)
        return Registrar(
            refined_model(model, refinement), preparation, placement, space=self.study.space
        )

    def _takes_images_as_trained(self, model: FileModel) -> TypeGuard[OwnModel]:
        """Tell whether images are prepared as those of the model's training were, by its header alone."""
        if isinstance(model, BakedModel):
            return True
        if not isinstance(model, HypermorphModel):
            return False
        own = self.study.preprocessing
        trained = model.preprocessing
        keys = {"shape", "placement", "slices", "normalization", "background"}
        if own.model_dump(include=keys) != trained.model_dump(include=keys):
            return False
        # images that are aligned lie on the template of their own cohort
        return own.placement != "affine" or own.template == trained.template


class OfStudy(OfFile):
    """`source = "study"`: the trained model of another study folder."""

    @property
    def file(self) -> Path:
        """The other folder's model."""
        return StudyFolder(self.place).model_file()

    def load(self, device: Device) -> FileModel:
        """Return the other folder's model."""
        declaration = read_of_others(self.place)
        declared_order = None if declaration is None else list(declaration.hyperparameters)
        trust_code = self.study.model.trust_code
        model = own_model.read(self.file, device, declared_order, trust_code=trust_code)
        return _on_declared_lattice(model, self.study)


class OfEngine(ModelSource):
    """`source = "engine"`: another program, or a Python function that registers two images."""

    def check(self) -> None:
        """Refuse an engine that is not there, or does not take what is declared."""
        engine_source(self.folder, self.study).check()

    def oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the oracle of the engine."""
        jobs = self.study.search.jobs
        engine = load_engine(self.folder, self.study, cohort.spacing_mm, jobs)
        return EngineOracle(engine, cohort, device)

    def registrar(
        self, device: Device, placement: Placement | None, refinement: RefineOptions
    ) -> Registrar:
        """Return what registers files with the engine, on the grid of the study's cohort."""
        self.check()
        cohort = prepare(self.study, self.folder)
        engine = load_engine(self.folder, self.study, cohort.spacing_mm, jobs=1)
        preparation = cohort_preparation(cohort, self.study.preprocessing)
        return Registrar(refined_model(engine, refinement), preparation, placement)


class OfOptimization(ModelSource):
    """`source = "optimize"`: no model; the loss of each pair is minimized by itself."""

    def oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the oracle of registrations without a model."""
        return OptimizedOracle(self.study, cohort, device)

    def refined_oracle(self, cohort: PreparedCohort, device: Device) -> RegisteringOracle:
        """Return the same: `[refine]` declares the iterations of the minimization itself."""
        return self.oracle(cohort, device)

    def registrar(
        self, device: Device, placement: Placement | None, refinement: RefineOptions
    ) -> Registrar:
        """Return what registers files, on the grid of the study's cohort."""
        cohort = prepare(self.study, self.folder)
        scale = optimized_scale(self.study, cohort)
        continuation = make_continuation(self.study, cohort, scale, refinement)
        model = OptimizedModel(continuation, self.study.space, device)
        preparation = cohort_preparation(cohort, self.study.preprocessing)
        return Registrar(model, preparation, placement)


SOURCES: Mapping[str, type[ModelSource]] = {
    "trained": TrainedHere,
    "study": OfStudy,
    "file": OfFile,
    "engine": OfEngine,
    "optimize": OfOptimization,
}
"""By `model.source`: the one place that tells kinds of models apart."""


def source_of(folder: Path, study: Study, trust_code: bool = False) -> ModelSource:
    """Return where the model of a study comes from."""
    declared = study.model.source
    kind = SOURCES[declared]
    return kind(folder, study, trust_code)


def _on_declared_lattice(model: HypermorphModel, study: Study) -> HypermorphModel:
    """Return a model with the steps and defaults that a study declares, which may change after training.

    Raises
    ------
    CheckpointError
        If names, ranges or priors differ, which may not.
    """
    check_hyperparameters(model.path, model.space, study)
    model.hypermorph.space = study.space
    return model


def _registrar_of(
    model: OwnModel,
    placement: Placement | None,
    refinement: RefineOptions,
) -> Registrar:
    preparation = trained_preparation(model.path, model.header)
    return Registrar(refined_model(model, refinement), preparation, placement)


def load_trained(
    folder: Path,
    study: Study,
    cohort: PreparedCohort,
    device: Device = "cpu",
    checkpoint: Checkpoint = "full",
) -> AmortizedOracle:
    """Return the oracle of the model that was trained in a study folder.

    Raises
    ------
    CheckpointError
        If there is no such model, or it was trained under another declaration or on other images.
    """
    path = StudyFolder(folder).model_file(checkpoint)
    hypermorph, header = load_hypermorph(path, architecture(study, cohort.shape))
    check_key(path, header, training_key(study, cohort), study)
    check_steps(path, header, steps_at(checkpoint, study.training.steps))
    hypermorph.space = study.space
    declared_loss = study.loss.model_dump(mode="json")
    facts = facts_of(header, declared_loss, cohort.spacing_mm)
    return AmortizedOracle(hypermorph, cohort, device, facts=facts)


def load_checkpoints(
    folder: Path, study: Study, cohort: PreparedCohort, device: Device = "cpu"
) -> dict[Checkpoint, RegisteringOracle]:
    """Return the oracles of the model as it was during its training, the earliest first.

    Of a model that was trained here, the one at half training is always among them. Those at a
    quarter and three quarters are left out where the training kept none: it was very short, or of a
    version that did not keep them. A model that comes from elsewhere has none.

    Raises
    ------
    CheckpointError
        If there is no model of half training, or one that was trained under another declaration or
        on other images.
    """
    if study.model.source != "trained":
        return {}
    files = StudyFolder(folder)
    found: dict[Checkpoint, RegisteringOracle] = {}
    for checkpoint in CHECKPOINTS:
        is_kept = checkpoint == "half" or files.model_file(checkpoint).exists()
        if checkpoint != "full" and is_kept:
            trained = load_trained(folder, study, cohort, device, checkpoint)
            found[checkpoint] = refine(trained, study.refine)
    return found


def facts_of(
    header: Mapping[str, Any],
    loss: Mapping[str, Any] | None,
    spacing_mm: Sequence[float] | None = None,
) -> TrainingFacts:
    """Return what the header of a model says of its training.

    Parameters
    ----------
    header
        The header.
    loss
        The table `[loss]`.
    spacing_mm
        Of the cohort, for headers of earlier versions, which do not tell it.

    Examples
    --------
    >>> facts_of({"loss": {"scale": 12.5}, "steps": 6000}, loss={"similarity": "lncc"}).loss_scale
    12.5
    """
    scale = header.get("loss", {}).get("scale")
    spacing = header.get("spacing_mm", spacing_mm)
    return TrainingFacts(
        loss=loss,
        loss_scale=scale,
        steps=header.get("steps"),
        spacing_mm=None if spacing is None else tuple(spacing),
    )


def check_grid(path: Path, header: Mapping[str, Any], study: Study, cohort: PreparedCohort) -> None:
    """Refuse a cohort on a grid that a model does not take, of another spacing or normalization.

    The network is convolutional: it takes every grid of as many axes whose sides are multiples of
    its coarsest stride.

    Parameters
    ----------
    path
        The model's file.
    header
        Its header.
    study
        The declaration that the cohort was prepared under.
    cohort
        The prepared images.

    Raises
    ------
    CheckpointError
        If they differ; both numbers are told.
    """
    shape = tuple(header["architecture"]["shape"])
    network = NetworkOptions(**header["architecture"]["network"])
    stride = coarsest_stride(network)
    are_multiples = all(side % stride == 0 for side in cohort.shape)
    if len(shape) != len(cohort.shape) or not are_multiples:
        expected = f"{sides_text(shape)}, or multiples of {stride} along {len(shape)} axes"
        raise _another_grid(path, "shape", expected, sides_text(cohort.shape))
    _check_spacing(path, header.get("spacing_mm"), cohort.spacing_mm)
    normalization = header["preprocessing"].get("normalization", study.preprocessing.normalization)
    if normalization != study.preprocessing.normalization:
        own = study.preprocessing.normalization
        raise _another_grid(path, "normalization", normalization, own)


def check_prepared(path: Path, model: FileModel, cohort: PreparedCohort) -> None:
    """Refuse a cohort on a grid that a model of another program does not take.

    Its normalization is not compared: files of other programs do not tell it.

    Raises
    ------
    CheckpointError
        If shape or spacing do not fit; both numbers are told.
    """
    needed = model.preprocessing
    image = np.empty(cohort.shape, dtype=np.float32)
    try:
        check_shapes(image, image, tuple(needed.shape), model.stride)
    except DataError as error:
        taken = f"or multiples of {model.stride}" if model.stride is not None else "alone"
        expected = f"{sides_text(needed.shape)} voxels {taken}"
        raise _another_grid(path, "shape", expected, sides_text(cohort.shape)) from error
    _check_spacing(path, needed.spacing_mm, cohort.spacing_mm)


def _check_spacing(
    path: Path, trained: Sequence[float] | None, own: Sequence[float] | None
) -> None:
    """Refuse another spacing; one that is not known agrees with any."""
    if trained is None or own is None or np.allclose(trained, own, rtol=SAME_SPACING):
        return
    expected = f"{sides_text(trained)} mm"
    raise _another_grid(path, "spacing_mm", expected, f"{sides_text(own)} mm")


def check_hyperparameters(path: Path, space: Space, study: Study) -> None:
    """Refuse hyperparameters that mean something else to a model: other names, ranges or priors.

    Raises
    ------
    CheckpointError
        If they differ.
    """
    own = _ranges(space)
    declared = _ranges(study.space)
    advice = "Declare [hyperparameters] as those that the model was trained with."
    if own != declared:
        raise CheckpointError(f"{path}: hyperparameters", expected=own, got=declared, advice=advice)


def _ranges(space: Space) -> str:
    return "; ".join(_range(hyperparameter) for hyperparameter in space.hyperparameters)


def _range(hyperparameter: Hyperparameter) -> str:
    if hyperparameter.is_continuous and not hyperparameter.only_if:
        return f"{hyperparameter.name} {hyperparameter.range_text}, {hyperparameter.prior}"
    return f"{hyperparameter.name} {hyperparameter.meaning}"


def _another_grid(path: Path, key: str, expected: str, got: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {key}",
        expected=f"a cohort prepared to {expected}",
        got=got,
        advice=f"Declare preprocessing.{key} as the model's, or let `hmopt new --model` do so.",
    )
