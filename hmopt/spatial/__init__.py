"""Warping, integration and blending of velocities, Jacobians: pure functions on tensors, in 2-D and 3-D."""

from hmopt.spatial.batch import divided, divided_if_any
from hmopt.spatial.blending import blend, blending_weights, coarsen, smooth
from hmopt.spatial.integration import integrate, refine_displacement, velocity_to_displacement
from hmopt.spatial.jacobian import jacobian_determinant
from hmopt.spatial.warping import identity_grid, image_tensor, label_tensor, warp

__all__ = [
    "blend",
    "blending_weights",
    "coarsen",
    "divided",
    "divided_if_any",
    "identity_grid",
    "image_tensor",
    "integrate",
    "jacobian_determinant",
    "label_tensor",
    "refine_displacement",
    "smooth",
    "velocity_to_displacement",
    "warp",
]
