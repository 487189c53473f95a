import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from hmopt.errors import DataError
from hmopt.report.outlines import SMOOTHING, deformation_path, outline_path, read_examples


def points(path: str) -> np.ndarray:
    return np.array([[float(x), float(y)] for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", path)])


def test_the_outline_of_a_disc_lies_at_its_radius_with_the_second_axis_upwards() -> None:
    x, y = np.mgrid[:60, :40]
    outline = points(outline_path((np.hypot(x - 40, y - 10) <= 8).astype(np.uint8), code=None))
    radius = np.hypot(outline[:, 0] - 40.5, outline[:, 1] - (40 - 10.5))
    np.testing.assert_allclose(radius, 8.2, atol=0.8)


def test_only_the_asked_label_is_outlined_even_at_the_border() -> None:
    labels = np.zeros((8, 8), dtype=np.uint8)
    labels[:4], labels[6:] = 1, 2
    assert outline_path(labels, code=None).count("M") == 2
    assert points(outline_path(labels, code=2))[:, 0].min() >= 6


def test_lines_of_a_shifted_grid_are_shifted() -> None:
    still, shifted = (points(deformation_path(np.full((2, 13, 13), by))) for by in (0.0, 2.0))
    np.testing.assert_allclose(shifted - still, np.tile([2.0, -2.0], (len(still), 1)))


def test_a_drawn_line_stays_near_the_exact_one_and_has_fewer_points() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 97, 97))
    displacement = 40 * gaussian_filter(noise, (0, 4, 4))
    exact = np.indices((97, 97)) + displacement
    _, *lines = deformation_path(displacement).split("M")
    kept = 0
    for line, column in zip(lines[:17], exact[:, ::6].swapaxes(0, 1), strict=True):
        drawn = points(line)
        kept += len(drawn)
        x, y = column
        places = np.stack([x + 0.5, 97 - (y + 0.5)], 1)
        starts, steps = drawn[:-1], np.diff(drawn, axis=0)
        along = ((places[:, None] - starts) * steps).sum(2) / (steps**2).sum(1)
        nearest = starts + np.clip(along, 0, 1)[..., None] * steps
        distance = np.linalg.norm(places[:, None] - nearest, axis=2).min(axis=1)
        # and half a unit of the last digit that is written
        assert distance.max() <= SMOOTHING + 0.05
        np.testing.assert_allclose(drawn[[0, -1]], places[[0, -1]], atol=0.06)
    assert kept < 0.8 * 17 * 97


def test_the_picture_shows_the_image_upright(study_folder: Path) -> None:
    example = read_examples(study_folder / "examples" / "cohort.npz", code=None)[0]
    with np.load(study_folder / "examples" / "cohort.npz", allow_pickle=False) as arrays:
        moving = arrays["typical_moving"]
    found = re.search(r"base64,([^\"]+)", example.pictures[0].svg)
    assert found is not None
    encoded = found.group(1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))) / 255
    np.testing.assert_allclose(shown, moving.T[::-1], atol=0.08)
    assert [example.title, example.pair, example.score] == ["Typical pair", "s00_1->s01_1", 0.7]


def test_no_file_gives_no_pictures(tmp_path: Path) -> None:
    assert read_examples(tmp_path / "none.npz", code=None) == []


def changed(source: Path, folder: Path, **arrays: object) -> Path:
    """Write pictures with other arrays in place of their own; None leaves one out."""
    with np.load(source, allow_pickle=False) as file:
        kept = {name: file[name] for name in file.files}
    kept.update(arrays)
    path = folder / "cohort.npz"
    held = {name: array for name, array in kept.items() if array is not None}
    np.savez_compressed(path, allow_pickle=False, **held)
    return path


@pytest.mark.parametrize("number", [-0.01, 1.01, 1e30, -1e30, np.nan, np.inf])
def test_a_score_that_the_metric_cannot_have_is_refused(
    number: float, study_folder: Path, tmp_path: Path
) -> None:
    source = study_folder / "examples" / "cohort.npz"
    path = changed(source, tmp_path, metric=np.array("dice"), worst_score=np.array(number))
    with pytest.raises(
        DataError, match=r"expected pictures of pairs, got [^\n]+ in worst_score\. "
    ):
        read_examples(path, code=None)


@pytest.mark.parametrize(
    ("metric", "number", "is_possible"),
    [
        ("hd95_mm", 12.5, True),
        ("hd95_mm", -0.5, False),
        ("hd95_mm", 1e30, False),
        ("of_a_plugin", -7.0, True),
        ("of_a_plugin", 1e30, False),
        (None, -7.0, True),
        (None, 1e30, False),
    ],
)
def test_of_another_metric_scores_have_another_range(
    metric: str | None, number: float, is_possible: bool, study_folder: Path, tmp_path: Path
) -> None:
    source = study_folder / "examples" / "cohort.npz"
    named = None if metric is None else np.array(metric)
    scores = {"typical_score": np.array(number), "worst_score": np.array(number)}
    path = changed(source, tmp_path, metric=named, **scores)
    if is_possible:
        assert [example.score for example in read_examples(path, code=None)] == [number] * 2
        return
    with pytest.raises(DataError, match="typical_score"):
        read_examples(path, code=None)


def test_the_metric_of_the_search_is_that_of_pictures_that_name_none(
    study_folder: Path, tmp_path: Path
) -> None:
    source = study_folder / "examples" / "cohort.npz"
    path = changed(source, tmp_path, metric=None, worst_score=np.array(1.01))
    assert read_examples(path, code=None)[1].score == 1.01
    with pytest.raises(DataError, match=r"got 1\.01 outside \[-0\.0001, 1\.0001\] in worst_score"):
        read_examples(path, code=None, metric="dice")


@pytest.mark.parametrize(("sides", "is_possible"), [(4.0, True), (4.1, False), (-4.1, False)])
def test_a_displacement_far_out_of_the_picture_is_refused(
    sides: float, is_possible: bool, study_folder: Path, tmp_path: Path
) -> None:
    source = study_folder / "examples" / "cohort.npz"
    with np.load(source, allow_pickle=False) as file:
        displacement = file["worst_displacement"].copy()
    displacement[1, 2, 3] = sides * max(displacement.shape[1:])
    path = changed(source, tmp_path, worst_displacement=displacement)
    if is_possible:
        assert len(read_examples(path, code=None)) == 2
        return
    with pytest.raises(DataError, match="in worst_displacement"):
        read_examples(path, code=None)
