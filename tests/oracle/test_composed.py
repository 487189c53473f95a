"""One field in which every structure has a setting of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import NetworkOptions
from hmopt.errors import DataError, DeclarationError
from hmopt.ledger import Ledger, Recorded
from hmopt.metrics import measure
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.oracle import AmortizedOracle, ComposedOracle
from hmopt.oracle.registered import CohortTensors
from hmopt.oracle.structure_maps import (
    FixedMaps,
    Frequencies,
    FrequencyMaps,
    Located,
    MovingMaps,
    StructureMaps,
    find_frequencies,
    read_frequencies,
    write_frequencies,
)
from hmopt.records import MapKind, Pair
from hmopt.space import Hyperparameter, Index, Space
from hmopt.spatial import velocity_to_displacement, warp

MakeModel = Callable[..., Hypermorph]


class Everywhere(StructureMaps):
    """One structure is everywhere."""

    def __init__(self, labels: Sequence[str], structure: str) -> None:
        super().__init__(labels, width=0.0)
        self.structure = structure

    @property
    def kind(self) -> MapKind:
        return "frequency"

    def shares(self, located: Located, stride: int) -> Tensor:
        shares = torch.zeros(1, len(self.labels), 8, 8)
        shares[:, self.labels.index(self.structure)] = 1
        return shares


@pytest.fixture
def cohort(flat_cohort: PreparedCohort) -> PreparedCohort:
    table = pd.DataFrame(
        {"subject": list("abcd"), "slice": -1, "split": ["train", "train", "search", "search"]},
        index=list("abcd"),
    )
    return replace(flat_cohort, images=table, codes={"box": (1,), "bar": (2, 5), "dot": (3,)})


@pytest.fixture
def oracle(cohort: PreparedCohort, make_model: MakeModel) -> AmortizedOracle:
    return AmortizedOracle(make_model(cohort.shape), cohort)


def compose(
    oracle: AmortizedOracle, structures: Mapping[str, Index], width: float = 1.0
) -> ComposedOracle:
    return ComposedOracle(oracle, structures, FixedMaps(oracle.labels, width))


def test_equal_settings_give_the_plain_displacement_to_the_last_bit(
    oracle: AmortizedOracle, pairs: list[Pair]
) -> None:
    composed = compose(oracle, {"box": (60,), "bar": (60,), "dot": (60,)})
    plain = oracle.displacement((60,), pairs[0])
    assert float(plain.abs().max()) > 0.1
    assert torch.equal(composed.displacement((60,), pairs[0]), plain)


def test_a_structure_that_is_everywhere_gives_the_displacement_of_its_setting(
    oracle: AmortizedOracle, pairs: list[Pair]
) -> None:
    maps = Everywhere(oracle.labels, "bar")
    composed = ComposedOracle(oracle, {"bar": (160,), "box": (20,)}, maps)
    found = composed.displacement((60,), pairs[0])
    torch.testing.assert_close(found, oracle.displacement((160,), pairs[0]))
    assert not torch.allclose(found, oracle.displacement((60,), pairs[0]), atol=1e-2)


def test_the_displacement_is_that_of_the_velocities_blended_voxel_by_voxel(
    oracle: AmortizedOracle, cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    structures: dict[str, Index] = {"box": (20,), "bar": (160,)}
    composed = ComposedOracle(oracle, structures, FixedMaps(cohort.labels, width=0.0))
    pair = pairs[0]
    moving, fixed = (
        torch.from_numpy(cohort.image(name))[None, None] for name in (pair.moving, pair.fixed)
    )
    with torch.inference_mode():
        velocity = {
            index: oracle.network((index,))(moving, fixed)[0].numpy() for index in (20, 60, 160)
        }
    label_map = cohort.label_map(pair.fixed)
    volumes = [np.sum(label_map == number) / 4 for number in (1, 2, 3)]
    blended = np.zeros_like(velocity[60])
    for x in range(8):
        for y in range(8):
            voxels = label_map[2 * x : 2 * x + 2, 2 * y : 2 * y + 2]
            shares = [np.mean(voxels == number) for number in (1, 2, 3)]
            by_volume = [
                share / max(volume, 1) for share, volume in zip(shares, volumes, strict=True)
            ]
            total = sum(by_volume) or 1.0
            weights = [min(sum(shares) / 0.1, 1) * one / total for one in by_volume]
            blended[:, x, y] = weights[0] * velocity[20][:, x, y]
            blended[:, x, y] += weights[1] * velocity[160][:, x, y]
            blended[:, x, y] += (1 - weights[0] - weights[1]) * velocity[60][:, x, y]
    expected = velocity_to_displacement(torch.from_numpy(blended)[None], steps=3, stride=2)[0]
    found = composed.displacement((60,), pair)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_volumes_are_composed_as_planes_are(
    deep_cohort: PreparedCohort, make_model: MakeModel, pairs: list[Pair]
) -> None:
    cohort = replace(deep_cohort, images=deep_cohort.images.assign(slice=-1))
    oracle = AmortizedOracle(make_model(cohort.shape), cohort)
    maps = FixedMaps(cohort.labels, width=0.0)
    everything: dict[str, Index] = dict.fromkeys(cohort.labels, (160,))
    found = ComposedOracle(oracle, everything, maps).displacement((60,), pairs[0])
    same = ComposedOracle(oracle, everything, maps).displacement((160,), pairs[0])
    assert torch.equal(same, oracle.displacement((160,), pairs[0]))
    # one velocity where a voxel of the velocity is of structures, the other one where it is not
    images = (
        torch.from_numpy(cohort.image(name))[None, None]
        for name in (pairs[0].moving, pairs[0].fixed)
    )
    moving, fixed = images
    with torch.inference_mode():
        inside = oracle.network((160,))(moving, fixed)
        outside = oracle.network((60,))(moving, fixed)
    label_map = cohort.label_map(pairs[0].fixed)
    blocks = (label_map > 0).reshape(8, 2, 8, 2, 8, 2).mean(axis=(1, 3, 5))
    weight = torch.from_numpy(blocks / np.maximum(blocks, 0.1)).float()
    velocity = weight * inside + (1 - weight) * outside
    expected = velocity_to_displacement(velocity, steps=3, stride=2)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_order_of_structures_does_not_matter(
    oracle: AmortizedOracle, pairs: list[Pair]
) -> None:
    structures: dict[str, Index] = {"box": (20,), "bar": (160,), "dot": (20,)}
    backwards = dict(reversed(structures.items()))
    one, other = compose(oracle, structures), compose(oracle, backwards)
    assert one.identity == other.identity
    assert torch.equal(one.displacement((60,), pairs[0]), other.displacement((60,), pairs[0]))


def test_identity_tells_settings_maps_and_models_apart(
    oracle: AmortizedOracle, cohort: PreparedCohort, make_model: MakeModel
) -> None:
    other = AmortizedOracle(make_model(cohort.shape, seed=1), cohort)
    frequencies = find_frequencies(cohort, 2)
    composed = [
        compose(oracle, {"box": (20,)}),
        compose(oracle, {"box": (25,)}),
        compose(oracle, {"bar": (20,)}),
        compose(oracle, {"box": (20,)}, width=2.0),
        compose(other, {"box": (20,)}),
        ComposedOracle(oracle, {"box": (20,)}, MovingMaps(cohort.labels, 1.0)),
        ComposedOracle(oracle, {"box": (20,)}, FrequencyMaps(frequencies, 1.0)),
        ComposedOracle(
            oracle,
            {"box": (20,)},
            FrequencyMaps(replace(frequencies, shares=frequencies.shares * 0.5), 1.0),
        ),
    ]
    identities = [one.identity for one in composed]
    assert len({*identities, oracle.identity}) == 9
    assert compose(oracle, {"box": (20,)}).identity == identities[0]


def test_without_a_structure_it_is_the_model_and_shares_its_measurements(
    oracle: AmortizedOracle, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    Recorded(oracle, ledger).fill([(60,)], pairs, ["dice", "folding"])
    composed = compose(oracle, {})
    assert composed.identity == oracle.identity
    assert (
        ledger.missing(composed.identity, composed.space, [(60,)], pairs, ["dice"], composed.labels)
        == []
    )


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_it_is_measured_as_any_oracle_whatever_the_batch(
    oracle: AmortizedOracle, cohort: PreparedCohort, pairs: list[Pair], batch: int
) -> None:
    composed = ComposedOracle(oracle, {"box": (20,)}, MovingMaps(cohort.labels, 1.0), batch=batch)
    blocks = list(composed.measure([(60,)], pairs, ["dice", "folding"]))
    tensors = CohortTensors(cohort, torch.device("cpu"))
    for block in blocks:
        for row, name in enumerate(block.pairs):
            pair = next(one for one in pairs if one.id == name)
            displacement = composed.displacement((60,), pair)[None]
            expected = measure(["dice", "folding"], tensors.load([pair]), displacement)
            np.testing.assert_allclose(block.values["dice"][row], expected["dice"][0], atol=1e-6)
    assert sum(len(block.pairs) for block in blocks) == len(pairs)


def test_maps_of_the_moving_image_are_its_labels_moved_by_the_common_field(
    oracle: AmortizedOracle, cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    displacement = oracle.displacement((60,), pairs[0])[None]
    labels = torch.from_numpy(cohort.label_map(pairs[0].moving).astype(np.int32))[None]
    located = Located(slices=(-1,), displacement=lambda: displacement, moving_labels=labels)
    shares = MovingMaps(cohort.labels).shares(located, stride=1)
    for number in (1, 2, 3):
        mask = (labels == number).float()[None]
        torch.testing.assert_close(shares[:, [number - 1]], warp(mask, displacement))
    assert float(shares.sum(dim=1).max()) <= 1 + 1e-6


def test_maps_of_many_structures_are_those_of_each() -> None:
    labels = [str(number) for number in range(1, 20)]
    label_map = torch.randint(0, 20, (2, 8, 8), dtype=torch.int32)
    located = Located(slices=(-1, -1), displacement=lambda: torch.zeros(0), fixed_labels=label_map)
    shares = FixedMaps(labels).shares(located, stride=2).numpy()
    assert shares.shape == (2, 19, 4, 4)
    for number in range(1, 20):
        blocks = (label_map.numpy() == number).reshape(2, 4, 2, 4, 2)
        np.testing.assert_allclose(shares[:, number - 1], blocks.mean(axis=(2, 4)))


def test_frequencies_are_shares_of_the_training_subjects(cohort: PreparedCohort) -> None:
    found = find_frequencies(cohort, stride=1)
    maps = [cohort.label_map(name) for name in "ab"]
    assert (found.subjects, found.slices, found.labels) == (2, (-1,), cohort.labels)
    for number in (1, 2, 3):
        expected = np.mean([label_map == number for label_map in maps], axis=0)
        np.testing.assert_allclose(found.shares[0, number - 1], expected)


def test_each_subject_counts_once_and_each_slice_by_itself(cohort: PreparedCohort) -> None:
    table = cohort.images.copy()
    table["subject"] = ["one", "one", "two", "two"]
    table["split"] = "train"
    table["slice"] = [3, 3, 3, 4]
    found = find_frequencies(replace(cohort, images=table), stride=1)
    a, b, c, d = (cohort.label_map(name) == 1 for name in "abcd")
    np.testing.assert_allclose(found.shares[0, 0], ((a + b.astype(float)) / 2 + c) / 2)
    np.testing.assert_allclose(found.shares[1, 0], d / 2)
    located = Located(slices=(4, 3), displacement=lambda: torch.zeros(0))
    shares = FrequencyMaps(found).shares(located, stride=1)
    np.testing.assert_array_equal(shares.numpy(), found.shares[[1, 0]])


def test_frequencies_are_read_as_they_were_written(cohort: PreparedCohort, tmp_path: Path) -> None:
    frequencies = find_frequencies(cohort, stride=2)
    path = tmp_path / "structure-maps.npz"
    write_frequencies(path, frequencies)
    found = read_frequencies(path)
    np.testing.assert_array_equal(found.shares, frequencies.shares)
    assert found.identity == frequencies.identity
    assert found.codes == {"box": (1,), "bar": (2, 5), "dot": (3,)}
    assert (found.slices, found.stride, found.subjects) == ((-1,), 2, 2)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "text"])
def test_a_damaged_file_of_frequencies_is_refused(
    cohort: PreparedCohort, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "structure-maps.npz"
    if damage != "missing":
        write_frequencies(path, find_frequencies(cohort, stride=2))
        content = path.read_bytes()
        path.write_bytes(
            {"cut": content[: len(content) // 2], "empty": b"", "text": b"maps"}[damage]
        )
    with pytest.raises(DataError, match="structure maps that"):
        read_frequencies(path)


def test_no_training_subject_no_frequencies(cohort: PreparedCohort) -> None:
    table = cohort.images.assign(split="search")
    with pytest.raises(DataError, match=r"split\.train: expected training subjects"):
        FrequencyMaps(find_frequencies(replace(cohort, images=table), stride=2))


def test_frequencies_of_another_slice_or_grid_are_refused(cohort: PreparedCohort) -> None:
    maps = FrequencyMaps(find_frequencies(cohort, stride=2))
    with pytest.raises(DataError, match="slices -1 on a grid of stride 2"):
        maps.shares(Located(slices=(7,), displacement=lambda: torch.zeros(0)), stride=2)
    with pytest.raises(DataError, match="on one of stride 1"):
        maps.shares(Located(slices=(-1,), displacement=lambda: torch.zeros(0)), stride=1)


def test_an_unknown_structure_and_a_wrong_width_are_refused(oracle: AmortizedOracle) -> None:
    with pytest.raises(DeclarationError, match="structures of the cohort"):
        compose(oracle, {"pons": (20,)})
    with pytest.raises(DataError, match="width"):
        FixedMaps(oracle.labels, width=-1.0)


def test_a_model_that_predicts_displacements_is_refused(
    cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[], integration_steps=0)
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    model = Hypermorph(RegistrationNetwork(options, cohort.shape), space, widths=[4])
    composed = compose(AmortizedOracle(model, cohort), {"box": (20,)})
    with pytest.raises(DeclarationError, match="a model that predicts velocities"):
        composed.displacement((60,), pairs[0])


def test_frequencies_hash_their_content() -> None:
    shares = np.zeros((1, 1, 4, 4), np.float32)
    one = Frequencies(shares=shares, slices=(-1,), labels=("a",), stride=2, subjects=1)
    assert one.identity == replace(one, subjects=2).identity
    assert one.identity != replace(one, shares=shares + 1).identity
    assert one.identity != replace(one, labels=("b",)).identity
