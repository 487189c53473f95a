"""The inverse of a registration and ITK's composites, through other programs and through `apply`."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import ndimage

import hmopt
from hmopt.data.reference import Reference
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.interop.composite import save_transform
from hmopt.interop.model import InvertibleModel
from hmopt.interop.preparation import Preparation
from hmopt.interop.registration import Registrar
from hmopt.oracle import open_registrar
from hmopt.space import Hyperparameter, Setting, Space
from tests.geometry.conftest import SETTING, Array, affine, head
from tests.geometry.test_register_formats import save, turned
from tests.interop.test_registration import sliced_study, volume


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write two heads on grids of other spacings, one of them oblique."""
    moving = save(tmp_path / "m.nii.gz", head(1), turned(15, "x", (-1.1, 1, 0.9)))
    fixed = save(tmp_path / "f.nii.gz", head(2), affine((0.9, 1.0, 1.2)))
    return moving, fixed


def there_and_back(first: Path, second: Path, points: Array, folder: Path) -> Array:
    """Return where points, RAS+ mm, end by two transformations, one after the other."""
    table = folder / "points.csv"
    pd.DataFrame(points, columns=list("xyz")).to_csv(table, index=False)
    found = hmopt.apply([first, second], table, coordinates="ras").points
    assert found is not None
    return found


@pytest.mark.parametrize("ending", ["nii.gz", "h5"])
@pytest.mark.parametrize("placement", ["header", "centre"])
def test_the_inverse_takes_points_back(
    model: Path, pair: tuple[Path, Path], tmp_path: Path, ending: str, placement: str
) -> None:
    moving, fixed = pair
    forward, inverse = tmp_path / f"forward.{ending}", tmp_path / f"inverse.{ending}"
    found = hmopt.register(
        model,
        moving,
        fixed,
        displacement=forward,
        inverse=inverse,
        inverse_moved=tmp_path / "back.nii.gz",
        setting=SETTING,
        placement=placement,
    )
    assert found.residual is not None
    image = nibabel.Nifti1Image.from_filename(moving)
    inner = np.argwhere(np.asarray(image.dataobj) > 60)
    points = inner @ image.affine[:3, :3].T + image.affine[:3, 3]
    end = there_and_back(inverse, forward, points, tmp_path)
    missed = np.linalg.norm(end - points, axis=-1)
    assert missed.mean() < 1.5 * found.residual.mean_mm + 1e-3
    assert missed.mean() < 0.1
    still = there_and_back(inverse, inverse, points, tmp_path)
    assert np.linalg.norm(still - points, axis=-1).mean() > 1


def test_what_apply_makes_of_the_written_files_is_what_register_returns(
    model: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    moving, fixed = pair
    for ending in ("nii.gz", "h5"):
        forward, inverse = tmp_path / f"d.{ending}", tmp_path / f"i.{ending}"
        found = hmopt.register(
            model, moving, fixed, setting=SETTING, displacement=forward, inverse=inverse
        )
        moved = hmopt.apply(forward, moving, to=fixed).image
        back = hmopt.apply(inverse, fixed, to=moving).image
        for one, other in ((moved, found.moved_image), (back, found.inverse_moved_image)):
            assert one is not None
            assert other is not None
            np.testing.assert_allclose(one.get_fdata(), other.get_fdata(), atol=2e-2)


@pytest.mark.parametrize("placement", ["header", "centre"])
def test_the_affine_part_of_a_composite_is_how_the_files_were_laid(
    model: Path, pair: tuple[Path, Path], tmp_path: Path, placement: str
) -> None:
    both = open_registrar(model, placement=placement).register_both_ways(*pair, SETTING)  # type: ignore[arg-type]
    for number, found in enumerate((both.forward, both.inverse)):
        save_transform(found.transform, tmp_path / f"{number}.h5")
    read = [sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / f"{n}.h5"))) for n in (0, 1)]
    if placement == "header":
        assert [one.GetNumberOfTransforms() for one in read] == [1, 1]
        return
    forward, inverse = (sitk.AffineTransform(one.GetNthTransform(0)) for one in read)
    point = (3.0, -2.0, 5.0)
    np.testing.assert_allclose(inverse.TransformPoint(forward.TransformPoint(point)), point)
    assert read[0].GetNthTransform(1).GetName() == "DisplacementFieldTransform"


