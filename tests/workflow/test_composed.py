"""A setting for each structure in one field: searched, reported, and used to register files."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.analysis.composed import ONE_FIELD
from hmopt.cli.app import app
from hmopt.data.preprocessing import prepare
from hmopt.errors import CheckpointError, DataError, DeclarationError, LedgerError, SearchError
from hmopt.interop.preparation import FilePair, prepare_pair
from hmopt.ledger.measurements import pair_records
from hmopt.oracle import AmortizedOracle, ComposedOracle, load_oracle, open_registrar
from hmopt.oracle.composed_registrar import compose_registrar
from hmopt.oracle.structure_maps import read_frequencies
from hmopt.report.material import read_material
from hmopt.study_folder import StudyFolder
from hmopt.workflow.composed import make_maps, recommended_settings


@pytest.fixture(scope="module")
def searched(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder that was searched, and whose fields were measured with two kinds of maps."""
    folder = tmp_path_factory.mktemp("searched") / "mine"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder, per_structure=True, maps=["frequency", "moving"], map_width=1.0)
    return folder


@pytest.fixture
def two_files(searched: Path) -> tuple[Path, Path]:
    images = searched / "data" / "images"
    return images / "sub-007_ses-1_T1w.nii.gz", images / "sub-008_ses-1_T1w.nii.gz"


def label_map(image: Path) -> Path:
    name = image.name.replace("T1w", "dseg")
    return image.parents[1] / "labels" / name


def test_a_search_measures_every_field_once_and_judges_it(searched: Path) -> None:
    files = StudyFolder(searched)
    assert [fields.maps for fields in files.composed] == ["frequency", "moving"]
    ledger = searched / "ledger" / "manifest.json"
    before = ledger.read_bytes()
    again = hmopt.search(searched, per_structure=True, maps=["frequency", "moving"], map_width=1.0)
    assert ledger.read_bytes() == before
    assert [gain.fields.width for gain in again.composed] == [1.0, 1.0]
    assert len({*files.composed[0].identities}) == len(files.composed[0].assignments)
    assert "one field" in str(again)


def test_scores_of_fields_are_those_of_the_oracle(searched: Path) -> None:
    files = StudyFolder(searched)
    study = files.study
    cohort = prepare(study, searched)
    oracle = load_oracle(searched, study, cohort)
    assert isinstance(oracle, AmortizedOracle)
    maps = make_maps("moving", read_frequencies(files.structure_maps_file), 1.0)
    (fields,) = [one for one in files.composed if one.maps == "moving"]
    composed = files.composed_measurements(fields)
    pairs = pair_records(files.pairs)
    for number, assignment in enumerate(fields.assignments[:3]):
        own = ComposedOracle(oracle, dict(assignment.structures), maps)
        assert own.identity == fields.identities[number]
        for block in own.measure([assignment.common], pairs, ["dice"]):
            rows = [files.pairs["pair"].tolist().index(name) for name in block.pairs]
            expected = composed.values["dice"][number, rows]
            np.testing.assert_allclose(block.values["dice"], expected, atol=1e-6)


