"""A study in Python alone: declared, trained, searched, reported, and its model registers two images."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import optuna
import pytest

import hmopt
from hmopt.data.synthetic import make_cohort
from hmopt.errors import DeclarationError, HmoptError, SearchError
from hmopt.files import read_json
from hmopt.space import Setting

SMALL = """
[network]
encoder = [4, 4]
decoder = [4]
final = []
[hypernetwork]
widths = [4]
[training]
steps = 4
batch = 1
checkpoint_every = 2
[search]
coarse = 3
reported = []
scopes = [["cohort"], ["label"]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python") / "study"
    make_cohort(folder / "data", subjects=8, shape=(24, 24))
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> Any:
    data = folder / "data"
    return hmopt.new(folder, manifest=data / "cohort.csv", label_names=data / "dseg.tsv")


@pytest.fixture(scope="module")
def study(folder: Path, made: Any) -> hmopt.StudyFolder:
    """The declared study, with a network and a search so small that they take a moment."""
    text = made.declaration.read_text(encoding="utf-8")
    kept = text[: text.index("[network]")]
    made.declaration.write_text(kept + SMALL, encoding="utf-8")
    return hmopt.StudyFolder(folder)


@pytest.fixture(scope="module")
def trained(study: hmopt.StudyFolder) -> Any:
    return hmopt.train(study.path, device="cpu")


@pytest.fixture(scope="module")
def swept(study: hmopt.StudyFolder, trained: Any) -> Any:
    return hmopt.search(study.path, device="cpu")


@pytest.fixture(scope="module")
def scans(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "images").glob("*T1w.nii.gz"))[:2]


def test_a_new_study_tells_what_it_was_inferred_from(made: Any, folder: Path) -> None:
    assert made.declaration == folder / "study.toml"
    assert made.study.name == "study"
    assert sum(made.subjects.values()) == 8
    assert made.study.preprocessing.shape == [32, 32]
    assert "preprocessing.shape" in made.remarks
    assert made.estimate.disk_bytes > 0
    with pytest.raises(FrozenInstanceError):
        made.study = None


def test_training_tells_the_model_and_its_cost(trained: Any, study: hmopt.StudyFolder) -> None:
    assert trained.model == study.model_file()
    assert trained.model.is_file()
    assert (trained.steps, trained.device) == (4, "cpu")
    assert 0 <= trained.minutes < 5


def test_a_search_returns_its_measurements_and_writes_its_studies(
    swept: Any, study: hmopt.StudyFolder
) -> None:
    again = hmopt.read_folder(study.path)
    assert swept.measurements.settings == again.settings
    np.testing.assert_array_equal(swept.measurements.values["dice"], again.values["dice"])
    stored = optuna.get_all_study_names(f"sqlite:///{study.studies_file}")
    assert sorted(stored) == sorted(swept.studies)
    assert len(stored) == 1 + len(again.labels)


