from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from hmopt.data import alignment
from hmopt.data.alignment import (
    agreement_after,
    choose_template,
    find_alignment,
    resolve_template,
)
from hmopt.data.image import PreparedImage, find_place, resample_image
from hmopt.data.reference import Reference
from hmopt.data.volume import Lattice, Volume, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError

SECTION = PreprocessingOptions(shape=[26, 24, 24], placement="affine")


def blobs(shape: tuple[int, int, int] = (26, 24, 22)) -> np.ndarray:
    texture = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(shape), 2)
    centre = (np.array(shape) - 1) / 2
    distance = np.linalg.norm((np.indices(shape).T - centre) / np.array(shape) * 2.9, axis=-1).T
    inside = ndimage.gaussian_filter((distance < 1).astype(float), 1)
    return np.asarray(inside * (3 + texture / texture.std()), dtype=np.float32)


def true_affine() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [6, -4, 8], degrees=True).as_matrix() @ np.diag(
        [1.06, 0.95, 1.0]
    )
    matrix[:3, 3] = [1.0, -0.7, 1.4]
    return matrix


def moved(template: Volume, matrix: np.ndarray) -> Volume:
    """Return the image in which the template's place x is at `matrix` x."""
    affine = np.diag([-1.2, 1.1, 1.0, 1])
    affine[:3, 3] = [28, -6, -3]
    grid = np.linalg.inv(template.lattice.affine) @ np.linalg.inv(matrix) @ affine
    shape = (28, 30, 30)
    data = ndimage.affine_transform(
        template.data, grid[:3, :3], grid[:3, 3], output_shape=shape, order=3
    )
    return Volume(data=data, lattice=Lattice(shape=shape, affine=affine))


@pytest.fixture(scope="module")
def template() -> Volume:
    data = blobs()
    return Volume(data=data, lattice=Lattice(shape=data.shape, affine=np.eye(4)))


def test_a_known_affine_is_found_to_a_fifth_of_a_voxel(template: Volume) -> None:
    alignment = find_alignment(moved(template, true_affine()), template)
    assert not alignment.failed
    found = alignment.matrix
    inside = np.argwhere(template.data > 1)[::20]
    places = np.column_stack([inside, np.ones(len(inside))]).T
    assert np.linalg.norm((found - true_affine()) @ places, axis=0).mean() < 0.2


def test_the_same_seed_gives_the_same_affine_bit_for_bit() -> None:
    template = Volume(
        data=blobs((16, 16, 16)), lattice=Lattice(shape=(16, 16, 16), affine=np.eye(4))
    )
    image = moved(template, true_affine())
    once = find_alignment(image, template, 1)
    again = find_alignment(image, template, 1)
    np.testing.assert_array_equal(once.matrix, again.matrix)


def ellipsoids(shape: tuple[int, int, int] = (32, 40, 30)) -> np.ndarray:
    """Return an ellipsoid with two others in it, which say how it is turned."""
    parts = [
        ((0, 0, 0), (12, 16, 10), 1.0),
        ((4, -6, 2), (4, 5, 3), 1.0),
        ((-5, 5, -2), (3, 6, 4), -0.7),
    ]
    places = np.indices(shape).T - (np.array(shape) - 1) / 2
    data = np.zeros(shape)
    for centre, radii, height in parts:
        distance = np.linalg.norm((places - centre) / radii, axis=-1).T
        data += height / (1 + np.exp(12 * (distance - 1)))
    return data.astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "scales", "shift"),
    [
        ((8, 0, -6), (1.0, 1.0, 1.0), (3, -2, 1)),
        ((0, 0, 0), (1.15, 0.9, 1.1), (0, 0, 0)),
        ((-5, 6, 4), (0.9, 1.08, 0.95), (-4, 5, 2)),
    ],
)
@pytest.mark.parametrize("spacing", [1.0, 0.1])
def test_turned_and_scaled_ellipsoids_are_found_to_half_a_voxel(
    degrees: tuple[float, ...], scales: tuple[float, ...], shift: tuple[float, ...], spacing: float
) -> None:
    to_mm = np.diag([spacing, spacing, spacing, 1])
    data = ellipsoids()
    template = Volume(data=data, lattice=Lattice(shape=data.shape, affine=to_mm))
    centre = (np.array(data.shape) - 1) / 2
    linear = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scales)
    in_voxels = np.eye(4)
    in_voxels[:3, :3] = linear
    in_voxels[:3, 3] = centre - linear @ centre + shift

    shape = (48, 56, 46)
    first = np.eye(4)
    first[:3, 3] = -8
    grid = np.linalg.inv(in_voxels) @ first
    moved_data = ndimage.affine_transform(
        data, grid[:3, :3], grid[:3, 3], output_shape=shape, order=1
    )
    image = Volume(data=moved_data, lattice=Lattice(shape=shape, affine=to_mm @ first))

    alignment = find_alignment(image, template)
    found = np.linalg.inv(to_mm) @ alignment.matrix @ to_mm
    inside = np.argwhere(data > 0.5)[::20]
    places = np.column_stack([inside, np.ones(len(inside))]).T
    errors = np.linalg.norm((found - in_voxels) @ places, axis=0)
    assert not alignment.failed
    assert errors.mean() < 0.5


def shifted_box(data: np.ndarray) -> Volume:
    affine = np.eye(4)
    affine[:3, 3] = [7, -3, 2]
    return Volume(data=data, lattice=Lattice(shape=data.shape, affine=affine))


def too_long(*_: Any) -> list[np.ndarray]:
    return [np.diag([4.0, 1.0, 1.0, 1.0])]


