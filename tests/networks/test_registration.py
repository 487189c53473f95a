import pytest
import torch

from hmopt.declaration import NetworkOptions
from hmopt.errors import DeclarationError
from hmopt.networks import (
    RegistrationNetwork,
    check_architecture,
    coarsest_stride,
    registration_operations,
)

SMALL = NetworkOptions(encoder=[4, 5], decoder=[6], final=[3])


@pytest.mark.parametrize("shape", [(16, 24), (8, 16, 12)])
@pytest.mark.parametrize(
    ("options", "stride"),
    [
        (SMALL, 2),
        (SMALL.model_copy(update={"stride": 1}), 1),
        (SMALL.model_copy(update={"decoder": []}), 4),
        (SMALL.model_copy(update={"stride": 1, "decoder": [], "final": []}), 2),
    ],
)
def test_velocity_and_displacement_have_their_grids(
    shape: tuple[int, ...], options: NetworkOptions, stride: int
) -> None:
    network = RegistrationNetwork(options, shape)
    velocity = network(*torch.rand(2, 3, 1, *shape))
    assert network.velocity_stride == stride
    assert velocity.shape == (3, len(shape), *(size // stride for size in shape))
    assert velocity.is_contiguous()
    assert network.displacement(velocity).shape == (3, len(shape), *shape)


def test_constant_velocity_displaces_by_the_stride_in_image_voxels() -> None:
    network = RegistrationNetwork(SMALL.model_copy(update={"decoder": []}), (16, 16))
    displacement = network.displacement(torch.full((1, 2, 4, 4), 0.5))
    torch.testing.assert_close(displacement, torch.full((1, 2, 16, 16), 2.0))


def test_first_velocities_are_all_but_zero() -> None:
    torch.manual_seed(0)
    network = RegistrationNetwork(SMALL, (16, 16))
    assert 0 < network(*torch.rand(2, 1, 1, 16, 16)).abs().max() < 0.01


def test_images_moved_together_move_the_velocity_with_them() -> None:
    torch.manual_seed(0)
    network = RegistrationNetwork(SMALL, (64, 16))
    images = torch.rand(2, 1, 1, 64, 16)
    velocity, shifted = network(*images), network(*images.roll(coarsest_stride(SMALL), 3))
    inner = (..., slice(10, -10), slice(None))
    torch.testing.assert_close(shifted.roll(-2, 2)[inner], velocity[inner], atol=1e-9, rtol=1e-4)
    assert not torch.allclose(network(*images.flip(0)), velocity)


@pytest.mark.parametrize("shape", [(16, 18), (8, 8, 6), (0, 8), (-4, 8)])
def test_shape_that_cannot_be_halved_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        DeclarationError, match=r"^preprocessing\.shape: expected multiples of 4, .* got \["
    ):
        RegistrationNetwork(SMALL, shape)


def test_decoder_as_long_as_the_encoder_is_refused() -> None:
    with pytest.raises(
        DeclarationError, match=r"^network\.decoder: expected fewer levels than .* \(2\), got 2\."
    ):
        check_architecture(NetworkOptions(encoder=[4, 4], decoder=[4, 4]), (16, 16))


def test_four_times_the_voxels_take_four_times_the_operations() -> None:
    options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    one, four = (
        registration_operations(RegistrationNetwork(options, (side, side)), (side, side))
        for side in (16, 32)
    )
    assert four == 4 * one
