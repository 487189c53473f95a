"""Errors as they come back from another process."""

import pickle

import pytest

from hmopt.errors import DataError, HmoptError


def test_an_error_is_the_same_after_its_way_through_a_process() -> None:
    error = DataError("images", expected="a folder", got="none", advice="Make one.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DataError
    assert str(again) == "images: expected a folder, got none. Make one."


@pytest.mark.parametrize("got", ["", " ", "\t"])
def test_an_empty_text_is_seen(got: str) -> None:
    error = HmoptError("name", expected="a name", got=got, advice="Give one.")
    assert str(error) == f"name: expected a name, got {got!r}. Give one."


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hush@host/db",
        "mysql+pymysql://me:hu:sh@host:3306/db",
        "redis://:hush@host",
        "postgresql://me:hu@sh@host/db",
        "https://me:" + "hush" * 200 + "@host/db",
    ],
)
def test_no_message_shows_the_password_of_a_url(url: str) -> None:
    for place in ("field", "expected", "got", "advice"):
        texts = {"field": "a", "expected": "b", "got": "c", "advice": "d.", place: f"<{url}>"}
        shown = str(HmoptError(texts.pop("field"), **texts))
        assert "hu" not in shown
        assert "***@host" in shown


def test_what_is_no_password_stays() -> None:
    for text in ("see https://host:80/page", "name@host", "C://a:b", "14:30@noon"):
        error = HmoptError("a", expected="b", got=text, advice="Do.")
        assert text in str(error)


def test_an_empty_value_is_seen() -> None:
    error = HmoptError("cohort.name", expected="a name", got="", advice="Give one.")
    assert str(error) == "cohort.name: expected a name, got ''. Give one."
