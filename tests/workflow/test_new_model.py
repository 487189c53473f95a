"""A new cohort that is prepared to a model of elsewhere: what is declared, refused and doubted."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import hmopt
from hmopt.data.facts import FACTS, CohortFacts
from hmopt.data.pairs import draw_pairs
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import PreprocessingOptions, read_study
from hmopt.errors import CheckpointError, DataError, DeclarationError, LedgerError
from hmopt.interop import own_model
from hmopt.interop.model import FileModel, check_shapes
from hmopt.oracle import load_oracle, open_oracle
from hmopt.space import Hyperparameter, Setting, Space
from hmopt.study_folder import StudyFolder
from hmopt.workflow import new_model
from hmopt.workflow import normalization as normalization_of
from hmopt.workflow.infer import written_model_path
from hmopt.workflow.new import NewStudy

Change = Callable[[NDArray[Any]], NDArray[Any]]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of other subjects, with more air around the heads than the model has seen."""
    folder = tmp_path_factory.mktemp("new-cohort")
    make_cohort(folder, subjects=6, shape=(32, 32), seed=1)
    for name in files_of(folder):
        file: Any = nibabel.load(folder / name)
        data = np.asarray(file.dataobj)
        margins = [(4, 4), (2, 2)] + [(0, 0)] * (data.ndim - 2)
        wider = np.pad(data, margins, constant_values=data.min())
        nibabel.save(nibabel.Nifti1Image(wider, file.affine), folder / name)
    return folder


def files_of(folder: Path) -> set[str]:
    """Return the images and label maps of a cohort, each once."""
    table = pd.read_csv(folder / "cohort.csv")
    return {str(name) for name in table[["image", "label"]].to_numpy().ravel()}


def declare(folder: Path, cohort: Path, model: Path, **options: Any) -> NewStudy:
    return hmopt.new(
        folder,
        manifest=cohort / "cohort.csv",
        label_names=cohort / "dseg.tsv",
        model=model,
        **options,
    )


def changed(cohort: Path, folder: Path, change: Change) -> Path:
    """Copy a cohort with other intensities in its images."""
    shutil.copytree(cohort, folder)
    for name in set(pd.read_csv(folder / "cohort.csv")["image"]):
        file: Any = nibabel.load(folder / name)
        data = change(np.asarray(file.dataobj)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(data, file.affine), folder / name)
    return folder


def make_small(folder: Path) -> None:
    """Let a study search few settings on few pairs."""
    path = folder / "study.toml"
    text = path.read_text()
    for declared, small in (
        ("coarse = 10", "coarse = 4"),
        ("refinements = 5", "refinements = 0"),
        ("search = 200", "search = 20"),
    ):
        assert declared in text
        text = text.replace(declared, small)
    path.write_text(re.sub("scopes = .*", 'scopes = [["cohort"]]', text))


def about(made: NewStudy, subject: str) -> list[str]:
    return [warning for warning in made.warnings if warning.startswith(subject)]


def test_training_keeps_facts_of_its_images_in_the_header(tiny_study: Any) -> None:
    header = own_model.read(tiny_study.folder / "model.safetensors").header
    facts = CohortFacts.model_validate(header[FACTS])
    assert (facts.subjects, facts.images) == (4, 16)
    assert facts.modalities == ["T1", "T2"]
    assert facts.tasks == ["cross", "within"]
    assert set(facts.overlaps["cross"]) <= set(header["labels"])
    assert len(facts.files) == 16


