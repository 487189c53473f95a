import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import hmopt
from hmopt.data.preprocessing import prepare
from hmopt.declaration import read_study
from hmopt.errors import CheckpointError, DeclarationError, HmoptError
from hmopt.ledger import Ledger
from hmopt.networks import architecture, build_hypermorph, save_hypermorph
from hmopt.oracle import load_checkpoints, open_oracle, open_registrar
from hmopt.oracle.open import model_of
from hmopt.training import training_key

STUDY = """
name = "boxes"
[cohort]
images = "imagesTr"
labels = "labelsTr"
[preprocessing]
shape = [8, 8, 8]
[split]
train = 1
tune = 1
search = 3
[network]
encoder = [4, 4]
decoder = [4]
final = []
[hypernetwork]
widths = [4]
"""


def save_nifti(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of five boxes, with untrained models in it."""
    generator = np.random.default_rng(0)
    for number in range(5):
        labels = np.zeros((8, 8, 8), dtype=np.uint8)
        labels[2 : 4 + number % 3, 2:6, 2:6] = 1
        save_nifti(
            generator.random((8, 8, 8), dtype=np.float32) + labels,
            tmp_path / f"imagesTr/box_{number}.nii.gz",
        )
        save_nifti(labels, tmp_path / f"labelsTr/box_{number}.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "box"}}')
    (tmp_path / "study.toml").write_text(STUDY)
    for seed, name in enumerate(("model.safetensors", "model-half.safetensors")):
        save_model(tmp_path, name, seed)
    return tmp_path


def save_model(folder: Path, name: str, seed: int) -> None:
    study = read_study(folder)
    cohort = prepare(study, folder)
    torch.manual_seed(seed)
    built_as = architecture(study, cohort.shape)
    tensors = build_hypermorph(built_as).hypernetwork.state_dict()
    header = {
        "architecture": built_as,
        "training_key": training_key(study, cohort),
        "preprocessing": study.preprocessing.model_dump(),
        "cohort": cohort.identity,
        "spacing_mm": cohort.spacing_mm,
    }
    save_hypermorph(folder / name, dict(tensors), header)


def test_opened_oracle_measures_the_pairs_to_search_and_keeps_what_it_measured(
    folder: Path,
) -> None:
    oracle, pairs = open_oracle(str(folder))
    assert oracle.labels == ("box",)
    assert len(pairs) == 6
    (block,) = oracle.measure([(70,)], pairs, ["dice"])
    assert np.isfinite(block.values["dice"]).all()
    kept = Ledger(folder / "ledger").block(
        oracle.identity, oracle.space, (70,), block.pairs, ["dice"], ["box"]
    )
    np.testing.assert_allclose(kept.values["dice"], block.values["dice"])


def test_model_of_half_the_training_is_another_oracle(folder: Path) -> None:
    assert open_oracle(folder, model="half")[0].identity != open_oracle(folder)[0].identity


def test_checkpoints_that_an_older_training_did_not_keep_are_left_out(folder: Path) -> None:
    study = read_study(folder)
    cohort = prepare(study, folder)
    assert list(load_checkpoints(folder, study, cohort)) == ["half"]
    for seed, name in enumerate(("quarter", "three-quarters")):
        save_model(folder, f"model-{name}.safetensors", seed + 2)
    found = load_checkpoints(folder, study, cohort)
    assert list(found) == ["quarter", "half", "three-quarters"]
    assert len({oracle.identity for oracle in found.values()}) == 3
    (folder / "model-half.safetensors").unlink()
    with pytest.raises(CheckpointError, match="Run `hmopt train` first"):
        load_checkpoints(folder, study, cohort)


def test_identity_stays_when_a_folder_moves(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = tmp_path_factory.mktemp("elsewhere") / "study"
    shutil.copytree(folder, moved)
    assert open_oracle(moved)[0].identity == open_oracle(folder)[0].identity


def test_an_image_in_place_of_the_folder_is_told(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "moving.nii.gz"
    image.touch()
    with pytest.raises(CheckpointError, match="Name the folder first, then the moving"):
        open_registrar(image)
    with pytest.raises(HmoptError, match=r"expected a study folder, got a file\. Name the folder"):
        hmopt.search(image)


def test_folder_without_a_model_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="Run `hmopt train` first"):
        open_oracle(folder)


def test_default_and_lattice_can_change_after_training(folder: Path) -> None:
    before = open_oracle(folder)[0]
    declared = "\n[hyperparameters.regularization]\nstep = 0.25\ndefault = 0.25\n"
    (folder / "study.toml").write_text(STUDY + declared)
    oracle = open_oracle(folder)[0]
    assert oracle.identity == before.identity
    assert oracle.space.hyperparameters[0].points == 5
    assert oracle.space.default == {"regularization": 0.25}


def test_a_default_of_after_the_training_is_that_of_register_and_bake(folder: Path) -> None:
    declared = "\n[hyperparameters.regularization]\nstep = 0.25\ndefault = 0.25\n"
    (folder / "study.toml").write_text(STUDY + declared)
    assert open_registrar(folder).space.default == {"regularization": 0.25}
    assert model_of(folder).space.hyperparameters[0].points == 5
    (folder / "study.toml").write_text(STUDY + declared + "high = 0.5\n")
    with pytest.raises(CheckpointError, match="as those that the model was trained with"):
        open_registrar(folder)


def test_model_of_another_split_is_refused(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace("search = 3", "search = 3\nseed = 5"))
    with pytest.raises(CheckpointError, match="model of this declaration and these images"):
        open_oracle(folder)


def test_model_of_another_architecture_is_refused(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace("widths = [4]", "widths = [8]"))
    with pytest.raises(CheckpointError, match="hypernetwork"):
        open_oracle(folder)


ELSEWHERE = (
    STUDY
    + """
[model]
source = "{source}"
path = "{path}"
"""
)


@pytest.fixture
def other(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder of the same files without a model, all of its subjects to be searched."""
    other = tmp_path_factory.mktemp("other") / "study"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("model*", "prepared", "ledger"))
    return other


