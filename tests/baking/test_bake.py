"""`hmopt bake`: which setting it takes, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.errors import CheckpointError, DeclarationError, HmoptError
from hmopt.interop.load import load_model


@pytest.fixture(scope="module")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was trained and searched."""
    folder = tmp_path_factory.mktemp("searched") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder)
    return folder


def header_of(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = load_model(path).header  # type: ignore[attr-defined]
    return header


def test_a_value_is_taken_as_given(tiny_study: Any, tmp_path: Path) -> None:
    output = tmp_path / "baked.safetensors"
    baked = hmopt.bake(
        tiny_study.folder,
        format="safetensors",
        output=output,
        setting={"regularization": "0.42"},
    )
    assert baked.setting == {"regularization": 0.42}
    assert str(baked) == f"Setting: regularization 0.42\nNetwork (safetensors): {output}"
    image = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    amortized = load_model(tiny_study.folder)
    np.testing.assert_array_equal(
        load_model(output).displacement(image[0], image[1], {}),
        amortized.displacement(image[0], image[1], {"regularization": 0.42}),
    )
    assert "scope" not in header_of(output)["baked"]


def test_a_model_file_is_enough_where_values_are_given(tiny_study: Any, tmp_path: Path) -> None:
    file = tiny_study.folder / "model.safetensors"
    options: dict[str, Any] = {"format": "safetensors", "output": tmp_path / "a.safetensors"}
    hmopt.bake(file, setting={"regularization": 0.1}, **options)
    # a baked network has one setting, and can be written in another form
    again = tmp_path / "b.pt"
    hmopt.bake(tmp_path / "a.safetensors", format="torch", output=again)
    assert again.is_file()
    with pytest.raises(DeclarationError, match="a model file does not contain the best setting"):
        hmopt.bake(file, format="safetensors", output=tmp_path / "c.safetensors")


@pytest.mark.parametrize("criteria", [{}, {"label": "thalamus"}, {"task": "within"}])
def test_a_scope_takes_what_register_takes(
    searched: Path, criteria: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "baked.safetensors"
    baked = hmopt.bake(searched, format="safetensors", output=output, scope=criteria)
    images = sorted((searched / "data" / "images").glob("*T1w.nii.gz"))
    registered = hmopt.register(searched, images[0], images[1], scope=criteria)
    assert baked.setting == registered.setting
    assert baked.advice == registered.advice
    facts = header_of(output)["baked"]
    scope = ", ".join(f"{kind}={value}" for kind, value in criteria.items())
    assert facts["scope"] == (scope or "cohort")
    assert facts["study"] == "tiny"
    assert facts["hmopt_version"] == hmopt.__version__
    # of four subjects no interval is given
    assert facts["interval_95"] is None or "regularization" in facts["interval_95"]


def test_that_a_setting_was_searched_with_refinement_is_told(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "refined"
    shutil.copytree(searched, folder)
    with (folder / "study.toml").open("a", encoding="utf-8") as declaration:
        declaration.write("\n[refine]\niterations = 2\n")
    hmopt.search(folder)
    published = hmopt.publish(folder, tmp_path / "published", data_license="cc0-1.0").folder
    for place in (folder, published):
        output = tmp_path / place.name / "baked.safetensors"
        baked = hmopt.bake(place, format="safetensors", output=output)
        assert baked.advice is not None
        assert "searched with registrations refined by 2 iterations" in baked.advice
        header = header_of(output)
        assert header["baked"]["searched_with_refinement"] == 2
        # of which a baked network does nothing by itself
        assert "refine" not in header


def test_the_command_takes_the_options_of_register(searched: Path, tmp_path: Path) -> None:
    output = tmp_path / "baked.pt"
    arguments = ["bake", str(searched), "--format", "torch", "--output", str(output)]
    found = CliRunner().invoke(app, [*arguments, "--label", "thalamus"])
    assert found.exit_code == 0, found.output
    assert f"Network (torch): {output}" in found.output
    again = CliRunner().invoke(app, [*arguments, "--set", "regularization=0.2"])
    assert again.exit_code == 2
    assert "a name that does not exist" in again.output
    assert again.output.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "keras"}, "--format: expected one of safetensors, torch, onnx"),
        ({"output": "baked.onnx"}, "--output: expected a name that ends in .safetensors"),
        (
            {"setting": {"regularization": 1.2}},
            r"regularization: expected a number in \[0.0, 1.0\]",
        ),
        ({"setting": {"gamma": 1}}, "gamma: expected a hyperparameter of the model"),
        ({"label": "thalamus"}, "either values or a scope"),
        ({"within_folding_limit": True}, "--within-limits: expected a setting that the"),
        ({"folder": "nowhere"}, "expected a trained model|expected a model file"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(
    tiny_study: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "folder": tiny_study.folder,
        "format": "safetensors",
        "output": "baked.safetensors",
        "setting": {"regularization": 0.5},
    }
    given |= options
    given["output"] = tmp_path / given["output"]
    with pytest.raises(HmoptError, match=message):
        hmopt.bake(**given)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_not_searched_needs_values(tiny_study: Any, tmp_path: Path) -> None:
    with pytest.raises(HmoptError, match=r"hmopt search|searched"):
        hmopt.bake(tiny_study.folder, format="safetensors", output=tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "model"])
def test_nothing_is_overwritten(tiny_study: Any, kind: str, tmp_path: Path) -> None:
    output = tmp_path / "taken.safetensors"
    if kind == "file":
        output.write_text("mine")
    elif kind == "folder":
        output.mkdir()
    else:
        output = tiny_study.folder / "model.safetensors"
    with pytest.raises(HmoptError, match="--output: expected a name that does not exist"):
        hmopt.bake(
            tiny_study.folder,
            format="safetensors",
            output=output,
            setting={"regularization": 0.5},
        )
    if kind == "file":
        assert output.read_text() == "mine"


def test_an_engine_has_no_network_to_bake(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "study.toml").write_text(
        """
name = "engine"

[cohort]
manifest = "cohort.csv"

[preprocessing]
shape = [32, 32]

[split]
train = 0
tune = 0
search = 4

[model]
source = "engine"
callable = "mine.py:register"
""",
        encoding="utf-8",
    )
    with pytest.raises(CheckpointError, match=r"model.source: expected a network .* got engine"):
        hmopt.bake(
            folder,
            format="onnx",
            output=tmp_path / "a.onnx",
            setting={"regularization": 0.5},
        )


def test_missing_packages_are_named_with_the_way_to_get_them(
    tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=r'pip install "hmopt\[onnx\]"'):
        hmopt.bake(
            tiny_study.folder,
            format="onnx",
            output=tmp_path / "a.onnx",
            setting={"regularization": 0.5},
        )


def test_a_folder_with_a_baked_network_registers_as_the_study_does(
    tiny_study: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "baked"
    setting = {"regularization": 0.3}
    output = folder / "model.safetensors"
    hmopt.bake(tiny_study.folder, format="safetensors", output=output, setting=setting)
    images = (tiny_study.image(1), tiny_study.image(2))
    found = hmopt.register(folder, *images)
    wanted = hmopt.register(tiny_study.folder, *images, setting=setting)
    assert found.setting == {}
    np.testing.assert_array_equal(
        found.displacement_image.get_fdata(), wanted.displacement_image.get_fdata()
    )
    with pytest.raises(DeclarationError, match="regularization: expected no value"):
        hmopt.register(folder, *images, setting=setting)
    for asked in ({"label": "thalamus"}, {"subject": "nobody"}, {"within_limits": True}):
        with pytest.raises(DeclarationError, match="expected no choice of a setting"):
            hmopt.register(folder, *images, **asked)
        with pytest.raises(DeclarationError, match="expected no choice of a setting"):
            hmopt.bake(folder, format="safetensors", output=tmp_path / "again.safetensors", **asked)


def test_the_inverse_of_a_baked_network_undoes_it(tiny_study: Any, tmp_path: Path) -> None:
    import torch

    from hmopt.spatial import warp

    output = tmp_path / "a.safetensors"
    hmopt.bake(
        tiny_study.folder, format="safetensors", output=output, setting={"regularization": 0.1}
    )
    model: Any = load_model(output)
    moving, fixed = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    there = torch.from_numpy(model.displacement(moving, fixed, {}))[None]
    back = torch.from_numpy(model.inverse_displacement(moving, fixed, {}))[None]
    left = there + warp(back, there)
    assert float(left.abs().mean()) < 0.1 * float(there.abs().mean())


def test_a_study_of_a_baked_file_registers_and_has_nothing_to_search(
    tiny_study: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder / "data", folder / "data")
    setting = {"regularization": 0.3}
    file = tmp_path / "baked.safetensors"
    hmopt.bake(tiny_study.folder, format="safetensors", output=file, setting=setting)
    declaration = (tiny_study.folder / "study.toml").read_text(encoding="utf-8")
    kept, _ = declaration.split("[network]")
    model = f'[model]\nsource = "file"\npath = "{file.as_posix()}"\n'
    search = "[search]\nmin_paired_subjects = 3\n"
    (folder / "study.toml").write_text(f"{kept}\n{model}\n{search}", encoding="utf-8")

    images = (tiny_study.image(1), tiny_study.image(2))
    found = hmopt.register(folder, *images)
    wanted = hmopt.register(tiny_study.folder, *images, setting=setting)
    np.testing.assert_array_equal(
        found.displacement_image.get_fdata(), wanted.displacement_image.get_fdata()
    )
    with pytest.raises(CheckpointError, match="hyperparameters to search, got a registration net"):
        hmopt.search(folder)
    # and it can be written in another form
    hmopt.bake(folder, format="torch", output=tmp_path / "again.pt")
