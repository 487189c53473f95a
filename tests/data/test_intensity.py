from typing import Literal, get_args

import numpy as np
import pytest
from scipy import stats

from hmopt.data.intensity import normalize

Method = Literal["percentile", "minmax", "zscore"]
METHODS = get_args(Method)
DATA = np.random.default_rng(0).gamma(2.0, 500.0, (12, 13, 14)).astype(np.float32)


def test_percentiles_come_to_zero_and_one_and_the_rest_is_clipped() -> None:
    low, high = stats.scoreatpercentile(DATA, 0.5), stats.scoreatpercentile(DATA, 99.5)
    expected = np.clip((DATA - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalize(DATA, "percentile"), expected, atol=1e-5)


def test_a_z_score_is_that_of_scipy() -> None:
    np.testing.assert_allclose(normalize(DATA, "zscore"), stats.zscore(DATA, axis=None), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_scale_and_offset_of_a_scanner_do_not_matter(method: Method) -> None:
    np.testing.assert_allclose(
        normalize(DATA * 40 + 7000, method), normalize(DATA, method), atol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_an_image_of_one_intensity_becomes_zero(method: Method) -> None:
    np.testing.assert_array_equal(normalize(np.full((3, 3), 7, dtype=np.float32), method), 0)


def test_an_image_that_is_nearly_all_background_keeps_its_foreground() -> None:
    data = np.zeros((50, 50), dtype=np.float32)
    data[3, 4] = 9
    assert normalize(data, "percentile")[3, 4] == 1
