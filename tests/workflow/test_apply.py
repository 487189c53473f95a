"""Transformations on images, label maps and points; SimpleITK, ANTs, VTK and nitransforms judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

import hmopt
from hmopt.errors import DataError, DeclarationError, HmoptError

Array = NDArray[Any]
SHAPE = (20, 24, 16)


def texture(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Array:
    """Return a smooth texture that falls to 0 at the border, 0 to about 100."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    scaled = 50 + 20 * noise / noise.std()
    inner = np.zeros(shape)
    inner[tuple(slice(2, -2) if n > 4 else slice(None) for n in shape)] = 1
    faded = scaled * ndimage.gaussian_filter(inner, 0.5)
    return np.asarray(faded.clip(0), dtype=np.float32)


def parcels(shape: tuple[int, ...] = SHAPE, count: int = 40) -> Array:
    """Return a label map of many small structures."""
    generator = np.random.default_rng(1)
    seeds = generator.uniform(0, 1, (count, len(shape))) * shape
    voxels = np.indices(shape).reshape(len(shape), -1).T
    distances = np.linalg.norm(voxels[:, None] - seeds, axis=-1)
    codes = np.array([0, *range(1001, 1000 + count)])
    labels: Array = codes[distances.argmin(axis=-1)].reshape(shape)
    return labels


def oblique(angle: float = 20.0, spacing: tuple[float, ...] = (1.0, 1.1, 0.9)) -> Array:
    matrix = np.eye(4)
    turn = Rotation.from_euler("zx", [angle, 10], degrees=True).as_matrix()
    matrix[:3, :3] = turn @ np.diag(spacing) @ np.diag([-1, 1, 1])
    matrix[:3, 3] = [8, -11, -6]
    return matrix


def save(path: Path, data: Array, affine: Array) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    return save(tmp_path / "moving.nii.gz", texture(), oblique())


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    return save(tmp_path / "fixed.nii.gz", texture((22, 20, 18), 3), oblique(5.0, (1.2, 0.9, 1.0)))


def smooth_field(reference: Path, path: Path, seed: int = 2, largest_mm: float = 2.0) -> Path:
    """Write a smooth displacement field on the grid of an image, with SimpleITK."""
    image = sitk.ReadImage(str(reference))
    shape = image.GetSize()[::-1]
    noise = np.random.default_rng(seed).standard_normal((*shape, 3))
    vectors = ndimage.gaussian_filter(noise, (3, 3, 3, 0))
    vectors *= largest_mm / np.abs(vectors).max()
    field = sitk.GetImageFromArray(vectors, isVector=True)
    field.CopyInformation(image)
    sitk.WriteImage(field, str(path))
    return path


def affine_file(path: Path, turn_degrees: float = 8.0) -> Path:
    """Write an affine transform of ITK, turned about the middle, sheared and shifted."""
    transform = sitk.AffineTransform(3)
    matrix = Rotation.from_euler("yz", [turn_degrees, -4], degrees=True).as_matrix()
    matrix[0, 1] += 0.05
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetCenter([-2.0, 3.0, 1.0])
    transform.SetTranslation([1.5, -0.7, 0.4])
    sitk.WriteTransform(transform, str(path))
    return path


def by_itk(
    transforms: Sequence[Path], moving: Path, fixed: Path, interpolator: int = sitk.sitkLinear
) -> Array:
    """Return what SimpleITK makes of the files; the last of a composite is applied first."""
    composite = sitk.CompositeTransform(3)
    for path in reversed(transforms):
        if path.name.endswith(".nii.gz"):
            vectors = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            composite.AddTransform(sitk.DisplacementFieldTransform(vectors))
        else:
            composite.AddTransform(sitk.ReadTransform(str(path)))
    images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed)]
    moved: Array = sitk.GetArrayFromImage(sitk.Resample(*images, composite, interpolator, 0.0)).T
    return moved


def by_ants(transforms: Sequence[Path], moving: Path, fixed: Path, **options: Any) -> Array:
    import ants

    images = [ants.image_read(str(path)) for path in (fixed, moving)]
    names = [str(path) for path in transforms]
    moved: Array = ants.apply_transforms(*images, names, **options).numpy()
    return moved


