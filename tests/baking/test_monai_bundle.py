"""MONAI runs a bundle with its own command, and gives what `hmopt register` gives."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from hmopt.data.reference import Reference
from hmopt.errors import CheckpointError
from hmopt.interop.monai_bundle import write_bundle
from hmopt.interop.own_model import HypermorphModel
from hmopt.interop.preparation import Preparation
from hmopt.interop.registration import Registrar

pytest.importorskip("fire", reason="MONAI's command line needs fire")
pytest.importorskip("jsonschema", reason="verify_metadata needs jsonschema")

SETTING = {"regularization": 0.4}
Run = Callable[..., subprocess.CompletedProcess[str]]
RUN = ("-W", "ignore", "-m", "monai.bundle")


@dataclass(frozen=True)
class Case:
    """A model, and the files that it registers."""

    name: str
    d: int
    preprocessing: dict[str, Any]
    moving_shape: tuple[int, ...]
    fixed_shape: tuple[int, ...]


CASES = [
    # another spacing, sizes odd and even, both cut and padded
    Case(
        "volume",
        3,
        {"spacing_mm": [2.0, 2.0, 3.0], "normalization": "percentile"},
        (35, 30, 41),
        (24, 51, 32),
    ),
    # its own spacing, background declared
    Case(
        "own spacing",
        3,
        {"normalization": "zscore", "background": -1.0},
        (19, 20, 17),
        (16, 25, 16),
    ),
    Case("plane", 2, {"normalization": "minmax"}, (30, 27, 1), (24, 37, 1)),
    Case("two axes", 2, {"normalization": "minmax"}, (30, 27), (24, 37)),
    Case(
        "slice",
        2,
        {"slices": {"axis": 2, "indices": [3]}, "normalization": "percentile"},
        (30, 27, 8),
        (24, 37, 8),
    ),
]


def write_images(case: Case, folder: Path) -> tuple[Path, Path]:
    """Write smooth moving and fixed files; the voxels of the fixed one run in another order."""
    generator = np.random.default_rng(0)
    paths = []
    for name, shape in (("moving", case.moving_shape), ("fixed", case.fixed_shape)):
        data = 100 * generator.random(shape).astype(np.float32)
        affine = np.diag([1.5, 1.5, 1.5, 1.0])
        affine[:3, 3] = (-10, 5, 20)
        image = nibabel.Nifti1Image(data, affine)
        if name == "fixed" and case.d == 3:
            order = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("PSL"))
            image = image.as_reoriented(order)
        path = folder / f"{name}.nii.gz"
        nibabel.save(image, path)
        paths.append(path)
    return paths[0], paths[1]


def registrar_of(model: HypermorphModel) -> Registrar:
    preparation = Preparation(
        preprocessing=model.preprocessing,
        spacing_mm=None,
        reference=Reference(plane=2 if len(model.shape) == 2 else None),
        template=None,
    )
    return Registrar(model, preparation)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_monai_gives_the_files_that_hmopt_gives(
    case: Case, model_of_axes: Any, without_hmopt: Run, tmp_path: Path
) -> None:
    model = model_of_axes(case.d, **case.preprocessing)
    baked = model.bake(SETTING)
    if case.name != "volume":
        baked = replace(baked, stride=None)  # of one grid, a program is recorded much sooner
    write_bundle(baked, tmp_path / "bundle")
    moving, fixed = write_images(case, tmp_path)
    options = (
        "--moving",
        str(moving),
        "--fixed",
        str(fixed),
        "--output_dir",
        str(tmp_path / "out"),
    )
    done = without_hmopt(
        *RUN, "run", "--config_file", "configs/inference.json", *options, cwd=tmp_path / "bundle"
    )
    assert done.returncode == 0, done.stderr

    wanted = registrar_of(model).register(moving, fixed, SETTING)
    moved: Any = nibabel.load(tmp_path / "out" / "moved.nii.gz")
    displacement: Any = nibabel.load(tmp_path / "out" / "displacement.nii.gz")
    vectors = wanted.displacement.get_fdata()
    assert np.abs(vectors).max() > 1
    np.testing.assert_allclose(displacement.get_fdata(), vectors, atol=1e-3)
    np.testing.assert_allclose(displacement.affine, wanted.displacement.affine, atol=1e-6)
    assert displacement.header.get_intent()[0] == "vector"
    values: np.ndarray = moved.get_fdata()
    np.testing.assert_allclose(values, wanted.moved.get_fdata(), atol=0.05)
    reference: Any = nibabel.load(fixed)
    np.testing.assert_allclose(moved.affine, reference.affine, atol=1e-6)


def test_a_network_of_oblique_images_is_refused(model_of_axes: Any, tmp_path: Path) -> None:
    baked = model_of_axes(3).bake(SETTING)
    turned = Reference(axes=np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]))
    baked = replace(baked, header={**baked.header, "reference": turned.to_record()})
    with pytest.raises(CheckpointError, match="oblique to the axes of the world"):
        write_bundle(baked, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


TENSOR = {
    "type": "object",
    "required": [
        "type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range",
        "is_patch_data", "channel_def",
    ],
}  # fmt: skip
TENSORS = {"type": "object", "minProperties": 2, "additionalProperties": TENSOR}
SPECIFICATION = {
    "type": "object",
    "required": [
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task",
        "description", "authors", "copyright", "network_data_format", "required_packages_version",
    ],
    "properties": {
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        }
    },
}  # fmt: skip
"""What the MONAI Bundle Specification says is mandatory; its own schema is only on the web."""


@pytest.mark.filterwarnings("ignore")  # of MONAI, that configurations can run code
def test_its_metadata_is_what_the_specification_asks_for(
    model_of_axes: Any, tmp_path: Path
) -> None:
    from monai.bundle.scripts import verify_metadata

    bundle = tmp_path / "bundle"
    baked = model_of_axes(2).bake(SETTING).with_facts({"scope": "label=thalamus"})
    write_bundle(baked, bundle)
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert found == {
        "configs/metadata.json",
        "configs/inference.json",
        "models/model.pt",
        "models/model.pt2",
        "scripts/__init__.py",
        "scripts/registration.py",
        "docs/README.md",
    }
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SPECIFICATION))
    metadata = bundle / "configs" / "metadata.json"
    verify_metadata(meta_file=str(metadata), filepath=str(schema))
    content = json.loads(metadata.read_text())
    assert content["hmopt"]["setting"] == SETTING
    assert content["network_data_format"]["inputs"]["fixed"]["spatial_shape"] == ["8*n", "8*n"]
    assert "label=thalamus" in (bundle / "docs" / "README.md").read_text(encoding="utf-8")


def test_a_bundle_says_what_it_does_not_do(model_of_axes: Any, tmp_path: Path) -> None:
    from hmopt.interop.monai_bundle import page

    facts = {
        "scope": "label=thalamus",
        "interval_95": {"regularization": [0.3, 0.55]},
        "folding": None,
    }
    text = page(model_of_axes(3, placement="affine").bake(SETTING).with_facts(facts))
    assert (
        "- Best setting of: label=thalamus.\n- 95 % interval: regularization 0.3 to 0.55." in text
    )
    assert "None" not in text
    assert "the affine alignment to a template. Align both images first" in text
    assert "Not in this bundle" not in page(model_of_axes(3).bake(SETTING))
