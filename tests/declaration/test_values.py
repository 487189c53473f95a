"""Values that no command could work with are refused when `study.toml` is read."""

from pathlib import Path
from typing import Any

import pytest

from hmopt.declaration import Study, parse_study, read_study
from hmopt.errors import DeclarationError

VALUES: dict[str, Any] = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 1, "tune": 1, "search": 1},
}


def declare(key: str, value: object) -> Study:
    """Parse a small declaration with a value at a dotted key."""
    *tables, name = key.split(".")
    values = {
        table: dict(content) if isinstance(content, dict) else content
        for table, content in VALUES.items()
    }
    table = values
    for inner in tables:
        table = table.setdefault(inner, {})
    table[name] = value
    return parse_study(values)


NUMBERS = [
    "cohort.minimum_voxels",
    "split.train",
    "split.seed",
    "pairs.search",
    "pairs.seed",
    "network.stride",
    "network.integration_steps",
    "hypernetwork.learning_rate_share",
    "hyperparameters.regularization.low",
    "loss.window",
    "loss.scale",
    "training.steps",
    "training.batch",
    "training.learning_rate",
    "training.averaging",
    "training.seed",
    "training.threads",
    "training.augmentation.scaling",
    "search.coarse",
    "search.folding_limit",
    "search.min_paired_subjects",
    "search.splits",
    "search.seed",
    "compare.optimum_seeds",
    "compare.learning_rate",
]


LARGEST = 2**63 - 1
FITTING = [
    ("compare.learning_rate", [1]),  # a list of rates
]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "value", [True, False, float("nan"), float("inf"), -float("inf"), "3", -1, LARGEST, [1]]
)
def test_what_is_no_usable_number_is_refused(key: str, value: object) -> None:
    if (key, value) in FITTING:
        declare(key, value)
        return
    with pytest.raises(DeclarationError, match=rf"{key.split('.')[0]}") as caught:
        declare(key, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessing.shape", [True, 16]),
        ("preprocessing.shape", [16, 2]),
        ("preprocessing.shape", [10**6, 10**6]),
        ("preprocessing.spacing_mm", [1.0, float("nan")]),
        ("preprocessing.template", ""),
        ("network.encoder", [100_000_000]),
        ("network.decoder", [True]),
        ("hypernetwork.widths", [100_000_000]),
        ("cohort.images", "abc"),
        ("cohort.labels", "abc"),
        ("cohort.manifest", ""),
        ("pairs.csv", ""),
        ("pairs.tasks", []),
        ("pairs.tasks", ["atlas"]),
        ("search.bins", {"age": []}),
        ("search.bins", {"age": [60, 30]}),
        ("search.bins", {"age": [30, float("inf")]}),
        ("search.scopes", []),
        ("search.scopes", [["label", "label"]]),
        ("search.storage", ""),
        ("compare.values", {"regularization": [True]}),
        ("compare.learning_rate", []),
        ("compare.learning_rate", [0.002, 0.002]),
        ("compare.learning_rate", [0.002, 2.0]),
        ("compare.learning_rate", [0.002, 0.0]),
        ("compare.learning_rate", [0.002, "0.004"]),
    ],
)
def test_what_cannot_be_followed_is_refused(key: str, value: object) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(key, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["search.metric", "search.reported"])
def test_metrics_are_those_that_there_are(key: str) -> None:
    value: object = "hd95" if key == "search.metric" else ["folding", "hd95"]
    with pytest.raises(
        DeclarationError, match=rf"{key}: expected one of dice, .*hd95_mm.* \(hd95_mm\?\), got"
    ):
        declare(key, value)


def test_distances_in_mm_need_spacings_that_are_known() -> None:
    known = {**VALUES, "search": {"metric": "hd95_mm"}}
    assert parse_study(known).search.metric == "hd95_mm"
    with pytest.raises(
        DeclarationError, match=r"search: expected metrics without mm .*, got hd95_mm"
    ):
        parse_study({**known, "cohort": {"manifest": "cohort.csv", "spacing_known": False}})


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 10_000, f"a = {'9' * 5000}", "a =", "name = '\ud800'.", "\x00"],
    ids=range(5),
)
def test_a_file_that_is_no_toml_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DeclarationError, match=r"study.toml: expected TOML") as caught:
        read_study(tmp_path)
    assert "\n" not in str(caught.value)
