"""Memory and disk are asked before anything is taken of them."""

from collections import namedtuple
from pathlib import Path

import pytest

from hmopt import limits
from hmopt.errors import HmoptError

Usage = namedtuple("Usage", "total used free")


def test_a_grid_may_have_so_many_voxels_and_no_more() -> None:
    limits.check_voxels((2**11, 2**10, 2**10), "a", HmoptError)
    with pytest.raises(HmoptError, match="at most 2,147,483,648 voxels, got 2049 x 1024 x 1024"):
        limits.check_voxels((2**11 + 1, 2**10, 2**10), "a", HmoptError)


def test_what_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: 1000)
    limits.check_memory(1000, "a", HmoptError)
    with pytest.raises(HmoptError, match="fit into memory"):
        limits.check_memory(1001, "a", HmoptError)


def test_where_the_system_does_not_tell_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    limits.check_memory(10**18, "a", HmoptError)


def test_what_does_not_fit_on_the_disk_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hmopt.limits.shutil.disk_usage", lambda _: Usage(10, 9, 1000))
    place = tmp_path / "not" / "there"
    limits.check_disk(1000, place, HmoptError)
    with pytest.raises(HmoptError, match="of free space"):
        limits.check_disk(1001, place, HmoptError)
