from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hmopt.data.pairs import possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study, parse_study
from hmopt.errors import CheckpointError, HmoptError
from hmopt.losses import find_similarity, regularize
from hmopt.networks import RegistrationNetwork, SeparateNetwork, load_hypermorph, load_network
from hmopt.progress import Track
from hmopt.spatial import warp
from hmopt.training import train
from hmopt.training.batches import draw_pairs, make_batch
from hmopt.training.identity import network_key, training_key
from hmopt.training.train import train_hypermorph, train_network, with_budget

T = TypeVar("T")
SETTING = {"regularization": 0.35}


def declare(**changed: object) -> Study:
    """Return the declaration of a tiny training, with some keys changed."""
    augmentation = {"deformation": 1.0, "translation": 1.0, "intensity": 0.1, "flip_axis": 0}
    return parse_study(
        {
            "name": "discs",
            "cohort": {"manifest": Path("cohort.csv")},
            "preprocessing": {"shape": [16, 16]},
            "split": {"train": 4, "tune": 2, "search": 2},
            "pairs": {"tune": 2},
            "network": {"encoder": [4, 4], "decoder": [4], "final": []},
            "hypernetwork": {"widths": [4]},
            "loss": {"window": 5, "scale": 2.5},
            "training": {
                "steps": 8,
                "batch": 2,
                "checkpoint_every": 2,
                "seed": 3,
                "augmentation": augmentation,
            },
            **changed,
        }
    )


class Interrupted(Exception):  # noqa: N818 - it is no error here
    """Stands for whatever ends a training early."""


def interrupting(after: int) -> Track:
    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for done, item in enumerate(items):
            if done == after:
                raise Interrupted
            yield item

    return track


def trained_plainly(
    study: Study, cohort: PreparedCohort, strength: float
) -> dict[str, torch.Tensor]:
    """Return the averaged weights of a registration network that a loop of a few lines trained."""
    options = study.training
    torch.manual_seed(options.seed)
    network = RegistrationNetwork(study.network, cohort.shape)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    averages = {name: weight.clone() for name, weight in network.state_dict().items()}
    pairs = {"cross": possible_pairs(cohort, study.pairs, "train")}
    for step in range(options.steps):
        generator = np.random.default_rng([options.seed, step])
        generator.random(2)  # from which a hypermorph draws its λ
        chosen = draw_pairs(pairs, options.batch, generator)
        batch = make_batch(cohort, chosen, options, generator, with_labels=False)
        velocity = network(batch.moving, batch.fixed)
        moved = warp(batch.moving, network.displacement(velocity))
        similarity = find_similarity(study.loss)(moved, batch.fixed)
        loss = (1 - strength) * (2.5 * similarity) + strength * regularize(
            velocity, study.loss, None
        )
        optimizer.zero_grad()
        (loss / max(1 - strength, 0.05)).backward()  # type: ignore[no-untyped-call]
        rate = options.learning_rate * (1 + np.cos(np.pi * step / options.steps)) / 2
        optimizer.param_groups[0]["lr"] = float(f"{rate:.12g}")
        optimizer.step()
        share = 1 - min(options.averaging, (1 + step) / (10 + step))
        for name, weight in network.state_dict().items():
            averages[name].lerp_(weight, share)
    return averages


def assert_same_tensors(one: Path, other: Path) -> None:
    tensors, others = load_file(one), load_file(other)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0])
def test_network_for_one_setting_is_bit_for_bit_what_a_plain_loop_trains(
    cohort: PreparedCohort, tmp_path: Path, strength: float
) -> None:
    study = declare()
    network, header = load_network(
        train_network(study, cohort, {"regularization": strength}, tmp_path / "network.safetensors")
    )
    expected = trained_plainly(study, cohort, strength)
    weights = network.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert header["setting"] == {"regularization": strength}
    assert header["steps"] == 8