def test_the_flow_of_the_negative_velocity_nearly_inverts(model: Path) -> None:
    from hmopt.interop.own_model import read

    network = read(model / "model.safetensors")
    assert isinstance(network, InvertibleModel)
    margins = [(5, 5), (3, 3), (7, 7)]
    moving, fixed = (np.pad(head(n) / 200, margins).astype(np.float32) for n in (1, 2))
    forward = network.displacement(moving, fixed, SETTING)
    inverse = network.inverse_displacement(moving, fixed, SETTING)
    places = np.indices(forward.shape[1:]) + inverse
    sampled = [ndimage.map_coordinates(one, places, order=1, mode="nearest") for one in forward]
    inner = (slice(None), *[slice(6, -6)] * 3)
    missed = np.abs(np.stack(sampled) + inverse)[inner].mean()
    assert missed < 0.15 * np.abs(forward[inner]).mean()
    assert np.abs(forward[inner]).mean() > 0.3


class Wave:
    """An engine without a velocity: a smooth displacement of some voxels."""

    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))

    def displacement(self, moving: Array, fixed: Array, setting: Setting) -> Array:
        noise = np.random.default_rng(0).standard_normal((3, *moving.shape))
        smooth = ndimage.gaussian_filter(noise, (0, 4, 4, 4))
        return np.asarray(smooth / np.abs(smooth).max() * 4, dtype=np.float32)


def test_a_displacement_of_an_engine_is_inverted_by_iteration(pair: tuple[Path, Path]) -> None:
    preparation = Preparation(
        preprocessing=PreprocessingOptions(shape=[32, 32, 32], spacing_mm=[1.0, 1.0, 1.0]),
        spacing_mm=(1.0, 1.0, 1.0),
        reference=Reference(),
        template=None,
    )
    found = Registrar(Wave(), preparation).register_both_ways(*pair, SETTING)
    assert found.residual.mean_voxels < 0.05
    assert found.residual.p99_voxels < 0.2
    assert np.abs(found.inverse.displacement.get_fdata()).max() > 2


@pytest.mark.filterwarnings("ignore:.*align is now")
def test_of_slices_the_inverse_is_that_of_the_slices_alone(tmp_path: Path) -> None:
    moving, fixed = volume(tmp_path / "moving.nii", 0), volume(tmp_path / "fixed.nii", 1)
    both = open_registrar(sliced_study(tmp_path)).register_both_ways(moving, fixed, SETTING)
    field = np.asarray(both.inverse.displacement.dataobj)
    assert field[:, [1, 3]].any()
    assert not field[:, [0, 2, 4]].any()
    assert both.residual.largest_voxels < 0.01


