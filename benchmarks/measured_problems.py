"""Measurements of the studies as one file, for the package of benchmark problems in `optunahub/`.

Run `python -m benchmarks.measured_problems`. It reads the committed results of the studies alone, so
that the file can be made again from the repository: Dice of every pair and label and folding of
every pair, at every setting; of studies with a dense sweep at all of λ's values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt import StudyFolder
from hmopt.files import replacing
from hmopt.ledger import Measurements, read_measurements

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "optunahub" / "package" / "benchmarks" / "deformable_registration"
FILE = PACKAGE / "measurements.npz"
STUDIES = (
    "brains",
    "brains/refined",
    "brains_3d",
    "cardiac",
    "hearts_two_sites",
    "hearts_two_sites/unseen",
    "hippocampus",
    "hippocampus/refined",
    "models_of_others/clapirn",
    "models_of_others/hypermorph_h5",
    "two_hyperparameters",
)
"""Every study with a lattice of one or two floats, Dice, and people who are more than one."""

POINTS = 201
"""Lattice points of each hyperparameter, all of which lie in [0, 1]."""

CODES = 65534
"""A Dice of 1 as a whole number; one more stands for what has no value."""


def committed(study: str) -> Measurements:
    """Return the committed measurements of a study, at every value of λ where it has a dense sweep."""
    results = StudyFolder(ROOT / "studies" / study).results
    has_dense = results.dense_file.is_file()
    return read_measurements(results.dense_file if has_dense else results.measurements_file())


def encoded(dice: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Return Dice (settings, ...) as whole numbers, the first setting and then differences modulo 2^16.

    Neighbouring settings differ little, so that differences take less space than values.

    Examples
    --------
    >>> encoded(np.array([[0.5], [0.25], [np.nan]])).tolist()
    [[32767], [49153], [49151]]
    """
    known = np.isfinite(dice)
    codes = np.where(known, np.round(np.nan_to_num(dice) * CODES), CODES + 1).astype(np.uint16)
    return np.diff(codes, axis=0, prepend=np.uint16(0))


def arrays(studies: Mapping[str, Measurements]) -> dict[str, NDArray[Any]]:
    """Return the content of the file: arrays by `NAME` of all studies, and by `NUMBER/NAME` of each."""
    found: dict[str, NDArray[Any]] = {"studies": np.array(list(studies))}
    for number, (name, measurements) in enumerate(studies.items()):
        for hyperparameter in measurements.space.hyperparameters:
            ends = (hyperparameter.low, hyperparameter.high, hyperparameter.points)
            assert ends == (0, 1, POINTS), f"{name}: expected λ in [0, 1] by 0.005, got {ends}"
        pairs = measurements.pairs
        moving, fixed = (pairs[f"{side}_subject"].astype(str) for side in ("moving", "fixed"))
        subjects = np.array(sorted({*moving, *fixed}))
        sides = [np.searchsorted(subjects, side.to_numpy(dtype=str)) for side in (moving, fixed)]
        content = {
            "hyperparameters": np.array(measurements.space.names),
            "settings": np.array(measurements.settings, dtype=np.uint8),
            "labels": np.array(measurements.labels),
            "subjects": subjects,
            "pairs": np.stack(sides, axis=1).astype(np.uint8),
            "tasks": pairs["task"].to_numpy(dtype=str),
            "dice": encoded(measurements.array("dice")),
            "folding": measurements.array("folding").astype(np.float32),
        }
        found.update({f"{number}/{key}": array for key, array in content.items()})
    return found


def main() -> None:
    """Write the file."""
    content = arrays({study: committed(study) for study in STUDIES})
    with replacing(FILE) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, **content)  # type: ignore[arg-type]
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
