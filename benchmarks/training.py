"""A training step against VoxelMorph 0.3.4's own PyTorch modules.

Architecture, loss, batch and images are equal. VoxelMorph's side is its modules as
`benchmarks.voxelmorph_network` puts them together, neurite's NCC of window 9 and squared spatial
gradient, and plain Adam, as its training script has it. hmopt's side is an ordinary registration
network (no hypernetwork) with hmopt's losses and fused Adam. Weights and the regularization of both
are the same: 1 - NCC of the moved image, plus the velocity's gradient. Batches are in memory. The
note also has hmopt's hypermorph, for which VoxelMorph has no counterpart: its step trains all λ at
once.

A further row compares a step of the hypermorph with one of a separate network of the same
architecture, that of the brains study, both as hmopt trains them: with the same loss, batch and
setting, each with its own optimizer and running average of its weights.
"""

from collections.abc import Callable

import neurite as ne
import torch
from torch import Tensor

from benchmarks.cohorts import NETWORK, SHAPE, SPACE, make_hypermorph, make_network
from benchmarks.oracle import FULL_RESOLUTION
from benchmarks.peak import cuda_operations_per_second
from benchmarks.rows import CannotMeasureError, Measured, row
from benchmarks.timing import medians, milliseconds
from benchmarks.voxelmorph_network import VoxelMorph
from hmopt.declaration import HypernetworkOptions, LossOptions, NetworkOptions, TrainingOptions
from hmopt.losses import Terms, find_similarity, regularize, weighted_loss
from hmopt.networks import Hypermorph, SeparateNetwork, registration_operations
from hmopt.spatial import warp
from hmopt.training import Batch, Loss, make_average, make_optimizer, take_step

SETTING = {"regularization": 0.5}
SETTINGS = [{"regularization": value} for value in (0.1, 0.35, 0.6, 0.85)]
"""Of a step of the hypermorph: one for each pair."""
RATE = 1e-4
SLICE = (160, 160)
WHOLE_HEAD = (160, 192, 160)
BRAINS = NetworkOptions(encoder=[16, 32, 48, 64], decoder=[48, 32, 32], final=[16], stride=2)
"""The network of `studies/brains`."""
NARROW = HypernetworkOptions(widths=[32, 64, 8])
"""Dense layers whose last is narrow: it has a weight for each of its units and each weight of the U-Net."""

Step = Callable[[], float]


