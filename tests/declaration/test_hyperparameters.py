"""Hyperparameters of every type, and conditional ones: from `study.toml` to settings and lattice indices."""

import itertools
import json
import re
import tomllib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from hmopt.declaration import parse_study
from hmopt.declaration.document import write_document
from hmopt.declaration.model import HyperparameterOptions
from hmopt.errors import DeclarationError
from hmopt.ledger.manifest import Shard, lattice_of
from hmopt.space import Hyperparameter, Index, Prior, Space, Value

VALUES: dict[str, Any] = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 1, "tune": 1, "search": 1},
    "model": {"source": "engine", "callable": "mine.py:register"},
    "search": {"sampler": "TPESampler"},
}
CHOICE: dict[str, Any] = {"type": "categorical", "choices": ["MI", "CC", "MSE"]}
WHOLE: dict[str, Any] = {"type": "integer", "low": 2, "high": 8, "step": 2, "default": 4}

SIMILARITY = Hyperparameter(name="similarity", type="categorical", choices=("MI", "CC", "MSE"))
RADIUS = Hyperparameter(
    name="radius", type="integer", low=1, high=4, default=2, only_if={"similarity": ["CC", "MSE"]}
)
MASK = Hyperparameter(
    name="mask",
    type="categorical",
    choices=(True, False),
    only_if={"radius": 3, "similarity": "CC"},
)
WEIGHT = Hyperparameter(name="weight", low=0.01, step=0.25, prior="log-uniform", default=0.1)
SPACE = Space(hyperparameters=(SIMILARITY, RADIUS, MASK, WEIGHT))
INDICES = list(itertools.product(*(range(one.points) for one in SPACE.hyperparameters)))


def space_of(**declared: dict[str, Any]) -> Space:
    return parse_study({**VALUES, "hyperparameters": declared}).space


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({**WHOLE, "step": 0.5}, "a whole number as step, the distance of neighbouring values"),
        ({**WHOLE, "step": 0}, "a step of at least 1"),
        ({**WHOLE, "step": 4}, "a step that divides 2 to 8"),
        ({**WHOLE, "default": 3}, "a default that is reached in steps of 2"),
        ({**WHOLE, "default": 4.5}, "a whole number as default"),
        ({**WHOLE, "default": "four"}, "a whole number as default"),
        ({**WHOLE, "low": 2.5}, "a whole number as low"),
        ({**WHOLE, "prior": "log-uniform"}, "a step of 1 for an integer with a log-uniform prior"),
        (
            {**WHOLE, "low": 0, "step": 1, "prior": "log-uniform"},
            "low > 0 with a log-uniform prior",
        ),
        ({**WHOLE, "choices": [1, 2]}, 'no choices unless type = "categorical"'),
        ({"type": "integer", "high": 8, "default": 4}, 'a low with type = "integer"'),
        ({"type": "integer", "low": 0, "high": 8}, 'a default with type = "integer"'),
        ({"type": "integer", "low": 0, "high": 10**7, "default": 1}, "at most 1000000 values"),
        ({"type": "categorical"}, 'choices with type = "categorical"'),
        ({"type": "categorical", "choices": ["MI"]}, "at least two choices"),
        ({"type": "categorical", "choices": ["MI", "MI"]}, "different choices"),
        ({"type": "categorical", "choices": [True, 1]}, "different choices"),
        ({"type": "categorical", "choices": [1, "1"]}, "different choices"),
        ({"type": "categorical", "choices": ["MI", ""]}, "choices that are not empty"),
        ({**CHOICE, "default": "NCC"}, "a default among its choices (MI, CC, MSE)"),
        ({**CHOICE, "low": 0.0}, 'no low with type = "categorical"'),
        ({**CHOICE, "prior": "uniform"}, 'no prior with type = "categorical"'),
        ({"type": "text"}, "'float', 'integer' or 'categorical'"),
        ({"default": "large"}, "a default in [0.0, 1.0]"),
        ({"default": True}, "a number as default"),
        ({"only_if": {"other": 1}}, "hyperparameters that are declared before it"),
        ({"only_if": {"similarity": "NCC"}}, "values of similarity (MI or CC or MSE)"),
        ({"only_if": {"similarity": []}}, "a value of similarity"),
        ({"only_if": {"plain": 0.5}}, "categorical or integer hyperparameters"),
        ({"only_if": {"spacing": 3}}, "values of spacing"),
    ],
)
def test_what_no_hyperparameter_can_be_is_refused_in_one_line(
    declared: dict[str, Any], message: str
) -> None:
    before: dict[str, dict[str, Any]] = {"similarity": CHOICE, "spacing": WHOLE, "plain": {}}
    with pytest.raises(DeclarationError, match=re.escape(message)) as raised:
        space_of(**before, mine=declared)
    assert "hyperparameters.mine" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_condition_can_only_name_what_is_declared_above() -> None:
    with pytest.raises(DeclarationError, match="declared before it, got similarity"):
        space_of(mine={"only_if": {"similarity": "CC"}}, similarity=CHOICE)


