"""`compare.json`: what is written is read back, and what earlier versions wrote."""

import json
from pathlib import Path

import pytest

from hmopt.errors import LedgerError
from hmopt.files import write_json
from hmopt.ledger import AtRate, Baseline, Comparison, RateTrial
from hmopt.ledger.baselines import read_comparison, write_comparison
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))

SEPARATE = Baseline(role="separate", steps=10, seeds=(0, 1), identity="0f", networks=4, minutes=3.5)
COMPARISON = Comparison(
    model="1f",
    steps=10,
    hypermorph_steps=20,
    grid=((0,), (190,)),
    optimum=(70,),
    default=(100,),
    baselines=(SEPARATE,),
)


def chosen() -> Comparison:
    """Return the comparison with a learning rate for each setting."""
    parts = (
        AtRate(learning_rate=0.002, identity="2f", settings=((190,),)),
        AtRate(learning_rate=0.004, identity="3f", settings=((0,), (70,))),
    )
    trial = RateTrial(
        steps=10,
        setting=(190,),
        learning_rate=0.004,
        tune_dice=None,
        diverged=True,
        steps_done=3,
        minutes=0.5,
        chosen=False,
    )
    return Comparison(
        **{
            **vars(COMPARISON),
            "baselines": (Baseline(**{**vars(SEPARATE), "at_rates": parts}),),
            "rate_trials": (trial,),
        }
    )


@pytest.mark.parametrize("comparison", [COMPARISON, chosen()])
def test_what_is_written_is_read_back(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    write_comparison(path, comparison, SPACE)
    assert read_comparison(path, SPACE) == comparison


def test_a_comparison_at_one_rate_is_written_as_by_earlier_versions(tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    write_comparison(path, COMPARISON, SPACE)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert "rate_trials" not in content
    assert set(content["baselines"][0]) == {
        "role",
        "steps",
        "seeds",
        "identity",
        "networks",
        "minutes",
        "learning_rate",
    }
    write_json(path, {"contenders" if key == "baselines" else key: content[key] for key in content})
    assert read_comparison(path, SPACE) == COMPARISON


def test_measurements_are_under_the_identities_of_each_rate() -> None:
    assert COMPARISON.baselines[0].identities == ("0f",)
    assert chosen().baselines[0].identities == ("2f", "3f")


@pytest.mark.parametrize(("key", "value"), [("minutes", -1), ("setting", {"other": 1.0})])
def test_a_trial_that_holds_what_none_writes_is_refused(
    key: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "compare.json"
    write_comparison(path, chosen(), SPACE)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["rate_trials"][0][key] = value
    write_json(path, content)
    with pytest.raises(LedgerError, match=r"compare\.json: expected what `hmopt compare` wrote"):
        read_comparison(path, SPACE)


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", ""), ("grid", []), ("pair_operations", -1), ("setting_operations", True)],
)
def test_a_value_that_no_comparison_has_is_named(key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "compare.json"
    write_comparison(path, COMPARISON, SPACE)
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**content, key: value})
    with pytest.raises(LedgerError, match=f"got {key}: "):
        read_comparison(path, SPACE)
