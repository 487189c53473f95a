"""The axes and the lattice that all images of a cohort share.

A scanner's axes are named after the world's axes that they are nearest to. At an angle of 45
degrees to the world that choice jumps: of two images at 44 and 46 degrees, one would get its axes
swapped. So the choice is made once for a cohort, and for two images that are registered, and goes
with the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.grid import Frame, Matrix, ras_frame
from hmopt.data.volume import Lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError

Matrices = NDArray[np.float64]
"""(n, 3, 3)."""

_CLEAR_DEGREES = 40.0
"""Up to this angle to the common axes, which axis of an image is which is beyond doubt."""
_SAME_AXES = 1e-3
_SAME_PLACE = 0.02
"""Share of a voxel by which voxels of two images may miss each other and count as one lattice."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Axes and lattice in which images of a cohort are laid out; it travels with the model.

    Parameters
    ----------
    axes
        (3, 3): unit vectors, a column each, that the first, second and third axis of an image are
        nearest to.
    lattice
        The voxels that the prepared grid is laid on where images are placed by their headers; else
        None.
    plane
        The axis that 2-D images lie across: 0 sagittal, 1 coronal, 2 axial; None: volumes.
    """

    axes: Matrix = field(default_factory=lambda: np.eye(3))
    lattice: Lattice | None = None
    plane: int | None = None

    @property
    def frame(self) -> Frame | None:
        """The lattice in the order of the axes."""
        if self.lattice is None:
            return None
        return ras_frame(self.lattice, self.axes)

    def to_record(self) -> dict[str, Any]:
        """Return the reference as JSON holds it."""
        record: dict[str, Any] = {
            "axes": self.axes.tolist(),
            "lattice": None,
            "plane": self.plane,
        }
        if self.lattice is not None:
            record["lattice"] = {
                "shape": list(self.lattice.shape),
                "affine": self.lattice.affine.tolist(),
            }
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> "Reference":
        """Read what `to_record` returned.

        None, as of models from before there were references, is the world's axes.

        Examples
        --------
        >>> Reference.from_record(Reference(plane=1).to_record()).plane
        1
        """
        if record is None:
            return cls()
        lattice = record["lattice"]
        if lattice is not None:
            lattice = _lattice(lattice["shape"], np.array(lattice["affine"]))
        return cls(
            axes=np.array(record["axes"], dtype=np.float64),
            lattice=lattice,
            plane=record["plane"],
        )


def find_reference(
    options: PreprocessingOptions,
    lattices: Mapping[str, Lattice],
    template: Lattice | None = None,
) -> Reference:
    """Return the axes and the lattice of a cohort.

    Parameters
    ----------
    options
        The declared preprocessing.
    lattices
        Of all images, by what an error names them as.
    template
        Of the declared template; the prepared grid is laid on it where images are placed by their
        headers.

    Raises
    ------
    DataError
        If 2-D images lie in different planes, an image is none, or one of a prepared volume is no volume.
    """
    all_lattices = list(lattices.values())
    axes = common_axes(all_lattices)
    lattice = None
    if options.placement == "header":
        lattice = template or common_lattice(all_lattices, axes)
    plane = None
    if len(options.shape) == 2 and options.slices is None and lattices:
        plane = common_plane(lattices, axes)
    if len(options.shape) == 3:
        check_volumes(
            lattices,
            expected="a volume, as preprocessing.shape has three sides",
            advice="Declare a shape of two sides for 2-D images.",
        )
    return Reference(axes=axes, lattice=lattice, plane=plane)


def check_volumes(lattices: Mapping[str, Lattice], expected: str, advice: str) -> None:
    """Refuse a 2-D image for a grid of three axes, which would be empty but for a plane.

    Parameters
    ----------
    lattices
        Of images, by what an error names them as.
    expected, advice
        What the error says.

    Raises
    ------
    DataError
        If an image has a single voxel along an axis.
    """
    for name, lattice in lattices.items():
        if 1 in lattice.shape:
            raise DataError(name, expected=expected, got=f"shape {lattice.shape}", advice=advice)


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
        planes = planes_of(lattice, axes)
        if not planes:
            raise DataError(
                name,
                expected="a 2-D image",
                got=f"shape {lattice.shape}",
                advice="Declare preprocessing.slices.",
            )
        if not common & planes:
            raise DataError(
                name,
                expected=f"{plane_name(common)} plane, as {first} is",
                got=f"{plane_name(planes)} plane",
                advice="Take images of one plane, or correct the headers.",
            )
        common &= planes
        first = first or name
    return max(common)


def planes_of(lattice: Lattice, axes: Matrix) -> set[int]:
    """Return the axes along which an image has a single voxel."""
    frame = ras_frame(lattice, axes)
    lengths = np.array(frame.shape)
    flat = np.flatnonzero(lengths == 1)
    return set(flat.tolist())


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

    These are the expected ones where each image's axes lie within 40 degrees of them. Otherwise
    they are the axes of the image to which the angles of all others have the smallest sum, each
    by whichever of its axes is meant: of images at 44 and 46 degrees, both are then named after
    the first's, 2 degrees apart, and none after the world's.

    Parameters
    ----------
    lattices
        Of the images of a cohort or a pair.
    near
        (3, 3): the axes that are expected, a column each; None: the world's, right, anterior and
        superior.

    Returns
    -------
    NDArray
        (3, 3): unit vectors, a column each.
    """
    expected = np.eye(3) if near is None else near
    directions = _distinct([direction_of(lattice) for lattice in lattices])
    if not len(directions):
        return expected
    to_expected = _angles(directions, expected)
    if to_expected.max() <= _CLEAR_DEGREES:
        return expected
    between = np.array([_angles(directions, direction) for direction in directions])
    totals = between.sum(axis=1)
    # ties, as between two images, go to the one nearest to what is expected
    totals = np.round(totals + 1e-6 * to_expected, 9)
    middle = directions[int(totals.argmin())]
    return _nearest_order(middle, expected)


