"""The loss scale: what makes λ mean much the same from cohort to cohort."""

from collections.abc import Sequence

import numpy as np
import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import LossOptions
from hmopt.errors import DataError
from hmopt.losses.similarity import ImageLoss, find_similarity
from hmopt.records import Pair
from hmopt.training.batches import load_images

PAIRS_LOOKED_AT = 64


def loss_scale(
    cohort: PreparedCohort, pairs: Sequence[Pair], section: LossOptions, seed: int
) -> float:
    """Give the declared loss scale, or one at which unregistered training pairs differ by 1 from identical images.

    Parameters
    ----------
    cohort, pairs
        Training pairs; a random part of them is looked at.
    section
        Declares the similarity.
    seed
        Of the random part.

    Returns
    -------
    float
        What the similarity is multiplied by, > 0.

    Raises
    ------
    DataError
        If registered pairs could not be told from unregistered ones by the similarity.

    References
    ----------
    Hoopes et al., MELBA 2022, divide the squared error by an estimate of the images' noise for the same purpose.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> images = {"a": np.zeros((4, 4), np.float32), "b": np.full((4, 4), 0.5, np.float32)}
    >>> cohort = SimpleNamespace(image=images.get)  # stands for a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> loss_scale(cohort, [pair], LossOptions(similarity="mse"), seed=0)
    4.0
    """
    if section.scale is not None:
        return section.scale
    order = np.random.default_rng(seed).permutation(len(pairs))[:PAIRS_LOOKED_AT]
    similarity = find_similarity(section)
    with torch.inference_mode():
        gaps = [_gap(cohort, pairs[i], similarity) for i in order]
    gap = float(np.mean(gaps))
    if not gap > 1e-8:
        raise DataError(
            "loss.scale",
            expected="training pairs that differ",
            got=f"a mean difference of {gap:.3g} in {section.similarity}",
            advice="Check the images, or declare a scale.",
        )
    return float(f"{1 / gap:.6g}")


def _gap(cohort: PreparedCohort, pair: Pair, similarity: ImageLoss) -> float:
    images = load_images(cohort, [pair.moving, pair.fixed])
    moving, fixed = images[:1], images[1:]
    return float(similarity(moving, fixed) - similarity(fixed, fixed))
