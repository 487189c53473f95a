"""What tells one preparation of a cohort from another."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmopt.data.cohort import find_label_names
from hmopt.data.formats import files_of, follow
from hmopt.data.reference import Reference
from hmopt.declaration import CohortOptions, PreprocessingOptions
from hmopt.files import content_hash, file_hash
from hmopt.progress import Track, silent

VERSION = 1
"""Raised whenever the same declaration begins to mean other arrays."""


def cohort_identity(
    section: CohortOptions,
    preprocessing: PreprocessingOptions,
    images: pd.DataFrame,
    template: Path | None = None,
    track: Track = silent,
    reference: Reference | None = None,
) -> str:
    """Give the hash of all that decides the prepared arrays.

    These are the contents of images and label maps, the merging of labels and the preprocessing. Folders and the
    manifest's other columns are not among them: a cohort may move, and its ages be corrected.

    Parameters
    ----------
    images
        As `list_images` gives them.
    template
        The file of the declared template, if one is declared.
    reference
        What the images are laid out by.
    """
    rows = list(zip(images.index, images["image"], images["label"], strict=True))
    names = find_label_names(section)
    return content_hash(
        {
            "version": VERSION,
            "files": {
                name: [_hash(image), _hash(label)]
                for name, image, label in track(rows, "Looking for changed files", len(rows))
            },
            "names": None if names is None else sorted(names.items()),
            "structures": [[name, sorted(labels)] for name, labels in section.structures.items()],
            "minimum_voxels": section.minimum_voxels,
            "spacing_known": section.spacing_known,
            "preprocessing": _preprocessing(preprocessing, reference),
            "template": None if template is None else file_hash(template),
        }
    )


def _preprocessing(section: PreprocessingOptions, reference: Reference | None) -> dict[str, Any]:
    """Give what decides the arrays; of what older versions knew, exactly as they wrote it.

    What was prepared by an older version is then found again.
    """
    deciding = section.model_dump(exclude={"template", "placement", "background"})
    deciding["align"] = "affine" if section.placement == "affine" else "none"
    if section.background is not None:
        deciding["background"] = section.background
    if section.placement == "header":
        deciding["placement"] = "header"
    if reference is not None and not np.array_equal(reference.axes, np.eye(3)):
        deciding["axes"] = np.round(reference.axes, 6).tolist()
    return deciding


def _hash(path: Path) -> str:
    """Return what stands for the contents of an image, which may be a header and its voxels in two files."""
    hashes = [file_hash(follow(file)) for file in sorted(files_of(path))]
    return hashes[0] if len(hashes) == 1 else content_hash(*hashes)
