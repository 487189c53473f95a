"""Grids, warping, integration of velocities and Jacobians: pure functions on tensors, in 2-D and 3-D."""

from hmopt.spatial.grid import identity_grid, refine_displacement
from hmopt.spatial.integration import integrate, velocity_to_displacement
from hmopt.spatial.jacobian import jacobian_determinant
from hmopt.spatial.warping import warp

__all__ = [
    "identity_grid",
    "integrate",
    "jacobian_determinant",
    "refine_displacement",
    "velocity_to_displacement",
    "warp",
]
