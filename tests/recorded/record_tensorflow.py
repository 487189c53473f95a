"""Run VoxelMorph's TensorFlow code on small networks and store what it gives.

It needs Python 3.11 with tensorflow-cpu 2.15, voxelmorph 0.2 and neurite 0.2, apart from hmopt's
own environment: `VXM_BACKEND=tensorflow python -m tests.recorded.record_tensorflow [FOLDER]`. With
a folder, it also leaves there the files that `model.save` writes.
"""

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.interop.keras_models import hyper_vxm_dense_tensors, images
from tests.recorded.tensorflow_cases import CASES, HYPERPARAMETERS, OUTPUTS


def load_voxelmorph() -> Any:
    """Import VoxelMorph 0.2, which asks for a function that Python 3.11 no longer has."""
    os.environ["VXM_BACKEND"] = os.environ["NEURITE_BACKEND"] = "tensorflow"
    if not hasattr(inspect, "getargspec"):
        vars(inspect)["getargspec"] = lambda function: inspect.getfullargspec(function)[:4]
    import voxelmorph

    return voxelmorph


def displacement_of(name: str, folder: Path | None) -> np.ndarray:
    """Return the displacement (d, *shape) that VoxelMorph computes."""
    import tensorflow  # type: ignore[import-untyped, unused-ignore]

    config = CASES[name]
    tensorflow.keras.backend.clear_session()
    arguments = {key: value for key, value in config.items() if key != "inshape"}
    network = load_voxelmorph().networks.HyperVxmDense(tuple(config["inshape"]), **arguments)
    tensors = hyper_vxm_dense_tensors(config)
    for weight in network.weights:
        weight.assign(tensors.pop(weight.name.removesuffix(":0")))
    assert not tensors, f"{name}: {list(tensors)} are not of the network"
    if folder is not None:
        network.save(str(folder / f"{name}.h5"))
    moving, fixed = (image[np.newaxis, ..., np.newaxis] for image in images(config["inshape"]))
    hyper = np.array([HYPERPARAMETERS[: config.get("nb_hyp_params", 1)]], dtype=np.float32)
    registration = tensorflow.keras.Model(network.inputs, network.references.pos_flow)
    warp = registration([moving, fixed, hyper]).numpy()
    return np.moveaxis(warp[0], -1, 0)


if __name__ == "__main__":
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    outputs = {name: displacement_of(name, kept) for name in CASES}
    np.savez_compressed(OUTPUTS, **outputs)  # type: ignore[arg-type]
