"""Every kind of header through `register`; SimpleITK and ANTs apply the field to the very files and judge."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from hmopt.errors import DataError
from hmopt.oracle import open_registrar
from tests.geometry.conftest import SETTING, Array, Judge, affine, head


def save(path: Path, data: Array, matrix: Array | None, **fields: Any) -> Path:
    """Write NIfTI; fields: `unit`, `qform` and `sform` as (matrix, code)."""
    image = nibabel.Nifti1Image(data, matrix)
    if "unit" in fields:
        image.header.set_xyzt_units(fields["unit"])
    if "qform" in fields:
        image.set_qform(*fields["qform"])
    if "sform" in fields:
        image.set_sform(*fields["sform"])
    nibabel.save(image, path)
    return path


def stored(path: Path, data: Array, matrix: Array, codes: str) -> Path:
    """Write an image with its voxels in another order."""
    order = ornt_transform(io_orientation(matrix), axcodes2ornt(codes))
    turned = nibabel.orientations.apply_orientation(data, order)
    return save(path, turned, matrix @ inv_ornt_aff(order, data.shape))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SLA", "ASR", "IPL", "RSA"])
def test_the_order_in_which_voxels_are_stored_changes_neither_the_image_nor_the_field_in_the_world(
    model: Path, judge: Judge, tmp_path: Path, codes: str
) -> None:
    moving, fixed = (
        save(tmp_path / "m.nii.gz", head(1), affine()),
        save(tmp_path / "f.nii.gz", head(2), affine()),
    )
    plain = judge(model, moving, fixed, ants_too=False)
    turned = judge(model, stored(tmp_path / "tm.nii.gz", head(1), affine(), codes), fixed)
    np.testing.assert_allclose(
        turned.displacement.get_fdata(), plain.displacement.get_fdata(), atol=1e-4
    )
    both = judge(
        model, moving, stored(tmp_path / "tf.nii.gz", head(2), affine(), codes), ants_too=False
    )
    back = nibabel.as_closest_canonical(both.moved)
    np.testing.assert_allclose(back.get_fdata(), plain.moved.get_fdata(), atol=1e-2)


def turned(degrees: float, axis: str, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Array:
    """Return the affine of an image that is turned about its middle."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix() @ np.diag(spacing)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(head(1).shape) - 1) / 2)
    return matrix


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("angles", [(44, 46), (46, 44), (-44, -46), (46, 46)])
def test_two_images_on_both_sides_of_45_degrees_keep_their_axes(
    model: Path, judge: Judge, tmp_path: Path, axis: str, angles: tuple[float, float]
) -> None:
    paths = [
        save(tmp_path / f"{name}.nii.gz", head(1), turned(angle, axis))
        for name, angle in zip(("moving", "fixed"), angles, strict=True)
    ]
    found = judge(model, *paths, ants_too=False)
    lengths = np.linalg.norm(found.displacement.get_fdata(), axis=-1)
    # voxel on voxel, 2 degrees are at most 0.6 mm here; with axes swapped they would be 90 degrees and 17 mm
    assert np.median(lengths) < 4


@pytest.mark.parametrize(
    ("spacing", "angle"),
    [((-1.0, 1.0, 1.0), 20.0), ((0.7, 1.1, 2.0), -30.0), ((1.0, -1.3, 0.8), 10.0)],
)
def test_oblique_left_handed_and_anisotropic_grids(
    model: Path, judge: Judge, tmp_path: Path, spacing: tuple[float, ...], angle: float
) -> None:
    moving = save(tmp_path / "m.nii.gz", head(1), turned(angle, "xyz"[int(angle) % 3], spacing))
    judge(model, moving, save(tmp_path / "f.nii.gz", head(2), turned(5, "y")))


