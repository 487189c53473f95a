"""Commands whose study folder is taken away while they work."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import hmopt
from hmopt.errors import HmoptError

T = TypeVar("T")


def test_a_search_whose_folder_is_removed_ends_in_one_line_and_makes_none(
    tiny_study: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder, folder)

    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for item in items:
            if description == "Measuring" and folder.exists():
                folder.rename(tmp_path / "away")
            yield item

    with pytest.raises(HmoptError, match="as it was when the command began, got none") as caught:
        hmopt.search(folder, track=track, device="cpu")
    assert str(caught.value).startswith(str(folder / "ledger"))
    assert not folder.exists()
    (tmp_path / "away").rename(folder)
    assert hmopt.search(folder, device="cpu").studies
