from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.errors import SearchError
from hmopt.networks import Hypermorph
from hmopt.oracle import AmortizedOracle, write_examples
from hmopt.oracle.examples import RegisteredPairs, choose_examples, draw_pictures
from hmopt.records import Pair
from hmopt.report.outlines import read_arrays
from hmopt.space import Index

MakeModel = Callable[..., Hypermorph]
SCORES = np.array([0.6, 0.9, np.nan, 0.4, 0.8])
PICTURES = [f"{kind}{of}" for kind in ("moving", "fixed", "moved") for of in ("", "_labels")]


def test_file_holds_what_the_report_draws(
    cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    oracle = AmortizedOracle(make_model(cohort.shape), cohort)
    pictures = draw_pictures(RegisteredPairs(oracle), (70,), pairs[0])
    assert {key: array.shape for key, array in pictures.items()} == {
        **dict.fromkeys(PICTURES, (16, 16)),
        "displacement": (2, 16, 16),
    }
    assert all(pictures[key].dtype == np.uint8 for key in PICTURES if "labels" in key)
    assert all(
        0 <= pictures[key].min() <= pictures[key].max() <= 1
        for key in PICTURES
        if "labels" not in key
    )


def test_typical_and_worst_pair_of_the_scope_are_written(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, tmp_path: Path
) -> None:
    oracle = AmortizedOracle(make_model((16, 16)), flat_cohort)
    path = write_examples(tmp_path, "T1→T2", RegisteredPairs(oracle), (70,), pairs, SCORES)
    assert path.parent == tmp_path / "examples"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["setting"].tolist() == [0.35]
        assert str(arrays["metric"]) == "dice"
        assert (str(arrays["typical_pair"]), float(arrays["typical_score"])) == ("a->b", 0.6)
        assert (str(arrays["worst_pair"]), float(arrays["worst_score"])) == ("c->d", 0.4)
        np.testing.assert_array_equal(arrays["worst_fixed_labels"], flat_cohort.label_map("d"))


def test_scopes_of_one_setting_share_the_registered_pairs(
    flat_cohort: PreparedCohort,
    pairs: list[Pair],
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    oracle = AmortizedOracle(make_model((16, 16)), flat_cohort)
    asked: list[tuple[Index, str]] = []
    register = oracle.displacement

    def counted(index: Index, pair: Pair) -> Tensor:
        asked.append((index, pair.id))
        return register(index, pair)

    monkeypatch.setattr(oracle, "displacement", counted)
    registered = RegisteredPairs(oracle)
    for name in ("one", "two", "three"):
        write_examples(tmp_path, name, registered, (70,), pairs, SCORES)
    assert asked == [((70,), "a->b"), ((70,), "c->d")]


def test_moved_images_and_labels_are_those_of_the_displacement(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel
) -> None:
    registered = RegisteredPairs(AmortizedOracle(make_model((16, 16)), flat_cohort))
    pictures = draw_pictures(registered, (70,), pairs[0])
    places = np.indices((16, 16)) + pictures["displacement"].astype(float)
    moved = ndimage.map_coordinates(pictures["moving"], places, order=1, mode="nearest")
    labels = ndimage.map_coordinates(pictures["moving_labels"], places, order=0, mode="nearest")
    np.testing.assert_allclose(pictures["moved"], moved, atol=1e-5)
    np.testing.assert_array_equal(pictures["moved_labels"], labels)
    assert (pictures["moved_labels"] != pictures["moving_labels"]).any()


def test_plane_of_a_volume_is_the_one_with_most_of_the_label(
    deep_cohort: PreparedCohort, make_model: MakeModel, pairs: list[Pair]
) -> None:
    registered = RegisteredPairs(AmortizedOracle(make_model((16, 16, 16)), deep_cohort))
    pictures = draw_pictures(registered, (70,), pairs[0], "bar")
    assert (
        (pictures["fixed_labels"] == 2).sum()
        == (deep_cohort.label_map("b") == 2).sum((0, 1)).max()
        > 0
    )


@pytest.mark.parametrize(("metric", "worst", "typical"), [("dice", 3, 0), ("hd95_mm", 1, 4)])
def test_worst_pair_is_the_one_that_its_metric_likes_least(
    metric: str, worst: int, typical: int
) -> None:
    assert choose_examples(SCORES, metric) == {"typical": typical, "worst": worst}


def test_scope_without_scores_is_refused() -> None:
    with pytest.raises(SearchError, match="examples: expected a pair with a score, got none"):
        choose_examples(np.array([np.nan]), "dice")


def test_a_displacement_that_leads_far_out_of_the_picture_is_cut(
    flat_cohort: PreparedCohort, pairs: list[Pair], make_model: MakeModel, tmp_path: Path
) -> None:
    """What is drawn is the same, and reading refuses what is larger."""
    oracle = AmortizedOracle(make_model((16, 16)), flat_cohort)
    registered = RegisteredPairs(oracle)
    field = torch.zeros(2, 16, 16)
    field[0, 3, 4], field[1, 3, 4], field[1, 5, 6] = 1e6, -1e6, 63.5
    registered.displacement = lambda index, pair: field  # type: ignore[assignment]
    path = write_examples(tmp_path, "cohort", registered, (70,), pairs, SCORES)
    arrays = read_arrays(path)
    expected = field.numpy().clip(-64, 64)
    np.testing.assert_array_equal(arrays["worst_displacement"], expected)
    assert field.max() == 1e6
