from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.catalogue import METRICS
from hmopt.data.prepared import PreparedCohort
from hmopt.errors import DataError, DeclarationError
from hmopt.metrics import originals
from hmopt.networks import Hypermorph
from hmopt.oracle import AmortizedOracle, registered
from hmopt.oracle.registered import SETTINGS_AT_ONCE
from hmopt.records import Pair
from hmopt.spatial import window

MakeModel = Callable[..., Hypermorph]
SETTINGS = [(0,), (70,), (200,)]
MEASURED = [name for name, metric in METRICS.items() if not metric.is_by_product]
"""Metrics that are the same whenever they are measured: not the time that it takes."""


def measured(oracle: AmortizedOracle, pairs: list[Pair], metric: str) -> NDArray[np.float64]:
    """(settings, pairs, …), in the order of `SETTINGS` and `pairs`."""
    rows = {
        (block.index, pair): row
        for block in oracle.measure(SETTINGS, pairs, [metric])
        for pair, row in zip(block.pairs, block.values[metric], strict=True)
    }
    return np.array([[rows[index, pair.id] for pair in pairs] for index in SETTINGS])


def displacement(
    model: Hypermorph, cohort: PreparedCohort, pair: Pair, setting: float
) -> NDArray[np.float64]:
    moving, fixed = (
        torch.from_numpy(cohort.image(name))[None, None] for name in (pair.moving, pair.fixed)
    )
    velocity = model(moving, fixed, {"regularization": setting})
    return model.registration.displacement(velocity)[0].detach().double().numpy()


