from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from hmopt.declaration import LossOptions, parse_study
from hmopt.declaration.model import Feature
from hmopt.errors import DeclarationError
from hmopt.losses import find_similarity
from hmopt.losses.features import FEATURES, SQUARED_FLOOR, gradient_magnitude, laplacian
from hmopt.report import words

SHAPES = [(9, 7), (6, 5, 8)]
STUDY = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 1, "tune": 1, "search": 1},
}


def random_images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("shape", SHAPES)
def test_laplacian_is_that_of_scipy_over_twice_the_axes(shape: tuple[int, ...]) -> None:
    image = random_images(shape)
    expected = ndimage.laplace(image[1, 0].numpy(), mode="nearest") / (2 * len(shape))
    np.testing.assert_allclose(laplacian(image)[1, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_magnitude_is_that_of_numpy_inside(shape: tuple[int, ...]) -> None:
    image = random_images(shape)
    inside = (slice(1, -1),) * len(shape)
    along_axes = np.stack(np.gradient(image[1, 0].numpy()))
    expected = np.sqrt((along_axes**2).sum(0) + SQUARED_FLOOR)
    found = gradient_magnitude(image)[1, 0].numpy()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)


@pytest.mark.parametrize("name", list(FEATURES))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    image = random_images((4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(FEATURES[name], image)


@pytest.mark.parametrize("name", list(FEATURES))
def test_features_of_a_constant_image_are_constant(name: str) -> None:
    image = torch.full((1, 1, 5, 4, 6), 0.25)
    feature = FEATURES[name](image)
    assert feature.shape == image.shape
    assert torch.equal(feature, feature[..., :1, :1, :1].expand_as(feature))


def test_similarity_is_the_mean_over_features_of_each_pair() -> None:
    moved, fixed = random_images((12, 10)).float(), random_images((12, 10)).float().flip(2)
    plain = LossOptions(window=5)
    several = LossOptions(window=5, features=["intensity", "laplacian"])
    compare = find_similarity(plain)
    expected = (compare(moved, fixed) + compare(laplacian(moved), laplacian(fixed))) / 2
    torch.testing.assert_close(find_similarity(several)(moved, fixed), expected)
    of_each = find_similarity(several, of_each=True)(moved, fixed)
    assert of_each.shape == (2,)
    torch.testing.assert_close(of_each.mean(), expected)


def test_order_of_features_does_not_matter_and_the_usual_one_is_left_out() -> None:
    one = LossOptions(features=["laplacian", "intensity"])
    assert one == LossOptions(features=["intensity", "laplacian"])
    assert one.model_dump()["features"] == ["intensity", "laplacian"]
    assert "features" not in LossOptions(features=["intensity"]).model_dump()


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ({"features": []}, "loss.features"),
        ({"features": ["edges"]}, "loss.features"),
        ({"features": ["laplacian", "laplacian"]}, "each feature once"),
        ({"features": ["laplacian"], "similarity": "mutual_information"}, "loss.similarity"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(loss: dict[str, object], text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        parse_study({**STUDY, "loss": loss})


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"refine": {"features": ["laplacian"]}}, "none without refine.iterations"),
        (
            {
                "loss": {"similarity": "mutual_information"},
                "refine": {"features": ["laplacian"], "iterations": 5},
            },
            "intensity with loss.similarity",
        ),
        ({"refine": {"features": [], "iterations": 5}}, "refine.features"),
        (
            {
                "model": {"source": "optimize"},
                "refine": {"features": ["laplacian"], "iterations": 5},
                "split": {"train": 0, "tune": 0, "search": 2},
            },
            "Declare loss.features",
        ),
    ],
)
def test_features_of_a_refinement_that_has_no_use_for_them_are_refused(
    tables: dict[str, object], text: str
) -> None:
    with pytest.raises(DeclarationError, match=text):
        parse_study({**STUDY, **tables})


def test_features_of_declarations_losses_and_reports_are_the_same() -> None:
    names = get_args(Feature)
    assert tuple(FEATURES) == tuple(words.FEATURES) == names
