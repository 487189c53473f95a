"""Fixtures of all tests, and which tests are slow.

Modules that take long to import (torch, training) are imported in the fixtures that need them, so
that the processes of pytest start quickly.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest

from hmopt.catalogue import HYPERPARAMETERS, METRICS, REGULARIZERS, SIMILARITIES
from hmopt.declaration import read_study
from hmopt.declaration.search import SearchOptions
from hmopt.ledger import Baseline, Comparison
from hmopt.ledger.baselines import Role
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Hyperparameter, Space

if TYPE_CHECKING:
    from hmopt.analysis.baselines import BaselineComparison

GIVEN_SHARED = os.environ.pop("HMOPT_SHARED", None)
"""Taken out of the environment: a test that needs it must ask for `shared_data`, and skips without."""

DECLARATION = """
name = "tiny"

[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"

[preprocessing]
shape = [32, 32]

[split]
train = 4
tune = 2
search = 4

[pairs]
tasks = ["cross", "within"]
same = ["modality"]
search = 20
tune = 2

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [8]

[training]
steps = 20
batch = 2

[search]
coarse = 5
refinements = 1
min_paired_subjects = 3
"""


@dataclass(frozen=True)
class TinyStudy:
    """A study folder with a trained model, and the declaration that it was trained under."""

    folder: Path

    def image(self, subject: int, session: int = 1, modality: str = "T1") -> Path:
        """Return an image of its cohort."""
        return self.folder / f"data/images/sub-{subject:03}_ses-{session}_{modality}w.nii.gz"


TESTS = Path(__file__).parent
SLOW_FOLDERS = frozenset(
    {
        "baking",
        "cases",
        "documentation",
        "extension",
        "faults",
        "geometry",
        "integration",
        "report/parts",
        "workers",
    }
)
"""Folders whose tests run whole commands, or read many files."""
SLOW_MODULES = frozenset(
    {
        "analysis/test_baselines.py",
        "analysis/test_beside_calibration.py",
        "analysis/test_broken.py",
        "analysis/test_calibration.py",
        "analysis/test_drift.py",
        "analysis/test_gain.py",
        "analysis/test_gap_calibration.py",
        "analysis/test_held_out.py",
        "analysis/test_invariance.py",
        "analysis/test_pooling.py",
        "analysis/test_sensitivity.py",
        "analysis/test_simulation.py",
        "analysis/test_transfer.py",
        "architecture/test_imports.py",
        "benchmarks/test_counterparts.py",
        "benchmarks/test_growth.py",
        "benchmarks/test_many_workers.py",
        "benchmarks/test_spending.py",
        "benchmarks/test_training.py",
        "cli/test_bad_input.py",
        "cli/test_compare.py",
        "cli/test_ledger.py",
        "data/test_alignment.py",
        "data/test_bids.py",
        "data/test_inspection.py",
        "data/test_invariance.py",
        "data/test_prepared.py",
        "data/test_preprocessing.py",
        "data/test_synthetic.py",
        "interop/test_hypermorph_h5.py",
        "interop/test_synthmorph_h5.py",
        "interop/engines/test_adaptors.py",
        "interop/engines/test_command.py",
        "interop/engines/test_outputs.py",
        "interop/engines/test_processes.py",
        "ledger/test_damage.py",
        "ledger/test_ledger.py",
        "ledger/test_order.py",
        "ledger/test_table.py",
        "networks/test_checkpoint.py",
        "networks/test_custom.py",
        "networks/test_hypernetize.py",
        "interop/test_clapirn_published.py",
        "oracle/test_amortized.py",
        "oracle/test_baselines.py",
        "oracle/test_open.py",
        "report/test_any_oracle.py",
        "report/test_broken_oracles.py",
        "report/test_gain.py",
        "report/test_several.py",
        "search/test_mixed_spaces.py",
        "search/test_open_study.py",
        "search/test_optimization.py",
        "search/test_spending.py",
        "search/test_studies.py",
        "training/test_hyperparameters.py",
        "training/test_state.py",
        "training/test_train.py",
        "training/test_train_baselines.py",
        "tuner/test_page.py",
        "workflow/test_apply.py",
        "workflow/test_devices.py",
        "workflow/test_disturbed.py",
        "workflow/test_engine_names.py",
        "workflow/test_executor.py",
        "workflow/test_machine.py",
        "workflow/test_new.py",
        "workflow/test_new_bids.py",
        "workflow/test_new_engine.py",
        "workflow/test_new_model.py",
        "workflow/test_publish.py",
        "workflow/test_python.py",
    }
)
"""Modules whose tests take more than a second of processor time together."""
SLOW_FIXTURES = frozenset({"tiny_study", "shared_data", "study_folder", "few_folder"})
"""Fixtures that train a model, write a study with a report, or read real cohorts."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import slow modules where only fast tests are asked for."""
    if config.getoption("markexpr") != "not slow" or not collection_path.is_relative_to(TESTS):
        return None
    place = collection_path.relative_to(TESTS).as_posix()
    return True if place in SLOW_FOLDERS or place in SLOW_MODULES else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, which `make check` leaves out."""
    for item in items:
        if item.path.is_relative_to(TESTS) and is_slow(item):
            item.add_marker(pytest.mark.slow)


def is_slow(item: pytest.Item) -> bool:
    """Tell whether a test is slow by its folder, its module or a fixture that it needs."""
    module = item.path.relative_to(TESTS)
    fixtures = getattr(item, "fixturenames", ())
    return (
        module.parent.as_posix() in SLOW_FOLDERS
        or module.as_posix() in SLOW_MODULES
        or not SLOW_FIXTURES.isdisjoint(fixtures)
    )


# how long an example takes says more of the machine than of hmopt; examples are the same in every run
hypothesis.settings.register_profile(
    "hmopt",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("hmopt")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Let Ctrl-C do what it does in a terminal: a shell lets what it starts in the background ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Let no test wait until a disk has written a file; that is tested by what is asked of the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device: run `pytest -m gpu` on a machine that has one")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    from hmopt.data.preprocessing import prepare
    from hmopt.data.synthetic import make_cohort
    from hmopt.training.train import train

    folder = tmp_path_factory.mktemp("tiny")
    make_cohort(folder / "data", subjects=10, shape=(32, 32))
    (folder / "study.toml").write_text(DECLARATION, encoding="utf-8")
    study = read_study(folder)
    train(study, prepare(study, folder), folder)
    return TinyStudy(folder)


@pytest.fixture
def catalogue() -> Iterator[None]:
    """Take out what a test added, so that the next one finds what hmopt comes with."""
    from hmopt.report.parts import PARTS

    every: list[dict[str, Any]] = [METRICS, SIMILARITIES, REGULARIZERS, HYPERPARAMETERS]
    before = [dict(records) for records in every]
    parts = list(PARTS)
    modules = set(sys.modules)
    yield
    PARTS[:] = parts
    for records, earlier in zip(every, before, strict=True):
        records.clear()
        records.update(earlier)
    for name in set(sys.modules) - modules:
        if name.startswith("hmopt_plugin_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real cohorts that lies beside the repository, or where HMOPT_SHARED says."""
    shared = Path(GIVEN_SHARED or Path(__file__).parents[2] / "shared")
    if not (shared / "data").is_dir():
        pytest.skip(
            f"needs the real cohorts, and {shared / 'data'} is not there: set HMOPT_SHARED to their folder"
        )
    return shared / "data"


EIGHTHS = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
GRID = tuple((place,) for place in range(9))
TILTED = 1 + 0.5 * (np.linspace(0, 1, 9) - 0.375)
"""How much of its shift a seed has at each setting: all of it at the best one."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Made-up trainings of one kind: a curve of mean Dice over λ = 0, 1/8, …, 1 that each seed shifts and tilts."""

    role: Role
    steps: int
    curve: np.ndarray
    shifts: Sequence[float]
    minutes: float
    whole: int = 99
    """How many seeds hold the whole grid; the others the best setting and the default."""
    ensemble_gain: float = 0.005

    def baselines(self, template: Measurements) -> Iterator[tuple[Baseline, Measurements]]:
        """Yield each seed alone and all of them together, on the pairs of a template."""
        everyone = tuple(range(len(self.shifts)))
        for seeds in [*((seed,) for seed in everyone), *([everyone] if len(everyone) > 1 else [])]:
            settings = GRID if max(seeds) < self.whole else [(3,), (4,)]
            networks = len(seeds) * (len(settings) if self.role == "separate" else 1)
            shift = float(np.mean([self.shifts[seed] for seed in seeds]))
            gained = self.ensemble_gain * (len(seeds) > 1)
            one = Baseline(
                role=self.role,
                steps=self.steps,
                seeds=seeds,
                identity=f"{self.role} {self.steps} {seeds}",
                networks=networks,
                minutes=self.minutes * networks,
            )
            yield one, along(template, self.curve + gained + shift * TILTED).at(settings)


def along(template: Measurements, curve: np.ndarray) -> Measurements:
    """Return a template's measurements with Dice along a curve, shifted by the moving subject."""
    subjects = template.pairs["moving_subject"].rank(method="dense").to_numpy()
    dice = np.repeat((curve[:, None] + 0.01 * subjects)[:, :, None], len(template.labels), axis=2)
    return replace(
        template,
        space=EIGHTHS,
        settings=GRID,
        values={"dice": dice, "folding": np.zeros(dice.shape[:2])},
    )


def compare_trained(
    template: Measurements, trained: Sequence[Trained], section: SearchOptions
) -> "BaselineComparison | None":
    """Analyse a comparison of simulated trainings."""
    from hmopt.analysis.baselines import compare_baselines

    measured = {one: values for family in trained for one, values in family.baselines(template)}
    comparison = Comparison(
        model="0f",
        steps=100,
        hypermorph_steps=200,
        grid=GRID,
        optimum=(3,),
        default=(4,),
        baselines=tuple(measured),
    )
    scopes = [WHOLE_COHORT, *(Scope(criteria=(("label", label),)) for label in template.labels)]
    return compare_baselines(
        comparison, measured.__getitem__, along(template, trained[-1].curve), scopes, section
    )


CompareCurves = Callable[..., "BaselineComparison | None"]


@pytest.fixture(scope="session")
def compare_curves() -> CompareCurves:
    """What follows from 5 separate networks (3 with the whole grid), 5 hypermorphs of twice and 3 of equal steps.

    Hypermorphs of equal steps score 0.01 less; seeds of both shift by the same amounts.
    """

    def build(
        template: Measurements,
        separate: np.ndarray,
        hypermorph: np.ndarray,
        shifts: Sequence[float] = (-0.002, 0.0, 0.002, 0.001, -0.001),
        **changes: Any,
    ) -> "BaselineComparison | None":
        kinds = [
            Trained(
                role="separate", steps=100, curve=separate, shifts=shifts, minutes=3.5, whole=3
            ),
            Trained(
                role="hypermorph",
                steps=100,
                curve=hypermorph - 0.01,
                shifts=shifts[:3],
                minutes=3.75,
            ),
            Trained(role="hypermorph", steps=200, curve=hypermorph, shifts=shifts, minutes=7.0),
        ]
        return compare_trained(
            template, [replace(kind, **changes) for kind in kinds], SearchOptions()
        )

    return build
