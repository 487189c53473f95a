"""elastix' B-spline registration, by itk-elastix.

With its defaults this is what elastix does when no parameter file is given: a translation, an affine
and a B-spline transform, each by mutual information, the last with a bending-energy penalty.

The seed of the sampler of voxels is fixed. With one thread the same images give the same
displacement.

References
----------
Klein et al., IEEE Transactions on Medical Imaging 2010.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.outputs import elastix_displacement

SPACE: dict[str, dict[str, Any]] = {
    "grid_spacing_mm": {"low": 4.0, "high": 20.0, "step": 0.0625, "default": 10.0},
    "bending_weight": {
        "low": 0.001,
        "high": 1000.0,
        "prior": "log-uniform",
        "step": 0.05,
        "default": 1.0,
    },
    "similarity": {
        "type": "categorical",
        "choices": [
            "AdvancedMattesMutualInformation",
            "AdvancedNormalizedCorrelation",
            "AdvancedMeanSquares",
        ],
        "default": "AdvancedMattesMutualInformation",
    },
    "samples": {
        "type": "integer",
        "low": 1024,
        "high": 8192,
        "step": 1024,
        "default": 2048,
    },
    "iterations": {"type": "integer", "low": 128, "high": 512, "step": 128, "default": 256},
}
"""Sensible ranges for images of about 1 mm; the defaults are elastix'."""

OPTIONS: dict[str, Any] = {
    "stages": ["translation", "affine", "bspline"],
    "resolutions": 4,
    "seed": 121212,
}
"""Values that are not searched, unless a hyperparameter is declared for them.

`stages`: names of elastix' default parameter maps, the first one first; `resolutions`: levels of
the image pyramids; `seed`: of the sampler, elastix' own default.
"""


def register(
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    values: Mapping[str, Any],
    grid: Grid,
    threads: int,
) -> NDArray[np.float32]:
    """Return the displacement of all stages together: (d, *shape), in voxels.

    Parameters
    ----------
    moving, fixed
        (*shape), of `grid`.
    values
        Of the hyperparameters of `SPACE`, and of `OPTIONS`; those left out have their defaults.
    grid
        2-D or 3-D.
    threads
        For elastix.
    """
    import itk

    fixed_image = grid.itk_image(fixed, itk)
    moving_image = grid.itk_image(moving, itk)
    parameters = itk.ParameterObject.New()
    for stage in values["stages"]:
        resolutions = int(values["resolutions"])
        stage_map = parameters.GetDefaultParameterMap(stage, resolutions)
        for key, value in _changes(stage, values).items():
            stage_map[key] = [value]
        if stage == "bspline":
            metrics = list(stage_map["Metric"])
            metrics[0] = str(values["similarity"])
            stage_map["Metric"] = metrics
        parameters.AddParameterMap(stage_map)
    _moved, transform = itk.elastix_registration_method(
        fixed_image,
        moving_image,
        parameter_object=parameters,
        log_to_console=False,
        number_of_threads=threads,
    )
    return elastix_displacement(itk, moving_image, transform, grid)


def _changes(stage: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a stage that differ from its default map."""
    changes = {
        "RandomSeed": str(int(values["seed"])),
        # images on one grid: where the intensities are is told by it alone
        "AutomaticTransformInitialization": "false",
    }
    if stage == "bspline":
        changes |= {
            "FinalGridSpacingInPhysicalUnits": f"{values['grid_spacing_mm']:g}",
            "Metric1Weight": f"{values['bending_weight']:g}",
            "NumberOfSpatialSamples": str(int(values["samples"])),
            "MaximumNumberOfIterations": str(int(values["iterations"])),
        }
    return changes
