"""Which images, labels and pairs a study is about, and how they are prepared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hmopt.declaration.options import Options, Seed

Name = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(le=4096)]
Spacing = Annotated[float, Field(le=1000)]

_PLACEMENT_OF_ALIGN = {"none": "centre", "affine": "affine"}


class CohortOptions(Options):
    """`[cohort]`: where images, labels and their descriptions are."""

    manifest: Path | None = None
    """CSV with columns `image, label, subject` and any others; paths in it are relative to it."""
    images: Path | None = None
    """Folder of images (`imagesTr` of the Medical Segmentation Decathlon); each file is one subject."""
    labels: Path | None = None
    """Folder of label maps with the same file names."""
    label_names: Path | None = None
    """BIDS `dseg.tsv` (columns `index`, `name`) or a Decathlon `dataset.json`."""
    structures: dict[str, list[str]] = {}
    """Structures to use, by name, each the union of the named labels; empty: every label by itself."""
    minimum_voxels: int = Field(default=0, ge=0)
    """Where an image has fewer prepared voxels of a structure, the structure counts as missing there."""
    spacing_known: bool = True
    """False where the headers are wrong: then nothing is reported in mm."""

    @model_validator(mode="after")
    def _one_source(self) -> "CohortOptions":
        folders = [path for path in (self.images, self.labels) if path is not None]
        if len(folders) != (2 if self.manifest is None else 0):
            raise ValueError("expected either manifest, or images and labels")
        return self

    @field_validator("manifest", "images", "labels", "label_names", mode="before")
    @classmethod
    def _some_path(cls, path: object) -> object:
        return _not_empty(path)


class SliceOptions(Options):
    """`[preprocessing.slices]`: planes of a volume for 2-D work."""

    axis: int = Field(ge=0, le=2)
    """The axis (after reorientation to RAS+) that slices are taken across."""
    indices: list[int]
    """Which slices along it, from its lower end; each is an image, paired with those of others at the same place."""
    search_indices: list[int] = []
    """Slices on which λ is searched; empty: all of `indices`."""


class PreprocessingOptions(Options):
    """`[preprocessing]`: what is done to every image, once."""

    shape: list[Side] = Field(min_length=2, max_length=3)
    """Voxels of the prepared grid; each a multiple of the network's coarsest stride."""
    spacing_mm: list[Spacing] | None = None
    """Spacing of the prepared grid; left out: each image's own."""
    slices: SliceOptions | None = None
    """Planes to take from volumes; left out: the images as they are."""
    normalization: Literal["percentile", "minmax", "zscore"] = "percentile"
    """Per image: 0.5th to 99.5th percentile to [0, 1]; minimum to maximum to [0, 1]; or mean 0, deviation 1."""
    background: float | None = None
    """Intensity outside an image, in its own unit (-1000 for CT); left out: each image's minimum."""
    placement: Literal["header", "centre", "affine"] = "centre"
    """How images are laid on the prepared grid: where their headers say, centre on centre, or aligned to `template`."""
    template: Name | None = None
    """Name of an image, or a path: what `affine` aligns to, where `header` lays the grid; left out: chosen of all."""

    @model_validator(mode="before")
    @classmethod
    def _read_align(cls, values: Any) -> Any:
        """Read `align`, as older files say it: `none` is the placement `centre`, `affine` is `affine`."""
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
        return {
            **{key: value for key, value in values.items() if key != "align"},
            "placement": meant,
        }


class SplitOptions(Options):
    """`[split]`: which subjects serve what; nobody serves twice."""

    train: Annotated[int, Field(strict=True)] | list[str]
    """Subjects for the weights: how many, or which."""
    tune: Annotated[int, Field(strict=True)] | list[str]
    """Subjects for decisions of a developer (learning rate, loss scale, when to stop)."""
    search: Annotated[int, Field(strict=True)] | list[str]
    """Subjects on which λ is chosen and judged."""
    seed: Seed = 0
    """Decides who serves what where numbers are given."""


class PairsOptions(Options):
    """`[pairs]`: which images are registered to which."""

    kinds: Annotated[list[Literal["cross", "within", "atlas"]], Field(min_length=1)] = ["cross"]
    """Between two subjects, between sessions of one subject, and every image to `atlas`."""
    atlas: Name | None = None
    """Name of the fixed image of all `atlas` pairs."""
    csv: Path | None = None
    """CSV with columns `moving, fixed` (names of images) that lists the pairs to search, in place of drawing them."""
    same: list[str] = []
    """Columns in which both images must agree, as `modality`."""
    search: int = Field(default=200, ge=1, le=10**7)
    """Pairs of each kind to search on, drawn from all possible ones so that subjects serve about equally often."""
    tune: int = Field(default=50, ge=1, le=10**7)
    """The same for the subjects to tune on."""
    seed: Seed = 0
    """Decides which of the possible pairs are drawn."""

    @field_validator("csv", mode="before")
    @classmethod
    def _some_path(cls, path: object) -> object:
        return _not_empty(path)

    @model_validator(mode="after")
    def _atlas_is_named(self) -> "PairsOptions":
        if "atlas" in self.kinds and self.atlas is None:
            raise ValueError("expected the name of an image as atlas where kinds has atlas")
        return self


def _not_empty(path: object) -> object:
    if path is not None and not str(path).strip():
        raise ValueError("expected a path")
    return path
