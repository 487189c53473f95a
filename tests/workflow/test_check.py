"""`hmopt check` names each file that is not what was written, and the commands to rerun."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.oracle import open_registrar
from hmopt.workflow.setting_file import identity_of, write_setting
from tests.fuzz.originals import make_originals


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("check")
    make_originals(root)
    folder = root / "whole"
    (folder / "training-state.safetensors").unlink()
    return folder


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    # in the middle of an npz file may stand the time at which an array was written, which nothing says
    content[len(content) // (3 if path.suffix == ".npz" else 2)] ^= 16
    path.write_bytes(content)


def test_a_study_that_nothing_happened_to_has_no_problem(whole: Path) -> None:
    checked = hmopt.check(whole)
    assert checked.problems == ()
    assert checked.rerun == ()
    assert str(checked) == f"Checked: {checked.files} files, no problems"


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("prepared/*/images.npy", "hmopt train"),
        ("model.safetensors", "hmopt train"),
        ("training.csv", "hmopt search"),
        ("ledger/*.parquet", "hmopt search"),
        ("pairs.csv", "hmopt search"),
        ("examples/*.npz", "hmopt search"),
        ("structure-maps.npz", "hmopt search --per-structure"),
        ("composed.json", "hmopt search --per-structure"),
        ("gap.json", "hmopt search --gap"),
        ("compare.json", "hmopt compare"),
        ("compare/*/*.safetensors", "hmopt compare"),
        ("results/measurements.parquet", "hmopt report --results"),
    ],
)
def test_a_flipped_bit_is_told_with_the_command_to_rerun(
    pattern: str, command: str, study: Path
) -> None:
    path = min(study.glob(pattern))
    flip(path)
    checked = hmopt.check(study)
    named = [problem for problem in checked.problems if path.name in problem.line]
    assert command in [problem.rerun for problem in named]
    name, *options = command.removeprefix("hmopt ").split()
    assert " ".join(["hmopt", name, str(study), *options]) in checked.rerun


@pytest.mark.parametrize("folder", ["examples", "results/examples"])
def test_pictures_with_a_score_that_cannot_be_are_told(folder: str, study: Path) -> None:
    source = min((study / "examples").glob("*.npz"))
    path = study / folder / source.name
    with np.load(source, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["worst_score"] = np.array(1e30)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **arrays)
    (problem,) = hmopt.check(study).problems
    assert problem.line.startswith(f"{path}: expected pictures of pairs, got 1e+30 outside [")
    assert problem.rerun == "hmopt search"


def test_an_image_that_was_cut_is_told(study: Path) -> None:
    path = min((study / "data" / "images").glob("*.nii.gz"))
    path.write_bytes(path.read_bytes()[:-4])
    (problem,) = [one for one in hmopt.check(study).problems if path.name in one.line]
    assert problem.rerun is None
    assert "expected an image that nibabel reads" in problem.line


def test_the_command_prints_a_line_for_each_problem(study: Path) -> None:
    flip(study / "gap.json")
    flip(study / "compare.json")
    done = CliRunner().invoke(app, ["check", str(study)])
    assert done.exit_code == 2
    gap, compare = sorted(done.stderr.strip().splitlines(), reverse=True)
    assert "gap.json: expected what `hmopt search --gap` wrote" in gap
    assert "compare.json: expected what `hmopt compare` wrote" in compare
    assert "2 problems" in done.stdout


def test_nothing_is_changed(study: Path) -> None:
    def content() -> dict[Path, bytes]:
        files = [path for path in study.rglob("*") if path.is_file()]
        # SQLite writes beside a database that it reads
        kept = [path for path in files if not path.name.startswith("studies.db")]
        return {path: path.read_bytes() for path in kept}

    flip(study / "gap.json")
    before = content()
    hmopt.check(study)
    after = content()
    assert {path: after[path] for path in before} == before


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(hmopt.HmoptError, match="expected a study folder"):
        hmopt.check(tmp_path)


def constant(path: Path) -> None:
    image = nibabel.Nifti1Image.from_filename(path)
    nibabel.save(nibabel.Nifti1Image(np.full(image.shape, 7.0), image.affine), path)


def claimed_large(path: Path) -> None:
    header = nibabel.Nifti1Image.from_filename(path).header
    header.set_data_shape((2000, 2000, 2000))
    header["vox_offset"] = 352
    path.write_bytes(header.binaryblock + bytes(4))


@pytest.mark.parametrize(
    ("harm", "expected"),
    [(constant, "intensities that differ"), (claimed_large, "at most 2,147,483,648 voxels")],
)
def test_registration_refuses_an_image_that_cannot_be_registered(
    harm: Callable[[Path], None], expected: str, study: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted((study / "data" / "images").glob("*.nii.gz"))
    moving = tmp_path / "moving.nii"
    nibabel.save(nibabel.Nifti1Image.from_filename(first), moving)
    harm(moving)
    with pytest.raises(hmopt.HmoptError, match=expected):
        hmopt.register(
            study, moving, second, moved=tmp_path / "moved.nii", setting={"regularization": 0.5}
        )


def test_what_was_tuned_by_gradient_or_chosen_on_the_page_is_read_too(study: Path) -> None:
    (study / "gradient.json").write_text('{"model": true}', encoding="utf-8")
    (study / "setting.toml").write_text("[setting]\nregularization = nan\n", encoding="utf-8")
    checked = hmopt.check(study)
    named = {Path(problem.line.split(":")[0]).name: problem.rerun for problem in checked.problems}
    assert named == {"gradient.json": "hmopt tune-by-gradient", "setting.toml": None}
    assert checked.rerun == (f"hmopt tune-by-gradient {study}",)


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def make_broken_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


PLACES = (
    "study.toml",
    "model.safetensors",
    "pairs.csv",
    "search.json",
    "studies.db",
    "commands.csv",
)


@pytest.mark.parametrize("harm", [make_folder, make_broken_link, make_loop])
@pytest.mark.parametrize("name", PLACES)
def test_what_stands_in_place_of_a_file_is_told(
    name: str, harm: Callable[[Path], None], study: Path
) -> None:
    path = study / name
    harm(path)
    lines = [problem.line for problem in hmopt.check(study).problems]
    got = "a folder" if harm is make_folder else "a broken link"
    assert f"{path}: expected a file, got {got}. Move it away." in lines


@pytest.mark.parametrize("name", ["prepared", "examples", "ledger"])
def test_what_stands_in_place_of_a_folder_is_refused_before_any_work(
    name: str, study: Path
) -> None:
    shutil.rmtree(study / name)
    make_broken_link(study / name)
    line = f"{study / name}: expected a folder, got a broken link. Move it away."
    assert line in [problem.line for problem in hmopt.check(study).problems]
    with pytest.raises(hmopt.HmoptError) as caught:
        hmopt.search(study)
    assert str(caught.value) == line


def test_folders_that_cannot_be_listed_are_told(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name in ("prepared", "ledger"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    lines = [problem.line for problem in hmopt.check(study).problems]
    told = "expected permission to read and write, got Permission denied."
    for name in ("prepared", "ledger"):
        assert any(line.startswith(f"{study / name}: {told}") for line in lines)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[setting]\nregularization = 9.0\n", "regularization"),
        ("[setting]\nspeed = 0.5\n", "speed"),
        ('model = "zzz"\n[setting]\nregularization = 0.5\n', "a setting that was chosen for this"),
    ],
)
def test_a_setting_that_the_model_does_not_take_is_told(
    content: str, expected: str, study: Path
) -> None:
    (study / "setting.toml").write_text(content, encoding="utf-8")
    (problem,) = hmopt.check(study).problems
    assert expected in problem.line
    assert problem.rerun is None


def test_a_setting_that_was_chosen_for_the_model_is_no_problem(study: Path) -> None:
    model = identity_of(open_registrar(study).model)
    write_setting(study / "setting.toml", {"regularization": 0.5}, model)
    assert hmopt.check(study).problems == ()


def test_pictures_of_two_scopes_that_were_swapped_are_told(study: Path) -> None:
    one, other = sorted((study / "examples").glob("label-*.npz"))[:2]
    beside = one.with_name("beside")
    one.rename(beside)
    other.rename(one)
    beside.rename(other)
    lines = [problem.line for problem in hmopt.check(study).problems]
    assert len(lines) == 2
    assert all(
        "expected pictures of pairs, got those of the scope label=" in line for line in lines
    )
    assert hmopt.check(study).rerun == (f"hmopt search {study}",)
