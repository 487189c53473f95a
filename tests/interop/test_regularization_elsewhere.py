"""Weights of other programs, held to the gradients of their own losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hmopt.errors import DeclarationError
from hmopt.interop.regularization_elsewhere import (
    PROGRAMS,
    convert_regularization,
)
from hmopt.losses import Terms, local_cross_correlation, mean_squared_error, squared_gradient
from hmopt.losses import weighted_loss as hmopt_loss

SCALE = 2.4


class Pair:
    """Moved and fixed images with a margin of zeros, and a velocity; the same numbers each time."""

    def __init__(self, d: int) -> None:
        generator = torch.Generator().manual_seed(d)
        sides = (24, 20) if d == 2 else (16, 14, 18)
        inner = [side - 8 for side in sides]
        self.moved = torch.zeros(1, 1, *sides, dtype=torch.float64)
        self.fixed = torch.zeros(1, 1, *sides, dtype=torch.float64)
        for image in (self.moved, self.fixed):
            inside = image
            for axis, side in enumerate(inner):
                inside = inside.narrow(axis + 2, 4, side)
            drawn = torch.rand(1, 1, *inner, dtype=torch.float64, generator=generator)
            inside.copy_(drawn)
        self.velocity = torch.randn(1, d, *sides, dtype=torch.float64, generator=generator)
        self.moved.requires_grad_()
        self.velocity.requires_grad_()

    def gradient(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Return the gradient of a loss by the moved image and the velocity, as one vector."""
        value = loss(self.moved, self.fixed, self.velocity)
        found = torch.autograd.grad(value, (self.moved, self.velocity))
        return torch.cat([one.flatten() for one in found])


