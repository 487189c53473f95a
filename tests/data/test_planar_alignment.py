"""Affine alignment of 2-D images within their plane, wherever the plane lies in the world."""

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage

from hmopt.data.alignment import find_alignment
from hmopt.data.volume import Lattice, Volume
from hmopt.errors import DataError

SIDES = (90, 70)


def section() -> np.ndarray:
    texture = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(SIDES), 3)
    centre = (np.array(SIDES) - 1) / 2
    offsets = np.moveaxis(np.indices(SIDES), 0, -1) - centre
    distance = np.linalg.norm(offsets / np.array(SIDES) * 2.9, axis=-1)
    inside = ndimage.gaussian_filter((distance < 1).astype(float), 1)
    return np.asarray(255 - inside * (120 + 30 * texture / texture.std()), dtype=np.float32)


def in_plane(degrees: float) -> np.ndarray:
    """Return a rotation about the middle with a stretch and a shift, in voxels of the plane: (3, 3)."""
    angle = np.radians(degrees)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turned @ np.diag([1.05, 0.97])
    middle = (np.array(SIDES) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - linear @ middle + [4.0, -3.0]
    return matrix


def volume(image: np.ndarray, across: int) -> Volume:
    """Return an image that lies across an axis, some mm off the origin."""
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = [3.0, -20.0, 7.0]
    data = np.expand_dims(image, across)
    x, y, z = data.shape
    return Volume(data=data, lattice=Lattice(shape=(x, y, z), affine=affine))


@pytest.mark.parametrize(("across", "degrees"), [(2, 5.0), (2, -25.0), (1, 12.0), (0, 28.0)])
def test_a_turned_section_is_found(across: int, degrees: float) -> None:
    template = section()
    matrix = in_plane(degrees)
    inverse = np.linalg.inv(matrix)
    moved = ndimage.affine_transform(
        template, inverse[:2, :2], inverse[:2, 2], order=1, mode="constant", cval=255.0
    )
    one, other = volume(moved, across), volume(template, across)
    alignment = find_alignment(one, other, background=255.0)
    assert not alignment.failed
    # places of the tissue, in voxels of the plane
    places = np.array([[30.0, 30], [60, 30], [30, 45], [60, 45], [45, 35]])
    whole = np.insert(places, across, 0, axis=1)
    world = apply_affine(other.lattice.affine, whole)
    back = apply_affine(np.linalg.inv(one.lattice.affine), apply_affine(alignment.matrix, world))
    found = np.delete(back, across, axis=1)
    expected = places @ matrix[:2, :2].T + matrix[:2, 2]
    assert np.linalg.norm(found - expected, axis=1).max() < 1.0
    np.testing.assert_allclose(back[:, across], 0, atol=1e-9)


def test_a_plane_and_a_volume_are_not_aligned() -> None:
    plane = volume(section(), 2)
    data = np.repeat(plane.data, 8, axis=2)
    x, y, z = data.shape
    whole = Volume(data=data, lattice=Lattice(shape=(x, y, z), affine=plane.lattice.affine))
    with pytest.raises(DataError, match="images of one plane"):
        find_alignment(plane, whole)
