import pytest
import torch

from hmopt.declaration import NetworkOptions
from hmopt.errors import DeclarationError
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.space import Hyperparameter, Setting, Space

SPACE = Space(
    hyperparameters=(
        Hyperparameter(name="regularization"),
        Hyperparameter(name="label_weight", default=0),
    )
)
SETTING = {"regularization": 0.3, "label_weight": 0.7}


def small(shape: tuple[int, ...] = (16, 16), space: Space = SPACE) -> Hypermorph:
    torch.manual_seed(0)
    return Hypermorph(
        RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[3]), shape),
        space,
        [8],
    )


@pytest.mark.parametrize("shape", [(16, 16), (8, 12, 8)])
def test_baked_network_is_the_hypermorph_at_its_setting(shape: tuple[int, ...]) -> None:
    hypermorph, images = small(shape), torch.rand(2, 2, 1, *shape)
    baked = hypermorph.bake(SETTING)
    assert type(baked) is RegistrationNetwork
    assert torch.equal(baked(*images), hypermorph(*images, SETTING))
    assert not torch.equal(baked(*images), hypermorph(*images, {**SETTING, "regularization": 0.4}))


def test_baked_network_keeps_its_weights_while_the_hypermorph_learns() -> None:
    hypermorph, images = small(), torch.rand(2, 1, 1, 16, 16)
    baked = hypermorph.bake(SETTING)
    before = baked(*images)
    with torch.no_grad():
        hypermorph.hypernetwork.base.add_(1)
    assert torch.equal(baked(*images), before)


def test_only_the_hypernetwork_learns() -> None:
    hypermorph, images = small(), torch.rand(2, 1, 1, 16, 16)
    hypermorph(*images, SETTING).square().sum().backward()
    assert all(weight.grad is not None for weight in hypermorph.hypernetwork.parameters())
    assert all(weight.grad is None for weight in hypermorph.registration.parameters())


def test_settings_enter_by_their_place_in_their_range() -> None:
    """The same place in another range is the same network."""
    one = small(
        space=Space(hyperparameters=(Hyperparameter(name="regularization", low=0, high=1),))
    )
    other = small(
        space=Space(hyperparameters=(Hyperparameter(name="regularization", low=0.25, high=0.75),))
    )
    weights = one.weights({"regularization": 0.5})
    for name, weight in other.weights({"regularization": 0.5}).items():
        assert torch.equal(weight, weights[name])
    assert not torch.equal(
        one.weights({"regularization": 0.7})["velocity.weight"],
        other.weights({"regularization": 0.7})["velocity.weight"],
    )


def test_double_precision_works() -> None:
    hypermorph = small().double()
    assert (
        hypermorph(*torch.rand(2, 1, 1, 16, 16, dtype=torch.float64), SETTING).dtype
        == torch.float64
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"regularization": 0.3}, "setting: expected values for regularization, label_weight, got"),
        (
            {**SETTING, "warmth": 1.0},
            "setting: expected values for regularization, label_weight, got",
        ),
        (
            {**SETTING, "regularization": 1.1},
            r"regularization: expected a number in \[0.0, 1.0\], got 1.1",
        ),
    ],
)
def test_setting_outside_the_space_is_refused(setting: Setting, message: str) -> None:
    with pytest.raises(DeclarationError, match=f"^{message}"):
        small().bake(setting)


@pytest.mark.parametrize("shape", [(16, 16), (8, 16, 8)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pairs", [2, 4, 5])
def test_parts_of_a_batch_are_registered_at_their_settings(
    shape: tuple[int, ...], stride: int, pairs: int
) -> None:
    """Two settings; of five pairs the first three are registered at the first."""
    torch.manual_seed(0)
    options = NetworkOptions(encoder=[4, 4, 4], decoder=[4, 3], final=[3], stride=stride)
    hypermorph = Hypermorph(RegistrationNetwork(options, shape), SPACE, [8])
    moving, fixed = torch.rand(2, pairs, 1, *shape)
    other = {"regularization": 0.9, "label_weight": 0.1}
    together = hypermorph.velocities(moving, fixed, [SETTING, other])
    half = (pairs + 1) // 2
    first = hypermorph(moving[:half], fixed[:half], SETTING)
    second = hypermorph(moving[half:], fixed[half:], other)
    one_by_one = torch.cat([first, second])
    torch.testing.assert_close(together, one_by_one)
    assert not torch.allclose(hypermorph(moving[half:], fixed[half:], SETTING), second)

    weights = list(hypermorph.hypernetwork.parameters())
    outwards = torch.randn_like(together)
    of_both = torch.autograd.grad((together * outwards).sum(), weights)
    of_each = torch.autograd.grad((one_by_one * outwards).sum(), weights)
    torch.testing.assert_close(of_both, of_each, rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_go_one_by_one_through_a_network_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RegistrationNetwork, "takes_weights_of_several_settings", False)
    hypermorph = small()
    moving, fixed = torch.rand(2, 4, 1, 16, 16)
    other = {"regularization": 0.9, "label_weight": 0.1}
    one_by_one = hypermorph.velocities(moving, fixed, [SETTING, other])
    monkeypatch.undo()
    together = hypermorph.velocities(moving, fixed, [SETTING, other])
    torch.testing.assert_close(one_by_one, together)
