"""The numbers that the README cites, from the tables in `results/`: `python studies/synthetic/summary.py`."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmopt.data.synthetic import TRUE_ORDER
from hmopt.files import replacing

RESULTS = Path(__file__).parent / "results"
BESIDE = (
    "dice_held_out",
    "dice_held_out_refined",
    "seconds_per_pair_refined",
    "amortization_gap",
    "versus_syn",
    "versus_syncc",
)


def simulated(covered: pd.DataFrame, calibrated: pd.DataFrame) -> dict[str, Any]:
    """Return the coverage of intervals by shape of response, the false-alarm rate and the power."""
    by_question = calibrated.groupby("question", sort=False)
    return {
        "coverage": covered.groupby("response", sort=False)["coverage"].mean().to_dict(),
        "coverage_range": covered.groupby("response", sort=False)["coverage"]
        .agg(["min", "max"])
        .T.to_dict("list"),
        "coverage_cohorts": int(covered["cohorts"].iloc[0]),
        "coverage_of_score": float(covered["coverage_of_score"].mean()),
        "coverage_of_score_range": [
            float(covered["coverage_of_score"].min()),
            float(covered["coverage_of_score"].max()),
        ],
        "calibration_cohorts": int(calibrated["cohorts"].min()),
        "false_alarms": {
            name: dict(zip(rows["subjects"], rows["false_alarm_rate"], strict=True))
            for name, rows in by_question
        },
        "largest_false_alarm_rate": by_question["false_alarm_rate"].max().to_dict(),
        "power": {
            name: dict(zip(rows["subjects"], rows["power"], strict=True))
            for name, rows in by_question
        },
    }


def trained(table: pd.DataFrame) -> dict[str, Any]:
    """Return the same of trained models, and whether what is known of their cohorts holds."""
    labels = table[table["scope"].str.startswith("label=")]
    covered = (table["low"] <= table["all"]) & (table["all"] <= table["high"])
    truths = table.drop_duplicates(["seed", "scope"]).pivot(
        index="seed", columns="scope", values="all"
    )
    contrasts = table[table["scope"].str.startswith("modality=")].pivot(
        index=["seed", "group"], columns="scope", values="best"
    )
    return {
        "trained_cohorts": int(table["seed"].nunique()),
        "trained_groups": len(table[["seed", "group"]].drop_duplicates()),
        "coverage_trained": covered.groupby(table["response"]).mean().to_dict(),
        "coverage_trained_intervals": table["response"].value_counts().to_dict(),
        "coverage_trained_by_scope": covered.groupby(table["scope"], sort=False).mean().to_dict(),
        "coverage_of_other_models": of_others(table, truths),
        "spread_over_models": truths.std(ddof=1).to_dict(),
        "best_over_models": truths.mean().to_dict(),
        "width": (table["high"] - table["low"])
        .groupby(table["scope"], sort=False)
        .median()
        .to_dict(),
        "in_order_all": in_order(truths),
        "in_order_group": in_order(
            labels.pivot(index=["seed", "group"], columns="scope", values="best")
        ),
        "noisy_above_clean_all": float((truths["modality=T2"] > truths["modality=T1"]).mean()),
        "noisy_above_clean_group": float(
            (contrasts["modality=T2"] > contrasts["modality=T1"]).mean()
        ),
    }


def of_others(table: pd.DataFrame, truths: pd.DataFrame) -> dict[str, float]:
    """Return how often a group's interval holds the best setting of another model trained on another such cohort."""
    others = table.merge(
        truths.melt(ignore_index=False, value_name="other").reset_index(), on="scope"
    )
    others = others[others["seed_x"] != others["seed_y"]]
    held = (others["low"] <= others["other"]) & (others["other"] <= others["high"])
    shares = held.groupby(others["response"]).mean()
    return {str(response): float(share) for response, share in shares.items()}


def in_order(best: pd.DataFrame) -> float:
    """Return the share of pairs of a rough and a smooth structure with best settings in the true order."""
    rough, smooth = ([f"label={name}" for name in names] for names in TRUE_ORDER)
    return float(
        np.mean([best[one] < best[other] for one, other in itertools.product(rough, smooth)])
    )


def beside_engines() -> dict[str, Any]:
    """Return what one model has beside ANTs on the same pairs, of the report in `engines/results`."""
    text = (RESULTS.parent / "engines" / "results" / "summary.json").read_text(encoding="utf-8")
    found = json.loads(text)
    return {key: found[key] for key in BESIDE}


def main() -> None:
    """Write the summary."""
    covered, calibrated, optima = (
        pd.read_csv(RESULTS / f"{name}.csv") for name in ("coverage", "calibration", "trained")
    )
    with replacing(RESULTS / "summary.json") as path:
        text = json.dumps(
            {
                "name": "synthetic",
                **simulated(covered, calibrated),
                **trained(optima),
                **beside_engines(),
            },
            indent=2,
        )
        path.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
