"""Models as functions on NumPy arrays, and the base class of those that are read from a file."""

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
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
    def stride(self) -> int | None:
        """It also takes grids whose axes are multiples of this; None: only its own grid."""
        return None

    @property
    def orientation(self) -> str | None:
        """Where the axes of the arrays point that `displacement` takes, as `LIA`; None: RAS+.

        A study prepares images to RAS+; `hmopt.interop.orientation.in_ras` turns a model to it.
        """
        return None

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
        expected = f"two images of one shape, as {_times(found)}"
        raise _wrong_shape(expected, _times(fixed.shape))
    if stride is None:
        if found != shape:
            raise _wrong_shape(f"{_times(shape)} voxels", _times(found))
        return
    are_multiples = all(side > 0 and side % stride == 0 for side in found)
    if len(found) != len(shape) or not are_multiples:
        expected = f"{len(shape)} axes, each a multiple of {stride} voxels"
        raise _wrong_shape(expected, _times(found))


def _wrong_shape(expected: str, got: str) -> DataError:
    return DataError(
        "images", expected=expected, got=got, advice="Prepare both to one grid of the model."
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
