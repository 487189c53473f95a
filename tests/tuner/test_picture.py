import numpy as np
import pytest
import torch

from hmopt.spatial import jacobian_determinant, nearest_labels, sampled_positions, warp
from hmopt.tuner.pairs import ShownPair
from hmopt.tuner.picture import Plane, determinant, draw_plane, grey, planes_at


def random_pair(shape: tuple[int, ...], seed: int = 0) -> tuple[ShownPair, np.ndarray]:
    rng = np.random.default_rng(seed)
    pair = ShownPair(
        name="a → b",
        moving=rng.random(shape, dtype=np.float32),
        fixed=rng.random(shape, dtype=np.float32),
        labels=("one", "two"),
        moving_labels=rng.integers(0, 3, shape, dtype=np.uint8),
        fixed_labels=rng.integers(0, 3, shape, dtype=np.uint8),
    )
    displacement = rng.normal(0, 2, (len(shape), *shape)).astype(np.float32)
    return pair, displacement


@pytest.mark.parametrize("shape", [(7, 9), (6, 7, 8)])
def test_planes_are_those_of_the_whole_registration(shape: tuple[int, ...]) -> None:
    pair, displacement = random_pair(shape)
    field = torch.from_numpy(displacement)[None]
    moved = warp(torch.from_numpy(pair.moving)[None, None], field)[0, 0].numpy()
    moving_labels = torch.from_numpy(np.asarray(pair.moving_labels, dtype=np.int32))[None]
    labels = nearest_labels(moving_labels, sampled_positions(field))[0].numpy()
    low, high = pair.moving.min(), pair.moving.max()

    for plane in planes_at((2, 3, 4), shape):
        drawn = draw_plane(pair, displacement, determinant(displacement), plane)
        expected = grey(plane.of(moved), low, high).astype(int)
        # rounding of the last digit can move a grey value by one
        assert np.abs(drawn["moved"].astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(drawn["moved_labels"], plane.of(labels))
        np.testing.assert_array_equal(drawn["fixed_labels"], plane.of(np.array(pair.fixed_labels)))
        first, second = plane.axes
        np.testing.assert_array_equal(drawn["displacement"][0], plane.of(displacement[first]))
        np.testing.assert_array_equal(drawn["displacement"][1], plane.of(displacement[second]))


def test_a_shift_of_one_voxel_shows_the_next_voxel() -> None:
    image = np.arange(12, dtype=np.float32).reshape(4, 3)
    pair = ShownPair(name="a → b", moving=image, fixed=image)
    displacement = np.zeros((2, 4, 3), np.float32)
    displacement[0] = 1
    drawn = draw_plane(pair, displacement, determinant(displacement), Plane())
    expected = grey(image[[1, 2, 3, 3]], 0, 11)
    np.testing.assert_array_equal(drawn["moved"], expected)
    assert "moved_labels" not in drawn


def test_the_determinant_is_that_of_the_inner_voxels_and_unknown_at_the_border() -> None:
    _, displacement = random_pair((6, 7, 8))
    found = determinant(displacement)
    inner = jacobian_determinant(torch.from_numpy(displacement)[None])[0].numpy()
    np.testing.assert_array_equal(found[1:-1, 1:-1, 1:-1], inner)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[..., -1]).all()
    assert not np.isnan(found[1:-1, 1:-1, 1:-1]).any()


def test_a_linear_field_has_the_determinant_of_its_matrix() -> None:
    x, y = np.indices((6, 6)).astype(np.float32)
    found = determinant(np.stack([0.5 * x, -1.5 * y]))
    # (1 + 0.5) · (1 - 1.5)
    np.testing.assert_allclose(found[1:-1, 1:-1], -0.75, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_coordinates_are_those_of_the_voxels(axis: int) -> None:
    plane = Plane(axis=axis, index=1)
    coordinates = plane.coordinates((3, 4, 5))
    for place in np.ndindex(*coordinates.shape[1:]):
        voxel = [float(one) for one in np.insert(place, axis, 1)]
        assert coordinates[:, *place].tolist() == voxel