def common_lattice(lattices: Sequence[Lattice], axes: Matrix) -> Lattice:
    """Return the lattice that covers the boxes of all images where their headers put them.

    It continues the voxels of one image, that in the middle: images which share its lattice, as
    scans of one space that were cropped in different ways, reach a prepared grid of their own
    spacing without being resampled.

    Parameters
    ----------
    lattices
        Of the images of a cohort.
    axes
        As of `common_axes`.

    Returns
    -------
    Lattice
        Its first axis is nearest to the first of `axes`, and so on.
    """
    frames = [ras_frame(lattice, axes) for lattice in lattices]
    anchor = frames[_middle_image(lattices)]
    from_world = np.linalg.inv(anchor.to_world)
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for frame in frames:
        corners = from_world @ frame.to_world @ _box_corners(frame.shape)
        places = corners[:3]
        low = np.minimum(low, places.min(axis=1))
        high = np.maximum(high, places.max(axis=1))
    # voxel i extends from i - 0.5 to i + 0.5
    first = np.ceil(low + 0.5 - _SAME_PLACE)
    last = np.floor(high - 0.5 + _SAME_PLACE)
    lengths = np.maximum(last - first + 1, 1).astype(int)
    shift = np.eye(4)
    shift[:3, 3] = first
    return _lattice(lengths.tolist(), anchor.to_world @ shift)


def direction_of(lattice: Lattice) -> Matrix:
    """Return the unit vectors along the axes of a file, a column each, without its shear.

    This is the orthogonal matrix nearest to the normalized axes: the first factor of their polar
    decomposition.
    """
    axes = lattice.affine[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    left, _, right = np.linalg.svd(axes / lengths)
    nearest: Matrix = left @ right
    return nearest


def _middle_image(lattices: Sequence[Lattice]) -> int:
    """Return which image is nearest to the median centre.

    Ties are broken by the place of the centre, so that neither the order of the images nor how
    their voxels are stored decides.
    """
    centres = np.array([lattice.centre_mm for lattice in lattices])
    middle = np.median(centres, axis=0)
    distances = np.linalg.norm(centres - middle, axis=1)
    keys = pd.DataFrame(centres, columns=["x", "y", "z"]).assign(distance=distances)
    keys = keys.round(3)
    ordered = keys.sort_values(["distance", "x", "y", "z"], kind="stable")
    return int(ordered.index[0])


def _distinct(directions: list[Matrix]) -> Matrices:
    """Return the (n, 3, 3) directions that differ, in an order that their values decide."""
    distinct: dict[tuple[float, ...], Matrix] = {}
    for direction in directions:
        rounded = np.round(direction / _SAME_AXES)
        key = tuple(rounded.ravel().tolist())
        distinct.setdefault(key, direction)
    keys = sorted(distinct)
    return np.array([distinct[key] for key in keys])


def _signed_permutations() -> Matrices:
    """Return the (48, 3, 3) ways to reorder and mirror three axes."""
    orders = permutations(range(3))
    mirrorings = product((1.0, -1.0), repeat=3)
    identity = np.eye(3)
    ways = product(orders, mirrorings)
    return np.array([identity[:, order] * signs for order, signs in ways])


_ORDERS = _signed_permutations()


def _angles(directions: Matrices, axes: Matrix) -> NDArray[np.float64]:
    """Return the angles from some axes to those of n images, whichever axis is meant, in degrees.

    For axes A, directions D and the signed permutation P that names the axes of D,

        trace(Aᵀ D P) = 1 + 2 cos(angle).

    The angle is that of the best of the 48 permutations.
    """
    traces = np.einsum("ji,njk,pki->np", axes, directions, _ORDERS)
    largest = traces.max(axis=1)
    cosines = (largest - 1) / 2
    radians = np.arccos(cosines.clip(-1, 1))
    angles: NDArray[np.float64] = np.degrees(radians)
    return angles


def _nearest_order(direction: Matrix, axes: Matrix) -> Matrix:
    """Return a direction with its axes reordered and mirrored to lie nearest to some axes."""
    traces = np.einsum("ji,jk,pki->p", axes, direction, _ORDERS)
    best = int(traces.argmax())
    ordered: Matrix = direction @ _ORDERS[best]
    return ordered


def _box_corners(shape: Sequence[int]) -> Matrix:
    """Return the (4, 8) corners of the box of some voxels, in homogeneous coordinates."""
    corners = np.ones((4, 8))
    corners[:3] = np.indices((2, 2, 2)).reshape(3, 8)
    corners[:3] *= np.array(shape)[:, None]
    corners[:3] -= 0.5
    return corners


def _lattice(shape: Sequence[int], affine: Matrix) -> Lattice:
    x, y, z = shape
    affine = np.asarray(affine, dtype=np.float64)
    return Lattice(shape=(x, y, z), affine=affine)