@pytest.mark.parametrize("interruptions", [[1], [5], [4, 3]])
def test_interrupted_training_of_a_network_ends_in_the_same_weights(
    cohort: PreparedCohort, tmp_path: Path, interruptions: list[int]
) -> None:
    whole = train_network(declare(), cohort, SETTING, tmp_path / "whole" / "network.safetensors")
    path = tmp_path / "parts" / "network.safetensors"
    for after in interruptions:
        with pytest.raises(Interrupted):
            train_network(declare(), cohort, SETTING, path, interrupting(after))
        assert not path.exists()
    train_network(declare(), cohort, SETTING, path)
    assert_same_tensors(whole, path)
    assert sorted(file.name for file in path.parent.glob("[!.]*")) == [  # but for a lock
        "network-times.csv",
        "network.csv",
        "network.safetensors",
    ]


def test_hypermorph_of_the_same_seed_and_steps_is_the_one_of_the_study(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    study = declare(loss={"window": 5})
    own = train(study, cohort, tmp_path)
    again = train_hypermorph(
        with_budget(study, cohort, steps=8, seed=3), cohort, tmp_path / "again.safetensors"
    )
    assert_same_tensors(own, again)


def test_another_seed_or_budget_keeps_what_a_setting_means(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    study = declare(loss={"window": 5})
    _, own = load_hypermorph(train(study, cohort, tmp_path))
    for steps, seed in ((8, 4), (4, 3)):
        other = with_budget(study, cohort, steps=steps, seed=seed)
        path = train_hypermorph(other, cohort, tmp_path / f"{steps}-{seed}.safetensors")
        _, header = load_hypermorph(path)
        assert header["loss"]["scale"] == own["loss"]["scale"]
        assert (header["steps"], header["training"]["seed"]) == (steps, seed)
        assert not torch.equal(
            load_file(path)["base"], load_file(tmp_path / "model.safetensors")["base"]
        )


def test_network_that_is_there_is_left_alone_and_another_one_refused(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    path = train_network(declare(), cohort, SETTING, tmp_path / "network.safetensors")
    assert train_network(declare(), cohort, SETTING, path, interrupting(0)) == path
    others = [
        (declare(), replace(cohort, identity="other"), SETTING),
        (declare(), cohort, {"regularization": 0.4}),
        (declare(loss={"window": 7, "scale": 2.5}), cohort, SETTING),
    ]
    for study, images, setting in others:
        with pytest.raises(
            CheckpointError, match="expected a model of this declaration and these images"
        ):
            train_network(study, images, setting, path)
    with pytest.raises(
        CheckpointError, match="expected hmopt-hypermorph-1, got hmopt-registration-network-1"
    ):
        load_hypermorph(path)


def test_a_network_outlives_another_hypernetwork_and_nothing_else(cohort: PreparedCohort) -> None:
    study = declare()
    for other in (
        declare(hypernetwork={"widths": [8]}),
        declare(hyperparameters={"regularization": {"high": 0.5, "end_point_rate": 0.05}}),
    ):
        assert network_key(other, cohort) == network_key(study, cohort)
        assert training_key(other, cohort) != training_key(study, cohort)
    for other in (
        with_budget(study, cohort, steps=4, seed=3),
        with_budget(study, cohort, steps=8, seed=4),
        declare(loss={"window": 5, "scale": 2.0}),
        declare(network={"encoder": [4, 8], "decoder": [4], "final": []}),
        declare(hyperparameters={"regularization": {}, "label_weight": {}}),
    ):
        assert network_key(other, cohort) != network_key(study, cohort)


def test_network_for_one_setting_refuses_to_stand_for_another(cohort: PreparedCohort) -> None:
    separate = SeparateNetwork(RegistrationNetwork(declare().network, (16, 16)), SETTING)
    image = torch.zeros(1, 1, 16, 16)
    with pytest.raises(HmoptError, match=r"^setting: expected .*0\.35.*, got .*0\.4"):
        separate(image, image, {"regularization": 0.4})
