"""Errors of landmarks, of displacements for which they are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from numpy.typing import NDArray

from hmopt.data.landmarks import Landmarks
from hmopt.errors import DataError
from hmopt.metrics import Originals, measure
from hmopt.metrics.landmarks import find_landmark_errors
from hmopt.records import Pair

SHAPE = (12, 10, 8)
METRICS = ["tre_mm", "tre_median_mm", "tre_p90_mm", "tre_voxels", "tre_robustness"]
PLACES = np.random.default_rng(0).uniform(2, 6, (7, 3))
"""Of landmarks, in voxels of the prepared grid."""


def landmarks(
    voxels: NDArray[np.float64], affine: NDArray[np.float64] | None = None, names: str = "abcdefg"
) -> Landmarks:
    return Landmarks(
        names=tuple(names),
        named_by="label",
        voxels=voxels,
        affine=np.eye(4) if affine is None else affine,
        origin="made up",
    )


def affine_field(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the displacement that maps every voxel x of the grid to matrix x: (3, *SHAPE)."""
    voxels = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
    return np.moveaxis(apply_affine(matrix, voxels) - voxels, -1, 0)


def measured(
    moving: Landmarks,
    fixed: Landmarks,
    displacement: NDArray[np.float64],
    spacing_mm: tuple[float, ...] | None = (1.0, 1.0, 1.0),
    moving_grid: NDArray[np.float64] | None = None,
    fixed_grid: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    blank = torch.zeros(1, 1, *displacement.shape[1:])
    labels = torch.zeros(1, *displacement.shape[1:], dtype=torch.int32)
    grids = {
        "m": np.eye(4) if moving_grid is None else moving_grid,
        "f": np.eye(4) if fixed_grid is None else fixed_grid,
    }
    originals = Originals(
        moving=blank,
        fixed=blank,
        moving_labels=labels,
        fixed_labels=labels,
        label_count=1,
        spacing_mm=spacing_mm,
        pairs=(Pair(moving="m", fixed="f", moving_subject="m", fixed_subject="f"),),
        grid_of=lambda name: grids[name],
        landmarks_of={"m": moving, "f": fixed}.get,
    )
    values = measure(METRICS, originals, torch.from_numpy(displacement)[None].float())
    return {name: float(array[0]) for name, array in values.items()}


AFFINE = np.array(
    [[1.05, 0.1, 0.0, -0.5], [-0.05, 0.95, 0.02, 0.4], [0.0, 0.03, 1.1, 0.2], [0, 0, 0, 1]]
)


def test_an_affine_displacement_brings_points_where_the_affine_does() -> None:
    moving = landmarks(apply_affine(AFFINE, PLACES))
    found = measured(moving, landmarks(PLACES), affine_field(AFFINE))
    assert found["tre_mm"] == pytest.approx(0, abs=1e-5)
    assert found["tre_robustness"] == 1


def test_translation_leaves_its_distance_to_the_right_one() -> None:
    """Landmarks lie 3, 0, 4 voxels apart, and are brought 3, 0, 0 nearer: 4 voxels of 0.5 mm are left."""
    field = np.zeros((3, *SHAPE))
    field[0] = 3.0
    spacing = np.diag([2.0, 1.5, 0.5, 1.0])
    moving = landmarks(PLACES + np.array([3.0, 0.0, 4.0]), spacing)
    found = measured(moving, landmarks(PLACES), field, (2.0, 1.5, 0.5))
    assert found["tre_mm"] == pytest.approx(2.0, abs=1e-5)
    assert found["tre_voxels"] == pytest.approx(4.0, abs=1e-5)


def test_summaries_are_those_of_the_distances() -> None:
    lengths = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    places = PLACES.copy()
    moving = places.copy()
    moving[:, 1] += lengths
    field = np.zeros((3, *SHAPE))
    field[1] = 1.0
    found = measured(landmarks(moving), landmarks(places), field)
    left = np.abs(lengths - 1.0)
    assert found["tre_mm"] == pytest.approx(left.mean(), abs=1e-5)
    assert found["tre_median_mm"] == pytest.approx(np.median(left), abs=1e-5)
    assert found["tre_p90_mm"] == pytest.approx(np.quantile(left, 0.9), abs=1e-5)
    # the first was in its place, and all others come nearer by 1
    assert found["tre_robustness"] == pytest.approx(6 / 7)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_the_orientation_of_a_file_changes_nothing_in_mm(axes: str) -> None:
    """The same landmarks of the world, in a file that stores its voxels in another order of axes, and backwards."""
    to_world = np.array([[2.0, 0, 0, -5], [0, 1.5, 0, 3], [0, 0, 0.5, 1], [0, 0, 0, 1]])
    field = affine_field(AFFINE)
    moving_places = apply_affine(AFFINE, PLACES) + 0.7
    plain = measured(
        landmarks(moving_places, to_world), landmarks(PLACES, to_world), field, (2.0, 1.5, 0.5)
    )
    # voxel of the reoriented file to voxel of the grid
    reorder = inv_ornt_aff(axcodes2ornt(tuple(axes)), SHAPE)
    grid = np.linalg.inv(reorder)
    turned = landmarks(apply_affine(grid, moving_places), to_world @ reorder)
    found = measured(turned, landmarks(PLACES, to_world), field, (2.0, 1.5, 0.5), moving_grid=grid)
    for name in ("tre_mm", "tre_median_mm", "tre_p90_mm", "tre_robustness"):
        assert found[name] == pytest.approx(plain[name], rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_coarser_prepared_grid_changes_nothing(scale: float) -> None:
    """The same translation of the world on a grid of other spacing, whose field is in its own voxels."""
    grid = np.diag([scale, scale, scale, 1.0])
    field = np.zeros((3, 40, 40, 40))
    field[0] = 1.5 / scale
    moving = landmarks(PLACES + np.array([2.0, 0.0, 0.0]))
    found = measured(moving, landmarks(PLACES), field, moving_grid=grid, fixed_grid=grid)
    assert found["tre_mm"] == pytest.approx(0.5, abs=1e-5)


def test_only_common_landmarks_count_whatever_their_order() -> None:
    moving = landmarks(PLACES[::-1][:4] + np.array([1.0, 0, 0]), names="gfed")
    found = measured(moving, landmarks(PLACES), np.zeros((3, *SHAPE)))
    assert found["tre_voxels"] == pytest.approx(1.0)


def test_without_spacing_there_are_no_mm_and_without_landmarks_nothing() -> None:
    field = np.zeros((3, *SHAPE))
    unknown = measured(landmarks(PLACES + 1.0), landmarks(PLACES), field, None)
    assert np.isnan(unknown["tre_mm"])
    assert unknown["tre_voxels"] == pytest.approx(3**0.5)
    others = measured(landmarks(PLACES, names="hijklmn"), landmarks(PLACES), field)
    assert all(np.isnan(value) for value in others.values())


def test_landmarks_outside_the_grid_or_off_the_slice_are_left_out() -> None:
    fixed = np.array([[1.0, 1.0, 0.0], [30.0, 1.0, 0.0], [2.0, 2.0, 0.8]])
    moving = fixed + np.array([0.0, 2.0, 0.0])
    errors = find_landmark_errors(
        landmarks(moving, names="abc"),
        landmarks(fixed, names="abc"),
        np.eye(4),
        np.eye(4),
        np.zeros((2, 8, 8)),
    )
    np.testing.assert_allclose(errors.voxels, [2.0])


def test_rows_without_names_must_be_as_many() -> None:
    moving = replace(landmarks(PLACES), named_by=None)
    fixed = replace(landmarks(PLACES[:3], names="abc"), named_by=None)
    with pytest.raises(DataError, match="expected as many landmarks as"):
        measured(moving, fixed, np.zeros((3, *SHAPE)))