def test_the_report_and_the_summary_tell_the_share_also_from_committed_results(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    hmopt.report(folder, results=True)
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    told = summary["share_of_structure_gain_in_one_field"]
    assert set(told) == {"frequency", "moving"}
    material = read_material(folder)
    for gain in material.composed:
        numbers = told[gain.fields.maps]
        assert numbers["gain"]["difference"] == pytest.approx(gain.over_common.mean.value)
        assert numbers["folding"]["one field"] == pytest.approx(gain.folding[ONE_FIELD])
        assert numbers["fields"] == len(gain.fields.assignments)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "One field with a separate λ for each structure" in page

    clone = tmp_path / "clone"
    shutil.copytree(folder / "results", clone / "results")
    shutil.copyfile(folder / "study.toml", clone / "study.toml")
    again = read_material(clone)
    for gain, other in zip(material.composed, again.composed, strict=True):
        assert other.over_common.mean.value == pytest.approx(gain.over_common.mean.value, abs=1e-6)


def test_fields_that_an_earlier_search_chose_are_left_out_with_a_warning(
    searched: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    path = folder / "composed.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["sha256"]
    content["kinds"] = content["kinds"][:1]
    content["kinds"][0]["fields"] = content["kinds"][0]["fields"][:1]
    content["kinds"][0]["fields"][0]["common"] = {"regularization": 0.015}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.warns(UserWarning, match="are not reported"):
        assert read_material(folder).composed == ()


@pytest.mark.parametrize("side", ["frequency", "fixed", "moving"])
def test_files_are_registered_by_the_field_that_the_oracle_measures(
    searched: Path, two_files: tuple[Path, Path], side: str
) -> None:
    moving, fixed = two_files
    files = StudyFolder(searched)
    study = files.study
    cohort = prepare(study, searched)
    oracle = load_oracle(searched, study, cohort)
    assert isinstance(oracle, AmortizedOracle)
    frequencies = read_frequencies(files.structure_maps_file)
    names = {path.name: name for name, path in cohort.files.items()}
    structures = {"thalamus": {"regularization": 0.1}, "cortex": {"regularization": 0.9}}
    structures = {name: one for name, one in structures.items() if name in cohort.labels}
    assert structures
    composed = compose_registrar(
        open_registrar(searched),
        structures,
        frequencies,
        1.0,
        fixed_labels=label_map(fixed) if side == "fixed" else None,
        moving_labels=label_map(moving) if side == "moving" else None,
    )
    prepared = prepare_pair(composed.preparation, FilePair.read(moving, fixed))
    (found,) = composed.displacements(prepared, {"regularization": 0.5})
    maps = make_maps(side, frequencies, 1.0)  # type: ignore[arg-type]
    indices = {name: oracle.space.index(one) for name, one in structures.items()}
    pair = hmopt.Pair(
        moving=names[moving.name], fixed=names[fixed.name], moving_subject="a", fixed_subject="b"
    )
    expected = ComposedOracle(oracle, indices, maps).displacement((100,), pair).numpy()
    plain = oracle.displacement((100,), pair).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected - plain).max() > 1e-4


@pytest.mark.parametrize("side", [None, "fixed_labels", "moving_labels"])
def test_register_takes_the_best_setting_of_each_structure(
    searched: Path, two_files: tuple[Path, Path], tmp_path: Path, side: str | None
) -> None:
    moving, fixed = two_files
    labels = {} if side is None else {side: label_map(fixed if side[0] == "f" else moving)}
    files = StudyFolder(searched)
    common, structures = recommended_settings(files)
    done = hmopt.register(
        searched,
        moving,
        fixed,
        moved=tmp_path / "moved.nii.gz",
        inverse=tmp_path / "inverse.nii.gz",
        per_structure=True,
        **labels,  # type: ignore[arg-type]
    )
    assert done.setting == common
    assert done.structures == structures
    assert set(structures) == set(files.searched.labels)
    for name in structures:
        assert f"Setting of {name}: regularization" in str(done)
    moved: Any = nibabel.load(tmp_path / "moved.nii.gz")
    assert moved.shape == nibabel.load(fixed).shape  # type: ignore[attr-defined]
    assert done.residual is not None
    assert done.residual.mean_voxels < 0.1
    # only maps that were judged are used without a remark
    assert (done.advice is not None) == (side == "fixed_labels")


def test_the_commands_do_the_same(
    searched: Path, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    moving, fixed = two_files
    moved = tmp_path / "moved.nii.gz"
    arguments = ["register", str(searched), str(moving), str(fixed), "--moved", str(moved)]
    arguments += ["--per-structure", "--fixed-labels", str(label_map(fixed))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Setting of thalamus" in done.output
    refused = CliRunner().invoke(app, [*arguments, "--label", "thalamus"])
    assert refused.exit_code == 2
    assert "--per-structure: expected neither values, nor a scope" in refused.output
    other = CliRunner().invoke(app, ["search", str(searched), "--maps", "fixed"])
    assert other.exit_code == 2
    assert "--per-structure with them" in other.output


def test_what_cannot_be_is_refused_by_name(
    searched: Path, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    moving, fixed = two_files
    pair = (searched, moving, fixed)
    labels = label_map(fixed)
    with pytest.raises(DeclarationError, match="--fixed-labels: expected --per-structure"):
        hmopt.register(*pair, fixed_labels=labels)
    with pytest.raises(DeclarationError, match="--moving-labels: expected one label map"):
        hmopt.register(*pair, per_structure=True, fixed_labels=labels, moving_labels=labels)
    with pytest.raises(DataError, match="--fixed-labels: expected a label map"):
        hmopt.register(*pair, per_structure=True, fixed_labels=tmp_path / "none.nii.gz")
    with pytest.raises(DeclarationError, match="neither values"):
        hmopt.register(*pair, per_structure=True, setting={"regularization": 0.3})
    with pytest.raises(DeclarationError, match="neither values"):
        hmopt.register(*pair, per_structure=True, within_folding_limit=True)
    with pytest.raises(DeclarationError, match="--maps: expected frequency, fixed or moving"):
        hmopt.search(searched, per_structure=True, maps=["atlas"])
    with pytest.raises(DeclarationError, match="--map-width"):
        hmopt.search(searched, per_structure=True, map_width=-1.0)
    # codes that are of no structure
    empty = tmp_path / "empty.nii.gz"
    image: Any = nibabel.load(labels)
    nibabel.save(
        nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine),
        empty,
    )
    with pytest.raises(DataError, match="codes of structures of the study"):
        hmopt.register(*pair, per_structure=True, fixed_labels=empty)


def test_a_folder_without_fields_or_without_a_search_is_refused(
    tiny_study: Any, searched: Path, tmp_path: Path
) -> None:
    images = tiny_study.image(7), tiny_study.image(8)
    with pytest.raises(SearchError, match="--per-structure"):
        hmopt.register(tiny_study.folder, *images, per_structure=True)
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    (folder / "structure-maps.npz").unlink()
    with pytest.raises(DataError, match="got no file"):
        hmopt.register(folder, *images, per_structure=True)
    (folder / "composed.json").write_text("{", encoding="utf-8")
    with pytest.raises(LedgerError, match="per-structure"):
        _ = StudyFolder(folder).composed


def test_an_engine_is_refused_before_anything_is_measured(tiny_study: Any, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    shutil.copytree(tiny_study.folder / "data", folder / "data")
    text = (tiny_study.folder / "study.toml").read_text(encoding="utf-8")
    (folder / "mine.py").write_text("def register(moving, fixed, setting): ...\n", encoding="utf-8")
    engine = '[model]\nsource = "engine"\ncallable = "mine.py:register"\n'
    without = text[: text.index("[network]")] + text[text.index("[search]") :]
    (folder / "study.toml").write_text(f"{without}\n{engine}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="got an engine"):
        hmopt.search(folder, per_structure=True)
    assert not (folder / "ledger").exists()


def test_registrations_without_a_model_are_refused_by_name(
    tiny_study: Any, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "few"
    shutil.copytree(tiny_study.folder / "data", folder / "data")
    text = (tiny_study.folder / "study.toml").read_text(encoding="utf-8")
    text = text[: text.index("[hypernetwork]")] + text[text.index("[search]") :]
    optimized = '[model]\nsource = "optimize"\n[refine]\niterations = 2\n'
    (folder / "study.toml").write_text(f"{text}\n{optimized}", encoding="utf-8")
    without = pytest.raises(CheckpointError, match="got registrations without a model")
    with without:
        hmopt.search(folder, per_structure=True)
    hmopt.search(folder)
    with without:
        hmopt.register(folder, *two_files, per_structure=True)


def test_refined_registrations_are_refused_before_anything_is_measured(
    searched: Path, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    with pytest.raises(CheckpointError, match="--per-structure: expected registrations that are"):
        hmopt.register(folder, *two_files, per_structure=True, refine=3)

    ledger = folder / "ledger" / "manifest.json"
    before = ledger.read_bytes()
    declaration = folder / "study.toml"
    text = declaration.read_text(encoding="utf-8")
    declaration.write_text(f"{text}\n[refine]\niterations = 3\n", encoding="utf-8")
    with pytest.raises(
        DeclarationError, match=r"got refine.iterations = 3\. Leave --per-structure"
    ):
        hmopt.search(folder, per_structure=True)
    assert ledger.read_bytes() == before


def test_maps_of_an_earlier_model_are_not_used(
    searched: Path, two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(searched, folder)
    assert StudyFolder(folder).composed
    # a search of another model leaves the maps, and none of the fields counts
    (folder / "composed.json").unlink()
    assert (folder / "structure-maps.npz").is_file()
    with pytest.raises(SearchError, match="expected a search with --per-structure of the model"):
        hmopt.register(folder, *two_files, per_structure=True)
