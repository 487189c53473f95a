"""Facts of training images, against SciPy and by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from hmopt.data.facts import (
    LEVELS,
    CohortFacts,
    distribution_distance,
    intensity_quantiles,
    label_overlaps,
    measure_facts,
)
from hmopt.data.prepared import PreparedCohort
from hmopt.data.preprocessing import image_hash
from hmopt.records import Pair


def test_the_distance_is_the_wasserstein_distance_of_scipy() -> None:
    generator = np.random.default_rng(0)
    one = generator.beta(2, 5, 20_000)
    other = generator.beta(4, 3, 20_000)
    found = distribution_distance(np.quantile(one, LEVELS), np.quantile(other, LEVELS))
    assert found == pytest.approx(wasserstein_distance(one, other), rel=0.01)


@given(shift=st.floats(-2, 2), scale=st.floats(0.5, 2))
def test_a_shift_moves_a_distribution_by_itself(shift: float, scale: float) -> None:
    quantiles = scale * np.linspace(0, 1, len(LEVELS))
    assert distribution_distance(quantiles, quantiles + shift) == pytest.approx(
        abs(shift), abs=1e-8
    )


@pytest.mark.parametrize("air", [0, 1000, 100_000])
def test_air_around_a_body_changes_nothing(air: int) -> None:
    body = np.linspace(0.2, 1, 5000)
    image = np.concatenate([np.zeros(1), body])
    wider = np.concatenate([image, np.zeros(air)])
    np.testing.assert_allclose(intensity_quantiles(wider), intensity_quantiles(image))


def test_overlaps_are_dice_by_hand() -> None:
    moving = np.array([[1, 1, 0], [2, 2, 0]], np.uint8)
    fixed = np.array([[1, 0, 1], [2, 2, 0]], np.uint8)
    found = label_overlaps(moving, fixed, labels=3)
    np.testing.assert_allclose(found, [2 * 1 / 4, 1.0, np.nan])


class Prepared(SimpleNamespace):
    """Two items a subject, of 4 x 4 voxels."""

    def image(self, name: str) -> Any:
        return self.intensities[name]

    def label_map(self, name: str) -> Any:
        return self.maps[name]

    def grid(self, name: str) -> Any:
        return np.diag([0.5, 2.0, 1.0, 1.0])


@pytest.fixture
def cohort(tmp_path: Path) -> Any:
    files = {}
    intensities = {}
    maps = {}
    for number, name in enumerate(("a", "b")):
        files[name] = tmp_path / f"{name}.nii"
        files[name].write_bytes(name.encode())
        intensities[name] = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
        map_ = np.zeros((4, 4), np.uint8)
        map_[: 2 + number] = 1
        maps[name] = map_
    images = pd.DataFrame(
        {"subject": ["p", "q"], "scan": ["a", "b"], "Modality": ["T1", "T1"]}, index=["a", "b"]
    )
    (tmp_path / "grids.npy").touch()
    return Prepared(
        folder=tmp_path,
        images=images,
        labels=("box", "ball"),
        shape=(4, 4),
        files=files,
        intensities=intensities,
        maps=maps,
    )


def test_facts_are_sizes_overlaps_sampling_and_hashes(cohort: PreparedCohort) -> None:
    pair = Pair(moving="a", fixed="b", moving_subject="p", fixed_subject="q")
    facts = measure_facts(cohort, ["a", "b"], {"cross": [pair], "within": []})
    assert (facts.subjects, facts.images, facts.modalities) == (2, 2, ["T1"])
    assert facts.sampling == [0.5, 2.0]
    assert facts.sizes["box"].median == 10
    assert "ball" not in facts.sizes  # no image shows it
    assert facts.tasks == ["cross"]
    assert facts.overlaps["cross"]["box"].mean == pytest.approx(2 * 8 / (8 + 12))
    assert facts.intensity_distance == 0
    assert facts.files == sorted(image_hash(cohort.files[name]) for name in ("a", "b"))


def test_facts_survive_the_header(cohort: PreparedCohort) -> None:
    facts = measure_facts(cohort, ["a", "b"], {})
    assert CohortFacts.model_validate_json(facts.model_dump_json()) == facts


def test_an_unknown_modality_is_none(cohort: PreparedCohort) -> None:
    cohort.images["Modality"] = ["T1", "n/a"]
    assert measure_facts(cohort, ["a", "b"], {}).modalities == ["T1"]
