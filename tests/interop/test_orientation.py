"""Models of another orientation give the displacement of images in RAS+."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.declaration import PreprocessingOptions
from hmopt.interop.model import FileModel, Image, in_ras
from hmopt.space import Hyperparameter, Setting, Space

Array = NDArray[np.float32]


class Shifting(FileModel):
    """Moves along its own first axis by 1, its second by 2 and so on, where the moving image is bright."""

    title = "shifting"
    identity = "0f"
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))

    def __init__(self, orientation: str | None, shape: tuple[int, ...]) -> None:
        self.axes = orientation
        self.shape = shape
        self.seen: list[Image] = []

    @property
    def orientation(self) -> str | None:
        """Where its axes point."""
        return self.axes

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """Its grid, with a spacing that tells its axes apart."""
        spacing = [1.0, 2.0, 3.0][: len(self.shape)]
        return PreprocessingOptions(shape=list(self.shape), spacing_mm=spacing)

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> Array:
        """Return the displacement."""
        self.seen = [moving, fixed]
        components = [(axis + 1) * moving for axis in range(moving.ndim)]
        return np.stack(components).astype(np.float32)


def in_world(affine: NDArray[np.float64], displacement: Array) -> NDArray[np.float64]:
    """Return a displacement in voxels as one in the world, (3, *shape)."""
    return np.asarray(np.tensordot(affine[:3, :3], displacement, axes=(1, 0)))


@pytest.mark.parametrize("codes", ["LIA", "RAS", "PIR", "ASL", "LPI", "SRA", "IPL"])
def test_the_displacement_of_a_turned_file_is_that_of_the_file_in_the_world(codes: str) -> None:
    """Nibabel turns the file; the field must be the same arrows at the same places."""
    image = np.random.default_rng(0).uniform(size=(4, 6, 8)).astype(np.float32)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-3, 7, 2)
    file = nibabel.Nifti1Image(image, affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    turned = file.as_reoriented(turn)
    own_array = np.asarray(turned.dataobj)

    model = Shifting(codes, own_array.shape)
    setting: Setting = {"regularization": 0.5}
    upright = in_ras(model)
    found = upright.displacement(image, image, setting)
    np.testing.assert_array_equal(model.seen[0], own_array)

    own = model.displacement(own_array, own_array, setting)
    own_world = in_world(turned.affine, own)
    found_world = in_world(affine, found)
    places = np.argwhere(np.ones(image.shape, bool))
    to_own = np.linalg.inv(turned.affine) @ affine
    own_places = np.rint(places @ to_own[:3, :3].T + to_own[:3, 3]).astype(int)
    np.testing.assert_allclose(found_world[:, *places.T], own_world[:, *own_places.T], atol=1e-5)
    assert upright.preprocessing.shape == list(image.shape)
    in_order = dict(zip(codes, [1.0, 2.0, 3.0], strict=True))
    by_axis = [in_order.get(a, in_order.get(b)) for a, b in ("RL", "AP", "SI")]
    assert upright.preprocessing.spacing_mm == by_axis


@pytest.mark.parametrize(("codes", "axes"), [("LI", "RS"), ("IR", "RS"), ("PL", "RA")])
def test_slices_are_turned_by_the_axes_that_they_have(codes: str, axes: str) -> None:
    image = np.random.default_rng(0).uniform(size=(4, 6)).astype(np.float32)
    opposite = {"L": "R", "P": "A", "I": "S"}
    model = Shifting(codes, image.shape)
    found = in_ras(model).displacement(image, image, {"regularization": 0.5})
    for own_axis, code in enumerate(codes):
        axis = axes.index(opposite.get(code, code))
        sign = -1 if code in opposite else 1
        np.testing.assert_array_equal(found[axis], sign * (own_axis + 1) * image)


@pytest.mark.parametrize("codes", [None, "RAS"])
def test_a_model_in_ras_is_left_as_it_is(codes: str | None) -> None:
    model = Shifting(codes, (4, 6, 8))
    assert in_ras(model) is model


def test_the_published_images_are_stored_as_the_model_says(shared_data: Path) -> None:
    for name in ("A", "B"):
        file = nibabel.Nifti1Image.from_filename(
            shared_data / "clapirn" / f"image_{name}_fullsize.nii.gz"
        )
        assert "".join(nibabel.aff2axcodes(file.affine)) == "LIA"


def test_warping_in_either_orientation_gives_the_same_image() -> None:
    noise = np.random.default_rng(1).uniform(size=(6, 8, 10))
    image: Array = ndimage.gaussian_filter(noise, 1).astype(np.float32)
    model = Shifting("LIA", (6, 10, 8))
    ours = in_ras(model).displacement(image, image, {"regularization": 0.5})
    own_image = image.transpose(0, 2, 1)[::-1, ::-1, :]
    own = model.displacement(own_image, own_image, {"regularization": 0.5})
    moved = ndimage.map_coordinates(image, np.indices(image.shape) + ours, order=1)
    own_moved = ndimage.map_coordinates(own_image, np.indices(own_image.shape) + own, order=1)
    np.testing.assert_allclose(own_moved.transpose(0, 2, 1)[::-1, :, ::-1], moved, atol=1e-5)
