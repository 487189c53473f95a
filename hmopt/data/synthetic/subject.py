"""One scan of one subject: how its anatomy differs from the common one, and what its images look like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.data.synthetic.anatomy import Anatomy, paint
from hmopt.data.synthetic.deformation import integrate, random_field, warp

CONTRASTS = ("T1", "T2")

NOISE = {"T1": 0.03, "T2": 0.09}
"""Standard deviation of the noise of each voxel, by contrast."""

TEXTURE = {"T1": 1.0, "T2": 1.5}
"""How strong the misleading patterns of the structures are, by contrast."""

TEXTURE_SIZE = 0.06
"""Size of their details, in halves of the grid."""

WHOLE_SIZE, WHOLE_VARIATION = 0.6, 0.05
"""Size and standard deviation of the velocity by which whole heads differ, in halves of the grid."""

SESSION_SIZE, SESSION_VARIATION = 0.5, 0.02
"""The same for two sessions of one subject."""

AGES = (20, 80)
WIDENING = 0.08
"""How fast tissue leaves the middle at the highest age, in halves of the grid: ventricles grow with age."""


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """The true deformation of one scan from the common anatomy, both ways, in voxels, shape (axes, *shape).

    Parameters
    ----------
    displacement
        `scan(x) = anatomy(x + displacement(x))`.
    inverse
        `anatomy(x) = scan(x + inverse(x))`.
    """

    displacement: NDArray[np.float64]
    inverse: NDArray[np.float64]


def subject_velocity(
    anatomy: Anatomy, age: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Give the velocity (axes, *shape), in voxels, by which one subject differs from the common anatomy."""
    unit = anatomy.unit
    velocity = WHOLE_VARIATION * unit * _vectors(anatomy.shape, WHOLE_SIZE * unit, random)
    for structure, share in zip(anatomy.structures, anatomy.shares, strict=True):
        own = _vectors(anatomy.shape, structure.detail * unit, random)
        velocity += structure.variation * unit * share * own
    return velocity + _widening(anatomy, age)


def session_velocity(anatomy: Anatomy, random: np.random.Generator) -> NDArray[np.float64]:
    """Give the small smooth velocity (axes, *shape), in voxels, by which a session differs from its subject."""
    return (
        SESSION_VARIATION
        * anatomy.unit
        * _vectors(anatomy.shape, SESSION_SIZE * anatomy.unit, random)
    )


def deform(velocity: NDArray[np.float64]) -> Deformation:
    """Give the deformation that a velocity makes."""
    return Deformation(displacement=integrate(velocity), inverse=integrate(-velocity))


def render_labels(anatomy: Anatomy, displacement: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Give the label map (*shape) of a deformed anatomy: 0 background, else 1 + the structure's index."""
    return paint(warp(anatomy.distances, displacement))


def render(
    anatomy: Anatomy, displacement: NDArray[np.float64], contrast: str, random: np.random.Generator
) -> NDArray[np.float32]:
    """Give an image (*shape) of a deformed anatomy, with the texture and noise of this image alone."""
    image = np.zeros(anatomy.shape)
    for structure, distance in zip(
        anatomy.structures, warp(anatomy.distances, displacement), strict=True
    ):
        covered = np.clip(0.5 - distance, 0.0, 1.0)
        image += covered * (structure.intensities[contrast] - image)
    strength = np.tensordot(
        [s.texture for s in anatomy.structures], warp(anatomy.shares, displacement), 1
    )
    texture = random_field(anatomy.shape, TEXTURE_SIZE * anatomy.unit, random)
    image += TEXTURE[contrast] * strength * texture
    image += NOISE[contrast] * random.standard_normal(anatomy.shape)
    return image.astype(np.float32)


def _vectors(
    shape: tuple[int, ...], size: float, random: np.random.Generator
) -> NDArray[np.float64]:
    return np.stack([random_field(shape, size, random) for _ in shape])


def _widening(anatomy: Anatomy, age: float) -> NDArray[np.float64]:
    young, old = AGES
    grown = (age - (young + old) / 2) / (old - young)
    centred = (
        np.indices(anatomy.shape)
        - (np.array(anatomy.shape).reshape(-1, *[1] * len(anatomy.shape)) - 1) / 2
    )
    radius = np.sqrt(np.sum((centred / anatomy.unit) ** 2, axis=0))
    return np.asarray(-WIDENING * grown * centred * np.exp(-((radius / 0.4) ** 2)))
