"""Errors as they come back from another process."""

import pickle

from hmopt.errors import DataError


def test_an_error_is_the_same_after_its_way_through_a_process() -> None:
    error = DataError("images", expected="a folder", got="none", advice="Make one.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DataError
    assert str(again) == "images: expected a folder, got none. Make one."
