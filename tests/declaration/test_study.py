import os
from pathlib import Path
from typing import Any

import pytest

from hmopt.declaration import Study, parse_study
from hmopt.declaration.study import (
    load_declared_plugins,
    read_declaration,
    with_absolute_paths,
)
from hmopt.errors import DeclarationError


def declare(
    shape: tuple[int, ...] = (16, 16), normalization: str = "percentile", **sections: Any
) -> Study:
    values = {
        "name": "x",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {"shape": list(shape), "normalization": normalization},
        "split": {"train": 1, "tune": 1, "search": 1},
    }
    return parse_study({**values, **sections})


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"hyperparameters": {"warmth": {}}},
            "hyperparameters.warmth: expected one of regularization, bending_share, label_weight, "
            "similarity_share, window, got 'warmth'. Correct the declaration.",
        ),
        (
            {"hyperparameters": {"regularization": {"high": 2.0}}},
            "hyperparameters.regularization: expected a range inside [0, 1], got 0.0 to 2.0.",
        ),
        (
            {"hyperparameters": {"label_weight": {"low": -0.5}}},
            "hyperparameters.label_weight: expected a range inside [0, 1], got -0.5 to 1.0.",
        ),
        (
            {"training": {"augmentation": {"flip_axis": 2}}},
            "training.augmentation.flip_axis: expected an axis below 2, got 2.",
        ),
        (
            {"training": {"augmentation": {"flip_axis": -1}}},
            "study.toml: training.augmentation.flip_axis: expected greater than or equal to 0, got -1.",
        ),
        (
            {"normalization": "zscore", "loss": {"similarity": "mutual_information"}},
            "preprocessing.normalization: expected percentile or minmax with loss.similarity mutual_information",
        ),
        (
            {"normalization": "zscore", "training": {"augmentation": {"intensity": 0.1}}},
            "preprocessing.normalization: expected percentile or minmax with training.augmentation.intensity",
        ),
        (
            {"compare": {"values": {"warmth": [0.5]}}},
            "compare.values.warmth: expected a declared hyperparameter (regularization), got 'warmth'.",
        ),
        (
            {"compare": {"values": {"regularization": [0.5, 0.501]}}},
            "compare.values.regularization: expected points of its lattice (0, 0.005, … 1), got 0.501.",
        ),
        (
            {"compare": {"values": {"regularization": [0.5, 1.5]}}},
            "compare.values.regularization: expected points of its lattice (0, 0.005, … 1), got 1.5.",
        ),
        (
            {"compare": {"values": {"regularization": []}}},
            "compare.values.regularization: expected different values, at least one, got [].",
        ),
        (
            {"compare": {"values": {"regularization": [0.5, 0.5]}}},
            "compare.values.regularization: expected different values, at least one, got [0.5, 0.5].",
        ),
        ({"compare": {"seeds": 0}}, "study.toml: compare.seeds: expected greater than 0, got 0."),
        (
            {"loss": {"window": 4}},
            "study.toml: loss.window: expected an odd number, got 4. Correct the value.",
        ),
        (
            {"network": {"encoder": [4, 0]}},
            "study.toml: network.encoder.1: expected greater than 0, got 0.",
        ),
        (
            {"cohort": {}},
            "study.toml: cohort: expected either manifest, or images and labels, got {}.",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(**declared)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "declared",
    [
        {"hyperparameters": {"regularization": {"low": 0.1, "high": 0.9}, "label_weight": {}}},
        {"shape": (16, 16, 16), "training": {"augmentation": {"flip_axis": 2}}},
        {"normalization": "zscore", "loss": {"similarity": "lncc"}},
        {"normalization": "minmax", "loss": {"similarity": "mutual_information"}},
    ],
)
def test_what_agrees_is_taken(declared: dict[str, Any]) -> None:
    assert declare(**declared).name == "x"


def test_separate_networks_are_declared_for_all_combinations_and_for_nine_values_by_default() -> (
    None
):
    both = {"regularization": {}, "label_weight": {"default": 0.25}}
    study = declare(
        hyperparameters=both,
        compare={"values": {"label_weight": [0.0, 1.0], "regularization": [0.1, 0.2]}},
    )
    assert study.compare.grid(study.space) == [(20, 0), (20, 200), (40, 0), (40, 200)]
    study = declare(hyperparameters=both)
    assert study.compare.grid(study.space) == [(place, 50) for place in range(0, 201, 25)]


def test_a_hypermorph_has_at_most_twice_the_steps_of_a_separate_network() -> None:
    for steps, declared in ((16000, {}), (15, {}), (2, {}), (16000, {"steps": 3000})):
        separate, hypermorph = declare(compare=declared).compare.budgets(steps)
        assert separate < hypermorph <= 2 * separate


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"plugins": ["a\0.py"]}, "study.toml: plugins: expected a text without NUL characters"),
        (
            {"search": {"storage": "sqlite:///a\0.db"}},
            "study.toml: search.storage: expected a text without NUL characters",
        ),
        (
            {"cohort": {"manifest": "cohort.csv", "structures": {"left\rhalf": ["a"]}}},
            r"study.toml: 'cohort.structures.left\rhalf': expected a name in one line",
        ),
    ],
)
def test_characters_that_no_name_may_have_are_refused(
    declared: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError) as error:
        declare(**declared)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("declared", "key", "entry"),
    [
        ({"pairs": {"same": ["modality", "site", "modality"]}}, "pairs.same", "'modality'"),
        ({"pairs": {"tasks": ["cross", "cross"]}}, "pairs.tasks", "'cross'"),
        ({"search": {"reported": ["folding", "folding"]}}, "search.reported", "'folding'"),
        (
            {"search": {"scopes": [["task", "label"], ["label", "task"]]}},
            "search.scopes",
            r"\['label', 'task'\]",
        ),
        ({"loss": {"overlap_labels": ["a", "a"]}}, "loss.overlap_labels", "'a'"),
        (
            {"cohort": {"manifest": "c.csv", "structures": {"both": ["left", "left"]}}},
            "cohort.structures.both",
            "'left'",
        ),
    ],
)
def test_a_list_that_names_a_thing_twice_is_refused(
    declared: dict[str, Any], key: str, entry: str
) -> None:
    with pytest.raises(
        DeclarationError, match=f"study.toml: {key}: expected each entry once, got {entry} more"
    ):
        declare(**declared)


@pytest.mark.parametrize("key", ["manifest", "images", "label_names"])
def test_a_path_below_the_home_folder_of_nobody_is_refused(key: str, tmp_path: Path) -> None:
    declared = {"manifest": "cohort.csv", key: "~no such user/x"}
    if key == "images":
        declared = {"images": "~no such user/x", "labels": "labels"}
    study = declare(cohort=declared)
    with pytest.raises(DeclarationError, match=f"study.toml: {key}: expected the home folder of"):
        with_absolute_paths(study, tmp_path)


def test_a_path_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    study = with_absolute_paths(declare(cohort={"manifest": "~/cohort.csv"}), tmp_path / "study")
    assert study.cohort.manifest == tmp_path / "cohort.csv"


def test_a_pipe_in_place_of_the_declaration_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.toml")
    load_declared_plugins(tmp_path)
    with pytest.raises(
        DeclarationError, match=r"study\.toml: expected a study declaration, got no"
    ):
        read_declaration(tmp_path)
