import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import AugmentationOptions, TrainingOptions
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Space
from hmopt.training.batches import (
    Batch,
    draw_pairs,
    draw_settings,
    load_images,
    load_labels,
    make_batch,
)

DRAWS = 4000


def pair(moving: str, fixed: str) -> Pair:
    return Pair(moving=moving, fixed=fixed, moving_subject=moving, fixed_subject=fixed)


PAIRS = [pair("sub-0", "sub-1"), pair("sub-2", "sub-0")]


def test_images_and_labels_are_those_of_the_cohort(cohort: PreparedCohort) -> None:
    names = ["sub-3", "sub-1"]
    images, labels = load_images(cohort, names), load_labels(cohort, names)
    assert images.dtype == torch.float32
    for place, name in enumerate(names):
        np.testing.assert_array_equal(images[place, 0], cohort.image(name))
        np.testing.assert_array_equal(labels[place], cohort.label_map(name))


def test_kinds_are_drawn_equally_often_however_many_pairs_they_have() -> None:
    many = [pair(f"a{number}", f"b{number}") for number in range(20)]
    kinds = {"cross": many, "within": [pair("c", "c")]}
    drawn = draw_pairs(kinds, 2000, np.random.default_rng(0))
    within = sum(one.task == "within" for one in drawn)
    assert stats.binomtest(within, 2000, 0.5).pvalue > 1e-3
    counts = [sum(one == other for one in drawn) for other in many]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_batch_without_augmentation_is_the_pairs_themselves(cohort: PreparedCohort) -> None:
    batch = make_batch(cohort, PAIRS, TrainingOptions(), np.random.default_rng(0), with_labels=True)
    assert torch.equal(batch.moving, load_images(cohort, ["sub-0", "sub-2"]))
    assert torch.equal(batch.fixed, load_images(cohort, ["sub-1", "sub-0"]))
    assert batch.moving_labels is not None
    assert batch.fixed_labels is not None
    assert torch.equal(batch.moving_labels, load_labels(cohort, ["sub-0", "sub-2"]))
    assert torch.equal(batch.fixed_labels, load_labels(cohort, ["sub-1", "sub-0"]))


def test_labels_are_left_out_where_the_loss_needs_none(cohort: PreparedCohort) -> None:
    batch = make_batch(
        cohort, PAIRS, TrainingOptions(), np.random.default_rng(0), with_labels=False
    )
    assert batch.moving_labels is None
    assert batch.fixed_labels is None


def centroids(weights: torch.Tensor) -> np.ndarray:
    return np.array([ndimage.center_of_mass(one.double().numpy()) for one in weights])


def test_labels_follow_their_images(cohort: PreparedCohort) -> None:
    """The brighter disc, above 0.6, lies where label 2 does, before and after moving by several voxels."""
    options = TrainingOptions(
        augmentation=AugmentationOptions(
            translation=1.5, rotation_degrees=10, scaling=0.05, flip_axis=0
        )
    )
    shifts = []
    for seed in range(6):
        batch = make_batch(cohort, PAIRS, options, np.random.default_rng(seed), with_labels=True)
        assert batch.moving_labels is not None
        assert batch.fixed_labels is not None
        for images, labels in (
            (batch.moving, batch.moving_labels),
            (batch.fixed, batch.fixed_labels),
        ):
            discs = centroids(labels == 2)
            np.testing.assert_allclose(centroids(images[:, 0] > 0.6), discs, atol=0.8)
            shifts.append(np.abs(discs - 10).max())
    assert max(shifts) > 2


