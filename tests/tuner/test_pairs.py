from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hmopt.errors import DataError
from hmopt.oracle import open_registrar
from hmopt.study_folder import StudyFolder
from hmopt.tuner.pairs import ShownPair, pairs_of_files, search_pairs


def test_a_coarse_pair_has_means_of_intensities_and_labels_of_voxels() -> None:
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    labels = np.zeros((4, 6), np.uint8)
    labels[1, 3] = 2
    pair = ShownPair(
        name="a → b", moving=image, fixed=-image, labels=("x", "y"), fixed_labels=labels
    )
    coarse = pair.coarse(2)
    for x, y in np.ndindex(2, 3):
        block = image[2 * x : 2 * x + 2, 2 * y : 2 * y + 2]
        assert coarse.moving[x, y] == block.mean()
        assert coarse.fixed[x, y] == -block.mean()
    assert coarse.fixed_labels is not None
    assert np.argwhere(coarse.fixed_labels).tolist() == [[0, 1]]
    assert coarse.moving_labels is None


@pytest.mark.parametrize(("shape", "factor"), [((7, 9), 4), ((311, 16), 4), ((5, 6, 7), 2)])
def test_coarse_images_and_labels_are_of_one_shape(shape: tuple[int, ...], factor: int) -> None:
    image = np.zeros(shape, np.float32)
    labels = np.arange(image.size).reshape(shape)
    coarse = ShownPair(name="a → b", moving=image, fixed=image, fixed_labels=labels).coarse(factor)
    assert coarse.fixed_labels is not None
    assert coarse.fixed_labels.shape == coarse.fixed.shape
    for place in np.ndindex(coarse.shape):
        middle = tuple(factor * one + factor // 2 for one in place)
        assert coarse.fixed_labels[place] == labels[middle]


def test_the_first_voxel_is_where_most_of_the_labels_is() -> None:
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1, 2:4, 3] = 1
    labels[1:4, 2, 3] = 2
    image = np.zeros((5, 6, 7), np.float32)
    pair = ShownPair(
        name="a → b", moving=image, fixed=image, labels=("x", "y"), fixed_labels=labels
    )
    assert pair.middle() == (1, 2, 3)
    assert ShownPair(name="a → b", moving=image, fixed=image).middle() == (2, 3, 3)


def test_without_images_the_pairs_are_those_that_are_searched(searched: Path) -> None:
    files = StudyFolder(searched)
    source = search_pairs(files)
    assert sorted(source.names) == sorted(id_.replace("->", " → ") for id_ in files.pairs["pair"])
    pair = source.pair(3)
    assert pair.name == source.names[3]
    assert pair.shape == (32, 32)
    assert pair.labels == files.searched.labels


def test_a_model_without_a_cohort_needs_two_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MOVING, FIXED: expected two images"):
        search_pairs(StudyFolder(tmp_path))


def test_label_maps_of_files_have_the_structures_of_the_study(
    searched: Path, tiny_study: Any
) -> None:
    files = StudyFolder(searched)
    moving, fixed = tiny_study.image(1), tiny_study.image(2)
    labels = searched / "data/labels" / fixed.name.replace("T1w", "dseg")
    registrar = open_registrar(files)
    pair = pairs_of_files(files, registrar, moving, fixed, fixed_labels=labels).pair(0)
    assert pair.labels == files.searched.labels
    assert pair.moving_labels is None
    assert pair.fixed_labels is not None
    assert pair.fixed_labels.max() == len(pair.labels)


def test_codes_that_the_study_does_not_know_are_labels_by_number(
    searched: Path, tiny_study: Any, tmp_path: Path
) -> None:
    files = StudyFolder(searched)
    moving, fixed = tiny_study.image(1), tiny_study.image(2)
    image: Any = nibabel.load(moving)
    codes = np.zeros(image.shape, np.int16)
    codes[:10], codes[20:] = 770, 990
    path = tmp_path / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(codes, image.affine), path)
    pair = pairs_of_files(files, open_registrar(files), moving, fixed, moving_labels=path).pair(0)
    assert pair.labels == ("770", "990")
    assert pair.moving_labels is not None
    assert set(np.unique(pair.moving_labels)) == {0, 1, 2}