def values(applied: Any) -> Array:
    data: Array = np.asarray(applied.image.dataobj)
    return data


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "bspline"])
def test_a_warp_and_an_affine_move_an_image_as_in_itk_and_ants(
    moving: Path, fixed: Path, tmp_path: Path, interpolation: str
) -> None:
    chain = [
        smooth_field(fixed, tmp_path / "s1Warp.nii.gz"),
        affine_file(tmp_path / "s0GenericAffine.mat"),
    ]
    found = values(hmopt.apply(chain, moving, to=fixed, interpolation=interpolation, outside=0))
    itk = {
        "linear": sitk.sitkLinear,
        "nearest": sitk.sitkNearestNeighbor,
        "bspline": sitk.sitkBSpline,
    }
    ants = {"linear": "linear", "nearest": "nearestNeighbor", "bspline": "bSpline"}
    assert found.dtype == np.float32
    assert found.std() > 5
    for judge in (
        by_itk(chain, moving, fixed, itk[interpolation]),
        by_ants(chain, moving, fixed, interpolator=ants[interpolation]),
    ):
        # where rounding decides between two voxels, or inside and outside
        assert np.quantile(np.abs(found - judge), 0.99) < 0.02


def test_the_inverse_of_an_affine_is_that_of_ants(
    moving: Path, fixed: Path, tmp_path: Path
) -> None:
    path = affine_file(tmp_path / "s0GenericAffine.mat")
    by_option = values(hmopt.apply(path, moving, to=fixed, inverse=[path], outside=0))
    by_name = values(hmopt.apply(f"[{path},1]", moving, to=fixed, outside=0))
    judge = by_ants([path], moving, fixed, whichtoinvert=[True])
    np.testing.assert_array_equal(by_option, by_name)
    assert np.quantile(np.abs(by_option - judge), 0.99) < 0.02
    assert np.abs(judge - by_ants([path], moving, fixed)).max() > 10


def test_label_maps_are_moved_as_by_ants_generic_label(fixed: Path, tmp_path: Path) -> None:
    labels = save(tmp_path / "dseg.nii.gz", parcels().astype(np.int16), oblique())
    chain = [smooth_field(fixed, tmp_path / "s1Warp.nii.gz")]
    found = hmopt.apply(chain, labels, to=fixed, labels=True)
    judge = by_ants(chain, labels, fixed, interpolator="genericLabel")
    assert found.image is not None
    assert found.image.get_data_dtype() == np.int16
    assert len(np.unique(judge)) > 20
    assert (values(found) == judge).mean() > 0.999
    nearest = hmopt.apply(chain, labels, to=fixed, labels=True, interpolation="nearest")
    judge = by_ants(chain, labels, fixed, interpolator="nearestNeighbor")
    assert (values(nearest) == judge).mean() > 0.999
    assert (values(nearest) != values(found)).mean() > 0.01


def test_labels_keep_their_set_of_values_and_their_type(fixed: Path, tmp_path: Path) -> None:
    for dtype in (np.uint8, np.int16, np.int32, np.float32):
        codes = parcels() % 200 if dtype == np.uint8 else parcels()
        labels = save(tmp_path / "dseg.nii.gz", codes.astype(dtype), oblique())
        chain = smooth_field(fixed, tmp_path / "w.nii.gz")
        moved = hmopt.apply(chain, labels, to=fixed, labels=True)
        assert set(np.unique(values(moved))) <= {0, *np.unique(codes).tolist()}
        expected = np.uint16 if dtype == np.float32 else dtype
        assert moved.image is not None
        assert moved.image.get_data_dtype() == expected


def test_by_linear_weights_a_label_wins_that_no_single_voxel_decides() -> None:
    from hmopt.interop.resampling import labels_at

    codes = np.zeros((2, 2, 1), np.int64)
    codes[0, 0], codes[1, 0], codes[0, 1] = 5, 9, 9
    # weights: 5 has 0.6 · 0.6, 9 twice 0.4 · 0.6, 0 has 0.4 · 0.4
    place = np.array([[0.4, 0.4, 0.0]])
    assert labels_at(codes, "linear")(place).tolist() == [9]
    assert labels_at(codes, "nearest")(place).tolist() == [5]


