"""A cohort read in one step, as tests want it."""

from hmopt.data.cohort import Cohort, list_cohort, read_structures
from hmopt.declaration import CohortOptions


def read_cohort(options: CohortOptions) -> Cohort:
    """Return the images and structures of a cohort; every label map is read once."""
    return read_structures(list_cohort(options), options)
