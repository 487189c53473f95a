"""What is doubtful about a model on a new cohort: its images beside those that the model was trained on."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data.alignment import resolve_template, write_template
from hmopt.data.cohort import Cohort
from hmopt.data.facts import (
    CohortFacts,
    Overlaps,
    Sizes,
    measure_facts,
    median_distance,
    pairs_by_task,
)
from hmopt.data.prepared import TEMPLATE, PreparedCohort, open_prepared
from hmopt.data.preprocessing import write_arrays
from hmopt.data.reference import find_reference
from hmopt.data.volume import read_lattice
from hmopt.declaration import Study
from hmopt.progress import Track

SAMPLE, SAMPLE_ALIGNED = 24, 6
"""Images of a new cohort that are prepared to look at them; aligning one takes seconds."""
_NAMED = 3
"""Structures that a sentence names."""

OTHER_CONTRAST = 2.5
"""How many times as far as a typical training image from the mean of these a typical new one may be.

Another half of one cohort: 1.1. Hearts of another site: 1.8. T1 brains of other resolution and field
of view: 2.6, below the next limit. Inverted, T2-like and CT-like contrast: from 2.7 upwards."""
SLIGHT_CONTRAST = 0.05
"""Distance that is never told, as a share of the training images' range of intensities."""
COARSER = 1.25
"""How much coarser than training images new ones may be without a word."""
OTHER_SIZE = 1.25
"""Ratio of median sizes that is never told, even where training images vary less."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A sample of a new cohort beside the training images.

    Parameters
    ----------
    facts
        Of the sample, prepared as the model asks.
    distance
        Distance of a typical image to the intensities of the training images.
    """

    facts: CohortFacts
    distance: float


def look_at(
    study: Study, cohort: Cohort, trained: CohortFacts, folder: Path, track: Track
) -> Looked:
    """Prepare a sample of a new cohort in a folder that is removed, and measure it.

    Parameters
    ----------
    study
        How the cohort is to be prepared, paths absolute.
    cohort
        Its images and structures.
    trained
        Facts of the training images.
    folder
        The study folder.
    track
        Shows progress.

    Raises
    ------
    DataError
        If an image cannot be prepared.
    """
    options = study.preprocessing
    most = SAMPLE_ALIGNED if options.placement == "affine" else SAMPLE
    sample = _sample(cohort.images, most)
    template = resolve_template(options, cohort.images, folder)
    lattices = {str(path): read_lattice(path) for path in cohort.images["image"]}
    reference = find_reference(
        options, lattices, None if template is None else read_lattice(template)
    )
    everybody = {"search": sorted(set(sample["subject"]))}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if options.placement == "affine":
            write_template(
                place / TEMPLATE,
                cohort.images,
                template,
                options.background,
                reference.axes,
                track,
            )
        write_arrays(place, study, replace(cohort, images=sample), reference, track)
        prepared = open_prepared(place, options, sample, everybody)
        items = _searched_items(prepared)
        facts = measure_facts(prepared, items, pairs_by_task(prepared, study, "search"))
        distance = median_distance(prepared, items, trained.intensities)
    return Looked(facts=facts, distance=distance)


