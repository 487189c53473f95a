"""A published folder: the card as the hub reads it, nothing personal, and read again as a model."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.data.facts import FACTS
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import ReportOptions, read_study
from hmopt.declaration.report import BesideOptions
from hmopt.errors import DataError, DeclarationError, HmoptError, SearchError
from hmopt.interop import own_model
from hmopt.model_file import model_identity
from hmopt.report.origin import ModelOptima, ScopeOptimum, read_optima, write_optima
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder
from hmopt.workflow.publish import Published, harmless, licence_identifier
from hmopt.workflow.register import find_published, recommended_setting


@pytest.fixture(scope="module")
def study(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a trained study that was searched for the cohort, tasks and subjects."""
    folder = tmp_path_factory.mktemp("published") / "study"
    shutil.copytree(tiny_study.folder, folder)
    declared = (folder / "study.toml").read_text()
    scopes = 'scopes = [["cohort"], ["task"], ["subject"]]\n'
    (folder / "study.toml").write_text(declared + scopes)
    hmopt.search(folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def published(study: Path) -> Published:
    return hmopt.publish(
        study, study.parent / "out", data_license="CC BY-NC-SA 4.0", citation="Us | 2026"
    )


@pytest.fixture(scope="module")
def by_label(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a trained study that was searched for each structure."""
    folder = tmp_path_factory.mktemp("by-label") / "study"
    shutil.copytree(tiny_study.folder, folder)
    declared = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(declared + 'scopes = [["cohort"], ["label"]]\n')
    hmopt.search(folder, device="cpu")
    return folder


def test_the_folder_holds_card_weights_declaration_and_optima(published: Published) -> None:
    names = sorted(path.name for path in published.folder.iterdir())
    assert names == ["README.md", "model.safetensors", "optima.csv", "optima.json", "study.toml"]
    assert published.remarks == ()


def test_the_hub_reads_the_card(published: Published) -> None:
    repocard = pytest.importorskip("huggingface_hub")
    card = repocard.ModelCard.load(published.card)
    data = card.data
    assert data.license == "cc-by-nc-sa-4.0"
    assert data.library_name == "hmopt"
    assert data.pipeline_tag == "image-to-image"
    assert {"hmopt", "image-registration", "2-d"} <= set(data.tags)
    (result,) = data.eval_results
    assert result.metric_type == "dice"
    optima = read_optima(published.folder / "optima.json")
    (overall,) = [one for one in optima.scopes if not one.criteria]
    assert overall.score_held_out is not None
    assert result.metric_value == pytest.approx(overall.score_held_out.value, abs=1e-4)


def test_the_card_tells_training_limits_licence_and_best_settings(published: Published) -> None:
    text = published.card.read_text()
    for heading in (
        "Use it",
        "Intended use and limits",
        "Training",
        "Data and licence",
        "Citation",
    ):
        assert f"## {heading}" in text
    assert "| subjects | 4 (16 images) |" in text
    assert "| grid | 32 x 32 voxels |" in text
    assert "| steps | 20 of 2 pairs |" in text
    assert "CC BY-NC-SA 4.0" in text
    assert "--model out" in text
    assert "whole cohort" in text
    assert "Us | 2026" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(published: Published) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", published.card.read_text(), re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_nothing_personal_is_in_any_file(published: Published, study: Path) -> None:
    subjects = set(pd.read_csv(study / "data/cohort.csv")["subject"])
    secrets = [*subjects, str(study), str(Path.home()), "/tmp", "data/cohort.csv", "data/dseg.tsv"]
    with safe_open(published.model, framework="np") as file:
        header = json.dumps(file.metadata())
    texts = [header]
    readable = [path for path in published.folder.iterdir() if path.suffix != ".safetensors"]
    texts += [path.read_text() for path in readable]
    for text in texts:
        for secret in secrets:
            assert secret not in text


def test_the_weights_and_their_identity_stay(published: Published, study: Path) -> None:
    before = own_model.read(study / "model.safetensors")
    after = own_model.read(published.model)
    assert after.identity == before.identity
    assert model_identity(published.model) == model_identity(study / "model.safetensors")
    assert after.header[FACTS] == before.header[FACTS]


def test_a_template_that_names_an_image_is_taken_out(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "named")
    path = tmp_path / "named/model.safetensors"
    model = own_model.read(path)
    from hmopt.networks import save_hypermorph

    preprocessing = {**model.header["preprocessing"], "template": "jane-doe_T1w"}
    header = {**model.header, "preprocessing": preprocessing}
    save_hypermorph(path, model.hypermorph.hypernetwork.state_dict(), header)
    made = hmopt.publish(tmp_path / "named", tmp_path / "out", data_license="mit")
    assert b"jane-doe" not in made.model.read_bytes()


def make_small(declaration: Path) -> None:
    """Let a study search few settings on few pairs."""
    text = declaration.read_text()
    text = text.replace("coarse = 10", "coarse = 4").replace("refinements = 5", "refinements = 0")
    text = text.replace("search = 200", "search = 20")
    declaration.write_text(re.sub("scopes = .*", 'scopes = [["cohort"]]', text))


def test_a_published_folder_is_read_as_a_model(published: Published, tmp_path: Path) -> None:
    make_cohort(tmp_path / "data", subjects=6, shape=(32, 32), seed=1)
    made = hmopt.new(
        tmp_path / "new",
        manifest=tmp_path / "data/cohort.csv",
        label_names=tmp_path / "data/dseg.tsv",
        model=published.folder,
    )
    assert made.study.model.source == "study"
    assert made.subjects["search"] == 6
    assert read_study(published.folder).split.search == 4  # a number, no names
    make_small(tmp_path / "new/study.toml")
    hmopt.search(tmp_path / "new", device="cpu")
    page = hmopt.report(tmp_path / "new").page.read_text()
    assert 'id="other-cohort"' in page
    assert StudyFolder(tmp_path / "new").origin_file.is_file()


def test_what_is_there_is_not_overwritten(published: Published, study: Path) -> None:
    before = published.card.read_bytes()
    with pytest.raises(DeclarationError, match="a new or empty folder"):
        hmopt.publish(study, published.folder, data_license="mit")
    assert published.card.read_bytes() == before


def test_an_empty_folder_is_filled(study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert hmopt.publish(study, tmp_path / "empty", data_license="mit").card.is_file()


def test_the_licence_of_the_data_is_asked_for(study: Path, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"cohort.license: expected the licence"):
        hmopt.publish(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_declared_licence_is_taken(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    text = (study / "study.toml").read_text()
    declared = text.replace("[cohort]", '[cohort]\nlicense = "Public Domain"\ncitation = "Them"')
    (tmp_path / "study/study.toml").write_text(declared)
    made = hmopt.publish(tmp_path / "study", tmp_path / "out")
    front = made.card.read_text().split("---")[1]
    assert 'license: "other"' in front
    assert 'license_name: "public-domain"' in front
    assert "Them" in made.card.read_text()


def test_a_model_without_a_search_is_published_without_best_settings(
    tiny_study: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_study.folder, tmp_path / "study")
    made = hmopt.publish(tmp_path / "study", tmp_path / "out", data_license="mit")
    assert not (made.folder / "optima.json").exists()
    assert "Not searched yet" in made.card.read_text()
    assert "The model was not searched" in made.remarks[0]


def test_a_study_of_a_model_of_elsewhere_is_not_published(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    text = (study / "study.toml").read_text()
    declared = f'\n[model]\nsource = "study"\npath = "{study}"\n'
    (tmp_path / "study/study.toml").write_text(text + declared)
    with pytest.raises(HmoptError, match="Publish that folder"):
        hmopt.publish(tmp_path / "study", tmp_path / "out", data_license="mit")


def test_a_published_folder_is_neither_published_again_nor_searched(
    published: Published, tmp_path: Path
) -> None:
    with pytest.raises(HmoptError, match=r"got a folder that was published\. Copy"):
        hmopt.publish(published.folder, tmp_path / "again", data_license="mit")
    for command in (hmopt.search, hmopt.train):
        with pytest.raises(DataError, match="whose cohort is not published"):
            command(published.folder)


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC0 1.0", "cc0-1.0"),
        ("mit", "mit"),
        ("Data use agreement of Us", None),
    ],
)
def test_licences_that_the_hub_knows(licence: str, identifier: str | None) -> None:
    assert licence_identifier(licence) == identifier


def card_commands(card: Path) -> list[list[str]]:
    """Return the arguments of all commands `hmopt …` that a card shows."""
    blocks = re.findall(r"^```sh\n(.*?)^```", card.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in commands if words and words[0] == "hmopt"]


def lay_out_images(folder: Path) -> None:
    """Write what the commands of a card read: IMAGES and LABELS of six subjects, and two images beside them."""
    make_cohort(folder / "data", subjects=6, shape=(32, 32), seed=1)
    table = pd.read_csv(folder / "data/cohort.csv").drop_duplicates("subject")
    for column, name in (("image", "IMAGES"), ("label", "LABELS")):
        (folder / name).mkdir()
        for subject, file in zip(table["subject"], table[column], strict=True):
            shutil.copy(folder / "data" / file, folder / name / f"{subject}.nii.gz")
    first, second, *_ = sorted((folder / "IMAGES").iterdir())
    shutil.copy(first, folder / "moving.nii.gz")
    shutil.copy(second, folder / "fixed.nii.gz")


@pytest.mark.filterwarnings("ignore:labels have no names")
def test_the_commands_of_the_card_are_true(
    by_label: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    made = hmopt.publish(by_label, "my model", data_license="mit")
    lay_out_images(tmp_path)
    commands = card_commands(made.card)
    named = [words[0] for words in commands]
    assert named == ["new", "run", "register", "register", "register", "bake"]
    for words in commands:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        if words[0] == "new":
            make_small(tmp_path / "mine/study.toml")
    assert Path("moved.nii.gz").is_file()
    assert Path("model.onnx").is_file()


def test_a_published_folder_recommends_what_its_study_recommends(
    by_label: Path, tmp_path: Path
) -> None:
    made = hmopt.publish(by_label, tmp_path / "out", data_license="mit")
    files, published = StudyFolder(by_label), StudyFolder(made.folder)
    labels = list(files.searched.labels)
    assert len(labels) > 1
    scopes: list[dict[str, str]] = [{}, *({"label": label} for label in labels)]
    for criteria in scopes:
        before = recommended_setting(files, criteria)
        after = recommended_setting(published, criteria)
        assert after.best == before.best
        assert after.within_limit == before.within_limit
        assert after.folding == pytest.approx(before.folding)
        assert after.folding_limit == before.folding_limit


def test_a_published_model_registers_and_is_baked_at_its_best_settings(
    by_label: Path, tmp_path: Path
) -> None:
    made = hmopt.publish(by_label, tmp_path / "out", data_license="mit")
    image = next((by_label / "data").rglob("*.nii.gz"))
    label = StudyFolder(by_label).searched.labels[0]
    wanted = recommended_setting(StudyFolder(by_label), {"label": label}).best
    assert hmopt.register(made.folder, image, image, label=label).setting == wanted
    file = tmp_path / "baked.safetensors"
    baked = hmopt.bake(made.folder, format="safetensors", output=file, label=label)
    assert baked.setting == wanted
    assert hmopt.load_model(file).space.names == ()


def test_a_scope_that_was_not_published_is_refused_and_those_that_were_are_named(
    by_label: Path, published: Published, tmp_path: Path
) -> None:
    image = next((by_label / "data").rglob("*.nii.gz"))
    with pytest.raises(SearchError, match=r"published with the model \(cohort, task="):
        hmopt.register(published.folder, image, image, label="thalamus")
    with pytest.raises(SearchError, match=r"published with the model"):
        hmopt.register(published.folder, image, image, subject="s01")


def test_a_pair_of_groups_that_was_published_may_be_typed_without_its_arrow() -> None:
    found = []
    for value in ("T1", "T1→T2"):
        one = ScopeOptimum(
            criteria=[("modality", value)],
            setting={"regularization": 0.5},
            intervals={},
            recommended={"regularization": 0.4},
            pairs=4,
            subjects=3,
        )
        found.append(one)
    optima = ModelOptima(
        name="x", identity="y", metric="dice", labels=["a"], default={}, scopes=found
    )
    assert find_published(optima, {"modality": "T1->T2"}) is found[1]
    assert find_published(optima, {"modality": "T1→T2"}) is found[1]
    with pytest.raises(SearchError, match="got modality=T2->T1"):
        find_published(optima, {"modality": "T2->T1"})


def test_optima_of_another_model_are_not_used(by_label: Path, tmp_path: Path) -> None:
    made = hmopt.publish(by_label, tmp_path / "out", data_license="mit")
    path = made.folder / "optima.json"
    write_optima(path, read_optima(path).model_copy(update={"identity": "of-another"}))
    image = next((by_label / "data").rglob("*.nii.gz"))
    with pytest.raises(HmoptError, match="those of another model"):
        hmopt.register(made.folder, image, image)


def test_optima_of_an_earlier_version_tell_no_folding_limit(by_label: Path, tmp_path: Path) -> None:
    made = hmopt.publish(by_label, tmp_path / "out", data_license="mit")
    path = made.folder / "optima.json"
    optima = read_optima(path)
    earlier = [
        one.model_copy(update={"folding": None, "within_limit": None}) for one in optima.scopes
    ]
    write_optima(path, optima.model_copy(update={"folding_limit": None, "scopes": earlier}))
    image = next((by_label / "data").rglob("*.nii.gz"))
    assert hmopt.register(made.folder, image, image).setting
    with pytest.raises(SearchError, match="earlier version"):
        hmopt.register(made.folder, image, image, within_folding_limit=True)


def test_what_a_report_compares_with_is_not_published(study: Path) -> None:
    declared = read_study(study)
    beside = [BesideOptions(path=Path("/home/jane.doe/ants.csv"), title="of Jane")]
    report = ReportOptions(title="Jane", beside=beside)
    published = harmless(declared.model_copy(update={"report": report}))
    assert published is not None
    assert published.report == ReportOptions()


def test_a_refined_model_without_a_declaration_is_refined_as_it_was_searched(
    study: Path, tmp_path: Path
) -> None:
    """A plugin keeps `study.toml` from being published."""
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    (folder / "plug.py").write_text("", encoding="utf-8")
    text = (folder / "study.toml").read_text(encoding="utf-8")
    refinement = (
        '[refine]\niterations = 3\nfull_resolution_iterations = 2\nfeatures = ["gradient"]\n'
    )
    declared = f'plugins = ["plug.py"]\n{text}\n{refinement}'
    (folder / "study.toml").write_text(declared, encoding="utf-8")
    make_small(folder / "study.toml")
    hmopt.search(folder, device="cpu")
    made = hmopt.publish(folder, tmp_path / "out", data_license="mit")
    assert not (made.folder / "study.toml").exists()

    images = sorted((folder / "data" / "images").glob("*T1w*"))[:2]

    def registered(where: Path, refine: int | None = None) -> np.ndarray:
        at: Setting = {"regularization": 0.25}
        result = hmopt.register(where, *images, setting=at, refine=refine, device="cpu")
        return np.asarray(result.displacement_image.dataobj)

    expected, found = registered(folder), registered(made.folder)
    plain = registered(made.folder, refine=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(plain - expected).max() > 0.05
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert "3 iterations and 2 at full resolution on each pair, comparing gradient" in card


def test_a_model_of_aligned_images_says_that_its_template_is_not_published(
    study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    path = folder / "model.safetensors"
    model = own_model.read(path)
    from hmopt.networks import save_hypermorph

    preprocessing = {**model.header["preprocessing"], "placement": "affine"}
    header = {**model.header, "preprocessing": preprocessing}
    save_hypermorph(path, model.hypermorph.hypernetwork.state_dict(), header)
    text = (folder / "study.toml").read_text(encoding="utf-8")
    text = text.replace("[preprocessing]", '[preprocessing]\nplacement = "affine"')
    (folder / "study.toml").write_text(text, encoding="utf-8")
    (folder / "search.json").unlink()
    made = hmopt.publish(folder, tmp_path / "out", data_license="mit")
    assert any("--placement header or --placement centre" in remark for remark in made.remarks)
    card = made.card.read_text(encoding="utf-8")
    assert "--moved moved.nii.gz --placement centre" in card

    images = sorted((folder / "data" / "images").glob("*T1w*"))[:2]
    at: Setting = {"regularization": 0.25}
    with pytest.raises(DataError, match="use `--placement header` or `--placement centre`"):
        hmopt.register(made.folder, *images, setting=at, device="cpu")
    moved = tmp_path / "moved.nii.gz"
    hmopt.register(made.folder, *images, moved=moved, setting=at, placement="centre", device="cpu")
    assert moved.is_file()
