"""`training.csv`: what a training did, step by step."""

import csv
from collections.abc import Mapping
from pathlib import Path

from hmopt.catalogue import find_hyperparameter
from hmopt.errors import CheckpointError
from hmopt.files import one_line, replacing
from hmopt.space import Space

COLUMNS = (
    "step",
    "minutes",
    "learning_rate",
    "loss",
    "similarity",
    "regularization_term",
    "overlap",
    "tune_dice",
)


class Log:
    """Appends rows to a CSV file, and forgets those after the step that a training continues from.

    Parameters
    ----------
    path
        The file.
    space
        Its hyperparameters get a column each, `setting_NAME`.
    step
        Rows of later steps are dropped.

    Raises
    ------
    CheckpointError
        If rows of a training that continues cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.space import Hyperparameter
    >>> path = Path(tempfile.mkdtemp()) / "training.csv"
    >>> log = Log(path, Space(hyperparameters=(Hyperparameter(name="regularization"),)), step=0)
    >>> log.write({"step": 1, "loss": 0.5, "setting_regularization": 0.25})
    >>> path.read_text().splitlines()[1]
    '1,,,0.5,,,,,0.25'
    """

    def __init__(self, path: Path, space: Space, step: int) -> None:
        self.path = path
        terms = [find_hyperparameter(name).term_column for name in space.names]
        settings = [f"setting_{name}" for name in space.names]
        self.columns = list(dict.fromkeys([*COLUMNS, *terms, *settings]))
        kept = _rows_until(path, step) if step else []
        with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row; columns that it lacks stay empty."""
        numbers = {
            name: value if isinstance(value, int) else f"{value:.6g}" for name, value in row.items()
        }
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(numbers)


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        whole = [row for row in rows[:-1] if None not in row.values()]
        # the last one may be torn
        whole += [
            row for row in rows[-1:] if None not in row.values() and row.get("step", "").isdecimal()
        ]
        return [row for row in whole if int(row["step"]) <= step]
    except (csv.Error, ValueError, KeyError) as error:
        raise CheckpointError(
            str(path),
            expected="the log of a training, with a whole number of steps in each row",
            got=one_line(error),
            advice="Delete the file: the training goes on from its state, and its log from there.",
        ) from error
