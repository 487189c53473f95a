"""The best setting of each structure, drawn at the place of the structure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.report.figure import new_figure
from hmopt.report.material import Material
from hmopt.report.outlines import ROLES, read_arrays
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import listed, scope_title, setting_value, shorten, symbol
from hmopt.space import Hyperparameter, as_number

COLOURS = colormaps["viridis"]
"""Distinct for every kind of colour blindness, darker where λ is lower, and nowhere grey."""

BLACK, WHITE = "#000000", "#fefefe"
"""Over an image, which does not follow the page's light or dark scheme."""

LINES = 24
"""Structures in a column of the key."""

Slice = tuple[NDArray[Any], NDArray[Any]]
"""An image and its label map, each of shape (x, y)."""

Codes = Mapping[int, ScopeResult]
"""Findings by the code that their structure has in label maps."""


class AnatomyPart(ReportPart):
    """A slice whose structures are coloured by their best setting."""

    anchor = "anatomy"
    place = Place.RESULTS

    def section(self, material: Material) -> Section | None:
        """Return the slice; None where there are no pictures of pairs, or fewer than two structures."""
        codes = _codes(material)
        slices = _read_slices(material)
        if not slices:
            return None
        image, labels = max(slices, key=lambda one: _structures_in(one, codes))
        first = material.searched.space.hyperparameters[0]
        if not first.is_ordered:  # colours are along a range; the first one is always active
            return None
        shown = _shown(codes, labels, first.name)
        if len(shown) < 2:
            return None
        figure = _draw(image, labels, shown, first, _aspect(material))
        findings = list(shown.values())
        return Section(
            title=f"{symbol(first.name)}* by location",
            found=_found(findings, first, len(codes)),
            pictures={"anatomy": figure},
            notes=tuple(_notes(codes, findings)),
        )


def _labels(material: Material) -> list[ScopeResult]:
    return by_kinds(material.findings).get(("label",), [])


def _codes(material: Material) -> Codes:
    codes = {}
    for finding in _labels(material):
        code = material.measurements.labels.index(str(finding.scope.label)) + 1
        codes[code] = finding
    return codes


def _read_slices(material: Material) -> list[Slice]:
    """Return the fixed image and labels of every example pair."""
    slices: list[Slice] = []
    for finding in [material.cohort, *_labels(material)]:
        path = material.files.readable_example_file(finding.scope.name)
        if not path.is_file():
            continue
        arrays = read_arrays(path, material.searched.search.metric)
        roles = [role for role in ROLES if f"{role}_fixed" in arrays]
        slices += [(arrays[f"{role}_fixed"], arrays[f"{role}_fixed_labels"]) for role in roles]
    return slices


def _structures_in(one: Slice, codes: Codes) -> tuple[int, int]:
    """Return how many structures a slice shows, and how many of its pixels are theirs."""
    _, labels = one
    seen = labels[np.isin(labels, list(codes))]
    return len(np.unique(seen)), len(seen)


def _shown(codes: Codes, labels: NDArray[Any], name: str) -> dict[int, ScopeResult]:
    """Return the structures of a slice, by their best value."""
    order: list[tuple[float, str, int]] = []
    for code in np.unique(labels).tolist():
        if code not in codes:
            continue
        finding = codes[code]
        best = as_number(finding.full.optimum.setting[name])
        order.append((best, finding.scope.name, code))
    return {code: codes[code] for _, _, code in sorted(order)}


def _aspect(material: Material) -> float:
    spacing = material.searched.spacing_mm
    return 1.0 if spacing is None else spacing[1] / spacing[0]


def _draw(
    image: NDArray[Any],
    labels: NDArray[Any],
    shown: Codes,
    hyperparameter: Hyperparameter,
    aspect: float,
) -> Figure:
    """Draw a slice beside the key of its numbers; structures are numbered in the order of `shown`."""
    columns = -(-len(shown) // LINES)
    figure = new_figure(5.4 + 3.0 * columns, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(5.0, 3.0 * columns))
    left.imshow(
        image.T,
        origin="lower",
        cmap="gray",
        interpolation="nearest",
        aspect=aspect,
    )
    scale = Normalize(hyperparameter.low, hyperparameter.high)
    for number, (code, finding) in enumerate(shown.items(), start=1):
        best = as_number(finding.full.optimum.setting[hyperparameter.name])
        mask = labels == code
        _fill(left, mask, COLOURS(scale(best)))
        _tag(left, mask, number)
    left.set_axis_off()
    colours = ScalarMappable(scale, COLOURS)
    bar = figure.colorbar(
        colours,
        ax=left,
        location="bottom",
        shrink=0.8,
        pad=0.02,
    )
    bar.set_label(f"{symbol(hyperparameter.name)}*")
    _write_key(right, list(shown.values()), hyperparameter.name, columns)
    return figure


def _fill(axes: Axes, mask: NDArray[np.bool_], colour: tuple[float, float, float, float]) -> None:
    # opaque: over an image, a transparent colour would be one that is not on the bar
    inside = mask.T
    layer = np.zeros((*inside.shape, 4))
    layer[inside] = colour
    axes.imshow(
        layer,
        origin="lower",
        interpolation="nearest",
        aspect=axes.get_aspect(),
    )
    axes.contour(
        inside.astype(float),
        levels=[0.5],
        colors=WHITE,
        linewidths=0.7,
    )


def _tag(axes: Axes, mask: NDArray[np.bool_], number: int) -> None:
    """Write a structure's number where it is thickest."""
    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    deepest = int(depth.argmax())
    x, y = np.unravel_index(deepest, depth.shape)
    box = {"boxstyle": "round,pad=0.15", "facecolor": WHITE, "edgecolor": "none", "alpha": 0.85}
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
    axes.annotate(
        str(number),
        (float(x), float(y)),
        color=BLACK,
        bbox=box,
        **centred,
    )


def _write_key(axes: Axes, shown: Sequence[ScopeResult], name: str, columns: int) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, columns), ylim=(-LINES, 0))
    for place, finding in enumerate(shown):
        column, line = divmod(place, LINES)
        title = shorten(scope_title(finding.scope), 24)
        best = setting_value(finding.full.optimum.setting[name])
        flat = ", flat" if OptimumWarning.FLAT in finding.warnings else ""
        text = f"{place + 1}  {title}  {best}{flat}"
        axes.annotate(text, (column, -line - 0.5), va="center", fontsize=8.5)


def _found(shown: Sequence[ScopeResult], hyperparameter: Hyperparameter, known: int) -> str:
    first = shown[0]
    last = shown[-1]
    name = hyperparameter.name
    low = setting_value(first.full.optimum.setting[name])
    high = setting_value(last.full.optimum.setting[name])
    start = f"This slice shows {len(shown)} of {known} structures"
    if low == high:
        return f"{start}: {symbol(name)}* is {low} for all of them."
    lowest = scope_title(first.scope)
    highest = scope_title(last.scope)
    return f"{start}: {symbol(name)}* rises from {low} ({lowest}) to {high} ({highest})."


def _notes(codes: Codes, shown: Sequence[ScopeResult]) -> list[str]:
    notes = [
        (
            "Structures are numbered in order of their best value. “Flat”: a wide range of values is equivalent to "
            "the best one."
        )
    ]
    missing = [scope_title(finding.scope) for finding in codes.values() if finding not in shown]
    if missing:
        notes.append(f"Not in this slice: {listed(missing)}.")
    return notes