def test_a_new_cohort_is_prepared_to_the_model_and_searched_whole(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    made = declare(tmp_path / "new", cohort, tiny_study.folder)
    study = made.study
    assert study.preprocessing.shape == [40, 36]  # multiples of the stride, 4
    assert study.preprocessing.normalization == "percentile"
    assert made.subjects == {"train": 0, "tune": 0, "search": 6}
    assert (study.model.source, study.model.path) == ("study", tiny_study.folder)
    assert made.estimate.training_s == 0
    assert not about(made, "Contrast")
    assert not about(made, "Modality")
    text = made.declaration.read_text()
    assert "[network]" not in text
    assert "[training]" not in text
    written = read_study(tmp_path / "new")
    assert written.model.warnings == list(made.warnings)


def test_the_study_is_searched_reported_and_registered_without_training(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    declare(folder, cohort, tiny_study.folder)
    make_small(folder)
    assert "Nothing to train" in str(hmopt.train(folder))
    swept = hmopt.search(folder, device="cpu")
    assert len(swept.measurements.pairs) > 0
    page = hmopt.report(folder).page
    assert page.is_file()
    image = cohort / pd.read_csv(cohort / "cohort.csv")["image"][0]
    fixed = cohort / pd.read_csv(cohort / "cohort.csv")["image"][4]
    moved = tmp_path / "moved.nii.gz"
    hmopt.register(folder, image, fixed, moved=moved, device="cpu")
    file: Any = nibabel.load(moved)
    assert file.shape == nibabel.load(fixed).shape  # type: ignore[attr-defined]


def test_the_network_gives_on_the_new_grid_what_the_loaded_model_gives(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    declare(folder, cohort, tiny_study.folder)
    study = read_study(folder)
    oracle = load_oracle(folder, study, prepare(study, folder))
    pairs = draw_pairs(oracle.cohort, study.pairs, "search")
    model = hmopt.load_model(tiny_study.folder)
    pair = pairs[0]
    moving, fixed = (oracle.cohort.image(name) for name in (pair.moving, pair.fixed))
    assert moving.shape == (40, 36)
    expected = model.displacement(moving, fixed, {"regularization": 0.35})
    found = oracle.displacement((70,), pair).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_that_the_model_was_trained_on_are_not_searched(
    tiny_study: Any, tmp_path: Path
) -> None:
    made = declare(tmp_path / "new", tiny_study.folder / "data", tiny_study.folder)
    study = read_study(tiny_study.folder)
    trained = set(own_model.read(tiny_study.folder / "model.safetensors").header[FACTS]["files"])
    assert trained
    assert made.subjects["search"] == 10 - study.split.train  # type: ignore[operator]
    assert "4 of 10 subjects" in about(made, "Subjects")[0]


def test_a_cohort_of_training_images_alone_is_refused(tiny_study: Any, tmp_path: Path) -> None:
    prepared = prepare(read_study(tiny_study.folder), tiny_study.folder)
    items = prepared.images
    names = set(items[items["split"] == "train"]["subject"])
    table = pd.read_csv(tiny_study.folder / "data/cohort.csv")
    for column in ("image", "label"):
        table[column] = [str(tiny_study.folder / "data" / name) for name in table[column]]
    (tmp_path / "data").mkdir()
    shutil.copy(tiny_study.folder / "data/dseg.tsv", tmp_path / "data/dseg.tsv")
    table[table["subject"].isin(names)].to_csv(tmp_path / "data/cohort.csv", index=False)
    with pytest.raises(DataError, match="was not trained, got 0 of 4"):
        declare(tmp_path / "new", tmp_path / "data", tiny_study.folder)


def test_inverted_contrast_is_doubted(tiny_study: Any, cohort: Path, tmp_path: Path) -> None:
    other = changed(cohort, tmp_path / "inverted", lambda data: data.max() - data)
    (doubt,) = about(declare(tmp_path / "new", other, tiny_study.folder), "Contrast")
    assert "1-Wasserstein" in doubt


def test_another_scale_of_intensities_is_not_doubted(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    other = changed(cohort, tmp_path / "scaled", lambda data: data * 3 + 100)
    assert not about(declare(tmp_path / "new", other, tiny_study.folder), "Contrast")


def test_images_that_lie_apart_are_doubted(tiny_study: Any, cohort: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    shutil.copytree(cohort, tmp_path / "apart")
    table = pd.read_csv(tmp_path / "apart/cohort.csv")
    for labels, rows in table.groupby("label"):
        by = int(generator.integers(6, 14) * generator.choice([-1, 1]))
        for name in {str(labels), *rows["image"]}:
            file: Any = nibabel.load(tmp_path / "apart" / name)
            data = np.roll(np.asarray(file.dataobj), by, axis=0)
            nibabel.save(nibabel.Nifti1Image(data, file.affine), tmp_path / "apart" / name)
    (doubt, *_) = about(declare(tmp_path / "new", tmp_path / "apart", tiny_study.folder), "Overlap")
    assert "before registration" in doubt


def test_structures_of_other_size_and_coarse_images_are_doubted(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    header = own_model.read(tiny_study.folder / "model.safetensors").header
    spacing = header["spacing_mm"]
    shutil.copytree(cohort, tmp_path / "coarse")
    for name in files_of(tmp_path / "coarse"):
        file: Any = nibabel.load(tmp_path / "coarse" / name)
        affine = file.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(file.dataobj), affine), tmp_path / "coarse" / name
        )
    made = declare(tmp_path / "new", tmp_path / "coarse", tiny_study.folder)
    assert made.study.preprocessing.spacing_mm == spacing
    assert made.study.preprocessing.shape == [80, 72]
    assert "2 times as coarse" in about(made, "Spacing")[0]
    assert "instead of" in about(made, "Size")[0]


def test_volumes_are_refused_for_a_model_of_planes(tiny_study: Any, tmp_path: Path) -> None:
    make_cohort(tmp_path / "volumes", subjects=3, shape=(24, 24, 24), seed=2)
    with pytest.raises(
        DataError, match=r"2-D images, as the model registers 32 x 32 .*24 x 24 x 24"
    ):
        declare(tmp_path / "new", tmp_path / "volumes", tiny_study.folder)
    assert not (tmp_path / "new" / "study.toml").exists()


def test_a_model_of_a_model_is_taken_from_its_first_home(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    declare(tmp_path / "one", cohort, tiny_study.folder)
    made = declare(tmp_path / "two", cohort, tmp_path / "one")
    assert made.study.model.path == tiny_study.folder


def test_the_place_of_a_model_beside_the_study_is_relative(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_study.folder, tmp_path / "studies/theirs")
    made = declare(tmp_path / "studies/new", cohort, tmp_path / "studies/theirs")
    assert made.study.model.path == Path("../theirs")
    assert 'path = "../theirs"' in made.declaration.read_text()
    (tmp_path / "studies").rename(tmp_path / "moved")
    declared = read_study(tmp_path / "moved/new")
    assert declared.model.path == tmp_path / "moved/theirs"


def test_the_place_of_a_model_in_the_working_directory_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    beside = written_model_path(Path("published/mine"), Path("studies/new"))
    assert beside == Path("../../published/mine")
    monkeypatch.setenv("HMOPT_SHARED", str(tmp_path / "shared"))
    shared = written_model_path(tmp_path / "shared/a/model.h5", Path("studies/new"))
    assert shared.as_posix() == "${HMOPT_SHARED}/a/model.h5"
    other = written_model_path(tmp_path / "other/model.h5", Path("studies/new"))
    assert other == tmp_path / "other/model.h5"


def test_a_file_of_hmopt_needs_no_folder(tiny_study: Any, cohort: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_study.folder / "model.safetensors", tmp_path / "theirs.safetensors")
    made = declare(tmp_path / "new", cohort, tmp_path / "theirs.safetensors")
    assert made.study.model.source == "file"
    assert not about(made, "The model contains no statistics")


@pytest.mark.parametrize("name", ["nothing", "folder", "text.h5"])
def test_what_is_no_model_is_refused(cohort: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.h5").write_text("no model")
    with pytest.raises(CheckpointError):
        declare(tmp_path / "new", cohort, tmp_path / name)


def test_python_of_another_folder_is_not_run(tiny_study: Any, cohort: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(tiny_study.folder / "model.safetensors", theirs)
    (theirs / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    declared = (tiny_study.folder / "study.toml").read_text()
    (theirs / "study.toml").write_text(f'plugins = ["evil.py"]\n{declared}')
    declare(tmp_path / "new", cohort, theirs)
    open_oracle(tmp_path / "new")
    assert not (tmp_path / "ran").exists()


class OfOneGrid(FileModel):
    """A model of another program that takes one grid only."""

    title = "a model of one grid"
    identity = "one-grid"
    space = Space(hyperparameters=(Hyperparameter(name="stiffness", high=0.5, default=0.2),))

    def __init__(self, shape: list[int]) -> None:
        self._shape = shape

    @property
    def preprocessing(self) -> PreprocessingOptions:
        return PreprocessingOptions(shape=self._shape, normalization="minmax")

    def displacement(self, moving: Any, fixed: Any, setting: Setting) -> NDArray[np.float32]:
        check_shapes(moving, fixed, tuple(self._shape), self.stride)
        return np.zeros((len(self._shape), *self._shape), np.float32)


def foreign(monkeypatch: pytest.MonkeyPatch, path: Path, model: FileModel) -> Path:
    path.write_bytes(b"theirs")
    monkeypatch.setattr(new_model, "load_model", lambda _: model)
    return path


def test_a_model_of_another_program_keeps_its_grid_and_hyperparameters(
    monkeypatch: pytest.MonkeyPatch, cohort: Path, tmp_path: Path
) -> None:
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([48, 48]))
    made = declare(tmp_path / "new", cohort, theirs)
    assert made.study.preprocessing.shape == [48, 48]
    assert made.study.preprocessing.normalization == "minmax"
    assert made.study.space.names == ("stiffness",)
    assert made.study.space.default == {"stiffness": 0.2}
    assert "unknown" in about(made, "Spacing")[0]
    assert "were not compared" in made.warnings[-1]


def test_structures_beyond_the_only_grid_are_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, cohort: Path, tmp_path: Path
) -> None:
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([16, 16]))
    with pytest.raises(DataError, match=r"within 16 x 16 voxels.*structures that need \d+ x \d+"):
        declare(tmp_path / "new", cohort, theirs)


def test_planes_are_refused_for_a_model_of_volumes(
    monkeypatch: pytest.MonkeyPatch, cohort: Path, tmp_path: Path
) -> None:
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([48, 48, 48]))
    with pytest.raises(DataError, match=r"volumes, as the model registers 48 x 48 x 48 .*2-D"):
        declare(tmp_path / "new", cohort, theirs)


def test_a_grid_that_no_memory_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(new_model, "memory_bytes", lambda: 1000)
    with pytest.raises(DataError, match="40 x 36 voxels"):
        declare(tmp_path / "new", cohort, tiny_study.folder)


@pytest.mark.parametrize(
    ("declared", "advice"),
    [
        ('source = "engine"\ncallable = "x.py:register"\n', "Declare the engine itself"),
        (
            'source = "optimize"\n[refine]\niterations = 3\n',
            "Use --no-training instead of --model",
        ),
    ],
)
def test_a_study_without_a_model_is_no_model(
    cohort: Path, tmp_path: Path, tiny_study: Any, declared: str, advice: str
) -> None:
    text = (tiny_study.folder / "study.toml").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/study.toml").write_text(f"{text}\n[model]\n{declared}")
    with pytest.raises(DeclarationError, match=f"expected a model, got the study .*{advice}"):
        declare(tmp_path / "new", cohort, tmp_path / "other")
    assert not StudyFolder(tmp_path / "new").is_declared


def volumes(folder: Path, shape: tuple[int, ...] = (22, 26, 30), shift: int = 0) -> Path:
    """Write six volumes with a structure near their middle, each moved by whole voxels, and one bright voxel."""
    random = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"))
    rows = ["image,label,subject"]
    for subject in range(6):
        middle = (np.array(shape) - 1) / 2 + random.integers(-shift, shift + 1, len(shape))
        distance = np.linalg.norm(places - middle[:, None, None, None], axis=0)
        label = (distance < 6).astype(np.uint8)
        image = np.exp(-(distance**2) / 50) + 0.02 * random.random(shape)
        bright = tuple((middle + 6).astype(int))
        image[bright] = 40.0  # so that the maximum says nothing of the structure
        for name, data in {"image": image.astype(np.float32), "label": label}.items():
            nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), folder / f"{name}-{subject}.nii.gz")
        rows.append(f"image-{subject}.nii.gz,label-{subject}.nii.gz,{subject}")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")
    (folder / "dseg.tsv").write_text("index\tname\n1\tball\n")
    return folder


@pytest.mark.parametrize(
    ("grid", "axis"), [([26, 32], 0), ([22, 30], 1), ([24, 26], 2), ([20, 18], 2)]
)
def test_volumes_are_cut_across_the_axis_whose_slices_fit_the_models_grid_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grid: list[int], axis: int
) -> None:
    cohort = volumes(tmp_path)
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid(grid))
    made = declare(tmp_path / "new", cohort, theirs)
    slices = made.study.preprocessing.slices
    assert slices is not None
    assert slices.axis == axis
    middle = ((22, 26, 30)[axis] - 1) / 2
    assert slices.indices[0] + slices.indices[-1] == pytest.approx(2 * middle)
    assert len(slices.indices) == 12  # the diameter of the ball
    assert set(slices.search_indices) <= set(slices.indices)
    assert "fit its grid best" in about(made, "Plane")[0]
    assert "26 x 30 across x (sagittal)" in made.remarks["preprocessing.slices.axis"]
    prepared = prepare(read_study(tmp_path / "new"), tmp_path / "new")
    assert prepared.shape == tuple(grid)


