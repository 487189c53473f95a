"""The spread of several transformations between two files, as an image on the fixed one."""

from collections.abc import Iterable

import nibabel
import numpy as np
from nibabel.affines import apply_affine

from hmopt.interop.displacement import FileTransform


def spread_image(
    transforms: Iterable[FileTransform], like: nibabel.Nifti1Image
) -> nibabel.Nifti1Image:
    """Return the spread of where each voxel of the fixed file is mapped to, in mm.

    Of K places x_k of a voxel, √( Σ |x_k - x̄|² / (K - 1) ): of displacements that differ in their
    length alone, the standard deviation of it. 0 where there is a single place, or none: off
    registered slices.

    Parameters
    ----------
    transforms
        From the fixed file; one after the other is read, and none is kept.
    like
        An image on the grid of the fixed file: shape, both forms and their codes are taken.
    """
    count = 0
    mean = np.zeros(1)
    squared = np.zeros(1)
    for transform in transforms:
        places = apply_affine(transform.to.affine_lps, transform.coordinates)
        # Welford's update: Σ |x_k - x̄|² without keeping the places
        count += 1
        if count == 1:
            mean = places
            squared = np.zeros(places.shape[:-1])
            continue
        from_old = places - mean
        mean += from_old / count
        squared += np.einsum("...d,...d->...", from_old, places - mean)
    spread = np.sqrt(squared / max(count - 1, 1))
    values = np.nan_to_num(spread).astype(np.float32).reshape(like.shape)
    image = nibabel.Nifti1Image(values, like.affine, like.header.copy())
    image.header.set_data_dtype(np.float32)
    return image
