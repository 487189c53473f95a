"""Small heads in every kind of file, and models of random weights that move them by some voxels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.declaration import parse_study
from hmopt.interop.composite import save_transform
from hmopt.interop.displacement import save_image
from hmopt.interop.registration import RegisteredFiles
from hmopt.networks import architecture, build_hypermorph, save_hypermorph
from hmopt.oracle import open_registrar

SETTING = {"regularization": 0.3}
SHAPE = (22, 26, 18)
Array = NDArray[Any]


def head(seed: int, shape: tuple[int, ...] = SHAPE) -> Array:
    """Return an ellipsoid with a texture, intensities 0 to 200, 0 outside it."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, length) for length in shape], indexing="ij"))
    inside = ndimage.gaussian_filter((np.linalg.norm(places, axis=0) < 0.75).astype(float), 0.7)
    inside[inside < 0.02] = 0
    return np.asarray(inside * (100 + 40 * np.tanh(texture / texture.std())), dtype=np.float32)


def affine(
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0), origin: tuple[float, ...] = (-10.0, -12.0, -8.0)
) -> Array:
    matrix = np.diag((*spacing, 1.0))
    matrix[:3, 3] = origin
    return matrix


def build_model(
    folder: Path, shape: tuple[int, ...], header: dict[str, Any] | None = None, **preprocessing: Any
) -> Path:
    """Write a model of random weights whose displacement is smooth and of one or two voxels."""
    folder.mkdir(parents=True, exist_ok=True)
    sections = {
        "name": "geometry",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {"shape": list(shape), "spacing_mm": [1.0] * len(shape), **preprocessing},
        "split": {"train": 2, "tune": 2, "search": 2},
        "network": {"encoder": [4, 8], "decoder": [8], "final": []},
        "hypernetwork": {"widths": [32, 64, 64]},
    }
    study = parse_study(sections)
    built_as = architecture(study, shape)
    torch.manual_seed(0)
    tensors = build_hypermorph(built_as).hypernetwork.state_dict()
    for name, tensor in tensors.items():
        tensors[name] = tensor + SPREAD * torch.randn(tensor.shape)
    written = {
        "architecture": built_as,
        "preprocessing": study.preprocessing.model_dump(),
        "cohort": "0f",
    }
    save_hypermorph(folder / "model.safetensors", tensors, {**written, **(header or {})})
    return folder


SPREAD = 0.06


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"), (32, 32, 32))


@pytest.fixture(scope="session")
def plane_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("planes"), (32, 32))


Judge = Callable[..., RegisteredFiles]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Register two files and let SimpleITK and ANTs apply what is written to the very files, both ways."""

    def register_and_compare(
        folder: Path,
        moving: Path,
        fixed: Path,
        placement: Any = None,
        ants_too: bool = True,
        inverse_too: bool = True,
    ) -> RegisteredFiles:
        registrar = open_registrar(folder, placement=placement)
        if not inverse_too:
            found = registrar.register(moving, fixed, SETTING)
            compare(found, moving, fixed, tmp_path, ants_too)
            return found
        both = registrar.register_both_ways(moving, fixed, SETTING)
        compare(both.forward, moving, fixed, tmp_path, ants_too)
        compare(both.inverse, fixed, moving, tmp_path, ants_too)
        return both.forward

    return register_and_compare


def compare(
    found: RegisteredFiles, moving: Path, fixed: Path, folder: Path, ants_too: bool
) -> None:
    """Compare the moved image with what SimpleITK and ANTs make of both kinds of written files."""
    moved = folder / "moved.nii.gz"
    save_image(found.moved, moved)
    opened: Any = nibabel.load(moving)  # a pair of files, too
    background = float(np.asarray(opened.dataobj).min())
    by_hmopt = sitk.GetArrayFromImage(sitk.ReadImage(str(moved), sitk.sitkFloat32))
    spread = float(np.ptp(by_hmopt))
    assert spread > 50
    assert same_grid(moved, fixed)
    programs = [apply_by_itk, apply_by_ants] if ants_too else [apply_by_itk]
    for name in ("field.nii.gz", "composite.h5"):
        save_transform(found.transform, folder / name)
        for program in programs:
            by_program = program(moving, fixed, folder / name, background)
            # at the very border of the moving image rounding decides what is inside
            assert np.quantile(np.abs(by_program - by_hmopt), 0.995) < 2e-3 * spread


def apply_by_itk(moving: Path, fixed: Path, field: Path, background: float) -> Array:
    images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed)]
    if field.suffix == ".h5":
        transform = sitk.ReadTransform(str(field))
    else:
        vectors = sitk.ReadImage(str(field), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(vectors)
    resampled: Array = sitk.GetArrayFromImage(
        sitk.Resample(*images, transform, sitk.sitkLinear, background)
    )
    return resampled


def apply_by_ants(moving: Path, fixed: Path, field: Path, background: float) -> Array:
    import ants

    images = [ants.image_read(str(path)) for path in (fixed, moving)]
    resampled: Array = ants.apply_transforms(*images, [str(field)], defaultvalue=background).numpy()
    return resampled.T


def same_grid(a: Path, b: Path) -> bool:
    """Tell whether SimpleITK finds the voxels of two files at the same places."""
    one, other = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (a, b))
    corners = [[n - 1 for n in one.GetSize()], [0] * one.GetDimension()]
    places = [
        [np.array(image.TransformIndexToPhysicalPoint(corner)) for corner in corners]
        for image in (one, other)
    ]
    return one.GetSize() == other.GetSize() and bool(np.allclose(places[0], places[1], atol=1e-3))
