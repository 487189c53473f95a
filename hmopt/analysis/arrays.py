"""Array types of the analyses; shapes stand in docstrings."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Scores, weights, means and other numbers."""

Mask = NDArray[np.bool_]
"""Which of several things are meant."""

Places = NDArray[np.intp]
"""Positions in a sequence or along an axis."""

Names = NDArray[np.object_]
"""Names of subjects."""
