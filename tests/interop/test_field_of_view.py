"""Images that are larger than the grid of a model."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from hmopt.data.reference import Reference
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.interop.preparation import FilePair, Preparation, prepare_pair


def image(path: Path, shape: tuple[int, ...]) -> Path:
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    ("shape", "grid", "share"),
    [
        # an eighth of the voxels, and a sixty-fourth
        ((32, 32, 32), [16, 16, 16], None),
        ((32, 32, 32), [8, 8, 8], "1.6%"),
        # of a plane, its own axes count
        ((32, 32, 1), [16, 16], None),
        ((32, 32, 1), [8, 8], "6.2%"),
        ((8, 8, 8), [16, 16, 16], None),
    ],
)
def test_a_grid_that_covers_little_of_an_image_is_told(
    tmp_path: Path, shape: tuple[int, ...], grid: list[int], share: str | None
) -> None:
    preparation = Preparation(
        preprocessing=PreprocessingOptions(shape=grid),
        spacing_mm=None,
        reference=Reference(plane=2 if len(grid) == 2 else None),
        template=None,
    )
    pair = FilePair.read(image(tmp_path / "a.nii.gz", shape), image(tmp_path / "b.nii.gz", shape))
    told = [remark for remark in prepare_pair(preparation, pair).remarks if "covers" in remark]
    assert len(told) == (0 if share is None else 2)
    assert all(f"covers {share} of it" in remark for remark in told)


@pytest.mark.parametrize("placement", ["centre", "header"])
def test_a_plane_is_refused_by_a_model_of_volumes(placement: str, tmp_path: Path) -> None:
    preparation = Preparation(
        preprocessing=PreprocessingOptions.model_validate(
            {"shape": [16, 16, 16], "placement": placement}
        ),
        spacing_mm=None,
        reference=Reference(),
        template=None,
    )
    plane = image(tmp_path / "plane.nii.gz", (16, 16, 1))
    volume = image(tmp_path / "volume.nii.gz", (16, 16, 16))
    for moving, fixed in ((plane, plane), (plane, volume), (volume, plane)):
        with pytest.raises(DataError, match=r"plane\.nii\.gz: expected a volume, as the model was"):
            prepare_pair(preparation, FilePair.read(moving, fixed))
