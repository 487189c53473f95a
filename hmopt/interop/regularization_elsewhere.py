"""What a regularization weight of one program is in another: exactly, as a starting value, or not at all.

Most learning programs minimize a · dissimilarity + b · penalty. Only the ratio ρ = b / a decides
where the minimum is, so that weights of two programs mean the same where their ratios are the same
*and* their terms are. ρ is counted here for one pair of terms, those of hmopt:

- the mean over voxels of the squared difference, or of 1 - the squared local correlation,
- the mean over voxels, components and axes of the squared forward differences of the velocity, in
  voxels of its own grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hmopt.errors import DeclarationError

Similarity = Literal["mse", "lncc", "dice"]
Regularizer = Literal["gradient", "bending"]
Field = Literal["velocity", "displacement", "control points"]

ANISOTROPY = 1.01
"""Ratio of the sides of a voxel from which hmopt's regularizer, and no other, counts lengths."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What must be known of a loss, beside its weight.

    Parameters
    ----------
    similarity
        Of both programs: `mse`, `lncc`, or `dice` of labels (hmopt with γ = 1).
    regularizer
        `gradient` or `bending`, in both programs.
    scale
        hmopt's loss scale.
    image_sigma
        σ by whose square others divide the squared error; None: as the program has it.
    gradient_factor
        What others multiply their penalty by; None: as the program has it.
    dimensions
        Axes of the images.
    spacing_mm
        Of voxels along each axis; None: the same along all.
    integrated
        Whether velocities are integrated. If not, the velocity is the displacement.
    """

    similarity: Similarity
    regularizer: Regularizer
    scale: float
    image_sigma: float | None
    gradient_factor: float | None
    dimensions: int
    spacing_mm: tuple[float, ...] | None
    integrated: bool

    @property
    def is_anisotropic(self) -> bool:
        """Whether voxels have sides of different lengths."""
        spacing = self.spacing_mm
        return spacing is not None and max(spacing) > ANISOTROPY * min(spacing)


@dataclass(frozen=True, kw_only=True)
class Formula:
    """How a weight and the ratio ρ follow from each other.

    Parameters
    ----------
    ratio
        ρ of a weight.
    weight
        The weight of a ρ.
    """

    ratio: Callable[[float, Convention], float]
    weight: Callable[[float, Convention], float]


@dataclass(frozen=True, kw_only=True)
class Program:
    """How a program weighs smoothness.

    Parameters
    ----------
    name
        As `convert_regularization` takes it.
    title
        What people call it.
    parameter
        The name of its weight.
    loss
        What it minimizes, in a line.
    low, high
        Range of the weight; ends are included unless `is_open`.
    is_open
        Whether the ends are no weights that the program takes.
    is_share
        Whether the weight is a share of the loss, so that images count for nothing at 1.
    formula
        Of ρ; None: there is none.
    similarities, regularizers
        Those that it has in the form of hmopt's.
    field
        What its penalty sees.
    differs
        Where its terms differ from hmopt's even so, a clause; empty: nowhere.
    smoother
        What is smoother, for a program without ρ.
    image_sigma, gradient_factor
        Its own.
    """

    name: str
    title: str
    parameter: str
    loss: str
    low: float = 0.0
    high: float = float("inf")
    is_open: bool = False
    is_share: bool = False
    formula: Formula | None = None
    similarities: tuple[Similarity, ...] = ()
    regularizers: tuple[Regularizer, ...] = ("gradient",)
    field: Field = "velocity"
    differs: str = ""
    smoother: str = "larger"
    image_sigma: float = 1.0
    gradient_factor: float = 1.0

    def sigma(self, convention: Convention) -> float:
        """Return σ: the given one, or the program's own; 1 where the similarity is no squared error."""
        if convention.similarity != "mse":
            return 1.0
        given = convention.image_sigma
        return self.image_sigma if given is None else given

    def factor(self, convention: Convention) -> float:
        """Return what the penalty is multiplied by."""
        given = convention.gradient_factor
        return self.gradient_factor if given is None else given


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A weight in another program.

    Parameters
    ----------
    value
        The weight.
    exact
        Whether both losses have the same minimum. If not, both have the same ratio of weights, but
        not the same terms: a value to begin a search at.
    sentence
        Under which condition, or what differs.
    """

    value: float
    exact: bool
    sentence: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.value:.4g} ({'exact' if self.exact else 'only a starting value'}). {self.sentence}"


def convert_regularization(
    value: float,
    source: str,
    target: str,
    *,
    similarity: Similarity = "lncc",
    regularizer: Regularizer = "gradient",
    scale: float = 1.0,
    image_sigma: float | None = None,
    gradient_factor: float | None = None,
    dimensions: int = 3,
    spacing_mm: Sequence[float] | None = None,
    integrated: bool = True,
) -> Converted:
    """Compute what a regularization weight of one program is in another.

    Both weights give the same ratio ρ of the weights of penalty and dissimilarity:

        hmopt         (1 - λ) s · D + λ · R            ρ = λ / ((1 - λ) s)
        VoxelMorph    D / σ² + ℓ m · R                 ρ = ℓ m σ²
        HyperMorph    (1 - λ') D / σ² + λ' m · R       ρ = λ' m σ² / (1 - λ')

    Parameters
    ----------
    value
        The weight in the source.
    source, target
        `hmopt`, `voxelmorph`, `hypermorph`, `synthmorph`, `clapirn`, `transmorph` or `elastix`; programs
        without such a weight, as `ants`, are refused.
    similarity, regularizer
        The terms that both losses have: `mse`, `lncc` or `dice` (of labels; hmopt with γ = 1), and
        `gradient` or `bending`.
    scale
        hmopt's loss scale s, in the header of the model and in the report under Methods.
    image_sigma
        σ of VoxelMorph and HyperMorph, for `mse`; None: 1 and 0.05, their defaults.
    gradient_factor
        m, what the other program multiplies its penalty by; None: 1, and 2 for HyperMorph, which
        multiplies by `--int-downsize`. A penalty that is summed over d axes in place of averaged has
        the factor d, one that is summed over components as well d², one with ½ in front ½.
    dimensions
        Axes of the images.
    spacing_mm
        Of voxels along each axis; None: the same along all.
    integrated
        Whether velocities are integrated; if not, the velocity is the displacement.

    Returns
    -------
    Converted
        The weight, whether it is exact, and a sentence.

    Raises
    ------
    DeclarationError
        If there is no such program, the value lies outside its range, or no number can be given, as
        where one of them lacks such a term.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019, equations 3, 5 and 8 (VoxelMorph); Hoopes et al., MELBA
    2022, equation 3 (HyperMorph); Mok and Chung, MICCAI 2021, equation 2 (cLapIRN).

    Examples
    --------
    >>> found = convert_regularization(
    ...     0.2, "hmopt", "voxelmorph", similarity="mse", scale=2.4, gradient_factor=2
    ... )
    >>> round(found.value, 4), found.exact
    (0.0521, True)
    >>> convert_regularization(0.2, "hmopt", "ants")
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: target: expected a program whose penalty is a term of a loss, got ants. ...
    """
    one = _program(source, "source")
    other = _program(target, "target")
    for program in (one, other):
        _check_has(program, "similarity", similarity, program.similarities)
        _check_has(program, "regularizer", regularizer, program.regularizers)
    convention = Convention(
        similarity=similarity,
        regularizer=regularizer,
        scale=_positive("scale", scale),
        image_sigma=None if image_sigma is None else _positive("image_sigma", image_sigma),
        gradient_factor=(
            None if gradient_factor is None else _positive("gradient_factor", gradient_factor)
        ),
        dimensions=dimensions,
        spacing_mm=None if spacing_mm is None else tuple(spacing_mm),
        integrated=integrated,
    )
    _check_value(value, one)
    ratio = _ratio(value, one, convention)
    weight = _weight(ratio, other, convention)
    differences = _differences(one, other, convention)
    if differences:
        text = "; ".join(differences)
        sentence = f"The ratio of the weights is the same, but not the terms: {text}."
        return Converted(value=weight, exact=False, sentence=sentence)
    sentence = (
        f"Same minimum, if both losses are computed of intensities of the same range, with the same "
        f"{'window, but for windows that reach over the border' if similarity == 'lncc' else 'voxels'}."
    )
    return Converted(value=weight, exact=True, sentence=sentence)


def _program(name: str, field: str) -> Program:
    if name not in PROGRAMS:
        known = ", ".join(PROGRAMS)
        raise DeclarationError(field, expected=f"one of {known}", got=name, advice="Choose one.")
    program = PROGRAMS[name]
    if program.formula is None:
        raise DeclarationError(
            field,
            expected="a program whose penalty is a term of a loss",
            got=name,
            advice=f"There is no conversion formula, only an order: {program.smoother} is smoother.",
        )
    return program


def _check_has(program: Program, field: str, term: str, terms: Sequence[str]) -> None:
    if term not in terms:
        raise DeclarationError(
            field,
            expected=f"a term that {program.title} has ({', '.join(terms)})",
            got=term,
            advice="Values cannot be converted between losses with different terms; only their order can.",
        )


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise DeclarationError(
            name, expected="a number above 0", got=value, advice="Correct the value."
        )
    return float(value)


def _check_value(value: float, program: Program) -> None:
    is_inside = program.low <= value <= program.high and value < float("inf")
    if program.is_open:
        is_inside = program.low < value < program.high
    if not is_inside:
        brackets = "()" if program.is_open else "[]"
        expected = f"a number in {brackets[0]}{program.low:g}, {program.high:g}{brackets[1]}"
        raise DeclarationError(
            f"{program.title}, {program.parameter}",
            expected=expected,
            got=value,
            advice="Correct the value.",
        )


def _ratio(value: float, program: Program, convention: Convention) -> float:
    assert program.formula is not None  # as `_program` has checked
    if program.is_share and value == 1:
        raise DeclarationError(
            f"{program.title}, {program.parameter}",
            expected="a number below 1, beside which images still count",
            got=value,
            advice="A weight of 1 is infinite in other programs.",
        )
    return program.formula.ratio(value, convention)


def _weight(ratio: float, program: Program, convention: Convention) -> float:
    assert program.formula is not None  # as `_program` has checked
    weight = program.formula.weight(ratio, convention)
    if program.is_open and weight <= program.low:
        raise DeclarationError(
            f"{program.title}, {program.parameter}",
            expected=f"a weight above {program.low:g}",
            got=f"{weight:.4g}",
            advice="Use a small weight.",
        )
    if weight > program.high:
        raise DeclarationError(
            f"{program.title}, {program.parameter}",
            expected=f"a weight of at most {program.high:g}",
            got=f"{weight:.4g}",
            advice="The program cannot produce a field this smooth; use its largest weight.",
        )
    return weight


def _differences(one: Program, other: Program, convention: Convention) -> list[str]:
    """Return in what the terms of two losses differ, a clause each."""
    if one.name == other.name:
        return []
    differences = [
        f"{program.title} {program.differs}" for program in (one, other) if program.differs
    ]
    same_field = one.field == other.field
    is_velocity_a_displacement = not convention.integrated and "control points" not in (
        one.field,
        other.field,
    )
    if not same_field and not is_velocity_a_displacement:
        differences.append(
            f"the penalty of {one.title} sees the {one.field}, that of {other.title} the {other.field}"
        )
    if convention.is_anisotropic and "hmopt" in (one.name, other.name):
        differences.append("hmopt counts lengths along anisotropic axes, the other program voxels")
    return differences


def _share(ratio: float) -> float:
    """Return λ of (1 - λ) · data + λ · penalty at a ratio of λ / (1 - λ)."""
    return ratio / (1 + ratio)


def _scale(convention: Convention) -> float:
    """Return what hmopt multiplies the data term by: the overlap loss by nothing."""
    return 1.0 if convention.similarity == "dice" else convention.scale


def _of_hmopt(value: float, convention: Convention) -> float:
    return value / ((1 - value) * _scale(convention))


def _to_hmopt(ratio: float, convention: Convention) -> float:
    return _share(ratio * _scale(convention))


def _added(name: str) -> Formula:
    """Return the formula of a loss D / σ² + w m · R."""

    def ratio(value: float, convention: Convention) -> float:
        program = PROGRAMS[name]
        return value * program.factor(convention) * program.sigma(convention) ** 2

    def weight(ratio: float, convention: Convention) -> float:
        program = PROGRAMS[name]
        return ratio / (program.factor(convention) * program.sigma(convention) ** 2)

    return Formula(ratio=ratio, weight=weight)


def _shared(name: str) -> Formula:
    """Return the formula of a loss (1 - λ) D / σ² + λ m · R."""
    added = _added(name)

    def ratio(value: float, convention: Convention) -> float:
        return added.ratio(value / (1 - value), convention)

    def weight(ratio: float, convention: Convention) -> float:
        return _share(added.weight(ratio, convention))

    return Formula(ratio=ratio, weight=weight)


CLAPIRN_LARGEST = 10.0
"""`max_smooth`: the weight of the penalty at r = 1."""
CLAPIRN_UNITS = 4.0
"""Its penalty sees components in half voxels (a share of the image's half width, times its width)."""


def _of_clapirn(value: float, convention: Convention) -> float:
    return value * CLAPIRN_LARGEST * CLAPIRN_UNITS


def _to_clapirn(ratio: float, convention: Convention) -> float:
    return ratio / (CLAPIRN_LARGEST * CLAPIRN_UNITS)


def _elastix_factor(convention: Convention) -> float:
    """Return its penalty over hmopt's: the sum over d components, of curvatures in 1 / mm."""
    spacing = convention.spacing_mm or (1.0,)
    return convention.dimensions / min(spacing) ** 2


def _of_elastix(value: float, convention: Convention) -> float:
    return value * _elastix_factor(convention)


def _to_elastix(ratio: float, convention: Convention) -> float:
    return ratio / _elastix_factor(convention)


PROGRAMS: Mapping[str, Program] = {
    program.name: program
    for program in (
        Program(
            name="hmopt",
            title="hmopt",
            parameter="λ (`regularization`)",
            loss="(1 − λ) s · D + λ · R",
            high=1.0,
            is_share=True,
            formula=Formula(ratio=_of_hmopt, weight=_to_hmopt),
            similarities=("mse", "lncc", "dice"),
            regularizers=("gradient", "bending"),
        ),
        Program(
            name="voxelmorph",
            title="VoxelMorph",
            parameter="ℓ (`--lambda`)",
            loss="D / σ² + ℓ m · R",
            formula=_added("voxelmorph"),
            similarities=("mse", "lncc"),
        ),
        Program(
            name="hypermorph",
            title="HyperMorph (official)",
            parameter="λ′",
            loss="(1 − λ′) D / σ² + λ′ m · R",
            high=1.0,
            is_share=True,
            formula=_shared("hypermorph"),
            similarities=("mse", "lncc"),
            image_sigma=0.05,
            gradient_factor=2.0,
        ),
        Program(
            name="synthmorph",
            title="SynthMorph",
            parameter="λ′",
            loss="(1 − λ′) · Dice loss of labels + λ′ · R",
            high=1.0,
            is_open=True,
            is_share=True,
            formula=_shared("synthmorph"),
            similarities=("dice",),
            field="displacement",
            differs="is trained by the overlap of labels of synthetic images",
        ),
        Program(
            name="clapirn",
            title="cLapIRN",
            parameter="r, with λ = 10 r",
            loss="NCC at three resolutions + 10 r · R",
            high=1.0,
            formula=Formula(ratio=_of_clapirn, weight=_to_clapirn),
            similarities=("lncc",),
            field="displacement",
            differs="adds up the correlation at three resolutions, with windows of 7 voxels",
        ),
        Program(
            name="transmorph",
            title="TransMorph",
            parameter="weight of `Grad3d`",
            loss="D + w · R",
            formula=_added("transmorph"),
            similarities=("mse", "lncc"),
            field="displacement",
        ),
        Program(
            name="elastix",
            title="elastix",
            parameter="`Metric1Weight` of `TransformBendingEnergyPenalty`",
            loss="metric + w · bending energy in mm",
            formula=Formula(ratio=_of_elastix, weight=_to_elastix),
            similarities=("mse",),
            regularizers=("bending",),
            field="control points",
            differs="averages over random samples, and the spacing of its grid smooths as well",
        ),
        Program(
            name="ants",
            title="ANTs SyN",
            parameter="`flow_sigma`, `total_sigma`",
            loss="none: Gaussian filters of update and total field, their variances in voxels",
            smoother="a larger variance",
        ),
        Program(
            name="demons",
            title="Demons",
            parameter="standard deviations of its filters",
            loss="none: Gaussian filters of update and total field",
            smoother="a larger standard deviation",
        ),
        Program(
            name="convexadam",
            title="ConvexAdam",
            parameter="`lambda_weight`",
            loss="difference of MIND features or segmentations + w · R, after a discrete step",
            field="displacement",
            smoother="a larger weight (and a coarser grid)",
        ),
        Program(
            name="dartel",
            title="DARTEL",
            parameter="regularization parameters",
            loss="likelihood of tissue classes + energy of the velocity",
            smoother="a larger parameter",
        ),
        Program(
            name="niftyreg",
            title="NiftyReg",
            parameter="`-be`, `-le`",
            loss="(1 − be − le) · NMI or LNCC + be · bending + le · linear elasticity",
            field="control points",
            smoother="a larger weight (and a coarser grid)",
        ),
        Program(
            name="deeds",
            title="deedsBCV",
            parameter="`-a`",
            loss="difference of self-similarity descriptors + a · differences on a tree, by a discrete search",
            smoother="a larger alpha",
        ),
    )
}
"""Every program of which something is known, by name."""
