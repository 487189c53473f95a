"""No output overwrites an input or another output, and none that cannot be written costs a registration."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.errors import HmoptError


@pytest.fixture
def study(tiny_study: Any, tmp_path: Path) -> Path:
    """Return a copy of a trained study, beside it `m.nii.gz` and `f.nii.gz` to register."""
    folder = Path(shutil.copytree(tiny_study.folder, tmp_path / "study"))
    shutil.copy(tiny_study.image(1), tmp_path / "m.nii.gz")
    shutil.copy(tiny_study.image(2), tmp_path / "f.nii.gz")
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def register(study: Path, *outputs: object) -> Any:
    files = [study.parent / "m.nii.gz", study.parent / "f.nii.gz"]
    arguments = ["register", study, *files, *outputs, "--regularization", "0.3", "--device", "cpu"]
    return CliRunner().invoke(app, [*map(str, arguments)])


def refused(study: Path, *outputs: object) -> str:
    before = contents(study.parent)
    result = register(study, *outputs)
    assert result.exit_code == 2, result.output
    line: str
    (line,) = result.stderr.strip().splitlines()
    assert result.stdout == ""
    assert contents(study.parent) == before
    return line


def through_a_link(folder: Path) -> Path:
    (folder / "link.nii.gz").symlink_to(folder / "f.nii.gz")
    return folder / "link.nii.gz"


def through_a_linked_folder(folder: Path) -> Path:
    (folder / "other").symlink_to(folder, target_is_directory=True)
    return folder / "other" / "f.nii.gz"


def through_a_hard_link(folder: Path) -> Path:
    os.link(folder / "f.nii.gz", folder / "hard.nii.gz")
    return folder / "hard.nii.gz"


def through_a_link_that_is_text(folder: Path) -> Path:
    shutil.move(folder / "f.nii.gz", folder / "voxels.nii.gz")
    (folder / "f.nii.gz").write_text("voxels.nii.gz")
    return folder / "voxels.nii.gz"


def through_relative_parts(folder: Path) -> Path:
    return Path(os.path.relpath(folder / "f.nii.gz")).parent / "." / "study" / ".." / "f.nii.gz"


SPELLINGS = [
    through_a_link,
    through_a_linked_folder,
    through_a_hard_link,
    through_a_link_that_is_text,
    through_relative_parts,
]


@pytest.mark.parametrize("option", ["--moved", "--displacement"])
@pytest.mark.parametrize("name", ["m.nii.gz", "f.nii.gz"])
def test_an_output_that_is_an_input_is_refused(option: str, name: str, study: Path) -> None:
    other = ["--moved", study.parent / "out.nii.gz"] if option == "--displacement" else []
    line = refused(study, option, study.parent / name, *other)
    assert line.startswith(
        f"{option}: expected another file than {'MOVING' if name[0] == 'm' else 'FIXED'}"
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_input_is_recognized_however_it_is_written(spelling: Any, study: Path) -> None:
    line = refused(study, "--moved", spelling(study.parent))
    assert re.search("expected another file than (the file that )?FIXED", line)


def test_the_name_that_a_displacement_gets_by_itself_is_checked_too(study: Path) -> None:
    shutil.move(study.parent / "f.nii.gz", study.parent / "o_displacement.nii.gz")
    (study.parent / "f.nii.gz").symlink_to("o_displacement.nii.gz")
    assert refused(study, "--moved", study.parent / "o.nii.gz").startswith(
        "--displacement: expected another file than"
    )


@pytest.mark.parametrize("other", ["out.nii.gz", "./study/../out.nii.gz", "OUT.nii.gz"])
def test_two_outputs_of_one_name_are_refused(other: str, study: Path) -> None:
    line = refused(
        study, "--moved", study.parent / "out.nii.gz", "--displacement", study.parent / other
    )
    assert line.startswith("--displacement: expected another file than --moved")


def test_images_that_the_study_was_made_from_are_not_overwritten(study: Path) -> None:
    image = next((study / "data" / "images").iterdir())
    assert refused(study, "--moved", image).startswith(
        f"--moved: expected another file than {image}"
    )


def test_nor_those_that_lie_in_folders_of_folders(study: Path) -> None:
    scans = study.parent / "scans"
    for kind in ("images", "labels"):
        for path in sorted((study / "data" / kind).iterdir()):
            subject = path.name.split("_")[0]
            (scans / kind / subject / "anat").mkdir(parents=True, exist_ok=True)
            shutil.move(path, scans / kind / subject / "anat" / path.name)
    (study / "study.toml").write_text(
        re.sub(
            r"manifest = .*",
            f'images = "{scans / "images"}"\nlabels = "{scans / "labels"}"',
            (study / "study.toml").read_text(encoding="utf-8"),
        ),
        encoding="utf-8",
    )
    for kind in ("images", "labels"):
        image = next((scans / kind).rglob("*.nii.gz"))
        assert "--moved: expected another file than" in refused(study, "--moved", image)


def test_a_manifest_with_a_row_of_a_lost_file_protects_the_others(study: Path) -> None:
    images = sorted((study / "data" / "images").iterdir())
    images[0].unlink()
    assert "--moved: expected another file than" in refused(study, "--moved", images[1])


def test_a_folder_in_place_of_a_file_is_refused(study: Path) -> None:
    (study.parent / "folder.nii.gz").mkdir()
    assert "--moved: expected the name of a file, got the folder" in refused(
        study, "--moved", study.parent / "folder.nii.gz"
    )


def test_a_folder_that_cannot_be_written_is_refused(study: Path) -> None:
    below_a_file = study / "study.toml" / "out.nii.gz"
    assert "--moved: expected a folder that can be written to" in refused(
        study, "--moved", below_a_file
    )


def test_other_names_are_written_and_may_be_written_again(study: Path) -> None:
    moved = study.parent / "new" / "folder" / "out.nii.gz"
    for _ in range(2):
        result = register(study, "--moved", moved)
        assert result.exit_code == 0, result.output
    assert moved.is_file()
    assert moved.with_name("out_displacement.nii.gz").is_file()


def test_an_image_may_be_registered_to_itself(study: Path) -> None:
    shutil.copy(study.parent / "m.nii.gz", study.parent / "f.nii.gz")
    image, moved = study.parent / "m.nii.gz", study.parent / "o.nii.gz"
    arguments = ["register", study, image, image, "--moved", moved, "--regularization", "0.3"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert moved.is_file()


@pytest.mark.parametrize(
    "name", ["study.toml", "ledger/.lock", "model.safetensors", "notes.txt", "other.db"]
)
def test_an_export_writes_into_no_file_that_is_no_storage(name: str, tmp_path: Path) -> None:
    import sqlite3

    from hmopt.errors import SearchError
    from hmopt.search.storage import open_storage

    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name == "other.db":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE birds (name TEXT)")
        connection.commit()
        connection.close()
    else:
        path.write_bytes(b"" if name.endswith(".lock") else b"not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(
        SearchError, match=r"expected a database that can be opened, got .*Choose another file"
    ):
        open_storage(tmp_path, f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_report_is_not_written_over_what_it_is_made_from(tmp_path: Path) -> None:
    from hmopt.study_folder import StudyFolder
    from hmopt.workflow.report import check_report_places

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "optima.csv").write_text("scope\n")
    (tmp_path / "report").symlink_to("results")
    with pytest.raises(HmoptError, match=r"expected another file than results/optima.csv"):
        check_report_places(StudyFolder(tmp_path))
    (tmp_path / "report").unlink()
    (tmp_path / "report").write_text("a file")
    with pytest.raises(HmoptError, match="expected a folder that can be written to"):
        check_report_places(StudyFolder(tmp_path))
