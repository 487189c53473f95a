"""Models whose arrays point elsewhere than those of hmopt, turned to RAS+."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.declaration import PreprocessingOptions
from hmopt.interop.model import FileModel, Image
from hmopt.space import Setting, Space

_WORLD_AXIS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
_FORWARD = "RAS"


class ModelInRas(FileModel):
    """A model of another orientation, as one that takes and gives arrays in RAS+.

    Networks are not symmetric: one that was trained on brains that lie on their side registers
    upright ones badly. Images are turned to its orientation, and its displacement back: axes are
    permuted, and components change their sign where an axis is flipped. Nothing is interpolated.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: FileModel) -> None:
        self.model = model
        codes = model.orientation or _FORWARD[: len(model.preprocessing.shape)]
        world = [_WORLD_AXIS[code] for code in codes]
        ranks = sorted(world)
        # axis k of the model's arrays is axis source[k] of ours
        self._source = [ranks.index(axis) for axis in world]
        self._flipped = [code not in _FORWARD for code in codes]

    @property
    def title(self) -> str:
        """What the model is, in a few words."""
        return self.model.title

    @property
    def identity(self) -> str:
        """That of the model."""
        return self.model.identity

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self.model.space

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """How images are prepared for it, its axes in the order of RAS+."""
        own = self.model.preprocessing
        changed: dict[str, object] = {"shape": self._in_our_order(own.shape)}
        if own.spacing_mm is not None:
            changed["spacing_mm"] = self._in_our_order(own.spacing_mm)
        return own.model_copy(update=changed)

    @property
    def stride(self) -> int | None:
        """That of the model."""
        return self.model.stride

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images in RAS+, (d, *shape), in voxels."""
        turned = self.model.displacement(self._turn(moving), self._turn(fixed), setting)
        components = list(turned)
        for axis, is_flipped in enumerate(self._flipped):
            if is_flipped:
                components[axis] = -components[axis]
        ours = np.argsort(self._source)
        back = [self._turn_back(components[axis]) for axis in ours]
        return np.stack(back)

    def _in_our_order(self, values: list[Any]) -> list[Any]:
        ours = np.argsort(self._source)
        return [values[axis] for axis in ours]

    def _turn(self, image: Image) -> Image:
        """Return an image of ours as the model's array."""
        if image.ndim != len(self._source):
            return image  # which the model refuses, with the numbers
        axes = [axis for axis, is_flipped in enumerate(self._flipped) if is_flipped]
        permuted = image.transpose(self._source)
        return np.ascontiguousarray(np.flip(permuted, axes))

    def _turn_back(self, component: NDArray[np.float32]) -> NDArray[np.float32]:
        axes = [axis for axis, is_flipped in enumerate(self._flipped) if is_flipped]
        flipped = np.flip(component, axes)
        return flipped.transpose(np.argsort(self._source))


def in_ras(model: FileModel) -> FileModel:
    """Return a model that takes images in RAS+, as hmopt prepares them: itself, or turned.

    Parameters
    ----------
    model
        As `hmopt.load_model` returns it: its arrays are those of the program that trained it.

    Examples
    --------
    >>> from hmopt.interop.model import FileModel
    >>> class Sideways(FileModel):
    ...     title, identity, space = "sideways", "0f", None
    ...     preprocessing = PreprocessingOptions(shape=[160, 192, 224])
    ...     orientation = "LIA"
    ...     def displacement(self, moving, fixed, setting):
    ...         return np.zeros((3, *moving.shape), np.float32)
    >>> in_ras(Sideways()).preprocessing.shape
    [160, 224, 192]
    """
    if model.orientation is None or model.orientation == _FORWARD:
        return model
    return ModelInRas(model)
