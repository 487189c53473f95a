"""Declarations of the metrics: what each is called, its unit, and which direction is better."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hmopt.errors import DeclarationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDING = 1e-4
"""How far a value in single precision may lie outside of what its metric can be."""


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
    version
        Raised whenever the same name begins to mean other numbers: part of a measurement's key.
    low, high
        Least and largest value there can be.
    """

    name: str
    unit: str
    direction: Literal["maximize", "minimize"]
    per_label: bool
    version: int = 1
    low: float = 0.0
    high: float = math.inf

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value there can be."""
        return self.low, self.high

    @property
    def key(self) -> str:
        """Name and version: what measurements of it are kept under."""
        return f"{self.name}@{self.version}"

    def can_be(self, values: "NDArray[np.floating]") -> "NDArray[np.bool_]":
        """Tell which values can be measurements; NaN can, which says that there was nothing to measure.

        Examples
        --------
        >>> import numpy as np
        >>> find_metric("dice").can_be(np.array([0.5, 1.5, np.nan, -np.inf])).tolist()
        [True, False, True, False]
        """
        inside: NDArray[np.bool_] = (
            (values >= self.low - ROUNDING)
            & (values <= self.high + ROUNDING)
            & (abs(values) != math.inf)
        )
        # NaN is the one value that does not equal itself
        missing: NDArray[np.bool_] = values != values
        return inside | missing


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="dice", unit="1", direction="maximize", per_label=True, high=1.0),
        Metric(name="dice_nearest", unit="1", direction="maximize", per_label=True, high=1.0),
        Metric(name="hd95_mm", unit="mm", direction="minimize", per_label=True),
        Metric(name="folding", unit="1", direction="minimize", per_label=False, high=1.0),
        Metric(name="log_jacobian_sd", unit="1", direction="minimize", per_label=False),
        Metric(name="similarity", unit="1", direction="maximize", per_label=False, high=1.0),
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
        raise DeclarationError(
            "metric", expected=f"one of {known}", got=repr(name), advice="Correct the name."
        )
    return METRICS[name]
