"""An npz file holds the arrays that are meant, or is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hmopt.array_files import ArrayRule, read_npz
from hmopt.errors import HmoptError

RULES = {"shares": ArrayRule(kinds="f", dimensions=2, low=0, high=1)}


def refuse(got: str) -> HmoptError:
    return HmoptError("a.npz", expected="shares", got=got, advice="Write it again.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.npz"


def test_what_was_written_is_read(path: Path) -> None:
    shares = np.array([[0.25, 1.0]])
    np.savez_compressed(path, shares=shares)
    np.testing.assert_array_equal(read_npz(path, RULES, refuse)["shares"], shares)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.array([[1.5]]), r"1.5 outside \[0, 1\]"),
        (np.array([[np.nan]]), "NaN"),
        (np.array([[np.inf]]), "infinity"),
        (np.array([0.5]), "shape"),
        (np.array([[1]]), "values of int64"),
    ],
)
def test_an_array_that_breaks_its_rule_is_refused(array: np.ndarray, got: str, path: Path) -> None:
    np.savez(path, shares=array)
    with pytest.raises(HmoptError, match=got):
        read_npz(path, RULES, refuse)


def test_a_header_that_claims_more_than_there_is_takes_no_memory(path: Path) -> None:
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        sink, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shares.npy", sink.getvalue() + bytes(16))
    with pytest.raises(HmoptError, match=r"16 bytes of shares\.npy in place of 8000000000000000"):
        read_npz(path, RULES, refuse)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_refused(share: float, path: Path) -> None:
    np.savez_compressed(path, shares=np.random.default_rng(0).random((20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(HmoptError, match="a damaged file"):
        read_npz(path, RULES, refuse)
