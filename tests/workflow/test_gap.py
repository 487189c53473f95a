"""The amortization gap: searched, resumed, reported, also from committed results."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import hmopt
import hmopt.cli.commands  # reads the bounds of its options before a test changes them
from hmopt.analysis.gap import MODEL, REFINED
from hmopt.cli.app import app
from hmopt.data.preprocessing import prepare
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.ledger.measurements import pair_records
from hmopt.oracle import RefinedOracle, VelocityOracle, source_of
from hmopt.report.material import read_material
from hmopt.study_folder import StudyFolder
from hmopt.workflow import gap as workflow
from hmopt.workflow.gap import choose_pairs, iterations_between


@pytest.fixture(scope="module")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was searched, and whose gap was measured on four pairs of each task."""
    folder = tmp_path_factory.mktemp("searched") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "MOST_ITERATIONS", 12)
        hmopt.search(folder, gap=True, gap_pairs=4, gap_iterations=3, device="cpu")
    return folder


def test_stages_are_those_of_refined_oracles_and_every_loss_falls(searched: Path) -> None:
    files = StudyFolder(searched)
    record = files.gap
    assert record is not None
    assert [stage.iterations for stage in record.stages] == [0, 3, 12]
    assert record.stages[MODEL].identity == files.searched.identity
    assert len(record.pairs) <= 8
    stages = files.gap_measurements(record)
    losses = [stage.values["loss"] for stage in stages]
    assert (losses[1] < losses[0]).all()
    assert (losses[2] <= losses[1]).all()
    assert all(np.isfinite(stage.values["wall_time_s"]).all() for stage in stages)

    study = files.study
    model = source_of(searched, study).oracle(prepare(study, searched), "cpu")
    assert isinstance(model, VelocityOracle)
    refined = RefinedOracle(model, 3)
    assert refined.identity == record.stages[REFINED].identity
    pairs = pair_records(stages[REFINED].pairs)
    (block, *_) = refined.measure(record.settings[:1], pairs, ["dice"])
    kept = stages[REFINED].values["dice"][0, : len(block.pairs)]
    np.testing.assert_allclose(block.values["dice"], kept, atol=1e-5)


def test_what_was_measured_is_not_measured_again(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "MOST_ITERATIONS", 12)
    ledger = searched / "ledger" / "manifest.json"
    before = ledger.read_bytes()
    again = hmopt.search(searched, gap=True, gap_pairs=4, gap_iterations=3, device="cpu")
    assert ledger.read_bytes() == before
    assert again.gap is not None
    assert "Amortization gap" in str(again)


