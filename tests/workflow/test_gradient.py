"""Settings tuned by gradient: beside the dense sweep, from other starts, in the report and on the command line."""

import html
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.analysis.gradient import AGREEMENT, TunedResult, judge_gradient
from hmopt.cli.app import app
from hmopt.data.preprocessing import prepare
from hmopt.errors import CheckpointError, DataError, DeclarationError, SearchError
from hmopt.ledger.gradient import GradientRecord, TunedOptimum, TunedScope
from hmopt.ledger.measurements import pair_records
from hmopt.oracle import source_of
from hmopt.report.material import read_material
from hmopt.study_folder import StudyFolder

PAIRS = 3


@pytest.fixture(scope="module")
def tuned(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was searched, and whose λ was tuned for the cohort and each structure."""
    folder = tmp_path_factory.mktemp("tuned") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder, device="cpu")
    hmopt.tune_by_gradient(folder, kinds=["cohort", "label"], pairs=PAIRS, starts=3, device="cpu")
    return folder


def test_the_tuned_setting_is_that_of_the_dense_sweep_of_the_same_pairs(tuned: Path) -> None:
    files = StudyFolder(tuned)
    record = files.gradient
    assert record is not None
    assert record.tuned == ["regularization"]
    study = files.study
    oracle = source_of(tuned, study).oracle(prepare(study, tuned), "cpu")
    settings = [(index,) for index in range(study.space.hyperparameters[0].points)]
    table = files.pairs
    sweeps = {}
    compared = 0
    for one in record.scopes:
        assert len(one.pairs) <= PAIRS
        names = tuple(one.pairs)
        if names not in sweeps:
            pairs = pair_records(table[table["pair"].isin(names)])
            sweeps[names] = list(oracle.measure(settings, pairs, ["dice"]))
        labels = dict(one.criteria)
        scores = np.full(len(settings), np.nan)
        for block in sweeps[names]:
            values = block.values["dice"]
            if "label" in labels:
                values = values[:, [block.labels.index(labels["label"])]]
            scores[block.index[0]] = np.nanmean(np.nanmean(values, axis=1))
        best = one.optima[0]
        value = best.setting["regularization"]
        assert isinstance(value, float)
        # the score is that of the metric, at and between lattice points
        assert best.score == pytest.approx(
            np.interp(value, np.linspace(0, 1, 201), scores), abs=2e-4
        )
        if len(one.optima) == 1:
            compared += 1
            # on a plateau that rounding decides, the score agrees where the place need not
            near = abs(value - scores.argmax() / 200) <= AGREEMENT
            assert near or scores.max() - best.score < 1e-5
    assert compared


def test_other_starts_find_the_same(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tuned, folder)
    before = StudyFolder(folder).gradient
    assert before is not None
    after = hmopt.tune_by_gradient(folder, scope="cohort", pairs=PAIRS, starts=4, device="cpu")
    one, other = before.scopes[0].optima[0], after.results[0].tuned.optima[0]
    assert one.score == pytest.approx(other.score, abs=2e-5)
    assert one.setting["regularization"] == pytest.approx(
        other.setting["regularization"], abs=AGREEMENT
    )
    assert "By gradient: 1 scopes" in str(after)


def test_the_report_tells_it_also_from_committed_results(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tuned, folder)
    hmopt.report(folder, results=True)
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    told = summary["by_gradient"]
    assert told["scopes"][0]["scope"] == "cohort"
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert told["sentence"] in html.unescape(page)
    assert "fronts" in summary
    assert (folder / "results" / "fronts.csv").is_file()

    clone = tmp_path / "clone"
    shutil.copytree(folder / "results", clone / "results")
    shutil.copyfile(folder / "study.toml", clone / "study.toml")
    again = read_material(clone).gradient
    assert again is not None
    assert [one.setting for one in again.results] == [one["setting"] for one in told["scopes"]]
    (folder / "gradient.json").unlink()
    (folder / "results" / "gradient.json").unlink()
    assert read_material(folder).gradient is None


def test_the_command_line_tunes_a_pair_by_another_objective(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tuned, folder)
    arguments = ["tune-by-gradient", str(folder), "--for", "pair", "--pairs", "1", "--starts", "2"]
    result = CliRunner().invoke(
        app, [*arguments, "--objective", "inverse_consistency", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "pair=" in result.stdout
    record = StudyFolder(folder).gradient
    assert record is not None
    assert record.objective == "inverse_consistency_voxels"
    assert record.direction == "minimize"
    material = read_material(folder)
    assert material.gradient is not None
    assert material.gradient.compared == []


def test_what_cannot_be_tuned_is_refused(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="--for: expected kinds or a scope"):
        hmopt.tune_by_gradient(tuned, kinds=["label"], scope="cohort")
    with pytest.raises(
        DeclarationError, match="--starts: expected a whole number from 1 to 10,000, got 0"
    ):
        hmopt.tune_by_gradient(tuned, starts=0)
    with pytest.raises(DeclarationError, match="objective: expected one of"):
        hmopt.tune_by_gradient(tuned, objective="overlap", device="cpu")
    with pytest.raises(DeclarationError, match="got cycle_inconsistency_voxels, which needs"):
        hmopt.tune_by_gradient(tuned, objective="cycle_inconsistency_voxels", device="cpu")
    with pytest.raises(SearchError, match="label: expected a value that was searched"):
        hmopt.tune_by_gradient(tuned, scope="label=nowhere", device="cpu")
    points = tmp_path / "points.csv"
    points.write_text("image,x,y\na,1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected columns image, x, y, z"):
        hmopt.tune_by_gradient(tuned, objective="landmarks", points=points, device="cpu")
    points.write_text("image,x,y,z\na,1,2,abc\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"points\.csv: z of a: expected numbers, in mm, got 'abc'"):
        hmopt.tune_by_gradient(tuned, objective="landmarks", points=points, device="cpu")
    points.write_text("image,x,y,z\na,1,2,3\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match="points: expected none with the objective dice"):
        hmopt.tune_by_gradient(tuned, points=points, device="cpu")
    folder = tmp_path / "refined"
    shutil.copytree(tuned, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(f"{declared}\n[refine]\niterations = 2\n", encoding="utf-8")
    hmopt.search(folder, device="cpu")
    # what was tuned before is of registrations that were not refined
    assert (folder / "gradient.json").is_file()
    assert StudyFolder(folder).gradient is None
    with pytest.raises(CheckpointError, match="got registrations refined by 2 iterations"):
        hmopt.tune_by_gradient(folder, device="cpu")


def scope_of(setting: float, pairs: list[str], further: float | None = None) -> TunedScope:
    optima = [TunedOptimum(setting={"regularization": setting}, score=0.8, starts=3)]
    if further is not None:
        optima.append(TunedOptimum(setting={"regularization": further}, score=0.799, starts=2))
    return TunedScope(
        criteria=[],
        pairs=pairs,
        optima=optima,
        evaluations=20,
        unfinished=0,
        seconds=2.0,
        seconds_of_setting=0.1,
    )


def test_agreement_is_judged_by_the_sweep_of_the_same_pairs(tuned: Path) -> None:
    """Two of the pairs have a parabola about 0.3, the others about 0.7: only the two count."""
    files = StudyFolder(tuned)
    measurements = files.measurements()
    values = np.array([index[0] / 200 for index in measurements.settings])
    best = np.full(len(measurements.pairs), 0.7)
    best[:2] = 0.3
    dice = 0.8 - (values[:, None] - best) ** 2
    shaped = np.repeat(dice[:, :, None], len(measurements.labels), axis=2)
    made_up = replace(measurements, values={"dice": shaped})
    pairs = measurements.pairs["pair"].tolist()[:2]
    record = GradientRecord(
        model="x",
        objective="dice",
        title="Dice",
        direction="maximize",
        starts=5,
        tuned=["regularization"],
        scopes=[scope_of(0.304, pairs), scope_of(0.4, pairs, further=0.3)],
    )
    result = judge_gradient(made_up, None, record, files.searched.search)
    near, far = result.results
    assert near.sweep == {"regularization": 0.3}
    assert (near.agrees, near.has_several, near.rivals) == (True, False, 0)
    assert near.difference == pytest.approx(0.004)
    assert near.seconds_of_sweep == pytest.approx(0.1 * len(values))
    assert (far.agrees, far.has_several, far.rivals) == (False, True, 1)
    assert far.loss == pytest.approx(0.1**2)
    assert "1 of 2 agree" in str(result)
    by_other = record.model_copy(update={"objective": "mse", "direction": "minimize"})
    without: TunedResult = judge_gradient(made_up, None, by_other, files.searched.search).results[0]
    assert without.sweep is None
    assert not without.agrees