def of_hmopt(λ: float, similarity: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def loss(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        terms = Terms(
            dissimilarity=similarity(moved, fixed),
            weighted={"regularization": squared_gradient(velocity)},
        )
        return hmopt_loss(terms, {"regularization": λ}, SCALE)

    return loss


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("λ", [0.02, 0.3, 0.95])
def test_voxelmorphs_own_losses_pull_the_same_way_at_the_converted_weight(d: int, λ: float) -> None:
    modules = pytest.importorskip("neurite.nn.modules")
    weight = convert_regularization(
        λ, "hmopt", "voxelmorph", similarity="mse", scale=SCALE, image_sigma=0.1
    )

    def voxelmorph(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        gradient: Tensor = modules.SpatialGradient("l2")(velocity)
        image: Tensor = modules.MSE()(moved, fixed)
        return image / 0.1**2 + weight.value * gradient

    pair = Pair(d)
    assert weight.exact
    assert cosine(
        pair.gradient(voxelmorph), pair.gradient(of_hmopt(λ, mean_squared_error))
    ) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_so_does_its_local_correlation_away_from_the_border(d: int) -> None:
    modules = pytest.importorskip("neurite.nn.modules")
    weight = convert_regularization(0.3, "hmopt", "voxelmorph", similarity="lncc", scale=SCALE)

    def voxelmorph(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        gradient: Tensor = modules.SpatialGradient("l2")(velocity)
        # our floor is of a product of variances, theirs of sums of squares over n voxels
        n = 5**d
        correlation = modules.NCC(window_size=5, eps=1e-8 * n**2)
        image: Tensor = correlation(moved, fixed).mean()
        return -image + weight.value * gradient

    def own(moved: Tensor, fixed: Tensor) -> Tensor:
        return local_cross_correlation(moved, fixed, window=5)

    pair = Pair(d)
    assert weight.exact
    assert cosine(pair.gradient(voxelmorph), pair.gradient(of_hmopt(0.3, own))) == pytest.approx(
        1, abs=1e-9
    )


@pytest.mark.parametrize("λ", [0.1, 0.6])
def test_hypermorph_is_the_same_with_its_factor_and_sigma(λ: float) -> None:
    weight = convert_regularization(λ, "hmopt", "hypermorph", similarity="mse", scale=SCALE)

    def hypermorph(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        # equation 3 of the paper, with the losses of `train_hypermorph.py`: MSE / σ² and Grad("l2")
        slopes = [velocity.diff(dim=axis).square().mean() for axis in (2, 3, 4)]
        gradient = 2 * sum(slopes) / 3
        image = (moved - fixed).square().mean() / 0.05**2
        return (1 - weight.value) * image + weight.value * gradient

    pair = Pair(3)
    assert cosine(
        pair.gradient(hypermorph), pair.gradient(of_hmopt(λ, mean_squared_error))
    ) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("summed", "factor"), [("axes", 3), ("axes and components", 9)])
def test_sums_in_place_of_means_are_factors_of_the_gradient(summed: str, factor: int) -> None:
    weight = convert_regularization(
        0.2, "hmopt", "voxelmorph", similarity="mse", scale=SCALE, gradient_factor=factor
    )

    def other(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for axis in (2, 3, 4):
            by_component = velocity.diff(dim=axis).square().mean((0, 2, 3, 4))
            total = total + (by_component.mean() if summed == "axes" else by_component.sum())
        return (moved - fixed).square().mean() + weight.value * total

    pair = Pair(3)
    assert cosine(
        pair.gradient(other), pair.gradient(of_hmopt(0.2, mean_squared_error))
    ) == pytest.approx(1, abs=1e-12)


def test_another_weight_pulls_another_way() -> None:
    weight = convert_regularization(0.3, "hmopt", "voxelmorph", similarity="mse", scale=SCALE)

    def twice(moved: Tensor, fixed: Tensor, velocity: Tensor) -> Tensor:
        return mean_squared_error(moved, fixed) + 2 * weight.value * squared_gradient(velocity)

    pair = Pair(2)
    assert cosine(pair.gradient(twice), pair.gradient(of_hmopt(0.3, mean_squared_error))) < 0.99


def test_the_penalty_of_clapirn_is_four_times_ours_in_its_units() -> None:
    # its field: shares of half the width; times the width, as in its training
    side = 64
    field = torch.rand(1, 3, side, side, side, dtype=torch.float64)
    in_half_voxels = field * side
    slopes = [in_half_voxels.diff(dim=axis).abs().square().mean() for axis in (2, 3, 4)]
    theirs = sum(slopes) / 3
    in_voxels = field * (side - 1) / 2
    ours = squared_gradient(in_voxels)
    assert float(theirs / ours) == pytest.approx(4 * (side / (side - 1)) ** 2, rel=1e-12)
    weight = convert_regularization(0.5, "hmopt", "clapirn", scale=1.0, integrated=False)
    # (1 - λ) D + λ R  against  D + 10 r · 4 R
    assert weight.value * 10 * 4 == pytest.approx(1.0)
    assert not weight.exact


COMPARABLE = [
    name
    for name, program in PROGRAMS.items()
    if "mse" in program.similarities and "gradient" in program.regularizers
]


@given(
    λ=st.floats(0.001, 0.999),
    scale=st.floats(0.01, 100),
    sigma=st.floats(0.01, 10),
    program=st.sampled_from(COMPARABLE),
)
def test_there_and_back_is_the_same(λ: float, scale: float, sigma: float, program: str) -> None:
    facts: dict[str, Any] = {"similarity": "mse", "scale": scale, "image_sigma": sigma}
    there = convert_regularization(λ, "hmopt", program, **facts)
    back = convert_regularization(there.value, program, "hmopt", **facts)
    assert back.value == pytest.approx(λ, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in COMPARABLE if name != "hmopt"])
def test_a_larger_weight_stays_larger(name: str) -> None:
    found = [
        convert_regularization(λ, "hmopt", name, similarity="mse").value for λ in (0, 0.1, 0.5, 0.9)
    ]
    assert found == sorted(found)
    assert found[0] == 0


def test_what_the_penalty_sees_decides_whether_it_is_exact() -> None:
    assert not convert_regularization(0.2, "hmopt", "transmorph").exact
    assert convert_regularization(0.2, "hmopt", "transmorph", integrated=False).exact
    assert not convert_regularization(0.2, "hmopt", "voxelmorph", spacing_mm=(1, 1, 3)).exact
    assert convert_regularization(0.2, "voxelmorph", "hypermorph", spacing_mm=(1, 1, 3)).exact


def test_elastix_weighs_the_sum_of_curvatures_in_mm() -> None:
    # at 2 mm: E = 3 E_hmopt / 2², ρ = λ / (1 - λ)
    found = convert_regularization(
        0.5,
        "hmopt",
        "elastix",
        similarity="mse",
        regularizer="bending",
        spacing_mm=(2, 2, 2),
    )
    assert found.value == pytest.approx(4 / 3)
    assert not found.exact


@pytest.mark.parametrize("name", [name for name, one in PROGRAMS.items() if one.formula is None])
def test_no_number_is_given_where_there_is_no_penalty(name: str) -> None:
    with pytest.raises(
        DeclarationError, match=f"got {name}. There is no conversion formula.* smoother"
    ):
        convert_regularization(0.2, "hmopt", name)
    with pytest.raises(DeclarationError, match="source: expected a program whose penalty"):
        convert_regularization(0.2, name, "hmopt")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1.0, "hmopt", "voxelmorph"), {}, "a number below 1"),
        ((1.2, "hmopt", "voxelmorph"), {}, r"a number in \[0, 1\], got 1.2"),
        ((-1, "voxelmorph", "hmopt"), {}, "a number in"),
        ((float("nan"), "hmopt", "voxelmorph"), {}, "got nan"),
        ((float("inf"), "voxelmorph", "hmopt"), {}, "got inf"),
        ((0.2, "hmopt", "nothing"), {}, "target: expected one of hmopt"),
        ((0.2, "hmopt", "voxelmorph"), {"scale": 0}, "scale: expected a number above 0"),
        ((0.2, "hmopt", "voxelmorph"), {"similarity": "mutual_information"}, "similarity: "),
        ((0.2, "hmopt", "voxelmorph"), {"regularizer": "l1"}, "regularizer: "),
        ((0.2, "hmopt", "synthmorph"), {"similarity": "mse"}, "SynthMorph has .dice."),
        ((0.0, "hmopt", "synthmorph"), {"similarity": "dice"}, "a weight above 0"),
        ((0.0, "synthmorph", "hmopt"), {"similarity": "dice"}, r"a number in \(0, 1\)"),
        ((0.999, "hmopt", "clapirn"), {}, "a weight of at most 1"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    arguments: tuple[float, str, str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        convert_regularization(*arguments, **options)


def regularization_table(regularization: float = 0.2, scale: float = 2.0) -> str:
    """Return the table of all programs as Markdown: what λ of hmopt is there, and how sure."""
    lines = [
        f"| program | its loss | its weight | hmopt λ = {regularization:g}, s = {scale:g} is | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for program in PROGRAMS.values():
        if program.formula is None:
            found = "no number"
            kind = f"only an order: {program.smoother} is smoother"
        else:
            similarity = program.similarities[0]
            converted = convert_regularization(
                regularization,
                "hmopt",
                program.name,
                similarity=similarity,
                regularizer=program.regularizers[0],
                scale=scale,
            )
            found = f"{converted.value:.3g}"
            kind = "exact" if converted.exact else "a starting value: other terms"
        loss = program.loss
        lines.append(f"| {program.title} | {loss} | {program.parameter} | {found} | {kind} |")
    return "\n".join(lines)


def test_the_table_has_every_program() -> None:
    lines = regularization_table().splitlines()
    assert len(lines) == 2 + len(PROGRAMS)
    assert any("VoxelMorph" in line and "| exact |" in line for line in lines)
    assert any("ANTs" in line and "no number" in line for line in lines)


def test_the_page_has_the_table_of_what_is_converted() -> None:
    page = Path(__file__).parents[2] / "docs" / "concepts" / "regularization-elsewhere.md"
    text = page.read_text(encoding="utf-8")
    shown = text[text.index("<!-- table -->") : text.index("<!-- end -->")]
    assert shown.strip().removeprefix("<!-- table -->").strip() == regularization_table()
