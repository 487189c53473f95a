"""Names of labels, from a BIDS `dseg.tsv` or a Decathlon `dataset.json`."""

import json
from pathlib import Path

import pandas as pd

from hmopt.errors import DataError

BACKGROUND = 0


def read_label_names(path: Path) -> dict[int, str]:
    r"""Give the names of labels by their code in the label maps, without the background.

    Parameters
    ----------
    path
        A table with columns `index` and `name` separated by tabs (BIDS `dseg.tsv`), or a `dataset.json` whose key
        `labels` gives a name for each code (Medical Segmentation Decathlon) or a code for each name (nnU-Net).

    Raises
    ------
    DataError
        If the file cannot be read as either, or gives a code or a name twice.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "dseg.tsv"
    >>> _ = path.write_text("index\tname\n0\tbackground\n1\tanterior\n2\tposterior\n")
    >>> read_label_names(path)
    {1: 'anterior', 2: 'posterior'}
    """
    if not path.is_file():
        raise DataError(str(path), expected="a table of label names", got="no file", advice="Correct `label_names`.")
    rows = _from_json(path) if path.suffix == ".json" else _from_table(path)
    names = {code: name for code, name in rows if code != BACKGROUND}
    if len(names) < sum(code != BACKGROUND for code, _ in rows) or len(set(names.values())) < len(names):
        raise DataError(
            str(path),
            expected="each index and each name once",
            got=_repeated(rows),
            advice="Give every label a name of its own; `cohort.structures` merges labels.",
        )
    return names


def _from_json(path: Path) -> list[tuple[int, str]]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        if all(isinstance(value, str) for value in labels.values()):
            return [(int(code), name) for code, name in labels.items()]
        return [(int(code), name) for name, code in labels.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            str(path),
            expected='"labels": {"1": "name", …}',
            got=f"{type(error).__name__}: {error}",
            advice="Correct the file, or give a dseg.tsv.",
        ) from error


def _from_table(path: Path) -> list[tuple[int, str]]:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        return [(int(index), name) for index, name in zip(table["index"], table["name"], strict=True)]
    except (ValueError, KeyError) as error:
        raise DataError(
            str(path),
            expected="columns index (whole numbers) and name, separated by tabs",
            got=f"{type(error).__name__}: {error}",
            advice="Correct the table.",
        ) from error


def _repeated(rows: list[tuple[int, str]]) -> str:
    for column in zip(*rows, strict=True):
        for value in column:
            if column.count(value) > 1:
                return f"{value!r} more than once"
    return "a repetition"
