import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.declaration.search import SearchOptions
from hmopt.files import slug, write_json
from hmopt.ledger import Ledger, read_measurements
from hmopt.records import Block
from hmopt.report import write_report, write_results
from hmopt.report.words import metric_name
from hmopt.search.scopes import list_scopes
from hmopt.study_folder import StudyFolder, read_folder

VOID = {"meta", "br", "img", "link", "path", "image", "use", "rect"}
LABELS = ["cortex", "ventricle", "thalamus", "putamen"]


class Page(HTMLParser):
    """Ids, attributes, text and unclosed elements of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [
            value or "" for name, value in attrs if name == "id" and tag in ("details", "tr")
        ]
        self.anchors += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def report(study_folder: Path) -> Path:
    return write_report(study_folder)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report)


@pytest.fixture(scope="module")
def results(study_folder: Path) -> Path:
    return write_results(study_folder)


def test_the_page_is_well_formed_and_every_scope_is_on_it_once(
    page: Page, study_folder: Path, declared: SearchOptions
) -> None:
    measurements = read_folder(study_folder)
    scopes = list_scopes(declared, measurements.pairs, measurements.labels)
    assert page.open == []
    assert sorted(page.ids) == sorted(f"scope-{slug(scope.name)}" for scope in scopes)


def test_the_page_fetches_nothing(page: Page, report: Path) -> None:
    fetching = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}
    urls = [value for _, name, value in page.attributes if name in fetching]
    assert urls
    assert all(url.startswith(("#", "data:")) for url in urls)
    css = report.read_text(encoding="utf-8").lower()
    assert "@import" not in css
    assert all(part.startswith(("#", "data:")) for part in css.split("url(")[1:])


def test_names_from_the_data_never_become_markup(page: Page) -> None:
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "b" in page.tags
    assert '<b onclick="x">R&D $\\frac{1</b>' in page.text


def test_each_link_leads_somewhere_on_the_page(page: Page) -> None:
    links = [
        value
        for tag, name, value in page.attributes
        if tag == "a" and name == "href" and not value.startswith("data:")
    ]
    assert links
    assert {link[1:] for link in links} <= set(page.anchors)


def test_pictures_stand_where_they_were_made_and_elsewhere_it_says_how(page: Page) -> None:
    assert page.text.count("Worst pair") == 1
    assert sum(tag == "image" for tag in page.tags) >= 8
    assert page.text.count("hmopt search draws pictures") == 1


def test_the_page_is_light_enough_to_be_sent(report: Path) -> None:
    assert report.stat().st_size < 6_000_000


def test_figures_and_table_lie_beside_the_page(report: Path) -> None:
    figures = report.parent / "figures"
    for name in ("overview-regularization", "subject", "training"):
        assert (figures / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(report.parent / "optima.csv", keep_default_na=False)
    assert set(table.loc[table["scope"] == "label", "value"]) > set(LABELS)


def test_the_table_orders_structures_as_they_were_made(report: Path) -> None:
    table = pd.read_csv(report.parent / "optima.csv")
    best = table[table["scope"] == "label"].set_index("label")["regularization"]
    assert best[LABELS].is_monotonic_increasing
    assert (table["gain_over_common"].dropna() > -0.02).all()


def test_every_reported_metric_is_on_the_page_by_its_full_name(
    page: Page, declared: SearchOptions
) -> None:
    assert len(declared.reported) > 1
    for name in declared.reported:
        said = "folded voxels" if name == "folding" else metric_name(name, full=True)
        assert said in page.text


def test_the_searched_metric_is_called_by_its_full_name_once_and_in_the_methods(page: Page) -> None:
    assert page.text.count("Dice of partial-volume labels") == 2
    assert page.text.count("Dice") > 5


def test_the_best_setting_by_nearest_neighbour_dice_stands_beside_the_other(page: Page) -> None:
    assert "λ* by nearest-neighbour Dice" in page.text
    assert "λ*, nearest neighbour" in page.text
    assert "By nearest-neighbour Dice, a different λ is best for" in page.text
    assert "Moving a label by a fraction of a voxel blurs its border" in page.text


def test_the_page_says_that_structures_need_registrations_of_their_own(page: Page) -> None:
    assert "This requires a separate registration for each structure" in page.text


def test_rows_end_in_what_to_use_with_a_command(page: Page) -> None:
    assert "recommendation" in page.text
    assert "keep λ = 0.50" in page.text
    assert (
        "hmopt register . moving.nii.gz fixed.nii.gz --moved moved.nii.gz --regularization 0.5"
        in page.text
    )


POINT = re.compile(r"(?<![−\-\d.])([−-]?\d+\.\d+) to (\1)(?!\d)")
"""An interval whose ends read as one number."""


def test_no_interval_reads_as_a_point(page: Page) -> None:
    assert " to " in page.text
    assert POINT.search("95 % interval 0.00 to 0.00")
    found = POINT.search(page.text)
    assert found is None, page.text[found.start() - 200 : found.end() + 50]


def test_of_four_subjects_the_page_gives_no_interval_and_no_verdict(few_folder: Path) -> None:
    text = Page(write_report(few_folder)).text
    assert not re.search(r"95 % interval,? [−\d]", text)
    assert not POINT.findall(text)
    assert "Too few subjects to compare it with the default λ = 0.50" in text
    assert "intervals and verdicts are given only from 5 subjects" in text
    assert text.count("This applies to all scopes: the search used 4 subjects.") == 1
    assert "λ = 0.50, the default: fewer than 5 subjects" in text
    assert "its own setting: better than the default" not in text


def test_results_give_the_same_report_without_ledger_and_model(
    results: Path, report: Path, tmp_path: Path, study_folder: Path
) -> None:
    shutil.copytree(results, tmp_path / "results")
    shutil.copy(study_folder / "study.toml", tmp_path)
    again = write_report(tmp_path)
    first, second = (pd.read_csv(path.parent / "optima.csv") for path in (report, again))
    pd.testing.assert_frame_equal(first, second, rtol=1e-5, atol=1e-6)
    assert "hmopt train, hmopt search. Their run times are in commands.csv." in Page(again).text


def test_results_are_small_and_their_summary_cites_the_table(results: Path, report: Path) -> None:
    assert sum(path.stat().st_size for path in results.rglob("*") if path.is_file()) < 5_000_000
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    cohort = pd.read_csv(report.parent / "optima.csv").iloc[0]
    assert summary["dice_held_out"] == pytest.approx(cohort["score_held_out"], abs=1e-5)
    assert summary["dice_at_optimum"] == pytest.approx(cohort["score"], abs=1e-5)
    assert summary["regularization"] == cohort["regularization"]
    assert summary["dice_unregistered"] == pytest.approx(0.52, abs=0.001)
    times = json.loads((results / "times.json").read_text(encoding="utf-8"))
    assert times["training_minutes"] == 45
    assert times["commands"][0] == {"command": "hmopt train", "minutes": 45}
    assert times["hours"] == 1
    assert not summary.keys() & times.keys()
    assert summary["subjects"] == 12
    assert summary["regularization_recommended"] == cohort["regularization_recommended"]
    assert summary["regularization_nearest"] == cohort["regularization_by_dice_nearest"]
    assert summary["regularization_nearest"] > summary["regularization"]
    for over in ("common", "default"):
        gained, low, high = summary[f"gain_over_{over}"]
        assert gained == pytest.approx(cohort[f"gain_over_{over}"], abs=1e-5)
        assert (low is None) == (over == "common")
        assert (high is None) == (over == "common")
    assert summary["dice_nearest_at_optimum"] == pytest.approx(
        cohort["dice_nearest_at_optimum"], abs=1e-5
    )
    assert summary["use"].endswith("keep λ = 0.50")
    assert {"use", "regularization_nearest"} < set(summary["scopes"]["label"]["thalamus"])
    assert set(LABELS) < set(summary["scopes"]["label"])
    assert len(pd.read_csv(results / "training.csv")) <= 400


def test_a_dense_sweep_is_kept_and_one_of_an_earlier_model_is_not(
    study_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study_folder, folder)
    StudyFolder(folder).results.dense_file.parent.mkdir(exist_ok=True)
    StudyFolder(folder).results.dense_file.write_bytes(b"of an earlier model")
    write_results(folder)
    assert not StudyFolder(folder).results.dense_file.exists()
    measured = read_folder(folder)
    pairs, labels = tuple(measured.pairs["pair"]), measured.labels
    of_labels, of_pairs = np.full((len(pairs), len(labels)), 0.5), np.zeros(len(pairs))
    values = {name: of_labels if name.startswith("dice") else of_pairs for name in measured.values}
    blocks = [
        Block(index=i, pairs=pairs, labels=labels, values=values)
        for i in measured.space.coarse(201)
    ]
    Ledger(folder / "ledger").write(measured.identity, measured.space, blocks)
    write_results(folder)
    assert len(read_measurements(StudyFolder(folder).results.dense_file).settings) == 201


def test_without_training_log_half_training_and_declaration_the_report_says_less(
    results: Path, tmp_path: Path
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / "training.csv").unlink()
    searched = json.loads((tmp_path / "results" / "search.json").read_text(encoding="utf-8"))
    searched |= {"identity_half": None, "identity_unregistered": None}
    searched["search"]["scopes"] = [["label"]]
    write_json(tmp_path / "results" / "search.json", searched)
    text = Page(write_report(tmp_path)).text
    assert "checkpoint at half training was not measured" in text
    assert "running mean" not in text


def test_pictures_of_pairs_are_kept_with_the_results_only_where_asked_for(
    study_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study_folder, folder, ignore=shutil.ignore_patterns("results"))
    assert not list(write_results(folder).rglob("*.npz"))
    write_results(folder, pictures=True)
    shutil.copytree(folder / "results", tmp_path / "cloned" / "results")
    again = Page(write_report(tmp_path / "cloned"))
    assert again.text.count("Worst pair") == 1
    assert sum(tag == "image" for tag in again.tags) >= 8
