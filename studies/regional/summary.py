"""What a published method gains by a λ for each region, judged as `hmopt report` judges the study's own model.

    python studies/regional/summary.py studies/regional

Reads `published/weight_map.csv` and `published/learned_map.csv` of a study folder that was searched, those that are
there, and writes `results/published.json` beside this file.
"""

import argparse
import json
import math
from pathlib import Path

import pandas as pd

from hmopt.analysis import RegionalGain, judge_regions
from hmopt.files import replacing
from hmopt.ledger import Measurements
from hmopt.space import Hyperparameter, Index, Space
from hmopt.study_folder import StudyFolder

RESULTS = Path(__file__).parent / "results"
METHODS = ("weight_map", "learned_map")
METRICS = ("dice", "folding")


def space_of(method: str, searched: Space, rows: pd.DataFrame) -> Space:
    """Return the hyperparameters of a method: those of the study, or λ and each α that a network was trained for."""
    if method == "weight_map":
        return searched
    alphas = tuple(sorted(rows["alpha"].unique().tolist()))
    alpha = Hyperparameter(name="alpha", type="categorical", choices=alphas)
    return Space(hyperparameters=(Hyperparameter(name="regularization"), alpha))


def settings_of_one(method: str, measurements: Measurements) -> list[Index] | None:
    """Return the settings with one λ everywhere; None: those that the hyperparameters tell.

    The largest α draws all weights of a learned map to 1.
    """
    if method == "weight_map":
        return None
    space = measurements.space
    [_, alpha] = space.hyperparameters
    largest = max(alpha.choices)
    return [one for one in measurements.settings if space.setting(one)["alpha"] == largest]


def published_measurements(folder: Path, method: str) -> Measurements:
    """Return the measurements of a method, as those of a model that was searched on the same pairs."""
    files = StudyFolder(folder)
    searched = files.measurements()
    rows = pd.read_csv(folder / "published" / f"{method}.csv")
    space = space_of(method, searched.space, rows)
    names = list(space.names)
    values = rows[names].drop_duplicates().sort_values(names).itertuples(index=False)
    settings = [dict(zip(names, map(float, row), strict=True)) for row in values]
    labels = list(searched.labels)
    pairs = list(searched.pairs["pair"])
    places = pd.MultiIndex.from_product([range(len(settings)), pairs, labels])
    known = {tuple(setting.values()): place for place, setting in enumerate(settings)}
    place = [known[tuple(row)] for row in rows[names].itertuples(index=False)]
    table = rows.assign(place=place).set_index(["place", "pair", "label"]).reindex(places)
    shape = (len(settings), len(pairs), len(labels))
    return Measurements(
        identity=method,
        space=space,
        settings=tuple(space.index(setting) for setting in settings),
        pairs=searched.pairs,
        labels=searched.labels,
        values={
            "dice": table["dice"].to_numpy().reshape(shape),
            "folding": table["folding"].to_numpy().reshape(shape)[..., 0],
        },
    )


def as_record(gain: RegionalGain) -> dict[str, object]:
    """Return the numbers that the README cites."""
    found: dict[str, object] = {"folding": gain.folding, "settings": gain.settings}
    for name, difference in (
        ("gain", gain.over_common),
        ("separate_gain", gain.separate_over_common),
    ):
        found[name] = {
            "estimate": [_known(value) for value in difference.mean.estimate],
            "p_adjusted": difference.p_adjusted,
            "evidence": difference.evidence.value,
        }
    found["dice_held_out"] = {
        str(entry.source): score.value
        for entry in gain.beside.entries
        if (score := gain.beside.score(entry)) is not None
    }
    return found


def _known(value: float) -> float | None:
    """Return a number, or None for one that is not known: JSON has no NaN."""
    return value if math.isfinite(value) else None


def main() -> None:
    """Judge the methods that were measured in a study folder, and write their numbers beside those of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    search = StudyFolder(folder).study.search
    path = RESULTS / "published.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for method in METHODS:
        if not (folder / "published" / f"{method}.csv").is_file():
            continue
        measurements = published_measurements(folder, method)
        gain = judge_regions(measurements, search, settings_of_one(method, measurements))
        if gain is None:
            raise SystemExit(
                f"{method}: expected settings with one λ and with several, got others."
            )
        found[method] = as_record(gain)
    with replacing(path) as beside:
        beside.write_text(f"{json.dumps(found, indent=1, allow_nan=False)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
