from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hmopt.data.inspection import Inspection, infer_slices, infer_split, inspect_cohort
from hmopt.data.placement import measure_placement
from hmopt.declaration import CohortOptions
from hmopt.errors import DataError
from tests.data.whole_cohort import read_cohort

WriteCohort = Callable[..., Path]


def look(manifest: Path) -> Inspection:
    options = CohortOptions(manifest=manifest, label_names=manifest.parent / "dseg.tsv")
    return inspect_cohort(read_cohort(options))


def box(
    corner: tuple[int, int, int], side: int = 6, shape: tuple[int, ...] = (24, 24, 24)
) -> np.ndarray:
    data = np.zeros(shape, dtype=np.uint8)
    data[tuple(slice(start, start + side) for start in corner)] = 1
    return data


def test_facts_of_structures_are_those_of_the_files(write_cohort: WriteCohort) -> None:
    found = look(write_cohort(sessions=2, shape=(20, 18, 16)))
    assert found.structures.loc["front"].to_dict() == {"volume_mm3": 48, "voxels": 48, "images": 12}
    assert found.pairs == {"cross": 120, "within": 12}
    assert found.shapes[0].tolist() == [20, 18, 16]
    assert found.roughly_aligned
    assert found.placement.overlap_in_world == 1


def test_overlap_and_distance_are_measured_where_headers_place_images_and_with_centres_brought_together(
    write: Callable[..., Path],
) -> None:
    shifted = np.diag([2.0, 2, 2, 1])
    shifted[0, 3] = 6
    a, b = (
        write("a.nii.gz", box((6, 6, 6)), np.diag([2.0, 2, 2, 1])),
        write("b.nii.gz", box((8, 6, 6)), shifted),
    )
    placement = measure_placement([(a, b)], {"box": (1,)})
    # centred: 2 of 6 voxels apart; in the world: 2 voxels and 6 mm, that is 5 of 6
    assert placement.overlap_centred == pytest.approx(4 / 6)
    assert placement.overlap_in_world == pytest.approx(1 / 6)
    assert placement.distance_centred_mm == pytest.approx(4)
    assert placement.distance_in_world_mm == pytest.approx(10)


def test_images_that_do_not_lie_over_each_other_are_to_be_aligned(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    rows = ["image,label,subject"]
    for number, corner in enumerate(
        [(0, 0, 0), (18, 18, 18), (0, 18, 0), (18, 0, 18), (0, 0, 18), (18, 18, 0)]
    ):
        write(f"{number}.nii.gz", box(corner))
        write(f"label{number}.nii.gz", box(corner))
        rows.append(f"{number}.nii.gz,label{number}.nii.gz,s{number}")
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\tbox\n")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    found = look(tmp_path / "cohort.csv")
    assert found.placement.overlap_in_world < 0.3
    assert found.placement.overlap_aligned > 0.5
    assert 'placement = "affine"' in found.advice


def test_doubtful_files_are_named(tmp_path: Path, write: Callable[..., Path]) -> None:
    flat = box((6, 6, 0), shape=(24, 24, 1))
    empty = np.zeros_like(flat)
    for number, data in enumerate([flat, flat, empty, box((6, 6, 6))]):
        write(f"image{number}.nii.gz", data)
        write(f"label{number}.nii.gz", data)
    rows = [f"image{number}.nii.gz,label{number}.nii.gz,s{number}" for number in range(4)]
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\tbox\n")
    (tmp_path / "cohort.csv").write_text("\n".join(["image,label,subject", *rows]))
    dimensions, labels = look(tmp_path / "cohort.csv").doubts
    assert dimensions.startswith("Dimensions: 1 of 4 images have more than one slice (image3);")
    assert labels == "Labels: the label map of image2 contains none of the structures."

    intensities = np.random.default_rng(0).integers(0, 200, (24, 24, 1), dtype=np.uint8)
    for number in range(4):
        write(f"image{number}.nii.gz", flat)
        write(f"label{number}.nii.gz", intensities)
    names = [f"{value}\tv{value}" for value in range(1, 200)]
    (tmp_path / "dseg.tsv").write_text("\n".join(["index\tname", *names]))
    (swapped,) = look(tmp_path / "cohort.csv").doubts
    assert "may have been swapped" in swapped


def test_few_slices_make_a_2d_cohort_searched_where_most_structures_are(
    write_cohort: WriteCohort,
) -> None:
    found = look(write_cohort(shape=(40, 9, 40)))
    assert found.slice_axis == 1
    slices = infer_slices(found, 1)
    assert slices is not None
    assert slices.axis == 1
    assert slices.indices == [2, 3, 4, 5]
    assert slices.search_indices == [2]


def test_a_split_leaves_subjects_to_each_side_and_searches_those_scanned_twice(
    write_cohort: WriteCohort,
) -> None:
    found = look(write_cohort(subjects=10))
    assert infer_split(found).model_dump() == {"train": 5, "tune": 2, "search": 3, "seed": 0}
    manifest = write_cohort(subjects=10, sessions=2, folder="twice")
    kept = [
        line for line in manifest.read_text().splitlines() if "ses-2" not in line or "sub-4" in line
    ]
    manifest.write_text("\n".join(kept))
    twice = look(manifest)
    search = infer_split(twice).search
    assert isinstance(search, list)
    assert len(search) == 3
    assert "sub-4" in search


def test_a_cohort_too_small_to_split_is_refused(write_cohort: WriteCohort) -> None:
    with pytest.raises(DataError, match="at least 6 subjects"):
        infer_split(look(write_cohort(subjects=5)))
