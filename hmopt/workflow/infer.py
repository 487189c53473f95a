"""What a new study declares, inferred from the facts of its images, whatever its model is."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmopt.data.inspection import Inspection, infer_slices
from hmopt.declaration import CohortOptions, NetworkOptions, SearchOptions, Study
from hmopt.errors import DataError, sides_text
from hmopt.files import real_place
from hmopt.progress import Track

SHARED = "HMOPT_SHARED"
"""Environment variable that may name a folder with data."""
Values = dict[str, Any]
Remarks = dict[str, str]

MANY_VOXELS = 2**20
"""A larger 3-D grid trains for days without an accelerator, so that a coarser spacing is proposed."""
MOST_GROUPS = 8
NO_GROUPS = ("image", "label", "subject", "points", "cohort")
"""Columns that are no groups of images; a scope called `cohort` is all of them."""
FEWEST_SUBJECTS_OF_PAIRS = 2
"""Subjects that a search needs at least: its pairs are of two."""


@dataclass(frozen=True, kw_only=True)
class AskedSlices:
    """Slices of volumes that a user asks for.

    Parameters
    ----------
    axis
        They are perpendicular to it: 0, 1 or 2 for right, anterior and superior.
    indices
        Counted from its lower end; empty: those that show structures in most images.
    """

    axis: int
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """A declaration that was inferred.

    Parameters
    ----------
    study
        The declaration, paths as it is to hold them.
    remarks
        What a value was inferred from, by the dotted key.
    warnings
        What is doubtful, one sentence each.
    """

    study: Study
    remarks: Remarks
    warnings: tuple[str, ...] = ()


class NewModel(ABC):
    """Where the model of a new study comes from, and what that decides of the declaration.

    To add a source, derive from this class and let `choose_model` return it.
    """

    @property
    def inputs(self) -> Mapping[str, Path]:
        """Files and folders that are read, by option; nothing is written over them."""
        return {}

    @abstractmethod
    def infer(
        self,
        name: str,
        cohort: CohortOptions,
        found: Inspection,
        folder: Path,
        track: Track,
        slices: AskedSlices | None = None,
    ) -> Inferred:
        """Return the declaration of a study of this model.

        Parameters
        ----------
        name
            What the study is called.
        cohort
            Where its data are, as `study.toml` is to say it.
        found
            The facts of its data.
        folder
            The study folder.
        track
            Shows progress.
        slices
            Those that the user asks for.
        """


def infer_preprocessing(
    found: Inspection, remarks: Remarks, asked: AskedSlices | None = None
) -> Values:
    """Return `[preprocessing]`: grid, spacing, placement and slices that images, or their user, ask for."""
    axis = found.slice_axis if asked is None else asked.axis
    kept = [a for a in range(3) if a != axis]
    spacing = _spacing(found, kept, remarks)
    extents = found.extents_mm[kept].tolist()
    voxels = []
    for extent, step in zip(extents, spacing, strict=True):
        voxels.append(math.ceil(round(extent / step, 2)))
    covered = sides_text(voxels)
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
        placement = values["placement"]
        reason = (
            "The images have few or thick slices along this axis: slices are registered in 2-D."
        )
        values.update(slices_across(found, axis, placement, asked, remarks, reason))
    return values


def slices_across(
    found: Inspection,
    axis: int,
    placement: str,
    asked: AskedSlices | None,
    remarks: Remarks,
    reason: str,
) -> Values:
    """Return `[preprocessing.slices]` across an axis, or nothing for images of one slice.

    Parameters
    ----------
    found
        The facts of the data.
    axis
        Slices are perpendicular to it.
    placement
        How images are placed, which decides what an index counts.
    asked
        Slices that the user asks for.
    remarks
        Are told where the values are from.
    reason
        Why slices are taken across this axis, unless they are asked for.

    Raises
    ------
    DataError
        If not all images have the slices that are asked for, or these show no structure.
    """
    indices = None if asked is None or not asked.indices else asked.indices
    slices = infer_slices(found, axis, placement, indices)
    if slices is None:
        return {}
    remarks["preprocessing.slices.axis"] = reason if asked is None else "Given by --slices."
    remarks["preprocessing.slices.indices"] = (
        "Slices that show structures in most images." if indices is None else "Given by --slices."
    )
    remarks["preprocessing.slices.search_indices"] = "The slice with the most structures."
    return {"slices": slices.model_dump()}


def _spacing(found: Inspection, kept: list[int], remarks: Remarks) -> list[float]:
    """Return the median spacing along each axis, or a coarser one.

    At the coarser one the largest image has no more than `MANY_VOXELS`.
    """
    middle = np.median(found.spacings_mm[:, kept], axis=0).tolist()
    voxels = math.prod(found.extents_mm[kept] / middle)
    which = "spacing of all images" if found.same_spacing else "median spacing of the images"
    if voxels <= MANY_VOXELS:
        remarks["preprocessing.spacing_mm"] = f"The {which}."
        return [float(f"{step:.6g}") for step in middle]
    factor = (voxels / MANY_VOXELS) ** (1 / len(kept))
    own = sides_text(middle)
    remarks["preprocessing.spacing_mm"] = (
        f"The {which} is {own}; a coarser one keeps training to hours without a GPU."
    )
    return [_rounded_up(step * factor) for step in middle]


def _rounded_up(length: float) -> float:
    """Return a length rounded up to two digits."""
    first_digit = math.floor(math.log10(length))
    unit = 10.0 ** (first_digit - 1)
    units = math.ceil(length / unit - 1e-9)
    rounded = units * unit
    return float(f"{rounded:.6g}")


def infer_pairs(images: pd.DataFrame, remarks: Remarks) -> Values:
    """Return `[pairs]`: which tasks the images have, and which columns must be equal in a pair."""
    columns = [str(column) for column in images if str(column).lower() == "modality"]
    same = [column for column in columns if images[column].nunique() > 1]
    if same:
        remarks["pairs.same"] = (
            "The similarity compares intensities, which are not comparable between modalities."
        )
    again = int(images.groupby(["subject", *same]).size().max()) > 1
    if again:
        remarks["pairs.tasks"] = "Some subjects have several images."
    return {"tasks": ["cross", "within"] if again else ["cross"], "same": same}


def subject_count(side: int | list[str]) -> int:
    """Return how many subjects a side of the split has, given by number or by names."""
    return side if isinstance(side, int) else len(side)


def infer_search(images: pd.DataFrame, searched: int, kinds: list[str], remarks: Remarks) -> Values:
    """Return `[search]`: scopes of the tasks, labels and columns that images have."""
    scopes = [["cohort"], ["label"]]
    if len(kinds) > 1:
        scopes += [["task"], ["task", "label"]]
    bins = {}
    for name in images:
        if name in NO_GROUPS:
            continue
        column = images[name]
        edges = _bins(column)
        if edges:
            bins[str(name)] = edges
        if edges or 1 < column.nunique() <= MOST_GROUPS:
            scopes.append([str(name)])
    if "cross" not in kinds:
        return {"scopes": scopes, "bins": bins}
    if searched > SearchOptions().min_paired_subjects:
        scopes.append(["subject"])
    else:
        remarks["search.scopes"] = (
            'The search has too few subjects for a λ per subject; add ["subject"] to search it nevertheless.'
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


def written_path(path: Path, folder: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return a path as `study.toml` holds it, so that a study folder can be moved.

    Parameters
    ----------
    path
        Of a file or folder with data.
    folder
        The study folder.
    environment
        Where `HMOPT_SHARED` may name a folder with data.

    Returns
    -------
    Path
        Relative where it lies in the study folder, below `${HMOPT_SHARED}` where it lies there, else absolute.

    Examples
    --------
    >>> written_path(Path("/data/brains/cohort.csv"), Path("/mine"), {"HMOPT_SHARED": "/data"}).as_posix()
    '${HMOPT_SHARED}/brains/cohort.csv'
    >>> written_path(Path("/mine/data/cohort.csv"), Path("/mine"), {}).as_posix()
    'data/cohort.csv'
    """
    absolute = real_place(path)
    own = folder.resolve()
    if absolute.is_relative_to(own):
        return absolute.relative_to(own)
    shared = environment.get(SHARED)
    if shared:
        root = Path(shared).resolve()
        if absolute.is_relative_to(root):
            return Path(f"${{{SHARED}}}") / absolute.relative_to(root)
    return absolute


