"""Names of a package that are loaded when they are first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose names live in its modules.

    Parameters
    ----------
    package
        Its name.
    homes
        By module, the names that it defines.

    Examples
    --------
    >>> lazy("hmopt", {"hmopt.files": ("slug",)})("slug").__name__
    'slug'
    """
    modules = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return load
