"""How well images lie over each other before they are registered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from hmopt.data.alignment import centre_on_centre, find_alignment
from hmopt.data.grid import Matrix, resample
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, Volume, read_image, read_labels
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_PARTS = 10


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How labels of random pairs lie over each other.

    Parameters
    ----------
    pairs
        How many pairs were compared.
    overlap_in_world
        Mean Dice over structures and pairs, each image where its header places it; NaN where there
        is nothing to compare.
    overlap_centred
        The same with the images laid centre on centre and axis on axis.
    overlap_aligned
        The same after affine alignment of one image to the other, of a few pairs; NaN where it was
        not tried.
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
    """Return the share of the smaller of two boxes that lies in the other, by their headers.

    It is estimated from the centres of 10 x 10 x 10 equal parts of the smaller box. Along an axis
    of a single voxel everything counts as inside.

    Examples
    --------
    >>> shifted = np.eye(4)
    >>> shifted[0, 3] = 5
    >>> whole = Lattice(shape=(10, 10, 10), affine=np.eye(4))
    >>> share_inside(whole, Lattice(shape=(10, 10, 10), affine=shifted))
    0.5
    """
    smaller, larger = sorted((a, b), key=_volume_mm3)
    places = np.indices([_PARTS] * 3).reshape(3, -1).T
    shares = (places + 0.5) / _PARTS
    voxels = shares * smaller.shape - 0.5
    to_larger = np.linalg.inv(larger.affine) @ smaller.affine
    found = apply_affine(to_larger, voxels)
    lengths = np.array(larger.shape)
    after_first = found >= -0.5
    before_last = found < lengths - 0.5
    flat = lengths == 1
    inside = (after_first & before_last) | flat
    return float(inside.all(axis=1).mean())


def draw_image_pairs(
    images: pd.DataFrame, count: int, seed: int, column: str = "label"
) -> list[tuple[Path, Path]]:
    """Return files of random pairs of images, of two subjects where there are two.

    Parameters
    ----------
    images
        As of `list_images`.
    count
        How many pairs are asked for; fewer are returned where there are fewer.
    seed
        Of the draw.
    column
        Which files: `label` or `image`.
    """
    if len(images) < 2:
        return []
    rng = np.random.default_rng(seed)
    subjects = images["subject"].to_numpy()
    several = len(set(subjects)) > 1
    drawn: set[tuple[int, int]] = set()
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        two = rng.choice(len(images), 2, replace=False)
        first, second = sorted(two.tolist())
        same_subject = subjects[first] == subjects[second]
        if not (several and same_subject):
            drawn.add((first, second))
    files = list(images[column])
    return [(files[first], files[second]) for first, second in sorted(drawn)]


def measure_placement(
    pairs: Sequence[tuple[Path, Path]],
    structures: Structures,
    track: Track = silent,
    axes: Matrix | None = None,
) -> Placement:
    """Measure how label maps lie over each other.

    Parameters
    ----------
    pairs
        Files of two label maps each.
    structures
        Codes of the structures.
    track
        Shows how far it is.
    axes
        (3, 3): what the axes of the images are named after (see `common_axes`); None: the world's.
    """
    rows = []
    for moving_path, fixed_path in track(pairs, "Comparing pairs", len(pairs)):
        moving = _read_merged(moving_path, structures)
        fixed = _read_merged(fixed_path, structures)
        if moving.data.any() and fixed.data.any():
            rows.append(_measure(moving, fixed, axes))
    table = np.array(rows, dtype=float).reshape(len(rows), 4)
    missing = np.isnan(table).any(axis=1)
    comparable = table[~missing]
    overlaps = np.full(2, np.nan)
    distances_mm = np.full(2, np.nan)
    if len(comparable):
        overlaps = comparable[:, :2].mean(axis=0)
        distances_mm = np.median(comparable[:, 2:], axis=0)
    return Placement(
        pairs=len(comparable),
        overlap_in_world=float(overlaps[0]),
        overlap_centred=float(overlaps[1]),
        distance_in_world_mm=float(distances_mm[0]),
        distance_centred_mm=float(distances_mm[1]),
    )


def measure_aligned(
    images: Sequence[tuple[Path, Path]],
    labels: Sequence[tuple[Path, Path]],
    structures: Structures,
    track: Track = silent,
) -> float:
    """Return the mean Dice of pairs of label maps after affine alignment of their images.

    Parameters
    ----------
    images, labels
        Files of the moving and fixed image of each pair, and of their label maps.
    structures
        Codes of the structures.
    track
        Shows how far it is.

    Returns
    -------
    float
        NaN where no pair can be aligned.
    """
    overlaps = []
    pairs = list(zip(images, labels, strict=True))
    for (moving_image, fixed_image), (moving_labels, fixed_labels) in track(
        pairs, "Aligning pairs", len(pairs)
    ):
        moving = _read_merged(moving_labels, structures)
        fixed = _read_merged(fixed_labels, structures)
        try:
            alignment = find_alignment(read_image(moving_image), read_image(fixed_image))
        except DataError:  # flat, or of too few voxels
            continue
        overlap = _overlap(moving, fixed, alignment.matrix)
        if not np.isnan(overlap):
            overlaps.append(overlap)
    return float(np.mean(overlaps)) if overlaps else float("nan")


def _read_merged(path: Path, structures: Structures) -> Volume:
    labels = read_labels(path)
    merged = merge_labels(labels.data, structures)
    return Volume(data=merged, lattice=labels.lattice)


def _measure(
    moving: Volume, fixed: Volume, axes: Matrix | None
) -> tuple[float, float, float, float]:
    """Return overlap by headers and centred, then distance of centres by headers and centred."""
    by_header = np.eye(4)
    centred = centre_on_centre(moving.lattice, fixed.lattice, axes)
    return (
        _overlap(moving, fixed, by_header),
        _overlap(moving, fixed, centred),
        _distance_mm(moving, fixed, by_header),
        _distance_mm(moving, fixed, centred),
    )


def _overlap(moving: Volume, fixed: Volume, matrix: Matrix) -> float:
    """Return the mean Dice of the structures that both show; NaN where there are none.

    Parameters
    ----------
    moving, fixed
        Merged label maps.
    matrix
        (4, 4): world of the fixed to world of the moving one.
    """
    grid = np.linalg.inv(moving.lattice.affine) @ matrix @ fixed.lattice.affine
    flat = np.array(moving.lattice.shape) == 1
    grid[:3][flat] = 0  # a plane is prepared wherever it lies along its normal
    moved = resample(moving.data, grid, fixed.lattice.shape, order=0, outside=0)
    in_both = np.intersect1d(moving.data, fixed.data)
    scores = []
    for label in in_both[in_both > 0]:
        in_moved = moved == label
        in_fixed = fixed.data == label
        shared = np.sum(in_moved & in_fixed)
        total = np.sum(in_moved) + np.sum(in_fixed)
        scores.append(2 * shared / total)
    return float(np.mean(scores)) if scores else np.nan


def _distance_mm(moving: Volume, fixed: Volume, matrix: Matrix) -> float:
    """Return the distance between the centres of all labelled voxels, in the moving world."""
    moving_centre = _label_centre(moving)
    fixed_centre = apply_affine(matrix, _label_centre(fixed))
    return float(np.linalg.norm(fixed_centre - moving_centre))


def _label_centre(labels: Volume) -> NDArray[np.float64]:
    voxel = center_of_mass(labels.data > 0)
    centre: NDArray[np.float64] = apply_affine(labels.lattice.affine, voxel)
    return centre


def _volume_mm3(lattice: Lattice) -> float:
    edges = lattice.affine[:3, :3]
    voxel_mm3 = abs(np.linalg.det(edges))
    voxels = np.prod(lattice.shape)
    return float(voxel_mm3 * voxels)
