from collections.abc import Callable
from pathlib import Path
from typing import get_args

import nibabel
import numpy as np
import pytest
from scipy import stats

from hmopt.data.volume import (
    Normalization,
    check_same_lattice,
    normalize,
    read_image,
    read_labels,
    read_lattice,
)
from hmopt.errors import DataError

Write = Callable[..., Path]
INTENSITIES = np.random.default_rng(0).gamma(2.0, 500.0, (12, 13, 14)).astype(np.float32)
ONES = np.ones((4, 5, 6), dtype=np.float32)


def test_an_image_is_read_as_float32_with_its_scaling(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(
        np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 3, 4, 1])
    )
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(
        volume.data, nibabel.Nifti1Image.from_filename(tmp_path / "a.nii.gz").get_fdata()
    )
    np.testing.assert_array_equal(volume.lattice.affine, np.diag([2, 3, 4, 1]))


def test_other_formats_of_nibabel_are_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(ONES, np.eye(4)), tmp_path / "a.mgz")
    assert read_image(tmp_path / "a.mgz").lattice.shape == (4, 5, 6)


def test_a_trailing_axis_of_one_is_taken_off_and_a_plane_gets_a_third_axis(write: Write) -> None:
    assert read_image(write("a.nii.gz", ONES[..., None])).data.shape == (4, 5, 6)
    assert read_image(write("b.nii.gz", ONES[..., 0])).data.shape == (4, 5, 1)


def test_labels_stored_as_floats_are_read_as_whole_numbers(write: Write) -> None:
    labels = read_labels(write("a.nii.gz", (ONES * 7).astype(np.float32))).data
    assert labels.dtype == np.int64
    assert set(labels.ravel()) == {7}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_is_refused(write: Write, bad: float) -> None:
    data = ONES.copy()
    data[1, 2, 3] = bad
    with pytest.raises(DataError, match="1 voxels NaN or infinite"):
        read_image(write("a.nii.gz", data))


def test_a_time_series_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"got 4-D, shape \(4, 5, 6, 2\)"):
        read_lattice(write("a.nii.gz", np.ones((4, 5, 6, 2), dtype=np.float32)))


@pytest.mark.parametrize("labels", [ONES * 0.5, -ONES, ONES * np.nan, ONES * 9e-4, ONES * 1e-9])
def test_a_label_map_of_other_than_whole_numbers_from_zero_is_refused(
    write: Write, labels: np.ndarray
) -> None:
    with pytest.raises(DataError, match="whole numbers of at least 0"):
        read_labels(write("a.nii.gz", labels))


def test_a_complex_image_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match="one real number per voxel"):
        read_image(write("a.nii.gz", ONES.astype(np.complex64)))


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="an unreadable file"):
        read_lattice(tmp_path / "a.nii.gz")


def test_a_file_that_ends_early_is_refused(write: Write) -> None:
    path = write("a.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="an unreadable file"):
        read_image(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got no file"):
        read_image(tmp_path / "a.nii.gz")


def test_an_affine_that_cannot_be_inverted_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Image(ONES, np.eye(4))
    header.set_sform(np.diag([0.0, 1, 1, 1]), code=1)
    nibabel.save(header, tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="an affine that can be inverted"):
        read_lattice(tmp_path / "a.nii.gz")


def test_labels_must_have_the_shape_of_their_image(write: Write) -> None:
    image, label = write("a.nii.gz", ONES), write("b.nii.gz", ONES[:-1])
    with pytest.raises(DataError, match=r"expected shape \(4, 5, 6\) of a.nii.gz, got \(3, 5, 6\)"):
        check_same_lattice(image, label)


def test_labels_must_have_the_affine_of_their_image_up_to_rounding(write: Write) -> None:
    image = write("a.nii.gz", ONES, np.diag([2.0, 2, 2, 1]))
    rounded, shifted = np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
    rounded[0, 3], shifted[0, 3] = 1e-4, 2
    check_same_lattice(image, write("b.nii.gz", ONES, rounded))
    with pytest.raises(DataError, match="corners 1 voxels apart"):
        check_same_lattice(image, write("c.nii.gz", ONES, shifted))


def test_percentiles_come_to_zero_and_one_and_the_rest_is_clipped() -> None:
    low, high = (
        stats.scoreatpercentile(INTENSITIES, 0.5),
        stats.scoreatpercentile(INTENSITIES, 99.5),
    )
    expected = np.clip((INTENSITIES - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalize(INTENSITIES, "percentile"), expected, atol=1e-5)


def test_a_z_score_is_that_of_scipy() -> None:
    np.testing.assert_allclose(
        normalize(INTENSITIES, "zscore"), stats.zscore(INTENSITIES, axis=None), atol=1e-4
    )


@pytest.mark.parametrize("method", get_args(Normalization))
def test_scale_and_offset_of_a_scanner_do_not_matter(method: Normalization) -> None:
    np.testing.assert_allclose(
        normalize(INTENSITIES * 40 + 7000, method), normalize(INTENSITIES, method), atol=1e-3
    )


@pytest.mark.parametrize("method", get_args(Normalization))
def test_an_image_of_one_intensity_becomes_zero(method: Normalization) -> None:
    np.testing.assert_array_equal(normalize(np.full((3, 3), 7, dtype=np.float32), method), 0)


def test_an_image_that_is_nearly_all_background_keeps_its_foreground() -> None:
    data = np.zeros((50, 50), dtype=np.float32)
    data[3, 4] = 9
    assert normalize(data, "percentile")[3, 4] == 1
