import pytest
import torch

from hmopt.losses import Terms, balanced_loss, weighted_loss

TERMS = Terms(
    dissimilarity=torch.tensor(0.7),
    weighted={"label_weight": torch.tensor(0.2), "regularization": torch.tensor(1.3)},
)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"regularization": 0.0}, 2 * 0.7),
        ({"regularization": 1.0}, 1.3),
        ({"regularization": 0.25}, 0.75 * 2 * 0.7 + 0.25 * 1.3),
        ({"label_weight": 1.0}, 0.2),
        ({"regularization": 0.0, "label_weight": 0.5}, 0.5 * 2 * 0.7 + 0.5 * 0.2),
        (
            {"regularization": 0.5, "label_weight": 0.25},
            0.5 * 0.75 * 2 * 0.7 + 0.5 * 0.25 * 0.2 + 0.5 * 1.3,
        ),
    ],
)
def test_terms_are_weighted_by_the_setting(setting: dict[str, float], expected: float) -> None:
    assert float(weighted_loss(TERMS, setting, scale=2)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("strength", "share"),
    [(0.0, 1.0), (0.5, 0.5), (0.9, 0.1), (0.95, 0.05), (0.99, 0.05), (1, 0.05)],
)
def test_balanced_loss_is_divided_by_what_is_left_to_the_similarity(
    strength: float, share: float
) -> None:
    setting = {"regularization": strength, "label_weight": 0.3}
    expected = float(weighted_loss(TERMS, setting, scale=2)) / share
    assert float(balanced_loss(TERMS, setting, scale=2)) == pytest.approx(expected)