def test_keys_that_are_left_out_have_the_values_of_the_type() -> None:
    space = space_of(
        plain={"default": 1},
        whole={"type": "integer", "low": 3, "high": 9, "default": 5},
        choice=CHOICE,
    )
    plain, whole, choice = space.hyperparameters
    assert (plain.step, plain.points, plain.default) == (0.005, 201, 1.0)
    assert isinstance(plain.default, float)
    assert (whole.step, whole.points) == (1, 7)
    assert choice.default == "MI"
    assert space.default == {"plain": 1.0, "whole": 5, "choice": "MI"}


def test_what_was_written_for_floats_is_written_as_before() -> None:
    content = HyperparameterOptions().model_dump()
    assert content == {
        "low": 0.0,
        "high": 1.0,
        "step": 0.005,
        "prior": "uniform",
        "end_point_rate": 0.1,
        "default": 0.5,
    }
    assert Hyperparameter(name="regularization").record() == {"name": "regularization", **content}
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    assert lattice_of(space) == (("regularization", 0.0, 1.0, 0.005, "uniform"),)


@pytest.mark.parametrize("name", ["similarity", "radius", "mask", "weight"])
def test_a_record_is_read_back_as_it_was(name: str) -> None:
    one = next(one for one in SPACE.hyperparameters if one.name == name)
    assert Hyperparameter(**json.loads(json.dumps(one.record()))) == one
    assert hash(one) == hash(Hyperparameter(**one.record()))


def test_a_written_declaration_declares_the_same_space() -> None:
    declared = {one.name: one.record() for one in SPACE.hyperparameters}
    for record in declared.values():
        record.pop("name")
        if record.get("type") == "integer":
            record.pop("end_point_rate")
    study = parse_study({**VALUES, "hyperparameters": declared})
    again = parse_study(tomllib.loads(write_document(study, {})))
    assert again.space == study.space == SPACE


@given(st.sampled_from(INDICES))
def test_equal_settings_have_equal_keys_and_a_key_gives_its_setting_back(index: Index) -> None:
    setting = SPACE.setting(index)
    key = SPACE.index(setting)
    assert key == SPACE.canonical(index)
    assert SPACE.setting(key) == setting
    assert SPACE.canonical(key) == key


def test_settings_have_as_many_keys_as_they_differ() -> None:
    settings = {json.dumps(SPACE.setting(index)) for index in INDICES}
    keys = {SPACE.canonical(index) for index in INDICES}
    # MI; CC with radius 1, 2, 4, and 3 with two masks; MSE with four radii; each with five weights
    assert len(settings) == len(keys) == 5 * (1 + 5 + 4)
    every = SPACE.product([range(one.points) for one in SPACE.hyperparameters])
    assert every == sorted(keys)


@pytest.mark.parametrize("points", [2, 3, 5, 7])
def test_settings_of_a_grid_are_counted_without_listing_them(points: int) -> None:
    assert SPACE.count(points) == len(SPACE.coarse(points))


def test_a_grid_too_large_to_list_is_counted() -> None:
    many = [Hyperparameter(name=f"weight{number}", step=0.05) for number in range(12)]
    assert Space(hyperparameters=tuple(many)).count(10) == 10**12


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"similarity": "MI", "radius": 2, "weight": 0.1},
            "got values for similarity, radius, weight",
        ),
        ({"similarity": "CC", "weight": 0.1}, "expected values for similarity, radius"),
        ({"similarity": "NCC", "weight": 0.1}, "similarity: expected one of MI, CC, MSE, got NCC"),
        (
            {"similarity": "CC", "radius": 2.5, "weight": 0.1},
            "radius: expected a whole number in [1, 4]",
        ),
        (
            {"similarity": "CC", "radius": 9, "weight": 0.1},
            "radius: expected a whole number in [1, 4]",
        ),
        ({"similarity": "CC", "radius": True, "weight": 0.1}, "radius: expected a whole number"),
        (
            {"similarity": "CC", "radius": 3, "mask": 1, "weight": 0.1},
            "mask: expected one of true, false",
        ),
    ],
)
def test_a_setting_off_the_space_is_refused(setting: dict[str, Value], message: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(message)):
        SPACE.index(setting)


def test_values_of_a_setting_keep_their_type() -> None:
    setting = SPACE.setting((1, 2, 1, 0))
    assert setting == {"similarity": "CC", "radius": 3, "mask": False, "weight": 0.01}
    assert [type(value) for value in setting.values()] == [str, int, bool, float]


