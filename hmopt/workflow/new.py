"""`hmopt.new`: from labelled images to a declared study."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hmopt.data.cohort import check_images, list_cohort, read_structures
from hmopt.data.inspection import Inspection, inspect_cohort
from hmopt.data.split import split_subjects
from hmopt.declaration import CohortOptions, Study
from hmopt.declaration.document import write_document
from hmopt.errors import DeclarationError
from hmopt.files import check_outputs, real_place, replacing
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder
from hmopt.workflow.estimate import Estimate, estimate_study
from hmopt.workflow.proposal import infer_study

SHARED = "HMOPT_SHARED"


@dataclass(frozen=True, kw_only=True)
class NewStudy:
    """A study that was declared.

    Parameters
    ----------
    declaration
        The file `study.toml`.
    study
        Its content, paths as they stand there.
    remarks
        What a value was inferred from, by the dotted key.
    found
        The facts of the data.
    subjects
        Numbers of subjects to train, tune and search on.
    estimate
        Roughly the time and disk that the study takes on this machine.
    """

    declaration: Path
    study: Study
    remarks: Mapping[str, str]
    found: Inspection
    subjects: Mapping[str, int]
    estimate: Estimate

    def __str__(self) -> str:
        """Return a line for a person."""
        folder = self.declaration.parent
        return f"Declared: {self.declaration}. Read it through, then: hmopt run {folder}"


def new(
    folder: Path | str,
    *,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    manifest: Path | str | None = None,
    label_names: Path | str | None = None,
    track: Track = silent,
) -> NewStudy:
    """Inspect labelled images and write `study.toml`, a remark at each key that was inferred.

    Parameters
    ----------
    folder
        The study folder, which is made where it is not there.
    images, labels
        Folders of images and of label maps with the same names. Either these two or `manifest`.
    manifest
        A CSV with columns image, label, subject and any others.
    label_names
        `dseg.tsv`, `dataset.json`, or a colour table of FreeSurfer or ITK-SNAP; None: labels are numbered.
    track
        Shows progress.

    Returns
    -------
    NewStudy
        The declaration, and the facts that it was inferred from.

    Raises
    ------
    DeclarationError
        If the folder has a `study.toml` already, or the data are named in both ways or in none.
    DataError
        If an image or label map cannot be used, or there are too few subjects.

    Examples
    --------
    >>> import tempfile
    >>> import hmopt
    >>> from hmopt.data.synthetic import make_cohort
    >>> folder = Path(tempfile.mkdtemp())
    >>> manifest = make_cohort(folder / "data", subjects=6, shape=(24, 24))
    >>> made = hmopt.new(folder / "study", manifest=manifest, label_names=folder / "data" / "dseg.tsv")
    >>> made.study.preprocessing.shape, made.subjects
    ([32, 32], {'train': 2, 'tune': 2, 'search': 2})
    """
    files = StudyFolder(folder)
    destination = files.declaration_file
    if destination.exists():
        raise DeclarationError(
            str(destination),
            expected="no study yet",
            got="one",
            advice="Edit it, or choose another folder.",
        )
    given = {"images": images, "labels": labels, "manifest": manifest, "label_names": label_names}
    paths = {name: Path(path) for name, path in given.items() if path is not None}
    _check_sources(paths)
    check_outputs({"FOLDER": destination}, {f"--{name}": path for name, path in paths.items()})

    absolute = CohortOptions(**{name: real_place(path) for name, path in paths.items()})
    listing = list_cohort(absolute)
    check_images(listing.images, track)
    cohort = read_structures(listing, absolute, track)
    found = inspect_cohort(cohort, track)
    written = {name: written_path(path, files.path) for name, path in paths.items()}
    study, remarks = infer_study(files.path.resolve().name, CohortOptions(**written), found)
    sides = split_subjects(list(found.subjects), study.split)
    made = NewStudy(
        declaration=destination,
        study=study,
        remarks=remarks,
        found=found,
        subjects={side: len(names) for side, names in sides.items()},
        estimate=_estimate(study, found),
    )
    with replacing(destination) as beside:
        beside.write_text(write_document(study, remarks), encoding="utf-8")
    return made


def _check_sources(paths: Mapping[str, Path]) -> None:
    has_images, has_labels = "images" in paths, "labels" in paths
    has_manifest = "manifest" in paths
    both_or_none = has_manifest == (has_images or has_labels)
    if both_or_none or has_images != has_labels:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in paths)
        raise DeclarationError(
            "hmopt new",
            expected="either --images and --labels, or --manifest",
            got=options or "neither",
            advice="Say where the data are.",
        )


def _estimate(study: Study, found: Inspection) -> Estimate:
    slices = study.preprocessing.slices
    items = len(found.scans) * (len(slices.indices) if slices else 1)
    searched = study.split.search
    count = searched if isinstance(searched, int) else len(searched)
    share = count / len(found.subjects)
    possible = {"cross": found.pairs["cross"] * share**2, "within": found.pairs["within"] * share}
    pairs = 0
    for kind in study.pairs.tasks:
        if kind in possible:
            pairs += min(study.pairs.search, round(possible[kind]))
    return estimate_study(study, items, pairs, len(found.cohort.structures))


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
