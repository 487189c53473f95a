import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
import pytest

from hmopt.data import preprocessing
from hmopt.data.alignment import Alignment
from hmopt.data.image import find_place, resample_image, resample_labels
from hmopt.data.preprocessing import prepare
from hmopt.data.reference import Reference
from hmopt.data.structures import Structures
from hmopt.data.volume import read_image
from hmopt.declaration import PreprocessingOptions, Study, parse_study
from hmopt.errors import DataError

WriteCohort = Callable[..., Path]
T = TypeVar("T")
SHAPE = [8, 8, 8]


def declare(
    manifest: Path, cohort: dict[str, object] | None = None, **preprocessing: object
) -> Study:
    return parse_study(
        {
            "name": "x",
            "cohort": {
                "manifest": str(manifest),
                "label_names": str(manifest.parent / "dseg.tsv"),
                **(cohort or {}),
            },
            "preprocessing": {"shape": SHAPE, **preprocessing},
            "split": {"train": 2, "tune": 2, "search": 1},
        }
    )


def test_a_prepared_cohort_holds_each_image_normalized_and_each_label_map_merged(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    manifest = write_cohort()
    cohort = prepare(declare(manifest), tmp_path / "study")
    assert cohort.labels == ("front", "back")
    assert cohort.shape == (8, 8, 8)
    assert cohort.spacing_mm == (1, 1, 1)
    name = "sub-3_ses-1"
    data = nibabel.Nifti1Image.from_filename(manifest.parent / f"{name}.nii.gz").get_fdata()
    low, high = np.percentile(data, [0.5, 99.5])
    # 10 and 9 voxels lose 1 on either side, and 0 and 1: an odd margin goes to the far side
    np.testing.assert_allclose(
        cohort.image(name), np.clip((data - low) / (high - low), 0, 1)[1:9, 0:8], atol=1e-5
    )
    codes = np.asarray(
        nibabel.Nifti1Image.from_filename(manifest.parent / f"{name}_dseg.nii.gz").dataobj
    )[1:9, 0:8]
    np.testing.assert_array_equal(cohort.label_map(name), (codes == 3) + 2 * (codes == 7))
    np.testing.assert_array_equal(cohort.grid(name) @ [0, 0, 0, 1], [1, 0, 0, 1])


def test_the_table_tells_whom_an_item_is_of_and_what_it_serves(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    images = prepare(declare(write_cohort(sessions=2)), tmp_path / "study").images
    assert list(images.columns) == ["subject", "scan", "slice", "split", "session", "age"]
    assert images.groupby("subject")["split"].nunique().eq(1).all()
    assert images["split"].value_counts().to_dict() == {
        "train": 4,
        "tune": 4,
        "search": 2,
        "unused": 2,
    }
    assert images.drop(columns="split").query("index == 'sub-2_ses-2'").iloc[0].tolist() == [
        "sub-2",
        "sub-2_ses-2",
        -1,
        "ses-2",
        40,
    ]


def test_slices_are_items_of_their_own(write_cohort: WriteCohort, tmp_path: Path) -> None:
    manifest = write_cohort()
    slices = {"axis": 1, "indices": [3, 5], "search_indices": [5]}
    cohort = prepare(declare(manifest, shape=[10, 8], slices=slices), tmp_path / "study")
    assert cohort.images.index[:2].tolist() == ["sub-0_ses-1_slice-3", "sub-0_ses-1_slice-5"]
    assert cohort.images["slice"].tolist()[:2] == [3, 5]
    assert cohort.search_slices == (5,)
    codes = np.asarray(
        nibabel.Nifti1Image.from_filename(manifest.parent / "sub-0_ses-1_dseg.nii.gz").dataobj
    )
    np.testing.assert_array_equal(cohort.label_map("sub-0_ses-1_slice-5") > 0, codes[:, 5] > 0)
    np.testing.assert_allclose(cohort.grid("sub-0_ses-1_slice-5") @ [4, 2, 0, 1], [4, 5, 2, 1])


def test_structures_are_merged_as_declared(write_cohort: WriteCohort, tmp_path: Path) -> None:
    manifest = write_cohort()
    cohort = prepare(declare(manifest, {"structures": {"all": ["front", "7"]}}), tmp_path / "study")
    assert cohort.labels == ("all",)
    codes = np.asarray(
        nibabel.Nifti1Image.from_filename(manifest.parent / "sub-0_ses-1_dseg.nii.gz").dataobj
    )[1:9, 0:8]
    np.testing.assert_array_equal(cohort.label_map("sub-0_ses-1"), codes > 0)


def test_a_declared_structure_that_no_image_shows_is_left_out_with_a_warning(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    study = declare(write_cohort(), {"structures": {"nothing": ["empty"], "back": ["back"]}})
    with pytest.warns(UserWarning, match="no prepared image shows nothing"):
        cohort = prepare(study, tmp_path / "study")
    assert cohort.labels == ("back",)
    assert set(np.unique(cohort.label_map("sub-0_ses-1"))) == {0, 1}


def test_a_structure_with_too_few_voxels_counts_as_missing(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    manifest = write_cohort()
    path = manifest.parent / "sub-0_ses-1_dseg.nii.gz"
    image = nibabel.Nifti1Image.from_filename(path)
    codes = np.asarray(image.dataobj).copy()
    codes[codes == 7] = 0
    codes[5, 5, 2:5] = 7
    nibabel.save(nibabel.Nifti1Image(codes, image.affine), path)
    cohort = prepare(declare(manifest, {"minimum_voxels": 4}), tmp_path / "study")
    assert set(np.unique(cohort.label_map("sub-0_ses-1"))) == {0, 1}
    assert set(np.unique(cohort.label_map("sub-1_ses-1"))) == {0, 1, 2}


def test_images_are_prepared_once(write_cohort: WriteCohort, tmp_path: Path) -> None:
    done: list[str] = []

    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        done.append(description)
        yield from items

    study = declare(write_cohort())
    first = prepare(study, tmp_path / "study", track)
    again = prepare(study, tmp_path / "study", track)
    assert first.folder == again.folder
    assert done.count("Preparing images") == 1


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most memory that was held at a time; pages of mapped files are not counted."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_one_image_takes_memory_for_one_image(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    shape = [64, 64, 64]
    cohort = prepare(declare(write_cohort(subjects=8), shape=shape), tmp_path / "study")
    one = 4 * 64**3
    first = peak_bytes(lambda: cohort.image("sub-7_ses-1"))
    again = peak_bytes(lambda: cohort.image("sub-0_ses-1"))
    assert one <= first < 2.5 * one
    assert one <= again < 2.5 * one


def test_more_images_are_prepared_in_the_same_memory(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    few, many = (
        declare(write_cohort(subjects=count, folder=str(count)), shape=[48, 48, 48])
        for count in (5, 15)
    )
    prepare(few, tmp_path / "first")  # what is imported and cached on first use
    peaks = [peak_bytes(partial(prepare, study, tmp_path / "study")) for study in (few, many)]
    assert peaks[1] < peaks[0] + 4 * 48**3


def test_an_image_is_a_copy_that_may_be_changed(write_cohort: WriteCohort, tmp_path: Path) -> None:
    cohort = prepare(declare(write_cohort()), tmp_path / "study")
    image = cohort.image("sub-0_ses-1")
    image[:] = 7
    assert cohort.image("sub-0_ses-1").max() <= 1


def test_an_unknown_image_is_refused(write_cohort: WriteCohort, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got 'sub-9'"):
        prepare(declare(write_cohort()), tmp_path / "study").image("sub-9")


def test_nothing_is_written_where_an_image_is_bad(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    manifest = write_cohort()
    data = np.zeros((10, 9, 8), dtype=np.float32)
    data[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), manifest.parent / "sub-4_ses-1.nii.gz")
    with pytest.raises(DataError, match=r"sub-4_ses-1.nii.gz: expected finite intensities"):
        prepare(declare(manifest), tmp_path / "study")
    assert not (tmp_path / "study" / "prepared").exists()


def test_too_few_subjects_are_refused_before_anything_is_written(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="at most 4 subjects"):
        prepare(declare(write_cohort(subjects=4)), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    def interrupted(
        items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        for number, item in enumerate(items):
            if description == "Preparing images" and number == 3:
                raise KeyboardInterrupt
            yield item

    study = declare(write_cohort())
    with pytest.raises(KeyboardInterrupt):
        prepare(study, tmp_path / "study", interrupted)
    assert not (tmp_path / "study" / "prepared").exists()
    assert len(prepare(study, tmp_path / "study").images) == 6


def test_different_spacings_need_a_declared_one(write_cohort: WriteCohort, tmp_path: Path) -> None:
    manifest = write_cohort()
    for name in ("sub-2_ses-1", "sub-2_ses-1_dseg"):
        data = np.asarray(
            nibabel.Nifti1Image.from_filename(manifest.parent / f"{name}.nii.gz").dataobj
        )
        nibabel.save(
            nibabel.Nifti1Image(data, np.diag([2.0, 1, 1, 1])), manifest.parent / f"{name}.nii.gz"
        )
    with pytest.raises(DataError, match=r"Declare preprocessing\.spacing_mm"):
        prepare(declare(manifest), tmp_path / "study")
    assert prepare(declare(manifest, spacing_mm=[1, 1, 1]), tmp_path / "study").spacing_mm == (
        1,
        1,
        1,
    )
    unknown = prepare(declare(manifest, {"spacing_known": False}), tmp_path / "study")
    assert unknown.spacing_mm is None


def test_the_common_spacing_is_the_median_in_any_order() -> None:
    spacings = {"a": (1.0, 2.0), "b": (1.004, 2.0), "c": (1.008, 2.01), "d": (1.008, 1.99)}
    for names in itertools.permutations(spacings):
        found = preprocessing._common_spacing({name: spacings[name] for name in names})
        assert found == pytest.approx((1.006, 2.0))


def test_codes_beyond_the_integers_of_doubles_are_told_apart(tmp_path: Path) -> None:
    """2^53 and 2^53 + 1 are one number in double precision."""
    codes = np.zeros((8, 8, 8), np.int64)
    codes[:4], codes[4:] = 2**53, 2**53 + 1
    nibabel.save(nibabel.Nifti1Image(codes, np.eye(4), dtype=np.int64), tmp_path / "labels.nii.gz")
    ramp = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    nibabel.save(nibabel.Nifti1Image(ramp, np.eye(4)), tmp_path / "image.nii.gz")
    image = read_image(tmp_path / "image.nii.gz")
    options = PreprocessingOptions(shape=SHAPE)
    place = find_place(image, options, Reference(), None)
    items = resample_image(image, options, place, "image")
    structures: Structures = {"low": (2**53,), "high": (2**53 + 1,)}
    (label_map,) = resample_labels(tmp_path / "labels.nii.gz", items, structures, 0)
    np.testing.assert_array_equal(label_map, np.where(codes == 2**53, 1, 2))


def test_an_image_of_another_spacing_is_named_whatever_the_order_is() -> None:
    """Of three images, the one that differs, even where it comes first; 1.5 mm is the median of none."""
    spacings = {"a": (1.5, 2.0), "b": (1.0, 2.0), "c": (1.0, 2.0)}
    for names in itertools.permutations(spacings):
        told = r"^a: expected the median spacing of the images, \(1, 2\) mm, got \(1.5, 2\) mm"
        with pytest.raises(DataError, match=told):
            preprocessing._common_spacing({name: spacings[name] for name in names})


def test_an_image_from_outside_is_prepared_as_those_of_the_cohort(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    manifest = write_cohort()
    study = declare(
        manifest, shape=[10, 8], slices={"axis": 1, "indices": [3, 5], "search_indices": [5]}
    )
    cohort = prepare(study, tmp_path / "study")
    path = manifest.parent / "sub-1_ses-1.nii.gz"
    image = read_image(path)
    place = find_place(image, study.preprocessing, Reference(), template=None)
    both = resample_image(image, study.preprocessing, place, str(path))
    for prepared, index in zip(both, (3, 5), strict=True):
        assert prepared.slice == index
        assert prepared.original.shape == (10, 9, 8)
        np.testing.assert_array_equal(prepared.data, cohort.image(f"sub-1_ses-1_slice-{index}"))
        np.testing.assert_array_equal(prepared.grid, cohort.grid(f"sub-1_ses-1_slice-{index}"))


def test_images_that_cannot_be_aligned_are_named_and_lie_centre_on_centre(
    write_cohort: WriteCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = iter([False, True, False, True])

    def find_alignment(*_: object, **__: object) -> Alignment:
        return Alignment(matrix=np.eye(4), failed=next(failed, False))

    monkeypatch.setattr("hmopt.data.image.find_alignment", find_alignment)
    manifest = write_cohort()
    study = declare(manifest, placement="affine", template="sub-3_ses-1")
    with pytest.warns(UserWarning, match="could not be aligned to the template") as caught:
        cohort = prepare(study, tmp_path / "study")
    names = list(cohort.images.index)
    messages = [str(one.message) for one in caught]
    message = next(text for text in messages if "aligned" in text)
    assert f"2 of {len(names)} images" in message
    assert f": {names[1]}, {names[3]}." in message
