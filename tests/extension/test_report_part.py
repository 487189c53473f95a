"""A part of the report that is added from outside the package, in one file."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import hmopt
from hmopt.report import write_report, write_results
from hmopt.report.material import Material
from hmopt.report.parts import PARTS

FOLDING_AT_0 = 0.25


class FoldingPart(hmopt.ReportPart):
    """How much folding no regularization costs."""

    anchor = "folding-at-0"
    place = hmopt.Place.CHECKS
    needs = ("measurements",)

    def section(self, material: Material) -> hmopt.Section:
        lowest = float(material.measurements.values["folding"][0].mean())
        figure = Figure()
        figure.subplots().bar(["λ = 0"], [lowest])
        return hmopt.Section(
            title="Folding without regularization",
            found=f"At λ = 0 {lowest:.0%} of the voxels fold.",
            figures={"folding-at-0": figure},
            table=pd.DataFrame([{"": "λ = 0", "folded": f"{lowest:.0%}"}]),
            numbers={"folding_at_0": lowest},
        )


class NeedsComparison(FoldingPart):
    """A part that needs what the study does not have."""

    anchor = "needs-comparison"
    needs = ("compared",)


@pytest.fixture(autouse=True)
def parts_as_before() -> Iterator[None]:
    known = list(PARTS)
    yield
    PARTS[:] = known


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A searched study of three subjects whose Dice is best at λ = 0.5."""
    space = hmopt.Space(hyperparameters=(hmopt.Hyperparameter(name="regularization"),))
    subjects = ["a", "b", "c"]
    rows = [(one, other, one, other, "cross") for one in subjects for other in subjects]
    rows = [row for row in rows if row[0] != row[1]]
    columns = ["moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    pairs.insert(0, "pair", pairs["moving"] + "->" + pairs["fixed"])
    write_measured(tmp_path, space, pairs)
    return tmp_path


def write_measured(folder: Path, space: hmopt.Space, pairs: pd.DataFrame) -> None:
    from hmopt.declaration.search import SearchOptions
    from hmopt.ledger import Searched
    from hmopt.records import Block

    searched = Searched(
        name="small",
        identity="model",
        identity_half=None,
        labels=("thalamus",),
        spacing_mm=None,
        space=space,
        loss={},
        loss_scale=1.0,
        search=SearchOptions(reported=["folding"], scopes=[["cohort"]]),
    )
    files = hmopt.StudyFolder(folder)
    files.write_search(searched, pairs)
    blocks = []
    for index in space.coarse(5):
        (value,) = map(float, space.setting(index).values())
        dice = np.full((len(pairs), 1), 0.7 - (value - 0.5) ** 2)
        folding = np.full(len(pairs), FOLDING_AT_0 * (1 - value))
        values = {"dice": dice, "folding": folding}
        ids = tuple(pairs["pair"])
        blocks.append(Block(index=index, pairs=ids, labels=("thalamus",), values=values))
    files.ledger.write("model", space, blocks)


def test_a_part_from_outside_stands_on_the_page_and_in_the_results(study: Path) -> None:
    hmopt.add_report_part(FoldingPart())
    page = write_report(study).read_text(encoding="utf-8")
    assert '<section id="folding-at-0">' in page
    assert '<a href="#folding-at-0">Folding without regularization</a>' in page
    assert "At λ = 0 25% of the voxels fold." in page
    assert page.index('id="details"') < page.index('id="folding-at-0"')
    results = write_results(study)
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert summary["folding_at_0"] == FOLDING_AT_0
    assert (results / "figures" / "folding-at-0.png").is_file()


def test_a_part_is_left_out_where_what_it_needs_is_missing(study: Path) -> None:
    hmopt.add_report_part(NeedsComparison())
    assert "needs-comparison" not in write_report(study).read_text(encoding="utf-8")


def test_a_part_that_is_added_again_replaces_itself() -> None:
    before = len(PARTS)
    hmopt.add_report_part(FoldingPart())
    hmopt.add_report_part(FoldingPart())
    assert len(PARTS) == before + 1


def test_two_parts_cannot_have_one_anchor() -> None:
    class CostPart2(FoldingPart):
        anchor = "cost"

    with pytest.raises(hmopt.HmoptError, match="report part: expected an anchor that no other"):
        hmopt.add_report_part(CostPart2())