def test_volumes_are_refused_where_no_plane_holds_the_structures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([10, 40]))
    with pytest.raises(DataError, match=r"10 x 40 voxels.*26 x 30 across x .*in each plane"):
        declare(tmp_path / "new", volumes(tmp_path), theirs)
    assert not (tmp_path / "new").exists()


def test_slices_that_are_asked_for_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cohort = volumes(tmp_path)
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([32, 32]))
    made = declare(tmp_path / "new", cohort, theirs, slices="y:11,14")
    slices = made.study.preprocessing.slices
    assert slices is not None
    assert (slices.axis, slices.indices) == (1, [11, 14])
    assert not about(made, "Plane")
    trained = hmopt.new(
        tmp_path / "trained",
        manifest=cohort / "cohort.csv",
        label_names=cohort / "dseg.tsv",
        slices="0",
    )
    assert trained.study.preprocessing.shape == [32, 32]
    assert trained.study.preprocessing.slices is not None
    assert trained.study.preprocessing.slices.axis == 0


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ("y:26", r"below 26.*got 26"),
        ("z:0", r"that show labels \(9 to 20\), got 0"),
        ("w:1", "AXIS:INDEX"),
        ("z:", "AXIS:INDEX"),
        ("z:1,1", "each slice once"),
        ("z:-1", "AXIS:INDEX"),
        ("z:" + "9" * 30, "AXIS:INDEX"),
        ("", "AXIS:INDEX"),
    ],
)
def test_slices_that_cannot_be_taken_are_refused(tmp_path: Path, slices: str, message: str) -> None:
    cohort = volumes(tmp_path)
    with pytest.raises((DataError, DeclarationError), match=f"--slices: expected.*{message}"):
        hmopt.new(
            tmp_path / "new",
            manifest=cohort / "cohort.csv",
            label_names=cohort / "dseg.tsv",
            slices=slices,
        )
    assert not (tmp_path / "new").exists()


