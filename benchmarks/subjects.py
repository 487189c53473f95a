"""The files that rows are declared in, in the order of the table."""

import importlib
import pkgutil

import benchmarks
from benchmarks.rows import DECLARED, Declared

SUBJECTS = (
    "oracle",
    "search",
    "network",
    "memory",
    "samplers",
    "training",
    "losses",
    "volumes",
    "scale",
)


def declared_rows() -> dict[str, Declared]:
    """Give all rows by name."""
    there = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    for subject in SUBJECTS:
        if subject in there:
            importlib.import_module(f"benchmarks.{subject}")
    return DECLARED