def _sample(images: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return all images of some subjects, evenly spread, about so many images together."""
    subjects = sorted(set(images["subject"]))
    each = len(images) / len(subjects)
    wanted = max(2, round(most / each))
    if wanted >= len(subjects):
        return images
    places = np.linspace(0, len(subjects) - 1, wanted).round().astype(int)
    chosen = {subjects[place] for place in places}
    return images[images["subject"].isin(chosen)]


def _searched_items(cohort: PreparedCohort) -> list[str]:
    """Return the items that λ is searched on: all, or those of the slices to search."""
    items = cohort.images
    if cohort.search_slices:
        items = items[items["slice"].isin(cohort.search_slices)]
    return [str(name) for name in items.index]


def find_doubts(trained: CohortFacts, new: Looked) -> list[str]:
    """Return what is doubtful about a model on a cohort, one sentence each.

    Parameters
    ----------
    trained
        Facts of the training images.
    new
        The new cohort.
    """
    return [
        *_of_spacing(trained, new.facts),
        *_of_contrast(trained, new.distance),
        *_of_modality(trained, new.facts),
        *_of_structures(trained, new.facts),
        *_of_sizes(trained.sizes, new.facts.sizes),
        *_of_overlap(trained, new.facts),
    ]


def _of_spacing(trained: CohortFacts, new: CohortFacts) -> list[str]:
    """Compare how coarse the files are beside the prepared grid.

    With s voxels of the files to a prepared voxel, files are coarser than the grid by 1 / s. Finer
    ones are smoothed and lose nothing that the model saw.
    """
    if len(trained.sampling) != len(new.sampling):
        return []
    in_training = np.maximum(1.0, 1 / np.array(trained.sampling))
    here = np.maximum(1.0, 1 / np.array(new.sampling))
    ratio = float((here / in_training).max())
    if ratio <= COARSER:
        return []
    return [
        f"Spacing: the images are up to {ratio:.3g} times as coarse as the training images; fine detail that the "
        "model uses is missing."
    ]


def _of_contrast(trained: CohortFacts, distance: float) -> list[str]:
    span = trained.intensities[-1] - trained.intensities[0]
    usual = trained.intensity_distance
    if distance <= max(OTHER_CONTRAST * usual, SLIGHT_CONTRAST * span):
        return []
    times = (
        ""
        if not usual
        else f", {distance / usual:.2g} times the typical distance of training images to their mean"
    )
    return [
        f"Contrast: the distribution of intensities differs from that of the training images by {distance:.3f} "
        f"(1-Wasserstein){times}. The images may have another modality, inverted contrast, or another field of "
        "view."
    ]


def _of_modality(trained: CohortFacts, new: CohortFacts) -> list[str]:
    unknown = [name for name in new.modalities if name not in trained.modalities]
    if not trained.modalities or not unknown:
        return []
    return [
        f"Modality: {', '.join(unknown)} was not in the training set ({', '.join(trained.modalities)})."
    ]


def _of_structures(trained: CohortFacts, new: CohortFacts) -> list[str]:
    if not trained.sizes or set(trained.sizes) & set(new.sizes):
        return []
    return [
        (
            "Structures: no structure has the same name as in the training cohort, so sizes and overlap were not "
            "compared."
        )
    ]


def _of_sizes(trained: Mapping[str, Sizes], new: Mapping[str, Sizes]) -> list[str]:
    """Compare the median sizes of structures of the same name with the range in training."""
    found = []
    for name, size in new.items():
        if name not in trained:
            continue
        usual = trained[name]
        ratio = size.median / usual.median
        is_slight = 1 / OTHER_SIZE <= ratio <= OTHER_SIZE
        if is_slight or usual.low <= size.median <= usual.high:
            continue
        found.append(
            f"{name} {size.median:.0f} voxels instead of {usual.median:.0f} "
            f"({usual.low:.0f} to {usual.high:.0f})"
        )
    if not found:
        return []
    return [
        f"Size: structures differ in size from training: {_first_of(found)}. Check spacing and units."
    ]


def _of_overlap(trained: CohortFacts, new: CohortFacts) -> list[str]:
    """Compare the overlap before registration with the lowest tenth of the pairs in training."""
    sentences = []
    for task, overlaps in new.overlaps.items():
        seen = trained.overlaps.get(task)
        if seen is None:
            known = ", ".join(trained.tasks)
            if known:
                sentences.append(
                    f"Pairs: the model was not trained on {task} pairs, but on {known} pairs."
                )
            continue
        sentences += _of_task(task, seen, overlaps)
    return sentences


def _of_task(task: str, seen: Mapping[str, Overlaps], now: Mapping[str, Overlaps]) -> list[str]:
    shared = [name for name in now if name in seen]
    if not shared:
        return []
    mean = float(np.mean([now[name].mean for name in shared]))
    usual = float(np.mean([seen[name].mean for name in shared]))
    low = float(np.mean([seen[name].low for name in shared]))
    if mean >= low:
        return []
    return [
        f"Overlap: the mean Dice of {task} pairs before registration is {mean:.2f}, compared with {usual:.2f} in "
        f"training ({low:.2f} or more for nine tenths of the pairs). Align the images first, or expect lower "
        "accuracy."
    ]


def _first_of(texts: Sequence[str]) -> str:
    shown = "; ".join(texts[:_NAMED])
    hidden = len(texts) - _NAMED
    return f"{shown}; and {hidden} more" if hidden > 0 else shown
