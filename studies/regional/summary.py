"""What a published method gains by a λ for each region, judged as `hmopt report` judges the study's own model.

    python studies/regional/summary.py studies/regional

Reads `published/weight_map.csv` of a study folder that was searched, and writes `results/published.json` beside this
file.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from hmopt.analysis import RegionalGain, judge_regions
from hmopt.files import replacing
from hmopt.ledger import Measurements
from hmopt.study_folder import StudyFolder

RESULTS = Path(__file__).parent / "results"
METHOD = "weight_map"
METRICS = ("dice", "folding")


def published_measurements(folder: Path) -> Measurements:
    """Return the measurements of the method, as those of a model that was searched on the same pairs."""
    files = StudyFolder(folder)
    searched = files.measurements()
    names = list(searched.space.names)
    rows = pd.read_csv(folder / "published" / f"{METHOD}.csv")
    values = rows[names].drop_duplicates().itertuples(index=False)
    settings = [dict(zip(names, map(float, row), strict=True)) for row in values]
    labels = list(searched.labels)
    pairs = list(searched.pairs["pair"])
    places = pd.MultiIndex.from_product([range(len(settings)), pairs, labels])
    known = {tuple(setting.values()): place for place, setting in enumerate(settings)}
    place = [known[tuple(row)] for row in rows[names].itertuples(index=False)]
    table = rows.assign(place=place).set_index(["place", "pair", "label"]).reindex(places)
    shape = (len(settings), len(pairs), len(labels))
    return Measurements(
        identity=METHOD,
        space=searched.space,
        settings=tuple(searched.space.index(setting) for setting in settings),
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
            "estimate": list(difference.mean.estimate),
            "p_adjusted": difference.p_adjusted,
            "evidence": difference.evidence.value,
        }
    found["dice_held_out"] = {
        str(entry.source): score.value
        for entry in gain.beside.entries
        if (score := gain.beside.score(entry)) is not None
    }
    return found


def main() -> None:
    """Judge the measurements of a study folder, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    measurements = published_measurements(folder)
    gain = judge_regions(measurements, StudyFolder(folder).study.search)
    if gain is None:
        raise SystemExit(f"{folder}: expected settings with one λ and with several, got others.")
    with replacing(RESULTS / "published.json") as path:
        path.write_text(f"{json.dumps({METHOD: as_record(gain)}, indent=1)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
