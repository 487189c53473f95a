"""Bad input gets one clear line and exit code 2, and nothing is written."""

import gzip
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort

DECLARATION = """
name = "small"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [32, 32]
[split]
train = 2
tune = 2
search = 2
[pairs]
same = ["modality"]
[network]
encoder = [4, 8]
decoder = [8]
final = []
[hypernetwork]
widths = [4]
[training]
steps = 2
batch = 1
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good study folder."""
    folder = tmp_path_factory.mktemp("source")
    make_cohort(folder / "data", subjects=6, shape=(32, 32))
    (folder / "study.toml").write_text(DECLARATION, encoding="utf-8")
    return folder


@pytest.fixture
def study(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "study"))


def contents(folder: Path) -> set[Path]:
    """Return what lies in a folder; locks of the operating system are no results."""
    return {path for path in folder.rglob("*") if path.suffix != ".lock"}


def refused(*arguments: object) -> str:
    """Run a command that must fail, and give its one line."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--quiet"])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert result.stdout == ""
    return line


def replace_image(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = nibabel.Nifti1Image.from_filename(path)
    data = change(np.asarray(image.dataobj))
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)


def with_nan(data: np.ndarray) -> np.ndarray:
    data = data.astype(np.float32)
    data[3, 3] = np.nan
    return data


def first(study: Path, column: str) -> Path:
    return study / "data" / str(pd.read_csv(study / "data/cohort.csv")[column][0])


def remove_label(study: Path) -> str:
    first(study, "label").unlink()
    return "label file"


def put_label_on_another_grid(study: Path) -> str:
    replace_image(first(study, "label"), lambda data: data[:-1])
    return "shape"


def put_nan_into_image(study: Path) -> str:
    replace_image(first(study, "image"), with_nan)
    return "finite"


def make_image_four_dimensional(study: Path) -> str:
    replace_image(first(study, "image"), lambda data: np.stack([data[..., None]] * 2, axis=-1))
    return "one 2-D or 3-D image"


def make_image_unreadable(study: Path) -> str:
    first(study, "image").write_bytes(b"this is no image")
    return "an image that nibabel reads"


def take_a_name_away(study: Path) -> str:
    names = pd.read_csv(study / "data/dseg.tsv", sep="\t")
    names[names["index"] != 3].to_csv(study / "data/dseg.tsv", sep="\t", index=False)
    return "3"


def declare_a_volume_of_planes(study: Path) -> str:
    declare(study, "shape = [32, 32]", "shape = [32, 32, 32]")
    return "expected a volume, as preprocessing.shape has three sides"


def name_no_subject(study: Path) -> str:
    manifest = pd.read_csv(study / "data/cohort.csv")
    manifest.loc[0, "subject"] = "n/a"
    manifest.to_csv(study / "data/cohort.csv", index=False)
    return "expected a value for subject, got n/a"


def label_an_image_by_itself(study: Path) -> str:
    manifest = pd.read_csv(study / "data/cohort.csv")
    manifest["label"] = [manifest["image"][0], *manifest["label"][1:]]
    manifest.to_csv(study / "data/cohort.csv", index=False)
    return "expected another file as label map than the image, got the same"


def put_a_pipe_for_an_image(study: Path) -> str:
    path = first(study, "image")
    path.unlink()
    os.mkfifo(path)
    return "expected the image file, got a pipe, a socket or a device"


def scale_an_image_without_end(study: Path) -> str:
    path = first(study, "image")
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:116] = struct.pack("<f", np.inf)
    path.write_bytes(gzip.compress(bytes(content)))
    return "the scl_slope inf"


def give_the_study_no_name(study: Path) -> str:
    declare(study, 'name = "small"', 'name = " "')
    return "name: expected a name of printable characters"


def ask_for_more_subjects(study: Path) -> str:
    declare(study, "train = 2", "train = 20")
    return "at most 6 subjects"


def misspell_a_key(study: Path) -> str:
    declare(study, "steps = 2", "stpes = 2")
    return "unknown key 'stpes'. Did you mean 'steps'?"


def declare(study: Path, old: str, new: str) -> None:
    path = study / "study.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def pair_by_an_unknown_column(study: Path) -> str:
    declare(study, 'same = ["modality"]', 'same = ["scanner"]')
    return "pairs.same: expected columns of the manifest, got scanner"


def name_an_unknown_atlas(study: Path) -> str:
    declare(study, 'same = ["modality"]', 'same = ["modality"]\natlas = "nobody"')
    return "pairs.atlas: expected the name of an image of the cohort, got 'nobody'"


def cut_an_unknown_column(study: Path) -> str:
    declare(study, "[network]", "[search]\nbins = { height = [1.5] }\n[network]")
    return "search.bins.height: expected a numeric column of the manifest"


def search_scopes_of_an_unknown_column(study: Path) -> str:
    declare(study, "[network]", '[search]\nscopes = [["cohort"], ["scanner"]]\n[network]')
    return "expected a kind of scope, got 'scanner'"


def report_landmarks_without_points(study: Path) -> str:
    declare(study, "[network]", '[search]\nreported = ["tre_mm"]\n[network]')
    return "expected metrics without landmarks"


def name_no_database(study: Path) -> str:
    declare(study, "[network]", '[search]\nstorage = "foo"\n[network]')
    return "search.storage: expected a database that can be opened"


@pytest.mark.parametrize(
    "spoil",
    [
        name_no_database,
        pair_by_an_unknown_column,
        name_an_unknown_atlas,
        cut_an_unknown_column,
        search_scopes_of_an_unknown_column,
        report_landmarks_without_points,
    ],
)
def test_what_the_manifest_contradicts_is_refused_before_images_are_prepared(
    spoil: Callable[[Path], str], study: Path
) -> None:
    named = spoil(study)
    before = contents(study)
    assert named in refused("train", study)
    assert named in CliRunner().invoke(app, ["check", str(study)]).stderr
    assert contents(study) == before


@pytest.mark.parametrize(
    "spoil",
    [
        remove_label,
        put_label_on_another_grid,
        put_nan_into_image,
        make_image_four_dimensional,
        make_image_unreadable,
        take_a_name_away,
        declare_a_volume_of_planes,
        name_no_subject,
        label_an_image_by_itself,
        put_a_pipe_for_an_image,
        scale_an_image_without_end,
        give_the_study_no_name,
        ask_for_more_subjects,
        misspell_a_key,
    ],
)
def test_training_refuses(spoil: Callable[[Path], str], study: Path) -> None:
    named = spoil(study)
    before = contents(study)
    assert named in refused("train", study)
    assert contents(study) == before


@pytest.mark.parametrize(
    "spoil",
    [
        remove_label,
        put_label_on_another_grid,
        make_image_four_dimensional,
        make_image_unreadable,
        take_a_name_away,
    ],
)
def test_a_new_study_is_not_declared_on(
    spoil: Callable[[Path], str], study: Path, tmp_path: Path
) -> None:
    named = spoil(study)
    data = study / "data"
    line = refused(
        "new",
        tmp_path / "new",
        "--manifest",
        data / "cohort.csv",
        "--label-names",
        data / "dseg.tsv",
    )
    assert named in line
    assert not (tmp_path / "new").exists()


def test_a_new_study_needs_subjects_for_its_split(study: Path, tmp_path: Path) -> None:
    manifest = pd.read_csv(study / "data/cohort.csv")
    manifest[manifest["subject"] <= "sub-003"].to_csv(study / "data/few.csv", index=False)
    names = study / "data/dseg.tsv"
    line = refused(
        "new", tmp_path / "new", "--manifest", study / "data/few.csv", "--label-names", names
    )
    assert "at least 6 subjects" in line
    assert not (tmp_path / "new").exists()


def test_a_study_that_is_there_is_not_overwritten(study: Path) -> None:
    before = (study / "study.toml").read_bytes()
    assert "study.toml" in refused("new", study, "--manifest", study / "data/cohort.csv")
    assert (study / "study.toml").read_bytes() == before


def test_contradicting_sources_are_refused(study: Path, tmp_path: Path) -> None:
    line = refused(
        "new", tmp_path / "new", "--manifest", study / "data/cohort.csv", "--images", study
    )
    assert "either --images and --labels, --manifest, or --bids" in line


def test_a_checkpoint_of_another_architecture_is_refused(
    tiny_study: object, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(tiny_study.folder, tmp_path / "study"))  # type: ignore[attr-defined]
    declare(study, "encoder = [4, 8]", "encoder = [4, 16]")
    before = contents(study)
    assert "model.safetensors" in refused("search", study)
    assert "model.safetensors" in refused("train", study)
    assert contents(study) == before


def test_registering_without_a_model_says_what_to_do(study: Path, tmp_path: Path) -> None:
    image = first(study, "image")
    line = refused(
        "register",
        study,
        image,
        image,
        "--moved",
        tmp_path / "moved.nii.gz",
        "--regularization",
        "0.5",
    )
    assert "hmopt train" in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--regularization", "1.5"], "[0.0, 1.0]"),
        (["--regularization", "0.5", "--label", "thalamus"], "either values or a scope"),
        (["--set", "speed=3"], "speed"),
        (["--regularization", "0.5", "--device", "abacus"], "abacus"),
        (["--label", "thalamus"], "hmopt search"),
        (["--scope", "label=*"], "one scope, with a value of each kind"),
        (["--scope", "cohort=all"], "cohort without a value"),
    ],
)
def test_registration_refuses_what_it_cannot_do(
    options: list[str], named: str, tiny_study: object, tmp_path: Path
) -> None:
    folder: Path = tiny_study.folder  # type: ignore[attr-defined]
    image = folder / "data/images/sub-001_ses-1_T1w.nii.gz"
    assert named in refused(
        "register", folder, image, image, "--moved", tmp_path / "moved.nii.gz", *options
    )
    assert list(tmp_path.iterdir()) == []


def test_a_displacement_that_nobody_named_is_not_overwritten(
    tiny_study: object, tmp_path: Path
) -> None:
    folder: Path = tiny_study.folder  # type: ignore[attr-defined]
    image = folder / "data/images/sub-001_ses-1_T1w.nii.gz"
    moved, beside = tmp_path / "moved.nii.gz", tmp_path / "moved_displacement.nii.gz"
    beside.write_text("of another program", encoding="utf-8")
    arguments = ("register", folder, image, image, "--moved", moved, "--regularization", "0.5")
    assert refused(*arguments).startswith("--displacement: expected a name")
    assert beside.read_text(encoding="utf-8") == "of another program"

    named = (*arguments, "--displacement", beside)
    again = arguments
    for one in (named, again):
        assert CliRunner().invoke(app, [str(argument) for argument in one]).exit_code == 0


def test_debug_lets_the_error_through(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(tmp_path), "--debug"])
    assert type(result.exception).__name__ == "DeclarationError"


@pytest.mark.filterwarnings("default:labels have no names")
def test_labels_without_names_are_numbered_with_a_warning(study: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["new", str(tmp_path / "new"), "--manifest", str(study / "data/cohort.csv")]
    )
    assert result.exit_code == 0, result.output
    assert "warning: labels have no names" in result.stderr
    assert "label 1:" in result.stdout