def test_slices_are_refused_of_planes_and_for_a_model_of_volumes(
    monkeypatch: pytest.MonkeyPatch, cohort: Path, tmp_path: Path
) -> None:
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([48, 48]))
    with pytest.raises(DataError, match="--slices: expected volumes"):
        declare(tmp_path / "new", cohort, theirs, slices="z:0")
    solid = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([32, 32, 32]))
    with pytest.raises(DataError, match="--slices: expected none"):
        declare(tmp_path / "new", volumes(tmp_path), solid, slices="z:15")


class Shifting(OfOneGrid):
    """Moves images over each other where they are scaled as it was trained on, and apart elsewhere."""

    knows_normalization = False

    def __init__(self, shape: list[int], expects: str) -> None:
        super().__init__(shape)
        self._expects = expects

    def displacement(self, moving: Any, fixed: Any, setting: Setting) -> NDArray[np.float32]:
        spectrum = np.fft.fftn(moving) * np.conj(np.fft.fftn(fixed))
        correlation = np.fft.ifftn(spectrum).real
        best = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
        sides = np.array(correlation.shape)
        shift = np.where(best > sides / 2, best - sides, best)
        right = self._is_expected(moving) and self._is_expected(fixed)
        field = np.zeros((len(sides), *sides), np.float32)
        for axis, voxels in enumerate(shift):
            field[axis] = voxels if right else voxels + 7
        return field

    def _is_expected(self, image: NDArray[np.float32]) -> bool:
        in_unit_range = abs(image.min()) < 1e-6 and abs(image.max() - 1) < 1e-6
        if not in_unit_range:
            return self._expects == "zscore"
        # the brightest voxel is far above all others, or cut off at the 99.5th percentile
        found = "percentile" if image.mean() > 0.02 else "minmax"
        return self._expects == found


