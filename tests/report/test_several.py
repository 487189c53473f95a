from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.declaration.search import SearchOptions
from hmopt.ledger import Ledger, Searched
from hmopt.records import Block
from hmopt.report import write_report
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder


def test_two_hyperparameters_are_reported_side_by_side(
    tmp_path: Path, many_pairs: Callable[[int], pd.DataFrame]
) -> None:
    space = Space(
        hyperparameters=(Hyperparameter(name="regularization"), Hyperparameter(name="label_weight"))
    )
    pairs = many_pairs(6)
    searched = Searched(
        name="two",
        identity="full",
        identity_half=None,
        labels=("seen",),
        spacing_mm=None,
        space=space,
        loss={"overlap_labels": ["seen"]},
        loss_scale=1.0,
        search=SearchOptions(reported=["folding"], scopes=[["cohort"]]),
    )
    StudyFolder(tmp_path).write_search(searched, pairs)
    blocks = []
    for index in space.coarse(5):
        first, second = map(float, space.setting(index).values())
        dice = np.full((len(pairs), 1), 0.8 - (first - 0.25) ** 2 - (second - 0.75) ** 2)
        values = {"dice": dice, "folding": np.zeros(len(pairs))}
        blocks.append(
            Block(index=index, pairs=tuple(pairs["pair"]), labels=("seen",), values=values)
        )
    Ledger(tmp_path / "ledger").write("full", space, blocks)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "λ = 0.25, γ = 0.75 is best for the whole cohort" in text
    assert "0.000 to 0.000" not in text
    assert "evaluate γ on labels that are not in the loss" in text
    assert "no distances are given in millimetres" in text
    assert (tmp_path / "report" / "figures" / "overview-label_weight.png").is_file()
