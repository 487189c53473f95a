"""Affine alignment of images to a template."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.grid import Matrix, resample, smooth_for
from hmopt.data.intensity import normalize, normalized_value
from hmopt.data.volume import Lattice, Volume
from hmopt.errors import DataError

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MINIMUM_LENGTH = 4
_BINS = 32
_COARSEST_LENGTH = 16
_FINEST_LENGTH = 96
_SAMPLES = 30_000


def find_alignment(
    image: Volume, template: Volume, seed: int = 0, background: float | None = None
) -> Matrix:
    """Give the affine that brings a template's places to the same places of an image.

    Starts from the headers, the centres of the boxes or the centres of mass, whichever agrees best, and maximizes
    mutual information over three resolutions, the finest of at most 96 voxels along an axis. Where that ends worse
    than it began, the beginning is given.

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
    Mattes et al., IEEE TMI 22(1):120-128, 2003: the mutual information that is maximized.
    """
    for volume in (image, template):
        _check_volume(volume)
    image, template = _coarsened(image, background), _coarsened(template, background)
    fixed = _to_itk(template)
    starts = [
        _shift(np.zeros(3), fixed),
        _shift(image.lattice.centre_mm - template.lattice.centre_mm, fixed),
        _shift(_mass_centre(image) - _mass_centre(template), fixed),
    ]
    with _single_thread():
        start, end = _optimize(fixed, _to_itk(image), starts, seed)
    before, after = (
        agreement_after(image, template, matrix, background) for matrix in (start, end)
    )
    return end if after > before else start


def agreement_after(
    image: Volume, template: Volume, matrix: Matrix, background: float | None = None
) -> float:
    """Give the normalized mutual information of a template and an image brought to its grid, in [1, 2].

    Parameters
    ----------
    matrix
        (4, 4): world of the template to world of the image.
    background
        Intensity outside the image; None: its minimum.
    """
    from skimage.metrics import normalized_mutual_information

    grid = np.linalg.inv(image.lattice.affine) @ matrix @ template.lattice.affine
    normalized = normalize(image.data, "percentile")
    outside = 0.0 if background is None else normalized_value(background, image.data, "percentile")
    moved = resample(normalized, grid, template.lattice.shape, order=1, outside=outside)
    return float(
        normalized_mutual_information(normalize(template.data, "percentile"), moved, bins=_BINS)
    )


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
    # sums over threads differ in their last bits from run to run, and a method's own number of threads does not
    # reach its metric
    import SimpleITK as sitk

    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _optimize(fixed: Any, moving: Any, starts: list[Any], seed: int) -> tuple[Matrix, Matrix]:
    import SimpleITK as sitk

    method = _method(fixed, seed)
    values = []
    for start in starts:
        method.SetInitialTransform(start)
        values.append(_evaluate(method, fixed, moving))
    best = starts[int(np.argmin(values))]
    transform = sitk.AffineTransform(best)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return _matrix(best), _matrix(transform)


def _coarsened(volume: Volume, background: float | None) -> Volume:
    factor = -(-max(volume.lattice.shape) // _FINEST_LENGTH)
    if factor == 1:
        return volume
    x, y, z = (max(_MINIMUM_LENGTH, length // factor) for length in volume.lattice.shape)
    shape = (x, y, z)
    steps = np.minimum(factor, (np.array(volume.lattice.shape) - 1) / (np.array(shape) - 1))
    grid = np.diag([*steps, 1.0])
    grid[:3, 3] = (np.array(volume.lattice.shape) - 1 - steps * (np.array(shape) - 1)) / 2
    outside = float(volume.data.min()) if background is None else background
    data = resample(smooth_for(volume.data, grid, 3), grid, shape, order=1, outside=outside)
    return Volume(data=data, lattice=Lattice(shape=shape, affine=volume.lattice.affine @ grid))


def _method(fixed: Any, seed: int) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    coarsest = max(1, min(4, min(fixed.GetSize()) // _COARSEST_LENGTH))
    factors = [coarsest, min(2, coarsest), 1]
    shares = [min(1.0, _SAMPLES * factor**3 / fixed.GetNumberOfPixels()) for factor in factors]
    method.SetMetricSamplingPercentagePerLevel(shares, seed + 1)  # 0 would take the clock
    method.SetInterpolator(sitk.sitkLinear)
    # stopped at a step of 1e-3, or relaxed faster, it leaves a known affine of an ellipsoid half a voxel short
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
    import SimpleITK as sitk

    affine = _RAS_TO_LPS @ volume.lattice.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(normalize(volume.data, "percentile").T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def _shift(translation_ras: NDArray[np.float64], fixed: Any) -> Any:
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetTranslation((_RAS_TO_LPS[:3, :3] @ translation_ras).tolist())
    transform.SetCenter(
        fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    )
    return transform


def _matrix(transform: Any) -> Matrix:
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, translation = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + centre - linear @ centre
    return np.asarray(_RAS_TO_LPS @ matrix @ _RAS_TO_LPS)


def _mass_centre(volume: Volume) -> NDArray[np.float64]:
    from scipy.ndimage import center_of_mass

    weights = normalize(volume.data, "percentile")
    if not weights.any():
        return volume.lattice.centre_mm
    return np.asarray((volume.lattice.affine @ [*center_of_mass(weights), 1])[:3])
