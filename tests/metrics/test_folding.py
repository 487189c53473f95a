import math

import pytest
import torch

from hmopt.metrics.folding import DETERMINANT_FLOOR, folding, log_jacobian_sd
from hmopt.spatial import identity_grid, jacobian_determinant


def affine_displacement(matrix: list[list[float]], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.einsum(
        "ij,nj...->ni...", torch.tensor(matrix) - torch.eye(len(shape)), identity_grid(shape)
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[1.2, 0.3], [-0.1, 0.9]], 0.0),
        ([[1.0, 0.0], [0.0, -0.5]], 1.0),
        ([[0.8, 0.0, 0.1], [0.2, 1.1, 0.0], [0.0, 0.0, 1.3]], 0.0),
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 1.0),
    ],
)
def test_affine_displacement_folds_where_its_determinant_is_negative(
    matrix: list[list[float]], expected: float
) -> None:
    displacement = affine_displacement(matrix, (8, 7, 6)[: len(matrix)])
    assert folding(jacobian_determinant(displacement)).item() == expected


def test_affine_displacement_has_no_spread_of_its_log_determinant() -> None:
    determinant = jacobian_determinant(affine_displacement([[1.2, 0.3], [-0.1, 0.9]], (9, 9)))
    assert log_jacobian_sd(determinant).item() == pytest.approx(0, abs=1e-4)


def test_spread_is_that_of_the_logarithm() -> None:
    """Along x the map is x + a sin(kx), whose slope by central differences is 1 + a sin(k) cos(kx)."""
    shape, amplitude, k = (66, 5), 3.0, 2 * math.pi / 64
    displacement = torch.zeros(1, 2, *shape)
    x = torch.arange(66.0)
    displacement[0, 0] = (amplitude * (k * x).sin())[:, None]
    logarithms = (1 + amplitude * math.sin(k) * (k * x[1:-1]).cos()).log()
    expected = (logarithms - logarithms.mean()).square().mean().sqrt()
    assert log_jacobian_sd(jacobian_determinant(displacement)).item() == pytest.approx(
        expected.item(), abs=1e-4
    )


def test_folds_are_counted_in_each_pair_by_itself() -> None:
    determinant = torch.ones(2, 4, 5)
    determinant[1, 0] = -1.0
    assert folding(determinant).tolist() == pytest.approx([0.0, 0.25])


def test_folds_leave_the_logarithm_finite() -> None:
    determinant = torch.tensor([[1.0, -5.0]])
    assert log_jacobian_sd(determinant).item() == pytest.approx(-math.log(DETERMINANT_FLOOR) / 2)
