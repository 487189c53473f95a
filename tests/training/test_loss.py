import numpy as np
import pytest

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import LossOptions
from hmopt.errors import DataError
from hmopt.records import Pair
from hmopt.training.loss import loss_scale

PAIRS = [
    Pair(
        moving=f"sub-{one}",
        fixed=f"sub-{other}",
        moving_subject=f"sub-{one}",
        fixed_subject=f"sub-{other}",
    )
    for one in range(4)
    for other in range(4)
    if one != other
]


def test_declared_scale_is_taken(cohort: PreparedCohort) -> None:
    assert loss_scale(cohort, PAIRS, LossOptions(scale=3.5), seed=0) == 3.5


def test_scaled_squared_error_of_unregistered_pairs_is_one(cohort: PreparedCohort) -> None:
    scale = loss_scale(cohort, PAIRS, LossOptions(similarity="mse"), seed=0)
    errors = [
        np.mean((cohort.image(pair.moving) - cohort.image(pair.fixed)) ** 2) for pair in PAIRS
    ]
    assert scale * np.mean(errors) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("similarity", ["lncc", "mutual_information"])
def test_scale_is_finite_for_every_similarity(cohort: PreparedCohort, similarity: str) -> None:
    options = LossOptions.model_validate({"similarity": similarity})
    assert 0 < loss_scale(cohort, PAIRS, options, seed=0) < 1e3


def test_pairs_that_do_not_differ_are_refused(cohort: PreparedCohort) -> None:
    same = Pair(moving="sub-0", fixed="sub-0", moving_subject="sub-0", fixed_subject="sub-0")
    with pytest.raises(
        DataError,
        match=r"^loss\.scale: expected training pairs that differ, got a mean difference of 0",
    ):
        loss_scale(cohort, [same], LossOptions(), seed=0)
