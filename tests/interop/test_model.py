"""What models in files have in common."""

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.declaration import PreprocessingOptions
from hmopt.interop.model import FileModel, Image, in_ras
from hmopt.space import Hyperparameter, Setting, Space


class Gradient(FileModel):
    """Returns the gradient of the moving image along the model's own axes."""

    def __init__(self, orientation: str | None) -> None:
        self._orientation = orientation

    @property
    def title(self) -> str:
        return "a gradient"

    @property
    def identity(self) -> str:
        return "gradient"

    @property
    def space(self) -> Space:
        return Space(hyperparameters=(Hyperparameter(name="regularization"),))

    @property
    def preprocessing(self) -> PreprocessingOptions:
        return PreprocessingOptions(shape=[4, 5, 6], spacing_mm=[1.0, 2.0, 3.0])

    @property
    def orientation(self) -> str | None:
        return self._orientation

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        return np.stack(np.gradient(moving)).astype(np.float32)


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "LPS", "ASR", "SRA", "PIL"])
def test_a_model_of_any_orientation_moves_images_in_ras_alike(orientation: str) -> None:
    model = in_ras(Gradient(orientation))
    random = np.random.default_rng(0)
    image = random.random(model.preprocessing.shape, dtype=np.float32)
    displacement = model.displacement(image, image, model.space.default)
    # the gradient is the same vector whatever the axes
    np.testing.assert_allclose(displacement, np.stack(np.gradient(image)), atol=1e-6)


@pytest.mark.parametrize("orientation", ["LIA", "ASR", "SRA"])
def test_the_grid_of_an_oriented_model_is_told_in_ras(orientation: str) -> None:
    told = in_ras(Gradient(orientation)).preprocessing
    ras = nibabel.orientations.axcodes2ornt("RAS")
    own = nibabel.orientations.axcodes2ornt(orientation)
    grid = np.zeros(told.shape)
    to_own = nibabel.orientations.ornt_transform(ras, own)
    assert nibabel.orientations.apply_orientation(grid, to_own).shape == (4, 5, 6)
    spacing = dict(zip(told.shape, told.spacing_mm or [], strict=True))
    assert spacing == {4: 1.0, 5: 2.0, 6: 3.0}


def test_a_model_without_an_orientation_is_left_as_it_is() -> None:
    model = Gradient(None)
    assert in_ras(model) is model
