import numpy as np
import pytest
import torch

from hmopt.spatial.smoothing import sobolev_smooth


@pytest.mark.parametrize("shape", [(5, 8), (3, 4, 6)], ids=["2-D", "3-D"])
def test_smoothing_solves_the_equation_with_slopes_of_0_at_the_border(
    shape: tuple[int, ...],
) -> None:
    field = np.random.default_rng(0).normal(size=(2, 3, *shape))
    found = sobolev_smooth(torch.from_numpy(field), stiffness=2.5).numpy()
    # v - 2.5 Δv, each voxel's neighbours outside the grid being the voxel itself
    back = found.copy()
    for axis in range(2, found.ndim):
        width = [(0, 0)] * found.ndim
        width[axis] = (1, 1)
        padded = np.pad(found, width, mode="edge")
        back -= 2.5 * np.diff(padded, n=2, axis=axis)
    np.testing.assert_allclose(back, field, atol=1e-10)


def test_no_stiffness_changes_nothing() -> None:
    field = torch.rand(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sobolev_smooth(field, stiffness=0.0), field)


def test_smoothing_takes_tensors_of_inference_mode_before_others() -> None:
    with torch.inference_mode():
        sobolev_smooth(torch.ones(1, 1, 7, 7), stiffness=1.5)
    field = torch.ones(1, 1, 7, 7, requires_grad=True)
    sobolev_smooth(field, stiffness=1.5).sum().backward()  # type: ignore[no-untyped-call]
    assert field.grad is not None
