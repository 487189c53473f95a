"""A synthetic cohort whose best regularization truly differs by structure, modality and task.

Subjects differ in small, crisp details of some structures, as the cortex, and in large ones of others, as the thalamus,
where texture that means nothing lies on top: what is needed to follow the first misleads in the second.
"""

from hmopt.data.synthetic.anatomy import Anatomy, make_anatomy
from hmopt.data.synthetic.cohort import (
    Scan,
    make_cohort,
    make_scans,
    read_deformation,
    true_displacement,
)
from hmopt.data.synthetic.deformation import integrate, jacobian_determinant
from hmopt.data.synthetic.structures import STRUCTURES, TRUE_ORDER, Structure
from hmopt.data.synthetic.subject import CONTRASTS, Deformation, deform, render, render_labels

__all__ = [
    "CONTRASTS",
    "STRUCTURES",
    "TRUE_ORDER",
    "Anatomy",
    "Deformation",
    "Scan",
    "Structure",
    "deform",
    "integrate",
    "jacobian_determinant",
    "make_anatomy",
    "make_cohort",
    "make_scans",
    "read_deformation",
    "render",
    "render_labels",
    "true_displacement",
]
