"""Models that give velocities: displacements forwards and backwards in time."""

import numpy as np
import torch
from torch import Tensor

from hmopt.interop.model import Image, InvertibleModel
from hmopt.interop.velocity_model import VelocityModel
from hmopt.space import Setting
from hmopt.spatial import velocity_to_displacement

IMAGE = np.zeros((8, 8), np.float32)


class Shrinking(VelocityModel):
    """Velocity -rate · x from the centre of an 8 × 8 grid: x(t) = x(0) exp(-rate t)."""

    def pair_velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        from_centre = torch.from_numpy(np.indices((8, 8)) - 3.5).float()
        return -float(setting["rate"]) * from_centre[None]

    def integrated(self, velocity: Tensor, setting: Setting) -> Tensor:
        return velocity_to_displacement(velocity, steps=12, stride=1)


def test_the_inverse_is_the_flow_backwards_in_time() -> None:
    model = Shrinking()
    from_centre = np.indices((8, 8)) - 3.5
    # away from the border, where the backward flow leaves the grid
    inner = (slice(None), slice(2, 6), slice(2, 6))
    forwards = model.displacement(IMAGE, IMAGE, {"rate": 0.3})
    backwards = model.inverse_displacement(IMAGE, IMAGE, {"rate": 0.3})
    expected = from_centre * (np.exp(-0.3) - 1)
    of_inverse = from_centre * (np.exp(0.3) - 1)
    assert forwards.dtype == backwards.dtype == np.float32
    np.testing.assert_allclose(forwards[inner], expected[inner], atol=2e-3)
    np.testing.assert_allclose(backwards[inner], of_inverse[inner], atol=2e-3)


def test_such_a_model_is_asked_for_its_inverse() -> None:
    assert isinstance(Shrinking(), InvertibleModel)
