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
MEASURED = "its own tests call it; it is offered to the studies and benchmarks that measure it"
WITHOUT_EXAMPLE = {
    "load_checkpoints": STUDY,
    "make_tuner": STUDY,
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
    "ComposedOracle": STUDY,
    "RegisteredPairs": STUDY,
    "EnsembleOracle": STUDY,
    "OptimizedOracle": STUDY,
    "RefinedOracle": STUDY,
    "RetrainedOracle": STUDY,
    "read_dense": STUDY,
    "UnregisteredOracle": STUDY,
    "Recorded": STUDY,
    "Tabulated": STUDY,
    "read_measurements": STUDY,
    "write_measurements": STUDY,
    "Curves": MEASURED,
    "choose": MEASURED,
    "confirming_settings": MEASURED,
    "distributions": MEASURED,
    "draw": MEASURED,
    "draw_pairs": MEASURED,
    "find_agreement": MEASURED,
    "find_curves": MEASURED,
    "find_optimum": MEASURED,
    "GranularityPart": MEASURED,
    "headline": MEASURED,
    "improvements": MEASURED,
    "keep_freed_memory": MEASURED,
    "label_dtype": MEASURED,
    "labels_figure": MEASURED,
    "LabelsPart": MEASURED,
    "make_entries": MEASURED,
    "make_sections": MEASURED,
    "new_figure": MEASURED,
    "open_storage": MEASURED,
    "optimize_scopes": MEASURED,
    "optima_figure": MEASURED,
    "optima_table": MEASURED,
    "overview_figure": MEASURED,
    "prepare": MEASURED,
    "read_material": MEASURED,
    "response_figure": MEASURED,
    "save": MEASURED,
    "style": MEASURED,
    "subjects_figure": MEASURED,
    "sums_between": MEASURED,
    "training_figure": MEASURED,
    "weighted_means": MEASURED,
    "write_studies": MEASURED,
    "ModelAnalysis": MEASURED,
    "analyse_scopes": MEASURED,
    "by_kinds": MEASURED,
    "evaluate": MEASURED,
    "find_warnings": MEASURED,
    "study_scale": MEASURED,
    "declared_loss": MEASURED,
    "training_pairs": MEASURED,
    "train_hypermorph": MEASURED,
    "train_network": MEASURED,
    "with_budget": MEASURED,
    "EngineOracle": MEASURED,
    "RegisteringOracle": MEASURED,
    "VelocityOracle": MEASURED,
    "refine": MEASURED,
    "open_registrar": MEASURED,
    "open_registrar_of_file": MEASURED,
    "source_of": MEASURED,
    "pair_table": MEASURED,
    "quiet": MEASURED,
    "judge_regions": MEASURED,
}
"""Why an example of these would be longer than what it shows."""


def offered() -> Iterator[tuple[str, Any]]:
    """Return the functions and classes that a package names in `__all__`; records tell their fields instead."""
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