def test_large_codes_keep_their_value() -> None:
    """2^53 and 2^53 + 1 are one number in double precision."""
    from hmopt.interop.resampling import labels_at

    codes = np.array([2**53, 2**53 + 1]).reshape(2, 1, 1)
    places = np.array([[0.4, 0, 0], [0.5, 0, 0], [1.2, 0, 0], [1.5, 0, 0]])
    for interpolation in ("nearest", "linear"):
        found = labels_at(codes, interpolation)(places).tolist()
        assert found[0] == 2**53
        assert found[2:] == [2**53 + 1, 0]
    assert labels_at(codes, "nearest")(places)[1] == 2**53 + 1


def still(path: Path, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> Path:
    sitk.WriteTransform(sitk.TranslationTransform(3, list(shift)), str(path))
    return path


def test_the_identity_leaves_an_image_as_it_is(moving: Path, tmp_path: Path) -> None:
    found = hmopt.apply(still(tmp_path / "still.tfm"), moving, to=moving)
    expected = nibabel.Nifti1Image.from_filename(moving)
    np.testing.assert_allclose(values(found), expected.get_fdata(), atol=1e-3)
    assert found.image is not None
    np.testing.assert_array_equal(found.image.affine, expected.affine)


def test_a_translation_by_whole_voxels_shifts_the_array(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", texture(), np.diag([2.0, 2, 2, 1]))
    # a point of the result looks 4 mm to the right, which is 4 mm down in LPS
    found = values(hmopt.apply(still(tmp_path / "t.tfm", (-4, 0, 0)), image, to=image, outside=-5))
    np.testing.assert_allclose(found[:-2], texture()[2:], atol=1e-4)
    assert (found[-2:] == -5).all()


def test_translations_add_up_and_the_composed_field_is_their_sum(
    moving: Path, tmp_path: Path
) -> None:
    parts = [still(tmp_path / "a.tfm", (1, 2, 3)), still(tmp_path / "b.h5", (0.5, -1, 0))]
    out = tmp_path / "both.nii.gz"
    hmopt.apply(parts, to=moving, compose=out)
    vectors = nibabel.Nifti1Image.from_filename(out).get_fdata()
    np.testing.assert_allclose(
        vectors.reshape(-1, 3), [[1.5, 1, 3]] * vectors[..., 0].size, atol=1e-5
    )


@pytest.mark.parametrize("name", ["composed.nii.gz", "composed.h5"])
def test_a_composed_field_moves_as_its_parts_in_hmopt_itk_and_ants(
    moving: Path, fixed: Path, tmp_path: Path, name: str
) -> None:
    chain = [
        smooth_field(fixed, tmp_path / "s1Warp.nii.gz"),
        affine_file(tmp_path / "s0GenericAffine.mat"),
    ]
    composed = tmp_path / name
    hmopt.apply(chain, to=fixed, compose=composed)
    parts = values(hmopt.apply(chain, moving, to=fixed, outside=0))
    for found in (
        values(hmopt.apply(composed, moving, to=fixed, outside=0)),
        by_itk([composed], moving, fixed),
        by_ants([composed], moving, fixed),
    ):
        assert np.quantile(np.abs(found - parts), 0.99) < 0.02


def test_a_large_image_is_moved_in_parts(
    moving: Path, fixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warp = smooth_field(fixed, tmp_path / "w.nii.gz")
    whole = values(hmopt.apply(warp, moving, to=fixed))
    monkeypatch.setattr("hmopt.workflow.apply._AT_ONCE", 777)
    np.testing.assert_array_equal(values(hmopt.apply(warp, moving, to=fixed)), whole)


def test_the_order_counts(moving: Path, fixed: Path, tmp_path: Path) -> None:
    warp, affine = smooth_field(fixed, tmp_path / "w.nii.gz"), affine_file(tmp_path / "a.mat")
    one = values(hmopt.apply([warp, affine], moving, to=fixed))
    other = values(hmopt.apply([affine, warp], moving, to=fixed))
    assert np.abs(one - other).max() > 1


def test_there_and_back_again_is_where_it_began(moving: Path, tmp_path: Path) -> None:
    chain: list[Path | str] = [
        smooth_field(moving, tmp_path / "w.nii.gz"),
        affine_file(tmp_path / "a.mat"),
    ]
    back: list[Path | str] = [f"[{path},1]" for path in reversed(chain)]
    table = tmp_path / "points.csv"
    inner = (
        np.random.default_rng(4).uniform(6, 12, (30, 3)) @ oblique()[:3, :3].T + oblique()[:3, 3]
    )
    pd.DataFrame(inner, columns=list("xyz")).to_csv(table, index=False)
    for order in (chain + back, back + chain):
        found = hmopt.apply(order, table, coordinates="ras")
        assert found.points is not None
        np.testing.assert_allclose(found.points, inner, atol=5e-3)


def test_a_bspline_transform_moves_as_in_itk(moving: Path, fixed: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(fixed), sitk.sitkFloat32)
    transform = sitk.BSplineTransformInitializer(image, [5, 4, 5], 3)
    generator = np.random.default_rng(0)
    transform.SetParameters(generator.uniform(-3, 3, len(transform.GetParameters())).tolist())
    path = tmp_path / "bspline.tfm"
    sitk.WriteTransform(transform, str(path))
    found = values(hmopt.apply(path, moving, to=fixed, outside=0))
    judge = by_itk([path], moving, fixed)
    assert np.quantile(np.abs(found - judge), 0.99) < 0.02
    assert np.abs(judge - by_itk([still(tmp_path / "i.tfm")], moving, fixed)).max() > 10


def test_2d_transforms_move_2d_images(tmp_path: Path) -> None:
    plane = texture((24, 30, 5))[:, :, 2]
    image = save(tmp_path / "plane.nii.gz", plane, np.diag([-1.0, 1.2, 1, 1]))
    vectors = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(30, 24, 2)), (3, 3, 0))
    field = sitk.GetImageFromArray(vectors / np.abs(vectors).max() * 2, isVector=True)
    field.CopyInformation(sitk.ReadImage(str(image)))
    sitk.WriteImage(field, str(tmp_path / "w.nii.gz"))
    found = values(hmopt.apply(tmp_path / "w.nii.gz", image, to=image, outside=0))
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "w.nii.gz"), sitk.sitkVectorFloat64)
    )
    read = sitk.ReadImage(str(image), sitk.sitkFloat32)
    judge = sitk.GetArrayFromImage(sitk.Resample(read, read, transform, sitk.sitkLinear, 0.0)).T
    assert found.shape == plane.shape
    assert np.quantile(np.abs(found - judge), 0.99) < 0.01
    assert np.abs(judge - plane).max() > 5


