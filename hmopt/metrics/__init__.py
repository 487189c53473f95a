"""How each metric of `hmopt.catalogue` is computed."""

from hmopt.metrics.measure import Registration, measure
from hmopt.metrics.originals import Originals

__all__ = ["Originals", "Registration", "measure"]
