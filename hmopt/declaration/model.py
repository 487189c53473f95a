"""`[model]`, `[network]`, `[hypernetwork]`, `[hyperparameters]`, `[loss]`, `[training]`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from hmopt.catalogue import ENGINES, REGULARIZERS, SIMILARITIES, region_of, regional_name
from hmopt.declaration.options import OneOf, Options, Seed
from hmopt.errors import DeclarationError

Features = Annotated[int, Field(gt=0, le=4096)]
Constant = bool | int | float | str
Width = Annotated[int, Field(gt=0, le=8192)]
Levels = Annotated[list[Features], Field(max_length=10)]


class ModelOptions(Options):
    """`[model]`: the model or engine to search."""

    source: Literal["trained", "study", "file", "engine", "optimize"] = "trained"
    """Source of the model: trained in this folder (`trained`), another study folder (`study`), a
    model file (`file`), an engine, that is another program or a Python function (`engine`), or
    none: the loss of each pair is minimized directly (`optimize`)."""
    path: Path | None = None
    """Path of the other study folder or of the model file; required with `study` and `file`."""
    trust_code: bool = False
    """Whether to run the Python file that defines a custom network of such a model; read the file
    first."""
    callable: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_][\w.]*$")] | None = None
    """The engine as a Python function, as `package.module:function` or `file.py:function`."""
    command: Annotated[str, Field(min_length=1)] | None = None
    """The engine as a command, with the placeholders {moving}, {fixed}, {output}, {folder} and any
    hyperparameter, as {regularization}; it runs in the study folder, without a shell."""
    engine: Annotated[str, OneOf(tuple(ENGINES))] | None = None
    """The engine as a program that hmopt has an adaptor for: `ants`, `elastix` or `convexadam`."""
    outputs: list[Annotated[str, Field(min_length=1)]] = []
    """Patterns of the files that the command writes, relative to {folder}; a warp before an affine
    transform. By default {output}."""
    options: dict[str, bool | int | float | str | list[int | float | str]] = {}
    """Fixed arguments of the engine, in addition to the hyperparameters."""
    version: Annotated[str, Field(min_length=1)] = "1"
    """Version of the engine; change it if the results change although the file does not."""
    time_limit_s: float | None = Field(default=None, gt=0, le=10**7)
    """Time limit of one registration, in seconds, after which it counts as failed; by default
    none."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads per registration of an engine."""
    warnings: list[str] = []
    """Warnings of `hmopt new --model` about this model on these images; shown in the report."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse a key that is missing, or that the source has no use for."""
        needed: dict[str, tuple[str, ...]] = {
            "study": ("path",),
            "file": ("path",),
            "engine": ("callable", "command", "engine"),
        }
        useful = needed.get(self.source, ())
        if self.trust_code and self.source not in ("study", "file"):
            raise ValueError(f'expected no trust_code with source = "{self.source}"')
        for key in ("path", "callable", "command", "engine"):
            if key not in useful and getattr(self, key) is not None:
                raise ValueError(f'expected no {key} with source = "{self.source}"')
        given = [key for key in useful if getattr(self, key) is not None]
        if useful and len(given) != 1:
            expected = f"a {useful[0]}" if len(useful) == 1 else f"one of {', '.join(useful)}"
            raise ValueError(f'expected {expected} with source = "{self.source}"')
        self._check_details()
        return self

    def _check_details(self) -> None:
        """Refuse what only engines, or only commands, have."""
        if self.source != "engine":
            for key in ("options", "time_limit_s"):
                if getattr(self, key):
                    raise ValueError(f'expected no {key} with source = "{self.source}"')
        if self.outputs and self.command is None:
            raise ValueError("expected no outputs without a command")


_OF_THE_UNET = ("encoder", "decoder", "final")
_OF_A_FUNCTION = ("callable", "options", "content")


