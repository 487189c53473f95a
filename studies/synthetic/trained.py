"""What intervals keep when curves come from trained models: `python studies/synthetic/trained.py`.

Synthetic cohorts whose order of best settings is known. On each, one hypermorph is trained and searched on ten groups
of people, each as large as a small study; the best setting of all of them together stands for the truth of a group.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd

import hmopt
from hmopt.analysis import ModelAnalysis, OptimumWarning, find_warnings, interpolation
from hmopt.data.synthetic import CONTRASTS, STRUCTURES, make_cohort
from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.search import Curve, Scope
from hmopt.space import as_number

WORK = Path(__file__).parents[2] / "build" / "synthetic"
RESULTS = Path(__file__).parent / "results"
SEEDS = range(5)
TRAIN, TUNE, GROUPS, PEOPLE = 16, 2, 10, 12
"""Subjects to train and tune on, groups to search on, and subjects in each."""
PAIRS = 50
"""Of each group and contrast, drawn from all between two subjects of a group."""
SECTION = SearchOptions(metric="dice", reported=["folding"])
SCOPES = (
    Scope(criteria=()),
    *(Scope(criteria=(("modality", name),)) for name in CONTRASTS),
    *(Scope(criteria=(("label", structure.name),)) for structure in STRUCTURES),
)


def declare(folder: Path, seed: int) -> None:
    """Write a cohort, the pairs of its groups, and the demo's declaration with these."""
    files = hmopt.StudyFolder(folder)
    if files.is_declared:
        return
    manifest = make_cohort(folder / "cohort", TRAIN + TUNE + GROUPS * PEOPLE, seed=seed)
    table = pd.read_csv(manifest)
    subjects = table["subject"].unique().tolist()
    groups = {subject: place // PEOPLE for place, subject in enumerate(subjects[TRAIN + TUNE :])}
    table.assign(group=table["subject"].map(groups).fillna(-1).astype(int)).to_csv(
        manifest, index=False
    )
    draw_pairs(groups, seed).to_csv(folder / "groups.csv", index=False)
    sides = {
        "train": subjects[:TRAIN],
        "tune": subjects[TRAIN : TRAIN + TUNE],
        "search": list(groups),
    }
    with replacing(files.declaration_file) as path:
        path.write_text(declaration(sides, seed), encoding="utf-8")


def draw_pairs(groups: dict[str, int], seed: int) -> pd.DataFrame:
    """Return pairs of first sessions of two subjects of one group, in each contrast."""
    generator = np.random.default_rng([seed, GROUPS])
    rows = []
    for group, contrast in itertools.product(range(GROUPS), CONTRASTS):
        names = [f"{subject}_ses-1_{contrast}w" for subject, its in groups.items() if its == group]
        possible = list(itertools.permutations(names, 2))
        rows += [possible[place] for place in generator.permutation(len(possible))[:PAIRS]]
    return pd.DataFrame(rows, columns=["moving", "fixed"])


def declaration(sides: dict[str, list[str]], seed: int) -> str:
    """Return the demo's declaration with other subjects, listed pairs, fewer metrics and scopes, and another seed."""
    text = hmopt.demo_declaration()
    start, end = text.index("[split]"), text.index("[pairs]")
    split = "\n".join(f"{side} = {subjects}" for side, subjects in sides.items())
    text = text[:start] + f"[split]\n{split}\n\n" + text[end:]
    text = text.replace("search = 160 # of each kind", 'csv = "groups.csv"')
    text = text.replace("[training]", f"[training]\nseed = {seed}")
    return (
        text[: text.index("[search]")]
        + '[search]\nreported = ["folding"]\nscopes = [["cohort"], ["label"]]\n'
    )


def optima(folder: Path, seed: int) -> pd.DataFrame:
    """Return a row for each group and scope: its best setting and interval, and the best one of all groups together."""
    measurements = hmopt.read_folder(folder)
    analysis = ModelAnalysis(measurements, SECTION)
    rows = []
    for scope in SCOPES:
        everyone = analysis.of(scope)
        assert everyone is not None
        flat = OptimumWarning.FLAT in find_warnings(measurements.space, everyone.optimum, None)
        for group in range(GROUPS):
            view = analysis.of(Scope(criteria=(("group", str(group)), *scope.criteria)))
            assert view is not None
            (interval,) = view.optimum.intervals.values()
            rows.append(
                {
                    "seed": seed,
                    "scope": scope.name,
                    "all": peak(everyone.response),
                    "response": "flat" if flat else "curved",
                    "group": group,
                    "best": view.optimum.setting["regularization"],
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return pd.DataFrame(rows)


def peak(response: Curve) -> float:
    """Return where the smooth curve through the mean scores is highest, measured there or not."""
    candidates, matrix = interpolation(response.space, response.settings)
    best = candidates[response.best_of(response.means @ matrix.T)]
    return as_number(response.space.setting(best)["regularization"])


def main() -> None:
    """Train, search, and write the table of optima."""
    began, tables = time.monotonic(), []
    for seed in SEEDS:
        folder = WORK / f"seed-{seed}"
        declare(folder, seed)
        hmopt.train(folder)
        hmopt.search(folder)
        tables.append(optima(folder, seed))
        table = pd.concat(tables)
        with replacing(RESULTS / "trained.csv") as path:
            table.round(4).to_csv(path, index=False)
        print(f"seed {seed}: {time.monotonic() - began:.0f} s", flush=True)
    print(
        table.groupby(["seed", "scope"], sort=False)[["all", "best", "low", "high"]]
        .median()
        .to_string()
    )


if __name__ == "__main__":
    main()
