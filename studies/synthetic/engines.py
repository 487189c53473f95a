"""The hypermorph of a synthetic cohort beside ANTs on the same pairs: `python studies/synthetic/engines.py`.

A hypermorph is trained on the cohort of `hmopt demo`, by local correlation and with four times the steps, searched,
refined and searched again, and SyN is run on the same pairs: tuned, at its default, with iterations at full resolution,
and SyNCC. The studies lie in `build/synthetic/engines`; `engines/results` has what the report writes of the first one.
"""

import shutil
from pathlib import Path

import hmopt
from hmopt.data.synthetic import make_cohort
from hmopt.files import replacing

WORK = Path(__file__).parents[2] / "build" / "synthetic" / "engines"
RESULTS = Path(__file__).parent / "engines" / "results"
PAIRS = 66
KEPT = (
    "beside.csv",
    "commands.csv",
    "figures/beside.png",
    "optima.csv",
    "pairs.csv",
    "search.json",
    "summary.json",
    "times.json",
)

SEARCHED = """
reported = ["dice_nearest", "folding", "log_jacobian_sd", "similarity", "wall_time_s"]
scopes = [["cohort"], ["modality"], ["label"]]
"""

BESIDE = """
[report]
title = "hypermorph"
choices = ["tuned", "default"]

[[report.beside]]
path = "refined"
title = "hypermorph, refined"

[[report.beside]]
path = "ants"
title = "SyN"
choices = ["tuned", "default"]

[[report.beside]]
path = "ants_full"
title = "SyN, full resolution"
choices = ["default"]

[[report.beside]]
path = "ants_cc"
title = "SyNCC"
choices = ["default"]
"""

REFINED = """
[model]
source = "study"
path = ".."

[refine]
iterations = 50
"""

ENGINE = """
[model]
source = "engine"
engine = "ants"
time_limit_s = 300
"""

TUNED = """
[hyperparameters.gradient_step]
low = 0.05
high = 0.55
step = 0.05
default = 0.2

[hyperparameters.flow_sigma]
low = 0.0
high = 5.0
step = 0.1
default = 3.0

[hyperparameters.total_sigma]
low = 0.0
high = 2.0
step = 0.125
default = 0.0

[hyperparameters.similarity]
type = "categorical"
choices = ["mattes", "CC", "meansquares"]
default = "mattes"

[hyperparameters.full_resolution_iterations]
type = "integer"
low = 0
high = 20
step = 5
default = 0
"""
"""What a user of SyN would tune."""

TRAINED = {
    'similarity = "mse"': 'similarity = "lncc"',
    "steps = 1500": "steps = 6000",
    "averaging = 0.99\n": "averaging = 0.999\n",
}
"""What is declared for this comparison in place of what the demo declares, which is trained in a minute."""

FIXED = """
[hyperparameters.seed]
type = "categorical"
choices = [1, 2]
default = 1
"""
"""Nothing is tuned: the seed is there because a search needs a hyperparameter."""

FULL_RESOLUTION = (
    'options = { similarity = "CC", window_radius = 4, gradient_step = 0.1, '
    "iterations = [100, 70, 50, 20] }"
)
SYNCC = 'options = { transform = "SyNCC" }'


def declarations() -> dict[str, str]:
    """Return `study.toml` of each study, by its folder in `WORK`."""
    demo = hmopt.demo_declaration().replace("search = 12", f"search = {searched_subjects()}")
    for short, long in TRAINED.items():
        assert short in demo
        demo = demo.replace(short, long)
    start, end = demo.index("[pairs]"), demo.index("[network]")
    pairs = f'[pairs]\ntasks = ["cross"]\nsame = ["modality"]\nsearch = {PAIRS}\ntune = 20\n\n'
    model = demo[: demo.index("[search]")]
    model = model[:start] + pairs + model[end:]
    # the same images and pairs, a folder further down
    below = demo[:start].replace('"cohort/', '"../cohort/') + pairs
    below = below.replace("train = 16\ntune = 2", "train = 0\ntune = 0")

    def engine(options: str, hyperparameters: str, trials: int) -> str:
        sampled = f'sampler = "TPESampler"\ntrials = {trials}\nspending = "wilcoxon"\n'
        return f"{below}{ENGINE}{options}\n{hyperparameters}\n[search]{SEARCHED}{sampled}"

    return {
        ".": f"{model}[search]{SEARCHED}{BESIDE}",
        "refined": f"{below}{REFINED}\n[search]{SEARCHED}",
        "ants": engine("", TUNED, trials=16),
        "ants_full": engine(FULL_RESOLUTION, FIXED, trials=0),
        "ants_cc": engine(SYNCC, FIXED, trials=0),
    }


def searched_subjects() -> list[str]:
    """Return the names of the last 12 subjects of the cohort, whom the demo searches on."""
    return [f"sub-{number:03d}" for number in range(19, 31)]


def declare() -> None:
    """Write the cohort and the studies, but what is there already."""
    if not (WORK / "cohort" / "cohort.csv").is_file():
        make_cohort(WORK / "cohort", 30)
    for name, text in declarations().items():
        files = hmopt.StudyFolder(WORK / name)
        if not files.is_declared:
            files.path.mkdir(parents=True, exist_ok=True)
            with replacing(files.declaration_file) as path:
                path.write_text(text, encoding="utf-8")


def main() -> None:
    """Train, search, run ANTs, and keep the results."""
    declare()
    hmopt.train(WORK)
    hmopt.search(WORK, gap=True)
    for name in declarations():
        if name != ".":
            hmopt.search(WORK / name)
    written = hmopt.report(WORK, results=True)
    print(written)
    for name in KEPT:
        (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(WORK / "results" / name, RESULTS / name)


if __name__ == "__main__":
    main()
