"""ANTs' symmetric normalization, by ANTsPy.

With its defaults this is `ants.registration(type_of_transform="SyN")`: an affine transform by mutual
information, then SyN by mutual information at a quarter and half of the resolution. The script
antsRegistrationSyN.sh, which papers use, has local cross-correlation of radius 4 and iterations at
full resolution: `similarity = "CC"` and `iterations = [100, 70, 50, 20]`.

Threads and seed are fixed, so that with one thread the same images give the same displacement.

References
----------
Avants et al., Medical Image Analysis 2008; Tustison and Avants, Frontiers in Neuroinformatics 2013.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.errors import DeclarationError
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.outputs import read_displacement

SPACE: dict[str, dict[str, Any]] = {
    "gradient_step": {"low": 0.05, "high": 0.55, "step": 0.05, "default": 0.2},
    "flow_sigma": {"low": 0.0, "high": 5.0, "step": 0.1, "default": 3.0},
    "total_sigma": {"low": 0.0, "high": 2.0, "step": 0.125, "default": 0.0},
    "similarity": {
        "type": "categorical",
        "choices": ["mattes", "CC", "meansquares"],
        "default": "mattes",
    },
    "window_radius": {
        "type": "integer",
        "low": 2,
        "high": 5,
        "default": 4,
        "only_if": {"similarity": ["CC"]},
    },
    "full_resolution_iterations": {
        "type": "integer",
        "low": 0,
        "high": 20,
        "step": 5,
        "default": 0,
    },
}
"""Sensible ranges; the defaults are ANTsPy's."""

OPTIONS: dict[str, Any] = {
    "transform": "SyN",
    "iterations": [40, 20, 0],
    "bins": 32,
    "seed": 1,
}
"""Values that are not searched, unless a hyperparameter is declared for them.

`transform`: what ANTsPy calls `type_of_transform`: `SyN`, `SyNOnly` (no affine stage), `SyNRA`,
`SyNCC`, `antsRegistrationSyN[s]` …; `iterations`: of SyN by level, the coarsest first, each level
half as fine as the next; `bins`: of mutual information.
"""

_BY_TRANSFORM = ("SyN", "SyNOnly", "SyNRA", "SyNAggro")
"""Transforms that take step, sigmas, similarity and iterations; others have their own."""


def register(
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    values: Mapping[str, Any],
    grid: Grid,
    threads: int,
) -> NDArray[np.float32]:
    """Return the displacement of affine stage and SyN together: (d, *shape), in voxels.

    Parameters
    ----------
    moving, fixed
        (*shape), of `grid`.
    values
        Of the hyperparameters of `SPACE`, and of `OPTIONS`; those left out have their defaults.
    grid
        2-D or 3-D.
    threads
        For ITK, which reads it from its environment when it is loaded.
    """
    import ants

    transform = str(values["transform"])
    arguments: dict[str, Any] = {}
    if transform in _BY_TRANSFORM:
        arguments = _syn_arguments(values)
    with tempfile.TemporaryDirectory(prefix="hmopt-ants-") as folder:
        found = ants.registration(
            fixed=_ants_image(fixed, grid),
            moving=_ants_image(moving, grid),
            type_of_transform=transform,
            outprefix=f"{folder}/",
            random_seed=int(values["seed"]),
            **arguments,
        )
        paths = [Path(name) for name in found["fwdtransforms"]]
        return read_displacement(paths, grid)


def _syn_arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    similarity = str(values["similarity"])
    sampling = values["window_radius"] if similarity == "CC" else values["bins"]
    iterations = [int(count) for count in values["iterations"]]
    if not iterations:
        raise DeclarationError(
            "model.options.iterations",
            expected="a number for each level",
            got="none",
            advice="Declare iterations, such as [40, 20, 0].",
        )
    at_full_resolution = int(values["full_resolution_iterations"])
    if at_full_resolution:
        iterations[-1] = at_full_resolution
    return {
        "grad_step": float(values["gradient_step"]),
        "flow_sigma": float(values["flow_sigma"]),
        "total_sigma": float(values["total_sigma"]),
        "syn_metric": similarity,
        "syn_sampling": int(sampling),
        "reg_iterations": tuple(iterations),
    }


def _ants_image(image: NDArray[np.float32], grid: Grid) -> Any:
    import ants

    direction = np.reshape(grid.direction_lps, (grid.dimensions, grid.dimensions))
    return ants.from_numpy(
        image.astype(np.float32),
        origin=list(grid.origin_lps),
        spacing=list(grid.spacing_mm),
        direction=direction,
    )
