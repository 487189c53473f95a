import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hmopt.analysis.cross_validation import by_kinds
from hmopt.report.curves import POINTS, thinned, training_figure
from hmopt.report.figure import PAPER, draw, inline, legend, new_figure, style, to_svg
from hmopt.report.material import read_material
from hmopt.report.overview import subjects_figure


def test_a_figure_in_a_page_takes_the_pages_colours_and_an_escaped_title() -> None:
    with style():
        figure = new_figure(2, 2)
        figure.subplots().set_title("<i>$x")
        svg = inline(to_svg(figure), '"><script>')
    assert "var(--ink)" in svg
    assert "#1c2128" not in svg
    assert "<script" not in svg
    assert "&lt;i&gt;$x" in svg


def two_axes() -> Figure:
    """Return a figure whose layout follows from its texts."""
    figure = new_figure(6, 3)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [1000, 2000], label="one of two")
    left.set_ylabel("a label")
    right.set_title("a title of some length")
    legend(figure)
    return figure


def test_a_figure_is_drawn_once_for_each_file_as_matplotlib_lays_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws: list[Figure] = []
    draw_figure = Figure.draw

    def count(self: Figure, renderer: Any) -> None:
        draws.append(self)
        draw_figure(self, renderer)

    with style():
        buffer = io.StringIO()
        saved = two_axes()
        saved.savefig(
            buffer, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None}
        )
        monkeypatch.setattr(Figure, "draw", count)
        drawn = draw(two_axes())
    assert len(draws) == 2
    as_saved = buffer.getvalue().replace("'DejaVu Sans', ", "")
    assert drawn.svg.count("<path") == as_saved.count("<path")
    places = [line for line in as_saved.splitlines() if " d=" in line or "translate(" in line]
    assert len(places) > 10
    assert set(places) <= set(drawn.svg.splitlines())
    with Image.open(io.BytesIO(drawn.png)) as image:
        assert image.size == (6 * 160, 3 * 160)
        corner = image.convert("RGB").getpixel((0, 0))
    assert corner == (255, 255, 255)


def test_thinning_keeps_means_and_checkpoints() -> None:
    steps = np.arange(1, 2001)
    tune = np.where(steps % 500 == 0, steps / 1000, np.nan)
    thin = thinned(
        pd.DataFrame({"step": steps, "minutes": steps / 20, "loss": steps * 1.0, "tune_dice": tune})
    )
    assert len(thin) == POINTS
    assert thin["loss"].mean() == steps.mean()
    assert thin["tune_dice"].dropna().tolist() == [0.5, 1.0, 1.5, 2.0]
    assert thin["step"].iloc[-1] == 2000
    assert thin["minutes"].iloc[-1] == 100


def test_a_log_without_loss_gives_no_figure() -> None:
    assert training_figure(pd.DataFrame({"step": [1, 2]})) is None
    assert training_figure(pd.DataFrame({"step": [1, 2], "loss": [np.nan, np.nan]})) is None


def strip_of(figure: Figure) -> list[tuple[object, object]]:
    lower = figure.axes[1]
    return [
        (line.get_color(), line.get_markerfacecolor())
        for line in lower.lines
        if line.get_marker() == "o"
    ]


def test_no_subject_is_drawn_as_a_verdict(study_folder: Path) -> None:
    material = read_material(study_folder)
    found = next(
        found for kinds, found in by_kinds(material.findings).items() if "subject" in kinds
    )
    drawn = strip_of(subjects_figure(material, found))
    assert len(drawn) > 1
    assert len(set(drawn)) == 1