def test_both_images_of_a_pair_are_mirrored_in_half_of_the_steps(cohort: PreparedCohort) -> None:
    options = TrainingOptions(augmentation=AugmentationOptions(flip_axis=1))
    plain = make_batch(cohort, PAIRS, TrainingOptions(), np.random.default_rng(0), with_labels=True)
    mirrored = 0
    for seed in range(40):
        batch = make_batch(cohort, PAIRS, options, np.random.default_rng(seed), with_labels=True)
        flipped = not torch.equal(batch.moving, plain.moving)
        mirrored += flipped
        for name, one in vars(batch).items():
            expected = getattr(plain, name)
            assert torch.equal(one, expected.flip(-1) if flipped else expected)
    assert stats.binomtest(mirrored, 40, 0.5).pvalue > 1e-3


def test_intensities_change_and_places_do_not(cohort: PreparedCohort) -> None:
    options = TrainingOptions(augmentation=AugmentationOptions(intensity=0.3))
    batch = make_batch(cohort, PAIRS, options, np.random.default_rng(0), with_labels=True)
    images = load_images(cohort, ["sub-0", "sub-2"])
    assert not torch.allclose(batch.moving, images)
    assert torch.equal(
        batch.moving.flatten(1).argsort(stable=True), images.flatten(1).argsort(stable=True)
    )
    assert batch.moving_labels is not None
    assert torch.equal(batch.moving_labels, load_labels(cohort, ["sub-0", "sub-2"]))


@pytest.mark.parametrize("seed", [0, 1])
def test_batch_is_a_function_of_its_generator(cohort: PreparedCohort, seed: int) -> None:
    options = TrainingOptions(
        augmentation=AugmentationOptions(deformation=2.0, intensity=0.1, scaling=0.1)
    )
    one, again, other = (
        make_batch(cohort, PAIRS, options, np.random.default_rng([seed, step]), with_labels=False)
        for step in (0, 0, 1)
    )
    assert torch.equal(one.moving, again.moving)
    assert not torch.equal(one.moving, other.moving)


def drawn(hyperparameter: Hyperparameter, seed: int = 0) -> np.ndarray:
    space, generator = Space(hyperparameters=(hyperparameter,)), np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        (setting,) = draw_settings(space, 1, generator)
        drawn.append(setting[hyperparameter.name])
    return np.array(drawn)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_end_points_are_drawn_at_their_rate(rate: float) -> None:
    values = drawn(Hyperparameter(name="x", low=0.25, high=2.0, default=1.0, end_point_rate=rate))
    for end in (0.25, 2.0):
        assert stats.binomtest(int((values == end).sum()), DRAWS, rate).pvalue > 1e-3


def test_values_between_end_points_are_uniform() -> None:
    values = drawn(Hyperparameter(name="x", low=0.25, high=2.0, default=1.0))
    inner = values[(values > 0.25) & (values < 2.0)]
    assert stats.kstest(inner, stats.uniform(0.25, 1.75).cdf).pvalue > 1e-3


def test_log_uniform_values_are_uniform_in_their_logarithm() -> None:
    values = drawn(Hyperparameter(name="x", low=0.01, high=10.0, default=1.0, prior="log-uniform"))
    assert values.min() == 0.01
    assert values.max() == 10.0
    inner = np.log(values[(values > 0.01) & (values < 10.0)])
    assert stats.kstest(inner, stats.uniform(math.log(0.01), math.log(1000)).cdf).pvalue > 1e-3


def test_every_value_of_an_integer_is_drawn_equally_often_the_ends_too() -> None:
    window = Hyperparameter(name="x", type="integer", low=3, high=15, step=2, default=9)
    values, counts = np.unique(drawn(window), return_counts=True)
    assert values.tolist() == [3, 5, 7, 9, 11, 13, 15]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_log_uniform_integers_have_the_share_of_their_cell_on_the_logarithm() -> None:
    """Of a whole number v that is log((v + 1/2) / (v - 1/2)), for the ends too."""
    width = Hyperparameter(name="x", type="integer", low=1, high=8, prior="log-uniform", default=2)
    values, counts = np.unique(drawn(width), return_counts=True)
    assert values.tolist() == list(range(1, 9))
    cells = [math.log((value + 0.5) / (value - 0.5)) for value in range(1, 9)]
    expected = DRAWS * np.array(cells) / math.log(8.5 / 0.5)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_an_integer_takes_as_many_random_numbers_as_a_float() -> None:
    """So that what is drawn after it, the pairs of a step, does not depend on types."""
    window = Hyperparameter(name="x", type="integer", low=3, high=9, step=2, default=9)
    after = []
    for one in (window, Hyperparameter(name="x")):
        generator = np.random.default_rng(5)
        draw_settings(Space(hyperparameters=(one,)), 4, generator)
        after.append(generator.random())
    assert after[0] == after[1]


