"""Pictures of a typical and of the worst registration at a scope's λ*, for the report."""

import math
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hmopt.catalogue import find_metric
from hmopt.errors import SearchError
from hmopt.files import content_hash, replacing
from hmopt.limits import SIDES_OF_DISPLACEMENT
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Pair
from hmopt.space import Index
from hmopt.spatial import (
    image_tensor,
    label_tensor,
    nearest_labels,
    sampled_positions,
    warp,
)
from hmopt.study_folder import StudyFolder

Arrays = dict[str, NDArray[Any]]


KEPT_BYTES = 2**30
"""Memory for the displacements of the latest pairs, of which scopes share many."""


class RegisteredPairs:
    """Pairs as an oracle registers them; the displacements of the latest ones are kept.

    Parameters
    ----------
    oracle
        What registers.
    """

    def __init__(self, oracle: RegisteringOracle) -> None:
        self.oracle = oracle
        shape = oracle.cohort.shape
        bytes_each = 4 * len(shape) * math.prod(shape)
        keep = lru_cache(maxsize=max(2, KEPT_BYTES // bytes_each))
        self.displacement = keep(self._register)

    def _register(self, index: Index, pair: Pair) -> Tensor:
        """Return the displacement of a pair at a setting, (d, *shape), on the processor."""
        return self.oracle.displacement(index, pair).cpu()


def write_examples(
    folder: Path,
    name: str,
    registered: RegisteredPairs,
    index: Index,
    pairs: Sequence[Pair],
    scores: NDArray[np.float64],
    metric: str = "dice",
    label: str | None = None,
) -> Path:
    """Write pictures of the typical and the worst pair of a scope at a setting; return the file.

    Parameters
    ----------
    folder
        The study folder; the file is `examples/{slug of name}.npz` in it.
    name
        Name of the scope.
    registered
        The pairs as they are registered. Scopes of one setting, one after the other, share them.
    index
        The setting on the lattice.
    pairs
        Pairs, n of them.
    scores
        (n,): their values of `metric` at the setting; NaN for a pair that is not of the scope.
    metric
        Name of the metric, which tells whether larger is better.
    label
        The scope's label; None: all labels.

    Returns
    -------
    Path
        A compressed npz; one that shows the same already is left as it is. For `{role}` typical
        and worst: `{role}_moving`, `{role}_fixed`, `{role}_moved` in [0, 1] and their `…_labels`,
        all (x, y); `{role}_displacement`, (2, x, y), in the plane, in voxels, cut where it leads
        far out of the picture; `{role}_pair`, `{role}_score`. And `scope`, `metric`, `setting`,
        (hyperparameters,), and a hash of what it was made of. Of 3-D pairs, the plane across the
        last axis that has most of the label.

    Raises
    ------
    SearchError
        If no pair has a score.
    """
    oracle = registered.oracle
    rows = choose_examples(scores, metric)
    setting = oracle.space.setting(index)
    ids = {role: pairs[row].id for role, row in rows.items()}
    made_of = content_hash(oracle.identity, setting, ids, metric, label)
    path = StudyFolder(folder).example_file(name)
    if _is_made_of(path, made_of):
        return path
    arrays: Arrays = {
        "scope": np.array(name),
        "metric": np.array(metric),
        "setting": np.array(list(setting.values())),
        "made_of": np.array(made_of),
    }
    for role, row in rows.items():
        pictures = draw_pictures(registered, index, pairs[row], label)
        pictures["pair"] = np.array(pairs[row].id)
        pictures["score"] = np.array(scores[row])
        for key, array in pictures.items():
            arrays[f"{role}_{key}"] = array
    with replacing(path) as beside:
        np.savez_compressed(beside, allow_pickle=False, **arrays)
    return path


def _is_made_of(path: Path, made_of: str) -> bool:
    """Tell whether a file of pictures shows what it should."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return "made_of" in file and str(file["made_of"]) == made_of
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def choose_examples(scores: NDArray[np.float64], metric: str) -> dict[str, int]:
    """Return the rows of the pair with the median score (of two, the worse) and with the worst.

    Raises
    ------
    SearchError
        If no pair has a score.

    Examples
    --------
    >>> choose_examples(np.array([0.9, np.nan, 0.5, 0.7]), "dice")
    {'typical': 3, 'worst': 2}
    """
    maximized = find_metric(metric).direction == "maximize"
    signed = scores if maximized else -scores
    order = np.argsort(signed, kind="stable")
    measured = int(np.isfinite(scores).sum())
    if measured == 0:
        raise SearchError(
            "examples", expected="a pair with a score", got="none", advice="Leave this scope out."
        )
    return {"typical": int(order[(measured - 1) // 2]), "worst": int(order[0])}


def draw_pictures(
    registered: RegisteredPairs, index: Index, pair: Pair, label: str | None = None
) -> Arrays:
    """Return 2-D pictures of a pair registered at a setting, by key of `write_examples`."""
    cohort = registered.oracle.cohort
    moving = cohort.image(pair.moving)
    fixed = cohort.image(pair.fixed)
    moving_labels = cohort.label_map(pair.moving)
    fixed_labels = cohort.label_map(pair.fixed)
    displacement = registered.displacement(index, pair)
    moved = warp(image_tensor([moving]), displacement[None])[0, 0].numpy()
    positions = sampled_positions(displacement[None])
    moved_labels = nearest_labels(label_tensor([moving_labels]), positions)[0].numpy()
    shown = fixed_labels if label is None else fixed_labels == cohort.labels.index(label) + 1
    plane = _fullest_plane(shown)
    pictures = {
        "moving": _scaled(moving, moving),
        "fixed": _scaled(fixed, fixed),
        "moved": _scaled(moved, moving),
        "moving_labels": moving_labels,
        "fixed_labels": fixed_labels,
        "moved_labels": moved_labels.astype(moving_labels.dtype),
    }
    in_plane = displacement[(slice(2), *plane)].numpy()
    most = SIDES_OF_DISPLACEMENT * max(in_plane.shape[1:])
    in_plane = in_plane.clip(-most, most)
    planes: Arrays = {key: array[plane] for key, array in pictures.items()}
    return {**planes, "displacement": in_plane}


def _fullest_plane(mask: NDArray[Any]) -> tuple[slice | int, ...]:
    """Return the index of the plane across the last axis that has most of a mask."""
    in_plane = (slice(None), slice(None))
    if mask.ndim == 2:
        return in_plane
    voxels = (mask > 0).sum(axis=(0, 1))
    return (*in_plane, int(np.argmax(voxels)))


def _scaled(image: NDArray[np.float32], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image in [0, 1], from the darkest to the brightest voxel of another one."""
    low = float(like.min())
    high = float(like.max())
    width = max(high - low, 1e-6)
    scaled = (image - low) / width
    return scaled.clip(0, 1).astype(np.float32)
