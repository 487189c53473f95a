import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from hmopt.report.outlines import deformation_path, outline_path, read_examples


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
