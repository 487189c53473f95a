"""A pair of full size, 1 mm with 139 labels, through the sweep: its time, its memory, and Dice before and after.

The network of the 2 mm volumes is run on 1 mm ones, twice as large along each axis: what is measured is scale. Its Dice
is no claim; the model never saw such images, and they are not aligned.

    python studies/brains_3d/full_size.py
"""

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data import prepare
from hmopt.declaration import Study, parse_study, read_study
from hmopt.files import replacing
from hmopt.ledger import Ledger, Recorded
from hmopt.networks import build_hypermorph, load_hypermorph
from hmopt.oracle import AmortizedOracle, UnregisteredOracle
from hmopt.records import Pair
from hmopt.search import coarse_settings
from hmopt.workflow import keep_freed_memory

STUDY = Path(__file__).parent
SHAPE = [160, 224, 176]
SUBJECTS = ["sub-1000", "sub-1006", "sub-1116"]
METRICS = ["dice", "folding", "log_jacobian_sd"]


def declare(folder: Path, volumes: Path) -> Study:
    """Declare a cohort of full-size volumes; nothing is trained on it."""
    rows = [
        (volumes / f"{s}_ses-1_T1w.nii.gz", volumes / f"{s}_ses-1_dseg139.nii.gz", s)
        for s in SUBJECTS
    ]
    pd.DataFrame(rows, columns=["image", "label", "subject"]).to_csv(
        folder / "cohort.csv", index=False
    )
    names = volumes.parent / "dseg139.tsv"
    sides = {"train": SUBJECTS[2:], "tune": [], "search": SUBJECTS[:2]}
    values = {
        "name": "full size",
        "cohort": {"manifest": folder / "cohort.csv", "label_names": names},
        "split": sides,
    }
    return parse_study({**values, "preprocessing": {"shape": SHAPE, "spacing_mm": [1.0] * 3}})


def main() -> None:
    """Sweep one pair, and write what came of it."""
    keep_freed_memory()
    declared = read_study(STUDY)
    assert declared.cohort.manifest is not None
    volumes = Path(declared.cohort.manifest).parent.parent / "volumes_1mm"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cohort = prepare(declare(folder, volumes), folder)
        trained, header = load_hypermorph(STUDY / "model.safetensors")
        hypermorph = build_hypermorph({**header["architecture"], "shape": SHAPE})
        hypermorph.hypernetwork.load_state_dict(trained.hypernetwork.state_dict())
        one, other = (f"{subject}_ses-1_T1w" for subject in SUBJECTS[:2])
        pair = Pair(moving=one, fixed=other, moving_subject=SUBJECTS[0], fixed_subject=SUBJECTS[1])
        oracle = AmortizedOracle(hypermorph.eval(), cohort)
        settings = coarse_settings(oracle.space, declared.search)
        started = time.perf_counter()
        Recorded(oracle, Ledger(folder / "ledger")).fill(settings, [pair], METRICS)
        seconds = (time.perf_counter() - started) / len(settings)
        before = next(UnregisteredOracle(cohort).measure([()], [pair], ["dice"])).values["dice"]
        blocks = list(
            Recorded(oracle, Ledger(folder / "ledger")).measure(settings, [pair], METRICS)
        )
        dice = {block.index[0] / 200: float(np.nanmean(block.values["dice"])) for block in blocks}
    result = {
        "shape": SHAPE,
        "labels": int(np.isfinite(before).sum()),
        "settings": len(settings),
        "seconds_a_setting": seconds,
        "peak_resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "dice_unregistered": float(np.nanmean(before)),
        "dice": dice,
    }
    with replacing(STUDY / "results" / "full_size.json") as beside:
        beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