def test_nothing_is_printed(
    swept: Any, study: hmopt.StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    hmopt.train(study.path, device="cpu")
    hmopt.search(study.path, device="cpu")
    assert capsys.readouterr() == ("", "")


def test_a_report_is_the_same_as_that_of_its_results(
    swept: Any, study: hmopt.StudyFolder, tmp_path: Path
) -> None:
    reported = hmopt.report(study.path, results=True)
    assert reported.page == study.report.page_file
    assert reported.results == study.results.path
    assert "<html" in reported.page.read_text(encoding="utf-8")
    assert study.report.optima_file.read_bytes() == study.results.optima_file.read_bytes()


def test_commands_of_python_are_told_in_the_report_too(
    swept: Any, study: hmopt.StudyFolder
) -> None:
    known = [command.command for command in hmopt.StudyFolder(study.path).commands]
    assert known == ["hmopt train", "hmopt search"]


def test_registering_returns_images_and_writes_only_what_is_asked_for(
    trained: Any, study: hmopt.StudyFolder, scans: list[Path], tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    only_returned = hmopt.register(
        study.path, *scans, setting={"regularization": 0.3}, device="cpu"
    )
    assert set(tmp_path.iterdir()) == before
    assert (only_returned.moved, only_returned.displacement) == (None, None)
    written = hmopt.register(
        study.path,
        *scans,
        moved=tmp_path / "moved.nii.gz",
        setting={"regularization": 0.3},
        device="cpu",
    )
    assert written.setting == {"regularization": 0.3}
    assert written.displacement == tmp_path / "moved_displacement.nii.gz"
    assert written.moved is not None
    stored = nibabel.Nifti1Image.from_filename(written.moved).get_fdata()
    np.testing.assert_allclose(stored, only_returned.moved_image.get_fdata(), rtol=1e-5)
    assert stored.shape == nibabel.Nifti1Image.from_filename(scans[1]).shape


def test_a_scope_is_named_by_text_by_a_mapping_or_by_keywords(
    swept: Any, study: hmopt.StudyFolder, scans: list[Path]
) -> None:
    label = swept.measurements.labels[0]

    def registered(**options: Any) -> Setting:
        return hmopt.register(study.path, *scans, device="cpu", **options).setting

    expected = registered(label=label)
    assert registered(scope=f"label={label}") == expected
    assert registered(scope={"label": label}) == expected
    opened = hmopt.open_study(study.path, scope=f"label={label}")
    assert opened.study_name == hmopt.open_study(study.path, label=label).study_name
    with pytest.raises(SearchError, match="label"):
        registered(label="nowhere")
    with pytest.raises(DeclarationError, match="either values or a scope"):
        registered(label=label, setting={"regularization": 0.3})


def test_a_command_reads_the_record_of_a_search_once(
    swept: Any, study: hmopt.StudyFolder, scans: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, **options: Any) -> dict[str, Any]:
        read.append(path.name)
        return read_json(path, **options)

    monkeypatch.setattr("hmopt.study_folder.read_json", counted)
    hmopt.register(study.path, *scans, label=swept.measurements.labels[0], device="cpu")
    assert read == ["search.json"]
    read.clear()
    hmopt.report(study.path, results=True)
    assert read == ["search.json"]


def test_scopes_are_exported_by_text_or_by_keywords(
    swept: Any, study: hmopt.StudyFolder, tmp_path: Path
) -> None:
    by_text = hmopt.export(study.path, f"sqlite:///{tmp_path / 'a.db'}", "label=*")
    by_keyword = hmopt.export(study.path, f"sqlite:///{tmp_path / 'b.db'}", label="*")
    assert by_text.studies == by_keyword.studies
    assert len(by_text.studies) == len(swept.measurements.labels)


def test_the_ledger_is_counted(swept: Any, study: hmopt.StudyFolder) -> None:
    content = hmopt.inspect_ledger(study.path)
    assert content.stale_rows == 0
    assert set(content.names.values()) >= {"full", "half", "unregistered"}
    values = swept.measurements.values["dice"]
    rows = {
        kept.metric: kept.rows
        for holding in content.holdings
        if content.name(holding.identity) == "full"
        for kept in holding.metrics
    }
    assert rows["dice@1"] == values.size


def test_running_a_finished_study_reuses_its_work(
    swept: Any, study: hmopt.StudyFolder, tmp_path: Path
) -> None:
    model = study.model_file().read_bytes()
    said: list[str] = []
    done = hmopt.run(study.path, say=said.append, device="cpu")
    assert study.model_file().read_bytes() == model
    assert said == [str(done.trained), str(done.swept), str(done.reported)]
    assert str(done) == "\n".join(said)


def test_commands_that_share_a_name_with_a_package_stay_callable(tmp_path: Path) -> None:
    import hmopt.report.write
    import hmopt.search.curve

    assert hmopt.search.curve.Curves is not None  # type: ignore[attr-defined]
    for command in (hmopt.search, hmopt.report):
        with pytest.raises(HmoptError):
            command(tmp_path)
