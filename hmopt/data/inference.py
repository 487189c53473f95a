"""Which subjects and slices a study should use, inferred from what its cohort looks like."""

import numpy as np
from numpy.typing import NDArray

from hmopt.data.grid import ras_frame
from hmopt.data.inspection import Inspection
from hmopt.declaration import SliceOptions, SplitOptions
from hmopt.errors import DataError

_SHARES = {"tune": 0.1, "search": 0.3}
_FEWEST_ON_A_SIDE = 2


def infer_split(inspection: Inspection, seed: int = 0) -> SplitOptions:
    """Give a split with about 60 % of the subjects to train, 10 % to tune and 30 % to search.

    Subjects with several images are searched where they are few, because pairs within a subject need them there.

    Raises
    ------
    DataError
        If there are too few subjects to make pairs on each side.
    """
    subjects = inspection.subjects
    repeated = [subject for subject, count in subjects.items() if count > 1]
    if len(subjects) < 3 * _FEWEST_ON_A_SIDE:
        raise DataError(
            "cohort",
            expected=f"at least {3 * _FEWEST_ON_A_SIDE} subjects, to train, tune and search on different ones",
            got=len(subjects),
            advice="Add subjects.",
        )
    tune, search = (
        max(_FEWEST_ON_A_SIDE, round(share * len(subjects))) for share in _SHARES.values()
    )
    train = len(subjects) - tune - search
    if not 0 < len(repeated) <= len(subjects) // 2:
        return SplitOptions(train=train, tune=tune, search=search, seed=seed)
    single = [subject for subject in subjects if subject not in repeated]
    shuffled = [names[i] for names in (repeated, single) for i in _order(len(names), seed)]
    return SplitOptions(train=train, tune=tune, search=sorted(shuffled[:search]), seed=seed)


def infer_slices(inspection: Inspection, axis: int) -> SliceOptions | None:
    """Give the slices across an axis that show structures in most images, and to search on, the one with most of them.

    Returns
    -------
    SliceOptions or None
        None where images have a single slice.
    """
    if inspection.shapes[:, axis].max() == 1:
        return None
    if inspection.best_placement == "header":
        structures = _structures_by_place(inspection, axis)
    else:
        fewest = int(inspection.shapes[:, axis].min())
        structures = np.array(
            [scan.structures_per_slice[axis][:fewest] for scan in inspection.scans]
        )
    mean = structures.mean(axis=0)
    indices = np.flatnonzero((structures > 0).mean(axis=0) >= 0.5)
    indices = indices if len(indices) else np.array([mean.argmax()])
    return SliceOptions(axis=axis, indices=indices.tolist(), search_indices=[int(mean.argmax())])


def _structures_by_place(inspection: Inspection, axis: int) -> NDArray[np.int64]:
    """Give (images, slices): how many structures each image has at the place of a slice of the common lattice.

    Slices that not all images have are left without structures, so that none of them is taken.
    """
    common = ras_frame(inspection.lattice, inspection.axes)
    found = np.zeros((len(inspection.scans), common.shape[axis]), dtype=np.int64)
    covered = np.ones(common.shape[axis], dtype=bool)
    middle = (np.array(common.shape) - 1) / 2
    for row, scan in enumerate(inspection.scans):
        to_scan = np.linalg.inv(ras_frame(scan.lattice, inspection.axes).to_world) @ common.to_world
        counts = scan.structures_per_slice[axis]
        for index in range(common.shape[axis]):
            place = np.array([*middle, 1.0])
            place[axis] = index
            own = round(float((to_scan @ place)[axis]))
            if 0 <= own < len(counts):
                found[row, index] = counts[own]
            else:
                covered[index] = False
    found[:, ~covered] = 0
    return found


def _order(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)
