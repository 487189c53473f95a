"""What a layer offers shows an example; pytest runs every example there is (`--doctest-modules`)."""

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "hmopt",
    *sorted(f"hmopt.{path.parent.name}" for path in (ROOT / "hmopt").glob("*/__init__.py")),
]

STUDY = "needs a study folder with a trained model; tests/integration goes the whole way"
WITHOUT_EXAMPLE = {
    "load_checkpoints": STUDY,
    "load_oracle": STUDY,
    "open_oracle": STUDY,
    "open_study": STUDY,
    "read_folder": STUDY,
    "read_study": STUDY,
    "write_examples": STUDY,
    "write_report": STUDY,
    "write_results": STUDY,
    "AmortizedOracle": STUDY,
    "BaselineOracles": STUDY,
    "EnsembleOracle": STUDY,
    "RetrainedOracle": STUDY,
    "read_dense": STUDY,
    "UnregisteredOracle": STUDY,
    "Recorded": STUDY,
    "Tabulated": STUDY,
    "read_measurements": STUDY,
    "write_measurements": STUDY,
    "sweep": STUDY,
}
"""Why an example of these would be longer than what it shows."""


def offered() -> Iterator[tuple[str, Any]]:
    """Give the functions and classes that a package names in `__all__`; records tell their fields instead."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            item = getattr(module, name)
            if (inspect.isfunction(item) or inspect.isclass(item)) and not is_record(item):
                yield name, item


def is_record(item: Any) -> bool:
    kinds = (Exception, enum.Enum, pydantic.BaseModel)
    return inspect.isclass(item) and (issubclass(item, kinds) or dataclasses.is_dataclass(item))


def test_what_a_layer_offers_has_an_example() -> None:
    without = {name for name, item in offered() if ">>>" not in (inspect.getdoc(item) or "")}
    assert without - set(WITHOUT_EXAMPLE) == set()


@pytest.mark.parametrize("name", sorted(WITHOUT_EXAMPLE))
def test_an_exception_is_still_needed(name: str) -> None:
    found = [item for other, item in offered() if other == name]
    assert found
    assert all(">>>" not in (inspect.getdoc(item) or "") for item in found)