@pytest.mark.parametrize("normalization", ["percentile", "minmax", "zscore"])
def test_the_normalization_that_a_file_does_not_tell_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, normalization: str
) -> None:
    monkeypatch.setattr(normalization_of, "BUDGET_S", 1e6)  # for all pairs, on a busy machine too
    cohort = volumes(tmp_path, shift=2)
    model = Shifting([32, 32, 32], normalization)
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", model)
    made = declare(tmp_path / "new", cohort, theirs)
    assert made.study.preprocessing.normalization == normalization
    remark = made.remarks["preprocessing.normalization"]
    assert re.search(rf"12 pairs \(0\.\d+\) by \+0\.\d+ with {normalization}, -0", remark)
    assert not about(made, "Normalization")
    again = declare(tmp_path / "again", cohort, theirs)
    assert again.remarks["preprocessing.normalization"] == remark


def test_a_normalization_that_does_not_matter_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = Shifting([32, 32, 32], "none of them")
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", model)
    made = declare(tmp_path / "new", volumes(tmp_path, shift=2), theirs)
    [doubt] = about(made, "Normalization")
    assert "hardly improves" in doubt
    assert doubt in made.study.model.warnings


def test_the_normalization_of_a_slow_model_is_a_guess_that_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(normalization_of, "BUDGET_S", 0.0)
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", Shifting([32, 32, 32], "zscore"))
    made = declare(tmp_path / "new", volumes(tmp_path, shift=2), theirs)
    assert made.study.preprocessing.normalization == "minmax"
    assert "is assumed, and was not tested" in about(made, "Normalization")[0]


