"""Pairs of images before registration, and what metrics need of them whatever the displacement, computed once."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hmopt.errors import HmoptError
from hmopt.metrics.similarity import LocalMoments, local_moments
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

    Raises
    ------
    HmoptError
        If a shape does not fit the moving images'.

    Examples
    --------
    >>> image, labels = torch.zeros(1, 1, 2, 2), torch.tensor([[[0, 1], [1, 3]]])
    >>> Originals(
    ...     moving=image, fixed=image, moving_labels=labels, fixed_labels=labels, label_count=3, spacing_mm=None
    ... ).missing
    tensor([[False,  True, False]])
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor
    label_count: int
    spacing_mm: tuple[float, ...] | None

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit."""
        count, _, *shape = self.moving.shape
        expected = {
            "moving": (count, 1, *shape),
            "fixed": (count, 1, *shape),
            "moving_labels": (count, *shape),
            "fixed_labels": (count, *shape),
        }
        for name, fitting in expected.items():
            if (got := tuple(getattr(self, name).shape)) != fitting:
                raise HmoptError(
                    name, expected=f"shape {fitting}", got=got, advice="Bring all to one grid."
                )
        if self.spacing_mm is not None and len(self.spacing_mm) != len(shape):
            raise HmoptError(
                "spacing_mm",
                expected=f"{len(shape)} numbers",
                got=len(self.spacing_mm),
                advice="Give one for each axis.",
            )

    @cached_property
    def parts(self) -> tuple["Originals", ...]:
        """The same pairs, as many at a time as stay in a processor's cache; on an accelerator all."""
        names = ("moving", "fixed", "moving_labels", "fixed_labels")
        split = zip(*(cached_parts(getattr(self, name)) for name in names), strict=True)
        return tuple(replace(self, **dict(zip(names, tensors, strict=True))) for tensors in split)

    @cached_property
    def fixed_volumes(self) -> Tensor:
        """Voxels of each fixed label: (n, label_count), int64."""
        return label_volumes(self.fixed_labels, self.label_count)

    @cached_property
    def missing(self) -> Tensor:
        """Which labels a pair cannot be judged by, because one of its images lacks them: (n, label_count)."""
        return (label_volumes(self.moving_labels, self.label_count) == 0) | (
            self.fixed_volumes == 0
        )

    @cached_property
    def near_foreground(self) -> Tensor:
        """Which moving voxels, or one that follows them along any axes, are labelled: (n, *shape)."""
        near = self.moving_labels > 0
        for axis in range(1, near.dim()):
            near = near | near.roll(-1, axis)
        return near

    @cached_property
    def fixed_moments(self) -> LocalMoments:
        """Local means and variances of the fixed images."""
        return local_moments(self.fixed)


def label_volumes(label_map: Tensor, label_count: int) -> Tensor:
    """Give the voxels of each label.

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
    count, codes = len(label_map), label_count + 1
    offsets = torch.arange(count, device=label_map.device)[:, None] * codes
    counts = torch.bincount((label_map.flatten(1) + offsets).flatten(), minlength=count * codes)
    return counts.reshape(count, codes)[:, 1:]
