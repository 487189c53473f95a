"""A synthetic cohort whose best regularization truly differs by structure, modality and task.

Subjects differ in small, crisp details of some structures, as the cortex, and in large ones of
others, as the thalamus, where texture that means nothing lies on top: a regularization that is low
enough to follow the first lets the second follow that texture.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.csv_tables import write_table
from hmopt.data.synthetic_anatomy import (
    STRUCTURES,
    TRUE_ORDER,
    Anatomy,
    Array,
    Structure,
    make_anatomy,
    paint,
)
from hmopt.errors import DataError
from hmopt.files import replacing
from hmopt.progress import Track, silent

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

HEAD_MM = 180.0
MANIFEST, NAMES, TRUTH = "cohort.csv", "dseg.tsv", "truth"

SESSIONS = 2
CONTRASTS = ("T1", "T2")

NOISE = {"T1": 0.03, "T2": 0.09}
"""Standard deviation of the noise of each voxel, by contrast."""

TEXTURE = {"T1": 1.0, "T2": 1.5}
"""Strength of the misleading patterns of the structures, by contrast."""

TEXTURE_SIZE = 0.06
"""Size of their details, in halves of the grid."""

WHOLE_SIZE = 0.6
WHOLE_VARIATION = 0.05
"""Size and standard deviation of the velocity by which heads differ, in halves of the grid."""

SESSION_SIZE = 0.5
SESSION_VARIATION = 0.02
"""The same for two sessions of one subject."""

AGES = (20, 80)
WIDENING = 0.08
"""Velocity by which tissue leaves the centre at the highest age, in halves of the grid: ventricles
grow with age."""
WIDENING_RADIUS = 0.4

INTEGRATION_STEPS = 6
"""Steps of scaling and squaring."""


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """The true deformation of a scan from the common anatomy, both ways.

    Both are in voxels, shape (axes, *shape).

    Parameters
    ----------
    displacement
        `scan(x) = anatomy(x + displacement(x))`.
    inverse
        `anatomy(x) = scan(x + inverse(x))`.
    """

    displacement: Array
    inverse: Array


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One session of one subject.

    Parameters
    ----------
    subject, session
        As in the manifest.
    age
        Of the subject, in years.
    deformation
        The truth: how the scan differs from the common anatomy.
    labels
        Label map, shape (*shape).
    images
        By contrast, each of shape (*shape).
    """

    subject: str
    session: str
    age: int
    deformation: Deformation
    labels: NDArray[np.uint8]
    images: dict[str, NDArray[np.float32]]

    @property
    def name(self) -> str:
        """The beginning of the names of its files."""
        return f"{self.subject}_{self.session}"


def make_scans(anatomy: Anatomy, subject: int, seed: int) -> Iterator[Scan]:
    """Yield both sessions of one subject, which depend on its number and the seed alone."""
    random = np.random.default_rng([seed, subject])
    age = int(random.integers(*AGES, endpoint=True))
    velocity = subject_velocity(anatomy, age, random)
    for session in range(1, SESSIONS + 1):
        deformation = deform(velocity + session_velocity(anatomy, random))
        displacement = deformation.displacement
        labels = render_labels(anatomy, displacement)
        images = {name: render(anatomy, displacement, name, random) for name in CONTRASTS}
        yield Scan(
            subject=f"sub-{subject + 1:03}",
            session=f"ses-{session}",
            age=age,
            deformation=deformation,
            labels=labels,
            images=images,
        )


def true_displacement(moving: Deformation, fixed: Deformation) -> Array:
    """Return the displacement (axes, *shape), in voxels, that registers one scan to another.

    `fixed(x) = moving(x + displacement(x))` but for texture and noise.
    """
    to_anatomy = fixed.displacement
    to_moving = moving.inverse
    return compose(to_anatomy, to_moving)


def subject_velocity(anatomy: Anatomy, age: float, random: np.random.Generator) -> Array:
    """Draw the velocity (axes, *shape), in voxels, by which a subject differs from the anatomy.

    It is the sum of a smooth velocity of the whole head, one velocity for each structure near that
    structure, and the widening by age.
    """
    shape = anatomy.shape
    unit = anatomy.unit
    whole = _random_vectors(shape, WHOLE_SIZE * unit, random)
    velocity = WHOLE_VARIATION * unit * whole
    for structure, share in zip(anatomy.structures, anatomy.shares, strict=True):
        size = structure.detail * unit
        variation = structure.variation * unit
        own = _random_vectors(shape, size, random)
        velocity += variation * share * own
    return velocity + _widening(anatomy, age)