def declare(folder: Path, source: str, path: object, text: str = ELSEWHERE) -> None:
    declared = text.format(source=source, path=path)
    split = "train = 0\ntune = 0\nsearch = 5"
    (folder / "study.toml").write_text(declared.replace("train = 1\ntune = 1\nsearch = 3", split))


@pytest.mark.parametrize(("source", "file"), [("study", ""), ("file", "model.safetensors")])
def test_a_model_from_elsewhere_gives_the_values_that_it_gives_at_home(
    source: str, file: str, folder: Path, other: Path
) -> None:
    declare(other, source, folder / file)
    at_home, pairs = open_oracle(folder)
    here, more_pairs = open_oracle(other)
    assert here.identity == at_home.identity  # the same model on the same prepared images
    assert len(more_pairs) == 20
    (expected,) = at_home.measure([(70,)], pairs, ["dice"])
    (found,) = here.measure([(70,)], pairs, ["dice"])
    np.testing.assert_array_equal(found.values["dice"], expected.values["dice"])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("shape = [8, 8, 8]", "shape = [8, 8, 10]", "or multiples of 4 .* got 8 x 8 x 10"),
        (
            "shape = [8, 8, 8]",
            "shape = [8, 8, 8]\nspacing_mm = [1.5, 1.5, 1.5]",
            "to 1 x 1 x 1 mm, got 1.5 x 1.5 x 1.5 mm",
        ),
        (
            "shape = [8, 8, 8]",
            'shape = [8, 8, 8]\nnormalization = "minmax"',
            "to percentile, got minmax",
        ),
        (
            "[network]",
            "[hyperparameters.regularization]\nhigh = 0.5\n[network]",
            r"regularization in \[0, 1\], uniform, got regularization in \[0, 0.5\]",
        ),
    ],
)
def test_a_cohort_that_was_prepared_otherwise_is_refused_with_the_numbers(
    before: str, after: str, message: str, folder: Path, other: Path
) -> None:
    declare(other, "study", folder, ELSEWHERE.replace(before, after))
    with pytest.raises(CheckpointError, match=message):
        open_oracle(other)


def test_a_file_of_another_format_is_refused(folder: Path, other: Path) -> None:
    (folder / "model.h5").write_bytes(b"HDF")
    declare(other, "file", folder / "model.h5")
    with pytest.raises(
        CheckpointError, match=r"one of: .*a hypermorph of hmopt .* got a file of another kind"
    ):
        open_oracle(other)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('source = "study"', "a path with source"),
        ('source = "engine"', "one of callable, command, engine with source"),
        ('path = "elsewhere"', "no path with source"),
        ('source = "elastix"', "'trained', 'study', 'file', 'engine' or 'optimize'"),
        ('source = "engine"\ncallable = "register"', "model.callable"),
    ],
)
def test_an_incomplete_table_is_refused(table: str, message: str, folder: Path) -> None:
    (folder / "study.toml").write_text(f"{STUDY}\n[model]\n{table}\n")
    with pytest.raises(DeclarationError, match=message):
        read_study(folder)


def test_a_hypermorph_takes_every_grid_of_multiples_of_its_stride(
    folder: Path, other: Path
) -> None:
    declare(other, "study", folder, ELSEWHERE.replace("shape = [8, 8, 8]", "shape = [8, 12, 16]"))
    oracle, pairs = open_oracle(other)
    (block,) = oracle.measure([(70,)], pairs[:2], ["dice"])
    assert np.isfinite(block.values["dice"]).all()
