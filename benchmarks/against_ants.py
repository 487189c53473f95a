"""ANTs beside a study's model on the pairs of its search: Dice of every label, seconds a pair.

    python benchmarks/against_ants.py studies/brains --pairs 60

ANTs' affine, SyN and SyNCC run with their defaults, pair by pair, and the model with the best λ of
the cohort. All register the same prepared images and move each label by linear interpolation.
Writes `results/ants.csv` in the study folder, a row for each pair, method and label. Rerun an
interrupted command to resume.
"""

import argparse
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ants
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import track

from hmopt.data import PreparedCohort, draw_pairs, prepare
from hmopt.declaration import read_study
from hmopt.files import replacing
from hmopt.oracle import RegisteringOracle, load_oracle
from hmopt.records import Pair
from hmopt.space import Index
from hmopt.spatial import warp

METHODS = {"affine": "Affine", "SyN": "SyN", "SyNCC": "SyNCC"}
SEED = 1

Move = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Warps an image by the displacement that a registration found."""


def dice(moved: NDArray[np.float32], fixed: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of a partial volume and a label."""
    return float(2 * moved[fixed].sum() / (moved.sum() + fixed.sum()))


@contextmanager
def by_ants(
    moving: NDArray[np.float32], fixed: NDArray[np.float32], method: str
) -> Iterator[tuple[Move, float]]:
    """Register two images by a method of ANTs; yield the function that warps an image, and the seconds."""
    fixed_image = ants.from_numpy(fixed)
    moving_image = ants.from_numpy(moving)
    began = time.perf_counter()
    found = ants.registration(
        fixed=fixed_image,
        moving=moving_image,
        type_of_transform=METHODS[method],
        random_seed=SEED,
    )
    seconds = time.perf_counter() - began

    def move(image: NDArray[np.float32]) -> NDArray[np.float32]:
        moved = ants.apply_transforms(
            fixed_image, ants.from_numpy(image), found["fwdtransforms"], interpolator="linear"
        )
        return np.asarray(moved.numpy())

    yield move, seconds
    for path in {*found["fwdtransforms"], *found["invtransforms"]}:
        Path(path).unlink(missing_ok=True)


@contextmanager
def by_model(oracle: RegisteringOracle, index: Index, pair: Pair) -> Iterator[tuple[Move, float]]:
    """Register a pair by the model, as `by_ants`."""
    began = time.perf_counter()
    displacement = oracle.displacement(index, pair)[None]
    seconds = time.perf_counter() - began

    def move(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return warp(torch.from_numpy(image)[None, None], displacement)[0, 0].numpy()

    yield move, seconds


def rows_of(
    cohort: PreparedCohort, pair: Pair, method: str, move: Move, seconds: float
) -> Iterator[dict[Hashable, Any]]:
    """Yield a row for each label that both images of a pair contain."""
    moving, fixed = cohort.label_map(pair.moving), cohort.label_map(pair.fixed)
    for value, label in enumerate(cohort.labels, start=1):
        if np.any(moving == value) and np.any(fixed == value):
            score = dice(move((moving == value).astype(np.float32)), fixed == value)
            yield {
                "pair": pair.id,
                "task": pair.task,
                "method": method,
                "label": label,
                "dice": round(score, 5),
                "seconds": round(seconds, 4),
            }


def chosen_pairs(pairs: list[Pair], count: int) -> list[Pair]:
    """Return at most `count` pairs, drawn with a fixed seed."""
    order = np.random.default_rng(SEED).permutation(len(pairs))[:count]
    return [pairs[place] for place in sorted(order)]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean Dice over labels and pairs, and median seconds, by task and method, with the ratio to the model."""
    pairs = rows.groupby(["task", "method", "pair"]).agg({"dice": "mean", "seconds": "first"})
    methods = pairs.groupby(["task", "method"]).agg(
        dice=("dice", "mean"), seconds=("seconds", "median"), pairs=("dice", "size")
    )
    methods["times_the_model"] = methods["seconds"] / methods["seconds"].xs("hmopt", level="method")
    return methods.round(4)


def main() -> None:
    """Register the pairs that have no row yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=1000, help="at most so many, drawn at random")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="of ANTs"
    )
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    study = read_study(folder)
    cohort = prepare(study, folder)
    oracle = load_oracle(folder, study, cohort)
    best = pd.read_csv(folder / "results" / "optima.csv").query("scope == 'cohort'").iloc[0]
    index = oracle.space.index({name: float(best[name]) for name in oracle.space.names})
    path = folder / "results" / "ants.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["method"], row["pair"]) for row in rows}
    pairs = chosen_pairs(draw_pairs(cohort, study.pairs, "search"), arguments.pairs)
    wanted = [(method, pair) for pair in pairs for method in ("hmopt", *arguments.methods)]
    for method, pair in track(
        [(m, pair) for m, pair in wanted if (m, pair.id) not in done], "Registering"
    ):
        registered = (
            by_model(oracle, index, pair)
            if method == "hmopt"
            else by_ants(cohort.image(pair.moving), cohort.image(pair.fixed), method)
        )
        with registered as (move, seconds):
            rows.extend(rows_of(cohort, pair, method, move, seconds))
        with replacing(path) as beside:
            pd.DataFrame(rows).to_csv(beside, index=False)
    print(table(pd.DataFrame(rows)).to_string())


if __name__ == "__main__":
    main()
