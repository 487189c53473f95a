"""The cohorts that are at hand, as they are."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from hmopt.data.cohort import list_images
from hmopt.data.pairs import draw_pairs
from hmopt.data.preprocessing import prepare
from hmopt.declaration import CohortOptions, parse_study
from tests.data.whole_cohort import read_cohort


def test_brain_slices_are_prepared_as_they_are_in_the_files(
    shared_data: Path, tmp_path: Path
) -> None:
    place = shared_data / "brains" / "slices_1mm"
    table = pd.read_csv(place / "cohort.csv")
    for kind in ("image", "label"):
        table[kind] = [str(place / name) for name in table[kind]]
    manifest = tmp_path / "cohort.csv"
    people = ["sub-1000", "sub-1001", "sub-1002", "sub-1003"]
    table[table["subject"].isin(people)].to_csv(manifest, index=False)
    study = parse_study(
        {
            "name": "brains",
            "cohort": {
                "manifest": str(manifest),
                "label_names": str(shared_data / "brains" / "dseg.tsv"),
            },
            "preprocessing": {"shape": [160, 160], "slices": {"axis": 1, "indices": [4]}},
            "split": {"train": 1, "tune": 1, "search": ["sub-1003", "sub-1002"]},
            "pairs": {"tasks": ["cross", "within"]},
        }
    )
    cohort = prepare(study, tmp_path)
    name = "sub-1003_ses-2_T1w"
    codes = np.asarray(
        nibabel.Nifti1Image.from_filename(place / f"{name.replace('T1w', 'dseg')}.nii.gz").dataobj
    )[:, 4]
    assert cohort.spacing_mm == (1, 1)
    np.testing.assert_array_equal(cohort.label_map(f"{name}_slice-4") > 0, codes > 0)
    assert len(np.unique(cohort.label_map(f"{name}_slice-4"))) == len(np.unique(codes))
    assert {pair.task for pair in draw_pairs(cohort, study.pairs, "search")} == {"cross", "within"}


def test_the_hippocampus_cohort_is_read_by_its_table_of_names(shared_data: Path) -> None:
    place = shared_data / "hippocampus"
    section = CohortOptions(
        images=place / "imagesTr", labels=place / "labelsTr", label_names=place / "dseg.tsv"
    )
    assert len(list_images(section)) == 200
    assert read_cohort(section).structures == {
        "anterior hippocampus": (1,),
        "posterior hippocampus": (2,),
    }
