"""The metrics: what each is called, its unit, which direction is better, and what computes it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hmopt.catalogue import references
from hmopt.catalogue.record import Record, add, find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROUNDING = 1e-4
"""How far a value in single precision may lie outside the range of its metric."""


@dataclass(frozen=True, kw_only=True)
class Metric(Record):
    """One metric of a registered pair.

    Its `function` takes attributes of `hmopt.metrics.Registration`, as `displacement`, `moved` or
    `moved_labels`, of n pairs and returns a tensor: (n, labels) for a metric per label, (n,) for
    one per pair. NaN says that there is nothing to measure.

    Parameters
    ----------
    name, title, function, version, references
        As in `Record`. Name and version are part of a measurement's key.
    full_title
        What a page calls it where it says it once; empty: the title.
    unit
        `"1"` for a share or a ratio, `"mm"` or `"voxels"` for a length.
    direction
        Whether larger or smaller values are better.
    per_label
        Whether there is one value for each label of a pair, or one for the pair.
    tolerance
        Difference that is negligible, in the unit of the metric.
    low, high
        Least and largest value there can be.
    is_by_product
        Whether it is only known of a registration that is made anyway, as its time: nothing is
        registered to measure it.
    is_without_labels
        Whether settings can be chosen by it where there are neither labels nor landmarks.
    is_of_landmarks
        Whether it is of landmarks.

    Examples
    --------
    >>> Metric(
    ...     name="shift_voxels", title="mean shift", unit="voxels",
    ...     direction="minimize", per_label=False, tolerance=0.02,
    ...     function=lambda displacement: displacement.norm(dim=1).flatten(1).mean(1),
    ... ).key
    'shift_voxels@1'
    """

    unit: str
    direction: Literal["maximize", "minimize"]
    per_label: bool
    tolerance: float
    full_title: str = ""
    low: float = 0.0
    high: float = math.inf
    is_by_product: bool = False
    is_without_labels: bool = False
    is_of_landmarks: bool = False

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value there can be."""
        return self.low, self.high

    @property
    def key(self) -> str:
        """Name and version: what measurements of it are kept under."""
        return f"{self.name}@{self.version}"

    def can_be(self, values: "NDArray[np.floating]") -> "NDArray[np.bool_]":
        """Tell which values can be measurements; NaN can: there was nothing to measure.

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


SHARE_TOLERANCE = 0.002
LENGTH_TOLERANCE_MM = 0.02
LENGTH_TOLERANCE_VOXELS = 0.02

BACKWARD = "backward"
"""Name of the argument by which a metric asks for the reversed pairs to be registered too."""
ONWARD = "onward"
"""Name of the argument by which it asks for registrations to a third subject and back."""
FOLDING = "folding"
"""Name of the metric that is measured with every other: best settings are told within a limit of it as well."""
WALL_TIME = "wall_time_s"
"""Name of the metric that is measured of every engine, whether it is asked for or not."""
LOSS = "loss"
"""Name of the metric that is what a registration minimizes."""
CONVERGED = "converged"
"""Name of the metric that tells whether a refinement stopped by itself."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="dice",
            title="Dice",
            full_title="Dice of partial-volume labels",
            unit="1",
            direction="maximize",
            per_label=True,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            function="hmopt.metrics.overlap:dice",
            references=(references.DICE,),
        ),
        Metric(
            name="dice_nearest",
            title="Dice (nearest neighbour)",
            full_title="Dice of nearest-neighbour labels",
            unit="1",
            direction="maximize",
            per_label=True,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            function="hmopt.metrics.overlap:dice_nearest",
            references=(references.DICE,),
        ),
        Metric(
            name="hd95_mm",
            title="95 % surface distance (mm)",
            full_title="95 % Hausdorff distance (mm)",
            unit="mm",
            direction="minimize",
            per_label=True,
            tolerance=LENGTH_TOLERANCE_MM,
            function="hmopt.metrics.overlap:hd95_mm",
        ),
        Metric(
            name=FOLDING,
            title="share of folded voxels",
            unit="1",
            direction="minimize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            is_without_labels=True,
            function="hmopt.metrics.folding:folding",
        ),
        Metric(
            name="log_jacobian_sd",
            title="standard deviation of the log Jacobian",
            unit="1",
            direction="minimize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            is_without_labels=True,
            function="hmopt.metrics.folding:log_jacobian_sd",
        ),
        Metric(
            name="similarity",
            title="image similarity",
            unit="1",
            direction="maximize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            is_without_labels=True,
            function="hmopt.metrics.similarity:similarity",
        ),
        Metric(
            name="tre_mm",
            title="target registration error (mm)",
            full_title="mean target registration error of landmarks (mm)",
            unit="mm",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_MM,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_mm",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_median_mm",
            title="median landmark error (mm)",
            full_title="median target registration error of landmarks (mm)",
            unit="mm",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_MM,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_median_mm",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_p90_mm",
            title="90 % landmark error (mm)",
            full_title="90th percentile of the target registration errors of landmarks (mm)",
            unit="mm",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_MM,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_p90_mm",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_voxels",
            title="target registration error (voxels)",
            full_title="mean target registration error of landmarks (voxels of the moving image)",
            unit="voxels",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_VOXELS,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_voxels",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_median_voxels",
            title="median landmark error (voxels)",
            full_title="median target registration error of landmarks (voxels of the moving image)",
            unit="voxels",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_VOXELS,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_median_voxels",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_p90_voxels",
            title="90 % landmark error (voxels)",
            full_title="90th percentile of the target registration errors (voxels of the moving image)",
            unit="voxels",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_VOXELS,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_p90_voxels",
            references=(references.TARGET_REGISTRATION_ERROR,),
        ),
        Metric(
            name="tre_robustness",
            title="share of landmarks whose error falls",
            unit="1",
            direction="maximize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            is_of_landmarks=True,
            function="hmopt.metrics.landmarks:tre_robustness",
        ),
        Metric(
            name="inverse_consistency_mm",
            title="inverse consistency error (mm)",
            full_title="mean inverse consistency error (mm)",
            unit="mm",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_MM,
            is_without_labels=True,
            function="hmopt.metrics.consistency:inverse_consistency_mm",
        ),
        Metric(
            name="inverse_consistency_voxels",
            title="inverse consistency error (voxels)",
            full_title="mean inverse consistency error (voxels)",
            unit="voxels",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_VOXELS,
            is_without_labels=True,
            function="hmopt.metrics.consistency:inverse_consistency_voxels",
        ),
        Metric(
            name="cycle_inconsistency_mm",
            title="cycle inconsistency (mm)",
            full_title="mean inconsistency around three subjects (mm)",
            unit="mm",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_MM,
            is_without_labels=True,
            function="hmopt.metrics.consistency:cycle_inconsistency_mm",
        ),
        Metric(
            name="cycle_inconsistency_voxels",
            title="cycle inconsistency (voxels)",
            full_title="mean inconsistency around three subjects (voxels)",
            unit="voxels",
            direction="minimize",
            per_label=False,
            tolerance=LENGTH_TOLERANCE_VOXELS,
            is_without_labels=True,
            function="hmopt.metrics.consistency:cycle_inconsistency_voxels",
        ),
        Metric(
            name="normalized_mutual_information",
            title="normalized mutual information",
            full_title="normalized mutual information of moved and fixed images",
            unit="1",
            direction="maximize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            is_without_labels=True,
            function="hmopt.metrics.similarity:normalized_mutual_information",
        ),
        Metric(
            name="gradient_similarity",
            title="similarity of edges",
            full_title="similarity of the edges of moved and fixed images",
            unit="1",
            direction="maximize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            is_without_labels=True,
            function="hmopt.metrics.similarity:gradient_similarity",
        ),
        Metric(
            name=LOSS,
            title="loss",
            full_title="registration loss at the setting",
            unit="1",
            direction="minimize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            low=-math.inf,
            function="hmopt.metrics.loss:loss",
        ),
        Metric(
            name=WALL_TIME,
            title="time of a registration (s)",
            full_title="time of a registration (s)",
            unit="s",
            direction="minimize",
            per_label=False,
            tolerance=0.1,
            is_by_product=True,
            function="hmopt.metrics.time:wall_time_s",
        ),
        Metric(
            name=CONVERGED,
            title="share of converged refinements",
            unit="1",
            direction="maximize",
            per_label=False,
            tolerance=SHARE_TOLERANCE,
            high=1.0,
            is_by_product=True,
            function="hmopt.metrics.convergence:converged",
        ),
    )
}
"""All metrics that can be declared, by name."""


def find_metric(name: str) -> Metric:
    """Return the record of a metric.

    Raises
    ------
    DeclarationError
        If there is no metric of that name.

    Examples
    --------
    >>> find_metric("dice").direction
    'maximize'
    """
    return find(METRICS, name, "metric")


def add_metric(metric: Metric) -> None:
    """Add a metric of one's own: it can be searched by and reported like any other.

    Raises
    ------
    DeclarationError
        If its name is taken.

    Examples
    --------
    >>> add_metric(find_metric("dice"))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: metric: expected a new name, got 'dice', ...
    """
    add(METRICS, metric, "metric")
