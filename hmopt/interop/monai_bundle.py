"""A baked network as a MONAI bundle: configuration, program, weights, script and page."""

import importlib.metadata
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

import hmopt
from hmopt.data.reference import Reference
from hmopt.errors import CheckpointError, sides_text
from hmopt.files import appearing
from hmopt.interop import bundle_script
from hmopt.interop.bake import AXES, Baked, write_torch

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
PACKAGES = ("nibabel", "scipy", "fire")
"""What the bundle needs beside MONAI, torch and NumPy."""


def write_bundle(baked: Baked, path: Path) -> None:
    """Write a bundle that `python -m monai.bundle run` runs on two NIfTI files.

    The folder has `configs/metadata.json`, `configs/inference.json`, `models/model.pt2` (the
    program), `models/model.pt` (its weights), `scripts/registration.py` and `docs/README.md`.

    Parameters
    ----------
    baked
        The network.
    path
        The folder; it appears whole or not at all.

    Raises
    ------
    CheckpointError
        If the network cannot be exported, or was trained on images with axes of their own.

    References
    ----------
    MONAI Bundle Specification, https://docs.monai.io/en/stable/mb_specification.html
    """
    _check_axes(baked)
    with appearing(path) as beside:
        for name in ("configs", "models", "scripts", "docs"):
            (beside / name).mkdir()
        write_torch(baked, beside / "models" / "model.pt2")
        write_torch(baked, beside / "models" / "model.pt")
        _write_json(beside / "configs" / "metadata.json", metadata(baked))
        _write_json(beside / "configs" / "inference.json", inference(baked))
        (beside / "docs" / "README.md").write_text(page(baked), encoding="utf-8")
        scripts = beside / "scripts"
        (scripts / "__init__.py").touch()
        shutil.copyfile(bundle_script.__file__, scripts / "registration.py")


def metadata(baked: Baked) -> dict[str, Any]:
    """Return `metadata.json`: what the bundle is, and what its network takes and returns."""
    facts = baked.header.get("baked", {})
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    d = len(baked.shape)
    value_range: list[float] = [] if baked.preprocessing.normalization == "zscore" else [0, 1]
    image = _tensor(baked, channels=["image"], value_range=value_range)
    displacement = _tensor(baked, channels=list(AXES[:d]), value_range=[])
    displacement["format"] = "raw"
    return {
        "schema": SCHEMA,
        "name": f"registration_{facts.get('study', 'network')}",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"baked by hmopt {hmopt.__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": versions,
        "task": "Deformable image registration",
        "description": _description(baked),
        "authors": "see the study that the network was trained in",
        "copyright": "that of whoever trained the network",
        "intended_use": "Research. Not for diagnosis.",
        "data_type": "nibabel",
        "network_data_format": {
            "inputs": {"moving": dict(image), "fixed": dict(image)},
            "outputs": {"displacement": displacement, "moved": dict(image)},
        },
        "hmopt": baked.full_header(),
    }


def _check_axes(baked: Baked) -> None:
    """Refuse a network of a cohort whose axes lie oblique to those of the world: the script knows the latter alone."""
    reference = Reference.from_record(baked.header.get("reference"))
    if not np.allclose(reference.axes, np.eye(3)):
        raise CheckpointError(
            "--format",
            expected="a format without preparation of images",
            got="monai-bundle, of a network for images that lie oblique to the axes of the world",
            advice="Choose torch, onnx or safetensors, and prepare the images as its header says.",
        )


def inference(baked: Baked) -> dict[str, Any]:
    """Return `inference.json`: how two files become a moved image and a displacement."""
    keys = ["moving", "fixed"]
    options = baked.preprocessing
    place: dict[str, Any] = {
        "_target_": "scripts.registration.PlaceOnGridd",
        "keys": keys,
        "shape": list(baked.shape),
        "spacing_mm": baked.spacing_mm,
        "normalization": options.normalization,
        "background": options.background,
    }
    if options.slices is not None:
        place["slice_axis"] = options.slices.axis
        place["slice_index"] = "@slice"
    lattice = _lattice(baked)
    if lattice is not None:
        place["lattice"] = dict(lattice)
    content: dict[str, Any] = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "moving": "moving.nii.gz",
        "fixed": "fixed.nii.gz",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.export.load(@bundle_root + '/models/model.pt2').module()",
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": keys, "reader": "NibabelReader"},
                {"_target_": "EnsureChannelFirstd", "keys": keys, "channel_dim": "no_channel"},
                place,
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": [{"moving": "@moving", "fixed": "@fixed"}],
            "transform": "@preprocessing",
        },
        "registration": {
            "_target_": "scripts.registration.Registration",
            "network": "@network",
            "dataset": "@dataset",
            "device": "@device",
            "output_dir": "@output_dir",
        },
        "initialize": [],
        "run": ["$@registration.run()"],
    }
    if options.slices is not None:
        content["slice"] = options.slices.indices[0]
    return content


