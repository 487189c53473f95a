import threading

import pytest

from hmopt.data.ahead import ahead


def test_the_next_is_made_while_the_last_is_used() -> None:
    made = {number: threading.Event() for number in range(3)}

    def make(number: int) -> int:
        made[number].set()
        return number

    results = ahead(make, range(3))
    assert next(results) == 0
    assert made[1].wait(timeout=10)  # without being asked for


def test_nothing_is_made_further_ahead() -> None:
    made = []
    results = ahead(lambda number: made.append(number) or number, range(5))
    next(results)
    results.close()
    assert max(made) <= 1


def test_what_fails_fails_where_it_is_asked_for() -> None:
    results = ahead(lambda number: 1 // number, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_nothing_comes_of_nothing() -> None:
    assert list(ahead(str, [])) == []
