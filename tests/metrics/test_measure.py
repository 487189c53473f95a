from dataclasses import replace

import numpy as np
import pytest
import torch

from hmopt.catalogue import METRICS
from hmopt.data.landmarks import Landmarks
from hmopt.errors import DeclarationError, HmoptError
from hmopt.metrics import Originals, measure
from hmopt.records import Pair


def batch(
    count: int = 3,
    shape: tuple[int, ...] = (12, 10),
    spacing_mm: tuple[float, ...] | None = (1.0, 1.0),
) -> tuple[Originals, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    moving, fixed = torch.rand(2, count, 1, *shape, generator=generator)
    moving_labels, fixed_labels = torch.randint(
        0, 4, (2, count, *shape), generator=generator, dtype=torch.int32
    )
    displacement = torch.randn(count, len(shape), *shape, generator=generator)
    originals = Originals(
        moving=moving,
        fixed=fixed,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        label_count=3,
        spacing_mm=spacing_mm,
        pairs=tuple(
            Pair(moving=f"m{row}", fixed=f"f{row}", moving_subject="m", fixed_subject="f")
            for row in range(count)
        ),
        grid_of=lambda name: np.eye(4),
        landmarks_of=lambda name: LANDMARKS,
    )
    return originals, displacement


LANDMARKS = Landmarks(
    names=("a", "b"),
    named_by="label",
    voxels=np.array([[1.0, 2.0, 0.0], [5.5, 6.0, 0.0]]),
    affine=np.eye(4),
    origin="made up",
)


def one_of(originals: Originals, place: int) -> Originals:
    names = ("moving", "fixed", "moving_labels", "fixed_labels", "pairs")
    return replace(
        originals, **{name: getattr(originals, name)[place : place + 1] for name in names}
    )


def test_every_declared_metric_is_measured_in_its_shape() -> None:
    each = torch.tensor([0.5, 1.0, 1.5])
    originals, displacement = batch()
    values = measure(
        list(METRICS),
        originals,
        displacement,
        wall_time_s=each,
        loss_values=each,
        stopped=each > 0.7,
        reversed_displacement=-displacement,
        onward_displacements=torch.stack([displacement, -displacement], 1),
    )
    assert {name: array.shape for name, array in values.items()} == {
        name: (3, 3) if metric.per_label else (3,) for name, metric in METRICS.items()
    }
    assert all(array.dtype == np.float64 and np.isfinite(array).all() for array in values.values())


def test_values_do_not_depend_on_the_batch() -> None:
    originals, displacement = batch()
    whole = measure(list(METRICS), originals, displacement)
    alone = measure(list(METRICS), one_of(originals, 1), displacement[1:2])
    for name, array in whole.items():
        np.testing.assert_allclose(array[1:2], alone[name], atol=1e-6)


def test_nothing_moved_over_itself_is_perfect() -> None:
    originals, _ = batch()
    alike = replace(originals, fixed=originals.moving, fixed_labels=originals.moving_labels)
    seconds = torch.full((3,), 0.5)
    losses = torch.full((3,), -0.25)
    stopped = torch.tensor([True, True, True])
    still = torch.zeros(3, 2, 12, 10)
    onward = torch.zeros(3, 2, 2, 12, 10)
    values = measure(list(METRICS), alike, still, seconds, losses, stopped, still, onward)
    expected = {
        "dice": 1,
        "dice_nearest": 1,
        "hd95_mm": 0,
        "folding": 0,
        "log_jacobian_sd": 0,
        "similarity": 1,
        "tre_mm": 0,
        "tre_median_mm": 0,
        "tre_p90_mm": 0,
        "tre_voxels": 0,
        "tre_median_voxels": 0,
        "tre_p90_voxels": 0,
        # nothing is nearer than before
        "tre_robustness": 0,
        "inverse_consistency_mm": 0,
        "inverse_consistency_voxels": 0,
        "cycle_inconsistency_mm": 0,
        "cycle_inconsistency_voxels": 0,
        "normalized_mutual_information": 1,
        "gradient_similarity": 1,
        "loss": -0.25,
        "wall_time_s": 0.5,
        "converged": 1,
    }
    for name, array in values.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-4)


def test_each_pair_keeps_its_own_time_and_without_one_it_is_missing() -> None:
    seconds = torch.tensor([0.5, 1.0, 1.5])
    values = measure(["wall_time_s"], *batch(), wall_time_s=seconds)
    np.testing.assert_allclose(values["wall_time_s"], seconds)
    untimed = measure(["wall_time_s"], *batch())
    assert np.isnan(untimed["wall_time_s"]).all()


def test_undeclared_metric_is_refused() -> None:
    with pytest.raises(DeclarationError, match="metric"):
        measure(["speed"], *batch())


def test_values_are_the_same_whatever_was_measured_before() -> None:
    originals, displacement = batch()
    fresh, _ = batch()
    measure(list(METRICS), originals, displacement.flip(0))
    for name, array in measure(list(METRICS), originals, displacement).items():
        np.testing.assert_array_equal(array, measure([name], fresh, displacement)[name])


def test_displacement_of_another_grid_is_refused() -> None:
    originals, displacement = batch()
    with pytest.raises(
        HmoptError, match=r"^displacement: expected shape \(3, 2, 12, 10\), got \(3, 2, 11, 10\)"
    ):
        measure(["dice"], originals, displacement[:, :, 1:])


def test_images_of_another_grid_are_refused() -> None:
    originals, _ = batch()
    with pytest.raises(
        HmoptError, match=r"^fixed: expected shape \(3, 1, 12, 10\), got \(3, 1, 11, 10\)"
    ):
        replace(originals, fixed=originals.fixed[:, :, 1:])


def test_spacing_of_other_dimension_is_refused() -> None:
    with pytest.raises(HmoptError, match="spacing_mm: expected 2 numbers, got 3"):
        batch(spacing_mm=(1.0, 1.0, 1.0))
