"""Engines that are commands: what is refused before any work, and what a program gets and gives."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmopt.errors import DeclarationError
from hmopt.interop.engines.command import check_command, check_program, content_of, filled, split
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.source import EngineSource, Registered

GRID = Grid(shape=(12, 10, 8), spacing_mm=(1.0, 2.0, 3.0))

PROGRAM = """
import sys
import SimpleITK as sitk

moving, fixed, output, shift = sys.argv[1:]
image = sitk.ReadImage(fixed)
assert image.GetSpacing() == sitk.ReadImage(moving).GetSpacing()
print("spacing", image.GetSpacing())
translation = sitk.TranslationTransform(3, [float(shift) * step for step in image.GetSpacing()])
sitk.WriteTransform(translation, output)
"""


def engine(folder: Path, command: str, *outputs: str, **options: Any) -> EngineSource:
    return EngineSource(
        kind="command",
        name=command,
        folder=folder,
        grid=GRID,
        defaults={"shift": 1.0},
        outputs=outputs,
        options=options,
    )


def run(source: EngineSource, **setting: float) -> Registered:
    source.check()
    image = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    return source.load().register(image, image, setting)


def test_a_program_gets_files_with_the_spacing_and_its_transform_is_read(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = "{python} program.py {moving} {fixed} {folder}/shift.tfm {shift:.3f}"
    found = run(engine(tmp_path, command, "shift.tfm"), shift=2.0)
    expected = np.broadcast_to(np.array([-2, -2, 2.0])[:, None, None, None], (3, *GRID.shape))
    np.testing.assert_allclose(found.displacement, expected, atol=1e-5)
    assert 0 < found.wall_time_s < 60


def test_arguments_with_spaces_stay_whole_and_no_shell_is_asked(tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text("import sys; sys.exit('|'.join(sys.argv[1:]))")
    command = "{python} show.py 'two words' $HOME {name} {{x}} {moving} {fixed} -o {output}"
    with pytest.raises(EngineFailure) as caught:
        run(engine(tmp_path, command, name="a b; rm -r ."))
    assert "exit status 1: two words|$HOME|a b; rm -r .|{x}|" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit(7)", "exit status 7"),
        ("import os; os.abort()", "a crash (SIGABRT)"),
        ("print('nothing to do')", "expected a file displacement.nii.gz, got none: nothing to do"),
        (
            "import sys; open(sys.argv[-1], 'w').write('x')",
            "expected a displacement field or a transform that ITK reads",
        ),
    ],
)
def test_a_program_that_fails_says_why(program: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    with pytest.raises(EngineFailure) as caught:
        run(engine(tmp_path, "{python} program.py {moving} {fixed} {output}"))
    assert reason in str(caught.value)


def test_a_pattern_finds_the_last_of_several_files(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("output)", 'output + "/result.0.tfm")'))
    text = (tmp_path / "program.py").read_text()
    again = 'sitk.WriteTransform(sitk.TranslationTransform(3, [9, 0, 0]), output + "/result.1.tfm")'
    (tmp_path / "program.py").write_text(text + again)
    command = "{python} program.py {moving} {fixed} {folder} {shift}"
    found = run(engine(tmp_path, command, "result.*.tfm"), shift=2.0)
    np.testing.assert_allclose(found.displacement[0], -9.0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("demons {moving} {output}", "expected the placeholders {moving} and {fixed}"),
        ("demons {moving} {fixed}", r"the placeholder \{output\} or \{folder\}, got neither"),
        ("demons {moving} {fixed} {output} {sigma}", r"placeholders among .*shift, got \{sigma\}"),
        ("demons {moving.real} {fixed} {output}", r"got \{moving.real\}"),
        ("demons {moving} {fixed} {output} {shift", "expected matching braces"),
        ("demons '{moving} {fixed} {output}", "expected matching quotes"),
        ("demons {moving} {fixed} {output} {shift:d}", "format specifications that fit"),
        ("demons {moving} {fixed} {output} {}", "placeholders among"),
        ("no-such-program {moving} {fixed} {output}", "a program that is installed"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_any_work(
    command: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match=r"model\.command: expected"):
        engine(tmp_path, command).check()
    with pytest.raises(DeclarationError, match=message):
        engine(tmp_path, command).check()


def test_the_script_that_a_command_names_is_part_of_its_version(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("1")
    source = engine(tmp_path, "{python} program.py {moving} {fixed} {output}")
    first = source.version("1", None)
    (tmp_path / "program.py").write_text("2")
    assert source.version("1", None) != first
    assert source.version("2", None) != source.version("1", None)
    assert list(content_of(source.name, tmp_path)) == ["program.py"]


def test_a_script_that_is_the_program_and_a_file_in_an_option_are_part_of_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "register.sh").write_text("1")
    (tmp_path / "parameters.txt").write_text("1")
    command = "./register.sh --config=parameters.txt {moving} {fixed} {output}"
    assert list(content_of(command, tmp_path)) == ["./register.sh", "parameters.txt"]
    source = engine(tmp_path, command)
    versions = {source.version("1", None)}
    for name in ("register.sh", "parameters.txt"):
        (tmp_path / name).write_text("2")
        versions.add(source.version("1", None))
    assert len(versions) == 3


def test_a_program_beside_the_study_is_found(tmp_path: Path) -> None:
    (tmp_path / "register.sh").write_text("#!/bin/sh\n")
    with pytest.raises(DeclarationError, match="a program that is installed"):
        check_program("./register.sh {moving}", tmp_path)  # not executable yet
    (tmp_path / "register.sh").chmod(0o755)
    check_program("./register.sh {moving}", tmp_path)
    check_program(f"{sys.executable} x", tmp_path)


def test_templates_are_filled_after_they_are_split() -> None:
    assert filled(split("a '{b} c'"), {"b": "x y"}) == ["a", "x y c"]
    check_command("a {moving} {fixed} {folder}", [], {})