def voxelmorph_step(section: NetworkOptions, moving: Tensor, fixed: Tensor) -> Step:
    """Return a training step of VoxelMorph's modules, on the device of the images."""
    network = VoxelMorph(section, moving.dim() - 2).to(moving.device)
    similarity, smoothness = (
        ne.nn.modules.NCC(window_size=9),
        ne.nn.modules.SpatialGradient(penalty="l2"),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)

    def step() -> float:
        optimizer.zero_grad()
        velocity = network.velocity(moving, fixed)
        displacement = network.resize(network.pairwise.velocity_field_integrator(velocity))
        moved = network.warp(moving, displacement)
        loss = 0.5 * (1 - similarity(moved, fixed).mean()) + 0.5 * smoothness(velocity)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def hmopt_step(section: NetworkOptions, moving: Tensor, fixed: Tensor) -> Step:
    """Return a training step of an ordinary registration network of hmopt's, on the device of the images."""
    network = make_network(section, tuple(moving.shape[2:])).to(moving.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    loss_section = LossOptions()
    similarity = find_similarity(loss_section)

    def step() -> float:
        velocity = network(moving, fixed)
        moved = warp(moving, network.displacement(velocity))
        terms = Terms(
            dissimilarity=similarity(moved, fixed),
            weighted={"regularization": regularize(velocity, loss_section, None)},
        )
        loss = weighted_loss(terms, SETTING, scale=1.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def hypermorph_step(section: NetworkOptions, moving: Tensor, fixed: Tensor) -> Step:
    """Return a training step of the hypermorph, as `hmopt train` takes it."""
    hypermorph = make_hypermorph(section, tuple(moving.shape[2:]))
    options = TrainingOptions(learning_rate=RATE)
    optimizer = make_optimizer(hypermorph, options, HypernetworkOptions())
    loss = Loss(options=LossOptions(), scale=1.0, overlap_labels=(), spacing=None)
    batch = Batch(moving=moving, fixed=fixed, moving_labels=None, fixed_labels=None)
    return lambda: take_step(hypermorph, optimizer, loss, batch, [SETTING])[0]


def compare(
    section: NetworkOptions, shape: tuple[int, ...], batch: int, repetitions: int
) -> dict[str, float]:
    """Return the median seconds of a step of each."""
    moving, fixed = torch.rand(2, batch, 1, *shape)
    makers = {"hmopt": hmopt_step, "VoxelMorph": voxelmorph_step, "hypermorph": hypermorph_step}
    return medians(
        {name: make(section, moving, fixed) for name, make in makers.items()}, repetitions
    )


def against_voxelmorph(shape: tuple[int, ...], batch: int, repetitions: int) -> Measured:
    """Compare steps, with the velocity at half resolution, and in the note at full."""
    seconds = compare(NETWORK, shape, batch, repetitions)
    whole = compare(FULL_RESOLUTION, shape, batch, 2)
    note = (
        f"{milliseconds(seconds)} a step of {batch} pairs; with the velocity at full resolution "
        f"{whole['VoxelMorph'] / whole['hmopt']:.2f}×"
    )
    return Measured(seconds["VoxelMorph"] / seconds["hmopt"], note)


@row(
    "training-step-2d",
    goal=2,
    better="higher",
    unit="×",
    against="VoxelMorph 0.3.4's modules, neurite's losses, plain Adam",
    network="U-Net 16-32-32-32, velocity at half resolution, 160×160, batch 4",
    limit="Convolutions take 47 of the step's 65 ms of one core, measured one by one, at 80 to 100 GFLOP/s "
    "of a peak of 118; VoxelMorph's step takes 119, so that the rest would have to shrink from 18 ms to 12.",
)
def step_in_2d() -> Measured:
    """A training step on slices."""
    return against_voxelmorph(SLICE, batch=4, repetitions=7)


@row(
    "training-step-3d",
    goal=2,
    better="higher",
    unit="×",
    against="VoxelMorph 0.3.4's modules, neurite's losses, plain Adam",
    network="U-Net 16-32-32-32, velocity at half resolution, 48×64×48, batch 4",
)
def step_in_3d() -> Measured:
    """A training step on volumes."""
    return against_voxelmorph(SHAPE, batch=4, repetitions=5)


@row(
    "training-step-gpu",
    goal=1,
    better="higher",
    unit="×",
    against="VoxelMorph 0.3.4's modules, neurite's losses, plain Adam",
    network="U-Net 16-32-32-32, velocity at half resolution, 160×192×160, batch 1, one CUDA device",
    needs_gpu=True,
)
def step_on_gpu() -> Measured:
    """A training step on volumes of whole heads, on a CUDA device."""
    if not torch.cuda.is_available():
        raise CannotMeasureError("It needs a CUDA device.")
    device = torch.device("cuda")
    found = torch.cuda.get_device_properties(device)
    kilohertz = getattr(found, "clock_rate", None)
    peak = None
    if kilohertz is not None:
        capability = (found.major, found.minor)
        peak = cuda_operations_per_second(found.multi_processor_count, 1000 * kilohertz, capability)
    return step_on_device(device, found.name, peak, WHOLE_HEAD, batch=1, repetitions=20)


def step_on_device(
    device: torch.device,
    name: str,
    peak: float | None,
    shape: tuple[int, ...],
    batch: int,
    repetitions: int,
) -> Measured:
    """Compare steps on a device; the note tells pairs a second, and the share of its peak.

    A step takes three times the operations of registering its pairs, since gradients take two. Both sides end a step by
    reading the loss, for which the processor waits until the device is done.
    """
    moving, fixed = torch.rand(2, batch, 1, *shape, device=device)
    makers = {"hmopt": hmopt_step, "VoxelMorph": voxelmorph_step}
    sides = {side: make(NETWORK, moving, fixed) for side, make in makers.items()}
    seconds = medians(sides, repetitions, warm_up=3)
    operations = 3 * batch * registration_operations(make_network(NETWORK, shape), shape)
    rate = operations / seconds["hmopt"]
    share = "" if peak is None else f", {rate / peak:.0%} of its float32 peak outside tensor cores"
    note = (
        f"{milliseconds(seconds)} a step of {batch} pairs on {name}: {batch / seconds['hmopt']:.3g} pairs a second, "
        f"{rate / 1e12:.3g} TFLOP/s{share}"
    )
    return Measured(seconds["VoxelMorph"] / seconds["hmopt"], note)


@row(
    "hypermorph-step",
    goal=1.15,
    better="lower",
    unit="×",
    against="a training step of one separate network",
    network="U-Net 16-32-48-64 of studies/brains, dense layers 32-64-8, 160×160, batch 4",
)
def step_of_a_hypermorph() -> Measured:
    """A training step of a hypermorph at four settings against one of a separate network."""
    moving, fixed = torch.rand(2, 4, 1, *SLICE)
    batch = Batch(moving=moving, fixed=fixed, moving_labels=None, fixed_labels=None)
    loss = Loss(options=LossOptions(), scale=1.0, overlap_labels=(), spacing=None)
    options = TrainingOptions(learning_rate=RATE)

    hypermorph = Hypermorph(make_network(BRAINS, SLICE), SPACE, NARROW.widths)
    of_hypermorph = make_optimizer(hypermorph, options, NARROW)
    mean_hypernetwork = make_average(hypermorph.hypernetwork, options.averaging)
    separate = SeparateNetwork(make_network(BRAINS, SLICE), SETTING)
    of_separate = torch.optim.Adam(separate.parameters(), lr=RATE, fused=True)
    mean_network = make_average(separate, options.averaging)

    def step_hypermorph() -> None:
        take_step(hypermorph, of_hypermorph, loss, batch, SETTINGS)
        mean_hypernetwork.update_parameters(hypermorph.hypernetwork)

    def step_separate() -> None:
        take_step(separate, of_separate, loss, batch, [SETTING])
        mean_network.update_parameters(separate)

    sides = {"hypermorph": step_hypermorph, "separate network": step_separate}
    seconds = medians(sides, repetitions=15)
    value = seconds["hypermorph"] / seconds["separate network"]
    note = (
        f"{milliseconds(seconds)} a step of 4 pairs. The four λ of a step have weights of their own: nine times "
        "as many are learned, and four times as many are reordered for the convolutions."
    )
    return Measured(value, note)
