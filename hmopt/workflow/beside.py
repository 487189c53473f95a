"""`hmopt.beside`: several study folders of the same pairs, compared."""

from collections.abc import Sequence
from pathlib import Path

from hmopt.analysis.beside import Beside
from hmopt.declaration import Choice, ReportOptions
from hmopt.errors import DataError, DeclarationError
from hmopt.files import checked, real_place
from hmopt.report.beside import read_beside
from hmopt.study_folder import StudyFolder


def beside(
    folder: Path | str,
    *others: Path | str,
    choices: Sequence[Choice] = ("tuned", "default"),
    titles: Sequence[str] | None = None,
) -> Beside:
    """Compare study folders that were searched on the same pairs; neither model nor torch is needed.

    Parameters
    ----------
    folder
        The study that the others are compared with; its metric, margin and splits of the subjects count.
    others
        Other study folders, or tables of scores (`.csv` with columns `pair`, `label` and the metric). Committed results
        are enough of each.
    choices
        Settings that are compared: `tuned`, `per_structure`, `default`, `matched`.
    titles
        What each is called, in the order of the folders; left out: their names.

    Returns
    -------
    Beside
        Scores, paired differences and costs; `table()` is a data frame of them. A notebook shows its rows.

    Raises
    ------
    LedgerError
        If one of them was not searched.
    DataError
        If they are of other images or another grid, or share no pair or structure.
    DeclarationError
        If a choice is unknown.

    Examples
    --------
    >>> import hmopt
    >>> found = hmopt.beside("studies/hippocampus", "studies/hippocampus/results/ants.csv")  # doctest: +SKIP
    >>> found.table()[["method", "choice", "label", "dice", "verdict"]]  # doctest: +SKIP
    """
    folders = (folder, *others)
    if titles is not None and len(titles) != len(folders):
        raise DataError(
            "titles",
            expected=f"one for each of {len(folders)} folders",
            got=len(titles),
            advice="Name each, or none.",
        )
    if not others:
        raise DataError(
            "others",
            expected="another study folder to compare with",
            got="none",
            advice="Name one.",
        )
    names: Sequence[str | None] = titles or [None] * len(folders)
    options = checked(
        {
            "title": names[0],
            "choices": list(choices),
            "beside": [
                {"path": real_place(Path(path)), "title": title}
                for path, title in zip(others, names[1:], strict=True)
            ],
        },
        ReportOptions,
        field="beside",
        error=DeclarationError,
        what="options of a comparison",
        advice="Correct the argument.",
    )
    found = read_beside(StudyFolder(folder), options)
    assert found is not None  # as others are named
    return found
