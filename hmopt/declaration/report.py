"""`[report]`: what stands beside the study in its report."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hmopt.declaration.options import Options

Choice = Literal["tuned", "per_structure", "default", "matched"]
"""How the setting of a compared method is chosen."""

Choices = Annotated[list[Choice], Field(min_length=1)]


class BesideOptions(Options):
    """`[[report.beside]]`: another study folder or a table of scores to compare with."""

    path: Path
    """Study folder with measurements of the same pairs, or CSV file of scores (columns `pair`,
    `label`, the metric, and optionally `method` and `seconds`)."""
    title: Annotated[str, Field(min_length=1)] | None = None
    """Name in the report; by default the name of the study or of the file."""
    methods: Annotated[list[str], Field(min_length=1)] | None = None
    """Methods to use from a table of scores; by default all."""
    choices: Choices | None = None
    """Settings to show; by default those of `report.choices`."""


class ReportOptions(Options):
    """`[report]`: comparison with other methods on the same pairs."""

    title: Annotated[str, Field(min_length=1)] | None = None
    """Name of this study in the comparison; by default the name of the study."""
    choices: Choices = ["tuned", "default"]
    """Settings to compare: `tuned` (one for all structures, chosen on other subjects),
    `per_structure` (one for each structure, chosen likewise), `default`, and of other methods
    `matched` (with deformations as rough as those of this study at its tuned setting)."""
    beside: list[BesideOptions] = []
    """Methods to compare with: paths, or tables with `path`, `title` and `choices`."""

    @field_validator("choices")
    @classmethod
    def _each_once(cls, choices: list[Choice]) -> list[Choice]:
        return _distinct(choices)

    @field_validator("beside", mode="before")
    @classmethod
    def _paths_as_tables(cls, given: Any) -> Any:
        """Let a path alone stand for a table of it."""
        if not isinstance(given, list):
            return given
        return [{"path": one} if isinstance(one, str | Path) else one for one in given]

    @field_validator("beside")
    @classmethod
    def _different_paths(cls, beside: list[BesideOptions]) -> list[BesideOptions]:
        paths = [one.path for one in beside]
        for path in paths:
            if not path.name:
                raise ValueError(f"expected another study folder, not {path}")
            if paths.count(path) > 1:
                raise ValueError(f"expected each path once, not {path} twice")
        for one in beside:
            if one.choices is not None:
                _distinct(one.choices)
        return beside


def _distinct(choices: list[Choice]) -> list[Choice]:
    if len(set(choices)) < len(choices):
        raise ValueError(f"expected each choice once, not {choices}")
    return choices
