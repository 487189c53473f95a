"""`hmopt apply` on the command line: what is written, said and refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from hmopt.cli.app import app


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).uniform(1, 9, (6, 7, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    path = tmp_path / "shift.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, [-1.0, 0.0, 0.0]), str(path))
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["apply", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_last_file_is_moved_by_those_before_it(
    image: Path, shift: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.nii.gz"
    code, said, _ = run(shift, f"[{shift},1]", shift, image, "--to", image, "--output", output)
    assert code == 0
    assert str(output) in said
    moved = nibabel.Nifti1Image.from_filename(output).get_fdata()
    expected = nibabel.Nifti1Image.from_filename(image).get_fdata()
    np.testing.assert_allclose(moved[:-1], expected[1:], atol=1e-5)


def test_all_files_are_composed(image: Path, shift: Path, tmp_path: Path) -> None:
    output = tmp_path / "both.h5"
    code, _, _ = run(shift, shift, "--to", image, "--compose", output)
    assert code == 0
    found = sitk.ReadTransform(str(output)).TransformPoint((-2.0, -2.0, 2.0))
    np.testing.assert_allclose(found, (-4, -2, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{shift}", "{image}", "--to", "{image}"], "expected --output"),
        (["{shift}", "{image}", "--output", "o.nii.gz"], "--to: expected the image on whose grid"),
        (["{image}", "--to", "{image}", "--output", "o.nii.gz"], "at least one"),
        (["{shift}", "{shift}", "--to", "{image}", "--output", "o.nii.gz"], "Name the input last"),
        (
            ["{shift}", "{image}", "--to", "{image}", "--output", "o.png"],
            "ends in .nii or .nii.gz",
        ),
        (
            ["{shift}", "{image}", "--to", "{image}", "--output", "o.nii", "--interpolation", "no"],
            "linear, nearest or bspline",
        ),
        (
            ["{shift}", "{image}", "--to", "{image}", "--output", "o.nii", "--inverse", "a.mat"],
            "one of the given transformations",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    image: Path,
    shift: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(image=image, shift=shift) for argument in arguments]
    code, _, error = run(*filled)
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("o.*"))
