import numpy as np
import pytest
import torch

from hmopt.errors import HmoptError
from hmopt.spatial import identity_grid, jacobian_determinant

MATRICES = {
    2: np.array([[0.1, 0.4], [-0.3, 0.2]]),
    3: np.array([[0.1, 0.4, -0.2], [-0.3, 0.2, 0.5], [0.6, -0.1, 0.3]]),
}


@pytest.mark.parametrize("d", [2, 3])
def test_determinant_of_a_linear_displacement_is_that_of_its_matrix(d: int) -> None:
    shape = (5, 6, 4)[:d]
    displacement = torch.einsum(
        "ij,bj...->bi...", torch.from_numpy(MATRICES[d]), identity_grid(shape).double()
    )
    determinant = jacobian_determinant(displacement)
    assert determinant.shape == (1, *(size - 2 for size in shape))
    np.testing.assert_allclose(determinant, np.linalg.det(np.eye(d) + MATRICES[d]))


@pytest.mark.parametrize("d", [2, 3])
def test_determinant_of_any_displacement_is_numpys(d: int) -> None:
    shape = (7, 6, 5)[:d]
    displacement = torch.randn(
        2, d, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for one, determinant in zip(
        displacement.numpy(), jacobian_determinant(displacement), strict=True
    ):
        slopes = np.stack([np.stack(np.gradient(component)) for component in one])
        expected = np.linalg.det(np.eye(d) + np.moveaxis(slopes, (0, 1), (-2, -1)))
        np.testing.assert_allclose(determinant, expected[(slice(1, -1),) * d])


def test_mirroring_is_a_fold() -> None:
    mirrored = torch.zeros(1, 3, 4, 4, 4)
    mirrored[:, 1] = -2 * identity_grid((4, 4, 4))[:, 1]
    assert torch.equal(jacobian_determinant(mirrored), torch.full((1, 2, 2, 2), -1.0))


def test_gradient_is_that_of_finite_differences() -> None:
    displacement = torch.randn(
        1, 3, 3, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert torch.autograd.gradcheck(jacobian_determinant, displacement.requires_grad_())


@pytest.mark.parametrize("shape", [(2, 8), (1, 8), (8, 8, 2)])
def test_a_grid_without_inner_voxels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(HmoptError, match="displacement: expected at least 3 voxels"):
        jacobian_determinant(torch.zeros(1, len(shape), *shape))
