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


def test_what_is_written_declares_the_same_study() -> None:
    study = parse_study(VALUES)
    assert parse_study(tomllib.loads(write_document(study, {}))) == study


def test_every_key_stands_below_a_comment() -> None:
    study = parse_study(VALUES)
    lines = write_document(study, {}).splitlines()
    names = {key.rpartition(".")[2] for key in keys(study)}
    for number, line in enumerate(lines):
        if line.partition(" =")[0].lstrip("# ") in names:
            assert lines[number - 1].startswith("# "), line


@pytest.mark.parametrize("key", sorted(keys(parse_study(VALUES))))
def test_no_key_is_left_out(key: str) -> None:
    lines = write_document(parse_study(VALUES), {}).splitlines()
    name = key.rpartition(".")[2]
    assert any(line.removeprefix("# ").startswith(f"{name} =") for line in lines)


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
