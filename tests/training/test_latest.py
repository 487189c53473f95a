"""Velocities that are kept until newer ones take their place."""

import torch

from hmopt.training.latest import LatestVelocities


def test_the_oldest_are_forgotten_where_no_more_fit() -> None:
    latest: LatestVelocities[int] = LatestVelocities(most_bytes=100)
    for number in range(5):
        latest.keep(number, torch.full((1, 2, 4), float(number)))  # 32 bytes
    assert [latest.find(number) is None for number in range(5)] == [True, True, False, False, False]
    kept = latest.find(3)
    assert kept is not None
    assert torch.equal(kept.velocity, torch.full((1, 2, 4), 3.0))


def test_one_that_does_not_fit_stays_until_the_next() -> None:
    latest: LatestVelocities[str] = LatestVelocities(most_bytes=1)
    latest.keep("first", torch.zeros(4))
    assert latest.find("first") is not None
    latest.keep("second", torch.zeros(4))
    assert latest.find("first") is None
    assert latest.find("second") is not None


def test_what_is_kept_is_a_copy_of_the_row_alone() -> None:
    latest: LatestVelocities[str] = LatestVelocities(most_bytes=1000)
    batch = torch.zeros(50, 2, 4)
    latest.keep("row", batch[3])
    batch.fill_(1)
    kept = latest.find("row")
    assert kept is not None
    assert torch.equal(kept.velocity, torch.zeros(2, 4))
    assert kept.velocity.untyped_storage().nbytes() == 2 * 4 * 4
