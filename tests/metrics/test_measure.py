import numpy as np
import pytest
import torch

from hmopt.errors import DeclarationError, HmoptError
from hmopt.metric import METRICS
from hmopt.metrics import measure


def batch(count: int = 3, shape: tuple[int, ...] = (12, 10)) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    moving, fixed = torch.rand(2, count, 1, *shape, generator=generator)
    moving_labels, fixed_labels = torch.randint(0, 4, (2, count, *shape), generator=generator, dtype=torch.int32)
    displacement = torch.randn(count, len(shape), *shape, generator=generator)
    return displacement, moving, fixed, moving_labels, fixed_labels


def test_every_declared_metric_is_measured_in_its_shape() -> None:
    values = measure(list(METRICS), *batch(), 3, (1.0, 1.0))
    assert {name: array.shape for name, array in values.items()} == {
        name: (3, 3) if metric.per_label else (3,) for name, metric in METRICS.items()
    }
    assert all(array.dtype == np.float64 and np.isfinite(array).all() for array in values.values())


def test_values_do_not_depend_on_the_batch() -> None:
    whole = measure(list(METRICS), *batch(), 3, (1.0, 1.0))
    alone = measure(list(METRICS), *(tensor[1:2] for tensor in batch()), 3, (1.0, 1.0))
    for name, array in whole.items():
        np.testing.assert_allclose(array[1:2], alone[name], atol=1e-6)


def test_nothing_moved_over_itself_is_perfect() -> None:
    _, moving, _, labels, _ = batch()
    values = measure(list(METRICS), torch.zeros(3, 2, 12, 10), moving, moving, labels, labels, 3, (1.0, 1.0))
    expected = {"dice": 1, "dice_nearest": 1, "hd95_mm": 0, "folding": 0, "log_jacobian_sd": 0, "similarity": 1}
    for name, array in values.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-2)


def test_undeclared_metric_is_refused() -> None:
    with pytest.raises(DeclarationError, match="metric"):
        measure(["speed"], *batch(), 3, None)


def test_images_of_another_grid_are_refused() -> None:
    displacement, moving, *rest = batch()
    with pytest.raises(HmoptError, match=r"^moving: expected shape \(3, 1, 12, 10\), got \(3, 1, 11, 10\)"):
        measure(["dice"], displacement, moving[:, :, 1:], *rest, 3, None)


def test_spacing_of_other_dimension_is_refused() -> None:
    with pytest.raises(HmoptError, match="spacing_mm: expected 2 numbers, got 3"):
        measure(["hd95_mm"], *batch(), 3, (1.0, 1.0, 1.0))
