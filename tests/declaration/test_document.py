import tomllib
from typing import Annotated, Any, TypeGuard

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, Field

from hmopt.declaration import Study, parse_study
from hmopt.declaration.document import write_document
from hmopt.declaration.options import OneOf, Options
from hmopt.declaration.reference import EXAMPLES, allowed_values, example

VALUES = {
    "name": 'brains "1 mm"',
    "cohort": {
        "manifest": "cohort.csv",
        "structures": {"thalamus": ["Left-Thalamus", "Right-Thalamus"]},
    },
    "preprocessing": {"shape": [160, 160], "slices": {"axis": 1, "indices": [3, 4]}},
    "split": {"train": ["a", "b"], "tune": 1, "search": 2},
    "hyperparameters": {
        "regularization": {},
        "label_weight": {"low": 0.001, "prior": "log-uniform"},
    },
    "search": {"scopes": [["cohort"], ["label", "age"]], "bins": {"age": [30.5, 60]}},
}


def keys(section: BaseModel, path: str = "") -> set[str]:
    """Return the dotted keys of all values that are set."""
    found: set[str] = set()
    for name in type(section).model_fields:
        if isinstance(section, Options) and name in section.computed:
            continue
        value = getattr(section, name)
        inner = value if isinstance(value, dict) else {}
        tables = {f"{name}.{key}": one for key, one in inner.items() if isinstance(one, BaseModel)}
        tables |= {name: value} if isinstance(value, BaseModel) else {}
        found |= {key for table, one in tables.items() for key in keys(one, f"{path}{table}.")}
        found |= set() if tables else {f"{path}{name}"}
    return found


ENGINE = {
    **VALUES,
    "model": {"source": "engine", "engine": "ants", "options": {"seed": 3}, "time_limit_s": 60},
    "search": {"sampler": "TPESampler", "trials": 7, "spending": "halving"},
    "hyperparameters": {
        "flow_sigma": {"low": 1, "high": 5, "default": 3},
        "similarity": {"type": "categorical", "choices": ["CC", "mattes"]},
        "window_radius": {
            "type": "integer",
            "low": 2,
            "high": 5,
            "default": 4,
            "only_if": {"similarity": "CC"},
        },
    },
}
FROM_ELSEWHERE = {**VALUES, "model": {"source": "study", "path": "../other"}}
COMMAND = {
    **ENGINE,
    "model": {"source": "engine", "command": "run {moving} {fixed}", "outputs": ["a.nii.gz"]},
}
WITH_ALL = {
    **VALUES,
    "plugins": [],
    "report": {"beside": ["../other"]},
    "loss": {"similarity": "mse"},
    "network": {"callable": "network.py:make", "options": {"depth": 3}},
    "search": {"sampler_options": {"n_startup_trials": 4}, "sampler": "TPESampler"},
}


def tables(values: dict[str, Any]) -> dict[str, Any]:
    """Return what the written declaration holds."""
    return tomllib.loads(write_document(parse_study(values), {}))


@pytest.mark.parametrize(
    "values",
    [VALUES, ENGINE, FROM_ELSEWHERE, COMMAND, WITH_ALL],
    ids=["trained", "engine", "elsewhere", "command", "seldom"],
)
def test_what_is_written_declares_the_same_study(values: dict[str, Any]) -> None:
    study = parse_study(values)
    assert parse_study(tomllib.loads(write_document(study, {}))) == study


def test_a_key_that_would_be_lost_is_written_although_it_has_no_use_here() -> None:
    values = {**FROM_ELSEWHERE, "training": {"steps": 7}, "search": {"trials": 3, "jobs": 2}}
    study = parse_study(values)
    assert parse_study(tomllib.loads(write_document(study, {}))) == study


def test_every_key_stands_below_a_comment_at_its_first_place() -> None:
    study = parse_study(VALUES)
    lines = write_document(study, {}).splitlines()
    names = {key.rpartition(".")[2] for key in keys(study)}
    again = lines.index("[hyperparameters.label_weight]")
    others = lines.index("[loss]")
    for number, line in enumerate(lines):
        if again < number < others:
            continue
        if line.partition(" =")[0].lstrip("# ") in names:
            assert lines[number - 1].startswith("# "), line


def test_what_a_key_of_hyperparameters_means_is_said_once() -> None:
    text = write_document(parse_study(ENGINE), {})
    assert text.count("# Smallest value") == 1
    assert text.count("# Values of a categorical") == 1


