"""Models as functions on NumPy arrays, and the base class of those that are read from a file."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, sides_text
from hmopt.space import Setting, Space

Image = NDArray[np.float32]
"""Intensities of a prepared image, (*shape)."""


class Model(Protocol):
    """Registers two prepared images at a setting.

    Implement it to let `hmopt register` use a model of another program: a property and a method.
    """

    @property
    def space(self) -> Space:
        """The hyperparameters that settings are of."""
        ...

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.floating]:
        """Return the displacement (d, *shape), in voxels of the fixed grid."""
        ...


@runtime_checkable
class InvertibleModel(Protocol):
    """A model that knows the inverse of its displacement, as one that integrates a velocity does.

    A `Model` may have this method or not: without it, displacements are inverted by iteration.
    """

    def inverse_displacement(
        self, moving: Image, fixed: Image, setting: Setting
    ) -> NDArray[np.floating]:
        """Return the inverse displacement (d, *shape), in voxels of the moving grid."""
        ...


class FileModel(ABC):
    """A model that was read from a file, by hmopt or by another program.

    To read another format, derive from this class, and add a `ModelFormat` to
    `hmopt.interop.load.FORMATS`.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """What the model is, in a few words: program, network, grid."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of all that decides the displacements: weights and architecture, not the file's name."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on, with the bounds that it knows."""

    @property
    @abstractmethod
    def preprocessing(self) -> PreprocessingOptions:
        """How images are prepared for it: grid, spacing, normalization and placement."""

    @property
    def knows_normalization(self) -> bool:
        """Whether `preprocessing.normalization` is what it was trained on, or only a proposal.

        Files of some programs do not tell it; `hmopt new --model` then measures which one suits.
        """
        return True

    @property
    def stride(self) -> int | None:
        """It also takes grids whose axes are multiples of this; None: only its own grid."""
        return None

    @property
    def orientation(self) -> str | None:
        """Where its axes lead, as `LIA` for left, inferior, anterior; None: as the images', RAS+.

        `displacement` takes arrays in this orientation; `in_ras` makes a model of it that takes
        prepared images.
        """
        return None

    @property
    def is_slow_to_set(self) -> bool:
        """Whether a new setting takes long: then all pairs are registered at one before the next."""
        return False

    @abstractmethod
    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images.

        Parameters
        ----------
        moving, fixed
            (*shape), prepared as `preprocessing` says.
        setting
            A value for every hyperparameter.

        Returns
        -------
        ndarray
            (d, *shape), in voxels: `moved(x) = moving(x + displacement(x))`.

        Raises
        ------
        DeclarationError
            If the setting is not of the model's space.
        DataError
            If the images have a shape that the model does not take.
        """

    def displacements(
        self, moving: NDArray[np.float32], fixed: NDArray[np.float32], setting: Setting
    ) -> NDArray[np.float32]:
        """Return the displacements of several pairs; a model that is faster at many overrides it.

        Parameters
        ----------
        moving, fixed
            (n, *shape), prepared as `preprocessing` says.
        setting
            A value for every hyperparameter.

        Returns
        -------
        ndarray
            (n, d, *shape), in voxels.

        Raises
        ------
        HmoptError
            As `displacement`.
        """
        found = []
        for one_moving, one_fixed in zip(moving, fixed, strict=True):
            found.append(self.displacement(one_moving, one_fixed, setting))
        return np.stack(found)


class _InRas(FileModel):
    """A model of another orientation, for images in RAS+."""

    def __init__(self, model: FileModel, orientation: str) -> None:
        self._model = model
        # of a model of slices, the axes that they have
        ends = {"R": {"R", "L"}, "A": {"A", "P"}, "S": {"S", "I"}}
        axes = [code for code, both in ends.items() if both & set(orientation)]
        ras = nibabel.orientations.axcodes2ornt(axes)
        own = nibabel.orientations.axcodes2ornt(orientation)
        # of each axis of RAS+: its place among the model's axes, and -1 where it is flipped
        transform = nibabel.orientations.ornt_transform(ras, own)
        self._places = [int(place) for place in transform[:, 0]]
        self._flips = [int(flip) for flip in transform[:, 1]]

    @property
    def title(self) -> str:
        return self._model.title

    @property
    def identity(self) -> str:
        return self._model.identity

    @property
    def space(self) -> Space:
        return self._model.space

    @property
    def preprocessing(self) -> PreprocessingOptions:
        own = self._model.preprocessing
        spacing = own.spacing_mm
        reordered: dict[str, Any] = {"shape": [own.shape[place] for place in self._places]}
        if spacing is not None:
            reordered["spacing_mm"] = [spacing[place] for place in self._places]
        return own.model_copy(update=reordered)

    @property
    def knows_normalization(self) -> bool:
        return self._model.knows_normalization

    @property
    def stride(self) -> int | None:
        return self._model.stride

    @property
    def is_slow_to_set(self) -> bool:
        return self._model.is_slow_to_set

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        own = self._model.displacement(self._turned(moving), self._turned(fixed), setting)
        # components and axes of the model, in the order and the directions of RAS+
        components = own[self._places]
        axes = [0] + [place + 1 for place in self._places]
        displacement = components.transpose(axes)
        for axis, flip in enumerate(self._flips):
            if flip < 0:
                displacement = np.flip(displacement, axis + 1).copy()
                displacement[axis] *= -1
        return np.ascontiguousarray(displacement)

    def _turned(self, image: Image) -> Image:
        if image.ndim != len(self._places):
            return image  # which the model refuses, with the numbers
        flipped = [axis for axis, flip in enumerate(self._flips) if flip < 0]
        in_order = np.flip(image, flipped).transpose(np.argsort(self._places))
        return np.ascontiguousarray(in_order)


def in_ras(model: FileModel) -> FileModel:
    """Return a model that takes images in RAS+, as hmopt prepares them, and moves them as this one does.

    Parameters
    ----------
    model
        A model of any `orientation`.

    Returns
    -------
    FileModel
        The model itself where it has no orientation of its own.
    """
    if model.orientation in (None, "RAS"):
        return model
    assert model.orientation is not None
    return _InRas(model, model.orientation)


def hyperparameter_names(count: int) -> list[str]:
    """Return names for the hyperparameters of a file that tells how many there are, and no more.

    Examples
    --------
    >>> hyperparameter_names(3)
    ['regularization', 'hyperparameter_2', 'hyperparameter_3']
    """
    others = [f"hyperparameter_{place}" for place in range(2, count + 1)]
    return ["regularization", *others]


def check_shapes(moving: Image, fixed: Image, shape: tuple[int, ...], stride: int | None) -> None:
    """Refuse images of a shape that a model does not take.

    Parameters
    ----------
    moving, fixed
        (*shape).
    shape
        The model's own grid.
    stride
        Grids whose axes are multiples of it are taken as well; None: only the model's own.

    Raises
    ------
    DataError
        If they differ in shape from each other or from what the model takes.

    Examples
    --------
    >>> image = np.zeros((10, 16), np.float32)
    >>> check_shapes(image, image, (16, 16), stride=8)
    Traceback (most recent call last):
    hmopt.errors.DataError: images: expected 2 axes, each a multiple of 8 voxels, got 10 x 16. ...
    """
    found = moving.shape
    if fixed.shape != found:
        expected = f"two images of one shape, as {sides_text(found)}"
        raise _wrong_shape(expected, sides_text(fixed.shape))
    if stride is None:
        if found != shape:
            raise _wrong_shape(f"{sides_text(shape)} voxels", sides_text(found))
        return
    are_multiples = all(side > 0 and side % stride == 0 for side in found)
    if len(found) != len(shape) or not are_multiples:
        expected = f"{len(shape)} axes, each a multiple of {stride} voxels"
        raise _wrong_shape(expected, sides_text(found))


def _wrong_shape(expected: str, got: str) -> DataError:
    return DataError(
        "images",
        expected=expected,
        got=got,
        advice="Prepare both images to the same grid of the model.",
    )
