"""The best setting of each structure, drawn where the structure lies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
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
from hmopt.report.section import Section
from hmopt.report.words import listed, scope_title, setting_value, shorten, symbol
from hmopt.space import Hyperparameter
from hmopt.study_folder import StudyFolder

COLOURS = colormaps["viridis"]
"""Apart for every kind of colour blindness, darker where λ is lower when printed without colours, and nowhere grey."""

BLACK, WHITE = "#000000", "#fefefe"
"""Over an image, which does not turn with the page's scheme."""

LINES = 24
"""Structures in a column of the key."""

Slice = tuple[NDArray[Any], NDArray[Any]]


def anatomy_section(material: Material) -> Section | None:
    """Give a slice with its structures coloured by their best setting; None without pictures or structures."""
    found = {
        material.measurements.labels.index(str(f.scope.label)) + 1: f for f in _of_labels(material)
    }
    image, labels = _fullest_slice(material, list(found)) or (None, None)
    if image is None or labels is None or len(found) < 2:
        return None
    shown = [found[code] for code in np.unique(labels).tolist() if code in found]
    if len(shown) < 2:
        return None
    first = material.searched.space.hyperparameters[0]
    shown.sort(key=lambda finding: (finding.full.optimum.setting[first.name], finding.scope.name))
    codes = {code: shown.index(finding) + 1 for code, finding in found.items() if finding in shown}
    return Section(
        anchor="anatomy",
        title=f"Where does which {symbol(first.name)} fit?",
        found=_found(shown, first, len(found)),
        pictures={"anatomy": _draw(image, labels, codes, shown, first, _aspect(material))},
        notes=_notes(material, shown),
    )


def _of_labels(material: Material) -> list[ScopeResult]:
    return by_kinds(material.findings).get(("label",), [])


def _fullest_slice(material: Material, codes: Sequence[int]) -> Slice | None:
    """Give the fixed image and labels of the example that shows most structures; of those, most of them."""
    folder = StudyFolder(material.folder)
    scopes = [material.cohort.scope, *(finding.scope for finding in _of_labels(material))]
    paths = [folder.example_file(scope.name) for scope in scopes]
    slices = [one for path in paths if path.is_file() for one in _read_slices(path)]
    return max(slices, key=lambda one: _structures(one[1], codes), default=None)


def _read_slices(path: Path) -> list[Slice]:
    arrays = read_arrays(path)
    roles = [role for role in ROLES if f"{role}_fixed" in arrays]
    return [(arrays[f"{role}_fixed"], arrays[f"{role}_fixed_labels"]) for role in roles]


def _structures(labels: NDArray[Any], codes: Sequence[int]) -> tuple[int, int]:
    seen = labels[np.isin(labels, codes)]
    return len(np.unique(seen)), len(seen)


def _aspect(material: Material) -> float:
    spacing = material.searched.spacing_mm
    return 1.0 if spacing is None else spacing[1] / spacing[0]


def _draw(
    image: NDArray[Any],
    labels: NDArray[Any],
    numbers: Mapping[int, int],
    shown: Sequence[ScopeResult],
    hyperparameter: Hyperparameter,
    aspect: float,
) -> Figure:
    """Draw a slice beside the key of its numbers; `numbers` gives the number of each label's code."""
    columns = -(-len(shown) // LINES)
    figure = new_figure(5.4 + 3.0 * columns, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(5.0, 3.0 * columns))
    left.imshow(image.T, origin="lower", cmap="gray", interpolation="nearest", aspect=aspect)
    scale = Normalize(hyperparameter.low, hyperparameter.high)
    best = [finding.full.optimum.setting[hyperparameter.name] for finding in shown]
    for code, number in numbers.items():
        _fill(left, labels == code, COLOURS(scale(best[number - 1])))
        _tag(left, labels == code, number)
    left.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(scale, COLOURS), ax=left, location="bottom", shrink=0.8, pad=0.02
    )
    bar.set_label(f"{symbol(hyperparameter.name)}*")
    _write_key(right, shown, best, columns)
    return figure


def _fill(axes: Axes, mask: NDArray[np.bool_], colour: tuple[float, float, float, float]) -> None:
    layer = np.zeros((*mask.T.shape, 4))
    layer[mask.T] = (*colour[:3], 0.8)
    axes.imshow(layer, origin="lower", interpolation="nearest", aspect=axes.get_aspect())
    axes.contour(mask.T.astype(float), levels=[0.5], colors=WHITE, linewidths=0.7)


def _tag(axes: Axes, mask: NDArray[np.bool_], number: int) -> None:
    """Write a structure's number where it is thickest."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    place = np.unravel_index(int(depth.argmax()), depth.shape)
    box = {"boxstyle": "round,pad=0.15", "facecolor": WHITE, "edgecolor": "none", "alpha": 0.85}
    axes.annotate(
        str(number),
        (float(place[0]), float(place[1])),
        ha="center",
        va="center",
        fontsize=7,
        color=BLACK,
        bbox=box,
    )


def _write_key(
    axes: Axes, shown: Sequence[ScopeResult], best: Sequence[float], columns: int
) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, columns), ylim=(-LINES, 0))
    for place, (finding, value) in enumerate(zip(shown, best, strict=True)):
        flat = ", flat" if OptimumWarning.FLAT in finding.warnings else ""
        text = (
            f"{place + 1}  {shorten(scope_title(finding.scope), 24)}  {setting_value(value)}{flat}"
        )
        axes.annotate(text, (place // LINES, -(place % LINES) - 0.5), va="center", fontsize=8.5)


def _found(shown: Sequence[ScopeResult], hyperparameter: Hyperparameter, known: int) -> str:
    name, first, last = hyperparameter.name, shown[0], shown[-1]
    low, high = (setting_value(finding.full.optimum.setting[name]) for finding in (first, last))
    start = f"Of {known} structures this slice shows {len(shown)}"
    if low == high:
        return f"{start}: {symbol(name)}* is {low} for all of them."
    lowest, highest = scope_title(first.scope), scope_title(last.scope)
    return f"{start}: {symbol(name)}* rises from {low} ({lowest}) to {high} ({highest})."


def _notes(material: Material, shown: Sequence[ScopeResult]) -> tuple[str, ...]:
    flat = (
        "Numbers in the key rise with the best value; where a response is flat, others are as good."
    )
    missing = [
        scope_title(finding.scope) for finding in _of_labels(material) if finding not in shown
    ]
    return (flat, f"Not in this slice: {listed(missing)}.") if missing else (flat,)
