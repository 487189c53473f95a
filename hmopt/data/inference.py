"""A declaration that fits a cohort, inferred from what it looks like."""

import numpy as np
from numpy.typing import NDArray

from hmopt.data.inspection import Inspection
from hmopt.declaration import PairsSection, PreprocessingSection, SliceSection, SplitSection
from hmopt.errors import DataError

_MARGIN = 1.5
_NEARLY_ALL = 95
_SHARES = {"tune": 0.1, "search": 0.3}


def infer_preprocessing(inspection: Inspection, stride: int) -> PreprocessingSection:
    """Give the preprocessing that suits a cohort.

    The shape is that of nearly all images, or half as much again as their labelled regions where that is less. The
    spacing is declared where images differ in it. Few or thick slices make a 2-D cohort.

    Parameters
    ----------
    inspection
        Facts of the cohort.
    stride
        The network's coarsest stride: what each number of the shape is a multiple of.
    """
    axis = inspection.slice_axis
    used = [a for a in range(3) if a != axis]
    spacing = np.median(inspection.spacings_mm, axis=0)
    ratio = inspection.spacings_mm / (inspection.spacings_mm if inspection.same_spacing else spacing)
    whole = np.percentile(inspection.shapes * ratio, _NEARLY_ALL, axis=0)
    labelled = np.max([scan.reach for scan in inspection.scans] * ratio, axis=0)
    lengths = np.minimum(whole, _MARGIN * labelled)[used]
    return PreprocessingSection(
        shape=[stride * int(np.ceil(round(length, 6) / stride)) for length in lengths.tolist()],
        spacing_mm=None if inspection.same_spacing else [float(f"{value:.3g}") for value in spacing[used]],
        slices=None if axis is None else _infer_slices(inspection, axis),
        align="affine" if axis is None and not inspection.roughly_aligned else "none",
    )


def infer_split(inspection: Inspection, seed: int = 0) -> SplitSection:
    """Give a split with about 60 % of the subjects to train, 10 % to tune and 30 % to search.

    Subjects with several images are searched where they are few, because pairs within a subject need them there.

    Raises
    ------
    DataError
        If there are too few subjects to make pairs on each side.
    """
    subjects = inspection.subjects
    repeated = [subject for subject, count in subjects.items() if count > 1]
    least = 1 if len(repeated) == len(subjects) else 2
    if len(subjects) < 3 * least:
        raise DataError(
            "cohort",
            expected=f"at least {3 * least} subjects, to train, tune and search on different ones",
            got=len(subjects),
            advice="Add subjects.",
        )
    tune, search = (max(least, round(share * len(subjects))) for share in _SHARES.values())
    train = len(subjects) - tune - search
    if not 0 < len(repeated) <= len(subjects) // 2:
        return SplitSection(train=train, tune=tune, search=search, seed=seed)
    single = [subject for subject in subjects if subject not in repeated]
    shuffled = [names[i] for names in (repeated, single) for i in _order(len(names), seed)]
    return SplitSection(train=train, tune=tune, search=sorted(shuffled[:search]), seed=seed)


def infer_pairs(inspection: Inspection) -> PairsSection:
    """Give the kinds of pairs that a cohort allows: across subjects, and within where some have several images."""
    counts = inspection.pairs
    several = len(inspection.subjects) >= 6
    kinds: list[str] = ["cross"] * (several or not counts["within"]) + ["within"] * bool(counts["within"])
    return PairsSection.model_validate({"kinds": kinds})


def prepared_bytes(inspection: Inspection, section: PreprocessingSection) -> int:
    """Give how much disk the prepared cohort takes."""
    items = len(inspection.scans) * (len(section.slices.indices) if section.slices else 1)
    label_bytes = 1 if len(inspection.cohort.structures) <= 255 else 2
    return items * (int(np.prod(section.shape)) * (4 + label_bytes) + 16 * 8)


def _infer_slices(inspection: Inspection, axis: int) -> SliceSection | None:
    fewest = int(inspection.shapes[:, axis].min())
    if inspection.shapes[:, axis].max() == 1:
        return None
    structures = np.array([scan.structures_per_slice[axis][:fewest] for scan in inspection.scans])
    mean = structures.mean(axis=0)
    indices = np.flatnonzero((structures > 0).mean(axis=0) >= 0.5)
    indices = indices if len(indices) else np.array([mean.argmax()])
    return SliceSection(axis=axis, indices=indices.tolist(), search_indices=[int(mean.argmax())])


def _order(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)
