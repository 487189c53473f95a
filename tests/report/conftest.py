from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.declaration.search import SearchOptions
from hmopt.files import slug
from hmopt.ledger import Ledger, Searched
from hmopt.records import Block
from hmopt.report.material import Material
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder

EVIL = '<b onclick="x">R&D $\\frac{1</b>'
BEST = {"cortex": 0.05, "ventricle": 0.15, "thalamus": 0.55, "putamen": 0.7, EVIL: 0.35}
SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
CACHED_GAINS = ("granularities", "gains", "default_gains")
"""Properties of `Material` that are computed once, and that a test may replace."""
NEAREST_LOSES, NEAREST_SHIFT = 5.0, -0.3
"""Nearest-neighbour Dice is best at values that are higher by almost the shift."""
UNREGISTERED = (0.5, 0.51, 0.52, 0.53, 0.54)
STUDY = """
name = "made-up brains"
[cohort]
images = "images"
labels = "labels"
[preprocessing]
shape = [48, 64]
[split]
train = 20
tune = 4
search = 12
"""


def make_pairs(subjects: int) -> pd.DataFrame:
    names = [f"s{number:02d}" for number in range(subjects)]
    cross = [(f"{a}_1", f"{b}_1", a, b, "cross") for a in names for b in names if a != b]
    within = [(f"{a}_1", f"{a}_2", a, a, "within") for a in names[:4]]
    columns = ["moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(cross + within, columns=columns)
    pairs.insert(0, "pair", pairs["moving"] + "->" + pairs["fixed"])
    return pairs


def make_blocks(
    pairs: pd.DataFrame, settings: list[tuple[int, ...]], seed: int, shift: float
) -> list[Block]:
    """Dice that falls with the squared distance from each label's best value, which is 0.2 higher within subjects."""
    generator = np.random.default_rng(seed)
    within = (pairs["task"] == "within").to_numpy()
    of_pair = 0.03 * generator.standard_normal((len(pairs), len(BEST)))
    of_subject = dict(
        zip(sorted({*pairs["moving_subject"]}), 0.12 * generator.standard_normal(50), strict=False)
    )
    own = 0.05 * generator.standard_normal((len(pairs), len(BEST)))
    own += (
        pairs["moving_subject"].map(of_subject) + pairs["fixed_subject"].map(of_subject)
    ).to_numpy()[:, None]
    blocks = []
    for index in settings:
        value = float(SPACE.setting(index)["regularization"])
        best = np.array(list(BEST.values())) + shift + own + 0.2 * within[:, None]
        dice = 0.72 + 0.15 * within[:, None] + of_pair - 0.12 * (value - best) ** 2
        dice[::17, 1] = np.nan
        folding = np.full(len(pairs), 0.004 * np.exp(-9 * value))
        nearest = dice - NEAREST_LOSES * (value - best + NEAREST_SHIFT) ** 2
        values = {
            "dice": dice,
            "dice_nearest": np.clip(nearest, 0, 1),
            "folding": folding,
            "log_jacobian_sd": np.full(len(pairs), 0.3 * (1 - value)),
            "similarity": np.full(len(pairs), 0.8 - 0.2 * value),
        }
        ids = tuple(pairs["pair"])
        blocks.append(Block(index=index, pairs=ids, labels=tuple(BEST), values=values))
    return blocks


def make_examples(folder: Path, name: str) -> None:
    generator = np.random.default_rng(0)
    x, y = np.mgrid[:48, :64]
    arrays = {"setting": np.array([0.3])}
    for role, score, shift in (("typical", 0.7, 1.0), ("worst", 0.5, 3.0)):
        for image, move in (("moving", shift), ("fixed", 0.0), ("moved", 0.4 * shift)):
            distance = np.hypot(x - 24 - move, y - 32)
            arrays[f"{role}_{image}"] = np.exp(
                -((distance / 14) ** 4)
            ) * 0.8 + 0.03 * generator.random((48, 64))
            arrays[f"{role}_{image}_labels"] = np.digitize(
                -distance, [-18, -14, -10, -6, -3]
            ).astype(np.uint8)
        arrays[f"{role}_displacement"] = np.stack([np.sin(y / 9), np.cos(x / 7)]) * shift
        arrays |= {f"{role}_pair": np.array("s00_1->s01_1"), f"{role}_score": np.array(score)}
    path = folder / "examples" / f"{slug(name)}.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def write_study(folder: Path, section: SearchOptions, subjects: int = 12) -> Path:
    pairs = make_pairs(subjects)
    searched = Searched(
        name="made-up brains",
        identity="full",
        identity_half="half",
        identity_unregistered="before",
        labels=tuple(BEST),
        spacing_mm=(1.0, 1.0),
        space=SPACE,
        loss={"similarity": "lncc", "regularization": "gradient"},
        loss_scale=2.5,
        search=section,
    )
    StudyFolder(folder).write_search(searched, pairs)
    ledger = Ledger(folder / "ledger")
    ledger.write("full", SPACE, make_blocks(pairs, SPACE.coarse(21), seed=1, shift=0.0))
    ledger.write("half", SPACE, make_blocks(pairs, SPACE.coarse(21), seed=1, shift=0.03))
    of_labels, of_pairs = np.tile(UNREGISTERED, (len(pairs), 1)), np.zeros(len(pairs))
    before = {
        "dice": of_labels,
        "dice_nearest": of_labels,
        "folding": of_pairs,
        "log_jacobian_sd": of_pairs,
        "similarity": of_pairs,
    }
    block = Block(index=(), pairs=tuple(pairs["pair"]), labels=tuple(BEST), values=before)
    ledger.write("before", Space(hyperparameters=()), [block])
    (folder / "study.toml").write_text(STUDY)
    steps = np.arange(1, 901)
    log = pd.DataFrame(
        {"step": steps, "minutes": steps / 20, "loss": 1 / np.sqrt(steps) + 0.02 * np.sin(steps)}
    )
    log["tune_dice"] = np.where(steps % 100 == 0, 0.7 - 1 / np.sqrt(steps), np.nan)
    log.to_csv(folder / "training.csv", index=False)
    (folder / "commands.csv").write_text(
        "command,started,minutes,version\nhmopt train,,45,0\nhmopt search,,15,0\n"
    )
    return folder


@pytest.fixture(scope="session")
def declared() -> SearchOptions:
    return SearchOptions(
        metric="dice",
        reported=["dice_nearest", "folding", "log_jacobian_sd", "similarity"],
        scopes=[["cohort"], ["label"], ["task"], ["subject"]],
    )


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory, declared: SearchOptions) -> Path:
    folder = write_study(tmp_path_factory.mktemp("study"), declared)
    make_examples(folder, "cohort")
    return folder


