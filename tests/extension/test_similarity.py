"""A similarity of one's own: a network is trained with it, and the report says so."""

import html
from collections.abc import Callable
from pathlib import Path

import torch

from hmopt.declaration import read_study
from hmopt.losses import find_similarity
from hmopt.networks import read_header

PLUGIN = '''
"""Mean absolute error, which outliers weigh less in than in the mean squared error."""

import hmopt


def mean_absolute_error(moved, fixed):
    """Return the mean absolute difference of two images, (batch, 1, *shape)."""
    return (moved - fixed).abs().mean()


hmopt.add_similarity(
    hmopt.Similarity(name="mae", title="mean absolute error", function=mean_absolute_error)
)
'''

TABLES = """
[loss]
similarity = "mae"

[search]
coarse = 4
refinements = 0
min_paired_subjects = 2
"""


def test_a_network_is_trained_with_it_and_the_report_names_it(
    make_study: Callable[[str, str], Path], hmopt: Callable[..., str]
) -> None:
    folder = make_study(PLUGIN, TABLES)
    hmopt("run", folder)
    header = read_header(folder / "model.safetensors")
    assert header["loss"]["similarity"] == "mae"
    assert header["loss"]["scale"] > 0
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "mean absolute error" in page


def test_its_values_are_those_of_the_function(make_study: Callable[[str, str], Path]) -> None:
    study = read_study(make_study(PLUGIN, TABLES))
    moved, fixed = torch.zeros(2, 1, 8, 8), torch.full((2, 1, 8, 8), -3.0)
    assert float(find_similarity(study.loss)(moved, fixed)) == 3.0
