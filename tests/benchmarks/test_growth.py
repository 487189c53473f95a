"""What the growth curves are made of; nothing here is timed."""

import sys
from pathlib import Path

import pytest

from benchmarks.growth import MEASURED, POINTS, TIMED, draw
from benchmarks.memory import peak_anonymous


def test_every_quantity_has_points_a_measure_and_a_title() -> None:
    assert POINTS.keys() == MEASURED.keys() == TIMED.keys()


def test_curves_are_drawn_as_pixels_and_as_lines(tmp_path: Path) -> None:
    rows = [(10, 0.1, 300.0), (100, 0.2, 310.0)]
    draw({"subjects": rows, "studies": rows}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "growth.svg").read_text(encoding="utf-8")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="/proc tells a process's anonymous memory"
)
def test_the_peak_of_a_process_is_seen_after_it_has_freed_it() -> None:
    code = "import time; a = bytearray(200_000_000); time.sleep(1); del a; time.sleep(0.1); print('done')"
    peak, printed = peak_anonymous([sys.executable, "-c", code])
    assert printed.strip() == "done"
    assert 200e6 < peak < 260e6


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="/proc tells a process's anonymous memory"
)
def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="exit status 3"):
        peak_anonymous([sys.executable, "-c", "raise SystemExit(3)"])
