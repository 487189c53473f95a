"""Warping, integration and blending of velocities, Jacobians: pure functions on tensors, in 2-D and 3-D."""

from hmopt.spatial.batch import divided, divided_if_any
from hmopt.spatial.blending import blend, blending_weights, coarsen, smooth, unfold
from hmopt.spatial.integration import integrate, refine_displacement, velocity_to_displacement
from hmopt.spatial.jacobian import jacobian_determinant
from hmopt.spatial.label_maps import (
    find_near_foreground,
    joint_histogram,
    nearest_labels,
    sampled_positions,
)
from hmopt.spatial.warping import identity_grid, image_tensor, label_tensor, warp

__all__ = [
    "blend",
    "blending_weights",
    "coarsen",
    "divided",
    "divided_if_any",
    "find_near_foreground",
    "identity_grid",
    "image_tensor",
    "integrate",
    "jacobian_determinant",
    "joint_histogram",
    "label_tensor",
    "nearest_labels",
    "refine_displacement",
    "sampled_positions",
    "smooth",
    "unfold",
    "velocity_to_displacement",
    "warp",
]