def test_a_model_that_knows_its_normalization_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, cohort: Path, tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(new_model, "measure_normalizations", fail)
    theirs = foreign(monkeypatch, tmp_path / "theirs.bin", OfOneGrid([48, 48]))
    made = declare(tmp_path / "new", cohort, theirs)
    assert made.remarks["preprocessing.normalization"] == "That of the model."


def test_a_model_file_that_was_changed_since_the_search_is_noticed(
    tiny_study: Any, cohort: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.safetensors"
    shutil.copy(tiny_study.folder / "model.safetensors", theirs)
    declare(tmp_path / "new", cohort, theirs)
    make_small(tmp_path / "new")
    hmopt.search(tmp_path / "new")
    StudyFolder(tmp_path / "new").check_together()
    shutil.copy(tiny_study.folder / "model-half.safetensors", theirs)
    with pytest.raises(LedgerError, match=r"a search of the model in .*theirs\.safetensors"):
        hmopt.report(tmp_path / "new")
    images = sorted(cohort.glob("**/*T1*.nii.gz"))[:2] or sorted(cohort.glob("images/*"))[:2]
    with pytest.raises(LedgerError, match="Run `hmopt search"):
        hmopt.register(tmp_path / "new", *images, moved=tmp_path / "moved.nii.gz")
    hmopt.search(tmp_path / "new")
    StudyFolder(tmp_path / "new").check_together()
