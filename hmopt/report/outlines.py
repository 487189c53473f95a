"""Pictures of pairs with the outlines of their labels, as SVG."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from hmopt.array_files import ArrayRule, Arrays, read_npz
from hmopt.catalogue.metrics import METRICS, ROUNDING
from hmopt.errors import DataError
from hmopt.files import slug
from hmopt.limits import SIDES_OF_DISPLACEMENT
from hmopt.report.figure import data_uri
from hmopt.schemas import LARGEST

ROLES = {"typical": "Typical pair", "worst": "Worst pair"}
SMOOTHING = 0.3
"""Largest distance of a drawn outline from the exact one, in voxels."""

GRID_SPACING = 6
"""Voxels between the lines of a drawn deformation."""

_STROKES = {"own": "#58b4ff", "reference": "#ffb000", "deformation": "#7ad3b0"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One panel: what it shows, as an SVG element."""

    caption: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Example:
    """The panels of one pair."""

    title: str
    pair: str
    score: float
    pictures: tuple[Picture, ...]


def read_examples(path: Path, code: int | None, metric: str | None = None) -> list[Example]:
    """Read the typical and the worst pair of a scope; none where no pictures were made.

    Parameters
    ----------
    path
        `examples/{slug}.npz` of a study folder.
    code
        The label to outline, as it stands in label maps; None: all of them.
    metric
        As of `read_arrays`.
    """
    if not path.is_file():
        return []
    arrays = read_arrays(path, metric)
    examples: list[Example] = []
    for role, title in ROLES.items():
        if f"{role}_pair" not in arrays:
            continue
        own = {name: arrays[f"{role}_{name}"] for name in _NAMES}
        pair = str(arrays[f"{role}_pair"])
        score = float(arrays[f"{role}_score"])
        pictures = _pictures(own, code)
        examples.append(
            Example(
                title=title,
                pair=pair,
                score=score,
                pictures=pictures,
            )
        )
    return examples


def read_arrays(path: Path, metric: str | None = None) -> Arrays:
    """Read the pictures of a scope, every one of them checked by the sums that zip files hold.

    Parameters
    ----------
    path
        `examples/{slug}.npz` of a study folder.
    metric
        What pairs are scored by, if the file does not say so, as those of earlier versions.

    Raises
    ------
    DataError
        If the file was damaged, holds what `hmopt search` does not write, or shows another scope than its name says.
    """

    def refuse(got: str) -> DataError:
        return _damaged(path, got)

    rules = dict(_RULES)
    for role in ROLES:
        rules.update({f"{role}_{name}": rule for name, rule in _RULES_OF_ROLE.items()})
    found = read_npz(path, rules, refuse)
    scope = str(found.get("scope", ""))  # files of earlier versions do not say
    if scope and slug(scope) != path.stem:
        raise refuse(f"those of the scope {scope}")
    of_scores = _rule_of_scores(str(found.get("metric", metric)))
    for role in ROLES:
        lacking = [name for name in _RULES_OF_ROLE if f"{role}_{name}" not in found]
        if len(lacking) == len(_RULES_OF_ROLE):
            continue
        if lacking:
            raise refuse(f"no {role} {', '.join(lacking)}")
        fault = _fault_of_sizes(found, role)
        if fault is not None:
            raise refuse(fault)
        fault = of_scores.fault(found[f"{role}_score"])
        if fault is not None:
            raise refuse(f"{fault} in {role}_score")
    return found


def _rule_of_scores(metric: str) -> ArrayRule:
    """Return what a score can be; of a metric that is not known here, any number that is meant."""
    low, high = -float(LARGEST), float(LARGEST)
    if metric in METRICS:
        low = max(low, METRICS[metric].low - ROUNDING)
        high = min(high, METRICS[metric].high + ROUNDING)
    return ArrayRule(kinds="f", dimensions=0, low=low, high=high)


def _fault_of_sizes(arrays: Arrays, role: str) -> str | None:
    """Return what does not fit together of the pictures of a pair; None where all does."""
    shape = arrays[f"{role}_fixed"].shape
    for name in _NAMES:
        own = arrays[f"{role}_{name}"].shape
        if own[-2:] != shape or min(shape) < 1 or (name == "displacement" and own[0] != 2):
            return f"shape {own} of {role}_{name} beside {shape}"
    most = SIDES_OF_DISPLACEMENT * max(shape)
    rule = ArrayRule(kinds="f", dimensions=3, low=-most, high=most)
    fault = rule.fault(arrays[f"{role}_displacement"])
    return None if fault is None else f"{fault} in {role}_displacement"


def _damaged(path: Path, got: str) -> DataError:
    advice = "Remove it, and run `hmopt search` again to draw it."
    return DataError(
        str(path),
        expected="pictures of pairs",
        got=got,
        advice=advice,
    )