def test_the_report_tells_the_gap_also_from_committed_results(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    hmopt.report(folder, results=True)
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    told = summary["amortization_gap"]
    gap = read_material(folder).gap
    assert gap is not None
    assert told["loss"] == pytest.approx(list(gap.at_recommended.loss))
    assert told["iterations"] == [0, 3, 12]
    assert set(told["carries_over"].values()) == {"too few subjects"}  # of four subjects
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert told["sentence"] in html.unescape(page)

    clone = tmp_path / "clone"
    shutil.copytree(folder / "results", clone / "results")
    shutil.copyfile(folder / "study.toml", clone / "study.toml")
    again = read_material(clone).gap
    assert again is not None
    assert again.at_recommended.loss == pytest.approx(gap.at_recommended.loss, abs=1e-6)
    assert again.cohort.answers == gap.cohort.answers

    # what no longer fits goes
    (folder / "gap.json").unlink()
    (folder / "results" / "gap.json").unlink()
    hmopt.report(folder, results=True)
    assert not list((folder / "results").glob("*gap*"))


def test_the_gap_of_another_search_is_left_out_with_a_warning(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    path = folder / "gap.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["sha256"]
    path.write_text(json.dumps({**content, "pairs": ["x->y"]}), encoding="utf-8")
    with pytest.warns(UserWarning, match="The amortization gap is not reported"):
        assert read_material(folder).gap is None
    path.write_text(json.dumps({**content, "model": "another"}), encoding="utf-8")
    assert read_material(folder).gap is None


def test_of_a_refined_study_the_model_alone_is_the_first_stage(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "MOST_ITERATIONS", 12)
    folder = tmp_path / "refined"
    shutil.copytree(searched, folder)
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(f"{declared}\n[refine]\niterations = 3\n", encoding="utf-8")
    found = hmopt.search(folder, gap=True, gap_pairs=4, device="cpu")
    files = StudyFolder(folder)
    record = files.gap
    assert record is not None
    assert found.gap is not None
    assert record.stages[MODEL].identity == files.searched.model_identity
    assert record.stages[REFINED].identity == files.searched.identity
    names = hmopt.inspect_ledger(folder).names
    assert names[record.stages[MODEL].identity] == "model alone"
    assert names[files.searched.identity] == "full"
    assert read_material(folder).gap is not None


def test_pairs_of_each_task_are_chosen_evenly_and_more_of_them_add_to_fewer() -> None:
    names = [f"s{number}" for number in range(6)]
    cross = [(a, b, "cross") for a in names for b in names if a != b]
    within = [(a, a, "within") for a in names for _ in range(2)]
    table = pd.DataFrame([*cross, *within], columns=["moving_subject", "fixed_subject", "task"])
    chosen = table.iloc[choose_pairs(table, count=6, seed=0)]
    assert chosen["task"].value_counts().to_dict() == {"cross": 6, "within": 6}
    of_cross = chosen[chosen["task"] == "cross"]
    for side in ("moving_subject", "fixed_subject"):
        assert set(of_cross[side]) == set(names)
    assert set(chosen[chosen["task"] == "within"]["fixed_subject"]) == set(names)
    more = choose_pairs(table, count=11, seed=0)
    assert set(choose_pairs(table, count=6, seed=0)) <= set(more)
    assert choose_pairs(table, count=6, seed=0) != choose_pairs(table, count=6, seed=1)
    assert choose_pairs(table, count=100, seed=0) == list(range(len(table)))


def test_the_command_does_the_same_and_refuses_what_cannot_be(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "MOST_ITERATIONS", 12)
    options = ["--gap", "--gap-pairs", "4", "--gap-iterations", "3", "--device", "cpu"]
    done = CliRunner().invoke(app, ["search", str(searched), *options])
    assert done.exit_code == 0, done.output
    assert "Amortization gap at the best setting" in done.output
    for wrong, message in (
        (["--gap-pairs", "4"], "--gap-pairs: expected --gap"),
        (["--gap-iterations", "4"], "--gap-iterations: expected --gap"),
        (
            ["--gap", "--gap-pairs", "0"],
            "--gap-pairs: expected a whole number from 1 to 10,000,000",
        ),
        (["--gap", "--gap-iterations", "12"], "--gap-iterations: expected fewer than the 12"),
    ):
        refused = CliRunner().invoke(app, ["search", str(searched), *wrong])
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())


def test_iterations_are_those_asked_for_or_declared(tiny_study: Any) -> None:
    study = StudyFolder(tiny_study.folder).study
    assert iterations_between(study, None) == 25
    assert iterations_between(study, 7) == 7
    refine = study.refine.model_copy(update={"iterations": 40})
    declared = study.model_copy(update={"refine": refine})
    assert iterations_between(declared, None) == 40
    assert iterations_between(declared, 7) == 7
    with pytest.raises(DeclarationError, match="--gap-iterations"):
        iterations_between(study, 200)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ('[model]\nsource = "engine"\ncallable = "mine.py:register"\n', "an engine"),
        (
            '[model]\nsource = "optimize"\n[refine]\niterations = 2\n',
            "registrations without a model",
        ),
    ],
)
def test_studies_without_a_model_are_refused_before_anything_is_measured(
    tiny_study: Any, tmp_path: Path, table: str, name: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_study.folder / "data", folder / "data")
    text = (tiny_study.folder / "study.toml").read_text(encoding="utf-8")
    (folder / "mine.py").write_text("def register(moving, fixed, setting): ...\n", encoding="utf-8")
    without = text[: text.index("[network]")] + text[text.index("[search]") :]
    (folder / "study.toml").write_text(f"{without}\n{table}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"--gap: .* got {name}"):
        hmopt.search(folder, gap=True)
    assert not (folder / "ledger").exists()


def test_a_model_whose_loss_changes_with_a_hyperparameter_is_refused(
    tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmopt.interop import refined_model

    def refuse(*_: Any) -> None:
        raise CheckpointError("model: window", expected="a", got="b", advice="c")

    monkeypatch.setattr(refined_model, "known_loss", refuse)
    folder = tmp_path / "window"
    shutil.copytree(tiny_study.folder, folder)
    with pytest.raises(CheckpointError, match="window"):
        hmopt.search(folder, gap=True)
    assert not (folder / "ledger").exists()
