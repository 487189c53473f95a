"""Pairs of images before registration, and what metrics need of them at every displacement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.data.landmarks import Landmarks
from hmopt.errors import HmoptError
from hmopt.metrics.similarity import LocalMoments, local_moments
from hmopt.records import Pair
from hmopt.spatial import find_near_foreground
from hmopt.spatial.window import cached_parts


@dataclass(frozen=True, kw_only=True)
class Originals:
    """Pairs of images with their labels on one grid, to be registered at any number of settings.

    Parameters
    ----------
    moving, fixed
        (n, 1, *shape).
    moving_labels, fixed_labels
        (n, *shape), whole numbers (int32 or int64): 0 background, 1 to `label_count` the labels.
    label_count
        Number of labels.
    spacing_mm
        Of the grid, along each axis; None where it is unknown.
    pairs
        Whose images they are; empty where they are of no cohort.
    world_of
        Returns the matrix (4, 4) from voxels of the grid to the world of an image's file, by the
        name of the image; None where they are of no cohort.
    grid_of
        Returns the matrix (4, 4) from voxels of the grid to voxels of an image's file, by the name
        of the image; None where they are of no cohort.
    landmarks_of
        Returns the landmarks of an image by its name, None where it has none; None where the images
        are of no cohort.

    Raises
    ------
    HmoptError
        If a shape does not fit the moving images'.

    Examples
    --------
    >>> image, labels = torch.zeros(1, 1, 2, 2), torch.tensor([[[0, 1], [1, 3]]])
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> Originals(**pair, label_count=3, spacing_mm=None).missing
    tensor([[False,  True, False]])
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor
    label_count: int
    spacing_mm: tuple[float, ...] | None
    pairs: tuple[Pair, ...] = ()
    world_of: Callable[[str], NDArray[np.float64]] | None = None
    grid_of: Callable[[str], NDArray[np.float64]] | None = None
    landmarks_of: Callable[[str], Landmarks | None] | None = None

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit."""
        count, _, *shape = self.moving.shape
        images = (count, 1, *shape)
        label_maps = (count, *shape)
        self._check_shape("moving", self.moving, images)
        self._check_shape("fixed", self.fixed, images)
        self._check_shape("moving_labels", self.moving_labels, label_maps)
        self._check_shape("fixed_labels", self.fixed_labels, label_maps)
        if self.spacing_mm is not None and len(self.spacing_mm) != len(shape):
            raise HmoptError(
                "spacing_mm",
                expected=f"{len(shape)} numbers",
                got=len(self.spacing_mm),
                advice="State one for each axis.",
            )

    def _check_shape(self, name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
        got = tuple(tensor.shape)
        if got != expected:
            raise HmoptError(
                name, expected=f"shape {expected}", got=got, advice="Resample all to one grid."
            )

    def to_world(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the matrices from voxels of the grid to the worlds of some images: (n, 4, 4).

        Raises
        ------
        HmoptError
            If the images are of no cohort.
        """
        if self.world_of is None or not names:
            raise _of_no_cohort("world_of")
        matrices = [self.world_of(name) for name in names]
        return np.stack(matrices)

    def grid(self, name: str) -> NDArray[np.float64]:
        """Return the matrix from voxels of the grid to voxels of an image's file: (4, 4).

        Raises
        ------
        HmoptError
            If the images are of no cohort.
        """
        if self.grid_of is None:
            raise _of_no_cohort("grid_of")
        return self.grid_of(name)

    def landmarks(self, name: str) -> Landmarks | None:
        """Return the landmarks of an image; None where it has none, or none are known."""
        if self.landmarks_of is None:
            return None
        return self.landmarks_of(name)

    @cached_property
    def exchanged(self) -> "Originals":
        """The same pairs with moving and fixed images exchanged."""
        exchanged = tuple(pair.exchanged for pair in self.pairs)
        return replace(
            self,
            moving=self.fixed,
            fixed=self.moving,
            moving_labels=self.fixed_labels,
            fixed_labels=self.moving_labels,
            pairs=exchanged,
        )

    @cached_property
    def parts(self) -> tuple["Originals", ...]:
        """The same pairs, as many at a time as fit a processor's cache; on an accelerator all."""
        parts = []
        start = 0
        for moving in cached_parts(self.moving):
            rows = slice(start, start + len(moving))
            part = Originals(
                moving=moving,
                fixed=self.fixed[rows],
                moving_labels=self.moving_labels[rows],
                fixed_labels=self.fixed_labels[rows],
                label_count=self.label_count,
                spacing_mm=self.spacing_mm,
                pairs=self.pairs[rows],
                world_of=self.world_of,
                grid_of=self.grid_of,
                landmarks_of=self.landmarks_of,
            )
            parts.append(part)
            start = rows.stop
        return tuple(parts)

    @cached_property
    def fixed_volumes(self) -> Tensor:
        """Voxels of each fixed label: (n, label_count), int64."""
        return label_volumes(self.fixed_labels, self.label_count)

    @cached_property
    def missing(self) -> Tensor:
        """Which labels are missing in the moving or the fixed image: (n, label_count)."""
        moving_volumes = label_volumes(self.moving_labels, self.label_count)
        missing_in_moving = moving_volumes == 0
        missing_in_fixed = self.fixed_volumes == 0
        return missing_in_moving | missing_in_fixed

    @cached_property
    def near_foreground(self) -> Tensor:
        """Which moving voxels are labelled, or one that follows along any axes: (n, *shape)."""
        return find_near_foreground(self.moving_labels)

    @cached_property
    def fixed_moments(self) -> LocalMoments:
        """Local means and variances of the fixed images."""
        return local_moments(self.fixed)


def label_volumes(label_map: Tensor, label_count: int) -> Tensor:
    """Count the voxels of each label.

    Parameters
    ----------
    label_map
        (n, *shape), whole numbers from 0 (background) to `label_count`.
    label_count
        Number of labels.

    Returns
    -------
    Tensor
        (n, label_count), int64.

    Examples
    --------
    >>> label_volumes(torch.tensor([[[0, 1, 1, 3]]]), 3)
    tensor([[2, 0, 1]])
    """
    count = len(label_map)
    codes = label_count + 1
    cells = count * codes
    # map p counts its labels from p · codes on: (n, 1)
    numbers = torch.arange(count, device=label_map.device)
    offsets = numbers.unsqueeze(1) * codes
    # (n, voxels)
    shifted = label_map.flatten(1) + offsets
    counts = torch.bincount(shifted.flatten(), minlength=cells)
    by_map = counts.reshape(count, codes)
    # without background
    return by_map[:, 1:]


def _of_no_cohort(needed: str) -> HmoptError:
    return HmoptError(
        "pairs",
        expected="images of a cohort",
        got="tensors alone",
        advice=f"Pass `pairs` and `{needed}`.",
    )
