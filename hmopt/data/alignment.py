"""Affine alignment of images to a template, and the choice of that template."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.grid import Matrix, ras_frame, resample, smooth_for
from hmopt.data.planar_alignment import affine_from, flat_axis, read_plane, world_matrix
from hmopt.data.planar_alignment import starts as planar_starts
from hmopt.data.volume import Lattice, Volume, normalize, normalized_value, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MINIMUM_LENGTH = 4
_BINS = 32
_COARSEST_LENGTH = 16
_FINEST_LENGTH = 96
_SAMPLES = 12_000
_SHORTEST_STEP = 0.003
_ITERATIONS = 100
_CANDIDATES = 5
_OTHERS = 5
_LARGEST_STRETCH = 3.0
_SAME_PLACE = 1.0
"""In voxels of the template."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How a template lies on an image.

    Parameters
    ----------
    matrix
        (4, 4): world of the template to world of the image, in mm.
    failed
        Whether no affine was found that is better than laying centre on centre, which `matrix`
        does then.
    """

    matrix: Matrix
    failed: bool


def find_alignment(
    image: Volume,
    template: Volume,
    seed: int = 0,
    background: float | None = None,
    axes: Matrix | None = None,
) -> Alignment:
    """Find the affine that brings a template's places to the same places of an image.

    1. Both are coarsened to at most 96 voxels along an axis.
    2. Three translations are tried: none (headers), between the centres of the boxes, and between
       the centres of mass. The one of the highest mutual information is the start.
    3. Rotation and translation are optimized by gradient descent on coarser images, then all
       twelve parameters at the finest resolution.
    4. Of the start and these two results, the one of the highest normalized mutual information
       over all voxels is taken: the optimizer sees a sample of them only.
    5. If a length changes more than threefold, or the normalized mutual information is no higher
       than that of the images laid centre on centre and axis on axis, these stay so. The alignment
       has failed then, unless the two differ by less than a voxel.

    2-D images are moved within their plane: six parameters, at most 256 voxels along an axis, and the
    starts are box on box, turned by up to 30°.

    Parameters
    ----------
    image, template
        Volumes of at least 4 voxels along each axis, or 2-D images of one plane.
    seed
        Of the voxels that are sampled; the same seed gives the same affine, bit for bit.
    background
        Intensity outside the image and the template; None: the minimum of each.
    axes
        (3, 3): what the axes of the images are named after (see `common_axes`); None: the world's.

    Raises
    ------
    DataError
        If one of them is flat.

    References
    ----------
    Mattes et al., IEEE TMI 22(1):120-128, 2003: the mutual information that is maximized,

        I = Σ p(f, m) log(p(f, m) / (p(f) p(m))),

    over 32 x 32 bins of intensities f of the template and m of the image.
    """
    across = flat_axis(template.lattice, axes)
    is_planar = across is not None and flat_axis(image.lattice, axes) == across
    for volume in (image, template):
        _check_volume(volume, is_planar)
    with _single_thread():
        if across is not None and is_planar:
            candidates = _align_planes(image, template, across, seed, background, axes)
        else:
            image = _coarsened(image, background)
            template = _coarsened(template, background)
            candidates = _align_volumes(image, template, seed)
    agreements = [
        agreement_after(image, template, candidate, background) for candidate in candidates
    ]
    highest = int(np.argmax(agreements))
    found = candidates[highest]
    centred = centre_on_centre(image.lattice, template.lattice, axes)
    unaligned = agreement_after(image, template, centred, background)
    if _is_plausible(found) and agreements[highest] > unaligned:
        return Alignment(matrix=found, failed=False)
    differ = _voxels_apart(found, centred, template.lattice) > _SAME_PLACE
    return Alignment(matrix=centred, failed=differ)


def _align_volumes(image: Volume, template: Volume, seed: int) -> list[Matrix]:
    """Return the best start, the rigid transform found from it, and the affine from that."""
    fixed = _to_itk(template)
    moving = _to_itk(image)
    between_boxes = image.lattice.centre_mm - template.lattice.centre_mm
    between_masses = _mass_centre(image) - _mass_centre(template)
    starts = [
        _translation(np.zeros(3), fixed),
        _translation(between_boxes, fixed),
        _translation(between_masses, fixed),
    ]
    return _optimize(fixed, moving, starts, seed)


def _align_planes(
    image: Volume,
    template: Volume,
    across: int,
    seed: int,
    background: float | None,
    axes: Matrix | None,
) -> list[Matrix]:
    """Return the start, the rigid transform and the affine of 2-D images, which are moved within their plane.

    A rigid transform is found from every start, and the affine from the best of these.
    """
    one = read_plane(image, across, background, axes)
    other = read_plane(template, across, background, axes)
    fixed = other.to_itk()
    moving = one.to_itk()
    *coarse, finest = _shrink_factors(min(fixed.GetSize()))
    smooth = [max(1.0, factor / 2) for factor in coarse]
    of_rigid = _method(fixed, coarse, smooth, seed)
    of_affine = _method(fixed, [finest], [0.0], seed)
    unturned, *_ = rigids = planar_starts(one, other)
    found = [world_matrix(unturned, one, other)]
    values = []
    for rigid in rigids:
        # the image may leave the template on the way
        with suppress(RuntimeError):
            of_rigid.SetInitialTransform(rigid, inPlace=True)
            of_rigid.Execute(fixed, moving)
        of_affine.SetInitialTransform(affine_from(rigid))
        values.append(_evaluate(of_affine, fixed, moving))
    best = rigids[int(np.argmin(values))]
    found.append(world_matrix(best, one, other))
    affine = affine_from(best)
    with suppress(RuntimeError):
        of_affine.SetInitialTransform(affine, inPlace=True)
        of_affine.Execute(fixed, moving)
        found.append(world_matrix(affine, one, other))
    return found


def centre_on_centre(image: Lattice, template: Lattice, axes: Matrix | None = None) -> Matrix:
    """Return world of a template to world of an image, which brings centres and axes together.

    With M and F from the boxes' own coordinates, in mm from their centres, to the world, it is
    M F⁻¹.

    Parameters
    ----------
    image, template
        Where their voxels are.
    axes
        (3, 3): what their axes are named after (see `common_axes`); None: the world's.
    """
    from_image = _box_to_world(image, axes)
    from_template = _box_to_world(template, axes)
    return from_image @ np.linalg.inv(from_template)


def agreement_after(
    image: Volume, template: Volume, matrix: Matrix, background: float | None = None
) -> float:
    """Return the normalized mutual information of a template and an image on its grid, in [1, 2].

    Parameters
    ----------
    image, template
        Volumes.
    matrix
        (4, 4): world of the template to world of the image.
    background
        Intensity outside the image; None: its minimum.
    """
    from skimage.metrics import normalized_mutual_information

    grid = np.linalg.inv(image.lattice.affine) @ matrix @ template.lattice.affine
    outside = 0.0
    if background is not None:
        outside = normalized_value(background, image.data, "percentile")
    normalized = normalize(image.data, "percentile")
    shape = template.lattice.shape
    moved = resample(normalized, grid, shape, order=1, outside=outside)
    fixed = normalize(template.data, "percentile")
    return float(normalized_mutual_information(fixed, moved, bins=_BINS))


def resolve_template(
    options: PreprocessingOptions, images: pd.DataFrame, folder: Path | None = None
) -> Path | None:
    """Return the file of the declared template; None where none is declared or needed.

    Parameters
    ----------
    options
        The declared preprocessing.
    images
        As of `list_images`.
    folder
        The study folder, in which a file of that name is looked for first.

    Raises
    ------
    DataError
        If it is neither the name of an image nor a file.
    """
    if options.placement == "centre" or options.template is None:
        return None
    if options.template in images.index:
        return Path(str(images.loc[options.template, "image"]))
    path = Path(options.template)
    if folder is not None and (folder / path).is_file():
        return folder / path
    if not path.is_file():
        raise DataError(
            "preprocessing.template",
            expected="the name of an image of the cohort, or a file",
            got=repr(options.template),
            advice="Correct it or leave it out.",
        )
    return path


def choose_template(
    images: pd.DataFrame,
    background: float | None = None,
    axes: Matrix | None = None,
    seed: int = 0,
    track: Track = silent,
) -> Path:
    """Return the image to which others align best, by mean normalized mutual information.

    A few random candidates are tried, each with the same few random others. Scans of the candidate's
    own subject are not counted unless there are no others: they agree with it whatever it is like.

    Parameters
    ----------
    images
        Columns `image` and `subject`.
    background, axes
        As of `find_alignment`.
    seed
        Of the images that are tried.
    track
        Shows how far it is.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    drawn = images.iloc[order[: _CANDIDATES + _OTHERS]]
    if len(drawn) == 1:
        return Path(drawn["image"].iloc[0])
    others = drawn.iloc[-_OTHERS:]
    candidates = [Path(path) for path in drawn["image"].iloc[:_CANDIDATES]]
    subjects = drawn["subject"].iloc[:_CANDIDATES]
    scores = []
    for candidate, subject in track(
        list(zip(candidates, subjects, strict=True)), "Choosing a template", len(candidates)
    ):
        of_others = others["image"][others["subject"] != subject]
        beside = of_others if len(of_others) else others["image"]
        paths = [Path(path) for path in beside if Path(path) != candidate]
        scores.append(_mean_agreement(candidate, paths, background, axes))
    return candidates[int(np.argmax(scores))]


