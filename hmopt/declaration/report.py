"""`[report]`: what stands beside the study in its report."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hmopt.declaration.options import Options

Choice = Literal["tuned", "per_structure", "default", "matched"]
"""How the setting of a compared method is chosen."""

Choices = Annotated[list[Choice], Field(min_length=1)]


class BesideOptions(Options):
    """`[[report.beside]]`: another study folder, or a table of scores, that the study is compared with."""

    path: Path
    """A study folder with measurements of the same pairs, or a CSV of scores (columns `pair`, `label`, the metric, and
    where there are such `method` and `seconds`)."""
    title: Annotated[str, Field(min_length=1)] | None = None
    """What the report calls it; left out: the name of the study, or of the file."""
    methods: Annotated[list[str], Field(min_length=1)] | None = None
    """Which methods of a table of scores; left out: all."""
    choices: Choices | None = None
    """Which of its settings are shown; left out: those of `report.choices`."""


class ReportOptions(Options):
    """`[report]`: other studies of the same pairs that the report sets beside this one."""

    title: Annotated[str, Field(min_length=1)] | None = None
    """What the comparison calls this study; left out: its name."""
    choices: Choices = ["tuned", "default"]
    """Settings that are compared: `tuned` (one for all structures, chosen on other subjects), `per_structure` (one for
    each structure, chosen likewise), `default`, and of other methods `matched` (with deformations as rough as those of
    this study at its tuned setting)."""
    beside: list[BesideOptions] = []
    """The others: paths, or tables with `path`, `title` and `choices`."""

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
