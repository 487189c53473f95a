import numpy as np
import pytest

from hmopt.data.structures import choose_structures, merge_labels
from hmopt.errors import DataError

NAMES = {10: "Left-Thalamus", 49: "Right-Thalamus", 3: "Left-Cortex"}


def test_every_label_is_a_structure_where_none_is_declared() -> None:
    assert choose_structures({}, NAMES) == {
        "Left-Cortex": (3,),
        "Left-Thalamus": (10,),
        "Right-Thalamus": (49,),
    }


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"thalamus": ["Left-Thalamos"]}, "Did you mean 'Left-Thalamus'?"),
        ({"thalamus": ["11"]}, "got '11'"),
        ({"thalamus": []}, "at least one label"),
        ({"a": ["10"], "b": ["Left-Thalamus"]}, "'Left-Thalamus', which a has"),
    ],
)
def test_a_structure_that_cannot_be_is_refused(
    declared: dict[str, list[str]], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint.replace("?", r"\?")):
        choose_structures(declared, NAMES)


def test_merging_numbers_structures_from_one_and_drops_other_labels() -> None:
    codes = np.array([[0, 3, 10], [49, 49, 2**40]])
    merged = merge_labels(codes, {"thalamus": (10, 49), "cortex": (3,)})
    np.testing.assert_array_equal(merged, [[0, 2, 1], [1, 1, 0]])
    assert merged.dtype == np.uint8


def test_more_structures_than_a_byte_holds_are_kept_apart() -> None:
    merged = merge_labels(np.arange(301), {f"s{code}": (code,) for code in range(1, 301)})
    assert merged.dtype == np.uint16
    np.testing.assert_array_equal(merged, np.arange(301))