def test_every_volume_of_a_series_is_moved_and_the_time_step_stays(
    moving: Path, fixed: Path, tmp_path: Path
) -> None:
    series = nibabel.Nifti1Image(np.stack([texture(), 2 * texture()], axis=-1), oblique())
    series.header.set_zooms((*series.header.get_zooms()[:3], 2.5))
    series.header.set_xyzt_units("mm", "sec")
    nibabel.save(series, tmp_path / "bold.nii.gz")
    warp = smooth_field(fixed, tmp_path / "w.nii.gz")
    output = tmp_path / "moved.nii.gz"
    hmopt.apply(warp, tmp_path / "bold.nii.gz", to=fixed, output=output)
    moved = nibabel.Nifti1Image.from_filename(output)
    one = values(hmopt.apply(warp, moving, to=fixed))
    np.testing.assert_allclose(moved.get_fdata()[..., 0], one, atol=1e-4)
    np.testing.assert_allclose(moved.get_fdata()[..., 1], 2 * one, atol=1e-3)
    assert float(moved.header.get_zooms()[3]) == 2.5
    assert moved.header.get_xyzt_units()[1] == "sec"


# points


def test_points_and_images_agree_and_points_go_the_other_way(
    moving: Path, fixed: Path, tmp_path: Path
) -> None:
    chain = [
        smooth_field(fixed, tmp_path / "w.nii.gz"),
        affine_file(tmp_path / "a.mat", turn_degrees=2),
    ]
    # images of the moving file whose intensities are the world's coordinates: linear, so exact between voxels
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1)
    world = voxels @ oblique()[:3, :3].T + oblique()[:3, 3]
    shown = []
    for axis in range(3):
        image = save(tmp_path / "axis.nii.gz", world[..., axis].astype(np.float32), oblique())
        shown.append(values(hmopt.apply(chain, image, to=fixed, outside=np.nan)))
    in_moving = np.stack(shown, axis=-1)

    inner = (slice(8, 14), slice(7, 13), slice(6, 12))
    to_world = nibabel.Nifti1Image.from_filename(fixed).affine
    in_fixed = np.moveaxis(np.indices((22, 20, 18)), 0, -1)[inner] @ to_world[:3, :3].T
    in_fixed = (in_fixed + to_world[:3, 3]).reshape(-1, 3)
    expected = in_moving[inner].reshape(-1, 3)
    pd.DataFrame(in_fixed, columns=list("xyz")).to_csv(tmp_path / "fixed.csv", index=False)
    pd.DataFrame(expected, columns=list("xyz")).to_csv(tmp_path / "moving.csv", index=False)

    forward = hmopt.apply(chain, tmp_path / "fixed.csv", coordinates="ras").points
    backwards = [f"[{path},1]" for path in reversed(chain)]
    back = hmopt.apply(backwards, tmp_path / "moving.csv", coordinates="ras").points
    assert forward is not None
    assert back is not None
    np.testing.assert_allclose(forward, expected, atol=1e-3)
    np.testing.assert_allclose(back, in_fixed, atol=5e-3)
    assert np.linalg.norm(expected - in_fixed, axis=-1).mean() > 1


