from typing import Any

import pytest

from hmopt.declaration import Study, parse_study
from hmopt.errors import DeclarationError


def declare(shape: tuple[int, ...] = (16, 16), normalization: str = "percentile", **sections: Any) -> Study:
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
            "hyperparameters.warmth: expected regularization or label_weight, got 'warmth'. Correct the declaration.",
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
        ({"loss": {"window": 4}}, "study.toml: loss.window: expected an odd number, got 4. Correct the value."),
        ({"network": {"encoder": [4, 0]}}, "study.toml: network.encoder.1: expected greater than 0, got 0."),
        ({"cohort": {}}, "study.toml: cohort: expected either manifest, or images and labels, got {}."),
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