def write_template(
    destination: Path,
    images: pd.DataFrame,
    declared: Path | None,
    background: float | None,
    axes: Matrix | None,
    track: Track,
) -> None:
    """Write a copy of the declared or chosen template, which later images are aligned to."""
    chosen = declared or choose_template(images, background, axes, track=track)
    template = read_image(chosen)
    image = nibabel.Nifti1Image(template.data, template.lattice.affine)
    nibabel.save(image, destination)


def _mean_agreement(
    candidate: Path, others: Sequence[Path], background: float | None, axes: Matrix | None
) -> float:
    template = read_image(candidate)
    agreements = []
    for other in others:
        image = read_image(other)
        matrix = find_alignment(image, template, background=background, axes=axes).matrix
        agreements.append(agreement_after(image, template, matrix, background))
    return float(np.mean(agreements))


def _box_to_world(lattice: Lattice, axes: Matrix | None) -> Matrix:
    frame = ras_frame(lattice, axes)
    directions = frame.to_world[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = directions / lengths
    matrix[:3, 3] = lattice.centre_mm
    return matrix


def _is_plausible(matrix: Matrix) -> bool:
    """Return whether an affine mirrors nothing and changes no length more than threefold."""
    linear = matrix[:3, :3]
    if not np.isfinite(linear).all() or np.linalg.det(linear) <= 0:
        return False
    stretches = np.linalg.svd(linear, compute_uv=False)
    largest = max(stretches.max(), 1 / stretches.min())
    return bool(largest <= _LARGEST_STRETCH)


def _voxels_apart(one: Matrix, other: Matrix, template: Lattice) -> float:
    """Return the largest distance of the corners of a template's box under two affines, in voxels."""
    corners = np.ones((4, 8))
    corners[:3] = np.indices((2, 2, 2)).reshape(3, 8)
    corners[:3] *= np.array(template.shape)[:, None] - 1
    apart_mm = ((one - other) @ template.affine @ corners)[:3]
    voxel_mm = np.linalg.norm(template.affine[:3, :3], axis=0).min()
    return float(np.linalg.norm(apart_mm, axis=0).max() / voxel_mm)


def _check_volume(volume: Volume, is_planar: bool) -> None:
    sides = sorted(volume.lattice.shape)
    # of a plane, the axis of one voxel does not count
    shortest = sides[1] if is_planar else sides[0]
    if shortest < _MINIMUM_LENGTH:
        raise DataError(
            "preprocessing.placement",
            expected=f"volumes, or images of one plane, of at least {_MINIMUM_LENGTH} voxels along each axis",
            got=f"shape {volume.lattice.shape}",
            advice='Declare placement = "header" or "centre".',
        )


@contextmanager
def _single_thread() -> Iterator[None]:
    # sums over threads differ in their last bits from run to run, and a method's own number of
    # threads does not reach its metric
    import SimpleITK as sitk

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _coarsened(volume: Volume, background: float | None) -> Volume:
    """Return a volume on every second, third, … voxel, of at most 96 along an axis.

    Along an axis of N voxels, n = N // factor are kept, with steps of `factor` or, where 4 voxels
    need shorter ones, of (N - 1) / (n - 1), centred on the axis.
    """
    lengths = np.array(volume.lattice.shape)
    longest = int(lengths.max())
    factor = math.ceil(longest / _FINEST_LENGTH)
    if factor == 1:
        return volume
    kept = lengths // factor
    kept = np.maximum(_MINIMUM_LENGTH, kept)
    whole_steps = (lengths - 1) / (kept - 1)
    steps = np.minimum(factor, whole_steps)
    margin = lengths - 1 - steps * (kept - 1)
    grid = np.diag([*steps, 1.0])
    grid[:3, 3] = margin / 2
    outside = float(volume.data.min()) if background is None else background
    x, y, z = kept.tolist()
    smooth = smooth_for(volume.data, grid, 3)
    data = resample(smooth, grid, (x, y, z), order=1, outside=outside)
    lattice = Lattice(shape=(x, y, z), affine=volume.lattice.affine @ grid)
    return Volume(data=data, lattice=lattice)


def _optimize(fixed: Any, moving: Any, starts: list[Any], seed: int) -> list[Matrix]:
    """Return the best of some starts, the rigid transform found from it, and the affine from that.

    Twelve parameters at once are led astray: a stretch along oblique axes does some of what a
    rotation should. The rotation is found first, where images are coarse.
    """
    import SimpleITK as sitk

    *coarse, finest = _shrink_factors(min(fixed.GetSize()))
    smooth = [max(1.0, factor / 2) for factor in coarse]
    of_rigid = _method(fixed, coarse, smooth, seed)
    of_affine = _method(fixed, [finest], [0.0], seed)
    values = []
    for start in starts:
        of_affine.SetInitialTransform(start)
        values.append(_evaluate(of_affine, fixed, moving))
    lowest = int(np.argmin(values))
    best = starts[lowest]
    found = [_matrix(best)]

    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(best.GetCenter())
    rigid.SetTranslation(best.GetTranslation())
    affine = sitk.AffineTransform(3)
    affine.SetCenter(best.GetCenter())
    try:
        of_rigid.SetInitialTransform(rigid, inPlace=True)
        of_rigid.Execute(fixed, moving)
        found.append(_matrix(rigid))
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        of_affine.SetInitialTransform(affine, inPlace=True)
        of_affine.Execute(fixed, moving)
        found.append(_matrix(affine))
    except RuntimeError:  # the image left the template on the way
        pass
    return found


def _method(fixed: Any, factors: list[int], sigmas: list[float], seed: int) -> Any:
    """Return the registration method of SimpleITK, whose metric is minus the mutual information."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    voxels = fixed.GetNumberOfPixels()
    dimensions = fixed.GetDimension()
    shares = [min(1.0, _SAMPLES * factor**dimensions / voxels) for factor in factors]
    method.SetMetricSamplingPercentagePerLevel(shares, seed + 1)  # 0 would take the clock
    # the fixed image's gradient is not needed, and would be filtered at each resolution
    method.MetricUseFixedImageGradientFilterOff()
    method.SetInterpolator(sitk.sitkLinear)
    # Steps are lengths in mm: one voxel at first, shorter whenever the gradient turns. A small
    # gradient does not end it, as it may be small far from the optimum.
    voxel_mm = min(fixed.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel_mm,
        minStep=_SHORTEST_STEP * voxel_mm,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel(sigmas)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _shrink_factors(shortest: int) -> list[int]:
    """Return the factors by which a template is coarsened, of a given shortest side.

    The last is 1; before it come 4 and 2, where 16 voxels are left, or else 1.
    """
    coarser = [factor for factor in (4, 2) if shortest // factor >= _COARSEST_LENGTH]
    return [*(coarser or [1]), 1]


def _evaluate(method: Any, fixed: Any, moving: Any) -> float:
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # a start so far off that no sample lies inside the image
        return np.inf


def _to_itk(volume: Volume) -> Any:
    """Return a normalized volume as an image of SimpleITK, whose world is LPS."""
    import SimpleITK as sitk

    affine = _RAS_TO_LPS @ volume.lattice.affine
    origin = affine[:3, 3]
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    direction = axes / spacing
    intensities = normalize(volume.data, "percentile")
    zyx = np.ascontiguousarray(intensities.T)
    image = sitk.GetImageFromArray(zyx)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def _translation(translation_ras: NDArray[np.float64], fixed: Any) -> Any:
    """Return a translation as an affine of SimpleITK, whose centre is that of the fixed image."""
    import SimpleITK as sitk

    translation_lps = _RAS_TO_LPS[:3, :3] @ translation_ras
    middle = [(length - 1) / 2 for length in fixed.GetSize()]
    transform = sitk.AffineTransform(3)
    transform.SetTranslation(translation_lps.tolist())
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(middle))
    return transform


def _matrix(transform: Any) -> Matrix:
    """Return an affine of SimpleITK, x → A (x - c) + c + t in LPS, as a (4, 4) matrix in RAS."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    translation = np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + centre - linear @ centre
    return np.asarray(_RAS_TO_LPS @ matrix @ _RAS_TO_LPS)


def _mass_centre(volume: Volume) -> NDArray[np.float64]:
    """Return the place of the centre of mass, in mm; of a flat image the centre of its box."""
    from scipy.ndimage import center_of_mass

    weights = normalize(volume.data, "percentile")
    if not weights.any():
        return volume.lattice.centre_mm
    voxel = center_of_mass(weights)
    place: NDArray[np.float64] = volume.lattice.affine @ [*voxel, 1]
    return place[:3]
