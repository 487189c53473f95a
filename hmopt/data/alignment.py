"""Affine alignment of images to a template, and the choice of that template."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.grid import Matrix, resample, smooth_for
from hmopt.data.volume import Lattice, Volume, normalize, normalized_value, read_image
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MINIMUM_LENGTH = 4
_BINS = 32
_COARSEST_LENGTH = 16
_FINEST_LENGTH = 96
_SAMPLES = 30_000
_CANDIDATES = 5
_OTHERS = 5


def find_alignment(
    image: Volume, template: Volume, seed: int = 0, background: float | None = None
) -> Matrix:
    """Return the affine that brings a template's places to the same places of an image.

    1. Both are coarsened to at most 96 voxels along an axis.
    2. Three translations are tried: none (headers), between the centres of the boxes, and between
       the centres of mass. The one of the highest mutual information is the start.
    3. All twelve parameters are optimized by gradient descent, over three resolutions.
    4. The result is the end of that, or the start, whichever has the higher normalized mutual
       information over all voxels: the optimizer sees a sample of them only.

    Parameters
    ----------
    image, template
        Volumes of at least 4 voxels along each axis.
    seed
        Of the voxels that are sampled; the same seed gives the same affine, bit for bit.
    background
        Intensity outside the image and the template; None: the minimum of each.

    Returns
    -------
    NDArray
        (4, 4): world of the template to world of the image, in mm.

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
    for volume in (image, template):
        _check_volume(volume)
    image = _coarsened(image, background)
    template = _coarsened(template, background)
    fixed = _to_itk(template)
    moving = _to_itk(image)
    between_boxes = image.lattice.centre_mm - template.lattice.centre_mm
    between_masses = _mass_centre(image) - _mass_centre(template)
    starts = [
        _translation(np.zeros(3), fixed),
        _translation(between_boxes, fixed),
        _translation(between_masses, fixed),
    ]
    with _single_thread():
        start, end = _optimize(fixed, moving, starts, seed)
    before = agreement_after(image, template, start, background)
    after = agreement_after(image, template, end, background)
    return end if after > before else start


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


def choose_template(images: pd.DataFrame, seed: int = 0, track: Track = silent) -> Path:
    """Return the image to which others align best, by mean normalized mutual information.

    A few random candidates are tried, each with the same few random others.
    """
    files = images["image"].tolist()
    order = np.random.default_rng(seed).permutation(len(files))
    drawn = order[: _CANDIDATES + _OTHERS]
    paths = [Path(files[row]) for row in drawn]
    if len(paths) == 1:
        return paths[0]
    candidates = paths[:_CANDIDATES]
    others = paths[-_OTHERS:]
    tried = track(candidates, "Choosing a template", len(candidates))
    scores = [_mean_agreement(candidate, others) for candidate in tried]
    return candidates[int(np.argmax(scores))]


def write_template(
    destination: Path, images: pd.DataFrame, declared: Path | None, track: Track
) -> None:
    """Write a copy of the declared or chosen template, which later images are aligned to."""
    chosen = declared or choose_template(images, track=track)
    template = read_image(chosen)
    image = nibabel.Nifti1Image(template.data, template.lattice.affine)
    nibabel.save(image, destination)


def _mean_agreement(candidate: Path, others: Sequence[Path]) -> float:
    template = read_image(candidate)
    agreements = []
    for other in others:
        if other == candidate:
            continue
        image = read_image(other)
        agreements.append(agreement_after(image, template, find_alignment(image, template)))
    return float(np.mean(agreements))


def _check_volume(volume: Volume) -> None:
    if min(volume.lattice.shape) < _MINIMUM_LENGTH:
        raise DataError(
            "preprocessing.placement",
            expected=f"volumes of at least {_MINIMUM_LENGTH} voxels along each axis",
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


def _optimize(fixed: Any, moving: Any, starts: list[Any], seed: int) -> tuple[Matrix, Matrix]:
    """Return the best of some starts, and what gradient descent makes of it."""
    import SimpleITK as sitk

    method = _method(fixed, seed)
    values = []
    for start in starts:
        method.SetInitialTransform(start)
        values.append(_evaluate(method, fixed, moving))
    lowest = int(np.argmin(values))
    best = starts[lowest]
    transform = sitk.AffineTransform(best)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return _matrix(best), _matrix(transform)


def _method(fixed: Any, seed: int) -> Any:
    """Return the registration method of SimpleITK, whose metric is minus the mutual information."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shortest = min(fixed.GetSize())
    coarsest = shortest // _COARSEST_LENGTH
    coarsest = max(1, min(4, coarsest))
    factors = [coarsest, min(2, coarsest), 1]
    voxels = fixed.GetNumberOfPixels()
    shares = [min(1.0, _SAMPLES * factor**3 / voxels) for factor in factors]
    method.SetMetricSamplingPercentagePerLevel(shares, seed + 1)  # 0 would take the clock
    method.SetInterpolator(sitk.sitkLinear)
    # stopped at a step of 1e-3, or relaxed faster, it leaves a known affine of an ellipsoid half a
    # voxel short
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, relaxationFactor=0.7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


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
