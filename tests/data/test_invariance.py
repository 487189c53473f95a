"""What must not matter: order of rows, names of subjects, orientation of files."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from hmopt.data.pairs import draw_pairs, possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import Study, parse_study

SHAPE = (9, 8, 7)
SUBJECTS = ["a", "b", "c", "d", "e"]
SETS = {"train": 1, "tune": 1, "search": 3}
FEW = settings(max_examples=8, deadline=None)


@cache
def volumes() -> list[tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]]:
    """Two images with label maps of each subject, on oblique voxels of 1 x 2 x 1.5 mm."""
    affine = np.diag([1.0, 2.0, 1.5, 1.0])
    affine[0, 1] = 0.2
    made = []
    for seed in range(2 * len(SUBJECTS)):
        rng = np.random.default_rng(seed)
        image = nibabel.Nifti1Image(rng.random(SHAPE).astype(np.float32), affine)
        labels = nibabel.Nifti1Image(rng.integers(0, 3, SHAPE).astype(np.uint8), affine)
        made.append((image, labels))
    return made


def write(
    folder: Path,
    order: Sequence[int],
    subjects: Sequence[str] = SUBJECTS,
    axes: Sequence[str] = ("RAS",),
) -> Path:
    """Write the volumes, on some axes in turn, and a manifest whose rows stand in some order."""
    rows = []
    for number in order:
        row: dict[str, object] = {"subject": subjects[number // 2], "age": 20 + number // 2}
        for kind, volume in zip(("image", "label"), volumes()[number], strict=True):
            wanted = axcodes2ornt(axes[number % len(axes)])
            turned = volume.as_reoriented(ornt_transform(io_orientation(volume.affine), wanted))
            row[kind] = f"{kind}-{number}.nii"
            nibabel.save(turned, folder / f"{kind}-{number}.nii")
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


def declare(manifest: Path, split: dict[str, object]) -> Study:
    structures = {"one": ["label 1"], "two": ["label 2"]}
    return parse_study(
        {
            "name": "x",
            "cohort": {"manifest": str(manifest), "structures": structures},
            "preprocessing": {"shape": [8, 8, 8], "spacing_mm": [1.0, 2.0, 1.0]},
            "split": split,
            "pairs": {"tasks": ["cross", "within"], "search": 7},
        }
    )


def held(cohort: PreparedCohort) -> dict[str, tuple[bytes, bytes]]:
    """Return the voxels of every image and label map."""
    return {
        name: (cohort.image(name).tobytes(), cohort.label_map(name).tobytes())
        for name in sorted(cohort.images.index)
    }


def possible(study: Study, cohort: PreparedCohort) -> set[str]:
    return {pair.id for pair in possible_pairs(cohort, study.pairs, "search")}


ORDER = list(range(2 * len(SUBJECTS)))


@cache
def expected() -> tuple[dict[str, tuple[bytes, bytes]], dict[str, str], set[str], list[str]]:
    """Return voxels, sets, possible pairs and drawn pairs of the cohort as it is."""
    with TemporaryDirectory() as folder:
        study = declare(write(Path(folder), ORDER), dict(SETS))
        cohort = prepare(study, Path(folder))
        drawn = [pair.id for pair in draw_pairs(cohort, study.pairs, "search")]
        return held(cohort), dict(cohort.images["split"]), possible(study, cohort), drawn


@FEW
@given(order=st.permutations(ORDER))
def test_the_order_of_the_rows_changes_nothing(order: list[int]) -> None:
    with TemporaryDirectory() as folder:
        study = declare(write(Path(folder), order), dict(SETS))
        cohort = prepare(study, Path(folder))
        assert held(cohort) == expected()[0]
        assert dict(cohort.images["split"]) == expected()[1]
        assert possible(study, cohort) == expected()[2]


@FEW
@given(
    names=st.lists(
        st.text("abcxyz0189-. é", min_size=1, max_size=6).map(lambda text: f"s{text}s"),
        min_size=len(SUBJECTS),
        max_size=len(SUBJECTS),
        unique=True,
    )
)
def test_the_names_of_the_subjects_change_nothing(names: list[str]) -> None:
    renamed = dict(zip(SUBJECTS, names, strict=True))
    sets: dict[str, list[str]] = {"train": [], "tune": [], "search": []}
    for image, side in expected()[1].items():
        subject = renamed[SUBJECTS[int(image.removeprefix("image-")) // 2]]
        if subject not in sets[side]:
            sets[side].append(subject)
    with TemporaryDirectory() as folder:
        study = declare(write(Path(folder), ORDER, names), dict(sets))
        cohort = prepare(study, Path(folder))
        assert held(cohort) == expected()[0]
        drawn = [pair.id for pair in draw_pairs(cohort, study.pairs, "search")]
        assert drawn == expected()[3]


CODES = ["".join(code) for axes in permutations(("RL", "AP", "SI")) for code in product(*axes)]


@FEW
@given(axes=st.lists(st.sampled_from(CODES), min_size=1, max_size=4))
def test_the_orientation_of_the_files_changes_nothing(axes: list[str]) -> None:
    with TemporaryDirectory() as folder:
        study = declare(write(Path(folder), ORDER, axes=axes), dict(SETS))
        cohort = prepare(study, Path(folder))
        voxels, sets, _, drawn = expected()
        for name, (image, label_map) in voxels.items():
            before = np.frombuffer(image, np.float32)
            np.testing.assert_allclose(cohort.image(name).ravel(), before, atol=1e-5)
            assert cohort.label_map(name).tobytes() == label_map
        assert dict(cohort.images["split"]) == sets
        assert [pair.id for pair in draw_pairs(cohort, study.pairs, "search")] == drawn