def test_integers_on_a_logarithm_are_spread_along_it() -> None:
    iterations = Hyperparameter(
        name="iterations", type="integer", low=1, high=1000, prior="log-uniform", default=10
    )
    space = Space(hyperparameters=(iterations,))
    assert [space.setting(index)["iterations"] for index in space.coarse(4)] == [1, 10, 100, 1000]
    assert iterations.to_unit_interval(100) == pytest.approx(2 / 3)
    assert iterations.index(10) == 9


def test_lattices_of_another_meaning_are_different_keys() -> None:
    def lattice(**changed: Any) -> object:
        values = {**RADIUS.record(), **changed}
        return lattice_of(Space(hyperparameters=(SIMILARITY, Hyperparameter(**values))))

    assert lattice() == lattice(default=3)
    assert lattice() != lattice(high=5)
    assert lattice() != lattice(only_if={"similarity": "CC"})
    assert lattice() != lattice(only_if={})


def test_a_manifest_refuses_a_setting_off_a_lattice_of_any_type() -> None:
    entry = {"file": "a.parquet", "identity": "0f", "metrics": ["dice@1"]}
    lattice = json.loads(json.dumps(lattice_of(SPACE)))
    Shard.model_validate({**entry, "lattice": lattice, "settings": [[2, 3, 1, 4]]})
    with pytest.raises(ValueError, match="not on a lattice of"):
        Shard.model_validate({**entry, "lattice": lattice, "settings": [[3, 0, 0, 0]]})


@pytest.mark.parametrize("source", ["trained", "study"])
def test_a_hypermorph_takes_numbers_that_are_always_active(source: str) -> None:
    model = {"source": source, **({"path": "../other"} if source == "study" else {})}
    values = {**VALUES, "model": model}
    whole = {"type": "integer", "low": 0, "high": 1, "default": 0}
    for declared in (whole, CHOICE):
        kind = declared["type"]
        with pytest.raises(
            DeclarationError, match=rf"regularization.type: expected float, .* got {kind}"
        ):
            parse_study({**values, "hyperparameters": {"regularization": declared}})
    with pytest.raises(DeclarationError, match=r"window.type: expected integer, .* got float"):
        parse_study({**values, "hyperparameters": {"window": {"type": "float", "high": 9.0}}})
    only_if = {"only_if": {"window": 3}}
    with pytest.raises(DeclarationError, match=r"regularization.only_if: expected none"):
        parse_study({**values, "hyperparameters": {"window": {}, "regularization": only_if}})


TRAINED: dict[str, Any] = {**VALUES, "model": {}}


def test_hyperparameters_of_the_loss_have_its_types_and_ranges() -> None:
    declared: dict[str, Any] = {"regularization": {}, "bending_share": {}, "window": {"high": 9}}
    share, window = parse_study({**TRAINED, "hyperparameters": declared}).space.hyperparameters[1:]
    assert (share.type, share.low, share.high, share.default) == ("float", 0.0, 1.0, 0.0)
    assert (window.type, window.low, window.high, window.step) == ("integer", 3, 9, 2)
    assert [window.value(index) for index in range(window.points)] == [3, 5, 7, 9]


def test_an_engine_has_hyperparameters_of_its_own_whatever_their_names() -> None:
    (window,) = space_of(window={}).hyperparameters
    assert (window.type, window.low, window.high, window.default) == ("float", 0.0, 1.0, 0.5)


def test_places_of_integers_for_the_network_are_those_worked_out_by_hand() -> None:
    window = Hyperparameter(name="w", type="integer", low=3, high=15, step=2, default=9)
    assert [window.to_unit_interval(value) for value in (3, 9, 11, 15)] == [0, 0.5, 2 / 3, 1]
    width = Hyperparameter(name="w", type="integer", low=1, high=16, prior="log-uniform", default=4)
    assert [width.to_unit_interval(value) for value in (1, 2, 4, 16)] == [0, 0.25, 0.5, 1]
    weight = Hyperparameter(name="w", low=0.01, high=100.0, prior="log-uniform", default=1.0)
    assert weight.to_unit_interval(10.0) == pytest.approx(0.75)
    with pytest.raises(DeclarationError, match=r"w: expected .* \[3, 15\] in steps of 2, got 4"):
        window.to_unit_interval(4)