def test_points_are_mapped_as_by_itk_and_ants_and_other_columns_stay(
    fixed: Path, tmp_path: Path
) -> None:
    import ants

    chain = [smooth_field(fixed, tmp_path / "s1Warp.nii.gz"), affine_file(tmp_path / "a.mat")]
    here = pd.DataFrame({"name": ["a", "b"], "x": [2.0, -3.0], "y": [1.0, 4], "z": [3.0, -2]})
    here.to_csv(tmp_path / "points.csv", index=False)
    hmopt.apply(chain, tmp_path / "points.csv", output=tmp_path / "out.csv", coordinates="lps")
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["name"].tolist() == ["a", "b"]
    judge = ants.apply_transforms_to_points(
        3, here.assign(t=0.0)[["x", "y", "z", "t"]], [str(p) for p in chain]
    )
    np.testing.assert_allclose(found[["x", "y", "z"]], judge[["x", "y", "z"]], atol=1e-3)

    flipped = here.assign(x=-here.x, y=-here.y)
    flipped.to_csv(tmp_path / "ras.csv", index=False)
    ras = hmopt.apply(chain, tmp_path / "ras.csv", coordinates="ras").points
    assert ras is not None
    np.testing.assert_allclose(ras * [-1, -1, 1], judge[["x", "y", "z"]], atol=1e-3)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("version", [42, 51])
def test_a_vtk_mesh_keeps_its_cells_and_attributes(
    tmp_path: Path, binary: bool, version: int
) -> None:
    vtk = pytest.importorskip("vtk", reason="vtk writes and reads the meshes")
    from vtk.util.numpy_support import vtk_to_numpy

    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(5)
    sphere.Update()
    writer = vtk.vtkPolyDataWriter()
    writer.SetInputData(sphere.GetOutput())
    writer.SetFileName(str(tmp_path / "mesh.vtk"))
    writer.SetFileVersion(version)
    writer.SetHeader("3D Slicer output. SPACE=LPS")
    writer.SetFileType(2 if binary else 1)
    writer.Write()
    hmopt.apply(
        still(tmp_path / "t.tfm", (1, 2, 3)), tmp_path / "mesh.vtk", output=tmp_path / "out.vtk"
    )
    meshes = []
    for name in ("mesh.vtk", "out.vtk"):
        reader = vtk.vtkPolyDataReader()
        reader.SetFileName(str(tmp_path / name))
        reader.Update()
        meshes.append(reader.GetOutput())
    points = [vtk_to_numpy(mesh.GetPoints().GetData()) for mesh in meshes]
    np.testing.assert_allclose(points[1], points[0] + [1, 2, 3], atol=1e-5)
    cells = [vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()) for mesh in meshes]
    np.testing.assert_array_equal(*cells)
    assert meshes[1].GetPointData().GetNormals() is not None


