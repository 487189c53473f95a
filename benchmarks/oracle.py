"""The cost of an evaluation: one setting, one pair, Dice of all labels and folding.

Both sides register 8 pairs of volumes at 5 settings, on two threads, without gradients.
VoxelMorph's side is the usual loop over separate networks, one trained for each λ: load the weights
for every trial, then for every pair run the network with its integration, one nearest-neighbour
warp of the label map, and Dice of every label and folding by VoxelMorph's own functions; images and
label maps are tensors in memory. hmopt's side is its oracle, which reads the prepared cohort,
predicts weights anew for every setting, and takes Dice by partial volumes (more work than nearest
Dice).
"""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cohorts import (
    NETWORK,
    NETWORK_NAME,
    SHAPE,
    SPACE,
    make_cohort,
    make_hypermorph,
    make_pairs,
)
from benchmarks.rows import Measured, row
from benchmarks.timing import medians, milliseconds
from benchmarks.voxelmorph_network import VoxelMorph, dice_and_folding
from hmopt.data import PreparedCohort
from hmopt.declaration import NetworkOptions, SearchOptions
from hmopt.oracle import AmortizedOracle
from hmopt.records import Pair
from hmopt.space import Index

METRICS = ("dice", "folding")
PAIRS, TRIALS, REPETITIONS = 8, 5, 5
FULL_RESOLUTION = NetworkOptions(encoder=[16, 32, 32, 32], decoder=[32, 32, 32], final=[], stride=1)


@contextmanager
def cohort_of(
    subjects: int, shape: tuple[int, ...] = SHAPE, labels: int = 9
) -> Iterator[PreparedCohort]:
    """Yield a temporary cohort."""
    with tempfile.TemporaryDirectory() as folder:
        yield make_cohort(Path(folder) / f"{subjects}-{labels}", subjects, shape, labels)


class Trials:
    """A loop over trials with VoxelMorph's modules.

    Parameters
    ----------
    section
        The network.
    cohort
        Its images are converted to tensors beforehand.
    """

    def __init__(self, section: NetworkOptions, cohort: PreparedCohort) -> None:
        self.network = VoxelMorph(section, len(cohort.shape)).eval()
        torch.nn.init.normal_(self.network.pairwise.flow_layer.conv0.weight, std=1.0)
        self.trained = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.labels = list(range(1, len(cohort.labels) + 1))
        self.images = {
            name: torch.from_numpy(cohort.image(name))[None, None] for name in cohort.images.index
        }
        self.maps = {
            name: torch.from_numpy(cohort.label_map(name))[None, None].float()
            for name in cohort.images.index
        }

    @torch.inference_mode()
    def run(self, pairs: list[Pair], trials: int = 1) -> None:
        """Evaluate a number of trials."""
        for _ in range(trials):
            self.network.load_state_dict(self.trained)
            for pair in pairs:
                displacement = self.register(pair)
                moved = self.network.warp_labels(self.maps[pair.moving], displacement)
                dice_and_folding(displacement, moved, self.maps[pair.fixed], self.labels)

    def register(self, pair: Pair) -> Tensor:
        """Return the displacement of a pair."""
        return self.network.displacement(self.images[pair.moving], self.images[pair.fixed])


class Sweep:
    """hmopt's oracle, called with new settings each time."""

    def __init__(self, oracle: AmortizedOracle, metrics: tuple[str, ...] = METRICS) -> None:
        self.oracle, self.metrics = oracle, metrics
        self.settings: Iterator[Index] = itertools.cycle(
            [(index,) for index in range(SPACE.hyperparameters[0].points)]
        )

    def run(self, pairs: list[Pair], trials: int = 1) -> None:
        """Measure a number of settings."""
        for _ in self.oracle.measure(
            list(itertools.islice(self.settings, trials)), pairs, self.metrics
        ):
            pass


def evaluation_ratio(
    section: NetworkOptions, cohort: PreparedCohort, repetitions: int
) -> tuple[float, str]:
    """Return hmopt's evaluations a second over those of the loop over trials, and the times of one evaluation."""
    pairs = make_pairs(cohort, PAIRS)
    loop, sweep = (
        Trials(section, cohort),
        Sweep(AmortizedOracle(make_hypermorph(section, cohort.shape), cohort)),
    )
    sides = {
        "hmopt": lambda: sweep.run(pairs, TRIALS),
        "VoxelMorph": lambda: loop.run(pairs, TRIALS),
    }
    each = {name: seconds / PAIRS / TRIALS for name, seconds in medians(sides, repetitions).items()}
    return each["VoxelMorph"] / each["hmopt"], milliseconds(each)


@row(
    "evaluations",
    goal=2.5,
    better="higher",
    unit="×",
    against="a loop over trials with VoxelMorph 0.3.4's modules, equal U-Net and resolutions",
    network=NETWORK_NAME,
)
def evaluations() -> Measured:
    """Evaluations a second: one setting, one pair, Dice of 9 labels and folding."""
    with cohort_of(16) as cohort:
        value, each = evaluation_ratio(NETWORK, cohort, REPETITIONS)
        whole, _ = evaluation_ratio(FULL_RESOLUTION, cohort, 1)
    return Measured(
        value, f"{each} an evaluation; with the velocity at full resolution {whole:.2f}×"
    )


@row(
    "hypernetwork-share",
    goal=0.01,
    better="lower",
    unit="of the time",
    against="a sweep of 64 pairs at one setting",
    network=NETWORK_NAME,
)
def hypernetwork_share() -> Measured:
    """The share of predicting weights in measuring 64 pairs at a setting."""
    with cohort_of(16) as cohort:
        pairs = make_pairs(cohort, 64)
        oracle = AmortizedOracle(make_hypermorph(), cohort)
        sweep, fresh = Sweep(oracle), Sweep(oracle)
        fresh.settings = iter([(index,) for index in range(199, -1, -1)])
        sides = {
            "sweep": lambda: sweep.run(pairs),
            "weights": lambda: oracle.network(next(fresh.settings)),
        }
        seconds = medians(sides, 3)
    return Measured(seconds["weights"] / seconds["sweep"], milliseconds(seconds))


@row(
    "139-labels",
    goal=1.2,
    better="lower",
    unit="×",
    against="2 labels that share the same foreground",
    network=NETWORK_NAME,
)
def many_labels() -> Measured:
    """Time of a pair with 139 labels against 2, by all metrics that a search measures by default."""
    metrics = SearchOptions().measured
    with cohort_of(16, labels=139) as many, cohort_of(16, labels=2) as few:
        pairs = make_pairs(many, PAIRS)
        hypermorph = make_hypermorph()
        sweeps = {"139 labels": Sweep(AmortizedOracle(hypermorph, many), metrics)}
        sweeps["2 labels"] = Sweep(AmortizedOracle(hypermorph, few), metrics)
        runs = {name: partial(sweep.run, pairs, TRIALS) for name, sweep in sweeps.items()}
        seconds = medians(runs, 5)
    each = {name: value / PAIRS / TRIALS for name, value in seconds.items()}
    return Measured(each["139 labels"] / each["2 labels"], f"{milliseconds(each)} a pair")
