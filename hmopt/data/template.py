"""The image that a cohort is aligned to: declared, or chosen."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from hmopt.data.alignment import agreement_after, find_alignment
from hmopt.data.volume import Volume, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_CANDIDATES = 5
_OTHERS = 5


def resolve_template(section: PreprocessingOptions, images: pd.DataFrame) -> Path | None:
    """Give the file of the declared template; None where none is declared or needed.

    Raises
    ------
    DataError
        If it is neither the name of an image nor a file.
    """
    if section.placement == "centre" or section.template is None:
        return None
    if section.template in images.index:
        return Path(str(images.loc[section.template, "image"]))
    path = Path(section.template)
    if not path.is_file():
        raise DataError(
            "preprocessing.template",
            expected="the name of an image of the cohort, or a file",
            got=repr(section.template),
            advice="Correct it or leave it out.",
        )
    return path


def choose_template(images: pd.DataFrame, seed: int = 0, track: Track = silent) -> Path:
    """Give the image to which others align best, by mean normalized mutual information.

    A few candidates are tried, each with the same few others, all drawn by `seed`.
    """
    drawn = np.random.default_rng(seed).permutation(len(images))[: _CANDIDATES + _OTHERS]
    paths = [Path(images["image"].iloc[row]) for row in drawn]
    if len(paths) == 1:
        return paths[0]
    candidates, others = paths[:_CANDIDATES], paths[-_OTHERS:]
    means = []
    for candidate in track(candidates, "Choosing a template", len(candidates)):
        template = read_image(candidate)
        means.append(
            np.mean(
                [_agreement(read_image(other), template) for other in others if other != candidate]
            )
        )
    return candidates[int(np.argmax(means))]


def write_template(
    destination: Path, images: pd.DataFrame, declared: Path | None, track: Track
) -> None:
    """Write a copy of the declared or chosen template, so that later images find it without the cohort."""
    template = read_image(declared or choose_template(images, track=track))
    nibabel.save(nibabel.Nifti1Image(template.data, template.lattice.affine), destination)


def _agreement(image: Volume, template: Volume) -> float:
    return agreement_after(image, template, find_alignment(image, template))
