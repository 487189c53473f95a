"""Two published ways to regularize each region on its own, trained on the slices of a study for as many steps.

    python studies/regional/published.py weight_map studies/regional --steps 3000
    python studies/regional/published.py learned_map studies/regional --steps 3000 --regularization 0.3 --alpha 1.1

Images, batches, augmentation, loss scale, similarity, velocity and its integration, optimizer and schedule are those of
the study; what differs is how the regularization of a region gets into the network.

`weight_map` (Wang, Qiu and Qin, ISBI 2023) is one network for all settings: a map of λ, made of the label map of the
fixed image, scales and shifts its normalized features at each voxel. **It needs that label map to register, too**; the
labels of the fixed image are given, so that its Dice is not that of a method that sees images alone. The published
network is a pyramid that predicts displacements level by level; this is the U-Net of the study with their
normalization. λ of a region is drawn as in the study, and weighs the loss in the same way.

`learned_map` (Chen et al., 2024) has no setting for a region: the network predicts beside the velocity a weight
w(x) in (0, 1) of the regularizer at each voxel, and a prior Beta(α, 1) draws w towards 1,

    L = D + ρ(λ) mean(w · |∇v|²) - (α - 1) mean(log w),    ρ(λ) = λ / max(1 - λ, 0.05).

λ and α are fixed for a network: each pair of them that is given is a training of its own.

Both write `published/NAME.csv` in the study folder: a row for each setting, pair and structure.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from hmopt.data import PreparedCohort, draw_pairs, prepare
from hmopt.declaration import NetworkOptions, Study, read_study
from hmopt.files import replacing
from hmopt.losses import (
    SMALLEST_SHARE,
    RegisteredBatch,
    find_similarity,
    region_shares,
    regional_loss,
    regional_terms,
    squared_gradient_by_region,
)
from hmopt.metrics import Originals, measure
from hmopt.networks import RegistrationNetwork, velocity_stride
from hmopt.records import Pair
from hmopt.search import coarse_settings
from hmopt.space import Setting, numbers_of
from hmopt.spatial import velocity_to_displacement, warp
from hmopt.training import (
    Batch,
    RegionalLoss,
    declared_loss,
    draw_settings,
    draw_training_pairs,
    load_images,
    load_labels,
    make_average,
    make_batch,
    make_schedule,
    study_scale,
    training_pairs,
)

HIDDEN = 16
"""Features between a map of λ and the scales and shifts that are made of it."""
SMALLEST_WEIGHT = 1e-6
"""Weight below which the prior does not fall any further, as in the published code."""
METRICS = ("dice", "folding")
PAIRS_AT_ONCE = 8

Weigh = Callable[[Batch, Sequence[Setting]], Tensor]
"""Returns the loss of a batch, whose pairs are divided among settings."""
Register = Callable[[Originals], Tensor]
"""Returns the displacements of a batch of pairs."""


class ConditionalNormalization(nn.Module):
    """Instance normalization whose scale and shift at each voxel follow from a map of λ.

    y = γ(x) · (h - mean h) / sd h + β(x), where γ and β are two convolutions of the map; at first
    γ = 1 and β = 0 nearly.

    Parameters
    ----------
    features
        Channels of h.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(1, HIDDEN, 3, padding=1)
        self.scale = nn.Conv2d(HIDDEN, features, 3, padding=1)
        self.shift = nn.Conv2d(HIDDEN, features, 3, padding=1)
        for convolution, bias in ((self.scale, 1.0), (self.shift, 0.0)):
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.constant_(convolution.bias, bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        """Normalize (n, features, *grid) by a map (n, 1, *shape) on a grid as fine or finer."""
        _, _, height, width = features.shape
        on_grid = functional.adaptive_avg_pool2d(weights, (height, width))
        hidden = functional.leaky_relu(self.hidden(on_grid), 0.2)
        normalized = functional.instance_norm(features)
        scaled: Tensor = self.scale(hidden) * normalized + self.shift(hidden)
        return scaled


class MapConditionedNetwork(nn.Module):
    """A U-Net of images of two dimensions with a conditional normalization after each convolution.

    Parameters
    ----------
    options
        Features of its levels, as of the study.

    References
    ----------
    Wang, Qiu and Qin, Conditional deformable image registration with spatially-variant and adaptive
    regularization, ISBI 2023.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        encoder, decoder, final = options.encoder, options.decoder, options.final
        self.options = options
        stride = options.stride
        first = nn.Conv2d(2, encoder[0], 2 * stride, stride, (stride + 1) // 2)
        if stride == 1:
            first = nn.Conv2d(2, encoder[0], 3, padding=1)
        self.down = nn.ModuleList([first])
        for before, after in pairwise(encoder):
            self.down.append(nn.Conv2d(before, after, 3, padding=1))
        features = encoder[-1]
        self.up = nn.ModuleList()
        for skip, after in zip(encoder[-2::-1][: len(decoder)], decoder, strict=True):
            self.up.append(nn.Conv2d(features + skip, after, 3, padding=1))
            features = after
        self.final = nn.ModuleList()
        for after in final:
            self.final.append(nn.Conv2d(features, after, 3, padding=1))
            features = after
        widths = [*encoder, *decoder, *final]
        self.norms = nn.ModuleList([ConditionalNormalization(width) for width in widths])
        self.velocity = nn.Conv2d(features, 2, 3, padding=1)
        nn.init.normal_(self.velocity.weight, std=1e-4)
        nn.init.zeros_(self.velocity.bias)  # type: ignore[arg-type]

    def forward(self, moving: Tensor, fixed: Tensor, weights: Tensor) -> Tensor:
        """Predict velocities from images and maps of λ, each (n, 1, *shape)."""
        norms = iter(self.norms)

        def activated(convolution: nn.Module, features: Tensor) -> Tensor:
            return functional.leaky_relu(next(norms)(convolution(features), weights), 0.2)

        features = torch.cat([moving, fixed], dim=1)
        levels = []
        for level, convolution in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = activated(convolution, features)
            levels.append(features)
        skips = levels[-2::-1][: len(self.up)]
        for convolution, skip in zip(self.up, skips, strict=True):
            larger = functional.interpolate(features, scale_factor=2.0)
            features = activated(convolution, torch.cat([larger, skip], dim=1))
        for convolution in self.final:
            features = activated(convolution, features)
        velocity: Tensor = self.velocity(features)
        return velocity


def weight_map(labels: Tensor, loss: RegionalLoss, setting: Setting) -> Tensor:
    """Return the map of λ of label maps (n, *shape): (n, 1, *shape).

    Each voxel has the λ of its region.
    """
    numbers = numbers_of(setting)
    names = ["regularization", *(f"regularization_{region}" for region in loss.regions)]
    strengths = torch.tensor([numbers[name] for name in names], device=labels.device)
    shares = region_shares(labels, list(loss.regions.values()), stride=1)
    return (shares * strengths.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


class LearnedMapNetwork(nn.Module):
    """The registration network of the study, with a second head that predicts a weight at each voxel.

    Parameters
    ----------
    options, shape
        As of `hmopt.networks.RegistrationNetwork`.

    References
    ----------
    Chen et al., Unsupervised learning of spatially varying regularization for diffeomorphic image
    registration, arXiv 2412.17982, 2024.
    """

    def __init__(self, options: NetworkOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.registration = RegistrationNetwork(options, shape)
        self.weight = nn.Conv2d(self.registration.unet.features, 1, 3, padding=1)
        nn.init.normal_(self.weight.weight, std=1e-4)
        nn.init.constant_(self.weight.bias, 2.0)  # type: ignore[arg-type]  # w = 0.88

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Predict velocities (n, 2, *grid) and weights of the regularizer in (0, 1), (n, 1, *grid)."""
        features = self.registration.unet(torch.cat([moving, fixed], dim=1))
        velocity = self.registration.velocity(features)
        return velocity, torch.sigmoid(self.weight(features))


def learned_map_loss(
    dissimilarity: Tensor, velocity: Tensor, weights: Tensor, strength: float, alpha: float
) -> Tensor:
    """Compute the loss with predicted weights.

    Parameters
    ----------
    dissimilarity
        D, a number.
    velocity, weights
        (n, 2, *grid) and (n, 1, *grid).
    strength, alpha
        λ, and α of the prior, at least 1.
    """
    weight = strength / max(1 - strength, SMALLEST_SHARE)
    (regularizer,) = squared_gradient_by_region(velocity, weights)
    prior = (1 - alpha) * weights.clamp(min=SMALLEST_WEIGHT).log().mean()
    loss: Tensor = dissimilarity + weight * regularizer + prior
    return loss


def train(
    study: Study,
    cohort: PreparedCohort,
    network: nn.Module,
    weigh: Weigh,
    steps: int,
    learning_rate: float,
) -> nn.Module:
    """Train a network as a study trains its model; return the running average of its weights.

    A step sees the pairs that the study's model sees at the same seed.
    """
    options = study.training
    device = next(network.parameters()).device
    pairs = training_pairs(study, cohort)
    count = min(options.settings_per_step, options.batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = make_schedule(optimizer, steps, warm_up=min(options.warm_up, steps // 10))
    average = make_average(network, options.averaging)
    for step in range(steps):
        generator = np.random.default_rng([options.seed, step])
        settings = draw_settings(study.space, count, generator)
        chosen = draw_training_pairs(pairs, options.batch, generator)
        batch = make_batch(cohort, chosen, options, generator, with_labels=True).to(device)
        loss = weigh(batch, settings)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    trained: nn.Module = average.module
    return trained.eval()


def measured(
    cohort: PreparedCohort, pairs: Sequence[Pair], register: Register, device: torch.device
) -> Iterator[dict[str, object]]:
    """Yield a row for each pair and structure: Dice, and the share of folded voxels of the pair."""
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        moving, fixed = [pair.moving for pair in some], [pair.fixed for pair in some]
        originals = Originals(
            moving=load_images(cohort, moving).to(device),
            fixed=load_images(cohort, fixed).to(device),
            moving_labels=load_labels(cohort, moving).to(device),
            fixed_labels=load_labels(cohort, fixed).to(device),
            label_count=len(cohort.labels),
            spacing_mm=cohort.spacing_mm,
        )
        with torch.inference_mode():
            values = measure(METRICS, originals, register(originals))
        for row, pair in enumerate(some):
            of_pair = {
                "pair": pair.id,
                "moving_subject": pair.moving_subject,
                "fixed_subject": pair.fixed_subject,
                "folding": float(values["folding"][row]),
            }
            for place, label in enumerate(cohort.labels):
                yield {**of_pair, "label": label, "dice": float(values["dice"][row, place])}


def displacement_of(velocity: Tensor, options: NetworkOptions) -> Tensor:
    """Integrate velocities as the study does."""
    return velocity_to_displacement(velocity, options.integration_steps, velocity_stride(options))


def regional_map_loss(
    network: nn.Module, loss: RegionalLoss, batch: Batch, setting: Setting
) -> Tensor:
    """Register a batch with a map of λ, and return the loss that the study's model has at this setting."""
    assert batch.fixed_labels is not None
    velocity = network(batch.moving, batch.fixed, weight_map(batch.fixed_labels, loss, setting))
    registered = RegisteredBatch(
        moving=batch.moving,
        fixed=batch.fixed,
        moving_labels=batch.moving_labels,
        fixed_labels=batch.fixed_labels,
        velocity=velocity,
        displacement=displacement_of(velocity, network.options),  # type: ignore[arg-type]
        spacing=loss.spacing,
        options=loss.options,
        overlap_labels=loss.overlap_labels,
        scale=loss.scale,
    )
    numbers = numbers_of(setting)
    terms = regional_terms(registered, numbers, loss.regions)
    return regional_loss(terms, numbers, loss.scale)


def run_weight_map(
    study: Study, cohort: PreparedCohort, given: argparse.Namespace
) -> Iterator[dict[str, object]]:
    """Train the network of weight maps, and measure it at the settings of the study's first sweep."""
    loss = declared_loss(study, cohort, study_scale(study, cohort))
    assert isinstance(loss, RegionalLoss), "the study declares loss.regions"
    network = MapConditionedNetwork(study.network).to(given.device)

    def weigh(batch: Batch, settings: Sequence[Setting]) -> Tensor:
        parts = batch.divided(len(settings))
        losses = []
        for setting, part in zip(settings, parts, strict=True):
            share = len(part.moving) / len(batch.moving)
            losses.append(share * regional_map_loss(network, loss, part, setting))
        return torch.stack(losses).sum()

    trained = train(study, cohort, network, weigh, given.steps, given.learning_rate)
    pairs = draw_pairs(cohort, study.pairs, "search")

    def register(originals: Originals, setting: Setting) -> Tensor:
        weights = weight_map(originals.fixed_labels, loss, setting)
        velocity = trained(originals.moving, originals.fixed, weights)
        return displacement_of(velocity, study.network)

    for index in coarse_settings(study.space, study.search):
        setting = study.space.setting(index)
        at_setting = functools.partial(register, setting=setting)
        yield from _with(setting, measured(cohort, pairs, at_setting, torch.device(given.device)))


def run_learned_map(
    study: Study, cohort: PreparedCohort, given: argparse.Namespace
) -> Iterator[dict[str, object]]:
    """Train a network with predicted weights for each λ and α, and measure it."""
    scale = study_scale(study, cohort)
    similarity = find_similarity(study.loss)
    pairs = draw_pairs(cohort, study.pairs, "search")
    for strength, alpha in itertools.product(given.regularization, given.alpha):
        torch.manual_seed(study.training.seed)
        network = LearnedMapNetwork(study.network, cohort.shape).to(given.device)
        weigh = functools.partial(
            _weigh_learned, network, similarity, study.network, scale, strength, alpha
        )
        trained = train(study, cohort, network, weigh, given.steps, given.learning_rate)

        def register(originals: Originals, trained: nn.Module = trained) -> Tensor:
            velocity, _ = trained(originals.moving, originals.fixed)
            return displacement_of(velocity, study.network)

        setting = {"regularization": strength, "alpha": alpha}
        yield from _with(setting, measured(cohort, pairs, register, torch.device(given.device)))


def _weigh_learned(
    network: nn.Module,
    similarity: Callable[[Tensor, Tensor], Tensor],
    options: NetworkOptions,
    scale: float,
    strength: float,
    alpha: float,
    batch: Batch,
    _: Sequence[Setting],
) -> Tensor:
    velocity, weights = network(batch.moving, batch.fixed)
    moved = warp(batch.moving, displacement_of(velocity, options))
    dissimilarity = scale * similarity(moved, batch.fixed)
    return learned_map_loss(dissimilarity, velocity, weights, strength, alpha)


def _with(
    setting: Mapping[str, object], rows: Iterable[dict[str, object]]
) -> Iterator[dict[str, object]]:
    for row in rows:
        yield {**setting, **row}


METHODS = {"weight_map": run_weight_map, "learned_map": run_learned_map}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and measure one of the methods, and write its scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("folder", type=Path, help="study folder that declares loss.regions")
    parser.add_argument("--steps", type=int, help="optimizer steps; left out: those of the study")
    parser.add_argument("--learning-rate", type=float, help="left out: that of the study")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--regularization", type=float, nargs="+", default=[0.5])
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.1])
    given = parser.parse_args(arguments)
    study = read_study(given.folder)
    cohort = prepare(study, given.folder)
    given.steps = given.steps or study.training.steps
    given.learning_rate = given.learning_rate or study.training.learning_rate
    torch.manual_seed(study.training.seed)

    started = time.monotonic()
    rows = pd.DataFrame(METHODS[given.method](study, cohort, given))
    path = given.folder / "published" / f"{given.method}.csv"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as beside:
        rows.to_csv(beside, index=False)
    minutes = (time.monotonic() - started) / 60
    print(f"{path}: {len(rows)} rows, Dice {rows['dice'].mean():.4f}, {minutes:.0f} min")


if __name__ == "__main__":
    main()
