"""What sections of `study.toml` must agree on."""

from collections.abc import Iterator, Mapping

from hmopt.declaration.cohort import PreprocessingSection
from hmopt.declaration.model import HyperparameterSection, LossSection, TrainingSection
from hmopt.errors import DeclarationError

WEIGHTS_OF_THE_LOSS = ("regularization", "label_weight")
"""Hyperparameters that the loss knows, each a share in [0, 1]."""


def check_agreement(
    hyperparameters: Mapping[str, HyperparameterSection],
    preprocessing: PreprocessingSection,
    loss: LossSection,
    training: TrainingSection,
) -> None:
    """Refuse sections that are each right but contradict each other.

    Raises
    ------
    DeclarationError
        If a hyperparameter means nothing to the loss or leaves its range, images lack the axis to be mirrored along,
        or what needs intensities in [0, 1] is declared for others.

    Examples
    --------
    >>> flat = PreprocessingSection(shape=[16, 16])
    >>> check_agreement({"warmth": HyperparameterSection()}, flat, LossSection(), TrainingSection())
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: hyperparameters.warmth: expected regularization or label_weight, got 'warmth'. ...
    """
    contradictions = [
        *_hyperparameters(hyperparameters),
        *_axes(preprocessing, training),
        *_intensities(preprocessing, loss, training),
    ]
    for field, expected, got in contradictions:
        raise DeclarationError(field, expected=expected, got=got, advice="Correct the declaration.")


def _hyperparameters(sections: Mapping[str, HyperparameterSection]) -> Iterator[tuple[str, str, str]]:
    for name, section in sections.items():
        if name not in WEIGHTS_OF_THE_LOSS:
            yield f"hyperparameters.{name}", " or ".join(WEIGHTS_OF_THE_LOSS), repr(name)
        if section.low < 0 or section.high > 1:
            yield f"hyperparameters.{name}", "a range inside [0, 1]", f"{section.low} to {section.high}"


def _axes(preprocessing: PreprocessingSection, training: TrainingSection) -> Iterator[tuple[str, str, str]]:
    axes, flipped = len(preprocessing.shape), training.augmentation.flip_axis
    if flipped is not None and flipped >= axes:
        yield "training.augmentation.flip_axis", f"an axis below {axes}", str(flipped)


def _intensities(
    preprocessing: PreprocessingSection, loss: LossSection, training: TrainingSection
) -> Iterator[tuple[str, str, str]]:
    needing = {
        "loss.similarity mutual_information": loss.similarity == "mutual_information",
        "training.augmentation.intensity": training.augmentation.intensity > 0,
    }
    for name in (name for name, needed in needing.items() if needed and preprocessing.normalization == "zscore"):
        yield "preprocessing.normalization", f"percentile or minmax with {name}", "zscore"
