"""Prepared cohorts, pairs and untrained models of realistic shapes and sizes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from hmopt.data import IMAGES, LABEL_MAPS, NO_SLICE, PreparedCohort, label_dtype
from hmopt.data.synthetic import Scan, make_anatomy, make_scans
from hmopt.declaration import HypernetworkOptions, NetworkOptions
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
SHAPE = (48, 64, 48)
NETWORK = NetworkOptions(encoder=[16, 32, 32, 32], decoder=[32, 32], final=[], stride=1)
"""The U-Net of most rows: on the images' grid, its velocity at half resolution."""
NETWORK_NAME = "U-Net 16-32-32-32, velocity at half resolution, 48×64×48"
VELOCITY_WEIGHT_STD = 0.02
"""Standard deviation of the velocity layer's weights: an untrained network moves voxels by about one."""
FOREGROUND = 0.4
"""Share of voxels that are labelled, whatever the number of labels."""
DISTINCT_IMAGES = 4
"""Number of different images and label maps; a larger cohort repeats them."""


@dataclass(frozen=True, kw_only=True)
class SyntheticPair:
    """T1 images of two subjects of the synthetic cohort, in [0, 1], and their label maps.

    Unlike those of `make_cohort`, these images can be registered: both are deformations of one
    anatomy. Each is of shape (*shape).
    """

    moving: NDArray[np.float32]
    fixed: NDArray[np.float32]
    moving_labels: NDArray[np.uint8]
    fixed_labels: NDArray[np.uint8]


def make_synthetic_pair(shape: tuple[int, ...]) -> SyntheticPair:
    """Return the first sessions of the first two subjects."""
    anatomy = make_anatomy(shape)
    moving = next(make_scans(anatomy, subject=0, seed=0))
    fixed = next(make_scans(anatomy, subject=1, seed=0))
    return SyntheticPair(
        moving=_in_unit_range(moving),
        fixed=_in_unit_range(fixed),
        moving_labels=moving.labels,
        fixed_labels=fixed.labels,
    )


def _in_unit_range(scan: Scan) -> NDArray[np.float32]:
    image = scan.images["T1"]
    lowest = image.min()
    scaled: NDArray[np.float32] = (image - lowest) / (image.max() - lowest)
    return scaled


def label_map(shape: tuple[int, ...], labels: int, random: np.random.Generator) -> np.ndarray:
    """Return a ball of labelled voxels, each with the label of its nearest seed point."""
    axes = [np.linspace(-1, 1, size) for size in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    inside = (grid**2).sum(1) <= np.quantile((grid**2).sum(1), FOREGROUND)
    directions = random.normal(size=(labels, len(shape)))
    seeds = (
        0.7
        * directions
        / np.linalg.norm(directions, axis=1, keepdims=True)
        * random.random((labels, 1)) ** (1 / 3)
    )
    nearest = cKDTree(seeds).query(grid[inside])[1]
    flat = np.zeros(len(grid), dtype=label_dtype(labels))
    flat[inside] = nearest + 1
    return flat.reshape(shape)


def make_cohort(
    folder: Path,
    subjects: int,
    shape: tuple[int, ...] = SHAPE,
    labels: int = 9,
    images_each: int = 1,
) -> PreparedCohort:
    """Write a prepared cohort as `hmopt.data` lays it out: smooth noise for images, a few label maps in turn."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    count = subjects * images_each
    images = open_memmap(folder / IMAGES, "w+", np.float32, (count, *shape))
    maps = open_memmap(folder / LABEL_MAPS, "w+", label_dtype(labels), (count, *shape))
    drawn = [ndimage.gaussian_filter(random.random(shape), 2) for _ in range(DISTINCT_IMAGES)]
    label_maps = [label_map(shape, labels, random) for _ in range(DISTINCT_IMAGES)]
    for place in range(count):
        image = drawn[place % DISTINCT_IMAGES]
        images[place] = (image - image.min()) / np.ptp(image)
        maps[place] = label_maps[place % DISTINCT_IMAGES]
    images.flush()
    maps.flush()
    return open_cohort(folder, subjects, shape, labels, images_each)


def open_cohort(
    folder: Path,
    subjects: int,
    shape: tuple[int, ...] = SHAPE,
    labels: int = 9,
    images_each: int = 1,
) -> PreparedCohort:
    """Open the cohort that `make_cohort` wrote with the same arguments."""
    rows = [
        (f"s{subject:04}", f"s{subject:04}_{each}")
        for subject in range(subjects)
        for each in range(images_each)
    ]
    table = pd.DataFrame(rows, columns=["subject", "scan"], index=[name for _, name in rows])
    return PreparedCohort(
        folder=folder,
        images=table.assign(slice=NO_SLICE, split="search"),
        labels=tuple(f"label {place + 1}" for place in range(labels)),
        shape=shape,
        spacing_mm=None,
        identity=folder.name,
    )


def make_pairs(cohort: PreparedCohort, count: int) -> list[Pair]:
    """Draw different ordered pairs that use every image before any image again."""
    names, subject = list(cohort.images.index), cohort.images["subject"]
    if count > (possible := len(names) * (len(names) - 1)):
        raise ValueError(
            f"count: expected at most {possible} pairs of {len(names)} images, got {count}"
        )
    random = np.random.default_rng(0)
    drawn: dict[tuple[str, str], None] = {}
    while len(drawn) < count:
        order = random.permutation(names).tolist()
        drawn.update(dict.fromkeys(zip(order[::2], order[1::2], strict=False)))
    chosen = list(drawn)[:count]
    return [
        Pair(moving=a, fixed=b, moving_subject=subject[a], fixed_subject=subject[b])
        for a, b in chosen
    ]


def make_network(
    section: NetworkOptions = NETWORK, shape: tuple[int, ...] = SHAPE
) -> RegistrationNetwork:
    """Return an untrained registration network with nonzero velocities."""
    torch.manual_seed(0)
    network = RegistrationNetwork(section, shape)
    torch.nn.init.normal_(network.velocity.weight, std=VELOCITY_WEIGHT_STD)
    return network


def make_hypermorph(
    section: NetworkOptions = NETWORK, shape: tuple[int, ...] = SHAPE
) -> Hypermorph:
    """Return an untrained hypermorph with hmopt's default hypernetwork."""
    return Hypermorph(make_network(section, shape), SPACE, HypernetworkOptions().widths)
