"""The named structures of the synthetic anatomy: where each lies, how it looks, and how it varies."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One structure of the common anatomy; lengths are in halves of the grid, whose middle is 0.

    Parameters
    ----------
    name
        As in `dseg.tsv`.
    centre, radii
        Of the right half of a paired structure, or of the only one.
    sides
        (1, -1): a mirrored pair; (1,): one body.
    tilt_degrees
        Rotation in the plane of the first two axes.
    folds, folds_depth
        How often the boundary waves around the middle, and how deep.
    intensities
        Mean brightness in [0, 1] by contrast.
    detail
        Size of the details in which the structure differs between subjects.
    variation
        Standard deviation of the velocity that makes subjects differ there, at that size.
    texture
        Standard deviation of brightness patterns around it that belong to one image only, and so mislead.
    """

    name: str
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radii: tuple[float, float, float]
    sides: tuple[int, ...] = (1, -1)
    tilt_degrees: float = 0.0
    folds: int = 0
    folds_depth: float = 0.0
    intensities: dict[str, float]
    detail: float
    variation: float
    texture: float


STRUCTURES = (
    Structure(
        name="cortex",
        radii=(0.72, 0.86, 0.80),
        sides=(1,),
        folds=16,
        folds_depth=0.02,
        intensities={"T1": 0.45, "T2": 0.70},
        detail=0.075,
        variation=0.045,
        texture=0.0,
    ),
    Structure(
        name="white-matter",
        radii=(0.56, 0.70, 0.64),
        sides=(1,),
        folds=16,
        folds_depth=0.035,
        intensities={"T1": 0.90, "T2": 0.30},
        detail=0.20,
        variation=0.05,
        texture=0.045,
    ),
    Structure(
        name="ventricle",
        centre=(0.10, 0.20, 0.0),
        radii=(0.085, 0.24, 0.30),
        tilt_degrees=15,
        intensities={"T1": 0.10, "T2": 1.0},
        detail=0.12,
        variation=0.04,
        texture=0.02,
    ),
    Structure(
        name="hippocampus",
        centre=(0.30, -0.42, 0.0),
        radii=(0.17, 0.10, 0.20),
        tilt_degrees=40,
        intensities={"T1": 0.50, "T2": 0.65},
        detail=0.30,
        variation=0.05,
        texture=0.04,
    ),
    Structure(
        name="putamen",
        centre=(0.36, 0.14, 0.0),
        radii=(0.10, 0.23, 0.25),
        tilt_degrees=-12,
        intensities={"T1": 0.72, "T2": 0.42},
        detail=0.35,
        variation=0.05,
        texture=0.06,
    ),
    Structure(
        name="thalamus",
        centre=(0.17, -0.18, 0.0),
        radii=(0.16, 0.19, 0.22),
        tilt_degrees=20,
        intensities={"T1": 0.78, "T2": 0.38},
        detail=0.55,
        variation=0.05,
        texture=0.14,
    ),
)

TRUE_ORDER = (("cortex", "ventricle", "white-matter"), ("hippocampus", "putamen", "thalamus"))
"""Names of the rough and of the smooth structures, by the size of the details in which subjects differ.

The best regularization is higher for the second group; within a group, structures may change places.
"""
