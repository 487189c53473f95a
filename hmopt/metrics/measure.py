"""All metrics that are asked for, of a batch of registered pairs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.metric import find_metric
from hmopt.metrics.folding import folding, log_jacobian_sd
from hmopt.metrics.originals import Originals
from hmopt.metrics.overlap import dice, dice_nearest
from hmopt.metrics.registration import Registration
from hmopt.metrics.similarity import local_moments, similarity
from hmopt.metrics.surface import hd95_mm

_COMPUTED: dict[str, Callable[[Registration], Tensor]] = {
    "dice": lambda of: dice(of.positions, of.originals),
    "dice_nearest": lambda of: dice_nearest(of.moved_labels, of.originals),
    "hd95_mm": lambda of: hd95_mm(of.moved_labels, of.originals),
    "folding": lambda of: folding(of.determinant),
    "log_jacobian_sd": lambda of: log_jacobian_sd(of.determinant),
    "similarity": lambda of: similarity(local_moments(of.moved), of.originals.fixed_moments),
}


def measure(
    metrics: Sequence[str], originals: Originals, displacement: Tensor
) -> dict[str, NDArray[np.float64]]:
    """Give the values of metrics for n pairs registered by displacements.

    Parameters
    ----------
    metrics
        Names of declared metrics.
    originals
        The n pairs; what does not depend on the displacement is computed once and kept there.
    displacement
        (n, d, *shape), in voxels.

    Returns
    -------
    dict
        By metric: (n, label_count) for a metric per label, (n,) for one per pair. NaN says that there is nothing to
        measure, as for a label that is missing in either original image.

    Raises
    ------
    DeclarationError
        If a metric is not declared.
    HmoptError
        If the displacement is of another grid.

    Examples
    --------
    >>> image, labels = torch.rand(1, 1, 8, 8), torch.ones(1, 8, 8, dtype=torch.long)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> originals = Originals(**pair, label_count=2, spacing_mm=None)
    >>> values = measure(["dice", "folding"], originals, torch.zeros(1, 2, 8, 8))
    >>> values["dice"], values["folding"]
    (array([[ 1., nan]]), array([0.]))
    """
    names = [find_metric(name).name for name in metrics]
    parts = Registration(originals=originals, displacement=displacement).parts()
    return {
        name: torch.cat([_COMPUTED[name](part) for part in parts]).double().cpu().numpy()
        for name in names
    }
