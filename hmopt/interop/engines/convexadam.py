"""ConvexAdam: a coupled convex search over discrete displacements, then Adam on the displacement.

With its defaults this is `convex_adam_pt` with MIND features on a processor in single precision:
half precision, its default on an accelerator, rounds displacements and is left out.

It works in voxels: spacing makes no difference to it. It has no random numbers, so that the same
images give the same displacement.

What its source shows and its documentation does not:

- A regularization weight of 0 leaves the Adam stage out, rather than its regularizer.
- Without inverse consistency (`ic`), the convex stage's displacement keeps the coarse grid's units;
  so it is always on here.
- An even width of smoothing is not made odd, though it prints so, and changes the size of the field.

References
----------
Siebert et al., IEEE Transactions on Medical Imaging 2024.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.interop.engines.grid import Grid

SPACE: dict[str, dict[str, Any]] = {
    "regularization": {
        "low": 0.125,
        "high": 12.5,
        "prior": "log-uniform",
        "step": 0.05,
        "default": 1.25,
    },
    "grid_spacing": {"type": "integer", "low": 3, "high": 8, "default": 6},
    "half_width": {"type": "integer", "low": 2, "high": 6, "default": 4},
    "iterations": {"type": "integer", "low": 20, "high": 160, "step": 20, "default": 80},
    "smoothing": {"type": "categorical", "choices": [0, 3, 5, 7], "default": 0},
}
"""Sensible ranges; the defaults are ConvexAdam's.

`regularization`: its `lambda_weight`; `grid_spacing`: `grid_sp`, voxels between the points of the
convex search; `half_width`: `disp_hw`, steps that it searches to each side; `iterations`:
`selected_niter`, of Adam; `smoothing`: `selected_smooth`, width of the final averages in voxels.
"""

OPTIONS: dict[str, Any] = {
    "adam_grid_spacing": 2,
    "feature_radius": 1,
    "feature_dilation": 2,
}
"""Values that are not searched, unless a hyperparameter is declared for them.

Its `grid_sp_adam`, `mind_r` and `mind_d`.
"""


def register(
    moving: NDArray[np.float32],
    fixed: NDArray[np.float32],
    values: Mapping[str, Any],
    grid: Grid,
    threads: int,
) -> NDArray[np.float32]:
    """Return the displacement: (3, *shape), in voxels.

    Parameters
    ----------
    moving, fixed
        (*shape), of `grid`.
    values
        Of the hyperparameters of `SPACE`, and of `OPTIONS`; those left out have their defaults.
    grid
        3-D.
    threads
        For torch.
    """
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    torch.set_num_threads(threads)
    found = convex_adam_pt(
        img_fixed=torch.from_numpy(fixed.astype(np.float32)),
        img_moving=torch.from_numpy(moving.astype(np.float32)),
        mind_r=int(values["feature_radius"]),
        mind_d=int(values["feature_dilation"]),
        lambda_weight=float(values["regularization"]),
        grid_sp=int(values["grid_spacing"]),
        disp_hw=int(values["half_width"]),
        selected_niter=int(values["iterations"]),
        selected_smooth=int(values["smoothing"]),
        grid_sp_adam=int(values["adam_grid_spacing"]),
        ic=True,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    # (x, y, z, 3), in voxels of the fixed grid
    return np.moveaxis(found, -1, 0).astype(np.float32)
