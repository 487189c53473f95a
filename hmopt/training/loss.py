"""The loss of a training: its terms for a batch, and the scale that fixes what λ means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hmopt import catalogue
from hmopt.catalogue import Record, find_regularizer, term_parameters, weighted_terms
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import LossOptions, Study
from hmopt.errors import DataError, DeclarationError
from hmopt.losses import (
    ImageLoss,
    RegisteredBatch,
    Terms,
    balanced_loss,
    find_similarity,
    loss_terms,
    of_second_similarity,
    regional_loss,
    regional_terms,
)
from hmopt.networks import RegistrationNetwork
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Setting, Value, as_number, numbers_of
from hmopt.training.batches import Batch, load_images, training_pairs

PAIRS_LOOKED_AT = 64
"""Training pairs, at most, from which the loss scale is estimated."""
PAIRS_OF_A_RATIO = 16
"""Training pairs, at most, from which ratios of scales are estimated; the same for all values."""
VALUES_OF_A_RATIO = 17
"""Values of a hyperparameter, at most, at which they are estimated."""
ANISOTROPY = 1.01
"""Ratio of the largest to the smallest voxel side above which regularizers see the spacing."""


class Model(Protocol):
    """What registers at settings: a hypermorph, or a network of one setting."""

    registration: RegistrationNetwork

    def velocities(self, moving: Tensor, fixed: Tensor, settings: Sequence[Setting]) -> Tensor:
        """Predict the velocity of images of shape (batch, 1, *shape), each part of them at its setting."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScaleRatio:
    """How the scale of a similarity loss changes with a hyperparameter that is an argument of it.

    Unregistered pairs differ from identical images by 1 at every value, as at the declared one.
    Between the values of the table the ratio is linear along the range.

    Parameters
    ----------
    hyperparameter
        Whose value is the argument.
    values
        Rising values of it.
    ratios
        The scale at each, relative to that at the value in `[loss]`.

    Examples
    --------
    >>> window = Hyperparameter(name="window", type="integer", low=3, high=9, step=2, default=9)
    >>> ratio = ScaleRatio(hyperparameter=window, values=(3, 7, 9), ratios=(1.5, 1.1, 1.0))
    >>> ratio.at(3), round(ratio.at(5), 6)
    (1.5, 1.3)
    """

    hyperparameter: Hyperparameter
    values: tuple[Value, ...]
    ratios: tuple[float, ...]

    def at(self, value: Value) -> float:
        """Return the ratio at a value."""
        place = self.hyperparameter.to_unit_interval(value)
        places = [self.hyperparameter.to_unit_interval(one) for one in self.values]
        return float(np.interp(place, places, self.ratios))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The loss of a training.

    Parameters
    ----------
    options
        Declares its terms.
    scale
        What the similarity loss is multiplied by.
    overlap_labels
        Values in the label maps that the overlap loss sees.
    spacing
        Size of a voxel where the cohort's spacing is anisotropic, else None.
    second_scale
        What the second similarity loss is multiplied by, where there is one.
    ratios, second_ratios
        How the two scales change with hyperparameters.

    Examples
    --------
    >>> Loss(options=LossOptions(), scale=2.0, overlap_labels=(1, 2), spacing=None).scale
    2.0
    """

    options: LossOptions
    scale: float
    overlap_labels: tuple[int, ...]
    spacing: tuple[float, ...] | None
    second_scale: float = 1.0
    ratios: tuple[ScaleRatio, ...] = ()
    second_ratios: tuple[ScaleRatio, ...] = ()

    def terms(self, model: Model, batch: Batch, setting: Setting) -> Terms:
        """Register a batch at a setting and compute the terms of its loss.

        Without label maps the overlap loss is 0.
        """
        (registered,) = self.registered(model, batch, [setting])
        return self.terms_of(registered, setting)

    def terms_of(self, registered: RegisteredBatch, setting: Setting) -> Terms:
        """Compute the terms of the loss of pairs that are registered at a setting."""
        return loss_terms(registered, numbers_of(setting))

    def balanced(self, terms: Terms, setting: Setting) -> Tensor:
        """Return the loss of a setting with gradients of similar size at every λ: what is minimized."""
        return balanced_loss(terms, numbers_of(setting), self.scale_at(setting))

    def registered(
        self, model: Model, batch: Batch, settings: Sequence[Setting]
    ) -> list[RegisteredBatch]:
        """Register a batch in as many parts as settings, each at its own."""
        velocity = model.velocities(batch.moving, batch.fixed, settings)
        together = RegisteredBatch(
            moving=batch.moving,
            fixed=batch.fixed,
            moving_labels=batch.moving_labels,
            fixed_labels=batch.fixed_labels,
            velocity=velocity,
            displacement=model.registration.displacement(velocity),
            spacing=self.spacing,
            options=self.options,
            overlap_labels=self.overlap_labels,
            scale=self.scale,
            second_scale=self.second_scale,
        )
        together = together.with_terms_of_each(settings[0])
        registered = []
        for setting, part in zip(settings, together.divided(len(settings)), strict=True):
            second_scale = _scaled(self.second_scale, self.second_ratios, setting)
            registered.append(part.scaled(self.scale_at(setting), second_scale))
        return registered

    def scale_at(self, setting: Setting) -> float:
        """Return what the similarity loss is multiplied by at a setting."""
        return _scaled(self.scale, self.ratios, setting)

    def scales(self) -> dict[str, Any]:
        """Return the scales as values that JSON can hold; those that the loss does not have are left out."""
        found: dict[str, Any] = {"scale": self.scale}
        if self.options.second_similarity is not None:
            found["second_scale"] = self.second_scale
        for name, ratios in (("ratios", self.ratios), ("second_ratios", self.second_ratios)):
            if ratios:
                found[name] = {one.hyperparameter.name: [one.values, one.ratios] for one in ratios}
        return found


@dataclass(frozen=True, kw_only=True)
class RegionalLoss(Loss):
    """The loss of a training with a regularization weight for each region.

    Parameters
    ----------
    options, scale, overlap_labels, spacing, second_scale, ratios, second_ratios
        As in `Loss`.
    regions
        By region: its values in label maps.
    """

    regions: Mapping[str, tuple[int, ...]]

    def terms_of(self, registered: RegisteredBatch, setting: Setting) -> Terms:
        """Compute the terms of the loss of registered pairs, by regions of fixed images.

        Raises
        ------
        DataError
            If the pairs have no label maps.
        """
        return regional_terms(registered, numbers_of(setting), self.regions)

    def balanced(self, terms: Terms, setting: Setting) -> Tensor:
        """Return the loss of a setting: what is minimized."""
        return regional_loss(terms, numbers_of(setting), self.scale_at(setting))


def _scaled(scale: float, ratios: Sequence[ScaleRatio], setting: Setting) -> float:
    for one in ratios:
        scale = scale * one.at(setting[one.hyperparameter.name])
    return scale


def declared_loss(study: Study, cohort: PreparedCohort, scale: float) -> Loss:
    """Return the declared loss of a cohort.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.
    scale
        What the similarity loss is multiplied by.

    Raises
    ------
    DataError
        If there is no pair to train on, or pairs do not differ.
    DeclarationError
        If the overlap loss or a region is of labels that the cohort lacks, or no function of the loss
        takes a hyperparameter.
    """
    seen = study.loss.overlap_labels or cohort.labels
    label_values = _values_of_labels(seen, cohort, "loss.overlap_labels")
    regions = {}
    for region, structures in study.loss.regions.items():
        regions[region] = _values_of_labels(structures, cohort, f"loss.regions.{region}")
    check_parameters(study)
    second_scale = 1.0
    second_ratios: tuple[ScaleRatio, ...] = ()
    if study.loss.second_similarity is not None:
        second = study.model_copy(update={"loss": of_second_similarity(study.loss)})
        second_scale = study_scale(second, cohort)
        second_ratios = scale_ratios(second, cohort)
    loss = Loss(
        options=study.loss,
        scale=scale,
        overlap_labels=label_values,
        spacing=anisotropic_spacing(cohort.spacing_mm),
        second_scale=second_scale,
        ratios=scale_ratios(study, cohort),
        second_ratios=second_ratios,
    )
    return RegionalLoss(**vars(loss), regions=regions) if regions else loss


def _values_of_labels(names: Sequence[str], cohort: PreparedCohort, field: str) -> tuple[int, ...]:
    """Return the values of structures in prepared label maps; refuse names that the cohort lacks."""
    labels = list(cohort.labels)
    unknown = set(names) - set(labels)
    if unknown:
        raise DeclarationError(
            field,
            expected=f"names among {', '.join(labels)}",
            got=", ".join(sorted(unknown)),
            advice="Correct the names.",
        )
    values = [labels.index(name) + 1 for name in names]
    return tuple(values)


def check_parameters(study: Study) -> None:
    """Refuse a hyperparameter that is to be an argument of the loss, and that no function takes.

    Raises
    ------
    DeclarationError
        If there is one.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "cohort": {"manifest": "cohort.csv"}, "loss": {"similarity": "mse"}}
    >>> values |= {"preprocessing": {"shape": [8, 8]}, "split": {"train": 1, "tune": 1, "search": 1}}
    >>> check_parameters(parse_study({**values, "hyperparameters": {"window": {}}}))
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.window: expected a loss with a function that takes it, ...
    """
    loss = study.loss
    similarities = [loss.similarity, loss.second_similarity]
    records: list[Record] = [find_regularizer(loss.regularizer)]
    records += [catalogue.find_similarity(name) for name in similarities if name is not None]
    records += weighted_terms(study.hyperparameters)
    taken: set[str] = set()
    for record in records:
        taken.update(record.parameters)
    for parameter in term_parameters(study.hyperparameters):
        if parameter.name not in taken:
            raise DeclarationError(
                f"hyperparameters.{parameter.name}",
                expected="a loss with a function that takes it",
                got=", ".join(record.name for record in records),
                advice="Leave it out, or declare another similarity.",
            )


def scale_ratios(study: Study, cohort: PreparedCohort) -> tuple[ScaleRatio, ...]:
    """Estimate how the loss scale changes with hyperparameters that are arguments of the similarity.

    With D_v the similarity loss at the value v, and v₀ the value in `[loss]` (or of a hyperparameter
    that is no key of it, its smallest value), the ratio is

        mean(D_v₀(m, f) - D_v₀(f, f)) / mean(D_v(m, f) - D_v(f, f))

    over at most 16 training pairs (m, f), the same whatever the seed: a similarity with the
    value v in place of v₀ counts as much in the loss as one that is declared with v.

    Parameters
    ----------
    study
        The declaration.
    cohort
        Its prepared images.

    Returns
    -------
    tuple of ScaleRatio
        Empty where the similarity has no such argument.

    Raises
    ------
    DataError
        If there is no pair to train on, or pairs do not differ.
    """
    taken = catalogue.find_similarity(study.loss.similarity).parameters
    hyperparameters = [one for one in study.space.hyperparameters if one.name in taken]
    if not hyperparameters:
        return ()
    pairs = _drawn(_every_pair(study, cohort), PAIRS_OF_A_RATIO, seed=0)
    found = []
    for one in hyperparameters:
        values = _spread_values(one)
        at_values = []
        for value in values:
            similarity = find_similarity(study.loss, numbers_of({one.name: value}))
            at_values.append(_mean_gap(cohort, pairs, similarity, study.loss))
        declared = find_similarity(study.loss)
        is_key = one.name in LossOptions.model_fields
        reference = _mean_gap(cohort, pairs, declared, study.loss) if is_key else at_values[0]
        ratios = [float(f"{reference / gap:.6g}") for gap in at_values]
        found.append(ScaleRatio(hyperparameter=one, values=values, ratios=tuple(ratios)))
    return tuple(found)


def _spread_values(hyperparameter: Hyperparameter) -> tuple[Value, ...]:
    """Return values from end to end: all of an integer that has no more than `VALUES_OF_A_RATIO`."""
    values = set()
    for number in range(VALUES_OF_A_RATIO):
        place = number / (VALUES_OF_A_RATIO - 1)
        values.add(hyperparameter.from_unit_interval(place))
    return tuple(sorted(values, key=as_number))


def with_scales(study: Study, cohort: PreparedCohort) -> Study:
    """Return a study whose loss scales are declared: those that are estimated now.

    Raises
    ------
    DataError
        If there is no pair to train on, or pairs do not differ.
    """
    scales = {"scale": study_scale(study, cohort)}
    if study.loss.second_similarity is not None:
        second = study.model_copy(update={"loss": of_second_similarity(study.loss)})
        scales["second_scale"] = study_scale(second, cohort)
    loss = study.loss.model_copy(update=scales)
    return study.model_copy(update={"loss": loss})


def anisotropic_spacing(spacing_mm: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the spacing where regularizers see it: where the sides of a voxel differ.

    Examples
    --------
    >>> anisotropic_spacing((1.0, 1.005)), anisotropic_spacing((1.0, 2.0))
    (None, (1.0, 2.0))
    """
    if spacing_mm is None or max(spacing_mm) <= ANISOTROPY * min(spacing_mm):
        return None
    return tuple(spacing_mm)


