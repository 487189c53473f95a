"""Landmarks of the brain slices: the centroid of each compact structure, left and right, in the slice that is searched.

    python studies/brains/centroids/points.py studies/brains/centroids $HMOPT_SHARED

Writes `data/cohort.csv` in a study folder, the manifest of the slices with a column `points`, and `data/points/`, one
file for each image. A structure with few voxels in the slice of an image has no landmark there.
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from hmopt.files import replacing

SLICE = 4
"""Along the second axis: `search_indices` of the study."""
FEWEST_VOXELS = 20
SPREAD_OUT = ("WM", "Cortex", "CSF")
"""Their centroids lie far from them."""


def centroids(label_map: nibabel.Nifti1Image, names: "pd.Series[str]") -> pd.DataFrame:
    """Return the centroids of structures in the slice, in mm in world space: `name, x, y, z`."""
    labels = np.asarray(label_map.dataobj)[:, SLICE]
    rows = []
    for value, name in names.items():
        found = np.argwhere(labels == value)
        if len(found) >= FEWEST_VOXELS:
            first, last = found.mean(axis=0)
            place = label_map.affine @ [first, SLICE, last, 1.0]
            rows.append((name, *place[:3]))
    return pd.DataFrame(rows, columns=["name", "x", "y", "z"])


def write_points(folder: Path, shared: Path) -> int:
    """Write the manifest and the landmarks of all images; return the number of landmarks."""
    source = shared / "data/brains/slices_1mm"
    names = pd.read_csv(shared / "data/brains/dseg.tsv", sep="\t", index_col="index")["name"]
    compact = names[(names.index > 0) & ~names.str.endswith(SPREAD_OUT)]
    manifest = pd.read_csv(source / "cohort.csv")
    data = folder / "data"
    (data / "points").mkdir(parents=True, exist_ok=True)
    count = 0
    files = []
    for label_file in manifest["label"]:
        table = centroids(nibabel.Nifti1Image.from_filename(source / label_file), compact)
        name = label_file.replace("dseg.nii.gz", "points.csv")
        with replacing(data / "points" / name) as written:
            table.to_csv(written, index=False)
        files.append(f"points/{name}")
        count += len(table)
    for column in ("image", "label"):
        manifest[column] = [str(source / name) for name in manifest[column]]
    with replacing(data / "cohort.csv") as written:
        manifest.assign(points=files).to_csv(written, index=False)
    return count


def main() -> None:
    """Write the landmarks of the brain slices into the study folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("shared", type=Path, help="the folder that holds data/brains")
    arguments = parser.parse_args()
    count = write_points(arguments.folder, arguments.shared.resolve())
    print(f"Landmarks: {count}")


if __name__ == "__main__":
    main()
