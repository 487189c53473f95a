"""Transformations of points, against closed forms."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hmopt.data.volume import read_lattice
from hmopt.errors import DataError
from hmopt.interop.composite import write_itk
from hmopt.interop.itk import find_itk_place
from hmopt.interop.transform import Affine, Field, InverseOf, chain
from hmopt.interop.transform_files import read_transform

Floats = NDArray[np.float64]

matrices = st.lists(st.floats(-0.3, 0.3), min_size=12, max_size=12)


def affine(numbers: list[float]) -> Affine:
    matrix = np.eye(4)
    matrix[:3] += np.reshape(numbers, (3, 4))
    return Affine(matrix=matrix)


def points() -> Floats:
    return np.random.default_rng(0).uniform(1, 6, (20, 3))


def shear() -> Field:
    """Return a field u = (0.2 y, 0, -0.1 x) on 8 x 8 x 8 voxels: linear, so exact between them."""
    x, y, _ = np.indices((8, 8, 8), dtype=np.float64)
    return Field(vectors=np.stack([0.2 * y, 0 * x, -0.1 * x]), to_world=np.eye(4))


@settings(deadline=None, max_examples=20)
@given(numbers=st.tuples(matrices, matrices, matrices))
def test_a_chain_of_affines_is_one_and_its_inverse_takes_back(
    numbers: tuple[list[float], list[float], list[float]],
) -> None:
    parts = [affine(one) for one in numbers]
    whole = chain([chain(parts[:2]), parts[2]])
    assert len(whole.parts) == 1
    expected = parts[2](parts[1](parts[0](points())))
    np.testing.assert_allclose(whole(points()), expected, atol=1e-9)
    np.testing.assert_allclose(whole.inverse()(expected), points(), atol=1e-6)


def test_a_point_goes_through_the_first_part_first() -> None:
    shift = np.eye(4)
    shift[0, 3] = 1
    double = Affine(matrix=np.diag([2.0, 2, 2, 1]))
    start = np.array([[1.0, 1, 1]])
    shifted_first = chain([Affine(matrix=shift), double])
    doubled_first = chain([double, Affine(matrix=shift)])
    assert shifted_first(start).tolist() == [[4, 2, 2]]
    assert doubled_first(start).tolist() == [[3, 2, 2]]


def test_a_field_is_linear_between_its_voxels_and_still_outside() -> None:
    here = points()
    expected = here + np.stack([0.2 * here[:, 1], 0 * here[:, 0], -0.1 * here[:, 0]], axis=-1)
    np.testing.assert_allclose(shear()(here), expected, atol=1e-12)
    outside = np.array([[-0.6, 3, 3], [3, 7.6, 3]])
    np.testing.assert_array_equal(shear()(outside), outside)
    assert shear().share_inside(np.concatenate([outside, here[:2]])) == 0.5


def test_the_inverse_of_a_field_is_that_of_its_matrix() -> None:
    inverse = shear().inverse()
    assert isinstance(inverse, InverseOf)
    matrix = np.array([[1, 0.2, 0], [0, 1, 0], [-0.1, 0, 1]])
    inner = points() / 2 + 1
    there = inner @ matrix.T
    np.testing.assert_allclose(inverse(there), inner, atol=2e-3)
    assert inverse.inverse() is not inverse
    np.testing.assert_allclose(inverse.inverse()(inner), there, atol=1e-9)


def test_no_transformations_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least one"):
        chain([])


def test_a_name_that_would_end_the_process_is_not_handed_to_itk(tmp_path: Path) -> None:
    refused = pytest.raises(DataError, match="file: expected a path whose name is in UTF-8, got '")
    still = sitk.Transform(3, sitk.sitkIdentity)
    good, bad = tmp_path / "a.tfm", tmp_path / os.fsdecode(b"caf\xe9.tfm")
    with refused:
        write_itk(still, bad)
    write_itk(still, good)
    good.rename(bad)
    with refused:
        read_transform(bad)

    image = tmp_path / os.fsdecode(b"caf\xe9.nii")
    nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_filename(image)
    with refused:
        find_itk_place(image, read_lattice(image))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_field_of_nifti_with_vectors_that_are_not_finite_is_refused(
    value: float, tmp_path: Path
) -> None:
    vectors = np.zeros((4, 4, 4, 1, 3), np.float32)
    vectors[0, 0, 0] = value
    image = nibabel.Nifti1Image(vectors, np.eye(4))
    image.header.set_intent("vector")
    nibabel.save(image, tmp_path / "field.nii.gz")
    with pytest.raises(DataError, match="vectors that are NaN or infinite"):
        read_transform(tmp_path / "field.nii.gz")


@pytest.mark.parametrize("bytes_kept", [0, 100, 3000])
def test_a_cut_file_of_hdf5_is_told_in_one_line(
    bytes_kept: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "whole.h5"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2, 3)), str(path))
    content = path.read_bytes()
    assert len(content) > bytes_kept
    path.write_bytes(content[:bytes_kept])
    with pytest.raises(DataError, match=r"got a damaged HDF5 file \(.*\)\. Copy the file again"):
        read_transform(path)
    assert capfd.readouterr().err == ""
