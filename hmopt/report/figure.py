"""How every figure looks, and how it gets into a file and into a page."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hmopt.files import replacing
from hmopt.report.words import symbol
from hmopt.space import Hyperparameter, choice_text

INK, MUTED, GRID, PAPER = "#1c2128", "#5f6b7a", "#dce1e7", "#ffffff"
OWN, OTHER, THIRD, FOURTH = "#0b6cb3", "#c24e00", "#00795c", "#a3447d"
"""Blue, vermilion, green and purple of Okabe and Ito's palette, a little darker: distinct in colour blindness, too."""

_ROLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    OWN: "own",
    OTHER: "other",
    THIRD: "third",
    FOURTH: "fourth",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hmopt",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.solid_capstyle": "butt",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw as all figures of a report are drawn, without leaving a trace in matplotlib's settings."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; width and height in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def unit_axis(axes: Axes, label: str, low: float, high: float) -> None:
    """Set the horizontal axis to a hyperparameter's range, with room for a marker at either end."""
    margin = 0.03 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_xlabel(label)


def value_axis(axes: Axes, hyperparameter: Hyperparameter) -> None:
    """Set the horizontal axis to a hyperparameter's values: its range, or its choices side by side."""
    name = symbol(hyperparameter.name)
    if hyperparameter.is_ordered:
        unit_axis(axes, name, hyperparameter.low, hyperparameter.high)
        if not hyperparameter.is_even:
            axes.set_xscale("log")
            share = (hyperparameter.high / hyperparameter.low) ** 0.03
            axes.set_xlim(hyperparameter.low / share, hyperparameter.high * share)
        return
    names = [choice_text(choice) for choice in hyperparameter.choices]
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel(name)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name rows that lie at heights 0, -1, -2, …, from the top."""
    count = len(names)
    heights = [-row for row in range(count)]
    axes.set_yticks(heights, names)
    axes.set_ylim(0.4 - count, 0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(
        axis="y",
        length=0,
        labelcolor=INK,
        color=MUTED,
    )


def legend(figure: Figure, *drawn: Axes, columns: int = 2, handlelength: float = 1.6) -> None:
    """Name each kind of mark once, below the axes.

    Parameters
    ----------
    figure
        The figure.
    drawn
        The axes whose marks are named; none: all of them.
    columns
        Entries side by side.
    handlelength
        Length of the drawn samples, in font sizes.
    """
    named: dict[str, Any] = {}
    for axes in drawn or figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower left",
        ncols=columns,
        handlelength=handlelength,
    )


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG document, and keep the layout that it was given for it.

    `Figure.savefig` draws a figure that has a layout twice: once without output, for the layout.
    Its canvas draws it once, and lays it out at the beginning.
    """
    figure.set_facecolor(PAPER)
    dpi = figure.dpi
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)  # whose methods have no types
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    figure.set_dpi(dpi)  # an SVG has 72
    figure.set_layout_engine(None)
    return re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", buffer.getvalue())


def inline(svg: str, title: str) -> Markup:
    """Return an SVG document as an element of a page, whose colours follow the page's light or dark scheme."""
    start = svg.index("<svg") + len("<svg ")
    body = svg[start:]
    for colour, role in _ROLES.items():
        body = body.replace(colour, f"var(--{role})")
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"\s+xmlns(:xlink)?=\"[^\"]*\"", "", body, count=2)
    opening = Markup('<svg role="img" aria-label="{}" ').format(title)
    return opening + Markup(body)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure on white, as SVG document and as content of a PNG file."""

    svg: str
    png: bytes

    def write(self, folder: Path, name: str) -> None:
        """Write `name.svg` and `name.png`."""
        with replacing(folder / f"{name}.svg") as path:
            path.write_text(self.svg, encoding="utf-8")
        with replacing(folder / f"{name}.png") as path:
            path.write_bytes(self.png)


def draw(figure: Figure) -> Drawn:
    """Return a figure as it is written; the PNG has the layout of the SVG."""
    svg = to_svg(figure)
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        facecolor=PAPER,
        dpi=160,
        metadata={"Software": None},
    )
    return Drawn(svg=svg, png=buffer.getvalue())


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write a figure as `name.svg` and `name.png` on white, and return the SVG."""
    drawn = draw(figure)
    drawn.write(folder, name)
    return drawn.svg


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a `data:` URI."""
    encoded = base64.b64encode(content).decode()
    return f"data:{media_type};base64,{encoded}"
