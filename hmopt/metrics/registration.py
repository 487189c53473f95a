"""Registered pairs, and what several metrics need of them, computed once and only when asked for."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hmopt.errors import HmoptError
from hmopt.metrics.originals import Originals
from hmopt.metrics.positions import nearest_labels, sampled_positions
from hmopt.spatial import jacobian_determinant, warp


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Pairs of images on one grid with the displacements that register them.

    Parameters
    ----------
    originals
        The n pairs.
    displacement
        (n, d, *shape), in voxels.

    Raises
    ------
    HmoptError
        If the displacement is of another grid.
    """

    originals: Originals
    displacement: Tensor

    def __post_init__(self) -> None:
        """Refuse a displacement of another grid."""
        count, _, *shape = self.originals.moving.shape
        if (got := tuple(self.displacement.shape)) != (fitting := (count, len(shape), *shape)):
            raise HmoptError(
                "displacement",
                expected=f"shape {fitting}",
                got=got,
                advice="Bring all to one grid.",
            )

    def parts(self) -> list["Registration"]:
        """Give the same pairs, as many at a time as stay in a processor's cache."""
        parts = self.originals.parts
        shares = torch.split(self.displacement, [len(part.moving) for part in parts])
        return [
            Registration(originals=part, displacement=share)
            for part, share in zip(parts, shares, strict=True)
        ]

    @cached_property
    def positions(self) -> Tensor:
        """Where each fixed voxel takes its value on the moving grid: (n, d, voxels), in voxels."""
        return sampled_positions(self.displacement)

    @cached_property
    def moved(self) -> Tensor:
        """Moving images warped by linear interpolation: (n, 1, *shape)."""
        return warp(self.originals.moving, self.displacement)

    @cached_property
    def moved_labels(self) -> Tensor:
        """Moving labels warped by nearest neighbour: (n, *shape)."""
        return nearest_labels(self.originals.moving_labels, self.positions)

    @cached_property
    def determinant(self) -> Tensor:
        """Determinant of the Jacobian of x + displacement(x), where it can be taken: (n, *inner)."""
        return jacobian_determinant(self.displacement)