def test_dice_is_that_of_labels_moved_at_the_setting(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    model = make_model(cohort.shape)
    values = measured(AmortizedOracle(model, cohort, batch=2), pairs, "dice")
    for row, setting in enumerate((0.0, 0.35, 1.0)):
        field = displacement(model, cohort, pairs[2], setting)
        assert np.abs(field).max() > 0.5
        moving, fixed = cohort.label_map(pairs[2].moving), cohort.label_map(pairs[2].fixed)
        mask = (moving == 1).astype(float)
        moved = ndimage.map_coordinates(
            mask, np.indices(cohort.shape) + field, order=1, mode="nearest"
        )
        expected = 2 * moved[fixed == 1].sum() / (moved.sum() + (fixed == 1).sum())
        assert values[row, 2, 0] == pytest.approx(expected, abs=1e-4)


def test_settings_differ(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    values = measured(AmortizedOracle(make_model((16, 16)), flat_cohort), pairs, "dice")
    assert np.abs(np.diff(values[:, :, 0], axis=0)).min() > 1e-4


@pytest.mark.parametrize("metric", MEASURED)
def test_values_do_not_depend_on_batches_or_order(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, metric: str
) -> None:
    model = make_model((16, 16))
    whole = measured(AmortizedOracle(model, flat_cohort, batch=5), pairs, metric)
    alone = measured(AmortizedOracle(model, flat_cohort, batch=1), pairs, metric)
    turned = measured(AmortizedOracle(model, flat_cohort, batch=2), pairs[::-1], metric)[:, ::-1]
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    np.testing.assert_allclose(turned, whole, atol=1e-5)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("metric", MEASURED)
def test_values_do_not_depend_on_threads_or_on_settings_kept_at_once(
    flat_cohort: PreparedCohort,
    pairs: list[Pair],
    make_model: MakeModel,
    metric: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model((16, 16))
    torch.set_num_threads(1)
    one = measured(AmortizedOracle(model, flat_cohort), pairs, metric)
    torch.set_num_threads(3)
    monkeypatch.setattr(registered, "SETTINGS_AT_ONCE", 1)
    monkeypatch.setattr(window, "CACHED_VOXELS", 1)
    np.testing.assert_allclose(
        measured(AmortizedOracle(model, flat_cohort), pairs, metric), one, atol=1e-5
    )


def test_every_batch_passes_all_settings_before_the_next_one(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    blocks = list(
        AmortizedOracle(make_model((16, 16)), flat_cohort, batch=3).measure(
            SETTINGS, pairs, ["dice"]
        )
    )
    assert [(block.index, len(block.pairs)) for block in blocks] == [
        (i, n) for n in (3, 2) for i in SETTINGS
    ]


def test_more_settings_than_are_kept_at_once_are_all_measured(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    settings = [(place,) for place in range(SETTINGS_AT_ONCE + 6)]
    blocks = AmortizedOracle(make_model((16, 16)), flat_cohort).measure(
        settings, pairs, ["folding"]
    )
    assert [block.index for block in blocks] == settings


def test_what_does_not_depend_on_the_setting_is_computed_once_a_batch(
    flat_cohort: PreparedCohort,
    pairs: list[Pair],
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    volumes = originals.label_volumes

    def counted_volumes(*maps: Any) -> Any:
        seen.append(maps)
        return volumes(*maps)

    monkeypatch.setattr(originals, "label_volumes", counted_volumes)
    list(
        AmortizedOracle(make_model((16, 16)), flat_cohort, batch=5).measure(
            SETTINGS, pairs, ["dice"]
        )
    )
    assert len(seen) == 2  # of the moving and of the fixed maps


def test_weights_are_predicted_once_a_setting(
    flat_cohort: PreparedCohort,
    pairs: list[Pair],
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    baked: list[Any] = []
    bake = Hypermorph.bake

    def counted_bake(model: Hypermorph, setting: Any) -> Any:
        baked.append(setting)
        return bake(model, setting)

    monkeypatch.setattr(Hypermorph, "bake", counted_bake)
    oracle = AmortizedOracle(make_model((16, 16)), flat_cohort, batch=1)
    for _ in range(2):
        list(oracle.measure(SETTINGS, pairs, ["dice"]))
    assert [setting["regularization"] for setting in baked] == [0.0, 0.35, 1.0]


def test_images_are_read_once_for_all_settings(
    flat_cohort: PreparedCohort,
    pairs: list[Pair],
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []
    image = type(flat_cohort).image

    def counted_image(cohort: PreparedCohort, name: str) -> Any:
        read.append(name)
        return image(cohort, name)

    monkeypatch.setattr(type(flat_cohort), "image", counted_image)
    list(
        AmortizedOracle(make_model((16, 16)), flat_cohort, batch=1).measure(
            SETTINGS, pairs, ["dice"]
        )
    )
    assert sorted(read) == sorted("abbabccdda")


def test_gradients_are_left_as_they_were(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    for _ in AmortizedOracle(make_model((16, 16)), flat_cohort, batch=1).measure(
        SETTINGS, pairs, ["dice"]
    ):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_identity_stands_for_model_space_and_cohort(
    flat_cohort: PreparedCohort, other_cohort: PreparedCohort, make_model: MakeModel
) -> None:
    one = AmortizedOracle(make_model((16, 16)), flat_cohort).identity
    assert AmortizedOracle(make_model((16, 16)), flat_cohort, batch=1).identity == one
    others = [
        AmortizedOracle(make_model((16, 16), seed=1), flat_cohort).identity,
        AmortizedOracle(make_model((16, 16), high=0.5), flat_cohort).identity,
        AmortizedOracle(make_model((16, 16)), other_cohort).identity,
    ]
    assert len({one, *others}) == 4


def test_identity_sees_how_velocities_are_integrated(
    flat_cohort: PreparedCohort, make_model: MakeModel
) -> None:
    one, other = make_model((16, 16)), make_model((16, 16))
    other.registration.options = other.registration.options.model_copy(
        update={"integration_steps": 1}
    )
    assert (
        AmortizedOracle(one, flat_cohort).identity != AmortizedOracle(other, flat_cohort).identity
    )


def test_pair_of_an_unknown_image_is_refused_before_any_work(
    flat_cohort: PreparedCohort, make_model: MakeModel
) -> None:
    pair = Pair(moving="a", fixed="z", moving_subject="a", fixed_subject="z")
    with pytest.raises(DataError, match="pairs: expected images of the cohort, got 'z'"):
        AmortizedOracle(make_model((16, 16)), flat_cohort).measure(SETTINGS, [pair], ["dice"])


def test_undeclared_metric_is_refused_before_any_work(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    with pytest.raises(DeclarationError, match="metric"):
        AmortizedOracle(make_model((16, 16)), flat_cohort).measure(SETTINGS, pairs, ["speed"])