@pytest.mark.parametrize(
    ("unit", "per_mm"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1.0), ("unknown", 1.0)]
)
def test_the_unit_of_a_header_is_honoured(
    model: Path, judge: Judge, tmp_path: Path, unit: str, per_mm: float
) -> None:
    plain = judge(
        model, *(save(tmp_path / f"{n}.nii.gz", head(n), affine()) for n in (1, 2)), ants_too=False
    )
    scale = np.diag([per_mm, per_mm, per_mm, 1.0])
    paths = [
        save(tmp_path / f"{unit}{n}.nii.gz", head(n), scale @ affine(), unit=unit) for n in (1, 2)
    ]
    found = judge(model, *paths)
    np.testing.assert_allclose(
        found.displacement.get_fdata(), plain.displacement.get_fdata(), atol=1e-3
    )
    np.testing.assert_allclose(found.moved.affine, scale @ affine(), rtol=1e-5)
    assert found.moved.header.get_xyzt_units()[0] == unit


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (4, 4), (1, 4)])
def test_where_qform_and_sform_contradict_each_other_the_field_is_right_for_itk_and_the_distance_is_said(
    model: Path, judge: Judge, tmp_path: Path, codes: tuple[int, int]
) -> None:
    elsewhere = affine(origin=(20.0, -3.0, 4.0))
    moving = save(
        tmp_path / "m.nii.gz",
        head(1),
        None,
        qform=(elsewhere, codes[0]),
        sform=(affine(), codes[1]),
    )
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    found = judge(model, moving, fixed)
    distance = f"{np.linalg.norm(elsewhere[:3, 3] - affine()[:3, 3]):.3g} mm"
    assert any("m.nii.gz: qform" in remark and distance in remark for remark in found.remarks)
    back = judge(model, fixed, moving)
    assert (int(back.moved.header["qform_code"]), int(back.moved.header["sform_code"])) == codes
    np.testing.assert_allclose(back.moved.get_qform(), elsewhere, atol=1e-5)
    np.testing.assert_allclose(back.moved.get_sform(), affine(), atol=1e-5)


def test_a_header_without_orientation_is_placed_by_its_middle_and_said(
    model: Path, judge: Judge, tmp_path: Path
) -> None:
    paths = [save(tmp_path / f"{n}.nii.gz", head(n), None) for n in (1, 2)]
    found = judge(model, *paths)
    assert sum("neither qform nor sform" in remark for remark in found.remarks) == 2
    assert (int(found.moved.header["qform_code"]), int(found.moved.header["sform_code"])) == (0, 0)
    with_orientation = save(tmp_path / "f.nii.gz", head(2), affine())
    judge(model, paths[0], with_orientation)
    judge(model, with_orientation, paths[0])


def test_a_sheared_sform_beside_a_qform_is_read_by_itk_as_the_qform(
    model: Path, judge: Judge, tmp_path: Path
) -> None:
    sheared = affine()
    sheared[1, 2] = 0.3
    moving = save(tmp_path / "m.nii.gz", head(1), None, qform=(affine(), 1), sform=(sheared, 2))
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    assert any("5.1 mm apart" in remark for remark in judge(model, moving, fixed).remarks)
    judge(model, fixed, moving)


@pytest.mark.parametrize("which", ["moving", "fixed"])
def test_a_sheared_file_that_itk_does_not_read_is_named_with_its_angle(
    model: Path, tmp_path: Path, which: str
) -> None:
    sheared = affine()
    sheared[1, 2] = np.tan(np.radians(12))
    paths = {
        name: save(
            tmp_path / f"{name}.nii.gz",
            head(1),
            None,
            sform=(sheared if name == which else affine(), 1),
        )
        for name in ("moving", "fixed")
    }
    found = open_registrar(model).register(paths["moving"], paths["fixed"], SETTING)
    (remark,) = [one for one in found.remarks if "do not read it" in one]
    assert remark.startswith(f"{which}.nii.gz")
    assert "12 degrees" in remark


@pytest.mark.parametrize("name", ["head.hdr", "head.img"])
def test_a_pair_of_files(model: Path, judge: Judge, tmp_path: Path, name: str) -> None:
    nibabel.save(nibabel.Nifti1Pair(head(1), affine()), tmp_path / "head.img")
    fixed = save(tmp_path / "f.nii.gz", head(2), turned(10, "x"))
    judge(model, tmp_path / name, fixed)
    judge(model, fixed, tmp_path / name)


def test_a_fourth_axis_of_one_volume(model: Path, judge: Judge, tmp_path: Path) -> None:
    moving = save(tmp_path / "m.nii.gz", head(1)[..., None], affine())
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    judge(model, moving, fixed)
    assert judge(model, fixed, moving).moved.shape == (*head(1).shape, 1)


def test_big_endian_integers_with_slope_and_intercept(
    model: Path, judge: Judge, tmp_path: Path
) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(head(1), affine(), header)
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / "m.nii.gz")
    judge(model, tmp_path / "m.nii.gz", save(tmp_path / "f.nii.gz", head(2), affine()))


def test_a_freesurfer_file_is_registered_as_the_nifti_of_the_same_affine(
    model: Path, judge: Judge, tmp_path: Path
) -> None:
    matrix = affine() @ np.diag([-1.0, 1, 1, 1])
    nibabel.save(nibabel.MGHImage(head(1), matrix), tmp_path / "m.mgz")
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    as_nifti = judge(model, save(tmp_path / "m.nii.gz", head(1), matrix), fixed)
    as_mgz = open_registrar(model).register(tmp_path / "m.mgz", fixed, SETTING)
    np.testing.assert_allclose(
        as_mgz.displacement.get_fdata(), as_nifti.displacement.get_fdata(), atol=1e-4
    )


