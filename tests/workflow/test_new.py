from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

from hmopt.data.inspection import inspect_cohort
from hmopt.declaration import CohortOptions, Study
from hmopt.errors import DataError
from hmopt.workflow import infer as infer_module
from hmopt.workflow.new import infer_study
from tests.data.whole_cohort import read_cohort

SHAPE, SPACING_MM = (20, 24, 18), (1.0, 1.0, 1.0)


def write_case(
    folder: Path, name: str, shape: tuple[int, ...], spacing_mm: tuple[float, ...], shift: int
) -> None:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(3 * size // 8 + shift, 5 * size // 8 + shift or 1) for size in shape)] = 1
    affine = np.diag((*spacing_mm, 1.0))
    for kind, data in (("image", labels.astype(np.float32)), ("label", labels)):
        nibabel.save(nibabel.Nifti1Image(data, affine), folder / f"{name}_{kind}.nii")


def infer(
    folder: Path,
    rows: list[dict[str, Any]],
    shape: tuple[int, ...] = SHAPE,
    spacing_mm: tuple[float, ...] = SPACING_MM,
    shifts: tuple[int, ...] = (0,),
) -> tuple[Study, dict[str, str]]:
    """Write a cohort with a case a row, and infer its study."""
    for number in range(len(rows)):
        write_case(folder, str(number), shape, spacing_mm, shifts[number % len(shifts)])
    files = [
        {"image": f"{number}_image.nii", "label": f"{number}_label.nii"}
        for number in range(len(rows))
    ]
    pd.DataFrame([file | row for file, row in zip(files, rows, strict=True)]).to_csv(
        folder / "cohort.csv", index=False
    )
    (folder / "dseg.tsv").write_text("index\tname\n1\tcube\n", encoding="utf-8")
    section = CohortOptions(manifest=folder / "cohort.csv", label_names=folder / "dseg.tsv")
    return infer_study("mine", section, inspect_cohort(read_cohort(section)))


def people(count: int, **columns: list[Any]) -> list[dict[str, Any]]:
    return [
        {"subject": f"s{i}", **{name: values[i] for name, values in columns.items()}}
        for i in range(count)
    ]


def test_the_grid_holds_the_largest_image_and_can_be_halved(tmp_path: Path) -> None:
    preprocessing = infer(tmp_path, people(10))[0].preprocessing
    assert preprocessing.shape == [32, 32, 32]
    assert preprocessing.spacing_mm == [1, 1, 1]
    assert preprocessing.slices is None


def test_few_thick_slices_become_two_dimensional_work_on_those_with_structures(
    tmp_path: Path,
) -> None:
    preprocessing = infer(tmp_path, people(10), shape=(40, 5, 30), spacing_mm=(1, 4, 1))[
        0
    ].preprocessing
    assert preprocessing.slices is not None
    assert (preprocessing.slices.axis, preprocessing.slices.indices) == (1, [1, 2])
    assert preprocessing.slices.search_indices == [1]
    assert preprocessing.shape == [48, 32]


def test_single_planes_need_no_slices(tmp_path: Path) -> None:
    preprocessing = infer(tmp_path, people(10), shape=(40, 30, 1))[0].preprocessing
    assert preprocessing.slices is None
    assert preprocessing.shape == [48, 32]


def test_images_too_large_to_train_on_get_a_coarser_spacing_and_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmopt.workflow.infer.MANY_VOXELS", 20 * 24 * 18 / 8)
    study, remarks = infer(tmp_path, people(10))
    assert study.preprocessing.spacing_mm == [2, 2, 2]
    assert study.preprocessing.shape == [16, 16, 16]
    assert "1 x 1 x 1" in remarks["preprocessing.spacing_mm"]


@pytest.mark.parametrize(("shifts", "placement"), [((0,), "header"), ((-6, -3, 0, 3, 6), "affine")])
def test_images_that_lie_apart_are_to_be_aligned(
    tmp_path: Path, shifts: tuple[int, ...], placement: str
) -> None:
    study, remarks = infer(tmp_path, people(10), shifts=shifts)
    assert study.preprocessing.placement == placement
    assert "by headers" in remarks["preprocessing.placement"]
    assert "centred" in remarks["preprocessing.placement"]


def test_everybody_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    split = infer(tmp_path, people(20))[0].split
    assert (split.train, split.tune, split.search) == (12, 2, 6)


def test_the_few_with_several_images_are_searched(tmp_path: Path) -> None:
    split = infer(tmp_path, [*people(20), *people(3)])[0].split
    assert isinstance(split.search, list)
    assert {"s0", "s1", "s2"} <= set(split.search)
    assert (split.train, split.tune, len(split.search)) == (12, 2, 6)


def test_too_few_subjects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 6 subjects"):
        infer(tmp_path, people(5))


def test_several_images_of_a_person_make_the_task_a_scope(tmp_path: Path) -> None:
    study, _ = infer(tmp_path, [*people(6), *people(6)])
    assert study.pairs.tasks == ["cross", "within"]
    assert ["task"] in study.search.scopes


def test_modalities_are_not_mixed_and_make_no_task_of_their_own(tmp_path: Path) -> None:
    rows = people(6, modality=["T1"] * 6) + people(6, modality=["T2"] * 6)
    study, _ = infer(tmp_path, rows)
    assert study.pairs.same == ["modality"]
    assert study.pairs.tasks == ["cross"]
    assert ["modality"] in study.search.scopes


def test_ages_are_cut_into_three_and_names_of_sites_are_not(tmp_path: Path) -> None:
    rows = people(
        12,
        age=[20 + 5 * i for i in range(12)],
        site=["A", "B"] * 6,
        note=[f"n{i}" for i in range(12)],
    )
    search = infer(tmp_path, rows)[0].search
    assert list(search.bins) == ["age"]
    assert len(search.bins["age"]) == 2
    assert [kinds for kinds in search.scopes if kinds in (["age"], ["site"], ["note"])] == [
        ["age"],
        ["site"],
    ]


def test_the_spacing_is_the_median_along_each_axis() -> None:
    """Of (1, 4), (2, 1) and (3, 3) mm no image has it: it is (2, 3) mm."""
    found: Any = SimpleNamespace(
        spacings_mm=np.array([[1.0, 9.0, 4.0], [2.0, 9.0, 1.0], [3.0, 9.0, 3.0]]),
        extents_mm=np.array([60.0, 9.0, 60.0]),
        same_spacing=False,
    )
    remarks: dict[str, str] = {}
    assert infer_module._spacing(found, [0, 2], remarks) == [2, 3]
    assert remarks["preprocessing.spacing_mm"] == "The median spacing of the images."
