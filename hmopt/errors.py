"""The errors that hmopt raises for things a user can mend."""

import copyreg


class HmoptError(Exception):
    """One line, `field: expected rule, got value. What to do.`, that names what is wrong and what to do.

    Parameters
    ----------
    field
        What was looked at: a key of `study.toml`, a file, an argument.
    expected
        The rule that it breaks.
    got
        What was found instead.
    advice
        One sentence that says what to do.

    Examples
    --------
    >>> print(HmoptError("regularization", expected="a number in [0, 1]", got="1.2", advice="Choose a smaller one."))
    regularization: expected a number in [0, 1], got 1.2. Choose a smaller one.
    """

    def __init__(self, field: str, *, expected: str, got: object, advice: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}. {advice}")

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error come back from another process: made again from its text, which is all that it holds."""
        return copyreg.__newobj__, (type(self), str(self))  # type: ignore[attr-defined]


class DeclarationError(HmoptError):
    """`study.toml`, or an argument that stands for a part of it, cannot be used."""


class DataError(HmoptError):
    """An image, a label map, a manifest or a name table cannot be used."""


class CheckpointError(HmoptError):
    """A weights file does not fit what it is loaded into."""


class LedgerError(HmoptError):
    """A ledger or a table of measurements cannot be used, or lacks what was asked of it."""


class SearchError(HmoptError):
    """A scope, study or setting that was asked for is not to be had."""
