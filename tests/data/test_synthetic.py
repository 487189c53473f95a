"""The synthetic cohort: its truth is true, its files are whole, and its structures differ as they were made to."""

import csv
from functools import cache
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import expm

from hmopt.data.synthetic import (
    CONTRASTS,
    STRUCTURES,
    TRUE_ORDER,
    Scan,
    integrate,
    jacobian_determinant,
    make_anatomy,
    make_cohort,
    make_scans,
    read_deformation,
    true_displacement,
)
from hmopt.errors import DataError

SHAPES = [(80, 80), (30, 34, 32)]
HALF_A_VOXEL = 0.5
"""The finest that a grid shows. Not Dice: of structures few voxels thick, rounding labels alone takes a fifth."""


@cache
def _scans(shape: tuple[int, ...], subject: int, seed: int = 0) -> list[Scan]:
    return list(make_scans(make_anatomy(shape), subject, seed))


def _overlaps(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> list[float]:
    labels = range(1, len(STRUCTURES) + 1)
    shared = [np.sum((one == label) & (other == label)) for label in labels]
    return [
        2 * s / (np.sum(one == label) + np.sum(other == label))
        for s, label in zip(shared, labels, strict=True)
    ]


def _itk_jacobian(displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    vectors = np.moveaxis(displacement, 0, -1)
    ordered = np.ascontiguousarray(
        np.moveaxis(vectors, range(len(displacement)), range(len(displacement))[::-1])
    )
    field = sitk.GetImageFromArray(ordered, isVector=True)
    return np.asarray(sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).T)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_scan_shows_every_structure(shape: tuple[int, ...]) -> None:
    for scan in _scans(shape, 0):
        assert set(np.unique(scan.labels)) == set(range(len(STRUCTURES) + 1))
        assert scan.labels.shape == shape
        assert all(
            image.shape == shape and image.dtype == np.float32 for image in scan.images.values()
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_true_deformation_does_not_fold(shape: tuple[int, ...]) -> None:
    for subject in range(2):
        for scan in _scans(shape, subject):
            assert _itk_jacobian(scan.deformation.displacement).min() > 0


def test_the_jacobian_is_that_of_itk() -> None:
    displacement = _scans((80, 80), 0)[0].deformation.displacement
    inner = np.s_[1:-1, 1:-1]
    found, expected = jacobian_determinant(displacement), _itk_jacobian(displacement)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-9)


def test_the_jacobian_of_a_linear_displacement_is_the_determinant_of_its_matrix() -> None:
    matrix = np.array([[1.2, 0.3], [-0.1, 0.7]])
    displacement = np.einsum("ij,jxy->ixy", matrix - np.eye(2), np.indices((6, 7)).astype(float))
    np.testing.assert_allclose(
        jacobian_determinant(displacement), np.linalg.det(matrix), rtol=1e-12
    )


def test_a_linear_velocity_integrates_to_the_matrix_exponential() -> None:
    generator = np.array([[-0.10, 0.25], [-0.25, -0.10]])
    points = np.indices((33, 33)) - 16.0
    expected = np.einsum("ij,jxy->ixy", expm(generator) - np.eye(2), points)
    inner = np.s_[:, 8:-8, 8:-8]
    result = integrate(np.einsum("ij,jxy->ixy", generator, points))
    np.testing.assert_allclose(result[inner], expected[inner], atol=0.02)


def _read(field: NDArray[np.float64], displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    points = np.indices(displacement.shape[1:]) + displacement
    return np.stack(
        [ndimage.map_coordinates(component, points, order=1, mode="nearest") for component in field]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_undoes_the_displacement_to_half_a_voxel(shape: tuple[int, ...]) -> None:
    scan = _scans(shape, 0)[0]
    forth, back = scan.deformation.displacement, scan.deformation.inverse
    distance = np.linalg.norm(forth + _read(back, forth), axis=0)
    assert np.quantile(distance[scan.labels > 0], 0.99) < HALF_A_VOXEL


@pytest.mark.parametrize("shape", SHAPES)
def test_the_true_displacement_reaches_the_same_anatomy_to_half_a_voxel(
    shape: tuple[int, ...],
) -> None:
    moving, fixed = _scans(shape, 0)[0], _scans(shape, 1)[1]
    found = true_displacement(moving.deformation, fixed.deformation)
    reached = found + _read(moving.deformation.displacement, found)
    distance = np.linalg.norm(reached - fixed.deformation.displacement, axis=0)
    assert np.quantile(distance[fixed.labels > 0], 0.99) < HALF_A_VOXEL


def test_the_true_displacement_brings_every_label_together() -> None:
    moving, fixed = _scans((80, 80), 0)[0], _scans((80, 80), 1)[1]
    points = np.indices((80, 80)) + true_displacement(moving.deformation, fixed.deformation)
    moved = ndimage.map_coordinates(moving.labels, points, order=0, mode="nearest")
    before, after = _overlaps(moving.labels, fixed.labels), _overlaps(moved, fixed.labels)
    assert min(after) > 0.85
    assert np.mean(after) > np.mean(before) + 0.2


def test_sessions_of_a_subject_differ_less_than_subjects() -> None:
    people = [_scans((80, 80), subject) for subject in range(6)]
    within = [_overlaps(first.labels, second.labels) for first, second in people]
    cross = [_overlaps(one[0].labels, other[0].labels) for one, other in pairwise(people)]
    assert np.mean(within) > np.mean(cross) + 0.15


def test_t2_is_noisier_than_t1() -> None:
    images = _scans((80, 80), 0)[0].images
    corner = {contrast: images[contrast][:6, :6].std() for contrast in CONTRASTS}
    assert corner["T2"] > 2 * corner["T1"]


def test_structures_named_smoother_differ_in_larger_details() -> None:
    shape, subjects = (80, 80), range(12)
    anatomy = make_anatomy(shape)
    roughness = np.zeros(len(STRUCTURES))
    for subject in subjects:
        displacement = next(make_scans(anatomy, subject, 0)).deformation.displacement
        bending = sum(ndimage.laplace(component) ** 2 for component in displacement)
        roughness += [np.sum(bending * share) / np.sum(share) for share in anatomy.shares]
    by_name = dict(zip([structure.name for structure in STRUCTURES], roughness, strict=True))
    assert by_name["cortex"] > 3 * by_name["ventricle"] > 3 * by_name["thalamus"]


def test_the_true_order_goes_from_small_to_large_details() -> None:
    details = {structure.name: structure.detail for structure in STRUCTURES}
    groups = [[details.pop(name) for name in group] for group in TRUE_ORDER]
    assert not details
    assert all(max(rougher) < min(smoother) for rougher, smoother in pairwise(groups))


def test_subjects_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    make_cohort(tmp_path / "two", subjects=2, shape=(48, 48), seed=5)
    make_cohort(tmp_path / "one", subjects=1, shape=(48, 48), seed=5)
    files = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("sub-001*")
    )
    assert len(files) == 2 * (len(CONTRASTS) + 2)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_makes_other_people() -> None:
    assert not np.array_equal(
        _scans((48, 48), 0, seed=1)[0].labels, _scans((48, 48), 0, seed=2)[0].labels
    )


def test_the_manifest_describes_files_that_are_there(tmp_path: Path) -> None:
    manifest = make_cohort(tmp_path, subjects=1, shape=(24, 26, 28), seed=0)
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    assert len(rows) == 2 * len(CONTRASTS)
    assert list(rows[0]) == ["image", "label", "subject", "session", "modality", "age"]
    for row in rows:
        image, label = (
            nibabel.nifti1.Nifti1Image.from_filename(tmp_path / row["image"]),
            nibabel.nifti1.Nifti1Image.from_filename(tmp_path / row["label"]),
        )
        assert image.shape == label.shape == (24, 26, 28)
        np.testing.assert_array_equal(image.affine, label.affine)
    names = (tmp_path / "dseg.tsv").read_text().splitlines()
    assert names[:3] == ["index\tname", "0\tbackground", f"1\t{STRUCTURES[0].name}"]


def test_the_truth_on_disk_is_the_truth_of_the_scan(tmp_path: Path) -> None:
    make_cohort(tmp_path, subjects=1, shape=(48, 48), seed=3)
    scan = _scans((48, 48), 0, seed=3)[1]
    kept = read_deformation(tmp_path, scan.subject, scan.session)
    np.testing.assert_allclose(kept.displacement, scan.deformation.displacement, atol=1e-5)
    np.testing.assert_allclose(kept.inverse, scan.deformation.inverse, atol=1e-5)


def test_an_unknown_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sub-009_ses-1.npz: expected the truth about a scan"):
        read_deformation(tmp_path, "sub-009", "ses-1")


@pytest.mark.parametrize("shape", [(80,), (16, 80), (40, 40, 40, 2)])
def test_a_grid_that_cannot_show_the_anatomy_is_refused(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="shape: expected 2 or 3 axes"):
        make_cohort(tmp_path / "none", subjects=1, shape=shape)
    assert not (tmp_path / "none").exists()


def test_a_cohort_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="subjects: expected at least 1"):
        make_cohort(tmp_path, subjects=0)