@pytest.fixture(scope="session")
def add_model() -> Callable[[Path, str, float], None]:
    """Add measurements of another model to a study folder, all best values of which are higher by so much."""

    def add(folder: Path, identity: str, shift: float) -> None:
        pairs = StudyFolder(folder).pairs
        Ledger(folder / "ledger").write(
            identity, SPACE, make_blocks(pairs, SPACE.coarse(21), seed=1, shift=shift)
        )

    return add


@pytest.fixture(scope="session")
def with_gains() -> Callable[..., Material]:
    """Return a study as if its `granularities`, `gains` or `default_gains` were others."""

    def build(material: Material, **known: object) -> Material:
        assert set(known) <= set(CACHED_GAINS)
        earlier = {name: vars(material)[name] for name in CACHED_GAINS if name in vars(material)}
        told = replace(material)
        vars(told).update(earlier | known)
        return told

    return build


@pytest.fixture(scope="session")
def few_folder(tmp_path_factory: pytest.TempPathFactory, declared: SearchOptions) -> Path:
    """A study of four subjects, of whom nothing can be said with confidence."""
    return write_study(tmp_path_factory.mktemp("few"), declared, subjects=4)


@pytest.fixture(scope="session")
def many_pairs() -> Callable[[int], pd.DataFrame]:
    """All ordered pairs of so many subjects, four of them rescanned."""
    return make_pairs
