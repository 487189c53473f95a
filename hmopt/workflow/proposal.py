"""The declaration that is proposed for a cohort, inferred from its data."""

import math
from typing import Any

import pandas as pd

from hmopt.data.inspection import Inspection, infer_slices, infer_split
from hmopt.declaration import CohortOptions, NetworkOptions, SearchOptions, Study, parse_study

Values = dict[str, Any]
Remarks = dict[str, str]

MANY_VOXELS = 2**20
"""A larger 3-D grid trains for days without an accelerator, so that a coarser spacing is proposed."""
MOST_GROUPS = 8
OWN_COLUMNS = ("image", "label", "subject")


def infer_study(name: str, cohort: CohortOptions, found: Inspection) -> tuple[Study, Remarks]:
    """Return the declaration of a study, and by dotted key what its values were inferred from.

    Parameters
    ----------
    name
        What the study is called.
    cohort
        Where its data are, as `study.toml` is to say it.
    found
        The facts of its data.

    Raises
    ------
    DataError
        If there are fewer subjects than a split needs.
    """
    remarks: Remarks = {"name": "The folder's name."}
    images = found.cohort.images
    split = _split(found, remarks)
    pairs = _pairs(images, remarks)
    searched = _count(split["search"])
    values = {
        "name": name,
        "cohort": cohort.model_dump(mode="json", exclude_none=True),
        "preprocessing": _preprocessing(found, remarks),
        "split": split,
        "pairs": pairs,
        "search": _search(images, searched, pairs["tasks"], remarks),
    }
    return parse_study(values), remarks


def _preprocessing(found: Inspection, remarks: Remarks) -> Values:
    axis = found.slice_axis
    kept = [a for a in range(3) if a != axis]
    spacing = _spacing(found, kept, remarks)
    extents = found.extents_mm[kept].tolist()
    voxels = []
    for extent, step in zip(extents, spacing, strict=True):
        voxels.append(math.ceil(round(extent / step, 2)))
    covered = " x ".join(str(count) for count in voxels)
    network = NetworkOptions()
    stride = network.stride * 2 ** (len(network.encoder) - 1)
    remarks["preprocessing.shape"] = (
        f"Images cover at most {covered} voxels; rounded up to multiples of {stride}."
    )
    remarks["preprocessing.placement"] = found.advice
    values: Values = {
        "shape": [stride * math.ceil(count / stride) for count in voxels],
        "spacing_mm": spacing,
        "placement": found.best_placement,
    }
    if axis is not None:
        values.update(_slices(found, axis, remarks))
    return values


def _slices(found: Inspection, axis: int, remarks: Remarks) -> Values:
    slices = infer_slices(found, axis)
    if slices is None:
        return {}
    remarks["preprocessing.slices.axis"] = (
        "Images have few or thick slices along it: 2-D work on each."
    )
    remarks["preprocessing.slices.indices"] = "Those that show structures in most images."
    remarks["preprocessing.slices.search_indices"] = "The one with most structures."
    return {"slices": slices.model_dump()}


def _spacing(found: Inspection, kept: list[int], remarks: Remarks) -> list[float]:
    """Return the median spacing, or a coarser one at which the largest image has no more than `MANY_VOXELS`."""
    spacings = sorted(tuple(spacing) for spacing in found.spacings_mm[:, kept].tolist())
    middle = spacings[len(spacings) // 2]
    voxels = math.prod(found.extents_mm[kept] / middle)
    of_all = "of all images" if found.same_spacing else "of the image in the middle of the cohort"
    if voxels <= MANY_VOXELS:
        remarks["preprocessing.spacing_mm"] = f"The spacing {of_all}."
        return [float(f"{step:.6g}") for step in middle]
    factor = (voxels / MANY_VOXELS) ** (1 / len(kept))
    own = " x ".join(f"{step:g}" for step in middle)
    remarks["preprocessing.spacing_mm"] = (
        f"That {of_all} is {own}; coarser, for a training of hours without a GPU."
    )
    return [_rounded_up(step * factor) for step in middle]


def _rounded_up(length: float) -> float:
    """Return a length rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(length)) - 1)
    return float(f"{math.ceil(length / unit - 1e-9) * unit:.6g}")


def _split(found: Inspection, remarks: Remarks) -> Values:
    split = infer_split(found)
    remarks["split.train"] = f"Of {len(found.subjects)} subjects, about six tenths."
    if isinstance(split.search, list):
        remarks["split.search"] = (
            "Those with several images first: pairs within a subject are searched."
        )
    return split.model_dump()


def _pairs(images: pd.DataFrame, remarks: Remarks) -> Values:
    columns = [str(column) for column in images if str(column).lower() == "modality"]
    same = [column for column in columns if images[column].nunique() > 1]
    if same:
        remarks["pairs.same"] = (
            "The similarity compares intensities, which mean other things in another modality."
        )
    again = int(images.groupby(["subject", *same]).size().max()) > 1
    if again:
        remarks["pairs.tasks"] = "Some subjects have several images."
    return {"tasks": ["cross", "within"] if again else ["cross"], "same": same}


def _count(side: int | list[str]) -> int:
    return side if isinstance(side, int) else len(side)


def _search(images: pd.DataFrame, searched: int, kinds: list[str], remarks: Remarks) -> Values:
    scopes = [["cohort"], ["label"]]
    if len(kinds) > 1:
        scopes += [["task"], ["task", "label"]]
    bins = {}
    for name in images:
        if name in OWN_COLUMNS:
            continue
        column = images[name]
        edges = _bins(column)
        if edges:
            bins[str(name)] = edges
        if edges or 1 < column.nunique() <= MOST_GROUPS:
            scopes.append([str(name)])
    if searched > SearchOptions().min_paired_subjects:
        scopes.append(["subject"])
    else:
        remarks["search.scopes"] = (
            'Too few subjects are searched for a λ of each; ["subject"] would ask for it.'
        )
    return {"scopes": scopes, "bins": bins}


def _bins(column: pd.Series) -> list[float]:
    """Return edges that cut a column of many different numbers into three groups of about equal size."""
    if column.dtype.kind not in "if" or column.nunique() <= MOST_GROUPS:
        return []
    edges = set()
    for share in (1 / 3, 2 / 3):
        quantile = column.quantile(share)
        edges.add(float(f"{quantile:.3g}"))
    return sorted(edges)
