"""A new study without a model: each pair is registered by minimizing its loss, all subjects searched."""

from pathlib import Path

from hmopt.data.inspection import Inspection
from hmopt.declaration import CohortOptions, parse_study
from hmopt.errors import DataError
from hmopt.progress import Track
from hmopt.workflow.infer import (
    AskedSlices,
    Inferred,
    NewModel,
    Remarks,
    infer_pairs,
    infer_preprocessing,
    infer_search,
)

PAIRS = 90
"""Pairs to search on: all ordered ones of ten subjects."""
ITERATIONS = 20
"""At each value of λ; see docs/decisions.md."""
_FEWEST_SUBJECTS = 2


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
        subjects = len(found.subjects)
        if subjects < _FEWEST_SUBJECTS:
            raise DataError(
                "subjects", expected="at least two", got=subjects, advice="Add images of others."
            )
        images = found.cohort.images
        remarks: Remarks = {"name": "The folder's name."}
        pairs = infer_pairs(images, remarks)
        preprocessing = infer_preprocessing(found, remarks, slices)
        remarks.setdefault("preprocessing.placement", found.advice)
        study = parse_study(
            {
                "name": name,
                "cohort": cohort.model_dump(mode="json", exclude_none=True),
                "preprocessing": preprocessing,
                "split": {"train": 0, "tune": 0, "search": subjects},
                "pairs": {**pairs, "search": PAIRS},
                "model": {"source": "optimize"},
                "refine": {"iterations": ITERATIONS},
                "search": infer_search(images, subjects, pairs["tasks"], remarks),
            }
        )
        remarks |= {
            "model.source": "Each pair is registered by minimizing its loss; nothing is trained.",
            "split.search": "All: nothing is trained.",
            "pairs.search": "Each takes seconds at every setting; more of them narrow the intervals.",
            "refine.iterations": "At each of ten values of λ, from the strongest down.",
        }
        return Inferred(study=study, remarks=remarks)
