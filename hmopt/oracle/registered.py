"""What oracles that register images share: from batches of pairs to blocks of measurements."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hmopt.catalogue import changing_similarity, find_metric
from hmopt.catalogue.metrics import BACKWARD, LOSS, ONWARD
from hmopt.data.manifest import known_values
from hmopt.data.prepared import PreparedCohort, prefetch
from hmopt.errors import DataError
from hmopt.files import content_hash
from hmopt.metrics import Originals, measure
from hmopt.networks import RegistrationNetwork
from hmopt.networks.unet import CHANNELS_LAST
from hmopt.records import Block, Pair
from hmopt.space import Index, Space
from hmopt.spatial import image_tensor, label_tensor
from hmopt.training.refinement import PairLoss, known_loss

BATCH_VOXELS = 2**22
"""Voxels of a batch's images, at most: measuring takes some hundred bytes for each."""
BATCH_ON_CPU = 8
"""Pairs of a batch on a processor, at most: more make it no faster."""

SETTINGS_AT_ONCE = 64
"""Settings that a batch of pairs passes before the next one is read."""

KEPT_VOXELS = 2**28
"""Voxels, of 8 bytes with their labels, that stay on an accelerator between batches: 2 GiB."""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How the model of an oracle was trained; None where it was not, or it is not known.

    Parameters
    ----------
    loss
        The table `[loss]` that it was trained under.
    loss_scale
        What the similarity was multiplied by.
    steps
        Optimizer steps of the whole training.
    spacing_mm
        Of the grid that it was trained on.
    """

    loss: Mapping[str, Any] | None = None
    loss_scale: float | None = None
    steps: int | None = None
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A registered batch of n pairs.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.
    velocity
        (n, d, *shape / stride), of which it is the flow; None where it is of none.
    converged
        (n,): whether the refinement of each pair stopped by itself; None where none is refined.
    seconds
        (n,): how long each takes, where a part of it was done for another setting; None: as long as it just took.
    """

    displacement: Tensor
    velocity: Tensor | None = None
    converged: Tensor | None = None
    seconds: Tensor | None = None


