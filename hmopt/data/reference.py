"""The axes and the lattice that all images of a cohort share.

A scanner's axes are named after the world's axes that they are nearest to. At an angle of 45 degrees to the world that
choice jumps: of two images at 44 and 46 degrees, one would get its axes swapped. So the choice is made once for a
cohort, and for two images that are registered, and goes with the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.grid import Frame, Matrix, ras_frame
from hmopt.data.volume import Lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError

_CLEAR_DEGREES = 40.0
"""Up to this angle to the common axes, which axis of an image is which is beyond doubt."""
_SAME_AXES = 1e-3
_SAME_PLACE = 0.02
"""Share of a voxel by which the voxels of two images may miss each other and yet count as on one lattice."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What images of a cohort are laid out by; it travels with the model.

    Parameters
    ----------
    axes
        (3, 3): unit vectors, a column each, that the first, second and third axis of an image are nearest to.
    lattice
        The voxels that the prepared grid is laid on where images are placed by their headers; else None.
    plane
        The axis that 2-D images lie across: 0 sagittal, 1 coronal, 2 axial; None: volumes.
    """

    axes: Matrix = field(default_factory=lambda: np.eye(3))
    lattice: Lattice | None = None
    plane: int | None = None

    @property
    def frame(self) -> Frame | None:
        """The lattice in the order of the axes."""
        return None if self.lattice is None else ras_frame(self.lattice, self.axes)

    def to_record(self) -> dict[str, Any]:
        """Return the reference as JSON holds it."""
        lattice = self.lattice
        return {
            "axes": self.axes.tolist(),
            "lattice": None
            if lattice is None
            else {"shape": list(lattice.shape), "affine": lattice.affine.tolist()},
            "plane": self.plane,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> "Reference":
        """Read what `to_record` gave; None, as of models from before there were references, is the world's axes.

        Examples
        --------
        >>> Reference.from_record(Reference(plane=1).to_record()).plane
        1
        """
        if record is None:
            return cls()
        lattice = record["lattice"]
        return cls(
            axes=np.array(record["axes"], dtype=np.float64),
            lattice=None
            if lattice is None
            else _lattice(tuple(lattice["shape"]), np.array(lattice["affine"])),
            plane=record["plane"],
        )


def find_reference(
    section: PreprocessingOptions, lattices: Mapping[str, Lattice], template: Lattice | None = None
) -> Reference:
    """Return what the images of a cohort are laid out by.

    Parameters
    ----------
    section
        The declared preprocessing.
    lattices
        Of all images, by what an error names them as.
    template
        Of the declared template; the prepared grid is laid on it where images are placed by their headers.

    Raises
    ------
    DataError
        If 2-D images lie in different planes, or an image is none.
    """
    axes = common_axes(list(lattices.values()))
    single_planes = len(section.shape) == 2 and section.slices is None
    lattice = None
    if section.placement == "header":
        lattice = template or common_lattice(list(lattices.values()), axes)
    return Reference(
        axes=axes,
        lattice=lattice,
        plane=common_plane(lattices, axes) if single_planes and lattices else None,
    )


def common_plane(lattices: Mapping[str, Lattice], axes: Matrix) -> int:
    """Return the axis that all of some 2-D images lie across: 0 sagittal, 1 coronal, 2 axial.

    Raises
    ------
    DataError
        If they have none in common, or an image is a volume.
    """
    common: set[int] = {0, 1, 2}
    first = ""
    for name, lattice in lattices.items():
        across = planes_of(lattice, axes)
        if not across:
            raise DataError(
                name,
                expected="a 2-D image",
                got=f"shape {lattice.shape}",
                advice="Declare preprocessing.slices.",
            )
        if not common & across:
            raise DataError(
                name,
                expected=f"{plane_name(common)} plane, as {first} is",
                got=f"{plane_name(across)} plane",
                advice="Take images of one plane, or correct the headers.",
            )
        common &= across
        first = first or name
    return max(common)


def planes_of(lattice: Lattice, axes: Matrix) -> set[int]:
    """Return the axes along which an image has a single voxel."""
    return {axis for axis, length in enumerate(ras_frame(lattice, axes).shape) if length == 1}


def plane_name(across: set[int]) -> str:
    """Return what a plane across an axis is called.

    Examples
    --------
    >>> plane_name({1})
    'a coronal'
    """
    return ("a sagittal", "a coronal", "an axial")[max(across)]


def common_axes(lattices: Sequence[Lattice], near: Matrix | None = None) -> Matrix:
    """Return the axes that the axes of all images are named after.

    These are the expected ones where each image's axes lie within 40 degrees of them. Otherwise they are the axes of
    the image to which all others are turned least, each by whichever of its axes is meant: of images at 44 and 46
    degrees, both are then named after the first's, 2 degrees apart, and none after the world's.

    Parameters
    ----------
    lattices
        Of the images of a cohort or a pair.
    near
        (3, 3): the axes that are expected, a column each; None: the world's, right, anterior and superior.

    Returns
    -------
    NDArray
        (3, 3): unit vectors, a column each.
    """
    expected = np.eye(3) if near is None else near
    directions = _distinct([direction_of(lattice) for lattice in lattices])
    if not len(directions) or _turned(directions, expected).max() <= _CLEAR_DEGREES:
        return expected
    apart = np.array([_turned(directions, direction) for direction in directions])
    # ties, as between two images, go to the one nearest to what is expected
    totals = apart.sum(axis=1) + 1e-6 * _turned(directions, expected)
    middle = directions[int(np.argmin(np.round(totals, 9)))]
    return _nearest_order(middle, expected)


def common_lattice(lattices: Sequence[Lattice], axes: Matrix) -> Lattice:
    """Return the lattice that covers the boxes of all images where their headers put them.

    It continues the voxels of one image, that in the middle: images which share its lattice, as scans of one space that
    were cropped in different ways, reach a prepared grid of their own spacing without being resampled.

    Parameters
    ----------
    lattices
        Of the images of a cohort.
    axes
        As `common_axes` gives them.

    Returns
    -------
    Lattice
        Its first axis is nearest to the first of `axes`, and so on.
    """
    frames = [ras_frame(lattice, axes) for lattice in lattices]
    centres = np.array([lattice.centre_mm for lattice in lattices])
    middle = np.median(centres, axis=0)
    # neither the order of the images nor how their voxels are stored may decide
    keys = [
        (round(float(np.linalg.norm(c - middle)), 3), *np.round(c, 3).tolist()) for c in centres
    ]
    anchor = frames[min(range(len(frames)), key=keys.__getitem__)]
    to_anchor = np.linalg.inv(anchor.to_world)
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for frame in frames:
        edges = to_anchor @ frame.to_world @ _box_corners(frame.shape)
        low, high = np.minimum(low, edges[:3].min(axis=1)), np.maximum(high, edges[:3].max(axis=1))
    first = np.ceil(low + 0.5 - _SAME_PLACE)
    last = np.floor(high - 0.5 + _SAME_PLACE)
    shift = np.eye(4)
    shift[:3, 3] = first
    length = np.maximum(last - first + 1, 1).astype(int)
    return _lattice(tuple(length.tolist()), anchor.to_world @ shift)


def direction_of(lattice: Lattice) -> Matrix:
    """Return the unit vectors along the axes of a file, a column each, without its shear."""
    left, _, right = np.linalg.svd(
        lattice.affine[:3, :3] / np.linalg.norm(lattice.affine[:3, :3], axis=0)
    )
    nearest: Matrix = left @ right
    return nearest


def _distinct(directions: list[Matrix]) -> NDArray[np.float64]:
    kept: dict[tuple[float, ...], Matrix] = {}
    for direction in directions:
        kept.setdefault(tuple(np.round(direction / _SAME_AXES).ravel().tolist()), direction)
    return np.array([kept[key] for key in sorted(kept)])


def _signed_permutations() -> NDArray[np.float64]:
    """Return the (48, 3, 3) ways to reorder and mirror three axes."""
    orders = product(permutations(range(3)), product((1.0, -1.0), repeat=3))
    return np.array([np.eye(3)[:, order] * signs for order, signs in orders])


_ORDERS = _signed_permutations()


def _turned(directions: NDArray[np.float64], axes: Matrix) -> NDArray[np.float64]:
    """Return the angle from some axes to each image's, whichever of its axes is meant, in degrees."""
    # trace(axesᵀ D P) = 1 + 2 cos(angle) for the order P that names the axes of D
    traces = np.einsum("ji,njk,pki->np", axes, directions, _ORDERS)
    cosines = (traces.max(axis=1) - 1) / 2
    angles: NDArray[np.float64] = np.degrees(np.arccos(cosines.clip(-1, 1)))
    return angles


def _nearest_order(direction: Matrix, axes: Matrix) -> Matrix:
    traces = np.einsum("ji,jk,pki->p", axes, direction, _ORDERS)
    ordered: Matrix = direction @ _ORDERS[int(traces.argmax())]
    return ordered


def _box_corners(shape: Sequence[int]) -> Matrix:
    corners = [[*(np.array(corner) * shape - 0.5), 1.0] for corner in np.ndindex(2, 2, 2)]
    return np.array(corners).T


def _lattice(shape: tuple[int, ...], affine: Matrix) -> Lattice:
    x, y, z = shape
    return Lattice(shape=(x, y, z), affine=np.asarray(affine, dtype=np.float64))
