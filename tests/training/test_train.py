import csv
import json
import math
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study, parse_study
from hmopt.errors import CheckpointError, DataError, DeclarationError, DivergedError
from hmopt.networks import load_hypermorph, read_header
from hmopt.progress import Track
from hmopt.stopping import terminable
from hmopt.training import train
from hmopt.training.identity import check_key, is_trained, training_key
from hmopt.training.train import TrainableHypermorph

MODEL = "model.safetensors"
MODEL_FILES = {
    "quarter": "model-quarter.safetensors",
    "half": "model-half.safetensors",
    "three-quarters": "model-three-quarters.safetensors",
    "full": MODEL,
}
STATE = "training-state.safetensors"
LOG = "training.csv"

T = TypeVar("T")
SHAPE = [16, 16]


def declare(**tables: dict[str, Any]) -> Study:
    """Return the declaration of a tiny training, with some keys changed."""
    values: dict[str, Any] = {
        "cohort": {"manifest": Path("cohort.csv")},
        "preprocessing": {"shape": SHAPE},
        "split": {"train": 4, "tune": 2, "search": 2},
        "pairs": {"tune": 2},
        "network": {"encoder": [4, 4], "decoder": [4], "final": []},
        "hypernetwork": {"widths": [4]},
        "loss": {"window": 5},
        "training": {"steps": 8, "batch": 2, "checkpoint_every": 2},
    }
    changed = {name: {**values.get(name, {}), **options} for name, options in tables.items()}
    return parse_study({"name": "discs", **values, **changed})


WITH_LABELS: dict[str, dict[str, Any]] = {
    "hyperparameters": {"regularization": {}, "label_weight": {}}
}
AUGMENTED = {
    "augmentation": {"deformation": 1.0, "translation": 1.0, "intensity": 0.1, "flip_axis": 0}
}


class Interrupted(Exception):  # noqa: N818 - it is no error here
    """Stands for whatever ends a training early."""


def interrupting(after: int) -> Track:
    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for done, item in enumerate(items):
            if done == after:
                raise Interrupted
            yield item

    return track


