"""`[loss] regions`: each has a hyperparameter of its own, and what contradicts them is refused by name."""

import re
import tomllib
from typing import Any

import pytest

from hmopt.catalogue import Regularizer, add_regularizer
from hmopt.declaration import parse_study
from hmopt.declaration.document import write_document
from hmopt.errors import DeclarationError

WEIGHTS = ("regularization", "regularization_rough", "regularization_deep")
REGIONS = {"rough": ["cortex"], "deep": ["thalamus", "putamen"]}
VALUES: dict[str, Any] = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 1, "tune": 1, "search": 1},
    "hyperparameters": {name: {} for name in WEIGHTS},
    "loss": {"regions": REGIONS},
}


def weights(**changed: dict[str, Any]) -> dict[str, Any]:
    """Return the table of hyperparameters with some changed or added."""
    return {"hyperparameters": {**VALUES["hyperparameters"], **changed}}


def regions(**changed: list[str]) -> dict[str, Any]:
    """Return the table of the loss with some regions changed or added."""
    return {"loss": {"regions": {**REGIONS, **changed}}}


def test_each_region_has_a_weight_in_the_space() -> None:
    study = parse_study(VALUES)
    assert study.space.names == WEIGHTS
    assert study.space.regularization_names == WEIGHTS
    assert study.space.unregularized == dict.fromkeys(WEIGHTS, 0.0)
    assert study.space.has_one_regularization((7, 7, 7))
    assert not study.space.has_one_regularization((7, 7, 8))


def test_a_written_declaration_has_regions_only_where_there_are_such() -> None:
    study = parse_study(VALUES)
    written = tomllib.loads(write_document(study, {}))
    assert written["loss"]["regions"] == REGIONS
    assert parse_study(written) == study
    without = parse_study({**VALUES, "hyperparameters": {"regularization": {}}, "loss": {}})
    assert "regions" not in write_document(without, {})
    # the identity of a training is made of this
    assert "regions" not in without.loss.model_dump()


def test_the_data_term_may_be_shared_beside_regions() -> None:
    further = weights(label_weight={}, window={})
    study = parse_study({**VALUES, **further, "search": {"sampler": "TPESampler"}})
    assert "label_weight" in study.space.names


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"hyperparameters": {name: {} for name in WEIGHTS[:2]}},
            "expected [hyperparameters.regularization_deep] beside loss.regions, got none",
        ),
        (
            {"hyperparameters": {name: {} for name in WEIGHTS[1:]}},
            "hyperparameters.regularization: expected [hyperparameters.regularization] beside loss.regions, got none",
        ),
        (
            {"loss": {"regions": {"rough": ["cortex"]}}},
            "loss.regions: expected a region deep beside [hyperparameters.regularization_deep], got rough",
        ),
        (
            {"loss": {}},
            "loss.regions: expected a region rough beside [hyperparameters.regularization_rough], got none",
        ),
        (
            weights(regularization_deep={"high": 0.9}),
            "hyperparameters.regularization_deep.high: expected that of regularization, 1.0",
        ),
        (
            weights(regularization_rough={"step": 0.01}),
            "hyperparameters.regularization_rough.step: expected that of regularization, 0.005",
        ),
        (
            weights(bending_share={}),
            "hyperparameters.bending_share: expected none but shares of the data term beside loss.regions",
        ),
        (regions(deep=["thalamus", "cortex"]), "each structure once (cortex is there twice)"),
        (regions(deep=["thalamus", "thalamus"]), "each structure once (thalamus is there twice)"),
        (regions(deep=[]), "loss.regions.deep"),
        ({"loss": {"regions": {"Deep grey": ["thalamus"]}}}, "lower-case letters"),
        ({"refine": {"iterations": 5}}, "refine.iterations: expected 0 with loss.regions"),
        (
            {"model": {"source": "optimize"}, "refine": {"iterations": 5}},
            "expected none whose term needs labels",
        ),
    ],
)
def test_what_contradicts_regions_is_refused_by_name(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(told)):
        parse_study({**VALUES, **changed})


@pytest.mark.usefixtures("catalogue")
def test_a_regularizer_that_cannot_be_divided_is_refused() -> None:
    add_regularizer(Regularizer(name="own", title="own", function="math:sqrt"))
    loss = {"regions": REGIONS, "regularizer": "own"}
    with pytest.raises(DeclarationError, match=r"divided among regions \(gradient, bending\)"):
        parse_study({**VALUES, "loss": loss})
