"""A small study folder that declares a plugin, and a catalogue that is as it was once a test has ended."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort

DECLARATION = """
name = "extended"
plugins = ["plugin.py"]

[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"

[preprocessing]
shape = [32, 32]

[split]
train = 4
tune = 2
search = 4

[pairs]
tasks = ["cross"]
same = ["modality"]
search = 10
tune = 2

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [8]

[training]
steps = 12
batch = 2
"""

MakeStudy = Callable[[str, str], Path]


@pytest.fixture
def make_study(tmp_path: Path, catalogue: None) -> MakeStudy:
    """Write a study folder with a plugin, given as its text, and further tables of `study.toml`."""

    def make(plugin: str, tables: str) -> Path:
        folder = tmp_path / "study"
        make_cohort(folder / "data", subjects=10, shape=(32, 32))
        (folder / "plugin.py").write_text(plugin, encoding="utf-8")
        (folder / "study.toml").write_text(DECLARATION + tables, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def hmopt() -> Callable[..., str]:
    """Run a command as a user does and return what it prints."""

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run
