"""How well images lie over each other before they are registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from hmopt.data.grid import Matrix, resample
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, read_labels
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
        The same with the images' centres brought together, as the prepared grids have them.
    distance_in_world_mm, distance_centred_mm
        Median distance between the centres of all labelled voxels.
    """

    pairs: int
    overlap_in_world: float
    overlap_centred: float
    distance_in_world_mm: float
    distance_centred_mm: float


def draw_image_pairs(images: pd.DataFrame, count: int, seed: int) -> list[tuple[Path, Path]]:
    """Give label maps of random pairs of images, of two subjects where there are two."""
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
    labels = list(images["label"])
    return [(labels[a], labels[b]) for a, b in sorted(drawn)]


def measure_placement(pairs: Sequence[tuple[Path, Path]], structures: Structures, track: Track = silent) -> Placement:
    """Give how label maps lie over each other.

    Parameters
    ----------
    pairs
        Files of two label maps each.
    structures
        What they hold.
    """
    rows = [_measure(a, b, structures) for a, b in track(pairs, "Comparing pairs", len(pairs))]
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


def _measure(moving: Path, fixed: Path, structures: Structures) -> tuple[float, float, float, float]:
    a, b = read_labels(moving), read_labels(fixed)
    merged_a, merged_b = merge_labels(a.data, structures), merge_labels(b.data, structures)
    if not merged_a.any() or not merged_b.any():
        return (np.nan, np.nan, np.nan, np.nan)
    to_centre = np.eye(4)
    to_centre[:3, 3] = _middle(a.lattice) - _middle(b.lattice)
    overlaps, distances = [], []
    for matrix in (np.eye(4), to_centre):
        grid = np.linalg.inv(a.lattice.affine) @ matrix @ b.lattice.affine
        overlaps.append(_dice(resample(merged_a, grid, b.lattice.shape, order=0, outside=0), merged_b, merged_a))
        apart = matrix[:3, 3] + _mass(merged_b, b.lattice.affine) - _mass(merged_a, a.lattice.affine)
        distances.append(float(np.linalg.norm(apart)))
    return (overlaps[0], overlaps[1], distances[0], distances[1])


def _dice(moved: NDArray[np.integer], fixed: NDArray[np.integer], moving: NDArray[np.integer]) -> float:
    both = np.intersect1d(np.unique(moving), np.unique(fixed))
    shares = [2 * np.sum((moved == k) & (fixed == k)) / (np.sum(moved == k) + np.sum(fixed == k)) for k in both if k]
    return float(np.mean(shares)) if shares else np.nan


def _middle(lattice: Lattice) -> NDArray[np.float64]:
    return np.asarray((lattice.affine @ [*((np.array(lattice.shape) - 1) / 2), 1])[:3])


def _mass(merged: NDArray[np.integer], affine: Matrix) -> NDArray[np.float64]:
    return np.asarray((affine @ [*center_of_mass(merged > 0), 1])[:3])
