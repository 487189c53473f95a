"""How well images lie over each other before they are registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from hmopt.data.alignment import find_alignment
from hmopt.data.grid import Matrix, ras_frame, resample
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, read_image, read_labels
from hmopt.errors import DataError
from hmopt.progress import Track, silent


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How labels of random pairs lie over each other.

    Parameters
    ----------
    pairs
        How many pairs were looked at.
    overlap_in_world
        Mean Dice over structures and pairs, each image where its header places it; NaN where there is nothing.
    overlap_centred
        The same with the images laid centre on centre and axis on axis.
    overlap_aligned
        The same after affine alignment of one image to the other, of a few pairs; NaN where it was not tried.
    distance_in_world_mm, distance_centred_mm
        Median distance between the centres of all labelled voxels.
    """

    pairs: int
    overlap_in_world: float
    overlap_centred: float
    distance_in_world_mm: float
    distance_centred_mm: float
    overlap_aligned: float = float("nan")


def share_inside(a: Lattice, b: Lattice) -> float:
    """Give the share of the smaller of two images' boxes that lies in the other, where their headers put them.

    Along an axis of a single voxel everything counts as inside.

    Examples
    --------
    >>> shifted = np.eye(4)
    >>> shifted[0, 3] = 5
    >>> whole, half = (Lattice(shape=(10, 10, 10), affine=affine) for affine in (np.eye(4), shifted))
    >>> share_inside(whole, half)
    0.5
    """
    smaller, larger = sorted((a, b), key=_volume_mm3)
    # the middles of 10 x 10 x 10 equal parts of the smaller box
    parts = np.stack(
        np.meshgrid(*[(np.arange(10) + 0.5) / 10] * 3, indexing="ij"), axis=-1
    ).reshape(-1, 3)
    voxels = parts * smaller.shape - 0.5
    to_larger = np.linalg.inv(larger.affine) @ smaller.affine
    found = voxels @ to_larger[:3, :3].T + to_larger[:3, 3]
    inside = (found >= -0.5) & (found < np.array(larger.shape) - 0.5) | (
        np.array(larger.shape) == 1
    )
    return float(inside.all(axis=1).mean())


def _volume_mm3(lattice: Lattice) -> float:
    return float(abs(np.linalg.det(lattice.affine[:3, :3])) * np.prod(lattice.shape))


def draw_image_pairs(
    images: pd.DataFrame, count: int, seed: int, column: str = "label"
) -> list[tuple[Path, Path]]:
    """Give label maps, or files of another column, of random pairs of images, of two subjects where there are two."""
    rng = np.random.default_rng(seed)
    subjects = images["subject"].to_numpy()
    several = len(set(subjects)) > 1
    drawn: set[tuple[int, int]] = set()
    for _ in range(20 * count):
        if len(images) < 2 or len(drawn) == count:
            break
        a, b = rng.choice(len(images), 2, replace=False).tolist()
        if not several or subjects[a] != subjects[b]:
            drawn.add((min(a, b), max(a, b)))
    files = list(images[column])
    return [(files[a], files[b]) for a, b in sorted(drawn)]


def measure_placement(
    pairs: Sequence[tuple[Path, Path]],
    structures: Structures,
    track: Track = silent,
    axes: Matrix | None = None,
) -> Placement:
    """Give how label maps lie over each other.

    Parameters
    ----------
    pairs
        Files of two label maps each.
    structures
        What they hold.
    axes
        (3, 3): what the axes of the images are named after (see `common_axes`); None: the world's.
    """
    rows = [
        _measure(a, b, structures, axes) for a, b in track(pairs, "Comparing pairs", len(pairs))
    ]
    table = np.array(rows, dtype=float).reshape(len(rows), 4)
    known = ~np.isnan(table).any(axis=1)
    overlaps, distances = table[known, :2], table[known, 2:]
    if not len(overlaps):
        nothing = float("nan")
        overlap, distance = np.full(2, nothing), np.full(2, nothing)
    else:
        overlap, distance = overlaps.mean(axis=0), np.median(distances, axis=0)
    return Placement(
        pairs=len(overlaps),
        overlap_in_world=float(overlap[0]),
        overlap_centred=float(overlap[1]),
        distance_in_world_mm=float(distance[0]),
        distance_centred_mm=float(distance[1]),
    )