def session_velocity(anatomy: Anatomy, random: np.random.Generator) -> Array:
    """Draw the small smooth velocity (axes, *shape), in voxels, by which sessions differ."""
    unit = anatomy.unit
    size = SESSION_SIZE * unit
    vectors = _random_vectors(anatomy.shape, size, random)
    return SESSION_VARIATION * unit * vectors


def deform(velocity: Array) -> Deformation:
    """Return the deformation of a stationary velocity (axes, *shape), in voxels."""
    displacement = integrate(velocity)
    inverse = integrate(-velocity)
    return Deformation(displacement=displacement, inverse=inverse)


def render_labels(anatomy: Anatomy, displacement: Array) -> NDArray[np.uint8]:
    """Return the label map (*shape) of a deformed anatomy: 0, or 1 + the structure's index."""
    distances = warp(anatomy.distances, displacement)
    return paint(distances)


def render(
    anatomy: Anatomy,
    displacement: Array,
    contrast: str,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw an image (*shape) of a deformed anatomy, with texture and noise of its own."""
    shape = anatomy.shape
    image = np.zeros(shape)
    distances = warp(anatomy.distances, displacement)
    for structure, distance in zip(anatomy.structures, distances, strict=True):
        # from 1, half a voxel inside the boundary, to 0, half a voxel outside
        covered = np.clip(0.5 - distance, 0.0, 1.0)
        intensity = structure.intensities[contrast]
        image += covered * (intensity - image)
    textures = [structure.texture for structure in anatomy.structures]
    shares = warp(anatomy.shares, displacement)
    strength = np.tensordot(textures, shares, 1)
    size = TEXTURE_SIZE * anatomy.unit
    texture = random_field(shape, size, random)
    noise = random.standard_normal(shape)
    image += TEXTURE[contrast] * strength * texture
    image += NOISE[contrast] * noise
    return image.astype(np.float32)


def random_field(shape: tuple[int, ...], size: float, random: np.random.Generator) -> Array:
    """Draw a pattern of mean 0 and standard deviation 1 with details about `size` voxels across.

    White noise is smoothed by a Gaussian of standard deviation σ = `size`. In d dimensions this
    leaves a standard deviation of (2 √π σ)^(-d / 2), by which it is divided.

    Examples
    --------
    >>> field = random_field((256, 256), 3.0, np.random.default_rng(0))
    >>> round(float(field.std()), 1)
    1.0
    """
    dimensions = len(shape)
    margin = int(np.ceil(2 * size))
    noise = random.standard_normal([length + 2 * margin for length in shape])
    smooth = ndimage.gaussian_filter(
        noise,
        size,
        mode="wrap",
    )
    inner = tuple(slice(margin, -margin) for _ in shape)
    width = 2 * np.sqrt(np.pi) * size
    deviation = width ** (-dimensions / 2)
    field: Array = smooth[inner] / deviation
    return field


def integrate(velocity: Array) -> Array:
    """Return the displacement after following a stationary velocity for unit time.

    Both are in voxels, shape (axes, *shape).

    References
    ----------
    Arsigny et al., MICCAI 2006: scaling and squaring, exp(v) = exp(v / 2ⁿ) ∘ … ∘ exp(v / 2ⁿ), by n
    compositions of a displacement with itself.
    """
    displacement: Array = velocity / 2.0**INTEGRATION_STEPS
    for _ in range(INTEGRATION_STEPS):
        displacement = compose(displacement, displacement)
    return displacement


def compose(first: Array, then: Array) -> Array:
    """Return the displacement of x -> y = x + first(x), followed by y -> y + then(y)."""
    second = warp(then, first)
    return first + second


def warp(fields: Array, displacement: Array) -> Array:
    """Return fields (n, *shape) at x + displacement(x).

    They are interpolated linearly; beyond the border they have the border's value.
    """
    shape = displacement.shape[1:]
    points = np.indices(shape) + displacement
    warped = []
    for field in fields:
        values = ndimage.map_coordinates(field, points, order=1, mode="nearest")
        warped.append(values)
    return np.stack(warped)


def jacobian_determinant(displacement: Array) -> Array:
    """Return det(I + ∂u/∂x), (*shape), of the mapping x -> x + u(x), by central differences."""
    axes, *shape = displacement.shape
    gradient = np.empty((*shape, axes, axes))
    for row, component in enumerate(displacement):
        for column, derivative in enumerate(np.gradient(component)):
            gradient[..., row, column] = derivative
    jacobian = gradient + np.eye(axes)
    determinants: Array = np.linalg.det(jacobian)
    return determinants


def _random_vectors(shape: tuple[int, ...], size: float, random: np.random.Generator) -> Array:
    """Draw a random field for each axis, (axes, *shape)."""
    components = []
    for _ in shape:
        component = random_field(shape, size, random)
        components.append(component)
    return np.stack(components)


def _widening(anatomy: Anatomy, age: float) -> Array:
    """Return the velocity (axes, *shape) by which tissue leaves the centre with age.

    At x from the centre it is proportional to x exp(-(|x| / r)²), and to the age less its mean.
    """
    young, old = AGES
    mean_age = (young + old) / 2
    relative_age = (age - mean_age) / (old - young)
    shape = anatomy.shape
    centre = np.subtract(shape, 1) / 2
    ones = [1] * len(shape)
    column = (-1, *ones)
    from_centre = np.indices(shape) - centre.reshape(column)
    in_units = from_centre / anatomy.unit
    squared = np.sum(in_units**2, axis=0)
    radius = np.sqrt(squared)
    relative_radius = radius / WIDENING_RADIUS
    near_centre = np.exp(-(relative_radius**2))
    widening: Array = -WIDENING * relative_age * from_centre * near_centre
    return widening


def make_cohort(
    folder: Path,
    subjects: int = 30,
    shape: tuple[int, ...] = (80, 80),
    seed: int = 0,
    track: Track = silent,
) -> Path:
    """Write a cohort of two sessions and two contrasts per subject, and return its manifest.

    Parameters
    ----------
    folder
        Gets `cohort.csv` (`image, label, subject, session, modality, age`), `dseg.tsv`, `images/`,
        `labels/` and `truth/`, which holds each scan's deformation (`read_deformation`).
    subjects
        How many subjects.
    shape
        Voxels along 2 or 3 axes; the head fills most of them.
    seed
        The same seed gives the same files.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If there is no subject to make, or the grid cannot show the anatomy.
    """
    if subjects < 1:
        raise DataError(
            "subjects", expected="at least 1", got=subjects, advice="Use a larger number."
        )
    anatomy = make_anatomy(shape)
    rows: list[dict[str, object]] = []
    for subject in track(range(subjects), "Creating the synthetic cohort", subjects):
        for scan in make_scans(anatomy, subject, seed):
            rows += _write_scan(folder, scan)
    structures = [structure.name for structure in STRUCTURES]
    names = ["background", *structures]
    labels = pd.DataFrame({"index": range(len(names)), "name": names})
    write_table(labels, folder / NAMES, separator="\t")
    write_table(pd.DataFrame(rows), folder / MANIFEST)
    return folder / MANIFEST


def read_deformation(folder: Path, subject: str, session: str) -> Deformation:
    """Read the true deformation of one scan of a cohort that `make_cohort` wrote.

    Raises
    ------
    DataError
        If the cohort has no such scan.
    """
    path = folder / TRUTH / f"{subject}_{session}.npz"
    if not path.is_file():
        raise DataError(
            str(path),
            expected="the truth about a scan",
            got="no file",
            advice="Correct the name.",
        )
    with np.load(path, allow_pickle=False) as arrays:
        return Deformation(
            displacement=arrays["displacement"].astype(np.float64),
            inverse=arrays["inverse"].astype(np.float64),
        )


def _write_scan(folder: Path, scan: Scan) -> list[dict[str, object]]:
    """Write the files of a scan, and return its rows of the manifest, one a contrast."""
    label = f"labels/{scan.name}_dseg.nii.gz"
    _write_image(folder / label, scan.labels)
    with replacing(folder / TRUTH / f"{scan.name}.npz") as beside:
        np.savez_compressed(
            beside,
            displacement=scan.deformation.displacement.astype(np.float32),
            inverse=scan.deformation.inverse.astype(np.float32),
        )
    rows: list[dict[str, object]] = []
    for modality, intensities in scan.images.items():
        image = f"images/{scan.name}_{modality}w.nii.gz"
        _write_image(folder / image, intensities)
        row = {
            "image": image,
            "label": label,
            "subject": scan.subject,
            "session": scan.session,
            "modality": modality,
            "age": scan.age,
        }
        rows.append(row)
    return rows


def _write_image(path: Path, array: NDArray[np.uint8] | NDArray[np.float32]) -> None:
    """Write an image whose middle is the world's origin; the same array gives the same bytes."""
    dimensions = array.ndim
    spacing_mm = HEAD_MM / float(np.mean(array.shape))
    middle = np.subtract(array.shape, 1) / 2
    diagonal = [spacing_mm, spacing_mm, spacing_mm, 1.0]
    affine = np.diag(diagonal)
    affine[:dimensions, 3] = -spacing_mm * middle
    image = nib.Nifti1Image(array, affine)
    plain = image.to_bytes()
    content = gzip.compress(plain, mtime=0)
    with replacing(path) as beside:
        beside.write_bytes(content)