_PICTURE = ArrayRule(kinds="f", dimensions=2, low=0, high=1)
_LABELS = ArrayRule(kinds="u", dimensions=2)
_RULES = {
    "scope": ArrayRule(kinds="U", dimensions=0),
    "metric": ArrayRule(kinds="U", dimensions=0),
    "setting": ArrayRule(kinds="biufU", dimensions=1),
    "made_of": ArrayRule(kinds="U", dimensions=0),
}
_RULES_OF_ROLE = {
    "moving": _PICTURE,
    "fixed": _PICTURE,
    "moved": _PICTURE,
    "moving_labels": _LABELS,
    "fixed_labels": _LABELS,
    "moved_labels": _LABELS,
    "displacement": ArrayRule(kinds="f", dimensions=3),
    "pair": ArrayRule(kinds="U", dimensions=0),
    "score": ArrayRule(kinds="f", dimensions=0),
}
"""What is kept of the typical and of the worst pair."""

_NAMES = (
    "moving",
    "fixed",
    "moved",
    "moving_labels",
    "fixed_labels",
    "moved_labels",
    "displacement",
)


def _pictures(arrays: dict[str, NDArray[Any]], code: int | None) -> tuple[Picture, ...]:
    moving_path = outline_path(arrays["moving_labels"], code)
    fixed_path = outline_path(arrays["fixed_labels"], code)
    moved_path = outline_path(arrays["moved_labels"], code)
    grid_path = deformation_path(arrays["displacement"])
    reference = _stroke(fixed_path, "reference")
    before = _stroke(moving_path, "own")
    after = _stroke(moved_path, "own")
    deformation = _stroke(grid_path, "deformation")
    return (
        Picture(caption="moving", svg=_panel(arrays["moving"], reference + before)),
        Picture(caption="fixed", svg=_panel(arrays["fixed"], reference)),
        Picture(caption="moved", svg=_panel(arrays["moved"], reference + after)),
        Picture(caption="deformation", svg=_panel(arrays["moving"], deformation)),
    )


def outline_path(labels: NDArray[Any], code: int | None) -> str:
    """Return the outlines of labels as SVG path data, in voxels, the second axis upwards.

    Parameters
    ----------
    labels
        Label map, shape (x, y).
    code
        The label to outline; None: all of them.

    Examples
    --------
    >>> outline_path(np.pad(np.ones((1, 1), int), 1), code=None)
    'M2 1.5L1.5 2L1 1.5L1.5 1Z'
    """
    codes = [code]
    if code is None:
        codes = np.unique(labels[labels > 0]).tolist()
    height = labels.shape[1]
    paths: list[str] = []
    for one in codes:
        mask = np.pad(labels == one, 1).astype(np.float64)
        paths += [_path(_simplified(contour - 1), height) for contour in find_contours(mask, 0.5)]
    return "".join(paths)


def deformation_path(displacement: NDArray[Any]) -> str:
    """Return the lines of the fixed image's grid at their place in the moving image, as SVG path data.

    Parameters
    ----------
    displacement
        Shape (2, x, y), in voxels.
    """
    _, width, height = displacement.shape
    grid = np.indices((width, height))
    moved = grid + displacement
    places = np.moveaxis(moved, 0, -1)  # (x, y, 2)
    columns = places[::GRID_SPACING]
    rows = places.swapaxes(0, 1)[::GRID_SPACING]
    path = ""
    for line in (*columns, *rows):
        path += _path(_simplified(line), height, close="")
    return path


def _simplified(points: NDArray[Any]) -> NDArray[Any]:
    """Return fewer points, (k, 2), of a line through points (n, 2): its ends, and those off a straight course.

    matplotlib's simplification is compiled; scikit-image's `approximate_polygon` took a third of
    the time of a report. Points are measured from the line so far, which can drift: to half of the
    distance they keep the drawn line within all of it.
    """
    line = Polygon(points)
    line.simplify_threshold = SMOOTHING / 2
    # one more marks the end
    vertices = np.asarray(line.cleaned(simplify=True).vertices)[:-1]
    is_new = np.ones(len(vertices), dtype=bool)
    # the last point is there twice
    is_new[1:] = np.diff(vertices, axis=0).any(axis=1)
    kept: NDArray[Any] = vertices[is_new]
    return kept


def _path(points: NDArray[Any], height: int, close: str = "Z") -> str:
    kept = points[:-1] if close else points
    places: list[str] = []
    for x, y in kept:
        right = x + 0.5
        down = height - y - 0.5
        places.append(f"{right:.4g} {down:.4g}")
    line = "L".join(places)
    return f"M{line}{close}"


def _stroke(path: str, role: str) -> Markup:
    return Markup('<path class="outline {}" d="{}" fill="none" stroke="{}"/>').format(
        role, path, _STROKES[role]
    )


def _panel(image: NDArray[Any], outlines: Markup) -> Markup:
    width, height = image.shape
    stroke = round(max(width, height) / 140, 2)
    uri = _image_uri(image)
    template = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" stroke-width="{stroke}" stroke-linejoin="round">'
        '<image href="{uri}" width="{w}" height="{h}"/>{outlines}</svg>'
    )
    return template.format(
        w=width,
        h=height,
        stroke=stroke,
        uri=uri,
        outlines=outlines,
    )


def _image_uri(image: NDArray[Any]) -> str:
    """Return the image as a small JPEG, the first axis to the right and the second upwards."""
    shares = np.clip(np.nan_to_num(image), 0, 1)
    grey = (255 * shares).astype(np.uint8)
    pixels = grey.T[::-1]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")
