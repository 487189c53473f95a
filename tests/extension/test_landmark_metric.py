"""A metric of one's own: the distance of expert points after registration, searched and reported in mm."""

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hmopt.catalogue import find_metric
from hmopt.declaration import read_study
from hmopt.metrics import Originals, measure
from hmopt.records import Pair
from hmopt.study_folder import read_folder

PLUGIN = '''
"""Target registration error: how far apart the points of a fixed and a moving image are after registration."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

import hmopt

POINTS = pd.read_csv(Path(__file__).with_name("landmarks.csv")).set_index("image")


def target_registration_error(moving_names, fixed_names, map_points_mm):
    """Return the mean distance of each pair's points, in mm: (n,)."""
    errors = []
    for place, (moving, fixed) in enumerate(zip(moving_names, fixed_names)):
        expected_mm = POINTS.loc[[moving], ["x", "y", "z"]].to_numpy()
        found_mm = map_points_mm(place, POINTS.loc[[fixed], ["x", "y", "z"]].to_numpy())
        errors.append(np.nanmean(np.linalg.norm(found_mm - expected_mm, axis=1)))
    return torch.tensor(errors)


hmopt.add_metric(
    hmopt.Metric(
        name="points_mm",
        title="distance of points (mm)",
        unit="mm",
        direction="minimize",
        per_label=False,
        tolerance=0.05,
        function=target_registration_error,
    )
)
'''

SEARCH = """
[search]
metric = "points_mm"
reported = ["dice", "hd95_mm"]
coarse = 4
refinements = 1
min_paired_subjects = 2
"""


def write_points(folder: Path) -> pd.DataFrame:
    """Write three points of every image, at places that each subject has shifted by so many mm along x and y."""
    manifest = pd.read_csv(folder / "data/cohort.csv")
    rows = []
    for place, path in enumerate(manifest["image"]):
        shift = np.array([0.5 * place, 0.25 * place, 0.0])
        for point in ([10.0, 5.0, 0.0], [-20.0, 30.0, 0.0], [40.0, -15.0, 0.0]):
            x, y, z = np.array(point) + shift
            rows.append({"image": Path(path).name.removesuffix(".nii.gz"), "x": x, "y": y, "z": z})
    points = pd.DataFrame(rows)
    points.to_csv(folder / "landmarks.csv", index=False)
    return points


@pytest.fixture
def folder(make_study: Callable[[str, str], Path]) -> Path:
    folder = make_study(PLUGIN, SEARCH)
    write_points(folder)
    return folder


def test_landmarks_are_searched_and_reported_from_the_command_line(
    folder: Path, hmopt: Callable[..., str]
) -> None:
    hmopt("run", folder)
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "distance of points (mm)" in page
    optima = pd.read_csv(folder / "report/optima.csv")
    assert set(optima["metric"]) == {"points_mm"}
    # the smallest error is the best one
    full = read_folder(folder)
    best = optima.loc[optima["scope"] == "cohort", "score"].item()
    assert best == pytest.approx(full.values["points_mm"].mean(axis=1).min(), rel=1e-5)
    # without registration points are as far apart as they were put
    before = read_folder(folder, "unregistered")
    points = pd.read_csv(folder / "landmarks.csv").groupby("image")[["x", "y", "z"]].mean()
    for place, pair in before.pairs.iterrows():
        moving, fixed = str(pair["pair"]).split("->")
        distance = np.linalg.norm(points.loc[moving] - points.loc[fixed])
        assert before.values["points_mm"][0, int(str(place))] == pytest.approx(distance, rel=1e-5)


@pytest.mark.parametrize("shift_voxels", [(0.0, 0.0), (1.0, -2.0), (0.25, 0.5)])
def test_translation_moves_points_by_its_length_in_mm(
    folder: Path, shift_voxels: tuple[float, float]
) -> None:
    """On a grid of 2 × 3 mm a shift s moves points by (2 s_x, 3 s_y): what is left is that less their distance."""
    points = write_points(folder)
    read_study(folder)  # which imports the plugin
    names = list(points["image"].unique()[:2])
    blank, labels = torch.zeros(1, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.int32)
    to_world = np.diag([2.0, 3.0, 1.0, 1.0])
    originals = Originals(
        moving=blank,
        fixed=blank,
        moving_labels=labels,
        fixed_labels=labels,
        label_count=1,
        spacing_mm=(2.0, 3.0),
        pairs=(Pair(moving=names[1], fixed=names[0], moving_subject="b", fixed_subject="a"),),
        world_of=lambda name: to_world,
    )
    displacement = torch.tensor(shift_voxels).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
    left = np.array([2.0, 3.0]) * shift_voxels - np.array([0.5, 0.25])
    found = measure(["points_mm"], originals, displacement)["points_mm"]
    assert found == pytest.approx([np.linalg.norm(left)])


def test_measurements_of_a_metric_whose_plugin_is_gone_do_not_hide_the_others(
    folder: Path, hmopt: Callable[..., str], catalogue: None
) -> None:
    from hmopt.catalogue import METRICS

    text = (folder / "study.toml").read_text(encoding="utf-8")
    swapped = text.replace('metric = "points_mm"', 'metric = "dice"')
    with_landmarks = swapped.replace('reported = ["dice", "hd95_mm"]', 'reported = ["points_mm"]')
    (folder / "study.toml").write_text(with_landmarks, encoding="utf-8")
    hmopt("run", folder)
    hmopt("report", folder, "--results")
    dice = read_folder(folder).values["dice"]
    del METRICS["points_mm"]
    without = with_landmarks.replace('plugins = ["plugin.py"]', "")
    (folder / "study.toml").write_text(
        without.replace('reported = ["points_mm"]', "reported = []"), encoding="utf-8"
    )
    assert "unknown metric" in hmopt("ledger", folder)
    hmopt("search", folder)
    np.testing.assert_array_equal(read_folder(folder).values["dice"], dice)


def test_the_version_is_part_of_the_key(folder: Path) -> None:
    read_study(folder)
    assert find_metric("points_mm").key == "points_mm@1"