def test_points_must_say_where_they_count_to(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(DeclarationError, match="--coordinates: expected ras or lps, got neither"):
        hmopt.apply(still(tmp_path / "t.tfm"), tmp_path / "points.csv")


def test_options_that_change_nothing_are_refused(moving: Path, fixed: Path, tmp_path: Path) -> None:
    transform = still(tmp_path / "t.tfm")
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    composed: dict[str, Any] = {"to": fixed, "compose": tmp_path / "all.h5"}
    value: dict[str, Any] = {
        "labels": True,
        "interpolation": "nearest",
        "outside": 0.0,
        "coordinates": "ras",
    }
    for option in value:
        refused = pytest.raises(DeclarationError, match=f"--{option}: expected no such option")
        with refused:
            hmopt.apply(transform, **composed, **{option: value[option]})
        if option == "coordinates":
            with refused:
                hmopt.apply(transform, moving, to=fixed, coordinates="ras")
            continue
        with refused:
            points = tmp_path / "points.csv"
            hmopt.apply(transform, points, coordinates="ras", **{option: value[option]})
    with pytest.raises(DeclarationError, match="--outside: expected no such option for a label"):
        hmopt.apply(transform, moving, to=fixed, labels=True, outside=0.0)


# other programs and what they trip over


def test_nitransforms_moves_an_image_the_same_with_the_same_files(
    moving: Path, fixed: Path, tmp_path: Path
) -> None:
    nitransforms = pytest.importorskip("nitransforms", reason="compared with nitransforms")
    warp = smooth_field(fixed, tmp_path / "w.nii.gz")
    own = values(hmopt.apply(warp, moving, to=fixed, outside=0))
    field = nitransforms.io.itk.ITKDisplacementsField.from_filename(warp)
    transform = nitransforms.nonlinear.DenseFieldTransform(field, is_deltas=True)
    resampled = nitransforms.resampling.apply(
        transform, nibabel.load(moving), reference=nibabel.load(fixed), order=1, cval=0.0
    )
    assert np.quantile(np.abs(resampled.get_fdata() - own), 0.98) < 0.05


def test_an_output_never_replaces_an_input(moving: Path, tmp_path: Path) -> None:
    transform = still(tmp_path / "t.tfm")
    with pytest.raises(HmoptError, match="--output"):
        hmopt.apply(transform, moving, to=moving, output=moving)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((4, 4, 4, 3), "FSL, FreeSurfer and VoxelMorph"), ((4, 4, 4), "the image comes after")],
)
def test_a_field_of_another_convention_is_refused(
    moving: Path, tmp_path: Path, shape: tuple[int, ...], said: str
) -> None:
    other = save(tmp_path / "warp.nii.gz", np.zeros(shape, np.float32), np.eye(4))
    with pytest.raises(DataError, match=said):
        hmopt.apply(other, moving, to=moving)


def test_a_field_of_another_place_is_told(moving: Path, tmp_path: Path) -> None:
    far = oblique()
    far[:3, 3] += 500
    elsewhere = save(tmp_path / "far.nii.gz", texture(), far)
    warp = smooth_field(elsewhere, tmp_path / "w.nii.gz")
    (remark,) = hmopt.apply(warp, moving, to=moving).remarks
    assert "0 % of the image lies inside" in remark


def test_a_label_map_without_labels_is_told(tmp_path: Path, fixed: Path) -> None:
    labels = save(tmp_path / "sub-1_dseg.nii.gz", parcels().astype(np.int16), oblique())
    (remark,) = hmopt.apply(still(tmp_path / "t.tfm"), labels, to=fixed).remarks
    assert "--labels" in remark


def test_a_broken_file_is_one_line(moving: Path, tmp_path: Path) -> None:
    for name in ("broken.h5", "broken.mat", "broken.tfm", "broken.nii.gz"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=name) as caught:
            hmopt.apply(tmp_path / name, moving, to=moving)
        assert "\n" not in str(caught.value)
