"""The model on held-out subjects beside ANTs on the same pairs: `python studies/versus_ants.py studies/brains …`.

Runs from committed results. The model's score of a pair is with the λ that other subjects chose; ANTs ran with its
defaults (`benchmarks/against_ants.py`). Writes `results/versus_ants.json`: mean Dice of both, their paired difference
with its jackknife interval over subjects, and seconds a pair, for each method and task.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmopt.analysis import analyse_scopes, jackknife
from hmopt.files import replacing
from hmopt.ledger import Measurements
from hmopt.search import Scope
from hmopt.study_folder import StudyFolder, read_folder

MODEL = "hmopt"


def held_out_scores(measurements: Measurements, folder: Path) -> pd.Series:
    """Return the held-out score of each pair, mean over its structures, by the pair's id."""
    (cohort,) = analyse_scopes(
        measurements, None, [Scope(criteria=())], StudyFolder(folder).searched.search
    )
    held = cohort.held_out
    assert held is not None
    return pd.Series(held.scores, index=measurements.pairs["pair"].to_numpy()[held.pairs])


def compare(folder: Path) -> dict[str, Any]:
    """Compare the model with every method of a study's `ants.csv`, for each task."""
    measurements = read_folder(folder)
    pairs = measurements.pairs.set_index("pair")
    own = held_out_scores(measurements, folder)
    rows = pd.read_csv(folder / "results" / "ants.csv")
    by_pair = rows.groupby(["task", "method", "pair"]).agg(
        dice=("dice", "mean"), seconds=("seconds", "first")
    )
    found: dict[str, Any] = {}
    for (task, method), scores in by_pair.groupby(level=["task", "method"]):
        if method == MODEL:
            continue
        theirs = scores.droplevel(["task", "method"])
        shared = theirs.index.intersection(own.index)
        if shared.empty:
            continue
        of_model = by_pair["seconds"].xs((task, MODEL))
        seconds = float(of_model.reindex(shared).median())
        found.setdefault(str(task), {})[str(method)] = _difference(
            own[shared], theirs.loc[shared], pairs, seconds
        )
    return found


def _difference(
    own: pd.Series, theirs: pd.DataFrame, pairs: pd.DataFrame, seconds: float
) -> dict[str, Any]:
    moving, fixed = (
        pairs.loc[own.index, f"{side}_subject"].to_numpy(dtype=object)
        for side in ("moving", "fixed")
    )
    mean = jackknife((own - theirs["dice"]).to_numpy(), moving, fixed)
    own_seconds, their_seconds = float(seconds), float(theirs["seconds"].median())
    return {
        "dice_held_out": float(own.mean()),
        "dice_of_method": float(theirs["dice"].mean()),
        "difference": mean.value,
        "interval": [None if np.isnan(end) else end for end in mean.interval],
        "pairs": len(own),
        "subjects": mean.subjects,
        "seconds": own_seconds,
        "seconds_of_method": their_seconds,
        "speed_ratio": their_seconds / own_seconds,
    }


def main() -> None:
    """Write the comparison of each study folder that is named."""
    for name in sys.argv[1:]:
        folder = Path(name)
        text = json.dumps(compare(folder), indent=2)
        with replacing(folder / "results" / "versus_ants.json") as path:
            path.write_text(text + "\n", encoding="utf-8")
        print(folder, text)


if __name__ == "__main__":
    main()
