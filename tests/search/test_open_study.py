import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hmopt
from hmopt.declaration import SearchOptions
from hmopt.errors import LedgerError, SearchError
from hmopt.ledger import Ledger, Measurements, Searched, write_measurements
from hmopt.records import Block
from hmopt.study_folder import StudyFolder

CURVES = {"thalamus": lambda x: 0.8 - (x - 0.6) ** 2, "cortex": lambda x: 0.7 - (x - 0.1) ** 2}
SETTINGS = [(place,) for place in range(0, 201, 20)]
SECTION = SearchOptions(reported=[], min_paired_subjects=2, folding_limit=0.005)


@pytest.fixture
def measurements(measure: Callable[..., Measurements]) -> Measurements:
    return measure(CURVES, SETTINGS, folding=lambda x: 0.01 * (1 - x))


@pytest.fixture
def searched(measurements: Measurements) -> Searched:
    return Searched(
        name="hearts",
        identity=measurements.identity,
        identity_half=None,
        labels=measurements.labels,
        spacing_mm=None,
        space=measurements.space,
        loss={},
        loss_scale=1.0,
        search=SECTION,
    )


@pytest.fixture(params=["ledger", "results"])
def folder(
    request: pytest.FixtureRequest, measurements: Measurements, searched: Searched, tmp_path: Path
) -> Path:
    if request.param == "results":
        write_measurements(measurements, StudyFolder(tmp_path).results.measurements_file())
        StudyFolder(tmp_path / "results").write_search(searched, measurements.pairs)
        return tmp_path
    StudyFolder(tmp_path).write_search(searched, measurements.pairs)
    ids = tuple(measurements.pairs["pair"])
    blocks = [
        Block(
            index=i,
            pairs=ids,
            labels=measurements.labels,
            values={m: v[place] for m, v in measurements.values.items()},
        )
        for place, i in enumerate(measurements.settings)
    ]
    Ledger(tmp_path / "ledger").write(measurements.identity, measurements.space, blocks)
    return tmp_path


def test_a_study_of_any_scope_is_made_on_demand(folder: Path) -> None:
    study = hmopt.open_study(folder, subject="017", label="thalamus")
    assert study.user_attrs["scope"] == "subject=017, label=thalamus"
    assert study.user_attrs["optimum"] == study.best_params == {"regularization": 0.6}
    assert hmopt.open_study(str(folder), task="within", label="cortex").user_attrs["optimum"] == {
        "regularization": 0.1
    }
    offsets = np.linspace(-0.05, 0.05, 9)[
        [0, 1, 2, 3, 6, 7, 8]
    ]  # folding is of the pair, and less is better
    assert len(offsets) < len(hmopt.open_study(folder, metric="folding").trials)
    assert hmopt.open_study(folder, metric="folding").best_params == {"regularization": 1.0}


def test_what_is_not_there_is_refused_with_what_is_near(folder: Path) -> None:
    with pytest.raises(SearchError, match=r"got 'thalamos'. Choose one of: thalamus"):
        hmopt.open_study(folder, label="thalamos")
    with pytest.raises(
        LedgerError,
        match=r"metric: expected one that was measured \(dice, folding\), got 'hd95_mm'",
    ):
        hmopt.open_study(folder, metric="hd95_mm")


def test_a_scope_whose_pairs_lack_the_label_is_said_so(
    measurements: Measurements, searched: Searched, tmp_path: Path
) -> None:
    measurements.values["dice"][:, 6:, 1] = np.nan
    write_measurements(measurements, StudyFolder(tmp_path).results.measurements_file())
    StudyFolder(tmp_path / "results").write_search(searched, measurements.pairs)
    with pytest.raises(
        SearchError, match="expected a score for some pair, got label=cortex, task=within"
    ):
        hmopt.open_study(tmp_path, label="cortex", task="within")


def test_a_folder_that_was_not_searched_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="Run `hmopt search` first"):
        hmopt.open_study(tmp_path)


def test_searching_needs_no_torch() -> None:
    modules = ["objective", "plan", "sampler", "storage", "studies"]
    code = f"import sys; {'; '.join(f'import hmopt.search.{m}' for m in modules)}; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
