"""How each metric declared in `hmopt.metric` is computed."""

from hmopt.metrics.measure import measure

__all__ = ["measure"]
