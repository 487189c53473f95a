import nibabel
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from scipy import ndimage
from scipy.spatial.transform import Rotation

from hmopt.data.grid import (
    NO_SLICE,
    Frame,
    centred_grid,
    check_preprocessing,
    lay_out,
    ras_frame,
    resample,
    slice_grid,
    smooth_for,
)
from hmopt.data.volume import Lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, DeclarationError

RNG = np.random.default_rng(0)
FLIPPED = np.array([[0, 0, -3.0, 50], [-1, 0, 0, 7], [0, 2, 0, -9], [0, 0, 0, 1]])


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix() @ np.diag(
        [-1.5, 2, 1]
    )
    affine[:3, 3] = [4, -3, 12]
    return affine


@pytest.mark.parametrize("affine", [np.eye(4), FLIPPED, oblique()])
def test_the_ras_order_of_voxels_is_that_of_nibabel(affine: np.ndarray) -> None:
    data = RNG.random((4, 5, 6)).astype(np.float32)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine))
    frame = ras_frame(Lattice(shape=(4, 5, 6), affine=affine))
    assert frame.shape == canonical.shape
    np.testing.assert_allclose(frame.to_world, canonical.affine)
    np.testing.assert_allclose(frame.spacing_mm, canonical.header.get_zooms(), rtol=1e-5)
    to_file = np.linalg.inv(affine) @ frame.to_world
    np.testing.assert_allclose(
        resample(data, to_file, frame.shape, 1, 0), canonical.get_fdata(), atol=1e-5
    )


def test_the_prepared_grid_has_the_centre_of_the_image() -> None:
    frame = ras_frame(Lattice(shape=(10, 12, 14), affine=oblique()))
    grid = centred_grid(frame, (16, 5, 8), (0.7, 3.0, 2.2))
    np.testing.assert_allclose(grid @ [7.5, 2, 3.5, 1], [*((np.array(frame.shape) - 1) / 2), 1])
    np.testing.assert_allclose(
        np.linalg.norm((frame.to_world @ grid)[:3, :3], axis=0), [0.7, 3.0, 2.2]
    )


def test_an_unchanged_spacing_crops_and_pads_without_touching_a_voxel() -> None:
    data = RNG.random((7, 6, 5)).astype(np.float32)
    frame = ras_frame(Lattice(shape=data.shape, affine=np.eye(4)))
    prepared = resample(data, centred_grid(frame, (4, 9, 5), (1, 1, 1)), (4, 9, 5), 1, -1)
    np.testing.assert_array_equal(prepared[:, 2:8], data[1:5])
    assert (prepared[:, [0, 1, 8]] == -1).all()


def test_resampling_is_that_of_nibabel() -> None:
    data = RNG.random((9, 10, 11)).astype(np.float32)
    frame = ras_frame(Lattice(shape=data.shape, affine=FLIPPED))
    shape = (8, 7, 20)
    grid = np.linalg.inv(FLIPPED) @ frame.to_world @ centred_grid(frame, shape, (2.0, 1.3, 0.9))
    reference = resample_from_to(
        nibabel.Nifti1Image(data, FLIPPED), (shape, FLIPPED @ grid), order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(resample(data, grid, shape, 1, 0), reference.get_fdata(), atol=1e-5)


def test_a_slice_is_the_plane_of_the_volume_in_ras_order() -> None:
    data = RNG.random((5, 6, 7)).astype(np.float32)
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(data, FLIPPED)).get_fdata()
    frame = ras_frame(Lattice(shape=data.shape, affine=FLIPPED))
    for axis, index in ((0, 3), (1, 2), (2, 4)):
        plane = np.take(canonical, index, axis)
        grid = (
            np.linalg.inv(FLIPPED)
            @ frame.to_world
            @ slice_grid(frame, axis, index, plane.shape, None)
        )
        np.testing.assert_allclose(resample(data, grid, plane.shape, 1, 0), plane, atol=1e-5)


def test_labels_are_never_mixed() -> None:
    labels = RNG.choice([0, 3, 900], (6, 6, 6))
    grid = np.diag([0.61, 0.83, 1.2, 1])
    assert set(np.unique(resample(labels, grid, (8, 7, 5), 0, 0))) <= {0, 3, 900}


def test_detail_is_smoothed_away_along_the_axes_that_become_coarser_alone() -> None:
    data = RNG.random((16, 16, 16)).astype(np.float32)
    grid = np.diag([3.0, 1.0, 0.5, 1])
    expected = ndimage.gaussian_filter1d(data, 1.0, axis=0, mode="nearest")
    np.testing.assert_allclose(smooth_for(data, grid, 3), expected, atol=1e-6)
    assert smooth_for(data, np.eye(4), 3) is data


def frame(*shape: int) -> Frame:
    return Frame(shape=shape, spacing_mm=(1.0, 4.0, 2.0), to_world=np.eye(4))


def section(**values: object) -> PreprocessingOptions:
    return PreprocessingOptions.model_validate(values)


def test_a_plane_keeps_the_spacing_of_its_two_axes() -> None:
    layout = lay_out(
        frame(8, 3, 8), section(shape=[8, 8], slices={"axis": 1, "indices": [2, 0]}), "a"
    )
    assert layout.spacing_mm == (1.0, 2.0)
    assert layout.slices == (2, 0)
    assert [grid[1, 3] for grid in layout.grids] == [2, 0]


def test_a_flat_image_is_a_plane_by_itself() -> None:
    layout = lay_out(frame(8, 1, 8), section(shape=[8, 8]), "a")
    assert layout.slices == (NO_SLICE,)
    assert layout.spacing_mm == (1.0, 2.0)


def test_a_declared_spacing_is_that_of_the_prepared_grid() -> None:
    layout = lay_out(frame(8, 8, 8), section(shape=[4, 4, 4], spacing_mm=[2, 4, 1]), "a")
    np.testing.assert_allclose(np.diag(layout.grids[0]), [2, 1, 0.5, 1])


def test_a_volume_without_declared_slices_is_no_2d_image() -> None:
    with pytest.raises(DataError, match="a 2-D image"):
        lay_out(frame(8, 8, 8), section(shape=[8, 8]), "a")


def test_a_slice_that_an_image_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="slice 3 along axis 1, got 3 slices"):
        lay_out(frame(8, 3, 8), section(shape=[8, 8], slices={"axis": 1, "indices": [0, 3]}), "a")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"shape": [8, 8, 8], "slices": {"axis": 1, "indices": [0]}}, "shape"),
        ({"shape": [8, 8], "spacing_mm": [1, 1, 1]}, "spacing_mm"),
        ({"shape": [8, 8], "slices": {"axis": 1, "indices": [1, 1]}}, "slices.indices"),
        (
            {"shape": [8, 8], "slices": {"axis": 1, "indices": [1], "search_indices": [2]}},
            "slices.search_indices",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    values: dict[str, object], field: str
) -> None:
    with pytest.raises(DeclarationError, match=f"preprocessing.{field}: "):
        check_preprocessing(section(**values))