def page(baked: Baked) -> str:
    """Return `README.md`: what the network is, how it is run, and what the bundle cannot do."""
    options = baked.preprocessing
    spacing = baked.spacing_mm
    at = "each image's own spacing" if spacing is None else f"{sides_text(spacing)} mm"
    values = ", ".join(f"{name} {value:g}" for name, value in baked.setting.items())
    facts = baked.header.get("baked", {})
    lines = [
        "# Deformable image registration",
        "",
        _description(baked),
        "",
        "## Run",
        "",
        "```sh",
        "python -m monai.bundle run --config_file configs/inference.json \\",
        "    --moving moving.nii.gz --fixed fixed.nii.gz --output_dir out",
        "```",
        "",
        "in this folder, or anywhere with `--bundle_root` and the path of the configuration. It",
        "writes `moved.nii.gz`, the moving image on the grid of the fixed one, and",
        "`displacement.nii.gz`, which ITK and ANTs read. hmopt is not needed; MONAI, torch, nibabel,",
        "SciPy and fire are.",
        "",
        "## How images are prepared",
        "",
        f"- Grid: {sides_text(baked.shape)} voxels in RAS+ order, at {at}.",
        f"- Normalization: {options.normalization}, for each image.",
        f"- Placement in training: {options.placement}.",
        *_limits(baked),
        "",
        "## Facts",
        "",
        f"- Setting: {values or 'none'}.",
    ]
    lines += _fact_lines(facts)
    lines += [
        f"- Written by hmopt {hmopt.__version__}. `configs/metadata.json` has all, under `hmopt`.",
        "- Licence: that of whoever trained the network, and of the images that it was trained on.",
        "",
    ]
    return "\n".join(lines)


def _fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return how the setting was found, a line for each fact that is known."""
    titles = {
        "study": "Study",
        "scope": "Best setting of",
        "metric": "By",
        "interval_95": "95 % interval",
        "subjects": "Subjects of the search",
        "folding": "Share of folded voxels",
        "searched_with_refinement": "Iterations that refined each registration of the search, not of this network",
        "model": "Hash of the amortized model",
    }
    lines = []
    for key, title in titles.items():
        value = facts.get(key)
        if key == "interval_95" and value:
            ranges = [f"{name} {low:g} to {high:g}" for name, (low, high) in value.items()]
            value = ", ".join(ranges)
        if isinstance(value, float):
            value = f"{value:.3g}"
        if value is not None:
            lines.append(f"- {title}: {value}.")
    return lines


def _limits(baked: Baked) -> list[str]:
    """Return what of the preparation the bundle does not do, a line each."""
    options = baked.preprocessing
    lines = []
    if options.placement == "affine":
        lines.append(
            "- **Not in this bundle**: the affine alignment to a template. Align both images first; "
            "here they are laid centre on centre."
        )
    if options.placement == "header" and _lattice(baked) is None:
        lines.append(
            "- **Not in this bundle**: placement by headers. Images are laid centre on centre."
        )
    if options.slices is not None:
        lines.append(
            "- One slice is registered: `--slice` chooses which; it is the same of both images."
        )
    return lines


def _lattice(baked: Baked) -> Mapping[str, Any] | None:
    """Return the lattice that volumes are placed on by their headers; None: each image's own."""
    is_volume = len(baked.shape) == 3
    if baked.preprocessing.placement != "header" or not is_volume:
        return None
    lattice: Mapping[str, Any] | None = baked.header.get("reference", {}).get("lattice")
    return lattice


def _description(baked: Baked) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in baked.setting.items())
    shape = sides_text(baked.shape)
    return (
        f"A network that registers a moving to a fixed image of {shape} voxels by a smooth "
        f"deformation, baked from an amortized model at {values or 'its only setting'}."
    )


def _tensor(baked: Baked, channels: list[str], value_range: list[float]) -> dict[str, Any]:
    sides: list[Any] = list(baked.shape)
    if baked.stride is not None:
        sides = [f"{baked.stride}*n"] * len(baked.shape)
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": len(channels),
        "spatial_shape": sides,
        "dtype": "float32",
        "value_range": value_range,
        "is_patch_data": False,
        "channel_def": {str(place): name for place, name in enumerate(channels)},
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=4)
    path.write_text(f"{text}\n", encoding="utf-8")
