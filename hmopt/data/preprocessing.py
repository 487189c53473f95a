"""Preprocessing of a cohort, done once and kept under a key of the contents."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hmopt.data.arrays import write_arrays
from hmopt.data.cohort import list_images, read_cohort
from hmopt.data.identity import cohort_identity
from hmopt.data.image import PreparedImage, prepare_image
from hmopt.data.layout import check_preprocessing
from hmopt.data.prepared import TEMPLATE, PreparedCohort, open_prepared, seal_arrays
from hmopt.data.reference import find_reference
from hmopt.data.split import split_subjects
from hmopt.data.template import resolve_template, write_template
from hmopt.data.volume import read_lattice
from hmopt.declaration import Study
from hmopt.errors import DeclarationError
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder

__all__ = ["PreparedImage", "prepare", "prepare_image"]


def prepare(study: Study, folder: Path, track: Track = silent) -> PreparedCohort:
    """Give the prepared cohort of a study, from `folder/prepared/` where it is there already.

    Images are read one at a time; what is written appears whole or not at all.

    Parameters
    ----------
    study
        The declaration.
    folder
        The study folder.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If an image, a label map, the manifest, the names or the split cannot be used; nothing is written then.
    DeclarationError
        If the declared preprocessing contradicts itself.
    """
    check_preprocessing(study.preprocessing)
    _check_headers_are_right(study)
    images = list_images(study.cohort)
    split = split_subjects(list(images["subject"]), study.split)
    template = resolve_template(study.preprocessing, images)
    lattices = {str(path): read_lattice(path) for path in images["image"]}
    template_lattice = None if template is None else read_lattice(template)
    reference = find_reference(study.preprocessing, lattices, template_lattice)
    identity = cohort_identity(
        study.cohort, study.preprocessing, images, template, track, reference
    )
    place = StudyFolder(folder).prepared_folder / identity
    if not place.is_dir():
        cohort = read_cohort(study.cohort, track)
        with _appearing(place) as beside:
            if study.preprocessing.placement == "affine":
                write_template(beside / TEMPLATE, cohort.images, template, track)
            write_arrays(beside, study, cohort, reference, track)
            seal_arrays(beside)
    return open_prepared(place, study.preprocessing, images, split)


def _check_headers_are_right(study: Study) -> None:
    if study.preprocessing.placement == "header" and not study.cohort.spacing_known:
        raise DeclarationError(
            "preprocessing.placement",
            expected="centre or affine, because cohort.spacing_known = false says that headers are wrong",
            got="header",
            advice="Correct one of them.",
        )


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """Give a folder to write to; it takes the name `place` when the block ends without an error."""
    beside = place.with_name(f".{place.name}-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        if not place.is_dir():  # another process may have prepared the same meanwhile
            beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if not any(place.parent.iterdir()):
            place.parent.rmdir()
