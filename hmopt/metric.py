"""Declarations of the metrics: what each is called, its unit, and which direction is better."""

import math
from dataclasses import dataclass
from typing import Literal

from hmopt.errors import DeclarationError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The declaration of one metric; how it is computed is told in `hmopt.metrics`.

    Parameters
    ----------
    name
        The name under which it is measured and kept.
    unit
        `"1"` for a share or a ratio, `"mm"` for a length, `"voxel"` where the spacing is unknown.
    direction
        Whether larger or smaller values are better.
    per_label
        Whether there is one value for each label of a pair, or one for the pair.
    range
        The values that it can have, ends included.
    version
        Raised whenever the same name begins to mean other numbers: part of a measurement's key.
    """

    name: str
    unit: str
    direction: Literal["maximize", "minimize"]
    per_label: bool
    range: tuple[float, float] = (0.0, 1.0)
    version: int = 1

    @property
    def key(self) -> str:
        """Name and version: what measurements of it are kept under."""
        return f"{self.name}@{self.version}"


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="dice", unit="1", direction="maximize", per_label=True),
        Metric(name="dice_nearest", unit="1", direction="maximize", per_label=True),
        Metric(name="hd95_mm", unit="mm", direction="minimize", per_label=True, range=(0.0, math.inf)),
        Metric(name="folding", unit="1", direction="minimize", per_label=False),
        Metric(name="log_jacobian_sd", unit="1", direction="minimize", per_label=False, range=(0.0, math.inf)),
        Metric(name="similarity", unit="1", direction="maximize", per_label=False, range=(-1.0, 1.0)),
    )
}


def find_metric(name: str) -> Metric:
    """Give the declaration of a metric by its name.

    Raises
    ------
    DeclarationError
        If there is no metric of that name.

    Examples
    --------
    >>> find_metric("dice").direction
    'maximize'
    """
    if name not in METRICS:
        known = ", ".join(METRICS)
        raise DeclarationError("metric", expected=f"one of {known}", got=repr(name), advice="Correct the name.")
    return METRICS[name]