class NetworkOptions(Options):
    """`[network]`: the registration network: a U-Net that predicts a stationary velocity field, or a custom one."""

    computed: ClassVar[tuple[str, ...]] = ("content", "folder")

    encoder: Annotated[Levels, Field(min_length=1)] = [16, 32, 32, 32]
    """Channels of each encoder level, finest first; each level halves the resolution."""
    decoder: Levels = [32, 32, 32]
    """Channels of each decoder level, coarsest first; with fewer than encoder levels minus one, the
    velocity is coarser."""
    final: Levels = [16]
    """Channels of further convolutions at the resolution of the velocity."""
    stride: int = Field(default=2, ge=1, le=16)
    """Stride of the first convolution; with 2, the U-Net and the velocity have half the resolution.
    For a custom network: image voxels per voxel of its output, by default 1."""
    integration_steps: int = Field(default=5, ge=0, le=20)
    """Scaling-and-squaring steps from velocity to displacement; 0: the output of the network is the
    displacement."""
    callable: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")] | None = None
    """Function that creates a custom network instead of the U-Net: `file.py:function`, with the
    file in the study folder, or `package.module:function`. It is called with the shape of the
    images and `options`, and returns a `torch.nn.Module` that maps (moving, fixed) to a
    velocity."""
    options: dict[str, Constant | list[Constant]] = {}
    """Keyword arguments of that function."""
    content: str | None = None
    """Hash of its file, computed when the study is read."""
    folder: Path | None = Field(default=None, exclude=True)
    """Where the file is: the study folder."""

    @property
    def written_keys(self) -> tuple[str, ...]:
        """Names of the keys that have a use: those of the U-Net, or those of a function."""
        left_out = ("options",) if self.callable is None else _OF_THE_UNET
        return tuple(name for name in type(self).model_fields if name not in left_out)

    @model_validator(mode="before")
    @classmethod
    def _of_one_network(cls, values: Any) -> Any:
        """Refuse keys of the U-Net beside a function, and keys of a function without one."""
        if not isinstance(values, Mapping):
            return values
        if values.get("callable") is None:
            given = [key for key in ("options", "content") if values.get(key)]
            if given:
                raise ValueError(f"expected a callable beside {given[0]}")
            return values
        given = [key for key in _OF_THE_UNET if key in values]
        if given:
            raise ValueError(f"expected no {given[0]}, which is of the U-Net, beside callable")
        return {"stride": 1, **values}

    @field_validator("callable")
    @classmethod
    def _in_the_folder(cls, callable_: str | None) -> str | None:
        place = None if callable_ is None else network_file(callable_)
        if place is not None and (place.is_absolute() or ".." in place.parts):
            raise ValueError("expected a file in the study folder")
        return callable_

    @model_serializer(mode="wrap")
    def _of_what_decides(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the keys of the network that is declared: identities are made of these."""
        dumped: dict[str, Any] = serialize(self)
        left_out = _OF_A_FUNCTION if self.callable is None else _OF_THE_UNET
        return {key: value for key, value in dumped.items() if key not in left_out}


def network_file(declared: str) -> Path | None:
    """Return the file of a `callable`, or None where it names a module.

    Examples
    --------
    >>> network_file("network.py:make_network").as_posix(), network_file("package.nets:make")
    ('network.py', None)
    """
    place = declared.rsplit(":", 1)[0]
    return Path(place) if place.endswith(".py") else None


class HypernetworkOptions(Options):
    """`[hypernetwork]`: dense layers that predict the weights of the network from a setting."""

    table: ClassVar[str] = "hypernetwork"

    widths: Annotated[list[Width], Field(min_length=1, max_length=20)] = [32, 64, 8]
    """Units of each dense layer."""
    learning_rate_share: float = Field(default=0.2, gt=0, le=1000)
    """Learning rate of the dense layers, relative to that of the weights that do not depend on the
    setting."""


Choice = bool | int | float | str

_OF_RANGES = ("end_point_rate", "high", "low", "prior", "step")
_UNWRITTEN = {
    "float": ("type", "choices"),
    "integer": ("choices", "end_point_rate"),
    "categorical": _OF_RANGES,
}
"""Keys that say nothing of a hyperparameter of a type."""


def _complete_float(values: Mapping[str, Any], given: set[str]) -> Mapping[str, Any]:
    if "choices" in given:
        raise ValueError('expected no choices unless type = "categorical"')
    return values


def _complete_integer(values: Mapping[str, Any], given: set[str]) -> Mapping[str, Any]:
    if "choices" in given:
        raise ValueError('expected no choices unless type = "categorical"')
    for key in ("low", "high", "default"):
        if key not in given:
            raise ValueError(f'expected a {key} with type = "integer"')
    return {"step": 1, **values}


def _complete_categorical(values: Mapping[str, Any], given: set[str]) -> Mapping[str, Any]:
    for key in _OF_RANGES:
        if key in given:
            raise ValueError(f'expected no {key} with type = "categorical"')
    if "choices" not in given:
        raise ValueError('expected choices with type = "categorical"')
    choices = values["choices"]
    has_first = isinstance(choices, list) and bool(choices)
    first = {"default": choices[0]} if has_first else {}
    return {**first, **values}


_COMPLETE = {
    "float": _complete_float,
    "integer": _complete_integer,
    "categorical": _complete_categorical,
}
"""What each type makes of its keys: those without a use refused, those left out set."""


class HyperparameterOptions(Options):
    """`[hyperparameters.NAME]`: hyperparameter of the loss, such as `regularization` (λ), or of an engine or plugin."""

    type: Literal["float", "integer", "categorical"] = "float"
    """Type of the hyperparameter. Engines accept all types; of the hyperparameters of the loss,
    `window` is `integer` and the others are `float`."""
    low: float = 0.0
    """Smallest value; required for integers of an engine, not used for categorical
    hyperparameters."""
    high: float = 1.0
    """Largest value; required for integers of an engine, not used for categorical
    hyperparameters."""
    step: float = 0.005
    """Step between neighbouring settings. For a float, as a fraction of the range (of its logarithm
    with a log-uniform prior): one divided by an integer. For an integer, an integer, by default
    1."""
    prior: Literal["uniform", "log-uniform"] = "uniform"
    """Distribution of values in training, and scale on which a search spaces them; `log-uniform`
    requires low > 0."""
    end_point_rate: float = 0.1
    """For a float: probability of drawing exactly `low` in training, and the same probability for
    `high`; in [0, 0.5]. All values of an integer are equally probable."""
    choices: list[Choice] = []
    """Values of a categorical hyperparameter: at least two texts, numbers or booleans."""
    default: Choice = 0.5
    """Baseline value, used without a search. Required for integers of an engine; for categorical
    hyperparameters by default the first choice."""
    only_if: dict[str, Choice | list[Choice]] = {}
    """Condition under which this hyperparameter is active: categorical or integer hyperparameters
    declared above, each with one or several values. Otherwise it is not part of the setting."""

    @model_validator(mode="before")
    @classmethod
    def _complete_by_type(cls, values: Any) -> Any:
        """Refuse keys that the type has no use for, and set what it has for those left out."""
        if not isinstance(values, Mapping):
            return values
        given = {key for key, value in values.items() if value not in ({}, [])}
        kind = str(values.get("type", "float"))
        complete = _COMPLETE.get(kind, _complete_float)  # an unknown type is refused as such
        return complete(values, given)

    @model_validator(mode="after")
    def _with_plain_numbers(self) -> Self:
        """Let the default of a float be a float, as 1 in the file is one."""
        if self.type == "float" and isinstance(self.default, int):
            if isinstance(self.default, bool):
                raise ValueError("expected a number as default")
            object.__setattr__(self, "default", float(self.default))
        return self

    @property
    def written_keys(self) -> tuple[str, ...]:
        """Keys that say something of a hyperparameter of this type."""
        without = () if self.only_if else ("only_if",)
        useless = (*_UNWRITTEN[self.type], *without)
        return tuple(key for key in type(self).model_fields if key not in useless)

    def written_value(self, name: str) -> Any:
        """Return the value of a key; numbers of an integer hyperparameter without a decimal point."""
        value = getattr(self, name)
        is_whole = isinstance(value, float) and value.is_integer()
        return int(value) if self.type == "integer" and is_whole else value

    @model_serializer(mode="wrap")
    def _only_written_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the other keys: a file about floats is the same as before there were other types."""
        content = serialize(self)
        return {key: value for key, value in content.items() if key in self.written_keys}


Feature = Literal["intensity", "gradient", "laplacian"]
"""What a similarity compares of two images."""
ONLY_INTENSITY: list[Feature] = ["intensity"]


def features_of(loss: Mapping[str, Any]) -> list[str]:
    """Return what the similarity of a `[loss]` compares; headers of models leave out the default.

    Examples
    --------
    >>> features_of({"similarity": "lncc"}), features_of({"features": ["laplacian"]})
    (['intensity'], ['laplacian'])
    """
    features: list[str] = loss.get("features", ONLY_INTENSITY)
    return features


def check_features(
    field: str, features: Sequence[str], similarity: str, key: str = "loss.similarity"
) -> None:
    """Refuse features that a similarity does not take, as their values are not in [0, 1].

    Parameters
    ----------
    field
        Key of the features, which an error names.
    features
        Names.
    similarity
        Name of the similarity.
    key
        Key of the similarity.

    Raises
    ------
    DeclarationError
        If it takes intensities only.

    Examples
    --------
    >>> check_features("loss.features", ["intensity", "laplacian"], "lncc")
    """
    if SIMILARITIES[similarity].needs_unit_range and list(features) != ONLY_INTENSITY:
        raise DeclarationError(
            field,
            expected=f"intensity with {key} {similarity}",
            got=", ".join(features),
            advice="Leave them out, or declare another similarity.",
        )


def _each_feature_once(features: list[Feature]) -> list[Feature]:
    """Refuse a feature that is there twice; their order does not matter."""
    if len(set(features)) < len(features):
        raise ValueError("expected each feature once")
    return sorted(features, key=get_args(Feature).index)


class LossOptions(Options):
    """`[loss]`: (1 - λ)(1 - γ) similarity + (1 - λ) γ overlap + λ regularizer; all are minimized."""

    table: ClassVar[str] = "loss"
    of_second: ClassVar[tuple[str, ...]] = ("second_similarity", "second_scale")
    """Keys of the second similarity."""

    similarity: Annotated[str, OneOf(SIMILARITIES)] = "lncc"
    """Similarity loss: `mse`, `lncc` (local normalized cross-correlation), `mutual_information`, or
    one of a plugin."""
    window: int = Field(default=9, ge=3, le=255)
    """Window width of `lncc`, in voxels; odd. If `window` is a hyperparameter: the width at which
    the scale is estimated."""
    features: Annotated[list[Feature], Field(min_length=1)] = ONLY_INTENSITY
    """Features of the images that are compared: `intensity`, the magnitude of the `gradient`, or the
    `laplacian`; the similarity is the mean over them. The latter two emphasize detail at the scale of
    a voxel. Meant for `lncc`, which does not depend on their scale."""
    regularizer: Annotated[str, OneOf(REGULARIZERS)] = "gradient"
    """Regularizer of the velocity: `gradient` (mean squared), `bending` (energy), or one of a plugin.
    Bending energy does not penalize affine differences: it suits images that are only roughly aligned."""
    scale: float | None = Field(default=None, gt=0, le=1e6)
    """Factor of the similarity loss; by default estimated on training subjects and stored with the
    model."""
    overlap_labels: list[Annotated[str, Field(min_length=1)]] = []
    """Labels in the overlap loss; empty: all. Evaluate γ on the others."""
    regions: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    """Regions of the fixed image, each a union of structures, with a separate hyperparameter
    `regularization_REGION`. `regularization` applies elsewhere."""
    second_similarity: Annotated[str, OneOf(SIMILARITIES)] | None = None
    """Second similarity loss, weighted by the hyperparameter `similarity_share` (s): (1 - s)
    similarity + s second similarity."""
    second_scale: float | None = Field(default=None, gt=0, le=1e6)
    """Factor of the second similarity loss; by default estimated like `scale`."""

    @property
    def written_keys(self) -> tuple[str, ...]:
        """Keys that have a use: those of a second similarity, of regions and of features only where there are such."""
        of_second = () if self.second_similarity else self.of_second
        of_regions = () if self.regions else ("regions",)
        of_features = () if self.features != ONLY_INTENSITY else ("features",)
        left_out = (*of_second, *of_regions, *of_features)
        return tuple(name for name in type(self).model_fields if name not in left_out)

    @model_serializer(mode="wrap")
    def _only_written_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the other keys: a file of one similarity is the same as before there were two."""
        content = serialize(self)
        return {key: value for key, value in content.items() if key in self.written_keys}

    @field_validator("regions")
    @classmethod
    def _apart(cls, regions: dict[str, list[str]]) -> dict[str, list[str]]:
        """Refuse names that no hyperparameter can end in, and a structure in two regions."""
        region_of_structure: dict[str, str] = {}
        for region, structures in regions.items():
            if region_of(regional_name(region)) is None:
                rule = "lower-case letters, digits and underscores, a letter first"
                raise ValueError(f"expected names of {rule}")
            for structure in structures:
                if structure in region_of_structure:
                    raise ValueError(f"expected each structure once ({structure} is there twice)")
                region_of_structure[structure] = region
        return regions

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[Feature]) -> list[Feature]:
        return _each_feature_once(features)

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError("expected an odd number")
        return window


MOST_REFINEMENTS = 10_000
"""Iterations of a refinement at most."""


class RefineOptions(Options):
    """`[refine]`: refinement of each registration, starting from the prediction of the model."""

    table: ClassVar[str] = "refine"

    iterations: int = Field(default=0, ge=0, le=MOST_REFINEMENTS)
    """Iterations that minimize the loss of a pair over its velocity, without terms that need
    labels; 0: no refinement. With `model.source = "optimize"`: iterations at each of ten values of
    λ, from the strongest regularization down to that of the setting."""
    full_resolution_iterations: int = Field(default=0, ge=0, le=MOST_REFINEMENTS)
    """Further iterations with a velocity at the resolution of the images, where that of the model is
    coarser (`network.stride`). The regularizer then counts in voxels of the images."""
    features: Annotated[list[Feature], Field(min_length=1)] | None = None
    """Features of the images that are compared in refinement, as `loss.features`; by default those of
    training."""

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[Feature] | None) -> list[Feature] | None:
        return None if features is None else _each_feature_once(features)

    def with_iterations(self, iterations: int | None) -> "RefineOptions":
        """Return the same with other iterations; None: as they are; 0: no refinement at all.

        Examples
        --------
        >>> declared = RefineOptions(iterations=25, full_resolution_iterations=5)
        >>> declared.with_iterations(50).full_resolution_iterations
        5
        >>> declared.with_iterations(0) == RefineOptions()
        True
        """
        if iterations is None:
            return self
        if not iterations:
            return RefineOptions()
        return self.model_copy(update={"iterations": iterations})

    @model_serializer(mode="wrap")
    def _only_declared(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not declared: a file is the same as before there were such keys."""
        content = serialize(self)
        if not self.full_resolution_iterations:
            del content["full_resolution_iterations"]
        return {key: value for key, value in content.items() if value is not None}


class AugmentationOptions(Options):
    """`[training.augmentation]`: random transforms of training images, drawn per image."""

    rotation_degrees: float = Field(default=0.0, ge=0, le=180)
    """Standard deviation of the rotation about each axis, in degrees."""
    scaling: float = Field(default=0.0, ge=0, le=10)
    """Standard deviation of the log scale along each axis."""
    translation: float = Field(default=0.0, ge=0, le=4096)
    """Standard deviation of the translation along each axis, in voxels."""
    deformation: float = Field(default=0.0, ge=0, le=4096)
    """Standard deviation of a smooth random displacement, in voxels."""
    deformation_spacing: float = Field(default=16.0, gt=0, le=4096)
    """Spacing of the control points of this displacement, in voxels."""
    intensity: float = Field(default=0.0, ge=0, le=10)
    """Standard deviation of log gamma in a random gamma transform; requires intensities in [0,
    1]."""
    flip_axis: int | None = Field(default=None, ge=0, le=2)
    """Axis along which both images of a pair are flipped with probability 0.5; by default none."""


class TrainingOptions(Options):
    """`[training]`: optimization of the model."""

    steps: int = Field(default=6000, ge=2, le=10**9)
    """Optimizer steps."""
    batch: int = Field(default=4, ge=1, le=4096)
    """Pairs per step, over all devices."""
    settings_per_step: int = Field(default=4, ge=1, le=4096)
    """Maximum number of settings per step, spaced evenly over the prior and shared by the pairs;
    averaging over settings balances the gradient over all λ."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Initial learning rate of Adam; it decays to zero on a cosine schedule."""
    warm_up: int = Field(default=200, ge=0, le=10**9)
    """Warm-up steps, over which the learning rate rises from near zero; at most a tenth of all
    steps. Without warm-up, the first steps would displace images by many voxels."""
    gradient_norm: float | None = Field(default=None, gt=0, le=1e6)
    """Maximum norm for gradient clipping; by default none. A single large step can make a training
    diverge, particularly on volumes."""
    averaging: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the exponential moving average of weights that becomes the model; 0: the last
    weights."""
    checkpoint_every: int = Field(default=500, ge=1, le=10**9)
    """Steps between checkpoints from which an interrupted training resumes."""
    augmentation: AugmentationOptions = AugmentationOptions()
    """Random transforms of training images."""
    seed: Seed = 0
    """Seed of initial weights, pairs, settings and augmentation."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; by default all, shared by processes that train in parallel."""
