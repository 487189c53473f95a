"""Where the structures of a pair are: what the weights of a composed velocity are made from.

Three kinds, by what is known of the pair:

=============  ============================================================================
kind           needs
=============  ============================================================================
`frequency`    nothing: how often training subjects have each structure at a voxel
`fixed`        a label map of the fixed image
`moving`       a label map of the moving image, which is moved by the common setting's field
=============  ============================================================================

To add a kind, derive from `StructureMaps` and write three members: `kind`, `identity` and `shares`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from torch import Tensor

from hmopt.array_files import ArrayRule, read_npz
from hmopt.data.prepared import PreparedCohort
from hmopt.errors import DataError
from hmopt.files import checked, content_hash, one_line, replacing
from hmopt.records import MapKind
from hmopt.schemas import Record
from hmopt.spatial import blending_weights, coarsen, label_tensor, warp
from hmopt.spatial.blending import NEAR

WIDTH = 2.0
"""Standard deviation of the Gaussian that smooths maps, in voxels of the images, unless another is given."""

AT_ONCE = 8
"""Structures whose masks are in memory at a time."""

ADVICE = "Run `hmopt search --per-structure` again."


@dataclass(frozen=True, kw_only=True)
class Located:
    """What maps of a batch of n pairs can be made from.

    Parameters
    ----------
    slices
        Which slice each fixed image is; -1: none, a volume or an image of one plane.
    displacement
        Returns the displacement at the common setting, (n, d, *shape), in voxels.
    moving_labels, fixed_labels
        (n, *shape), 0 background and k + 1 the k-th structure; None where there are none.
    """

    slices: tuple[int, ...]
    displacement: Callable[[], Tensor]
    moving_labels: Tensor | None = None
    fixed_labels: Tensor | None = None


class StructureMaps(ABC):
    """Shares of structures at each voxel, and the weights that follow from them.

    Parameters
    ----------
    labels
        Names of the structures, in the order of the label maps.
    width
        Standard deviation of the Gaussian that smooths them, in voxels of the images.
    """

    def __init__(self, labels: Sequence[str], width: float = WIDTH) -> None:
        if not 0 <= width < np.inf:
            raise DataError("width", expected="voxels, at least 0", got=width, advice="Correct it.")
        self.labels = tuple(labels)
        self.width = float(width)

    @property
    @abstractmethod
    def kind(self) -> MapKind:
        """Its name in files and options."""

    @property
    def identity(self) -> str:
        """Hash of all that decides the weights of given pairs."""
        return content_hash(self.kind, list(self.labels), self.width, NEAR, "by volume")

    @abstractmethod
    def shares(self, located: Located, stride: int) -> Tensor:
        """Return how much of each voxel belongs to each structure.

        Parameters
        ----------
        located
            A batch of n pairs.
        stride
            Image voxels to a voxel of the velocity.

        Returns
        -------
        Tensor
            (n or 1, structures, *shape / stride), at least 0 and together at most 1.
        """

    def weights(self, located: Located, stride: int) -> Tensor:
        """Return how much the velocity of each structure counts: (n or 1, structures, *shape / stride)."""
        shares = self.shares(located, stride)
        return blending_weights(shares, self.width / stride)


class FixedMaps(StructureMaps):
    """The label maps of the fixed images."""

    @property
    def kind(self) -> MapKind:
        """`fixed`."""
        return "fixed"

    def shares(self, located: Located, stride: int) -> Tensor:
        """Return the label maps of the fixed images, a channel for each structure."""
        masks = _masks(located.fixed_labels, "fixed", len(self.labels))
        return _coarse(masks, stride)


class MovingMaps(StructureMaps):
    """The label maps of the moving images, moved at the common setting."""

    @property
    def kind(self) -> MapKind:
        """`moving`."""
        return "moving"

    def shares(self, located: Located, stride: int) -> Tensor:
        """Return the moved label maps, a channel for each structure, interpolated linearly."""
        masks = _masks(located.moving_labels, "moving", len(self.labels))
        displacement = located.displacement()
        moved = (warp(some, displacement) for some in masks)
        return _coarse(moved, stride)


def _masks(label_maps: Tensor | None, side: str, structures: int) -> Iterator[Tensor]:
    """Yield the masks of some structures at a time, (n, some, *shape); all at once could fill the memory."""
    if label_maps is None:
        raise DataError(
            f"labels of the {side} image",
            expected=f"a label map, from which maps of kind `{side}` are made",
            got="none",
            advice=f"Give --{side}-labels, or use other maps.",
        )
    for start in range(0, structures, AT_ONCE):
        end = min(start + AT_ONCE, structures)
        numbers = torch.arange(start + 1, end + 1, device=label_maps.device)
        ones = [1] * (label_maps.dim() - 1)
        is_structure = label_maps.unsqueeze(1) == numbers.view(1, -1, *ones)
        yield is_structure.float()


def _coarse(masks: Iterable[Tensor], stride: int) -> Tensor:
    """Return the shares of all structures on the grid of the velocity."""
    return torch.cat([coarsen(some, stride) for some in masks], dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frequencies:
    """How often subjects have each structure at each voxel, on the grid of the velocity.

    Parameters
    ----------
    shares
        (slices, structures, *shape / stride), float32.
    slices
        Which slice each of them is; -1 alone where images are not slices of volumes.
    labels
        Names of the structures.
    stride
        Image voxels to a voxel of this grid.
    subjects
        Number of subjects that they are a mean over.
    codes
        By structure: its codes in label maps as they are on disk.
    """

    shares: NDArray[np.float32]
    slices: tuple[int, ...]
    labels: tuple[str, ...]
    stride: int
    subjects: int
    codes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """Hash of the shares and what they are of."""
        content = np.ascontiguousarray(self.shares).data
        digest = hashlib.sha256(content).hexdigest()
        return content_hash(digest, list(self.slices), list(self.labels), self.stride)


class FrequencyMaps(StructureMaps):
    """How often the training subjects have each structure at a voxel: the same for all pairs.

    Good where images lie on each other before registration, as after affine alignment.

    Parameters
    ----------
    frequencies
        Of the training subjects.
    width
        Standard deviation of the Gaussian that smooths them, in voxels of the images.
    """

    def __init__(self, frequencies: Frequencies, width: float = WIDTH) -> None:
        super().__init__(frequencies.labels, width)
        if not frequencies.subjects:
            raise DataError(
                "split.train",
                expected="training subjects whose label maps tell where structures are",
                got="none",
                advice="Use maps of the fixed or the moving image (search: --maps, register: --fixed-labels).",
            )
        self.frequencies = frequencies

    @property
    def kind(self) -> MapKind:
        """`frequency`."""
        return "frequency"

    @property
    def identity(self) -> str:
        """Hash of the frequencies and the width."""
        return content_hash(super().identity, self.frequencies.identity)

    def shares(self, located: Located, stride: int) -> Tensor:
        """Return the frequencies on the slice of each fixed image; one for all where all are of one."""
        frequencies = self.frequencies
        known = frequencies.slices
        missing = [number for number in located.slices if number not in known]
        if missing or stride != frequencies.stride:
            raise DataError(
                "structure maps",
                expected=f"slices {', '.join(map(str, known))} on a grid of stride {frequencies.stride}",
                got=f"slices {', '.join(map(str, located.slices))} on one of stride {stride}",
                advice=ADVICE,
            )
        numbers = list(dict.fromkeys(located.slices))
        wanted = numbers if len(numbers) == 1 else list(located.slices)
        places = [known.index(number) for number in wanted]
        return torch.from_numpy(frequencies.shares[places])


def find_frequencies(cohort: PreparedCohort, stride: int, split: str = "train") -> Frequencies:
    """Return how often the subjects of a split have each structure at each voxel.

    Each subject counts once, by the mean over its images.

    Parameters
    ----------
    cohort
        Holds the label maps.
    stride
        Image voxels to a voxel of the velocity.
    split
        Whose subjects.
    """
    table = cohort.images
    of_split = table[table["split"] == split]
    slices = sorted({int(number) for number in table["slice"]})
    subjects = sorted(set(of_split["subject"]))
    grid = [side // stride for side in cohort.shape]
    structures = len(cohort.labels)
    total = np.zeros((len(slices), structures, *grid))
    for row, number in enumerate(slices):
        of_slice = of_split[of_split["slice"] == number]
        for subject in subjects:
            names = of_slice.index[of_slice["subject"] == subject]
            for name in names:
                label_map = label_tensor([cohort.label_map(name)])
                masks = _masks(label_map, "fixed", structures)
                of_image = _coarse(masks, stride)[0]
                total[row] += of_image.numpy() / len(names)
    shares = total / max(len(subjects), 1)
    return Frequencies(
        shares=shares.astype(np.float32),
        slices=tuple(slices),
        labels=cohort.labels,
        stride=stride,
        subjects=len(subjects),
        codes=cohort.codes,
    )


def write_frequencies(path: Path, frequencies: Frequencies) -> None:
    """Write frequencies as a compressed npz, whole or not at all."""
    facts = {
        "labels": list(frequencies.labels),
        "stride": frequencies.stride,
        "subjects": frequencies.subjects,
        "codes": {name: list(codes) for name, codes in frequencies.codes.items()},
        "identity": frequencies.identity,
    }
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            shares=frequencies.shares,
            slices=np.array(frequencies.slices),
            facts=np.array(json.dumps(facts, ensure_ascii=False)),
        )


class _Facts(Record):
    """What a file of frequencies says of them."""

    model_config = ConfigDict(extra="forbid")

    labels: Annotated[list[str], Field(min_length=1)]
    stride: Annotated[int, Field(ge=1, le=16, strict=True)]
    subjects: Annotated[int, Field(ge=0, strict=True)]
    codes: dict[str, list[Annotated[int, Field(ge=0, strict=True)]]]
    identity: Annotated[str, Field(min_length=1)]


_RULES = {
    "shares": ArrayRule(kinds="f", low=0, high=1 + 1e-6),
    "slices": ArrayRule(kinds="i", dimensions=1),
    "facts": ArrayRule(kinds="U", dimensions=0),
}


def read_frequencies(path: Path) -> Frequencies:
    """Read what `write_frequencies` wrote.

    Raises
    ------
    DataError
        If there is no such file, or it was damaged.
    """
    expected = "structure maps that `hmopt search --per-structure` wrote"

    def refuse(got: str) -> DataError:
        return DataError(str(path), expected=expected, got=got, advice=ADVICE)

    if not path.is_file():
        raise refuse("no file")
    arrays = read_npz(path, _RULES, refuse)
    lacking = [name for name in _RULES if name not in arrays]
    if lacking:
        raise refuse(f"no {', '.join(lacking)}")
    try:
        content = json.loads(str(arrays["facts"]))
    except (ValueError, RecursionError) as error:
        raise refuse(f"a damaged file ({one_line(error)})") from error
    facts = checked(content, _Facts, field=str(path), error=DataError, what=expected, advice=ADVICE)
    frequencies = Frequencies(
        shares=arrays["shares"],
        slices=tuple(arrays["slices"].tolist()),
        labels=tuple(facts.labels),
        stride=facts.stride,
        subjects=facts.subjects,
        codes={name: tuple(codes) for name, codes in facts.codes.items()},
    )
    shape = frequencies.shares.shape
    if shape[:2] != (len(frequencies.slices), len(facts.labels)) or len(shape) not in (4, 5):
        raise refuse(f"shape {shape} of shares")
    if frequencies.identity != facts.identity:
        raise refuse("a damaged file")
    return frequencies