def measure_aligned(
    images: Sequence[tuple[Path, Path]],
    labels: Sequence[tuple[Path, Path]],
    structures: Structures,
    track: Track = silent,
) -> float:
    """Give the mean Dice of pairs of label maps after affine alignment of their images; NaN where none can be aligned.

    Parameters
    ----------
    images, labels
        Files of the two images of each pair, and of their label maps.
    """
    overlaps = []
    pairs = list(zip(images, labels, strict=True))
    for (image, template), (moving, fixed) in track(pairs, "Aligning pairs", len(pairs)):
        a, b = read_labels(moving), read_labels(fixed)
        try:
            matrix = find_alignment(read_image(image), read_image(template))
        except DataError:  # flat, or of too few voxels
            continue
        merged_a, merged_b = merge_labels(a.data, structures), merge_labels(b.data, structures)
        overlaps.append(_overlap(merged_a, a.lattice, merged_b, b.lattice, matrix))
    known = [overlap for overlap in overlaps if not np.isnan(overlap)]
    return float(np.mean(known)) if known else float("nan")


def _measure(
    moving: Path, fixed: Path, structures: Structures, axes: Matrix | None
) -> tuple[float, float, float, float]:
    a, b = read_labels(moving), read_labels(fixed)
    merged_a, merged_b = merge_labels(a.data, structures), merge_labels(b.data, structures)
    if not merged_a.any() or not merged_b.any():
        return (np.nan, np.nan, np.nan, np.nan)
    overlaps, distances = [], []
    for matrix in (np.eye(4), _centre_on_centre(a.lattice, b.lattice, axes)):
        overlaps.append(_overlap(merged_a, a.lattice, merged_b, b.lattice, matrix))
        middle = matrix @ [*_mass(merged_b, b.lattice.affine), 1]
        distances.append(float(np.linalg.norm(middle[:3] - _mass(merged_a, a.lattice.affine))))
    return (overlaps[0], overlaps[1], distances[0], distances[1])


def _centre_on_centre(a: Lattice, b: Lattice, axes: Matrix | None) -> Matrix:
    """Give the world of b to the world of a, where the middles and the axes of the boxes are brought together."""
    to_a, to_b = (_box_axes(lattice, axes) for lattice in (a, b))
    return to_a @ np.linalg.inv(to_b)


def _box_axes(lattice: Lattice, axes: Matrix | None) -> Matrix:
    to_world = ras_frame(lattice, axes).to_world
    matrix = np.eye(4)
    matrix[:3, :3] = to_world[:3, :3] / np.linalg.norm(to_world[:3, :3], axis=0)
    matrix[:3, 3] = lattice.centre_mm
    return matrix


def _overlap(
    moving: NDArray[np.integer], a: Lattice, fixed: NDArray[np.integer], b: Lattice, matrix: Matrix
) -> float:
    grid = np.linalg.inv(a.affine) @ matrix @ b.affine
    grid[:3][np.array(a.shape) == 1] = 0  # a plane is prepared wherever it lies along its normal
    return _dice(resample(moving, grid, b.shape, order=0, outside=0), fixed, moving)


def _dice(
    moved: NDArray[np.integer], fixed: NDArray[np.integer], moving: NDArray[np.integer]
) -> float:
    both = np.intersect1d(np.unique(moving), np.unique(fixed))
    shares = [
        2 * np.sum((moved == k) & (fixed == k)) / (np.sum(moved == k) + np.sum(fixed == k))
        for k in both
        if k
    ]
    return float(np.mean(shares)) if shares else np.nan


def _mass(merged: NDArray[np.integer], affine: Matrix) -> NDArray[np.float64]:
    return np.asarray((affine @ [*center_of_mass(merged > 0), 1])[:3])
