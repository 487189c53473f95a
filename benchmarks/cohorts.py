"""Prepared cohorts and models to measure with: shapes and counts as real ones have, made in a second."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from scipy import ndimage
from scipy.spatial import cKDTree

from hmopt.data import IMAGES, LABEL_MAPS, NO_SLICE, PreparedCohort, label_dtype
from hmopt.declaration import HypernetworkOptions, NetworkOptions
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
SHAPE = (48, 64, 48)
NETWORK = NetworkOptions(encoder=[16, 32, 32, 32], decoder=[32, 32], final=[], stride=1)
"""The U-Net of most rows: on the images' grid, its velocity at half resolution."""
NETWORK_NAME = "U-Net 16-32-32-32, velocity at half resolution, 48×64×48"
LIVELY = 0.02
"""Standard deviation of the velocity's weights: an untrained network then moves voxels by about one."""
FOREGROUND = 0.4
"""Share of voxels that are labelled, whatever the number of labels."""
DRAWN = 4
"""Images and label maps that differ; those of a larger cohort repeat them."""


def label_map(shape: tuple[int, ...], labels: int, random: np.random.Generator) -> np.ndarray:
    """Give a ball of labelled voxels, each with the label of the nearest of as many seeds."""
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
    drawn = [ndimage.gaussian_filter(random.random(shape), 2) for _ in range(DRAWN)]
    label_maps = [label_map(shape, labels, random) for _ in range(DRAWN)]
    for place in range(count):
        image = drawn[place % DRAWN]
        images[place] = (image - image.min()) / np.ptp(image)
        maps[place] = label_maps[place % DRAWN]
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
    """Give a cohort that `make_cohort` wrote, of the same arguments."""
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
    """Draw ordered pairs of different images, each pair once, that meet all images before they meet one again."""
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
    """Give an untrained registration network that moves voxels."""
    torch.manual_seed(0)
    network = RegistrationNetwork(section, shape)
    torch.nn.init.normal_(network.velocity.weight, std=LIVELY)
    return network


def make_hypermorph(
    section: NetworkOptions = NETWORK, shape: tuple[int, ...] = SHAPE
) -> Hypermorph:
    """Give an untrained hypermorph with hmopt's default hypernetwork."""
    return Hypermorph(make_network(section, shape), SPACE, HypernetworkOptions().widths)
