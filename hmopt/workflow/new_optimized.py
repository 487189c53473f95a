"""A new study without a model: each pair is registered by minimizing its loss, all subjects searched."""

from pathlib import Path

from hmopt.data.inspection import Inspection
from hmopt.declaration import CohortOptions, parse_study
from hmopt.progress import Track
from hmopt.workflow.infer import (
    AskedSlices,
    Inferred,
    NewModel,
    Remarks,
    infer_untrained,
)

PAIRS = 90
"""Pairs to search on: all ordered ones of ten subjects."""
ITERATIONS = 20
"""At each value of λ; see docs/decisions.md."""


class WithoutTraining(NewModel):
    """No model: the loss of each pair is minimized by itself."""

    def infer(
        self,
        name: str,
        cohort: CohortOptions,
        found: Inspection,
        folder: Path,
        track: Track,
        slices: AskedSlices | None = None,
    ) -> Inferred:
        """Return the declaration of a study that searches λ on all subjects.

        Raises
        ------
        DataError
            If there are fewer than two subjects.
        """
        remarks: Remarks = {}
        declared = infer_untrained(name, cohort, found, slices, remarks, PAIRS)
        declared["model"] = {"source": "optimize"}
        declared["refine"] = {"iterations": ITERATIONS}
        study = parse_study(declared)
        remarks |= {
            "model.source": "Each pair is registered by minimizing its loss; nothing is trained.",
            "split.search": "All subjects; nothing is trained.",
            "pairs.search": "Each pair takes seconds per setting; more pairs give narrower intervals.",
            "refine.iterations": "At each of ten values of λ, from the strongest regularization down.",
        }
        return Inferred(study=study, remarks=remarks)
