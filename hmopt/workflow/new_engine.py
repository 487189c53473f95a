"""A new study of a registration program: its space written out, all subjects searched, nothing trained."""

import copy
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from hmopt.catalogue import ENGINES, EngineProgram, find_engine_program
from hmopt.catalogue.metrics import WALL_TIME
from hmopt.data.inspection import Inspection
from hmopt.declaration import CohortOptions, SearchOptions, Study, parse_study
from hmopt.errors import DeclarationError
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.source import EngineSource
from hmopt.progress import Track
from hmopt.workflow.infer import (
    AskedSlices,
    Inferred,
    NewModel,
    Remarks,
    Values,
    infer_untrained,
)

PAIRS = 60
"""Pairs to search on: each takes seconds at every setting."""
TRIALS = 40
"""Settings of a study, the default aside."""
_FEW_STRUCTURES = 3
"""With more, each would have a search of its own that takes as long again."""


def engine_declaration(engine: str) -> Values:
    """Return the tables of `study.toml` that declare a program with its default space.

    Parameters
    ----------
    engine
        The name of a program with an adaptor.

    Raises
    ------
    DeclarationError
        If there is no such adaptor.

    Examples
    --------
    >>> declared = engine_declaration("convexadam")
    >>> declared["model"]["engine"], declared["hyperparameters"]["regularization"]["default"]
    ('convexadam', 1.25)
    """
    program = find_engine_program(engine)
    adaptor: Any = importlib.import_module(program.module)
    return {
        "model": {"source": "engine", "engine": engine},
        "hyperparameters": copy.deepcopy(adaptor.SPACE),
        "search": {
            "sampler": "TPESampler",
            "trials": TRIALS,
            "spending": "wilcoxon",
            "reported": [*SearchOptions().reported, WALL_TIME],
        },
    }


class EngineStudy(NewModel):
    """A registration program that hmopt has an adaptor for.

    Parameters
    ----------
    engine
        Its name.

    Raises
    ------
    DeclarationError
        If there is no such adaptor, or the program is not installed.
    """

    def __init__(self, engine: str) -> None:
        self._program = _installed_program(engine)

    def infer(
        self,
        name: str,
        cohort: CohortOptions,
        found: Inspection,
        folder: Path,
        track: Track,
        slices: AskedSlices | None = None,
    ) -> Inferred:
        """Return the declaration of a study that searches the program's parameters on all subjects.

        Raises
        ------
        DataError
            If there are fewer than two subjects.
        DeclarationError
            If the program takes no images of these dimensions.
        """
        remarks: Remarks = {}
        declared = infer_untrained(name, cohort, found, slices, remarks, PAIRS)
        program = self._program
        dimensions = 3 if found.slice_axis is None else 2
        if dimensions not in program.dimensions:
            taken = " or ".join(f"{d}-D" for d in program.dimensions)
            raise DeclarationError(
                "--engine",
                expected=f"{taken} images, as required by {program.title}",
                got=f"{dimensions}-D ones",
                advice="Choose another engine.",
            )
        of_engine = engine_declaration(self._program.name)
        declared["model"] = of_engine["model"]
        declared["hyperparameters"] = of_engine["hyperparameters"]
        declared["search"] |= {**of_engine["search"], **self._search(found, remarks)}
        study = parse_study(declared)
        self._check(study, folder)
        remarks |= _remarks(self._program)
        return Inferred(study=study, remarks=remarks)

    def _search(self, found: Inspection, remarks: Remarks) -> Values:
        """Return the scopes and processes of the search."""
        scopes = [["cohort"]]
        structures = len(found.cohort.structures)
        if structures <= _FEW_STRUCTURES:
            scopes.append(["label"])
        else:
            remarks["search.scopes"] = (
                f'Add ["label"] for a setting per structure; each of the {structures} structures requires a '
                "separate search."
            )
        return {"scopes": scopes, "jobs": os.cpu_count() or 1}

    def _check(self, study: Study, folder: Path) -> None:
        shape = tuple(study.preprocessing.shape)
        EngineSource(
            kind="engine",
            name=self._program.name,
            folder=folder,
            grid=Grid(shape=shape, spacing_mm=(1.0,) * len(shape)),
        ).check()


def _installed_program(name: str) -> EngineProgram:
    """Return the record of a program; capitals do not matter."""
    program = ENGINES.get(name.lower())
    if program is None:
        known = ", ".join(ENGINES)
        raise DeclarationError(
            "--engine",
            expected=f"one of {known}",
            got=repr(name),
            advice="Correct the name; declare another program with model.command or model.callable.",
        )
    if importlib.util.find_spec(program.imports) is None:
        raise DeclarationError(
            "--engine",
            expected=f"{program.title} to be installed",
            got=f"no package {program.package}",
            advice=f"Run {program.install}.",
        )
    return program


def _remarks(program: EngineProgram) -> Remarks:
    return {
        "model.source": f"{program.title}; nothing is trained.",
        "split.search": "All subjects; nothing is trained.",
        "pairs.search": "Each pair takes seconds per setting; more pairs give narrower intervals.",
        "search.sampler": "The plan supports up to three hyperparameters, all numeric.",
        "search.spending": "Settings that are worse than the best one are stopped early.",
        "search.jobs": "One per CPU core of this machine, each with one thread.",
    }
