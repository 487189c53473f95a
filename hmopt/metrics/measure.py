"""All metrics that are asked for, of a batch of registered pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from torch import Tensor

from hmopt.catalogue import find_metric
from hmopt.errors import HmoptError
from hmopt.metrics.landmarks import (
    NO_LANDMARKS,
    LandmarkErrors,
    displaced,
    find_landmark_errors,
    on_grid,
)
from hmopt.metrics.originals import Originals
from hmopt.metrics.similarity import LocalMoments, local_moments
from hmopt.spatial import jacobian_determinant, nearest_labels, sampled_positions, warp


@dataclass(frozen=True, kw_only=True)
class Registration:
    """n pairs of images on one grid with the displacements that register them, for metrics.

    A metric is a function whose arguments are named after these attributes. Each is computed when
    it is first asked for, and kept: several metrics share it.

    Parameters
    ----------
    originals
        The pairs before registration.
    displacement
        (n, d, *shape), in voxels: `moved(x) = moving(x + displacement(x))`.
    wall_time_s
        (n,), of each registration; None where it was not taken.
    loss_values
        (n,), of each registration at its setting; None where no loss is known.
    stopped
        (n,): whether the refinement of each registration stopped by itself; None where none is
        refined.
    reversed_displacement
        (n, d, *shape): of the pairs with their images exchanged; None where these are not
        registered.
    onward_displacements
        (n, 2, d, *shape): from each moving image to one of a third subject, and from there to the
        fixed image (see `cycle_inconsistency_mm`); None where these are not registered.

    Raises
    ------
    HmoptError
        If the displacement is of another grid.

    Examples
    --------
    >>> image, labels = torch.rand(1, 1, 4, 4), torch.ones(1, 4, 4, dtype=torch.long)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> originals = Originals(**pair, label_count=1, spacing_mm=(2.0, 1.0))
    >>> registration = Registration(originals=originals, displacement=torch.zeros(1, 2, 4, 4))
    >>> torch.equal(registration.moved, image), registration.determinant.shape
    (True, torch.Size([1, 2, 2]))
    """

    originals: Originals
    displacement: Tensor
    wall_time_s: Tensor | None = None
    loss_values: Tensor | None = None
    stopped: Tensor | None = None
    reversed_displacement: Tensor | None = None
    onward_displacements: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse a displacement of another grid."""
        count, _, *shape = self.originals.moving.shape
        expected = (count, len(shape), *shape)
        got = tuple(self.displacement.shape)
        if got != expected:
            raise HmoptError(
                "displacement",
                expected=f"shape {expected}",
                got=got,
                advice="Resample all to one grid.",
            )

    def parts(self) -> list["Registration"]:
        """Return the same pairs, as many at a time as stay in a processor's cache."""
        originals = self.originals.parts
        counts = [len(part.moving) for part in originals]
        displacements = torch.split(self.displacement, counts)
        times = torch.split(self.seconds, counts)
        losses = torch.split(self.losses, counts)
        stops = torch.split(self.stops, counts)
        reversals = _split(self.reversed_displacement, counts)
        onward = _split(self.onward_displacements, counts)
        parts = []
        for row, part in enumerate(originals):
            registration = Registration(
                originals=part,
                displacement=displacements[row],
                wall_time_s=times[row],
                loss_values=losses[row],
                stopped=stops[row],
                reversed_displacement=reversals[row],
                onward_displacements=onward[row],
            )
            parts.append(registration)
        return parts

    @property
    def seconds(self) -> Tensor:
        """Time of each registration: (n,), NaN where it was not taken."""
        if self.wall_time_s is None:
            return torch.full((len(self.moving),), torch.nan)
        return self.wall_time_s

    @property
    def losses(self) -> Tensor:
        """Loss of each registration at its setting: (n,), NaN where none is known."""
        if self.loss_values is None:
            return torch.full((len(self.moving),), torch.nan)
        return self.loss_values

    @property
    def stops(self) -> Tensor:
        """Whether the refinement of each registration stopped by itself, 1 or 0: (n,), NaN where it is not refined."""
        if self.stopped is None:
            return torch.full((len(self.moving),), torch.nan)
        return self.stopped.float()

    @property
    def backward(self) -> Tensor:
        """Displacements of the reversed pairs: (n, d, *shape), NaN where these are not registered."""
        if self.reversed_displacement is None:
            return torch.full_like(self.displacement, torch.nan)
        return self.reversed_displacement

    @property
    def onward(self) -> Tensor:
        """Displacements to a third subject and back: (n, 2, d, *shape), NaN where there are none."""
        if self.onward_displacements is None:
            missing = torch.full_like(self.displacement, torch.nan)
            return torch.stack([missing, missing], 1)
        return self.onward_displacements

    @property
    def moving(self) -> Tensor:
        """Moving images: (n, 1, *shape)."""
        return self.originals.moving

    @property
    def fixed(self) -> Tensor:
        """Fixed images: (n, 1, *shape)."""
        return self.originals.fixed

    @property
    def moving_labels(self) -> Tensor:
        """Moving label maps: (n, *shape), 0 for background and k for the k-th label."""
        return self.originals.moving_labels

    @property
    def fixed_labels(self) -> Tensor:
        """Fixed label maps: (n, *shape)."""
        return self.originals.fixed_labels

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Of the grid, along each axis; None where it is unknown."""
        return self.originals.spacing_mm

    @property
    def moving_names(self) -> tuple[str, ...]:
        """Names of the n moving images in the cohort, as in `hmopt.Pair.moving`."""
        pairs = self.originals.pairs
        return tuple(pair.moving for pair in pairs)

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Names of the n fixed images in the cohort."""
        pairs = self.originals.pairs
        return tuple(pair.fixed for pair in pairs)

    @cached_property
    def moving_to_world(self) -> NDArray[np.float64]:
        """Voxels of the grid to the world of each moving image's file: (n, 4, 4), in mm.

        A voxel of a 2-D image is (x, y, 0, 1).
        """
        return self.originals.to_world(self.moving_names)

    @cached_property
    def fixed_to_world(self) -> NDArray[np.float64]:
        """Voxels of the grid to the world of each fixed image's file: (n, 4, 4), in mm."""
        return self.originals.to_world(self.fixed_names)

    def map_points_mm(self, place: int, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points of a fixed image to the moving image.

        Parameters
        ----------
        place
            Which of the n pairs.
        points_mm
            (k, 3), in the world of the fixed image's file, as its affine says: x to the right, y to
            the front, z up.

        Returns
        -------
        NDArray
            (k, 3), in mm in the world of the moving image's file. NaN of points outside the fixed
            image's grid or off its slice, where no displacement is known.

        Raises
        ------
        HmoptError
            If the images are of no cohort.
        """
        mapped = self.mapped_points_mm(place, points_mm).detach()
        return np.asarray(mapped.numpy())

    def mapped_points_mm(self, place: int, points_mm: NDArray[np.float64]) -> Tensor:
        """Compute the same with a gradient by the displacement: (k, 3), float64 on the processor."""
        displacement = self._double_displacement(place)
        from_world = np.linalg.inv(self.fixed_to_world[place])
        voxels = apply_affine(from_world, points_mm)
        is_known = torch.from_numpy(on_grid(voxels, displacement.shape[1:]))
        ends = displaced(torch.from_numpy(voxels), displacement)
        to_world = torch.from_numpy(self.moving_to_world[place])
        mapped = ends @ to_world[:3, :3].T + to_world[:3, 3]
        return mapped.masked_fill(~is_known.unsqueeze(1), torch.nan)

    @cached_property
    def landmark_errors(self) -> tuple[LandmarkErrors, ...]:
        """Errors of the landmarks that each of the n pairs has in common; of no cohort: none.

        Raises
        ------
        DataError
            If it is not known which landmarks are the same.
        """
        originals = self.originals
        if not originals.pairs:
            return (NO_LANDMARKS,) * len(self.moving)
        found = []
        for place, pair in enumerate(originals.pairs):
            moving = originals.landmarks(pair.moving)
            fixed = originals.landmarks(pair.fixed)
            if moving is None or fixed is None:
                found.append(NO_LANDMARKS)
                continue
            errors = find_landmark_errors(
                moving,
                fixed,
                originals.grid(pair.moving),
                originals.grid(pair.fixed),
                self._double_displacement(place).detach().numpy(),
            )
            found.append(errors)
        return tuple(found)

    def _double_displacement(self, place: int) -> Tensor:
        """Return the displacement of one of the n pairs on the processor: (d, *shape), float64."""
        return self.displacement[place].cpu().double()

    @cached_property
    def positions(self) -> Tensor:
        """Where each fixed voxel takes its value on the moving grid: (n, d, voxels), in voxels."""
        return sampled_positions(self.displacement)

    @cached_property
    def moved(self) -> Tensor:
        """Moving images warped by linear interpolation: (n, 1, *shape)."""
        return warp(self.moving, self.displacement)

    @property
    def moved_moments(self) -> LocalMoments:
        """Local means and variances of the moved images."""
        return local_moments(self.moved)

    @property
    def fixed_moments(self) -> LocalMoments:
        """Local means and variances of the fixed images."""
        return self.originals.fixed_moments

    @cached_property
    def moved_labels(self) -> Tensor:
        """Moving labels warped by nearest neighbour: (n, *shape)."""
        return nearest_labels(self.moving_labels, self.positions)

    @cached_property
    def determinant(self) -> Tensor:
        """Determinant of the Jacobian of x + displacement(x), at inner voxels: (n, *inner)."""
        return jacobian_determinant(self.displacement)


def measure(
    metrics: Sequence[str],
    originals: Originals,
    displacement: Tensor,
    wall_time_s: Tensor | None = None,
    loss_values: Tensor | None = None,
    stopped: Tensor | None = None,
    reversed_displacement: Tensor | None = None,
    onward_displacements: Tensor | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Compute metrics of n pairs registered by displacements.

    Parameters
    ----------
    metrics
        Names of metrics in the catalogue.
    originals
        The n pairs; what does not depend on the displacement is computed once and kept there.
    displacement
        (n, d, *shape), in voxels.
    wall_time_s
        (n,), of each registration; None where it was not taken.
    loss_values
        (n,), of each registration at its setting; None where no loss is known.
    stopped
        (n,): whether the refinement of each registration stopped by itself; None where none is
        refined.
    reversed_displacement
        (n, d, *shape): of the pairs with their images exchanged; None where these are not
        registered.
    onward_displacements
        (n, 2, d, *shape): from each moving image to one of a third subject, and from there to the
        fixed image (see `cycle_inconsistency_mm`); None where these are not registered.

    Returns
    -------
    dict
        By metric: (n, label_count) for a metric per label, (n,) for one per pair. NaN says that
        there is nothing to measure, as for a label that is missing in either original image.

    Raises
    ------
    DeclarationError
        If a metric is not in the catalogue.
    HmoptError
        If the displacement is of another grid.

    Examples
    --------
    >>> image, labels = torch.rand(1, 1, 8, 8), torch.ones(1, 8, 8, dtype=torch.long)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> originals = Originals(**pair, label_count=2, spacing_mm=None)
    >>> values = measure(["dice", "folding"], originals, torch.zeros(1, 2, 8, 8))
    >>> values["dice"], values["folding"]
    (array([[ 1., nan]]), array([0.]))
    """
    records = [find_metric(name) for name in metrics]
    registration = Registration(
        originals=originals,
        displacement=displacement,
        wall_time_s=wall_time_s,
        loss_values=loss_values,
        stopped=stopped,
        reversed_displacement=reversed_displacement,
        onward_displacements=onward_displacements,
    )
    parts = registration.parts()
    values = {}
    for record in records:
        of_parts = []
        for part in parts:
            computed = record.compute(part)
            of_parts.append(torch.as_tensor(computed))
        of_pairs = torch.cat(of_parts).double()
        values[record.name] = of_pairs.cpu().numpy()
    return values


def _split(displacements: Tensor | None, counts: Sequence[int]) -> list[Tensor | None]:
    """Return some pairs' displacements at a time, None for each where they are not known."""
    if displacements is None:
        return [None for _ in counts]
    return list(torch.split(displacements, list(counts)))
