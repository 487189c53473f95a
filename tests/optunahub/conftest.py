"""Packages of `optunahub/`, loaded as the registry's users load them."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PACKAGES = Path(__file__).parents[2] / "optunahub" / "package"


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Return a function that loads a package, as `samplers/curve_sampler`."""
    library = pytest.importorskip(
        "optunahub", reason="packages of the registry are loaded by optunahub"
    )

    def load_package(name: str) -> ModuleType:
        module: ModuleType = library.load_local_module(name, registry_root=str(PACKAGES))
        return module

    return load_package