def study_scale(study: Study, cohort: PreparedCohort) -> float:
    """Return the loss scale of a study: the declared one, or that of its training pairs.

    Raises
    ------
    DataError
        If there is no pair to train on, or pairs do not differ.
    """
    every_pair = _every_pair(study, cohort)
    seed = study.training.seed
    return loss_scale(cohort, every_pair, study.loss, seed)


def _every_pair(study: Study, cohort: PreparedCohort) -> list[Pair]:
    every_pair: list[Pair] = []
    for pairs in training_pairs(study, cohort).values():
        every_pair.extend(pairs)
    return every_pair


def loss_scale(
    cohort: PreparedCohort, pairs: Sequence[Pair], options: LossOptions, seed: int
) -> float:
    """Return the declared loss scale, or estimate it from unregistered training pairs.

    With D the similarity loss and the mean over pairs (m, f),

        scale = 1 / mean(D(m, f) - D(f, f))

    so that unregistered pairs differ from identical images by 1, and λ means much the same from
    cohort to cohort.

    Parameters
    ----------
    cohort, pairs
        Training pairs; at most 64, drawn at random, are looked at.
    options
        Declares the similarity.
    seed
        Of the draw.

    Returns
    -------
    float
        What the similarity loss is multiplied by, > 0.

    Raises
    ------
    DataError
        If registered pairs could not be told from unregistered ones by the similarity.

    References
    ----------
    Hoopes et al., MELBA 2022, divide the squared error by an estimate of the images' noise for the
    same purpose.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> images = {"a": np.zeros((4, 4), np.float32), "b": np.full((4, 4), 0.5, np.float32)}
    >>> cohort = SimpleNamespace(image=images.get)  # stands for a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> loss_scale(cohort, [pair], LossOptions(similarity="mse"), seed=0)
    4.0
    """
    if options.scale is not None:
        return options.scale
    drawn = _drawn(pairs, PAIRS_LOOKED_AT, seed)
    gap = _mean_gap(cohort, drawn, find_similarity(options), options)
    return float(f"{1 / gap:.6g}")


def _drawn(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """Return some pairs, at most `count`, drawn at random."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(pairs))[:count]
    return [pairs[place] for place in order]


def _mean_gap(
    cohort: PreparedCohort, pairs: Sequence[Pair], similarity: ImageLoss, options: LossOptions
) -> float:
    """Compute the mean of D(m, f) - D(f, f) over pairs; refuse one that is not above 0."""
    with torch.inference_mode():
        gaps = [_gap(cohort, pair, similarity) for pair in pairs]
    gap = float(np.mean(gaps))
    if not gap > 1e-8:
        raise DataError(
            "loss.scale",
            expected="training pairs that differ",
            got=f"a mean difference of {gap:.3g} in {options.similarity}",
            advice="Check the images, or declare a scale.",
        )
    return gap


def _gap(cohort: PreparedCohort, pair: Pair, similarity: ImageLoss) -> float:
    """Compute D(m, f) - D(f, f) of one pair."""
    images = load_images(cohort, [pair.moving, pair.fixed])
    moving = images[:1]
    fixed = images[1:]
    unregistered = similarity(moving, fixed)
    identical = similarity(fixed, fixed)
    return float(unregistered - identical)