def off_the_image(*_: Any) -> list[np.ndarray]:
    matrix = np.eye(4)
    matrix[:3, 3] = 40
    return [matrix]


@pytest.mark.parametrize("optimize", [too_long, off_the_image])
def test_a_bad_affine_falls_back_to_centre_on_centre(
    template: Volume, optimize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmopt.data.alignment._optimize", optimize)
    alignment = find_alignment(shifted_box(template.data), template)
    expected = np.eye(4)
    expected[:3, 3] = [7, -3, 2]
    assert alignment.failed
    np.testing.assert_allclose(alignment.matrix, expected, atol=1e-12)


def test_the_template_is_aligned_to_itself(template: Volume) -> None:
    alignment = find_alignment(template, template)
    assert not alignment.failed
    np.testing.assert_allclose(alignment.matrix, np.eye(4), atol=0.02)


def test_an_image_is_as_much_like_itself_as_can_be(template: Volume) -> None:
    assert agreement_after(template, template, np.eye(4)) == pytest.approx(2)


def test_a_flat_image_is_not_aligned(template: Volume) -> None:
    flat = Volume(data=template.data[..., :1], lattice=Lattice(shape=(26, 24, 1), affine=np.eye(4)))
    with pytest.raises(DataError, match="at least 4 voxels along each axis"):
        find_alignment(flat, template)


def prepare(path: Path, template: Path | None) -> PreparedImage:
    image = read_image(path)
    place = find_place(image, SECTION, Reference(), template)
    return resample_image(image, SECTION, place, str(path))[0]


def test_a_prepared_image_lies_over_its_template(template: Volume, tmp_path: Path) -> None:
    for name, volume in (("template", template), ("image", moved(template, true_affine()))):
        nibabel.save(
            nibabel.Nifti1Image(volume.data, volume.lattice.affine), tmp_path / f"{name}.nii.gz"
        )
    there = prepare(tmp_path / "template.nii.gz", template=tmp_path / "template.nii.gz")
    brought = prepare(tmp_path / "image.nii.gz", template=tmp_path / "template.nii.gz")
    assert np.corrcoef(there.data.ravel(), brought.data.ravel())[0, 1] > 0.97
    # the prepared grid is the template's with one more plane below and above, and leads to the
    # image's own voxels
    places = np.array([[13, 12, 13, 1], [8, 9, 9, 1], [17, 15, 14, 1]]).T
    in_template = places - np.array([[0, 0, 1, 0]]).T
    expected = np.linalg.inv(brought.original.affine) @ true_affine() @ in_template
    np.testing.assert_allclose(brought.grid @ places, expected, atol=0.4)


def test_an_image_without_the_template_of_its_cohort_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="template: "):
        prepare(write("a.nii.gz", blobs()), template=None)


def test_the_chosen_template_is_one_that_others_align_to(write: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    shape = (16, 16, 16)
    paths = [
        write("a.nii.gz", noise),
        write("b.nii.gz", blobs(shape)),
        write("c.nii.gz", blobs(shape) + 0.1 * noise),
    ]
    images = pd.DataFrame({"image": paths, "subject": ["a", "b", "c"]})
    assert choose_template(images).name in ("b.nii.gz", "c.nii.gz")


def test_scans_of_one_subject_do_not_choose_each_other(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two noisy scans of subject a are equal; b, c and d are alike, and agree with each other."""
    noise = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    paths, subjects = [], []
    for name, data in {"a1": noise, "a2": noise, "b": blobs((16, 16, 16))}.items():
        paths.append(write(f"{name}.nii.gz", data))
        subjects.append(name[0])
    images = pd.DataFrame({"image": paths, "subject": subjects})
    compared = []

    def agreement(
        candidate: Path, others: list[Path], background: float | None, axes: object
    ) -> float:
        compared.append((candidate.name[:2], [other.name[:2] for other in others]))
        assert background == -1000
        assert axes is turned
        return float(candidate.name == "b.nii.gz")

    turned = np.diag([1.0, 1.0, 1.0])
    monkeypatch.setattr(alignment, "_mean_agreement", agreement)
    assert choose_template(images, background=-1000, axes=turned).name == "b.nii.gz"
    found = {candidate: sorted(others) for candidate, others in compared}
    assert found == {"a1": ["b."], "a2": ["b."], "b.": ["a1", "a2"]}
    # of one subject alone, its scans are compared
    compared.clear()
    choose_template(images.iloc[:2], background=-1000, axes=turned)
    assert sorted(compared) == [("a1", ["a2"]), ("a2", ["a1"])]


def test_a_template_is_chosen_with_the_declared_background(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    found = alignment.find_alignment

    def spy(*images: Any, **options: Any) -> Any:
        seen.append(options["background"])
        return found(*images, **options)

    monkeypatch.setattr(alignment, "find_alignment", spy)
    paths = [write(f"{name}.nii.gz", blobs((16, 16, 16))) for name in "ab"]
    choose_template(pd.DataFrame({"image": paths, "subject": ["a", "b"]}), background=-3.0)
    assert seen == [-3.0, -3.0]


def test_a_template_is_an_image_of_the_cohort_or_a_file(write: Callable[..., Path]) -> None:
    path = write("a.nii.gz", blobs())
    images = pd.DataFrame({"image": [path]}, index=["a"])
    for declared in ("a", str(path)):
        assert resolve_template(SECTION.model_copy(update={"template": declared}), images) == path
    with pytest.raises(DataError, match="the name of an image of the cohort, or a file"):
        resolve_template(SECTION.model_copy(update={"template": "b"}), images)
    assert (
        resolve_template(
            SECTION.model_copy(update={"placement": "centre", "template": "b"}), images
        )
        is None
    )