def test_hyperparameters_are_drawn_independently() -> None:
    space = Space(hyperparameters=(Hyperparameter(name="x"), Hyperparameter(name="y")))
    generator = np.random.default_rng(0)
    settings = [draw_settings(space, 4, generator)[3] for _ in range(DRAWS)]
    assert stats.pearsonr([s["x"] for s in settings], [s["y"] for s in settings]).pvalue > 1e-3


def test_one_setting_is_the_first_number_drawn_whatever_their_count() -> None:
    """Separate networks, of one setting, see the pairs that a hypermorph of several does."""
    space = Space(hyperparameters=(Hyperparameter(name="x", end_point_rate=0.0),))
    of_one = draw_settings(space, 1, np.random.default_rng(3))
    of_four = draw_settings(space, 4, np.random.default_rng(3))
    assert of_one[0] in of_four
    _, place = np.random.default_rng(3).random(2)
    assert of_one[0]["x"] == pytest.approx(place, abs=1e-9)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_settings_of_a_step_lie_in_different_parts_of_each_range(count: int) -> None:
    space = Space(
        hyperparameters=tuple(Hyperparameter(name=name, end_point_rate=0.0) for name in "xyz")
    )
    settings = draw_settings(space, count, np.random.default_rng(1))
    for name in "xyz":
        parts = [int(count * float(setting[name])) for setting in settings]
        assert sorted(parts) == list(range(count))


def test_each_of_several_settings_has_the_prior() -> None:
    space = Space(hyperparameters=(Hyperparameter(name="x", end_point_rate=0.1),))
    generator = np.random.default_rng(0)
    third = np.array([draw_settings(space, 4, generator)[2]["x"] for _ in range(DRAWS)])
    assert stats.binomtest(int((third == 0).sum()), DRAWS, 0.1).pvalue > 1e-3
    inner = third[(third > 0) & (third < 1)]
    assert stats.kstest(inner, "uniform").pvalue > 1e-3


def test_a_batch_is_divided_in_order_and_no_pair_is_lost() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1)
    labels = torch.arange(5).reshape(5, 1, 1)
    whole = Batch(moving=images, fixed=images, moving_labels=labels, fixed_labels=None)
    parts = whole.divided(3)
    assert [len(part.moving) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.moving for part in parts]), images)
    assert all(part.fixed_labels is None for part in parts)
    assert parts[2].moving_labels is not None
    assert int(parts[2].moving_labels) == 4


def test_some_pairs_are_what_they_are_among_all(cohort: PreparedCohort) -> None:
    """Processes that share a batch draw the same numbers, and compute their own images only."""
    every = [*PAIRS, pair("sub-3", "sub-2"), pair("sub-1", "sub-3")]
    augmentation = AugmentationOptions(
        rotation_degrees=5, translation=1, deformation=1, intensity=0.2, flip_axis=0
    )
    options = TrainingOptions(augmentation=augmentation)
    whole = make_batch(cohort, every, options, np.random.default_rng(3), with_labels=True)
    for own in (slice(0, 2), slice(2, 4), slice(1, 2)):
        part = make_batch(cohort, every, options, np.random.default_rng(3), True, own)
        for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
            torch.testing.assert_close(getattr(part, name), getattr(whole, name)[own])
