"""Files of points: what is read, kept and refused."""

from pathlib import Path

import numpy as np
import pytest

import hmopt
from hmopt.data.points import read_points
from hmopt.errors import DataError, DeclarationError

VTK = """# vtk DataFile Version 3.0
{title}
ASCII
DATASET POLYDATA
POINTS 3 float
1 2 3  4 5 6
7 8 9
VERTICES 1 4
3 0 1 2
POINT_DATA 3
SCALARS name int
LOOKUP_TABLE default
1 2 3
"""


def test_a_text_vtk_is_kept_around_its_points(tmp_path: Path) -> None:
    path = tmp_path / "points.vtk"
    path.write_text(VTK.format(title="by hand"))
    found = read_points(path)
    np.testing.assert_array_equal(found.points, np.arange(1.0, 10).reshape(3, 3))
    assert found.axes is None
    found.moved(found.points + 0.5).save(tmp_path / "out.vtk")
    written = (tmp_path / "out.vtk").read_text()
    assert "POINTS 3 float\n1.5 2.5 3.5\n4.5 5.5 6.5\n7.5 8.5 9.5\nVERTICES 1 4\n" in written
    assert written.endswith(VTK[VTK.index("VERTICES") :])


@pytest.mark.parametrize(("said", "axes"), [("SPACE=LPS", "lps"), ("x SPACE = ras", "ras")])
def test_a_vtk_may_say_where_it_counts_to(tmp_path: Path, said: str, axes: str) -> None:
    path = tmp_path / "points.vtk"
    path.write_text(VTK.format(title=said))
    assert read_points(path).axes == axes
    other = "ras" if axes == "lps" else "lps"
    still = tmp_path / "still.tfm"
    import SimpleITK as sitk

    sitk.WriteTransform(sitk.TranslationTransform(3), str(still))
    with pytest.raises(DeclarationError, match=f"--coordinates: expected {axes}, as points.vtk"):
        hmopt.apply(still, path, coordinates=other)


def test_a_table_keeps_its_separator_and_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "points.tsv"
    path.write_text("label\tX\tY\nAC\t1\t2\n")
    found = read_points(path)
    np.testing.assert_array_equal(found.points, [[1, 2, 0]])
    found.moved(found.points + 1).save(tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text() == "label\tX\tY\nAC\t2\t3\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "i,j,k\n1,2,3\n", "columns x, y and z"),
        ("a.csv", "x,y,z\n1,2,three\n", "a number for z, got 'three'"),
        ("a.csv", "x,y,z\n1,,3\n", "a number for y"),
        ("a.csv", "", "a table of points"),
        ("a.vtk", "solid mesh", "another file"),
        ("a.vtk", VTK.replace("POINTS 3", "POINTS 4000"), "fewer than 4000 points"),
        ("a.vtk", VTK.replace("7 8 9", "7 8 nan"), "not finite"),
        ("a.vtk", VTK.replace("POINTS 3 float", "LINES 0 0"), "without POINTS"),
    ],
)
def test_what_is_no_file_of_points_is_one_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read_points(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
