"""What went wrong when an engine registered a pair."""

_LONGEST = 300
"""Characters of a reason, at most: it is kept with the measurements."""


class EngineFailure(Exception):  # noqa: N818 (it is no error of the user of hmopt)
    """An engine did not register a pair: it raised, crashed, hung, or returned something else.

    Parameters
    ----------
    got
        What happened instead, in one line.
    expected
        What it should have returned.

    Examples
    --------
    >>> print(EngineFailure("ValueError: no gradient"))
    ValueError: no gradient
    >>> print(EngineFailure("(3, 3)", expected="a displacement of shape (2, 3, 3)"))
    expected a displacement of shape (2, 3, 3), got (3, 3)
    """

    def __init__(self, got: str, expected: str = "a displacement") -> None:
        words = " ".join(got.split())
        self.got = words[:_LONGEST]
        self.expected = expected
        is_plain = expected == "a displacement"
        super().__init__(self.got if is_plain else f"expected {expected}, got {self.got}")
