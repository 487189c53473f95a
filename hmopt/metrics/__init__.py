"""How each metric declared in `hmopt.metric` is computed."""

from hmopt.metrics.measure import measure
from hmopt.metrics.originals import Originals

__all__ = ["Originals", "measure"]
