import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.errors import DeclarationError
from hmopt.oracle import open_registrar
from hmopt.workflow.setting_file import identity_of, read_setting, values_of, write_setting


@pytest.mark.parametrize(
    "setting",
    [
        {"regularization": 0.1},
        {"regularization": 0.035, "label_weight": 1.0},
        {"similarity": "CC", "iterations": 12, "use_mask": True},
        {"a name": 'of "quotes" and \\ and = signs'},
    ],
)
def test_a_setting_is_read_as_it_was_written(setting: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "setting.toml"
    write_setting(path, setting, model="0f")
    chosen = read_setting(path)
    assert chosen.setting == setting
    assert [type(value) for value in chosen.setting.values()] == [
        type(value) for value in setting.values()
    ]
    assert chosen.model == "0f"
    write_setting(path, setting, model=None)
    assert read_setting(path).model is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "regularization = 0.5",
        "[setting]",
        "[setting]\nregularization = nan",
        "[setting]\nregularization = [0.5]",
        "[setting\n",
        "model = 3\n[setting]\nregularization = 0.5",
        "[setting]\nregularization = 0.5\n[other]\n",
    ],
)
def test_another_file_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "setting.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"setting\.toml: expected a setting"):
        read_setting(path)


def test_a_file_that_cannot_be_read_to_its_end_is_refused(tmp_path: Path) -> None:
    deep, pipe = tmp_path / "deep.toml", tmp_path / "pipe.toml"
    deep.write_text("x = " + "[" * 100_000)
    os.mkfifo(pipe)
    with pytest.raises(
        DeclarationError, match=r"deep\.toml: expected .* got tables or lists nested"
    ):
        read_setting(deep)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(DeclarationError, match=r"expected .* got not an ordinary file"):
            read_setting(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="got no file"):
        read_setting(tmp_path / "none.toml")


def test_a_setting_of_another_model_is_refused(tiny_study: Any, tmp_path: Path) -> None:
    model = open_registrar(tiny_study.folder).model
    path = tmp_path / "setting.toml"
    write_setting(path, {"regularization": 0.5}, identity_of(model))
    assert values_of(path, model) == {"regularization": 0.5}
    write_setting(path, {"regularization": 0.5}, "another")
    images = (tiny_study.image(1), tiny_study.image(2))
    with pytest.raises(DeclarationError, match="model: expected a setting that was chosen for"):
        hmopt.register(tiny_study.folder, *images, setting=path)


def test_a_refined_model_is_the_model_that_it_refines(tiny_study: Any) -> None:
    alone = open_registrar(tiny_study.folder).model
    refined = open_registrar(tiny_study.folder, iterations=1).model
    assert identity_of(alone) == identity_of(refined) is not None


def test_the_commands_take_the_file(tiny_study: Any, tmp_path: Path) -> None:
    path = tmp_path / "setting.toml"
    path.write_text("[setting]\nregularization = 0.35\n", encoding="utf-8")
    images = [str(tiny_study.image(1)), str(tiny_study.image(2))]
    moved = str(tmp_path / "moved.nii.gz")
    register = ["register", str(tiny_study.folder), *images, "--setting", str(path)]
    done = CliRunner().invoke(app, [*register, "--moved", moved])
    assert done.exit_code == 0, done.output
    assert "Setting: regularization 0.35" in done.output

    output = str(tmp_path / "baked.safetensors")
    baked = ["bake", str(tiny_study.folder), "--format", "safetensors", "--output", output]
    done = CliRunner().invoke(app, [*baked, "--setting", str(path)])
    assert done.exit_code == 0, done.output
    assert "regularization 0.35" in done.output

    both = [*register, "--moved", moved, "--regularization", "0.5"]
    done = CliRunner().invoke(app, both)
    assert done.exit_code == 2
    assert "--setting: expected either a file or values" in done.output

    over_input = [*register, "--moved", str(path)]
    done = CliRunner().invoke(app, over_input)
    assert done.exit_code == 2
    assert path.read_text(encoding="utf-8").startswith("[setting]")


def test_a_file_and_a_scope_contradict_each_other(tiny_study: Any, tmp_path: Path) -> None:
    images = (tiny_study.image(1), tiny_study.image(2))
    with pytest.raises(DeclarationError, match="--setting"):
        hmopt.register(tiny_study.folder, *images, setting=tmp_path / "s.toml", label="cortex")


@pytest.mark.parametrize("value", ["[0.5]", "{ low = 0.5 }", "2026-01-01"])
def test_a_value_of_another_type_is_told_with_the_types_that_can_be(
    value: str, tmp_path: Path
) -> None:
    path = tmp_path / "setting.toml"
    path.write_text(f"[setting]\nregularization = {value}\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match="no number, text, true or false"):
        read_setting(path)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "setting.toml"
    path.write_text("modle = 'a'\n[setting]\nregularization = 0.5\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match="got the unknown key modle"):
        read_setting(path)
