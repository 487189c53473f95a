"""Files of landmarks, and manifests that name them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.data.cohort import list_images
from hmopt.data.landmarks import correspond, read_landmarks
from hmopt.data.preprocessing import prepare
from hmopt.data.volume import Lattice
from hmopt.declaration import CohortOptions, Study, parse_study
from hmopt.errors import DataError

AFFINE = np.array([[-2.0, 0, 0, 20], [0, 1.5, 0, -3], [0, 0, 0.5, 1], [0, 0, 0, 1]])
LATTICE = Lattice(shape=(20, 20, 20), affine=AFFINE)
VOXELS = np.array([[1.0, 2.0, 3.0], [4.0, 5.5, 6.0]])
RAS = VOXELS @ AFFINE[:3, :3].T + AFFINE[:3, 3]
LPS = RAS * [-1, -1, 1]


def rows(points: np.ndarray) -> list[str]:
    return [",".join(f"{value:g}" for value in point) for point in points]


CSV = "x,y,z\n" + "\n".join(rows(RAS)) + "\n"
ANTS = "x,y,z,t,label\n" + "\n".join(f"{row},0,{number}" for number, row in enumerate(rows(LPS), 1))
LEARN2REG = "\n".join(rows(VOXELS)) + "\n"
SLICER = (
    "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n"
    "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    + "\n".join(
        f"{number},{row},0,0,0,1,1,1,0,F-{number},,," for number, row in enumerate(rows(LPS), 1)
    )
)


SLICER_5 = "# Markups fiducial file version = 5.2\n# CoordinateSystem = LPS\n" + "\n".join(
    f"{number},{row},0,0,0,1,1,1,0,F-{number},,,2,0" for number, row in enumerate(rows(LPS), 1)
)


@pytest.mark.parametrize(
    ("name", "text", "coordinates", "names"),
    [
        ("points.csv", CSV, "ras", ("1", "2")),
        ("ants.csv", ANTS, "lps", ("1", "2")),
        ("learn2reg.csv", LEARN2REG, "voxel", ("1", "2")),
        # the file itself says LPS
        ("slicer.fcsv", SLICER, "ras", ("F-1", "F-2")),
        ("slicer-5.fcsv", SLICER_5, "ras", ("F-1", "F-2")),
    ],
)
def test_the_same_points_are_read_from_each_format(
    tmp_path: Path, name: str, text: str, coordinates: str, names: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = read_landmarks(path, LATTICE, coordinates)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.voxels, VOXELS)
    assert found.names == names
    assert found.are_named == (name.endswith(".fcsv") or name == "ants.csv")


def test_a_point_of_a_plane_lies_on_it_wherever_the_plane_is(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("landmark,x,y\na,18,0\n", encoding="utf-8")
    plane = Lattice(shape=(20, 20, 1), affine=AFFINE)
    np.testing.assert_allclose(read_landmarks(path, plane, "ras").voxels, [[1, 2, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\n", "expected landmarks, got none"),
        ("x,y,z\n1,2,left\n", "expected a number for z"),
        ("a,b\n1,2\n", "expected columns x, y and z"),
        ("x,y,z\n900,0,0\n", "read as ras. Correct cohort.point_coordinates"),
        # near the image, but none in it
        ("x,y,z\n40,2,1\n30,2,1\n", "read as ras. Correct cohort.point_coordinates"),
    ],
)
def test_what_cannot_be_landmarks_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_landmarks(path, LATTICE, "ras")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("points.csv", "1,2,3\n1,left,3\n", 2),
        ("points.fcsv", SLICER.replace("0,F-2", "0,F-2,a,b,c,d,e"), 5),
        ("points.fcsv", SLICER.replace("\n2,", "\n2,left"), 5),
    ],
)
def test_an_error_names_the_line_of_the_file(
    tmp_path: Path, name: str, text: str, line: int
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"line {line}: expected"):
        read_landmarks(path, LATTICE, "voxel")


CORONAL = np.array([[-2.0, 0, 0, 20], [0, 0, 1.5, 3], [0, 1.5, 0, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("lattice", "coordinates", "message"),
    [
        (LATTICE, "ras", "as the image is a volume, got no z"),
        (LATTICE, "voxel", "as the image is a volume, got no z"),
        (Lattice(shape=(20, 20, 1), affine=CORONAL), "ras", "is not axial, got no z"),
    ],
)
def test_points_without_z_are_refused_where_the_image_does_not_tell_it(
    tmp_path: Path, lattice: Lattice, coordinates: str, message: str
) -> None:
    path = tmp_path / "points.csv"
    path.write_text("name,x,y\na,18,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_landmarks(path, lattice, coordinates)  # type: ignore[arg-type]


def test_voxels_of_a_plane_need_no_z_however_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("name,x,y\na,4,2\n", encoding="utf-8")
    plane = Lattice(shape=(20, 20, 1), affine=CORONAL)
    np.testing.assert_allclose(read_landmarks(path, plane, "voxel").voxels, [[4, 2, 0]])


def test_names_of_different_columns_that_share_nothing_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("label,id,x,y,z\nA,1,2,0,1\nB,2,4,0,1\n", encoding="utf-8")
    other.write_text("label,id,x,y,z\nA,1,6,0,1\nA,2,8,0,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"the column id, as in .*other\.csv, got the column label"):
        correspond(*(read_landmarks(path, LATTICE, "ras") for path in (one, other)))


def test_names_tell_which_landmarks_are_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("Landmark,X,Y,Z\nb,2,0,1\na,4,0,1\n", encoding="utf-8")
    other.write_text("landmark,x,y,z\na,6,0,1\nc,8,0,1\n", encoding="utf-8")
    found = correspond(*(read_landmarks(path, LATTICE, "ras") for path in (one, other)))
    np.testing.assert_allclose(found.moving[:, 0], [8])
    np.testing.assert_allclose(found.fixed[:, 0], [7])


@pytest.mark.parametrize("names", [("root", "base", "base"), ("root", "", "base")])
def test_a_name_that_is_empty_or_repeated_in_one_file_is_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("name,x,y,z\napex,2,0,1\nbase,4,0,1\nroot,6,0,1\n", encoding="utf-8")
    rows = [f"{name},{2 + number},0,1\n" for number, name in enumerate(names)]
    other.write_text("".join(["name,x,y,z\n", *rows]), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"other\.csv: expected a column that names each landmark once"
    ):
        correspond(*(read_landmarks(path, LATTICE, "ras") for path in (one, other)))


@pytest.fixture
def with_points(write_cohort: Callable[..., Path]) -> Path:
    """Return a manifest whose images have points instead of labels; the last image has none."""
    manifest = write_cohort(subjects=4)
    table = pd.read_csv(manifest)
    names = []
    for number in range(len(table)):
        name = f"points_{number}.csv"
        (manifest.parent / name).write_text(f"name,x,y,z\na,{number},1,2\n", encoding="utf-8")
        names.append(name)
    names[-1] = "n/a"
    table.drop(columns="label").assign(points=names).to_csv(manifest, index=False)
    return manifest


def study(manifest: Path, coordinates: str = "voxel") -> Study:
    return parse_study(
        {
            "name": "points",
            "cohort": {"manifest": manifest, "point_coordinates": coordinates},
            "preprocessing": {"shape": [16, 16, 16]},
            "split": {"train": 0, "tune": 0, "search": 4},
            "pairs": {},
            "model": {"source": "optimize"},
            "hyperparameters": {"regularization": {}},
            "refine": {"iterations": 1},
            "search": {"metric": "tre_mm", "reported": []},
        }
    )


def test_a_manifest_needs_no_labels(with_points: Path, tmp_path: Path) -> None:
    images = list_images(CohortOptions(manifest=with_points))
    assert images["points"].iloc[0] == with_points.parent / "points_0.csv"
    assert images["points"].isna().tolist() == [False, False, False, True]
    cohort = prepare(study(with_points), tmp_path / "study")
    assert not cohort.has_labels
    assert cohort.labels == ("whole image",)
    first, *_, last = cohort.images.index
    # the file has 10 x 9 x 8 voxels
    assert (cohort.label_map(first) > 0).sum() == 10 * 9 * 8
    assert "points" not in cohort.images
    landmarks = cohort.landmarks_of(first)
    assert landmarks is not None
    np.testing.assert_allclose(landmarks.voxels, [[0, 1, 2]])
    assert cohort.landmarks_of(last) is None


def test_a_moved_point_changes_what_is_measured_and_prepares_nothing_again(
    with_points: Path, tmp_path: Path
) -> None:
    before = prepare(study(with_points), tmp_path / "study")
    (with_points.parent / "points_1.csv").write_text("name,x,y,z\na,1,1,3\n", encoding="utf-8")
    after = prepare(study(with_points), tmp_path / "study")
    assert after.identity == before.identity
    assert after.measured_identity != before.measured_identity
    assert before.measured_identity != before.identity