class RegisteringOracle(ABC):
    """An oracle that registers the pairs of a cohort and measures the outcome.

    To add a kind of model, derive from this class and write three members: `space`, `identity` and
    `register`. Reading images, metrics, batches and blocks are done here; a ledger is put in front
    by `Recorded(oracle, ledger)`.

    Parameters
    ----------
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    is_tried = True
    """Whether pairs that fail are kept as failed; until then, one that fails may end a search, as with engines."""

    def __init__(
        self, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None
    ) -> None:
        self.cohort = cohort
        self.device = torch.device(device)
        self.batch = batch or fitting_batch(cohort.shape, self.device)
        self._images = CohortTensors(cohort, self.device)
        self._thirds: dict[str, str | None] = {}

    @property
    @abstractmethod
    def space(self) -> Space:
        """The hyperparameters that settings are of."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of everything that decides the values."""

    @abstractmethod
    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of n pairs at a setting.

        Parameters
        ----------
        index
            The setting on the lattice.
        pairs
            The n pairs, for messages.
        images
            Their images, `moving` and `fixed` (n, 1, *shape), on the oracle's device.

        Returns
        -------
        Tensor
            (n, d, *shape): displacements in voxels, `moved(x) = moving(x + displacement(x))`.
        """

    @property
    def facts(self) -> TrainingFacts:
        """How its model was trained; nothing where it was not."""
        return TrainingFacts()

    @property
    def unrefined_identity(self) -> str | None:
        """Identity of the model alone where its registrations are refined; None where they are not."""
        return None

    @property
    def file_identity(self) -> str | None:
        """Identity of a trained model by its file alone; None where that is the one it is measured under."""
        return None

    @property
    def pairs_at_once(self) -> int:
        """Pairs that are registered at a time: workers that divide a search take multiples of it."""
        return self.batch

    @property
    def settings_together(self) -> int | None:
        """Settings of the same pairs that are best measured in one place, where a search is divided.

        Several, where one helps to find the next; 1, where a registration takes far longer than reading images; None
        where it matters little.
        """
        return None

    @property
    def is_slow_to_set(self) -> bool:
        """Whether a new setting takes long: then all pairs are measured at one before the next."""
        return False

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that are measured."""
        return self.cohort.labels

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Measure every setting on every pair: a batch of pairs at a time, at all settings.

        Raises
        ------
        DeclarationError
            If a metric is not declared.
        DataError
            If an image of a pair is not in the cohort.
        """
        for name in metrics:
            find_metric(name)
        self._images.check(pairs)
        return self._blocks(settings, pairs, metrics)

    def displacement(self, index: Index, pair: Pair) -> Tensor:
        """Return the displacement of one pair at a setting: (d, *shape), in voxels."""
        with torch.inference_mode():
            images = self._images.load([pair])
            displacements = self.register(index, [pair], images)
            return displacements[0]

    def _blocks(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        for start in range(0, len(settings), SETTINGS_AT_ONCE):
            some_settings = settings[start : start + SETTINGS_AT_ONCE]
            for batch, images in self._images.batches(pairs, self.batch):
                for index in some_settings:
                    yield self._block(index, batch, images, metrics)

    @torch.inference_mode()
    def _block(
        self, index: Index, pairs: Sequence[Pair], images: Originals, metrics: Sequence[str]
    ) -> Block:
        began = time.perf_counter()
        outcome = self._outcome(index, pairs, images)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        share_s = (time.perf_counter() - began) / len(pairs)
        seconds = outcome.seconds
        if seconds is None:
            seconds = torch.full((len(pairs),), share_s)
        losses = None
        if LOSS in metrics:
            losses = self._losses(index, images, outcome)
        values = measure(
            metrics,
            images,
            outcome.displacement,
            seconds,
            losses,
            outcome.converged,
            *self.further_displacements(index, pairs, images, metrics),
        )
        ids = tuple(pair.id for pair in pairs)
        return Block(index=index, pairs=ids, labels=self.labels, values=values)

    def context_of(self, metric: str) -> str | None:
        """Return a hash of what decides a metric's values beside the identity and a pair; None where nothing does.

        Of a metric around three subjects it is what the third one is chosen by: subjects, splits, slices and the
        columns of `pairs.same`.
        """
        if ONWARD not in find_metric(metric).parameters:
            return None
        columns = ["subject", "split", "slice", *self.cohort.same]
        rows = self.cohort.images[columns].sort_index().astype(str)
        if self.cohort.same:
            known = known_values(self.cohort.images[list(self.cohort.same)]).sort_index()
            rows[list(self.cohort.same)] = known.fillna("nan")
        return content_hash(columns, list(rows.index.astype(str)), rows.to_numpy().tolist())

    def further_displacements(
        self, index: Index, pairs: Sequence[Pair], images: Originals, metrics: Sequence[str]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Register what metrics ask for besides the n pairs themselves.

        Parameters
        ----------
        index, pairs, images
            As for `register`.
        metrics
            Names of metrics.

        Returns
        -------
        Tensor or None
            (n, d, *shape): of the pairs with their images exchanged.
        Tensor or None
            (n, 2, d, *shape): from each moving image to an image of a third subject, and from there to the fixed
            image; NaN where there is none.
        """
        asked = {name for metric in metrics for name in find_metric(metric).parameters}
        backward = onward = None
        if BACKWARD in asked:
            exchanged = images.exchanged
            backward = self.register(index, exchanged.pairs, exchanged)
        if ONWARD in asked:
            onward = self._onward(index, pairs, images)
        return backward, onward

    def _onward(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register from each moving image to a third subject, and from there to the fixed image."""
        count, _, *shape = images.moving.shape
        onward = images.moving.new_full((count, 2, len(shape), *shape), torch.nan)
        rows = []
        legs: list[Pair] = []
        for row, pair in enumerate(pairs):
            third = self._third(pair)
            if third is not None:
                rows.append(row)
                legs += _legs(self.cohort, pair, third)
        if rows:
            found = self.register(index, legs, self._images.load(legs))
            # two legs of each pair, one after the other
            onward[rows] = found.reshape(len(rows), 2, *found.shape[1:])
        return onward

    def _third(self, pair: Pair) -> str | None:
        if pair.id not in self._thirds:
            self._thirds[pair.id] = third_image(self.cohort, pair)
        return self._thirds[pair.id]

    def _outcome(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Outcome:
        """Register a batch of pairs, and keep what metrics ask for besides the displacements."""
        return Outcome(displacement=self.register(index, pairs, images))

    def _losses(self, index: Index, images: Originals, outcome: Outcome) -> Tensor | None:
        """Return the loss of each pair, (n,); None where the oracle knows no loss."""
        return None


class UnregisteredOracle(RegisteringOracle):
    """Measures pairs of a cohort as they are, at the one setting `()` of a space without axes.

    Parameters
    ----------
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    @property
    def space(self) -> Space:
        """No hyperparameters."""
        return Space(hyperparameters=())

    @property
    def identity(self) -> str:
        """Hash of the prepared cohort."""
        return content_hash("unregistered", self.cohort.measured_identity)

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return displacements of zero."""
        moving = images.moving
        count, _, *shape = moving.shape
        return moving.new_zeros(count, len(shape), *shape)


class VelocityOracle(RegisteringOracle):
    """An oracle whose displacements are integrated from velocities, which can be refined.

    To add one, write `velocity` and `integrated` in place of `register`, and `facts` where the loss is
    known under which it registers.
    """

    @abstractmethod
    def velocity(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return the velocities of a batch of n pairs at a setting.

        Parameters
        ----------
        index, pairs, images
            As for `register`.

        Returns
        -------
        Tensor
            (n, d, *shape / stride), in voxels of its own grid.
        """

    @abstractmethod
    def integrated(self, index: Index, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities of a setting.

        Parameters
        ----------
        index
            The setting on the lattice.
        velocity
            (n, d, *shape / stride), in voxels of its own grid.
        stride
            Image voxels to a voxel of the velocity along each axis; None: as `velocity` returns them.

        Returns
        -------
        Tensor
            (n, d, *shape), in voxels.
        """

    @property
    def pair_loss(self) -> PairLoss:
        """The loss of a pair, as its model was trained under it.

        Raises
        ------
        CheckpointError
            If it is not known.
        """
        facts = self.facts
        return known_loss(facts.loss, facts.loss_scale, facts.spacing_mm, "model", self.space.names)

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs by the flows of their velocities."""
        return self._outcome(index, pairs, images).displacement

    def _outcome(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Outcome:
        velocity = self.velocity(index, pairs, images)
        return Outcome(displacement=self.integrated(index, velocity), velocity=velocity)

    def _losses(self, index: Index, images: Originals, outcome: Outcome) -> Tensor | None:
        facts = self.facts
        velocity = outcome.velocity
        if not facts.loss or facts.loss_scale is None or velocity is None:
            return None
        if facts.loss.get("regions"):
            return None
        if changing_similarity(self.space.names, facts.loss["similarity"]):
            return None
        setting = self.space.setting(index)
        return self.pair_loss.values(
            images.moving, images.fixed, velocity, outcome.displacement, setting
        )


class NetworkOracle(VelocityOracle):
    """An oracle that registers with an ordinary network at each setting.

    Parameters
    ----------
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(
        self, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None
    ) -> None:
        super().__init__(cohort, device, batch)
        self._keep_networks()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: networks are made again there."""
        state = dict(self.__dict__)
        del state["network"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned."""
        self.__dict__.update(state)
        self._keep_networks()

    def _keep_networks(self) -> None:
        keep = lru_cache(maxsize=SETTINGS_AT_ONCE)
        self.network = keep(self._ready)

    @abstractmethod
    def make_network(self, index: Index) -> RegistrationNetwork:
        """Return the network of a setting, on the oracle's device, with weights of its own."""

    def velocity(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return the velocities of a batch of pairs by the network of a setting, which is made once."""
        network = self.network(index)
        velocity: Tensor = network(images.moving, images.fixed)
        return velocity

    def integrated(self, index: Index, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities, as the network of a setting integrates them."""
        displacement: Tensor = self.network(index).displacement(velocity, stride)
        return displacement

    def _ready(self, index: Index) -> RegistrationNetwork:
        network = self.make_network(index)
        for weight in network.parameters():
            # of a convolution, which takes half the time this way
            memory_format = CHANNELS_LAST.get(weight.dim() - 2)
            if memory_format is not None:
                weight.data = weight.data.contiguous(memory_format=memory_format)
        return network


class CohortTensors:
    """Images and label maps of a cohort on a device, read a batch ahead.

    On a processor nothing is kept: the cohort's arrays are memory-mapped, and the system keeps what
    there is room for. An accelerator keeps the images used last.

    Parameters
    ----------
    cohort
        The prepared cohort.
    device
        Where tensors go.
    """

    def __init__(self, cohort: PreparedCohort, device: torch.device) -> None:
        self.cohort = cohort
        self.device = device
        self._keep_sent()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it sends images to its device itself."""
        return {"cohort": self.cohort, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` returned."""
        self.__dict__.update(state)
        self._keep_sent()

    def _keep_sent(self) -> None:
        voxels = math.prod(self.cohort.shape)
        keep = lru_cache(maxsize=max(2, KEPT_VOXELS // voxels))
        self._sent = keep(self._send)

    def check(self, pairs: Sequence[Pair]) -> None:
        """Refuse pairs of images that the cohort does not have.

        Raises
        ------
        DataError
            If there is such a pair.
        """
        known = set(self.cohort.images.index)
        for name in (name for pair in pairs for name in (pair.moving, pair.fixed)):
            if name not in known:
                raise DataError(
                    "pairs",
                    expected="images of the cohort",
                    got=repr(name),
                    advice="Draw the pairs from it.",
                )

    def batches(
        self, pairs: Sequence[Pair], size: int
    ) -> Iterator[tuple[Sequence[Pair], Originals]]:
        """Yield some pairs at a time with their images, while the next ones are read."""
        starts = range(0, len(pairs), size)
        parts = [pairs[start : start + size] for start in starts]
        images = prefetch(self.load, parts)
        return zip(parts, images, strict=True)

    def load(self, pairs: Sequence[Pair]) -> Originals:
        """Return the images and label maps of some pairs."""
        moving, moving_labels = self._batch([pair.moving for pair in pairs])
        fixed, fixed_labels = self._batch([pair.fixed for pair in pairs])
        return Originals(
            moving=moving,
            fixed=fixed,
            moving_labels=moving_labels,
            fixed_labels=fixed_labels,
            label_count=len(self.cohort.labels),
            spacing_mm=self.cohort.spacing_mm,
            pairs=tuple(pairs),
            world_of=self.cohort.to_world,
            grid_of=self.cohort.grid,
            landmarks_of=self.cohort.landmarks_of,
        )

    def _batch(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return n images (n, 1, *shape), float32, and label maps (n, *shape), int32."""
        if self.device.type == "cpu":
            return self._read(names)
        items = [self._sent(name) for name in names]
        images = [image for image, _ in items]
        label_maps = [label_map for _, label_map in items]
        return torch.cat(images), torch.cat(label_maps)

    def _read(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        images = [self.cohort.image(name) for name in names]
        label_maps = [self.cohort.label_map(name) for name in names]
        return image_tensor(images), label_tensor(label_maps)

    def _send(self, name: str) -> tuple[Tensor, Tensor]:
        image, labels = self._read([name])
        return self._sent_tensor(image), self._sent_tensor(labels)

    def _sent_tensor(self, tensor: Tensor) -> Tensor:
        pinned = tensor.pin_memory()
        return pinned.to(self.device, non_blocking=True)


def third_image(cohort: PreparedCohort, pair: Pair) -> str | None:
    """Return the image of a third subject that closes a cycle with a pair; None where there is none.

    It is one of the same set of subjects and of the same slice as the fixed image, and agrees with it in the columns of
    `pairs.same`, as the images of a pair do: an unknown value equals no other. Which one of these is decided by a hash
    of names, so that neither their order nor other pairs matter.

    Parameters
    ----------
    cohort
        Holds the images.
    pair
        Two of them.
    """
    images = cohort.images
    fixed = images.loc[pair.fixed]
    others = ~images["subject"].isin([pair.moving_subject, pair.fixed_subject])
    for column in ("split", "slice"):
        others &= images[column] == fixed[column]
    if cohort.same:
        known = known_values(images[list(cohort.same)])
        for column in cohort.same:
            # a comparison with None is never true
            others &= known[column] == known.at[pair.fixed, column]
    names = [str(name) for name in images.index[others]]
    if not names:
        return None
    return min(names, key=lambda name: content_hash(pair.id, name))


def _legs(cohort: PreparedCohort, pair: Pair, third: str) -> list[Pair]:
    """Return the pairs that lead from a moving image to a third one, and from there to the fixed image."""
    subject = str(cohort.images.at[third, "subject"])
    to_third = Pair(
        moving=third,
        fixed=pair.moving,
        moving_subject=subject,
        fixed_subject=pair.moving_subject,
    )
    to_fixed = Pair(
        moving=pair.fixed,
        fixed=third,
        moving_subject=pair.fixed_subject,
        fixed_subject=subject,
    )
    return [to_third, to_fixed]


def fitting_batch(shape: tuple[int, ...], device: torch.device) -> int:
    """Return how many pairs to measure at a time.

    Examples
    --------
    >>> cpu, cuda = torch.device("cpu"), torch.device("cuda")
    >>> fitting_batch((160, 160), cpu), fitting_batch((160, 160), cuda)
    (8, 163)
    >>> fitting_batch((160, 192, 224), cpu)
    1
    """
    voxels = math.prod(shape)
    fitting = max(1, BATCH_VOXELS // voxels)
    if device.type == "cpu":
        fitting = min(fitting, BATCH_ON_CPU)
    return fitting
