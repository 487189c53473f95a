"""`[cohort]`, `[preprocessing]`, `[split]`, `[pairs]`: images, their preparation, and pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hmopt.declaration.options import Options, Seed

Name = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=3, le=4096)]
"""Voxels along an axis: determinants of Jacobians need a neighbour on both sides."""
Spacing = Annotated[float, Field(gt=0, le=1000)]
Slice = Annotated[int, Field(ge=0, le=100_000)]
MOST_SUBJECTS = 10_000_000
Subjects = Annotated[int, Field(strict=True, ge=0, le=MOST_SUBJECTS)] | list[str]

NOT_PUBLISHED = "not-published.csv"
"""In place of the manifest in the declaration of a published folder."""

_PLACEMENT_OF_ALIGN = {"none": "centre", "affine": "affine"}


class CohortOptions(Options):
    """`[cohort]`: images and labels, given by `manifest` or by `images` and `labels`."""

    manifest: Path | None = None
    """CSV file with columns `image, label, subject` and any others; its paths are relative to the
    file. `label` is optional if no metric needs labels; `points` gives a landmark file for each
    image."""
    point_coordinates: Literal["ras", "lps", "voxel"] = "ras"
    """Coordinates of landmark files that do not state them: world coordinates in mm, with axes
    towards right, anterior, superior as in nibabel (`ras`) or left, posterior, superior as in ITK,
    ANTs and 3D Slicer (`lps`); or voxel indices of the image file, counted from 0 (`voxel`)."""
    images: Path | None = None
    """Folder of images, one file per subject, such as `imagesTr` of the Medical Segmentation
    Decathlon."""
    labels: Path | None = None
    """Folder of label maps with the same file names."""
    label_names: Path | None = None
    """Table of label names: a BIDS `dseg.tsv` (columns `index`, `name`), a `dataset.json` of the
    Decathlon or nnU-Net, or a colour table of FreeSurfer, 3D Slicer or ITK-SNAP."""
    structures: dict[Name, Annotated[list[Name], Field(min_length=1)]] = {}
    """Structures to evaluate, each a union of labels; empty: every label separately."""
    minimum_voxels: int = Field(default=0, ge=0, le=2**31)
    """Minimum voxels of a structure on the prepared grid; smaller structures count as missing in
    the image."""
    spacing_known: bool = True
    """Whether the spacing in the headers is correct; if false, no distances are reported in mm."""
    license: str | None = None
    """Licence of the images, such as `cc-by-4.0`; required by `hmopt publish`."""
    citation: str | None = None
    """Citation of the images, for the model card."""

    @model_validator(mode="after")
    def _one_source(self) -> "CohortOptions":
        folders = [path for path in (self.images, self.labels) if path is not None]
        needed = 2 if self.manifest is None else 0
        if len(folders) != needed:
            raise ValueError("expected either manifest, or images and labels")
        return self

    @field_validator("manifest", "images", "labels", "label_names", mode="before")
    @classmethod
    def _some_path(cls, path: object) -> object:
        return _not_empty(path)


class SliceOptions(Options):
    """`[preprocessing.slices]`: slices of volumes for 2-D registration."""

    axis: int = Field(ge=0, le=2)
    """Axis perpendicular to the slices, after reorientation to RAS+."""
    indices: Annotated[list[Slice], Field(min_length=1)]
    """Slice indices along this axis, counted from its lower end; each slice is paired with the same
    slice of other images."""
    search_indices: list[Slice] = []
    """Slices on which λ is searched; empty: all of `indices`."""


class PreprocessingOptions(Options):
    """`[preprocessing]`: preparation of the images."""

    shape: list[Side] = Field(min_length=2, max_length=3)
    """Size of the prepared grid along each axis, in voxels; multiples of the coarsest stride of the
    network."""
    spacing_mm: list[Spacing] | None = None
    """Voxel spacing of the prepared grid, in mm; by default that of each image."""
    slices: SliceOptions | None = None
    """Slices to extract from volumes; by default none."""
    normalization: Literal["percentile", "minmax", "zscore"] = "percentile"
    """Intensity normalization of each image: 0.5th and 99.5th percentiles to 0 and 1
    (`percentile`), minimum and maximum to 0 and 1 (`minmax`), or mean 0 and standard deviation 1
    (`zscore`)."""
    background: float | None = Field(default=None, ge=-1e9, le=1e9)
    """Intensity outside an image, before normalization (-1000 for CT); by default the minimum of
    each image."""
    placement: Literal["header", "centre", "affine"] = "centre"
    """Placement of images on the prepared grid: by their headers, by their centres, or by affine
    alignment to `template`."""
    template: Name | None = None
    """Image, by name or path, to which `affine` aligns and from which `header` takes the position
    of the grid; by default chosen automatically."""

    @model_validator(mode="before")
    @classmethod
    def _read_align(cls, values: Any) -> Any:
        """Read `align`, the older key: `none` is the placement `centre`, `affine` is `affine`."""
        if not isinstance(values, Mapping) or "align" not in values:
            return values
        align = values["align"]
        if align not in _PLACEMENT_OF_ALIGN:
            raise ValueError('expected align = "none" or "affine" (or, better, placement)')
        meant = _PLACEMENT_OF_ALIGN[align]
        if values.get("placement", meant) != meant:
            raise ValueError(
                f'expected placement = "{meant}", as align = "{align}" says, or no align'
            )
        others = {key: value for key, value in values.items() if key != "align"}
        return {**others, "placement": meant}


class SplitOptions(Options):
    """`[split]`: disjoint sets of subjects, by number or by name."""

    most_entries: ClassVar[int] = 1_000_000

    train: Subjects
    """Subjects for training the weights."""
    tune: Subjects
    """Subjects for decisions about training (learning rate, loss, when to stop)."""
    search: Subjects
    """Subjects on which λ is searched and evaluated."""
    seed: Seed = 0
    """Seed of the split, if numbers are given."""

    @field_validator("train", "tune", "search", mode="before")
    @classmethod
    def _number_or_names(cls, declared: object) -> object:
        """Refuse other values here: the message of a union of types would name its parts."""
        if isinstance(declared, int) and not 0 <= declared <= MOST_SUBJECTS:
            raise ValueError(f"expected a number from 0 to {MOST_SUBJECTS}, or names of subjects")
        if not isinstance(declared, int | list):
            raise ValueError("expected a number or a list of names of subjects")
        return declared


class PairsOptions(Options):
    """`[pairs]`: the pairs of images to register."""

    table: ClassVar[str] = "pairs"

    tasks: Annotated[list[Literal["cross", "within", "atlas"]], Field(min_length=1)] = ["cross"]
    """Kinds of pairs: between two subjects (`cross`), between images of one subject (`within`),
    from every image to `atlas` (`atlas`)."""
    atlas: Name | None = None
    """Name of the fixed image of all `atlas` pairs."""
    csv: Path | None = None
    """CSV file with columns `moving, fixed` (names of images) that lists the search pairs; by
    default they are drawn at random."""
    same: list[Name] = []
    """Columns of the manifest that must be equal for both images, such as `modality`."""
    search: int = Field(default=200, ge=1, le=10**7)
    """Number of search pairs per task, drawn so that subjects occur about equally often."""
    tune: int = Field(default=50, ge=1, le=10**7)
    """Number of pairs per task for the subjects of `split.tune`."""
    seed: Seed = 0
    """Seed of the drawn pairs."""

    @field_validator("csv", mode="before")
    @classmethod
    def _some_path(cls, path: object) -> object:
        return _not_empty(path)

    @model_validator(mode="after")
    def _atlas_is_named(self) -> "PairsOptions":
        if "atlas" in self.tasks and self.atlas is None:
            raise ValueError("expected the name of an image as atlas where tasks has atlas")
        return self


def _not_empty(path: object) -> object:
    """Return a path as it is, or raise a ValueError where it is an empty text."""
    if path is not None and not str(path).strip():
        raise ValueError("expected a path")
    return path
