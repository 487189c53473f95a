"""Registered pairs, and what several metrics need of them, computed once and only when asked for."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from hmopt.errors import HmoptError
from hmopt.metrics.positions import nearest_labels, sampled_positions
from hmopt.spatial import jacobian_determinant, warp


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Pairs of images on one grid with the displacements that register them.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.
    moving, fixed
        (n, 1, *shape).
    moving_labels, fixed_labels
        (n, *shape), whole numbers: 0 background, 1 to `label_count` the labels.
    label_count
        Number of labels.
    spacing_mm
        Of the grid, along each axis; None where it is unknown.

    Raises
    ------
    HmoptError
        If a shape does not fit the displacement's.
    """

    displacement: Tensor
    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor
    label_count: int
    spacing_mm: tuple[float, ...] | None

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit."""
        count, axes, *shape = self.displacement.shape
        expected = {
            "displacement": (count, len(shape), *shape),
            "moving": (count, 1, *shape),
            "fixed": (count, 1, *shape),
            "moving_labels": (count, *shape),
            "fixed_labels": (count, *shape),
        }
        for name, fitting in expected.items():
            if (got := tuple(getattr(self, name).shape)) != fitting:
                raise HmoptError(name, expected=f"shape {fitting}", got=got, advice="Bring all to one grid.")
        if self.spacing_mm is not None and len(self.spacing_mm) != axes:
            raise HmoptError(
                "spacing_mm", expected=f"{axes} numbers", got=len(self.spacing_mm), advice="Give one for each axis."
            )

    @cached_property
    def positions(self) -> Tensor:
        """Where each fixed voxel takes its value on the moving grid: (n, d, voxels), in voxels."""
        return sampled_positions(self.displacement)

    @cached_property
    def moved(self) -> Tensor:
        """Moving images warped by linear interpolation: (n, 1, *shape)."""
        return warp(self.moving, self.displacement)

    @cached_property
    def moved_labels(self) -> Tensor:
        """Moving labels warped by nearest neighbour: (n, *shape)."""
        return nearest_labels(self.moving_labels, self.positions)

    @cached_property
    def determinant(self) -> Tensor:
        """Determinant of the Jacobian of x + displacement(x), where it can be taken: (n, *inner)."""
        return jacobian_determinant(self.displacement)
