"""The networks, the loss and how they are trained."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hmopt.catalogue import REGULARIZERS, SIMILARITIES
from hmopt.declaration.options import Options, Seed, known_name

Features = Annotated[int, Field(gt=0, le=4096)]
Units = Annotated[int, Field(gt=0, le=8192)]
Levels = Annotated[list[Features], Field(max_length=10)]


class NetworkOptions(Options):
    """`[network]`: the registration network, a U-Net that gives a stationary velocity."""

    encoder: Annotated[Levels, Field(min_length=1)] = [16, 32, 32, 32]
    """Features of each level, finest first; each level halves the grid of the one before."""
    decoder: Levels = [32, 32, 32]
    """Features on the way back; fewer than the encoder's levels less one end at a coarser velocity."""
    final: Levels = [16]
    """Features of further convolutions at the velocity's resolution."""
    stride: int = Field(default=2, ge=1, le=16)
    """The first convolution's stride: 2 runs the whole U-Net, and the velocity, at half resolution."""
    integration_steps: int = Field(default=5, ge=0, le=20)
    """Squarings that turn a velocity into a displacement; 0: the velocity is the displacement."""


class HypernetworkOptions(Options):
    """`[hypernetwork]`: what predicts the registration network's weights from a setting."""

    units: Annotated[list[Units], Field(min_length=1, max_length=20)] = [32, 64, 64]
    """Width of each dense layer."""
    learning_rate_share: float = Field(default=0.5, gt=0, le=1000)
    """Learning rate of the dense layers as a share of the one of the base weights."""


class HyperparameterOptions(Options):
    """`[hyperparameters.NAME]`: one value that the model is conditioned on."""

    low: float = 0.0
    """Smallest value, included."""
    high: float = 1.0
    """Largest value, included."""
    step: float = 0.005
    """Distance of neighbouring settings as a share of the range (of its logarithm where log-uniform)."""
    prior: Literal["uniform", "log-uniform"] = "uniform"
    """How values are drawn in training."""
    end_point_rate: float = 0.1
    """Share of draws in training that fall on `low`, and the same share on `high`."""
    default: float = 0.5
    """The value that a user would take who does not search."""


class LossOptions(Options):
    """`[loss]`: (1 - λ)(1 - γ) similarity + (1 - λ) γ overlap + λ regularization."""

    similarity: str = "lncc"
    """`mse`, `lncc` (local normalized cross-correlation), `mutual_information`, or one of your own."""
    window: int = Field(default=9, ge=3, le=255)
    """Side of the window of local cross-correlation, in voxels; odd."""
    regularization: str = "gradient"
    """Of the velocity: `gradient` (mean squared), `bending` (energy), or one of your own."""
    scale: float | None = Field(default=None, gt=0, le=1e6)
    """What the similarity is multiplied by; left out: set on training subjects, and kept with the model."""
    overlap_labels: list[str] = []
    """Labels that the overlap loss sees; empty: all. Judge γ on the others."""

    @field_validator("similarity")
    @classmethod
    def _known_similarity(cls, name: str) -> str:
        return known_name(name, SIMILARITIES)

    @field_validator("regularization")
    @classmethod
    def _known_regularizer(cls, name: str) -> str:
        return known_name(name, REGULARIZERS)

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError("expected an odd number")
        return window


class AugmentationOptions(Options):
    """`[training.augmentation]`: random transforms of training images, drawn for every image of every pair."""

    rotation_degrees: float = Field(default=0.0, ge=0)
    """Standard deviation of the rotation about each axis."""
    scaling: float = Field(default=0.0, ge=0)
    """Standard deviation of the logarithm of the scale along each axis."""
    translation: float = Field(default=0.0, ge=0)
    """Standard deviation of the translation along each axis, in voxels."""
    deformation: float = Field(default=0.0, ge=0)
    """Standard deviation of a smooth random displacement, in voxels."""
    deformation_spacing: float = Field(default=16.0, gt=0)
    """Distance of its control points, in voxels."""
    intensity: float = Field(default=0.0, ge=0)
    """Standard deviation of the logarithm of a random gamma of the intensities."""
    flip_axis: int | None = Field(default=None, ge=0, le=2)
    """Axis along which both images of a pair are mirrored in half of the steps."""


class TrainingOptions(Options):
    """`[training]`: the optimization."""

    steps: int = Field(default=6000, ge=2, le=10**9)
    """Optimizer steps."""
    batch: int = Field(default=4, ge=1, le=4096)
    """Pairs per step."""
    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    """Adam's learning rate at the start; it decays as a cosine to zero."""
    averaging: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the running average of weights that is kept as the model; 0: the last weights."""
    checkpoint_every: int = Field(default=500, ge=1, le=10**9)
    """Steps between states from which an interrupted training continues."""
    augmentation: AugmentationOptions = AugmentationOptions()
    """Random transforms of training images."""
    seed: Seed = 0
    """Decides first weights, pairs, settings and augmentation."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Processor threads; left out: all."""
