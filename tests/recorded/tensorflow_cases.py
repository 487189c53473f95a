"""Options of `HyperVxmDense` that VoxelMorph's own code was run with; `record_tensorflow.py` stored what it gave."""

from pathlib import Path
from typing import Any

OUTPUTS = Path(__file__).with_name("tensorflow.npz")

HYPERPARAMETERS = (0.35, 0.8)
"""Values of the first and, where there is one, the second hyperparameter."""

_SMALL = {"nb_hyp_layers": 2, "nb_hyp_units": 8}
_FLAT = {**_SMALL, "inshape": [16, 24], "nb_unet_features": [[4, 6], [6, 6, 4]]}

CASES: dict[str, dict[str, Any]] = {
    "default options": {**_FLAT},
    "3-D": {**_SMALL, "inshape": [8, 12, 16], "nb_unet_features": [[4, 6], [6, 6, 4]]},
    "3-D, full resolution": {
        **_SMALL,
        "inshape": [8, 8, 12],
        "nb_unet_features": [[4, 6], [6, 6, 4]],
        "int_resolution": 1,
    },
    "int_downsize 1": {**_FLAT, "int_downsize": 1},
    "int_downsize 4": {**_FLAT, "int_downsize": 4},
    "svf_resolution 2": {**_FLAT, "svf_resolution": 2},
    "svf_resolution 4": {**_FLAT, "svf_resolution": 4, "int_steps": 4},
    "int_resolution 3": {**_FLAT, "inshape": [24, 24], "svf_resolution": 3, "int_resolution": 3},
    "unet_half_res": {**_FLAT, "unet_half_res": True, "int_steps": 5},
    "no integration": {**_FLAT, "int_steps": 0},
    "two hyperparameters": {**_FLAT, "nb_hyp_params": 2},
    "no dense layer": {**_FLAT, "nb_hyp_layers": 0},
    "features as a number": {
        **_SMALL,
        "inshape": [16, 16],
        "nb_unet_features": 3,
        "nb_unet_levels": 3,
        "unet_feat_mult": 1.5,
        "nb_unet_conv_per_level": 2,
    },
    "two convolutions a level": {
        **_FLAT,
        "nb_unet_features": [[4, 4, 6, 6], [6, 6, 4, 4, 5]],
        "nb_unet_conv_per_level": 2,
    },
    "no last convolutions": {**_FLAT, "nb_unet_features": [[4, 6], [6, 4]]},
    "bidirectional": {**_FLAT, "bidir": True, "reg_field": "warp", "fill_value": 0},
    "another name": {**_FLAT, "name": "mine"},
    "default features": {**_SMALL, "inshape": [16, 32]},
    "odd sides": {**_SMALL, "inshape": [18, 22], "nb_unet_features": [[4], [4, 4]]},
}