def logged(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_model(one: Path, other: Path) -> None:
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("interruptions", [[1], [3], [5], [4, 3]])
def test_interrupted_training_ends_in_the_same_model_and_log(
    cohort: PreparedCohort, tmp_path: Path, interruptions: list[int]
) -> None:
    study = declare(training=AUGMENTED, **WITH_LABELS)
    train(study, cohort, tmp_path / "whole")
    for after in interruptions:
        with pytest.raises(Interrupted):
            train(study, cohort, tmp_path / "parts", interrupting(after))
        assert not (tmp_path / "parts" / MODEL).exists()
    train(study, cohort, tmp_path / "parts")
    for name in MODEL_FILES.values():
        assert_same_model(tmp_path / "whole" / name, tmp_path / "parts" / name)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")
    assert not (tmp_path / "parts" / STATE).exists()


def test_continued_training_shows_what_was_done_before(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        seen.append((start, total))
        yield from items

    with pytest.raises(Interrupted):
        train(declare(), cohort, tmp_path, interrupting(5))
    train(declare(), cohort, tmp_path, track)
    assert seen == [(4, 8)]


def test_trained_folder_is_left_alone(cohort: PreparedCohort, tmp_path: Path) -> None:
    assert not is_trained(declare(), cohort, tmp_path)
    path = train(declare(), cohort, tmp_path)
    before = path.stat().st_mtime_ns
    assert is_trained(declare(), cohort, tmp_path)
    assert train(declare(), cohort, tmp_path, interrupting(0)) == path
    assert path.stat().st_mtime_ns == before


def test_model_of_another_declaration_or_cohort_is_refused(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    train(declare(), cohort, tmp_path)
    for study, images in (
        (declare(training={"seed": 1}), cohort),
        (declare(), replace(cohort, identity="other")),
    ):
        with pytest.raises(
            CheckpointError, match="expected a model of this declaration and these images"
        ):
            train(study, images, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"one of others: training\.seed was 0, is 1\. Restore"
    ):
        train(declare(training={"seed": 1}), cohort, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"images, their preparation, \[split\] or \[pairs\] differ"
    ):
        train(declare(), replace(cohort, identity="other"), tmp_path)


def test_state_of_another_declaration_is_refused(cohort: PreparedCohort, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(declare(), cohort, tmp_path, interrupting(3))
    with pytest.raises(CheckpointError, match="expected a state of the declared training"):
        train(declare(loss={"window": 7}), cohort, tmp_path)


def test_what_decides_the_weights_is_in_the_key_and_nothing_else(cohort: PreparedCohort) -> None:
    key = training_key(declare(), cohort)
    for same in (
        declare(training={"threads": 1, "checkpoint_every": 3}),
        declare(search={"coarse": 5}),
        declare(pairs={"search": 3}),
        declare(hyperparameters={"regularization": {"default": 0.25, "step": 0.01}}),
    ):
        assert training_key(same, cohort) == key
    for other in (
        declare(training={"steps": 9}),
        declare(loss={"regularizer": "bending"}),
        declare(network={"final": [4]}),
        declare(split={"seed": 1}),
        declare(pairs={"tasks": ["within"]}),
        declare(**WITH_LABELS),
    ):
        assert training_key(other, cohort) != key


def test_model_says_what_it_is(cohort: PreparedCohort, tmp_path: Path) -> None:
    study = declare(loss={"scale": 2.5})
    model, header = load_hypermorph(train(study, cohort, tmp_path))
    assert model.space == study.space
    assert header["labels"] == ["small", "large"]
    assert header["cohort"] == "discs"
    assert header["loss"]["scale"] == 2.5
    assert header["steps"] == 8


def test_models_of_a_quarter_half_and_three_quarters_of_the_training_are_kept(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    train(declare(), cohort, tmp_path)
    steps = {
        checkpoint: read_header(tmp_path / name)["steps"]
        for checkpoint, name in MODEL_FILES.items()
    }
    assert steps == {"quarter": 2, "half": 4, "three-quarters": 6, "full": 8}


def test_a_training_too_short_for_every_checkpoint_keeps_half_and_full(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    train(declare(training={"steps": 2}), cohort, tmp_path)
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {MODEL_FILES["half"], MODEL}


def test_log_has_a_row_every_ten_steps_and_at_every_checkpoint(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    train(declare(training={"steps": 23, "checkpoint_every": 9}), cohort, tmp_path)
    rows = logged(tmp_path)
    assert [int(row["step"]) for row in rows] == [9, 10, 18, 20, 23]
    assert [bool(row["tune_dice"]) for row in rows] == [True, False, True, False, True]
    # a warm-up of two steps is over by then
    rates = [1e-3 * (1 + math.cos(math.pi * step / 23)) / 2 for step in (8, 9, 17, 19, 22)]
    np.testing.assert_allclose([float(row["learning_rate"]) for row in rows], rates, rtol=1e-5)


def test_training_lowers_its_loss_and_registers_better(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    options = {"steps": 120, "checkpoint_every": 10, "learning_rate": 4e-3, "averaging": 0.9}
    study = declare(
        training=options,
        loss={"similarity": "mse"},
        hyperparameters={"regularization": {"high": 0.1, "default": 0}},
    )
    train(study, cohort, tmp_path)
    rows = logged(tmp_path)
    first, last = (
        np.mean([float(row["similarity"]) for row in part]) for part in (rows[:3], rows[-3:])
    )
    assert last < 0.8 * first
    assert float(rows[-1]["tune_dice"]) > float(rows[0]["tune_dice"]) + 0.02


def test_seed_decides_the_model(cohort: PreparedCohort, tmp_path: Path) -> None:
    one, other = (
        load_file(train(declare(training={"seed": seed}), cohort, tmp_path / str(seed)))
        for seed in (0, 1)
    )
    assert not torch.equal(one["base"], other["base"])


def test_no_pair_to_train_on_is_refused_before_any_work(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=r"^pairs\.tasks: expected pairs among the subjects to train on, got none"
    ):
        train(declare(pairs={"tasks": ["within"]}), cohort, tmp_path)
    assert not list(tmp_path.glob("[!.]*"))  # but for a lock


def test_overlap_label_that_the_cohort_lacks_is_refused(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    with pytest.raises(
        DeclarationError,
        match=r"^loss\.overlap_labels: expected names among small, large, got tiny",
    ):
        train(declare(loss={"overlap_labels": ["small", "tiny"]}, **WITH_LABELS), cohort, tmp_path)


def test_loss_that_is_no_number_ends_training_without_a_model(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    declared = declare()
    too_fast = declared.training.model_copy(
        update={"learning_rate": 1e18}
    )  # larger than can be declared
    wild = declared.model_copy(update={"training": too_fast})
    with pytest.raises(DataError, match=r"^training: expected a finite loss, got (nan|inf)"):
        train(wild, cohort, tmp_path)
    assert not (tmp_path / MODEL).exists()


def test_a_training_that_diverges_ends_at_its_next_checkpoint_without_a_model(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    too_fast = {"steps": 40, "checkpoint_every": 20, "learning_rate": 0.5, "averaging": 0.0}
    study = declare(
        training=too_fast, hyperparameters={"regularization": {"high": 0.1, "default": 0}}
    )
    pattern = r"^training: expected a Dice on pairs to tune on above 0\.\d\d, that before"
    with pytest.raises(DataError, match=pattern):
        train(study, cohort, tmp_path)
    assert not (tmp_path / MODEL).exists()
    assert logged(tmp_path)[-1]["tune_dice"]


def test_a_hypermorph_that_no_setting_changes_is_refused(cohort: PreparedCohort) -> None:
    trainable = TrainableHypermorph(declare(), cohort.shape, torch.device("cpu"))
    trainable.check()
    layers = [one for one in trainable.module.modules() if isinstance(one, torch.nn.Linear)]
    last = layers[-1]  # before the heads
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-1.0)  # units that are 0 at every setting
    with pytest.raises(
        DivergedError, match=r"^training: expected weights .* depend on the setting"
    ):
        trainable.check()


def test_model_of_an_earlier_version_is_told_what_to_declare(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    path = train(declare(training={"settings_per_step": 1, "warm_up": 0}), cohort, tmp_path)
    header = {**read_header(path)}
    header["training"] = {"steps": header["training"]["steps"]}
    with pytest.raises(CheckpointError, match=r"declare `settings_per_step = 1` and `warm_up = 0`"):
        check_key(path, header, "another key")
    with pytest.raises(CheckpointError, match=r"one of others\. Restore what it was"):
        check_key(path, read_header(path), "another key")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_step_writes_the_state_and_the_rest_is_trained_as_without_it(
    number: signal.Signals, cohort: PreparedCohort, tmp_path: Path
) -> None:
    study = declare()
    undisturbed = load_file(train(study, cohort, tmp_path / "undisturbed"))
    folder = tmp_path / "stopped"

    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for done, item in enumerate(items, start):
            if done == 3:  # between the third step and the fourth
                signal.raise_signal(number)
            yield item

    with pytest.raises(KeyboardInterrupt), terminable():
        train(study, cohort, folder, track=track)
    with safe_open(folder / STATE, framework="np") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 4
    resumed = load_file(train(study, cohort, folder))
    assert resumed.keys() == undisturbed.keys()
    for name, tensor in undisturbed.items():
        assert torch.equal(tensor, resumed[name])
    assert logged(folder) == logged(tmp_path / "undisturbed")
    assert not (folder / STATE).exists()


def test_a_state_whose_model_is_there_is_removed_and_that_of_another_training_stays(
    cohort: PreparedCohort, tmp_path: Path
) -> None:
    study = declare()
    train(study, cohort, tmp_path)
    state = tmp_path / STATE
    for key, stays in ((training_key(study, cohort), False), ("another", True)):
        save_file({"a": torch.zeros(1)}, state, {"key": key})
        train(study, cohort, tmp_path)
        assert state.exists() == stays
