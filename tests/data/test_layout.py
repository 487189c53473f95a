import numpy as np
import pytest

from hmopt.data.grid import Frame
from hmopt.data.layout import NO_SLICE, check_preprocessing, lay_out
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, DeclarationError


def frame(*shape: int) -> Frame:
    return Frame(shape=shape, spacing_mm=(1.0, 4.0, 2.0), to_world=np.eye(4))


def section(**values: object) -> PreprocessingOptions:
    return PreprocessingOptions.model_validate(values)


def test_a_plane_keeps_the_spacing_of_its_two_axes() -> None:
    layout = lay_out(
        frame(8, 3, 8), section(shape=[8, 8], slices={"axis": 1, "indices": [2, 0]}), "a"
    )
    assert layout.spacing_mm == (1.0, 2.0)
    assert layout.slices == (2, 0)
    assert [grid[1, 3] for grid in layout.grids] == [2, 0]


def test_a_flat_image_is_a_plane_by_itself() -> None:
    layout = lay_out(frame(8, 1, 8), section(shape=[8, 8]), "a")
    assert layout.slices == (NO_SLICE,)
    assert layout.spacing_mm == (1.0, 2.0)


def test_a_declared_spacing_is_that_of_the_prepared_grid() -> None:
    layout = lay_out(frame(8, 8, 8), section(shape=[4, 4, 4], spacing_mm=[2, 4, 1]), "a")
    np.testing.assert_allclose(np.diag(layout.grids[0]), [2, 1, 0.5, 1])


def test_a_volume_without_declared_slices_is_no_2d_image() -> None:
    with pytest.raises(DataError, match="a 2-D image"):
        lay_out(frame(8, 8, 8), section(shape=[8, 8]), "a")


def test_a_slice_that_an_image_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="slice 3 along axis 1, got 3 slices"):
        lay_out(frame(8, 3, 8), section(shape=[8, 8], slices={"axis": 1, "indices": [0, 3]}), "a")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"shape": [8, 8, 8], "slices": {"axis": 1, "indices": [0]}}, "shape"),
        ({"shape": [8, 0]}, "shape"),
        ({"shape": [8, 8], "spacing_mm": [1, 1, 1]}, "spacing_mm"),
        ({"shape": [8, 8], "spacing_mm": [1, 0]}, "spacing_mm"),
        ({"shape": [8, 8], "slices": {"axis": 1, "indices": []}}, "slices.indices"),
        ({"shape": [8, 8], "slices": {"axis": 1, "indices": [1, 1]}}, "slices.indices"),
        ({"shape": [8, 8], "slices": {"axis": 1, "indices": [-1]}}, "slices.indices"),
        (
            {"shape": [8, 8], "slices": {"axis": 1, "indices": [1], "search_indices": [2]}},
            "slices.search_indices",
        ),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(
    values: dict[str, object], field: str
) -> None:
    with pytest.raises(DeclarationError, match=f"preprocessing.{field}: "):
        check_preprocessing(section(**values))