def test_nitransforms_reads_the_composite(
    model: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    nitransforms = pytest.importorskip("nitransforms", reason="compared with nitransforms")
    moving, fixed = pair
    both = open_registrar(model).register_both_ways(moving, fixed, SETTING)
    for found, image, onto in ((both.forward, moving, fixed), (both.inverse, fixed, moving)):
        save_transform(found.transform, tmp_path / "t.h5")
        chain = nitransforms.manip.load(tmp_path / "t.h5", fmt="itk")
        opened: list[Any] = [nibabel.load(image), nibabel.load(onto)]
        moved = nitransforms.resampling.apply(
            chain, opened[0], reference=opened[1], order=1, cval=0.0
        )
        difference = np.abs(moved.get_fdata() - found.moved.get_fdata())
        assert np.quantile(difference, 0.98) < 0.05


def test_a_name_that_is_no_transformation_is_refused(
    model: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"expected a name that ends in \.nii, \.nii\.gz or \.h5"):
        hmopt.register(model, *pair, inverse=tmp_path / "inverse.mgz", setting=SETTING)


# BIDS


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Write a BIDS dataset of two subjects and one label map."""
    root = tmp_path / "raw"
    derivative = root / "derivatives" / "seg"
    for number in (1, 2):
        folder = root / f"sub-0{number}" / "ses-1" / "anat"
        folder.mkdir(parents=True)
        save(folder / f"sub-0{number}_ses-1_T1w.nii.gz", head(number), affine(), unit="mm")
    labels = derivative / "sub-01" / "ses-1" / "anat"
    labels.mkdir(parents=True)
    codes = (head(1) > 60).astype(np.uint8)
    save(labels / "sub-01_ses-1_desc-aseg_dseg.nii.gz", codes, affine(), unit="mm")
    description = {"Name": "raw", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    generated = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "by hand"}]}
    (derivative / "dataset_description.json").write_text(json.dumps(description | generated))
    return root


def test_derivatives_have_names_sidecars_and_pass_the_validator(model: Path, raw: Path) -> None:
    pytest.importorskip("bids2table", reason="the extra `bids` writes names of BIDS")
    moving, fixed = (raw / f"sub-0{n}/ses-1/anat/sub-0{n}_ses-1_T1w.nii.gz" for n in (1, 2))
    out = raw / "derivatives" / "hmopt"
    found = hmopt.register(model, moving, fixed, bids_derivatives=out, setting=SETTING)
    labels = next(raw.glob("derivatives/seg/**/*_dseg.nii.gz"))
    assert found.displacement is not None
    hmopt.apply(found.displacement, labels, to=fixed, labels=True, bids_derivatives=out)

    stem = "sub-01/ses-1/anat/sub-01_ses-1"
    for name in (
        f"{stem}_space-sub02ses1_desc-hmopt_T1w.nii.gz",
        f"{stem}_space-sub02ses1_desc-aseg_dseg.nii.gz",
        f"{stem}_from-T1w_to-sub02ses1_mode-image_xfm.h5",
        f"{stem}_from-sub02ses1_to-T1w_mode-image_xfm.h5",
    ):
        assert (out / name).is_file()
        assert (out / name.replace(".nii.gz", ".json").replace(".h5", ".json")).is_file()
    sidecar = json.loads((out / f"{stem}_space-sub02ses1_desc-hmopt_T1w.json").read_text())
    assert sidecar["Sources"][0] == "bids:raw:sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    assert sidecar["SpatialReference"] == "bids:raw:sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    assert sidecar["RegistrationParameters"] == SETTING
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Version"] == hmopt.__version__
    assert description["DatasetLinks"]["raw"] == "../.."

    validator = shutil.which(
        "bids-validator-deno", path=str(Path(sitk.__file__).parents[4] / "bin")
    )
    if validator is None:
        pytest.skip("names are right; bids-validator-deno is not installed")
    command = [validator, "--json", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    issues = json.loads(ran.stdout)["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []


def test_derivatives_are_not_written_into_raw_data(model: Path, raw: Path) -> None:
    pytest.importorskip("bids2table", reason="the extra `bids` writes names of BIDS")
    images = sorted(raw.glob("sub-*/ses-1/anat/*_T1w.nii.gz"))
    with pytest.raises(DataError, match="expected DatasetType derivative"):
        hmopt.register(model, *images, bids_derivatives=raw, setting=SETTING)


def test_derivatives_need_a_name_of_bids(
    model: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("bids2table", reason="the extra `bids` writes names of BIDS")
    with pytest.raises(DataError, match="expected a name of BIDS"):
        hmopt.register(model, *pair, bids_derivatives=tmp_path / "out", setting=SETTING)
