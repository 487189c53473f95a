"""A synthetic cohort whose best regularization truly differs by structure, modality and task.

Subjects differ in small, crisp details of some structures, as the cortex, and in large ones of
others, as the thalamus, where texture that means nothing lies on top: a regularization that is low
enough to follow the first lets the second follow that texture.
"""

from hmopt.data.synthetic.anatomy import STRUCTURES, TRUE_ORDER, Anatomy, Structure, make_anatomy
from hmopt.data.synthetic.cohort import make_cohort, read_deformation
from hmopt.data.synthetic.scan import (
    CONTRASTS,
    Deformation,
    Scan,
    deform,
    integrate,
    jacobian_determinant,
    make_scans,
    render,
    render_labels,
    true_displacement,
)

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
