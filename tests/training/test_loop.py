import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses.dice import DiceLoss
from monai.networks.utils import one_hot

from hmopt.data.prepared import IMAGES, LABEL_MAPS, PreparedCohort
from hmopt.declaration import NetworkOptions
from hmopt.networks import RegistrationNetwork
from hmopt.records import Pair
from hmopt.training.batches import load_labels
from hmopt.training.loop import tune_dice, unregistered_dice

PAIRS = [
    Pair(moving="sub-4", fixed="sub-5", moving_subject="sub-4", fixed_subject="sub-5"),
    Pair(moving="sub-5", fixed="sub-4", moving_subject="sub-5", fixed_subject="sub-4"),
    Pair(moving="sub-6", fixed="sub-7", moving_subject="sub-6", fixed_subject="sub-7"),
]


@pytest.fixture
def still() -> RegistrationNetwork:
    """Return a network that moves nothing."""
    network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    for weight in network.parameters():
        torch.nn.init.zeros_(weight)
    return network


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_still_images_score_the_overlap_that_they_have(
    cohort: PreparedCohort, still: RegistrationNetwork, batch: int
) -> None:
    moving, fixed = (
        one_hot(load_labels(cohort, names)[:, None], 3)[:, 1:]
        for names in ([pair.moving for pair in PAIRS], [pair.fixed for pair in PAIRS])
    )
    expected = 1 - float(DiceLoss(smooth_nr=0, smooth_dr=0)(moving, fixed))
    assert 0.2 < expected < 0.99
    assert tune_dice(still, cohort, PAIRS, batch) == pytest.approx(expected, rel=1e-5)
    before = unregistered_dice(cohort, PAIRS, batch, torch.device("cpu"))
    assert before == pytest.approx(expected, rel=1e-5)


def test_pairs_without_a_common_label_do_not_count(
    cohort: PreparedCohort, still: RegistrationNetwork, tmp_path: Path
) -> None:
    images, label_maps = (np.load(cohort.folder / name) for name in (IMAGES, LABEL_MAPS))
    label_maps[6] = 0
    np.save(tmp_path / IMAGES, images)
    np.save(tmp_path / LABEL_MAPS, label_maps)
    unlabelled = replace(cohort, folder=tmp_path)
    assert tune_dice(still, unlabelled, PAIRS, 2) == pytest.approx(
        tune_dice(still, cohort, PAIRS[:2], 2)
    )
    assert math.isnan(tune_dice(still, unlabelled, PAIRS[2:], 2))