PLANES = {
    "axial": np.array([[1.0, 0, 0, -9], [0, 1, 0, -11], [0, 0, 1, 4], [0, 0, 0, 1]]),
    "coronal": np.array([[1.0, 0, 0, -9], [0, 0, 1, 4], [0, 1, 0, -11], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 1.0, 4], [1, 0, 0, -9], [0, 1, 0, -11], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_in_a_3d_file_keeps_both_components_of_its_field(
    plane_model: Path, judge: Judge, tmp_path: Path, plane: str
) -> None:
    paths = [
        save(tmp_path / f"{n}.nii.gz", head(n, (24, 28, 3))[:, :, 1:2], PLANES[plane])
        for n in (1, 2)
    ]
    found = judge(plane_model, *paths)
    vectors = found.displacement.get_fdata().reshape(-1, 3)
    moves = np.abs(vectors).max(axis=0) > 0.05
    across = list(PLANES).index(plane)
    assert moves.tolist() == [axis != {0: 2, 1: 1, 2: 0}[across] for axis in range(3)]


@pytest.mark.parametrize("shape", [(1, 24, 28), (24, 1, 28), (24, 28, 1, 1)])
def test_a_plane_may_lie_across_any_axis_of_its_file(
    plane_model: Path, judge: Judge, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    paths = [
        save(tmp_path / f"{n}.nii.gz", head(n, (24, 28, 3))[:, :, 1].reshape(shape), affine())
        for n in (1, 2)
    ]
    assert judge(plane_model, *paths).moved.shape == shape


def test_a_2d_file_has_a_2d_field(plane_model: Path, judge: Judge, tmp_path: Path) -> None:
    paths = [
        save(tmp_path / f"{n}.nii.gz", head(n, (24, 28, 3))[:, :, 1], PLANES["axial"])
        for n in (1, 2)
    ]
    assert judge(plane_model, *paths).displacement.shape == (24, 28, 1, 1, 2)


def test_planes_across_different_axes_are_refused(plane_model: Path, tmp_path: Path) -> None:
    paths = [
        save(tmp_path / f"{plane}.nii.gz", head(1, (24, 28, 3))[:, :, 1:2], PLANES[plane])
        for plane in ("axial", "coronal")
    ]
    with pytest.raises(
        DataError, match=r"expected an axial plane, as .*axial\.nii\.gz is, got a coronal plane"
    ):
        open_registrar(plane_model).register(paths[0], paths[1], SETTING)


def test_an_affine_that_cannot_be_inverted_is_refused(model: Path, tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii.gz", head(1), affine())
    for name, value in (("zero", 0.0), ("nan", np.nan)):
        broken = affine()
        broken[2, 2] = value
        path = tmp_path / f"{name}.nii"
        image = nibabel.Nifti1Image(head(1), affine())
        image.header["srow_z"] = broken[2]
        image.header["sform_code"] = 1
        image.header["qform_code"] = 0
        with path.open("wb") as file:
            image.header.write_to(file)
            file.write(head(1).tobytes(order="F"))
        with pytest.raises(DataError, match="an affine that can be inverted"):
            open_registrar(model).register(path, good, SETTING)


def test_what_lies_outside_the_moving_image_is_its_background(
    model: Path, judge: Judge, tmp_path: Path
) -> None:
    moving = save(tmp_path / "ct.nii.gz", head(1)[6:] - 1000, affine(origin=(-4.0, -12.0, -8.0)))
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    moved = judge(model, moving, fixed, placement="header").moved.get_fdata()
    assert moved[:2].max() < -990
    assert moved.max() < 0


def test_a_broken_qform_beside_a_good_sform_does_not_count(model: Path, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(head(1), affine())
    image.header["vox_offset"] = 352
    image.header["qform_code"] = 1
    image.header["quatern_b"], image.header["quatern_c"] = 3.0, 3.0
    with (tmp_path / "m.nii").open("wb") as file:
        image.header["sform_code"] = 1
        image.header.write_to(file)
        file.write(head(1).tobytes(order="F"))
    fixed = save(tmp_path / "f.nii.gz", head(2), affine())
    good = open_registrar(model).register(
        save(tmp_path / "g.nii.gz", head(1), affine()), fixed, SETTING
    )
    found = open_registrar(model).register(tmp_path / "m.nii", fixed, SETTING)
    np.testing.assert_allclose(found.moved.get_fdata(), good.moved.get_fdata(), atol=1e-4)
