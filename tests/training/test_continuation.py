import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from hmopt.declaration import LossOptions
from hmopt.space import Hyperparameter, Setting, Space
from hmopt.training import continuation
from hmopt.training.continuation import Continuation
from hmopt.training.refinement import Minimum, PairLoss, Refinement

LAMBDA = Hyperparameter(name="regularization", step=0.1)
SPACE = Space(hyperparameters=(LAMBDA,))
NAMES = ["one", "two", "three"]


def at(value: float) -> Setting:
    return {"regularization": value}


def make(iterations: int = 4, space: Space = SPACE, steps: int = 3) -> Continuation:
    loss = PairLoss(options=LossOptions(similarity="mse"), scale=10.0, spacing=None)
    refinement = Refinement(loss=loss, iterations=iterations)
    return Continuation(refinement, space, stride=2, integration_steps=steps)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Moving and fixed images (3, 1, 16, 16) of soft discs."""
    generator = np.random.default_rng(0)
    discs = []
    for _ in range(6):
        middle = 7.5 + generator.normal(0, 1.5, (2, 1, 1))
        distance = np.linalg.norm(np.indices((16, 16)) - middle, axis=0)
        discs.append(np.exp(-((distance / 4) ** 2)).astype(np.float32))
    stacked = torch.from_numpy(np.stack(discs)).unsqueeze(1)
    return stacked[:3], stacked[3:]


def test_a_setting_starts_from_the_next_stronger_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuation, "RUNGS", 3)
    chain = make().chain
    assert chain(at(1.0)) == [at(1.0)]
    assert chain(at(0.7)) == [at(1.0), at(0.7)]
    assert chain(at(0.5)) == [at(1.0), at(0.5)]
    assert chain(at(0.0)) == [at(1.0), at(0.5), at(0.0)]
    # between two values of the lattice
    assert chain(at(0.34)) == [at(1.0), at(0.5), at(0.34)]


def test_each_value_of_another_hyperparameter_has_a_ladder_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(continuation, "RUNGS", 2)
    other = Hyperparameter(name="other", step=0.5)
    space = Space(hyperparameters=(other, LAMBDA))
    setting: Setting = {"other": 0.5, "regularization": 0.4}
    assert make(space=space).chain(setting) == [{**setting, "regularization": 1.0}, setting]
    alone = Space(hyperparameters=(other,))
    assert make(space=alone).chain({"other": 0.5}) == [{"other": 0.5}]


def test_a_velocity_is_that_of_refinements_one_after_the_other(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "RUNGS", 3)
    walked = make()
    found = walked.registered(at(0.3), NAMES, *images).velocities
    velocity = torch.zeros(3, 2, 8, 8)
    loss = PairLoss(options=LossOptions(similarity="mse"), scale=10.0, spacing=None)
    for value in (1.0, 0.5, 0.3):
        found_here = Refinement(loss=loss, iterations=4).refined(
            velocity, *images, {"regularization": value}, walked.integrated
        )
        velocity = found_here.fields
    torch.testing.assert_close(found, velocity)


def test_iterations_at_full_resolution_follow_at_the_setting_itself(
    images: tuple[Tensor, Tensor],
) -> None:
    loss = PairLoss(options=LossOptions(similarity="mse"), scale=10.0, spacing=None)
    both = Refinement(loss=loss, iterations=4, full_resolution_iterations=3)
    finished = Continuation(both, SPACE, stride=2, integration_steps=3)
    found = finished.registered(at(0.3), NAMES, *images)
    plain = make()
    coarse = plain.registered(at(0.3), NAMES, *images).velocities
    end = Refinement(loss=loss, iterations=0, full_resolution_iterations=3)
    expected = end.refined(coarse, *images, at(0.3), plain.integrated)
    torch.testing.assert_close(found.velocities, expected.fields)
    assert found.velocities.shape == (3, 2, 16, 16)
    assert finished.identity != plain.identity
    displacements = finished.integrated(found.velocities)
    torch.testing.assert_close(displacements, plain.integrated(found.velocities, 1))
    # the next weaker λ starts from the coarse velocity
    further = finished.registered(at(0.1), NAMES, *images).velocities
    alone = Continuation(both, SPACE, stride=2, integration_steps=3)
    torch.testing.assert_close(further, alone.registered(at(0.1), NAMES, *images).velocities)
    # found once
    again = finished.registered(at(0.3), NAMES, *images)
    assert torch.equal(again.seconds, found.seconds)


def test_values_do_not_depend_on_order_batches_or_what_was_kept(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    moving, fixed = images
    values = [0.0, 0.3, 0.8, 1.0]
    down = make()
    expected = {
        value: down.registered(at(value), NAMES, *images).velocities for value in reversed(values)
    }
    up = make()
    for value in values:
        found = up.registered(at(value), NAMES, *images).velocities
        torch.testing.assert_close(found, expected[value])
    monkeypatch.setattr(continuation, "KEPT_BYTES", 1)
    one_by_one = make()
    for row, name in enumerate(NAMES):
        rows = slice(row, row + 1)
        alone = one_by_one.registered(at(0.3), [name], moving[rows], fixed[rows]).velocities
        torch.testing.assert_close(alone[0], expected[0.3][row], atol=1e-5, rtol=0)
    # some of a batch are known, others are not
    mixed = make()
    mixed.registered(at(0.3), NAMES[:1], moving[:1], fixed[:1])
    found = mixed.registered(at(0.3), NAMES, *images).velocities
    torch.testing.assert_close(found, expected[0.3], atol=1e-5, rtol=0)


def test_seconds_count_from_a_velocity_of_zero_whatever_was_found_before(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every refinement takes 6 s of the three pairs."""
    clock = itertools.count(step=6)
    monkeypatch.setattr("hmopt.training.continuation.perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(continuation, "RUNGS", 3)
    walked = make()
    for value, refinements in [(0.0, 3), (0.5, 2), (0.3, 3), (1.0, 1)]:
        seconds = walked.registered(at(value), NAMES, *images).seconds
        assert seconds.tolist() == [2.0 * refinements] * 3


def test_a_sweep_finds_each_rung_once(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    refined = Refinement.refined

    def counted(refinement: Refinement, start: Tensor, *others: object) -> Minimum:
        seen.append(others[2]["regularization"])  # type: ignore[index]
        return refined(refinement, start, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Refinement, "refined", counted)
    monkeypatch.setattr(continuation, "RUNGS", 3)
    walked = make()
    for value in [0.0, 0.5, 1.0, 0.4]:
        walked.registered(at(value), NAMES, *images)
    assert seen == [1.0, 0.5, 0.0, 0.4]


def test_full_regularization_moves_nothing(images: tuple[Tensor, Tensor]) -> None:
    assert (make().registered(at(1.0), NAMES, *images).velocities == 0).all()


def test_identity_stands_for_iterations_rungs_and_integration() -> None:
    narrow = Space(hyperparameters=(Hyperparameter(name="regularization", low=0.5),))
    finer = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1, default=0.2),))
    one = make().identity
    others = [make(5).identity, make(steps=4).identity, make(space=narrow).identity]
    assert len({one, *others}) == 4
    assert make(space=finer).identity == one