def written_model_path(path: Path, folder: Path) -> Path:
    """Return the place of another model as `study.toml` holds it.

    Parameters
    ----------
    path
        Of a study folder, a published folder or a model file.
    folder
        The study folder.

    Returns
    -------
    Path
        Relative where it lies below the folder that the study folder is in, or both lie below the working directory,
        so that they can be moved together; otherwise as `written_path` returns it.

    Examples
    --------
    >>> written_model_path(Path("/me/studies/hearts"), Path("/me/studies/other-site")).as_posix()
    '../hearts'
    """
    place = real_place(path)
    own = folder.resolve()
    for shared in (own.parent, Path.cwd()):
        is_root = shared == Path(shared.anchor)
        if not is_root and place.is_relative_to(shared) and own.is_relative_to(shared):
            return Path(os.path.relpath(place, own))
    return written_path(path, folder)


def infer_untrained(
    name: str,
    cohort: CohortOptions,
    found: Inspection,
    slices: AskedSlices | None,
    remarks: Remarks,
    pairs: int,
) -> Values:
    """Return the tables of a study that trains nothing and searches on all subjects.

    Parameters
    ----------
    name
        Of the study.
    cohort
        Its `[cohort]`.
    found
        What was found in it.
    slices
        Slices that are asked for.
    remarks
        By key: why its value was chosen; what is inferred here is added.
    pairs
        Pairs to search on.

    Raises
    ------
    DataError
        If there are fewer than two subjects.
    """
    subjects = len(found.subjects)
    if subjects < FEWEST_SUBJECTS_OF_PAIRS:
        raise DataError(
            "subjects",
            expected="at least two",
            got=subjects,
            advice="Add images of further subjects.",
        )
    images = found.cohort.images
    remarks["name"] = "Name of the folder."
    inferred = infer_pairs(images, remarks)
    preprocessing = infer_preprocessing(found, remarks, slices)
    remarks.setdefault("preprocessing.placement", found.advice)
    return {
        "name": name,
        "cohort": cohort.model_dump(mode="json", exclude_none=True),
        "preprocessing": preprocessing,
        "split": {"train": 0, "tune": 0, "search": subjects},
        "pairs": {**inferred, "search": pairs},
        "search": infer_search(images, subjects, inferred["tasks"], remarks),
    }