@pytest.mark.parametrize(
    ("hyperparameters", "loss", "message"),
    [
        ({"bending_share": {}}, {}, "bending_share: expected [hyperparameters.regularization]"),
        (
            {"regularization": {}, "bending_share": {}},
            {"regularizer": "bending"},
            "loss.regularizer: expected another regularizer than bending beside bending_share",
        ),
        (
            {"similarity_share": {}},
            {},
            "loss.second_similarity: expected a similarity beside the hyperparameter",
        ),
        (
            {"regularization": {}},
            {"second_similarity": "mse"},
            "loss.second_similarity: expected none without the hyperparameter similarity_share",
        ),
        (
            {"similarity_share": {}},
            {"similarity": "mse", "second_similarity": "mse"},
            "loss.second_similarity: expected another similarity than loss.similarity, got mse",
        ),
        ({"regularization": {}}, {"second_scale": 2.0}, "loss.second_scale: expected none without"),
        (
            {"window": {"low": 4, "high": 8, "default": 8}},
            {},
            "expected values from 3 in steps of 2",
        ),
        ({"window": {"step": 3, "default": 3}}, {}, "window: expected values from 3 in steps of 2"),
        ({"window": {"low": 1}}, {}, "window: expected a range inside [3, 255], got 1.0 to 15.0"),
    ],
)
def test_shares_and_windows_that_the_loss_does_not_have_are_refused(
    hyperparameters: dict[str, Any], loss: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=re.escape(message)):
        parse_study({**TRAINED, "hyperparameters": hyperparameters, "loss": loss})


def test_keys_of_a_second_similarity_are_held_only_where_there_is_one() -> None:
    plain = parse_study(TRAINED)
    assert list(plain.loss.model_dump()) == [
        "similarity",
        "window",
        "regularizer",
        "scale",
        "overlap_labels",
    ]
    both: dict[str, dict[str, Any]] = {"similarity_share": {}}
    loss = {"second_similarity": "mse", "second_scale": 3.0}
    shared = parse_study({**TRAINED, "hyperparameters": both, "loss": loss})
    assert shared.loss.model_dump()["second_similarity"] == "mse"
    again = parse_study(tomllib.loads(write_document(shared, {})))
    assert again.loss == shared.loss


@pytest.mark.parametrize(
    ("search", "hyperparameters", "message"),
    [
        (
            {},
            {"similarity": CHOICE},
            "supports categorical and conditional hyperparameters, got 'plan'",
        ),
        ({"sampler": "CmaEsSampler"}, {"similarity": CHOICE}, "got 'CmaEsSampler'"),
        (
            {},
            {"whole": WHOLE, "plain": {"only_if": {"whole": 4}}},
            "supports categorical and conditional hyperparameters, got 'plan'",
        ),
        (
            {},
            {name: {} for name in "abcd"},
            "takes 4 hyperparameters (plan takes up to 3), got 'plan'",
        ),
        ({"spending": "wilcoxon"}, {"plain": {}}, 'a sampler of Optuna with spending = "wilcoxon"'),
        (
            {"sampler": "TPESampler", "spending_options": {"p_threshold": 0.2}},
            {"plain": {}},
            'none with spending = "all"',
        ),
    ],
)
def test_a_sampler_that_cannot_search_a_space_is_refused_with_one_that_can(
    search: dict[str, Any], hyperparameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=re.escape(message)):
        parse_study({**VALUES, "search": search, "hyperparameters": hyperparameters})


def test_the_plan_takes_up_to_three_numbers() -> None:
    declared = {"a": {}, "b": WHOLE, "c": {}}
    parse_study({**VALUES, "search": {}, "hyperparameters": declared})


def test_separate_networks_of_a_grid_take_the_values_of_every_type() -> None:
    values = {**VALUES, "hyperparameters": {"similarity": CHOICE, "whole": WHOLE}}
    study = parse_study({**values, "compare": {"values": {"whole": [2, 8], "similarity": ["CC"]}}})
    assert study.compare.grid(study.space) == [(1, 0), (1, 3)]
    with pytest.raises(
        DeclarationError, match=r"compare\.values\.whole: expected points of its lattice"
    ):
        parse_study({**values, "compare": {"values": {"whole": [3]}}})


def test_a_setting_holds_values_in_the_type_of_its_hyperparameter() -> None:
    weight = Hyperparameter(name="weight")
    width = Hyperparameter(name="width", type="integer", low=0, high=4, default=2)
    space = Space(hyperparameters=(weight, width))
    setting = space.complete({"weight": 1, "width": 3.0})
    assert [type(value) for value in setting.values()] == [float, int]
    for name in space.names:
        with pytest.raises(DeclarationError, match=rf"{name}: expected a .*number in"):
            space.complete({name: True})


@pytest.mark.parametrize("prior", ["uniform", "log-uniform"])
def test_ends_of_a_range_with_many_digits_are_in_it(prior: Prior) -> None:
    hyperparameter = Hyperparameter(
        name="regularization", low=1 / 3, high=2 / 3, default=0.5, prior=prior
    )
    for place in (0, hyperparameter.points - 1):
        value = hyperparameter.value(place)
        assert hyperparameter.index(value) == place
    assert hyperparameter.value(hyperparameter.points - 1) == 2 / 3