OF_OTHERS = {"cohort.images", "cohort.labels", "network.options", "plugins", "model.path"}
OF_OTHERS |= {f"model.{key}" for key in ("callable", "command", "engine", "outputs", "options")}
OF_OTHERS |= {
    f"model.{key}" for key in ("version", "time_limit_s", "threads", "warnings", "trust_code")
}
OF_OTHERS |= {f"search.{key}" for key in ("trials", "jobs", "spending")}
OF_OTHERS |= {"search.sampler_options", "search.spending_options"}
OF_OTHERS |= {"report.title", "report.choices", "report.beside"}
OF_OTHERS |= {"loss.regions", "loss.second_similarity", "loss.second_scale"}
OF_OTHERS |= {"loss.features"}
OF_OTHERS |= {f"refine.{key}" for key in ("features", "full_resolution_iterations", "iterations")}
OF_TYPES = {"type", "choices", "only_if"}


@pytest.mark.parametrize("key", sorted(keys(parse_study(VALUES))))
def test_a_trained_model_has_no_key_of_another_source_and_all_of_its_own(key: str) -> None:
    table, _, name = key.rpartition(".")
    text = write_document(parse_study(VALUES), {})
    parts = text.split(f"[{table}]") if table else ["", text]
    own = parts[1].split("\n[")[0] if len(parts) > 1 else ""
    is_there = any(line.removeprefix("# ").startswith(f"{name} =") for line in own.splitlines())
    of_others = key in OF_OTHERS or (table.startswith("hyperparameters") and name in OF_TYPES)
    assert is_there != of_others


def test_a_model_from_elsewhere_has_only_its_place() -> None:
    written = tables(FROM_ELSEWHERE)
    assert written["model"] == {"source": "study", "path": "../other"}
    assert not {"network", "hypernetwork", "loss", "training", "compare", "report"} & set(written)
    assert "end_point_rate" not in written["hyperparameters"]["regularization"]


def test_an_engine_has_the_keys_of_its_kind_and_hyperparameters_those_of_their_type() -> None:
    written = tables(ENGINE)
    assert set(written["model"]) == {"source", "engine", "options", "time_limit_s", "threads"}
    hyperparameters = written["hyperparameters"]
    assert set(hyperparameters["similarity"]) == {"type", "choices", "default"}
    assert set(hyperparameters["flow_sigma"]) == {"low", "high", "step", "prior", "default"}
    radius = hyperparameters["window_radius"]
    assert set(radius) == {"type", "low", "high", "step", "prior", "default", "only_if"}
    assert isinstance(radius["low"], int)
    assert not {"coarse", "refinements"} & set(written["search"])
    assert {"trials", "spending", "jobs"} <= set(written["search"])
    assert {"outputs", "version"} <= set(tables(COMMAND)["model"])


def test_a_remark_says_what_a_value_was_inferred_from() -> None:
    text = write_document(parse_study(VALUES), {"preprocessing.shape": "The largest image."})
    assert "# The largest image.\nshape = [160, 160]" in text


def test_every_key_has_a_meaning() -> None:
    def undescribed(section: type[BaseModel]) -> list[str]:
        kinds = [field.annotation for field in section.model_fields.values()]
        inner = [kind for kind in kinds if is_section(kind)]
        own = [
            f"{section.__name__}.{name}"
            for name, field in section.model_fields.items()
            if field.description is None
            and section is not Study
            and not is_section(field.annotation)
        ]
        return own + [name for kind in inner for name in undescribed(kind)]

    def is_section(kind: object) -> TypeGuard[type[BaseModel]]:
        return isinstance(kind, type) and issubclass(kind, BaseModel)

    assert undescribed(Study) == []


def test_the_examples_of_the_guide_are_one_valid_declaration() -> None:
    text = "\n".join(["name = 'x'", *map(example, EXAMPLES)])
    study = parse_study(tomllib.loads(text))
    assert study.search.bins == {"age": [40, 60]}
    assert list(study.hyperparameters) == ["regularization", "label_weight"]


@pytest.mark.parametrize(
    ("annotation", "constraints", "text"),
    [
        (bool, [], "`true`, `false`"),
        (float, [Gt(0), Le(1)], "number in (0, 1]"),
        (float, [Ge(0), Lt(1)], "number in [0, 1)"),
        (int, [Gt(0), Le(4096)], "integer in [1, 4096]"),
        (int, [Ge(0), Le(2**32 - 1)], "integer in [0, 2^32 - 1]"),
        (float | None, [Gt(0)], "number > 0"),
        (Annotated[int, Field(strict=True)] | list[str], [], "integer, or list of text"),
        (dict[str, list[float]], [], "table: names to lists of numbers"),
        (Annotated[str, OneOf(("dice", "folding"))], [], '`"dice"`, `"folding"`'),
    ],
)
def test_allowed_values_are_told_from_types_and_bounds(
    annotation: Any, constraints: list[Any], text: str
) -> None:
    assert allowed_values(annotation, constraints) == text
