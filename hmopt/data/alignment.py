"""Affine alignment of images to a template."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.grid import Matrix, resample
from hmopt.data.intensity import normalize
from hmopt.data.volume import Volume
from hmopt.errors import DataError

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MINIMUM_LENGTH = 4
_BINS = 32
_COARSEST_LENGTH = 16


def find_alignment(image: Volume, template: Volume, seed: int = 0) -> Matrix:
    """Give the affine that brings a template's places to the same places of an image.

    Starts from the headers, the centres of the boxes or the centres of mass, whichever agrees best, and maximizes
    mutual information over three resolutions. Where that ends worse than it began, the beginning is given.

    Parameters
    ----------
    image, template
        Volumes of at least 4 voxels along each axis.
    seed
        Of the voxels that are sampled; the same seed gives the same affine, bit for bit.

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
    import SimpleITK as sitk

    for volume in (image, template):
        _check_volume(volume)
    fixed, moving = _to_itk(template), _to_itk(image)
    starts = [
        _shift(np.zeros(3), fixed),
        _shift(_box_centre(image) - _box_centre(template), fixed),
        _shift(_mass_centre(image) - _mass_centre(template), fixed),
    ]
    method = _method(fixed, seed)
    values = []
    for start in starts:
        method.SetInitialTransform(start)
        values.append(_evaluate(method, fixed, moving))
    best = starts[int(np.argmin(values))]
    transform = sitk.AffineTransform(best)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    candidates = {key: _matrix(t) for key, t in (("start", best), ("end", transform))}
    agreement = {key: agreement_after(image, template, matrix) for key, matrix in candidates.items()}
    return candidates["end"] if agreement["end"] > agreement["start"] else candidates["start"]


def agreement_after(image: Volume, template: Volume, matrix: Matrix) -> float:
    """Give the normalized mutual information of a template and an image brought to its grid, in [1, 2].

    Parameters
    ----------
    matrix
        (4, 4): world of the template to world of the image.
    """
    from skimage.metrics import normalized_mutual_information

    grid = np.linalg.inv(image.lattice.affine) @ matrix @ template.lattice.affine
    moved = resample(normalize(image.data, "percentile"), grid, template.lattice.shape, order=1, outside=0)
    return float(normalized_mutual_information(normalize(template.data, "percentile"), moved, bins=_BINS))


def _check_volume(volume: Volume) -> None:
    if min(volume.lattice.shape) < _MINIMUM_LENGTH:
        raise DataError(
            "preprocessing.align",
            expected=f"volumes of at least {_MINIMUM_LENGTH} voxels along each axis",
            got=f"shape {volume.lattice.shape}",
            advice='Declare align = "none".',
        )


def _method(fixed: Any, seed: int) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([1.0, 0.5, 0.2], seed + 1)  # 0 would take the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    coarsest = max(1, min(4, min(fixed.GetSize()) // _COARSEST_LENGTH))
    method.SetShrinkFactorsPerLevel([coarsest, min(2, coarsest), 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetNumberOfThreads(1)  # sums over threads differ in their last bits from run to run
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
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    return transform


def _matrix(transform: Any) -> Matrix:
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, translation = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + centre - linear @ centre
    return np.asarray(_RAS_TO_LPS @ matrix @ _RAS_TO_LPS)


def _box_centre(volume: Volume) -> NDArray[np.float64]:
    middle = (np.array(volume.lattice.shape) - 1) / 2
    return np.asarray((volume.lattice.affine @ [*middle, 1])[:3])


def _mass_centre(volume: Volume) -> NDArray[np.float64]:
    from scipy.ndimage import center_of_mass

    weights = normalize(volume.data, "percentile")
    if not weights.any():
        return _box_centre(volume)
    return np.asarray((volume.lattice.affine @ [*center_of_mass(weights), 1])[:3])
