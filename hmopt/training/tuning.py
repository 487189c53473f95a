"""How well a network in training registers the subjects to tune on."""

from collections.abc import Sequence

import numpy as np
import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.metrics import Originals, measure
from hmopt.networks import RegistrationNetwork
from hmopt.records import Pair
from hmopt.training.batches import load_images, load_labels


@torch.inference_mode()
def tune_dice(
    network: RegistrationNetwork, cohort: PreparedCohort, pairs: Sequence[Pair], batch: int
) -> float:
    """Give the mean Dice over labels and pairs, NaN where there is no pair.

    Parameters
    ----------
    network
        What registers them.
    cohort
        Holds the pairs' images.
    pairs
        Of subjects to tune on.
    batch
        Pairs registered at once.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hmopt.declaration import NetworkOptions
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    >>> image, label_map = np.zeros((16, 16), np.float32), np.ones((16, 16), np.uint8)
    >>> items = {"image": lambda name: image, "label_map": lambda name: label_map}
    >>> cohort = SimpleNamespace(**items, labels=("all",), spacing_mm=None)  # stands for a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> tune_dice(network, cohort, [pair], batch=1)
    1.0
    """
    device = next(network.parameters()).device
    values = []
    for start in range(0, len(pairs), batch):
        originals = _load(cohort, pairs[start : start + batch], device)
        displacement = network.displacement(network(originals.moving, originals.fixed))
        values.append(measure(["dice"], originals, displacement)["dice"])
    scores = np.concatenate(values) if values else np.full((1, 1), np.nan)
    labelled = scores[np.isfinite(scores).any(1)]
    return float(np.nanmean(labelled, axis=1).mean()) if len(labelled) else float("nan")


def _load(cohort: PreparedCohort, pairs: Sequence[Pair], device: torch.device) -> Originals:
    moving, fixed = [pair.moving for pair in pairs], [pair.fixed for pair in pairs]
    return Originals(
        moving=load_images(cohort, moving).to(device),
        fixed=load_images(cohort, fixed).to(device),
        moving_labels=load_labels(cohort, moving).to(device),
        fixed_labels=load_labels(cohort, fixed).to(device),
        label_count=len(cohort.labels),
        spacing_mm=cohort.spacing_mm,
    )
